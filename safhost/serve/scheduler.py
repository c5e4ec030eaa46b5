"""Between a model's queue and its backend: whoever brings a request, ends a batch or was woken moves on what can go.

There is no thread of its own: a request that can run at once is started by the thread that brings it, the next batch by
the thread that ended the one before; the timer's thread comes only for delays and timeouts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from safhost.serve.backends.base import Backend, Batch
from safhost.serve.batcher import Dropped, Waiting
from safhost.serve.sequence import SequenceQueue
from safhost.serve.timer import Timer
from safhost.serve.types import Request, ServeError

if TYPE_CHECKING:
    from safhost.serve.batcher import Batcher

AT_A_TIME = 64  # batches that a thread starts in one go


class Scheduler:
    """``on_end`` gets batches that ended, ``on_drop`` requests that never ran, ``on_pending`` how many wait.
    None of them may raise. ``ordered``: batches end in the order in which they began (preserve_ordering)."""

    def __init__(self, queue: Batcher | SequenceQueue, backend: Backend, timer: Timer, ordered: bool,
                 on_end: Callable[[Batch], None], on_drop: Callable[[Dropped], None],
                 on_pending: Callable[[int], None]) -> None:
        self._queue = queue
        self._backend = backend
        self._timer = timer
        self._on_end, self._on_drop, self._on_pending = on_end, on_drop, on_pending
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running = 0  # in the backend
        self._active = 0  # those, and those whose replies are on their way
        self._soft = self._hard = 1  # the backend's slots, as they were seen last
        self._pumping = self._again = False
        self._wake_ns = 0
        self._held_ns = 0  # until then a batch that could grow is held
        self._told = 0
        self._closed: ServeError | None = None
        self._ordered = ordered
        self._next_start = self._next_end = 0
        self._ended: dict[int, Batch] = {}
        self._delivery = threading.RLock()

    def put(self, request: Request, size: int, shapes: Any) -> None:
        """Queue a request, and start what can go. Raises ServeError when it is refused at once."""
        now = time.monotonic_ns()
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self._queue.put(Waiting(request, size, shapes, now), now)
            if self._pumping:
                self._again = True
                return
            if self._must_wait():
                self._told += 1
                self._on_pending(self._told)
                return
            self._pumping = True
            batch, dropped = self._next(now)
        self._pump_on(batch, dropped)

    def _must_wait(self) -> bool:
        """With the lock, in the usual cases: nothing can be done for what was put last before a batch ends, or the
        timer comes."""
        if self._running and self._running >= self._soft:
            return self._queue.may_grow() or (self._running >= self._hard and not self._queue.deadline_ns())
        return 0 < self._wake_ns <= self._held_ns and self._queue.may_grow()

    def pump(self) -> None:
        """Start what can go. Called whenever something changed; any thread."""
        with self._lock:
            if self._pumping:
                self._again = True
                return
            self._pumping = True
            batch, dropped = self._next(time.monotonic_ns())
        self._pump_on(batch, dropped)

    def _pump_on(self, batch: Batch | None, dropped: list[Dropped]) -> None:
        """Go on until nothing is left to do; the one thread that does. After a while it hands over to the timer's: it
        belongs to somebody who wants it back."""
        for _ in range(AT_A_TIME):
            for drop in dropped:
                self._on_drop(drop)
            if batch is not None:
                self._backend.start(batch)
            with self._lock:
                if batch is None and not self._again:
                    self._pumping = False
                    self._tell()
                    return
                self._again = False
                if not self._queue.rows:  # the usual case: nothing else came meanwhile
                    self._pumping = False
                    self._tell()
                    return
                batch, dropped = self._next(time.monotonic_ns())
        self._timer.at(0, lambda: self._pump_on(batch, dropped))

    def _next(self, now: int) -> tuple[Batch | None, list[Dropped]]:
        """With the lock: what goes now, and what goes no more."""
        self._soft, self._hard = self._backend.slots()
        batch = None
        self._held_ns = 0
        if self._running < self._hard:
            hold_ns = self._backend.hold_ns() if self._running else 0
            taken, wake, dropped = self._queue.take(now, hold_ns, self._running >= self._soft)
            if taken:
                batch = self._batch(taken)
            else:
                self._held_ns = wake
        else:
            dropped = self._queue.expire(now)
            wake = self._queue.deadline_ns()
        if wake:
            self._arm(wake)
        return batch, dropped

    def _tell(self) -> None:
        """With the lock: how many wait, to those who want to know."""
        waiting = len(self._queue)
        if waiting != self._told:
            self._told = waiting
            self._on_pending(waiting)
        if self._closed is not None:
            self._idle.notify_all()

    def refuse_waiting(self, error: ServeError) -> None:
        """What waits gets ``error``."""
        with self._lock:
            left = self._queue.clear(error)
            self._tell()
        for drop in left:
            self._on_drop(drop)

    def close(self, error: ServeError, drain_s: float) -> None:
        """No more requests come: they get ``error``. Those that are here run; after ``drain_s`` seconds those that
        still wait get it too."""
        with self._idle:
            self._closed = error
            drained = self._idle.wait_for(lambda: not self._active and not len(self._queue), drain_s)
        if not drained:
            self.refuse_waiting(error)

    def _batch(self, taken: list[Waiting]) -> Batch:
        """With the lock."""
        self._running += 1
        self._active += 1
        number = self._next_start
        self._next_start += 1
        return Batch([w.request for w in taken], [w.size for w in taken], self._end, number)

    def _end(self, batch: Batch) -> None:
        with self._lock:
            self._running -= 1
            self._queue.ended(batch.requests)
        if self._ordered:
            self._deliver(batch)
        else:
            self._on_end(batch)
            self._is_out()
        if self._queue.rows:
            self.pump()

    def _deliver(self, batch: Batch) -> None:
        """In the order of their starts, by whichever thread ended the one that was waited for."""
        with self._delivery:
            self._ended[batch.number] = batch
            while self._next_end in self._ended:
                due = self._ended.pop(self._next_end)
                self._next_end += 1
                self._on_end(due)
                self._is_out()

    def _is_out(self) -> None:
        with self._lock:
            self._active -= 1
            if self._closed is not None:
                self._idle.notify_all()

    def _arm(self, wake: int) -> None:
        """With the lock: be woken then, unless that comes sooner anyway."""
        if wake and (not self._wake_ns or wake < self._wake_ns):
            self._wake_ns = wake
            self._timer.at(wake, self._woken)

    def _woken(self) -> None:
        with self._lock:
            self._wake_ns = self._held_ns = 0
        self.pump()


__all__ = ["Scheduler"]
