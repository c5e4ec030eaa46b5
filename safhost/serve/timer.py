"""One thread that calls back at given times, for all models of a process."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_LOG = logging.getLogger("safhost.serve")


class Timer:
    """``at`` has something called once, soon after a time of the monotonic clock, in the timer's thread."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def at(self, when_ns: int, call: Callable[[], None]) -> None:
        """``call`` must not block."""
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._heap, (when_ns, next(self._count), call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="saf-timer", daemon=True)
                self._thread.start()
            elif self._heap[0][0] == when_ns:
                self._changed.notify()

    def close(self) -> None:
        """Nothing is called any more."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                if not self._heap:
                    self._changed.wait()
                    continue
                left_ns = self._heap[0][0] - time.monotonic_ns()
                if left_ns > 0:
                    self._changed.wait(left_ns / 1e9)
                    continue
                call = heapq.heappop(self._heap)[2]
            try:
                call()
            except Exception:  # of one model: the others' times go on
                _LOG.exception("a timed call failed")


__all__ = ["Timer"]
