"""The identity backend: outputs are the inputs. Needs no card; for tests, and to measure the server alone.

The i-th output is the i-th input, of the same type and as many elements a row. Parameter ``execute_delay_ms``, as that
of Triton's own identity backend, or ``delay_us`` makes each execution take so long, one at a time for each of
``instance_group``'s count. Without it a request is answered in the thread that brings it, and its arrays are handed on
as they are.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from safhost.errors import ConfigError
from safhost.serve.backends.base import Batch
from safhost.serve.config import ANY
from safhost.serve.contract import Contract, Port
from safhost.serve.repository import Found
from safhost.serve.types import Request, Tensor

DELAYS_S = {"execute_delay_ms": 1e-3, "delay_us": 1e-6}
MAX_DELAY_S = 60


class IdentityBackend:
    """See the module. Raises ConfigError when outputs cannot be the inputs."""

    def __init__(self, found: Found, contract: Contract) -> None:
        config = found.config
        unknown = set(config.parameters) - DELAYS_S.keys()
        if unknown:
            raise ConfigError(f"{found.name}/config.pbtxt: parameter '{min(unknown)}' is not known to backend identity",
                              f"it has {' and '.join(DELAYS_S)}")
        inputs, outputs = list(contract.inputs.values()), list(contract.outputs.values())
        if len(outputs) > len(inputs):
            raise ConfigError(f"{found.name}/config.pbtxt: backend identity has no input for output "
                              f"'{outputs[len(inputs)].name}'", "the i-th output is the i-th input")
        self._copies = [_Copy(i, o, bool(contract.max_batch), found.name) for i, o in
                        zip(inputs, outputs, strict=False)]
        self._only = self._copies[0] if len(inputs) == len(self._copies) == 1 else None
        self._delay_s = sum(_delay_s(found, key) for key in DELAYS_S)
        self._count = sum(int(g.count) for g in config.instance_group)
        self._waiting: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"saf-identity-{i}", daemon=True)
                         for i in range(self._count)] if self._delay_s else []
        for thread in self._threads:
            thread.start()

    @property
    def inline(self) -> Callable[[Request], list[Tensor]] | None:
        return None if self._delay_s else self._answer

    def slots(self) -> tuple[int, int]:
        return self._count, self._count

    def hold_ns(self) -> int:
        return 0

    def working(self) -> list[str]:
        return []

    def attach(self, on_change: Callable[[], None]) -> None:
        """Nothing of it changes."""

    def unready(self) -> str:
        return ""

    def start(self, batch: Batch) -> None:
        if not self._threads:
            self._run(batch)
            return
        self._waiting.put(batch)

    def close(self) -> None:
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _answer(self, request: Request) -> list[Tensor]:
        if self._only is not None:
            return [self._only.of_one(request.inputs[0])]
        by_name = {t.name: t for t in request.inputs}
        wanted = {w.name for w in request.wanted}
        return [c.of(by_name) for c in self._copies if not wanted or c.output.name in wanted]

    def _run(self, batch: Batch) -> None:
        batch.succeed([self._answer(r) for r in batch.requests])

    def _work(self) -> None:
        while (batch := self._waiting.get()) is not None:
            batch.start_ns = batch.input_end_ns = time.monotonic_ns()
            time.sleep(self._delay_s)
            batch.output_start_ns = time.monotonic_ns()
            self._run(batch)


class _Copy:
    """An input that goes out again."""

    def __init__(self, source: Port, output: Port, batched: bool, model: str) -> None:
        if source.datatype != output.datatype:
            raise ConfigError(f"{model}/config.pbtxt: output '{output.name}' is {output.datatype}, its input "
                              f"'{source.name}' {source.datatype}", "backend identity converts nothing")
        if source.fixed and output.fixed and source.element_count != output.element_count:
            raise ConfigError(f"{model}/config.pbtxt: output '{output.name}' has {output.element_count} elements, its "
                              f"input '{source.name}' {source.element_count}")
        if source.dims != output.dims and sum(d == ANY for d in output.dims) > 1:
            raise ConfigError(f"{model}/config.pbtxt: dims of output '{output.name}' and input '{source.name}' differ",
                              "backend identity needs equal ones where several vary")
        self.source, self.output = source, output
        self._dims = None if source.dims == output.dims else output.dims
        self._batched = batched

    def of(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.of_one(inputs[self.source.name])

    def of_one(self, tensor: Tensor) -> Tensor:
        array = tensor.array
        if self._dims is not None:
            array = array.reshape((array.shape[0], *self._dims) if self._batched else self._dims)
        return Tensor(self.output.name, tensor.datatype, array)


def _delay_s(found: Found, key: str) -> float:
    if key not in found.config.parameters:
        return 0.0
    text = found.config.parameters[key].string_value
    try:
        delay = float(text) * DELAYS_S[key]
    except ValueError:
        delay = -1.0
    if not 0 <= delay <= MAX_DELAY_S:
        raise ConfigError(f"{found.name}/config.pbtxt: parameter {key} is {text!r}",
                          f"a number, up to {MAX_DELAY_S} s")
    return delay


__all__ = ["IdentityBackend"]
