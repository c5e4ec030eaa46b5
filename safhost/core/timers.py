"""One heap of deadlines. An object is due at ``due_ns`` or not at all; entries it outlived are skipped.

They would also keep what ended long ago in memory until its deadline would have passed, so they are thrown out as
often as new ones came in: a look at every entry for that many entries costs next to nothing.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Protocol

SPARED = 64  # outlived entries that are not worth a look


class Timed(Protocol):
    due_ns: int | None

    def on_timer(self, now_ns: int) -> None: ...


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timed]] = []
        self._order = count()
        self._pushed = 0

    def set(self, target: Timed, due_ns: int) -> None:
        """``target.on_timer`` runs once at or after ``due_ns``, in place of whatever it waited for."""
        if target.due_ns != due_ns:
            target.due_ns = due_ns
            heapq.heappush(self._heap, (due_ns, next(self._order), target))
            self._pushed += 1
            if self._pushed > max(SPARED, len(self._heap) // 2):
                self._pushed = 0
                self._heap = [entry for entry in self._heap if entry[2].due_ns == entry[0]]
                heapq.heapify(self._heap)

    def next_ns(self) -> int | None:
        heap = self._heap
        while heap and heap[0][2].due_ns != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now_ns: int) -> None:
        while self._heap and self._heap[0][0] <= now_ns:
            due, _, target = heapq.heappop(self._heap)
            if target.due_ns == due:
                target.due_ns = None
                target.on_timer(now_ns)
