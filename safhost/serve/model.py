"""A model version that is served: checks what comes, runs it, counts, answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from safhost.serve.backends.base import Backend, Batch
from safhost.serve.contract import Contract
from safhost.serve.repository import Found
from safhost.serve.statistics import Row
from safhost.serve.types import Code, ModelMetadata, Reply, Request, ServeError, TensorSpec

if TYPE_CHECKING:
    from safhost.serve.types import Tensor


class ModelVersion:
    """One version of a model, from load to unload. ``infer`` may be called by any thread."""

    def __init__(self, found: Found, version: int, contract: Contract, backend: Backend, row: Row) -> None:
        self.found = found
        self.name = found.name
        self.version = version
        self.text = str(version)
        self.contract = contract
        self.backend = backend
        self.row = row
        self._inline = backend.inline
        self._closed = False

    def infer(self, request: Request) -> None:
        """Answer a request, now or later."""
        try:
            size = self.contract.size(request)
        except ServeError as error:
            request.refuse(error)
            return
        if self._inline is not None:
            self._answer(request, size, time.monotonic_ns())
        else:
            self.backend.start(Batch([request], [size], self._ended))

    def _answer(self, request: Request, size: int, began_ns: int) -> None:
        """At once, in this thread."""
        assert self._inline is not None
        try:
            outputs = self._inline(request)
        except ServeError as error:
            self._refuse(request, error, "BACKEND")
            return
        ended_ns = time.monotonic_ns()
        self.row.executed(size, 1, ended_ns - request.arrived_ns, 0, 0, ended_ns - began_ns, 0)
        if request.trace is not None:
            _mark(request.trace, began_ns, began_ns, began_ns, ended_ns, ended_ns)
        request.on_reply(Reply(self.name, self.text, outputs, None, request.id))

    def _ended(self, batch: Batch) -> None:
        if batch.error is not None:
            for request in batch.requests:
                self._refuse(request, batch.error, batch.reason)
            return
        now = time.monotonic_ns()
        start = batch.start_ns
        self.row.executed(batch.size, len(batch.requests), sum(now - r.arrived_ns for r in batch.requests),
                          sum(start - r.arrived_ns for r in batch.requests), batch.input_end_ns - start,
                          batch.output_start_ns - batch.input_end_ns, now - batch.output_start_ns)
        for request, outputs in zip(batch.requests, batch.outputs, strict=True):
            self._reply(request, outputs, batch, now)

    def _reply(self, request: Request, outputs: list[Tensor], batch: Batch, now: int) -> None:
        if request.trace is not None:
            _mark(request.trace, request.arrived_ns, batch.start_ns, batch.input_end_ns, batch.output_start_ns, now)
        request.on_reply(Reply(self.name, self.text, outputs, None, request.id))

    def _refuse(self, request: Request, error: ServeError, reason: str) -> None:
        self.row.failed(reason, time.monotonic_ns() - request.arrived_ns)
        request.on_reply(Reply(self.name, self.text, [], error, request.id))

    # -- what front ends ask -------------------------------------------------------------------------------

    def unready(self) -> str:
        """Why it cannot answer now; empty when it can."""
        return self.backend.unready()

    def not_ready(self) -> ServeError:
        """What a client is told while it is not ready."""
        why = self.unready()
        return ServeError(Code.UNAVAILABLE, f"Request for unknown model: '{self.name}' version {self.text} is not at "
                          f"ready state{f': {why}' if why else ''}")

    def metadata(self, versions: tuple[str, ...]) -> ModelMetadata:
        contract, config = self.contract, self.found.config
        batched = bool(contract.max_batch)

        def specs(ports: object) -> tuple[TensorSpec, ...]:
            return tuple(p.spec(batched) for p in ports)  # type: ignore[attr-defined]
        return ModelMetadata(self.name, versions, config.platform or config.backend,
                             specs(contract.inputs.values()), specs(contract.outputs.values()))

    def close(self, drain_s: float) -> None:
        """No more requests come; those that are here are answered first, or refused after ``drain_s`` seconds."""
        if self._closed:
            return
        self._closed = True
        self.backend.close()
        self.row.free()


def _mark(trace: Any, queue_start_ns: int, start_ns: int, input_end_ns: int, output_start_ns: int, end_ns: int) -> None:
    """Times of a request that is traced."""
    trace.queue_start_ns = queue_start_ns
    trace.compute_start_ns = start_ns
    trace.compute_input_end_ns = input_end_ns
    trace.compute_output_start_ns = output_start_ns
    trace.compute_end_ns = end_ns


__all__ = ["ModelVersion"]
