"""An engine for tests of the front ends: identity models, answered at once or from another thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2

from safhost.serve.tensors import Misfit
from safhost.serve.types import (
    Code,
    IndexEntry,
    ModelMetadata,
    Reply,
    Request,
    ServeError,
    Tensor,
    TensorSpec,
)

CONFIG = """
name: "{name}" backend: "identity" max_batch_size: 16384
input {{ name: "INPUT" data_type: {type} dims: [ -1 ] }}
output {{ name: "OUTPUT" data_type: {type} dims: [ -1 ] label_filename: "labels.txt" }}
"""


class FakeEngine:
    """Models `identity` (FP32), `text` (BYTES) and `slow` (FP32, answered when `let_go` is called)."""

    def __init__(self) -> None:
        self.models = {"identity": "FP32", "text": "BYTES", "slow": "FP32"}
        self.loaded = set(self.models)
        self.seen: list[Request] = []
        self.held: list[Request] = []
        self.held_changed = threading.Condition()
        self.counts: dict[str, int] = {}
        self.is_ready = True
        self.parameters: dict[str, Any] = {}

    def infer(self, request: Request) -> None:
        self.seen.append(request)
        try:
            self._check(request)
        except ServeError as error:
            request.refuse(error)
            return
        if request.model == "slow":
            with self.held_changed:
                self.held.append(request)
                self.held_changed.notify_all()
        else:
            self._answer(request)

    def _check(self, request: Request) -> None:
        self._find(request.model, request.version)
        for tensor in request.inputs:
            if tensor.name != "INPUT":
                raise ServeError(Code.INVALID_ARGUMENT, f"unexpected inference input '{tensor.name}' for model "
                                 f"'{request.model}'")
            if isinstance(tensor, Misfit):
                raise tensor.error

    def _find(self, name: str, version: str = "") -> None:
        if name not in self.loaded:
            raise ServeError(Code.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        if version not in ("", "1"):
            raise ServeError(Code.NOT_FOUND, f"Request for unknown model: '{name}' version {version} is not found")

    def _answer(self, request: Request) -> None:
        self.counts[request.model] = self.counts.get(request.model, 0) + 1
        tensor = request.inputs[0]
        request.on_reply(Reply(request.model, "1", [Tensor("OUTPUT", tensor.datatype, tensor.array)], id=request.id))

    def wait_held(self, number: int) -> None:
        with self.held_changed:
            assert self.held_changed.wait_for(lambda: len(self.held) >= number, 20)

    def let_go(self) -> None:
        with self.held_changed:
            held, self.held = self.held, []
        for request in held:
            self._answer(request)

    def live(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.is_ready

    def model_ready(self, name: str, version: str = "") -> bool:
        return name in self.loaded and version in ("", "1")

    def model_metadata(self, name: str, version: str = "") -> ModelMetadata:
        self._find(name, version)
        kind = self.models[name]
        return ModelMetadata(name, ("1",), "identity", (TensorSpec("INPUT", kind, (-1, -1)),),
                             (TensorSpec("OUTPUT", kind, (-1, -1)),))

    def model_config(self, name: str, version: str = "") -> model_config_pb2.ModelConfig:
        self._find(name, version)
        kind = {"BYTES": "TYPE_STRING"}.get(self.models[name], f"TYPE_{self.models[name]}")
        return text_format.Parse(CONFIG.format(name=name, type=kind), model_config_pb2.ModelConfig())

    def labels(self, _name: str, _version: str, _output: str) -> list[str]:
        return ["zero", "one", "two"]

    def statistics(self, name: str = "", version: str = "") -> list[service_pb2.ModelStatistics]:
        if name:
            self._find(name, version)
        out = []
        for each in sorted(self.loaded if not name else [name]):
            row = service_pb2.ModelStatistics(name=each, version="1", inference_count=self.counts.get(each, 0))
            row.inference_stats.success.count = self.counts.get(each, 0)
            row.inference_stats.success.ns = 1000
            out.append(row)
        return out

    def index(self, ready_only: bool = False) -> list[IndexEntry]:
        return [IndexEntry(name, "1", "READY") if name in self.loaded else
                IndexEntry(name, "1", "UNAVAILABLE", "unloaded")
                for name in sorted(self.models) if name in self.loaded or not ready_only]

    def load(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        if name not in self.models:
            raise ServeError(Code.INTERNAL, f"failed to load '{name}', failed to poll from model repository")
        self.parameters = dict(parameters or {})
        self.loaded.add(name)

    def unload(self, name: str, unload_dependents: bool = False) -> None:
        self.loaded.discard(name)

    def gauges(self) -> list[tuple[str, dict[str, str], float]]:
        return [("nv_inference_pending_request_count", {"model": "slow", "version": "1"}, float(len(self.held))),
                ("saf_card_state", {"model": "slow", "card": "c1", "state": "working"}, 1.0)]

    def stop(self, drain_s: float) -> None:
        self.let_go()
