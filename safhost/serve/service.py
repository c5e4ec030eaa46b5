"""What both front ends do alike: who the server is, whether it is ready, where the outputs of a request go."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from safhost.serve.classification import classify
from safhost.serve.control import Control, packed
from safhost.serve.settings import UNKNOWN_MODEL, LogSettings, TraceSettings
from safhost.serve.shm import Regions, Span
from safhost.serve.tensors import bytes_of
from safhost.serve.tracing import Trace, Tracer
from safhost.serve.types import Code, IndexEntry, ModelMetadata, Reply, Request, ServeError, Tensor, Wanted
from safhost.version import __version__

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig
    from tritonclient.grpc.service_pb2 import ModelStatistics

NAME = "safhost"
EXTENSIONS = ("classification", "sequence", "model_repository", "model_repository(unload_dependents)",
              "schedule_policy", "model_configuration", "system_shared_memory", "binary_tensor_data", "parameters",
              "statistics", "trace", "logging")
NO_REPOSITORIES = "'repository_name' specification is not supported"


class EngineLike(Protocol):
    """The engine as front ends know it; see `safhost.serve.engine`."""

    def infer(self, request: Request) -> None: ...
    def live(self) -> bool: ...
    def ready(self) -> bool: ...
    def model_ready(self, name: str, version: str = "") -> bool: ...
    def model_metadata(self, name: str, version: str = "") -> ModelMetadata: ...
    def model_config(self, name: str, version: str = "") -> ModelConfig: ...
    def statistics(self, name: str = "", version: str = "") -> list[ModelStatistics]: ...
    def index(self, ready_only: bool = False) -> list[IndexEntry]: ...
    def load(self, name: str, parameters: Mapping[str, Any] | None = None) -> None: ...
    def unload(self, name: str, unload_dependents: bool = False) -> None: ...
    def stop(self, drain_s: float) -> None: ...


@dataclass(slots=True)
class Placement:
    """What is to be done with the outputs of a request that do not simply go back: ``classes`` by name, ``spans`` of
    shared memory by name, ``inputs`` that are used where they lie. Closed when the request is answered."""

    classes: dict[str, int] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    inputs: list[Span] = field(default_factory=list)

    def check(self) -> None:
        """After all data were used. Raises ServeError when an input was cut meanwhile."""
        for span in self.inputs:
            span.check()

    def close(self) -> None:
        for span in (*self.spans.values(), *self.inputs):
            span.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply's outputs, classified and placed: ``data`` None where the output lies in shared memory."""

    outputs: Sequence[tuple[Tensor, memoryview | bytes | None]]


class Service:
    """The engine with everything a front end needs around it."""

    def __init__(self, engine: EngineLike, control: Control, *, regions: Regions, log: LogSettings,
                 traces: TraceSettings, tracer: Tracer | None = None, strict: bool = True) -> None:
        self.engine = engine
        self.control = control
        self.regions = regions
        self.log = log
        self.traces = traces
        self._tracer = tracer
        self._strict = strict
        self._tracing = threading.Lock()
        self.draining = False

    # -- health

    def live(self) -> bool:
        return self.engine.live()

    def ready(self) -> bool:
        """Not ready any more from the moment a drain begins; without strict readiness, ready when live."""
        if self.draining:
            return False
        return self.engine.ready() if self._strict else self.engine.live()

    # -- inference

    def trace(self, model: str, headers: Iterable[tuple[str, str]]) -> Trace | None:
        """A trace for this request when it is one of those that are sampled."""
        if not self.traces.wants(model):
            return None
        return Trace({name: value for name, value in headers if name in ("traceparent", "tracestate")})

    def traced(self, request: Request, reply: Reply) -> None:
        """The answer of a request with a trace."""
        if request.trace is not None:
            error = reply.error.message if reply.error is not None else ""
            self._get_tracer().finish(request.trace, reply.model, reply.version, request.id, error)

    def _get_tracer(self) -> Tracer:
        with self._tracing:
            if self._tracer is None:
                self._tracer = Tracer(self.traces.endpoint)
            return self._tracer

    def place(self, reply: Reply, placement: Placement) -> Answer:
        """Classify and write to shared memory what is to be; raises ServeError."""
        out: list[tuple[Tensor, memoryview | bytes | None]] = []
        for tensor in reply.outputs:
            output = tensor
            classes = placement.classes.get(output.name, 0)
            if classes:
                output = classify(output, classes, batched=self._is_batched(reply), labels=self._labels(reply, output))
            data: memoryview | bytes | None = bytes_of(output)
            span = placement.spans.get(output.name)
            if span is not None:
                assert data is not None
                span.write(data, output.name)
                data = None
            out.append((output, data))
        return Answer(out)

    def _is_batched(self, reply: Reply) -> bool:
        return bool(self.engine.model_config(reply.model, reply.version).max_batch_size)

    def _labels(self, reply: Reply, output: Tensor) -> Sequence[str] | None:
        labels = getattr(self.engine, "labels", None)
        return labels(reply.model, reply.version, output.name) if labels is not None else None

    # -- changes

    def load(self, model: str, parameters: Mapping[str, Any]) -> None:
        for name, value in parameters.items():
            if name != "config" and not name.startswith("file:"):
                raise ServeError(Code.INVALID_ARGUMENT, f"unrecognized load parameter '{name}'.")
            if isinstance(value, bytes) != name.startswith("file:"):
                wanted = "bytes" if name.startswith("file:") else "string"
                raise ServeError(Code.INVALID_ARGUMENT, f"invalid value type for load parameter '{name}', expected "
                                 f"{wanted}_param.")
        self.control.call("load", {"name": model, "parameters": {k: packed(v) for k, v in parameters.items()}})

    def unload(self, model: str, unload_dependents: bool) -> None:
        self.control.call("unload", {"name": model, "unload_dependents": unload_dependents})

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        self.regions.check_allowed()
        self.control.call("register", {"name": name, "key": key, "offset": offset, "byte_size": byte_size})

    def unregister(self, name: str) -> None:
        self.regions.check_allowed()
        self.control.call("unregister", {"name": name})

    def change_log(self, changes: Mapping[str, Any]) -> None:
        good = self.log.check(changes)
        if good:
            self.control.call("log", {"changes": good})

    def check_trace_model(self, model: str) -> None:
        if model and not self.engine.model_ready(model):
            raise ServeError(Code.INVALID_ARGUMENT, UNKNOWN_MODEL + model)

    def change_trace(self, model: str, changes: Mapping[str, Sequence[str] | None]) -> None:
        good = self.traces.check(changes)
        if "TIMESTAMPS" in (good.get("trace_level") or ()) and not self.traces.endpoint:
            raise ServeError(Code.INVALID_ARGUMENT, "traces have nowhere to go: start the server with --trace-endpoint")
        if good:
            self.control.call("trace", {"model": model, "changes": good})

    def close(self) -> None:
        self.regions.close()
        if self._tracer is not None:
            self._tracer.close()


def gpu_refused(name: str) -> ServeError:
    """What a server without GPUs says to CUDA shared memory."""
    return ServeError(Code.INVALID_ARGUMENT,
                      f"failed to register CUDA shared memory region: '{name}', GPUs not supported")


def wanted_of(names: Iterable[str], placement: Placement) -> tuple[Wanted, ...]:
    return tuple(Wanted(name, placement.classes.get(name, 0)) for name in names)


__all__ = ["EXTENSIONS", "NAME", "NO_REPOSITORIES", "Answer", "EngineLike", "Placement", "Service", "__version__",
           "gpu_refused", "wanted_of"]
