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
        self._lock = threading.Lock()
        self._news = threading.Lock()  # held, but for when the thread is to look again
        self._news.acquire()
        self._closed = False
        self._thread: threading.Thread | None = None

    def at(self, when_ns: int, call: Callable[[], None]) -> None:
        """``call`` must not block."""
        with self._lock:
            if self._closed:
                return
            entry = (when_ns, next(self._count), call)
            heapq.heappush(self._heap, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="saf-timer", daemon=True)
                self._thread.start()
            elif self._heap[0] is entry:
                self._look()

    def _look(self) -> None:
        """With the lock."""
        if self._news.locked():
            self._news.release()

    def close(self) -> None:
        """Nothing is called any more."""
        with self._lock:
            self._closed = True
            self._heap.clear()
            self._look()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            call = None
            with self._lock:
                if self._closed:
                    return
                left_ns = self._heap[0][0] - time.monotonic_ns() if self._heap else -1
                if self._heap and left_ns <= 0:
                    call = heapq.heappop(self._heap)[2]
            if call is None:
                self._news.acquire(timeout=min(left_ns / 1e9, threading.TIMEOUT_MAX) if left_ns > 0 else -1)
                continue
            try:
                call()
            except Exception:  # of one model: the others' times go on
                _LOG.exception("a timed call failed")


__all__ = ["Timer"]
