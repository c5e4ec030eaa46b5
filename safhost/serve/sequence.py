"""Sequences: requests that belong together run one after the other, in their order, never two of them in one batch.

Rules and words are those of triton-inference-server/core (sequence_batch_scheduler.cc). A sequence begins with a
request that says so and ends with one that says so, or when nothing came for max_sequence_idle_microseconds. State is
not kept here: models of this server have none; what a client gets is the order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from safhost.serve.batcher import Batcher, Dropped, Waiting
from safhost.serve.types import Code, Request, ServeError

IDLE_US = 1_000_000  # Triton's default of max_sequence_idle_microseconds
SWEEP_SEQUENCES = 1024  # so many known ones are looked through for idle ones


class _Sequence:
    __slots__ = ("backlog", "busy", "open", "used_ns")

    def __init__(self) -> None:
        self.used_ns = 0
        self.open = True  # its end did not come yet
        self.busy = False  # a request of it waits in the batcher, or runs
        self.backlog: deque[Waiting] = deque()


class SequenceQueue:
    """A queue of a model with sequence_batching; stands where a Batcher stands elsewhere."""

    def __init__(self, model: str, max_batch: int, batching: Any) -> None:
        self._model = model
        self._idle_ns = (int(batching.max_sequence_idle_microseconds) or IDLE_US) * 1000
        self._inner = Batcher(max_batch, _as_dynamic(batching))
        self._known: dict[int | str, _Sequence] = {}
        self._waiting = 0
        self._sweep_at = SWEEP_SEQUENCES

    def __len__(self) -> int:
        return len(self._inner) + self._waiting

    @property
    def rows(self) -> int:
        """Of requests that may run now."""
        return self._inner.rows

    def put(self, waiting: Waiting, now: int) -> None:
        """Raises ServeError INVALID_ARGUMENT when the request keeps to no sequence."""
        request = waiting.request
        key = request.sequence_id
        if waiting.size > 1:
            raise self._wrong(f"inference request to model '{self._model}' must specify batch-size 1 due to "
                              "requirements of sequence batcher")
        if not key:
            raise self._wrong(f"inference request to model '{self._model}' must specify a non-zero or non-empty "
                              "correlation ID")
        sequence = self._known.get(key)
        if sequence is not None and not sequence.busy and now - sequence.used_ns > self._idle_ns:
            sequence = None
        if (sequence is None or not sequence.open) and not request.sequence_start:
            raise self._wrong(f"inference request for sequence {key} to model '{self._model}' must specify the START "
                              "flag on the first request of the sequence")
        if sequence is None:
            sequence = _Sequence()
        if sequence.busy:
            sequence.backlog.append(waiting)
            self._waiting += 1
        else:
            self._inner.put(waiting, now)
            sequence.busy = True
        self._known[key] = sequence
        sequence.used_ns = now
        sequence.open = not request.sequence_end
        if len(self._known) > self._sweep_at:
            self._sweep(now)

    def take(self, now: int, hold_ns: int = 0, full_only: bool = False) -> tuple[list[Waiting], int, list[Dropped]]:
        """As Batcher.take()."""
        taken, wake, dropped = self._inner.take(now, hold_ns, full_only)
        self._after(dropped, now)
        return taken, wake, dropped

    def expire(self, now: int) -> list[Dropped]:
        """As Batcher.expire()."""
        dropped = self._inner.expire(now)
        self._after(dropped, now)
        return dropped

    def may_grow(self) -> bool:
        """As Batcher.may_grow()."""
        return self._inner.may_grow()

    def deadline_ns(self) -> int:
        return self._inner.deadline_ns()

    def clear(self, error: ServeError) -> list[Dropped]:
        dropped = self._inner.clear(error)
        for sequence in self._known.values():
            dropped += [Dropped(w, error, "OTHER") for w in sequence.backlog]
        self._known.clear()
        self._waiting = 0
        return dropped

    def ended(self, requests: Sequence[Request]) -> None:
        """These have run: what follows them in their sequences may."""
        for request in requests:
            self._next(request)

    def _after(self, dropped: list[Dropped], now: int) -> None:
        for drop in dropped:
            self._next(drop.waiting.request)

    def _next(self, request: Request) -> None:
        key = request.sequence_id
        sequence = self._known.get(key)
        if sequence is None:
            return
        sequence.busy = False
        if sequence.backlog:
            waiting = sequence.backlog.popleft()
            self._waiting -= 1
            self._inner.put(waiting, waiting.since_ns)
            sequence.busy = True
        elif not sequence.open:
            del self._known[key]

    def _sweep(self, now: int) -> None:
        """Forget sequences that were never ended."""
        self._known = {k: s for k, s in self._known.items() if s.busy or now - s.used_ns <= self._idle_ns}
        self._sweep_at = max(SWEEP_SEQUENCES, 2 * len(self._known))

    @staticmethod
    def _wrong(message: str) -> ServeError:
        return ServeError(Code.INVALID_ARGUMENT, message)


def _as_dynamic(batching: Any) -> pb.ModelDynamicBatching:
    """Requests of different sequences share batches as the strategy says."""
    if batching.HasField("oldest"):
        return pb.ModelDynamicBatching(preferred_batch_size=batching.oldest.preferred_batch_size,
                                       max_queue_delay_microseconds=batching.oldest.max_queue_delay_microseconds)
    return pb.ModelDynamicBatching(max_queue_delay_microseconds=batching.direct.max_queue_delay_microseconds)


__all__ = ["SequenceQueue"]
