"""One heap of deadlines. An object is due at ``due_ns`` or not at all; entries it outlived are skipped."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Protocol


class Timed(Protocol):
    due_ns: int | None

    def on_timer(self, now_ns: int) -> None: ...


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timed]] = []
        self._order = count()

    def set(self, target: Timed, due_ns: int) -> None:
        """``target.on_timer`` runs once at or after ``due_ns``, in place of whatever it waited for."""
        if target.due_ns != due_ns:
            target.due_ns = due_ns
            heapq.heappush(self._heap, (due_ns, next(self._order), target))

    def next_ns(self) -> int | None:
        heap = self._heap
        while heap and heap[0][2].due_ns != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now_ns: int) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now_ns:
            due, _, target = heapq.heappop(heap)
            if target.due_ns == due:
                target.due_ns = None
                target.on_timer(now_ns)
