"""A model version that is served: checks what comes, runs it, counts, answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from safhost.errors import SafError
from safhost.serve.backends.base import Backend, Batch
from safhost.serve.batcher import Batcher, Dropped
from safhost.serve.contract import Contract
from safhost.serve.repository import Found
from safhost.serve.scheduler import Scheduler
from safhost.serve.sequence import SequenceQueue
from safhost.serve.statistics import Row
from safhost.serve.timer import Timer
from safhost.serve.types import Code, Home, ModelMetadata, Reply, Request, ServeError, TensorSpec
from safhost.serve.warmup import Warmer, samples_of


class ModelVersion:
    """One version of a model, from load to unload. ``infer`` may be called by any thread. Raises SafError when a sample
    of its warm-up is wrong, or fails at once."""

    def __init__(self, found: Found, version: int, contract: Contract, backend: Backend, row: Row,
                 timer: Timer, log: logging.Logger) -> None:
        self.found = found
        self.name = found.name
        self.version = version
        self.text = str(version)
        self.contract = contract
        self.backend = backend
        self.row = row
        self._log = log
        config = found.config
        in_series = config.HasField("sequence_batching")
        batching = config.dynamic_batching if config.HasField("dynamic_batching") else None
        self._inline = None if in_series or batching is not None else backend.inline
        queue = SequenceQueue(self.name, contract.max_batch, config.sequence_batching) if in_series else \
            Batcher(contract.max_batch, batching)
        self._scheduler = Scheduler(queue, backend, timer, batching is not None and batching.preserve_ordering,
                                    self._ended, self._dropped, row.pending)
        self._changed = threading.Condition()
        self._closed = False
        self._warmer = Warmer(samples_of(found, contract), backend, contract, config.instance_group[0].name)
        self._warming: threading.Thread | None = None
        backend.attach(self._backend_changed)
        if self._warmer.why:
            self._begin_to_warm()

    def infer(self, request: Request) -> None:
        """Answer a request, now or later."""
        try:
            size = self.contract.size(request)
            if self._inline is None:
                if self._warmer.why or self.backend.unready():
                    raise self.not_ready()
                self._scheduler.put(request, size, self.contract.shapes(request))
                return
        except ServeError as error:
            if error.code != Code.INVALID_ARGUMENT:
                self.row.failed("REJECTED", time.monotonic_ns() - request.arrived_ns)
            request.refuse(error)
            return
        self._answer(request, size, time.monotonic_ns())

    def _backend_changed(self) -> None:
        if self.unready():
            self._scheduler.refuse_waiting(self.not_ready())
        else:
            self._scheduler.pump()
        self._warmer.backend_changed()
        with self._changed:
            self._changed.notify_all()

    def wait_ready(self, timeout_s: float) -> bool:
        """Until it can answer, never will, or for so long; whether it can."""
        with self._changed:
            self._changed.wait_for(lambda: self.failure() or not self.unready(), timeout_s)
        return not self.unready()

    # -- warm-up -------------------------------------------------------------------------------------------

    def failure(self) -> str:
        """Why it will never answer: a sample of its warm-up failed. Empty otherwise."""
        return self._warmer.why if self._warmer.failed else ""

    def _begin_to_warm(self) -> None:
        """At once where the backend can run; else when it can, in a thread of its own. Raises SafError."""
        if self.backend.unready():
            self._warming = threading.Thread(target=self._warm_up, name=f"saf-warm-{self.name}", daemon=True)
            self._warming.start()
            return
        self._warmer.warm()
        if self.failure():
            raise SafError(self.failure())

    def _warm_up(self) -> None:
        warm = self._warmer.warm()
        if self.failure():
            self._log.error("failed to load '%s' version %s: %s", self.name, self.text, self.failure())
            self.close(0.0)
        if warm:
            self._scheduler.pump()
        with self._changed:
            self._changed.notify_all()

    def _dropped(self, drop: Dropped) -> None:
        self._refuse(drop.waiting.request, drop.error, drop.reason)

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
            request.trace.computed(began_ns, began_ns, began_ns, ended_ns, ended_ns)
        request.on_reply(Reply(self.name, self.text, outputs, None, request.id))

    def _ended(self, batch: Batch) -> None:
        if batch.error is not None:
            for request in batch.requests:
                self._refuse(request, batch.error, batch.reason)
            return
        now, start = time.monotonic_ns(), batch.start_ns
        inferences = count = arrived = 0
        homes: dict[Home | None, list[tuple[Callable[[Reply], None], Reply]]] = {}
        for request, size, outputs in zip(batch.requests, batch.sizes, batch.outputs, strict=True):
            if isinstance(outputs, ServeError):
                self._refuse(request, outputs, "BACKEND")
                continue
            inferences += size
            count += 1
            arrived += request.arrived_ns
            if request.trace is not None:
                request.trace.computed(request.arrived_ns, start, batch.input_end_ns, batch.output_start_ns, now)
            home = request.home
            replies = homes.get(home)
            if replies is None:
                replies = homes[home] = []
            replies.append((request.on_reply, Reply(self.name, self.text, outputs, None, request.id)))
        if count:
            self.row.executed(inferences, count, count * now - arrived, count * start - arrived,
                              batch.input_end_ns - start, batch.output_start_ns - batch.input_end_ns,
                              now - batch.output_start_ns)
        for home, replies in homes.items():
            if home is not None:
                home(replies)
                continue
            for on_reply, reply in replies:
                on_reply(reply)

    def _refuse(self, request: Request, error: ServeError, reason: str) -> None:
        self.row.failed(reason, time.monotonic_ns() - request.arrived_ns)
        request.on_reply(Reply(self.name, self.text, [], error, request.id))

    # -- what front ends ask -------------------------------------------------------------------------------

    def unready(self) -> str:
        """Why it cannot answer now; empty when it can."""
        return self.failure() or self.backend.unready() or self._warmer.why

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
        self._warmer.stop()
        self._scheduler.close(ServeError(Code.UNAVAILABLE, "Server is stopping, scheduler for model has stopped "
                                         "accepting new inference requests"), drain_s)
        self.backend.close()
        if self._warming is not None and self._warming is not threading.current_thread():
            self._warming.join()
        self.row.free()


__all__ = ["ModelVersion"]
