"""Results of a job that nobody took yet, and who takes them. Nothing here locks but what several jobs share."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from safhost.unitplan import UnitResult

KEEP_LATE = 8192  # results that went to `out` and that nobody asked for yet


class Listener:
    """Results of one job on their way to as_completed()."""

    def __init__(self, shared: threading.Condition) -> None:
        self._shared = shared
        self.queue: deque[UnitResult] = deque()
        self.ended = False

    @property
    def count(self) -> int:
        return len(self.queue)

    def put(self, result: UnitResult) -> None:
        with self._shared:
            self.queue.append(result)
            self._shared.notify_all()

    def end(self) -> None:
        with self._shared:
            self.ended = True
            self._shared.notify_all()


class Results:
    """``placed``: their values are in `out`, and only the latest are kept for as_completed(); else all are kept.
    ``lost``: of those placed, that nobody can be told of any more."""

    def __init__(self, placed: bool) -> None:
        self._placed = placed
        self.listener: Listener | None = None
        self.lost = 0
        self._by_index: dict[int, UnitResult] = {}
        self._late: deque[UnitResult] = deque()

    @property
    def behind(self) -> int:
        """Results that hold a value and that the listener did not take yet."""
        listener = self.listener
        return 0 if self._placed or listener is None else listener.count

    @property
    def wanted(self) -> bool:
        """Whether anybody may ask for the next one."""
        return not self._placed or self.listener is not None or len(self._late) < KEEP_LATE

    def put(self, index: int, result: UnitResult | None) -> None:
        """None for one that was not ``wanted``."""
        if self.listener is not None:
            if result is not None:
                self.listener.put(result)
        elif result is None or (self._placed and len(self._late) >= KEEP_LATE):
            self.lost += 1
        elif self._placed:
            self._late.append(result)
        else:
            self._by_index[index] = result

    def attach(self, listener: Listener) -> None:
        """From here on it gets them, those that came before too."""
        self.listener = listener
        for result in (*self._by_index.values(), *self._late):
            listener.put(result)
        self._by_index.clear()
        self._late.clear()

    def detach(self, left: Iterable[UnitResult]) -> None:
        """Nobody takes them any more; those not taken are kept as before."""
        self.listener = None
        for result in left:
            if self._placed:
                self._late.append(result)
            else:
                self._by_index[result.index] = result

    def values(self, total: int | None) -> list[Any]:
        """In order; None for what the listener got."""
        some = self._by_index
        return [some[i].value if i in some else None for i in range(total or max(some, default=-1) + 1)]


__all__ = ["Listener", "Results"]
