"""Shared memory that the units of a job live in: bounded, cut into places, grown when a unit needs more.

One memfd serves a whole job, so that no unit costs a system call. Places of the size just given back are given out
again first, as units of a job are mostly alike and warm pages are the fast ones.
"""

from __future__ import annotations

import threading
from bisect import insort

from safhost.runtime.messages import SharedMemory

ALIGN_BYTES = 4096
SPARSE_BYTES = 1 << 32  # up to here an arena is made as long as it may be at once: pages come when they are touched
KEEP_BYTES = 256 << 20


class Arena:
    """Not thread-safe: who uses it holds a lock. ``limit_bytes`` bounds it, but never below one unit."""

    def __init__(self, limit_bytes: int, name: str = "saf-arena") -> None:
        self.limit_bytes = limit_bytes
        self.memory = SharedMemory.create(ALIGN_BYTES, name)
        self.used_bytes = 0
        self._free: list[tuple[int, int]] = [(0, ALIGN_BYTES)]  # ascending, apart from each other
        self._spare: dict[int, list[int]] = {}  # just given back, by size

    @property
    def length(self) -> int:
        return self.memory.length

    def take(self, length_bytes: int) -> int | None:
        """Offset of a place, None while there is no room. May make ``memory`` anew, larger: the same pages, and views
        of the old one stay good."""
        need = _rounded(length_bytes)
        spare = self._spare.get(need)
        if spare:
            self.used_bytes += need
            return spare.pop()
        at = self._fit(need)
        if at is None and self._spare:
            self._merge()
            at = self._fit(need)
        if at is None and self._grow(need):
            at = self._fit(need)
        if at is not None:
            self.used_bytes += need
        return at

    def give_back(self, offset: int, length_bytes: int) -> None:
        need = _rounded(length_bytes)
        self.used_bytes -= need
        self._spare.setdefault(need, []).append(offset)

    def _fit(self, need: int) -> int | None:
        for i, (at, size) in enumerate(self._free):
            if size >= need:
                if size == need:
                    del self._free[i]
                else:
                    self._free[i] = (at + need, size - need)
                return at
        return None

    def _merge(self) -> None:
        for size, places in self._spare.items():
            for at in places:
                insort(self._free, (at, size))
        self._spare.clear()
        merged: list[tuple[int, int]] = []
        for at, size in self._free:
            if merged and sum(merged[-1]) == at:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((at, size))
        self._free = merged

    def _grow(self, need: int) -> bool:
        """More room for ``need``: all that may be, or twice as much. Raises SchedulingError when the system has no
        more."""
        old = self.length
        last = self._free[-1] if self._free and sum(self._free[-1]) == old else (old, 0)
        least = last[0] + need
        if least > self.limit_bytes and self.used_bytes:
            return False
        new = _rounded(max(least, self.limit_bytes if self.limit_bytes <= SPARSE_BYTES else 2 * old))
        grown = self.memory.grown(new)
        self.memory.close()
        self.memory = grown
        if last[1]:
            self._free[-1] = (last[0], new - last[0])
        else:
            self._free.append((old, new - old))
        return True

    def reset(self, limit_bytes: int) -> None:
        """As new, for another job; the pages stay."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._free = [(0, self.length)]
        self._spare.clear()

    def close(self) -> None:
        """Give the descriptor back; the pages go with the last view."""
        self.memory.close()


class Arenas:
    """Keeps the arena of the last job for the next one: making pages costs more than filling them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: Arena | None = None
        self._closed = False

    def take(self, limit_bytes: int) -> Arena:
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is None:
            return Arena(limit_bytes)
        spare.reset(limit_bytes)
        return spare

    def give_back(self, arena: Arena, good: bool) -> None:
        """``good``: the job went well, so that nobody looks into it any more."""
        with self._lock:
            if good and not self._closed and self._spare is None and arena.length <= KEEP_BYTES:
                self._spare = arena
                return
        arena.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._spare is not None:
                self._spare.close()
                self._spare = None


def _rounded(length_bytes: int) -> int:
    return -(-max(1, length_bytes) // ALIGN_BYTES) * ALIGN_BYTES


__all__ = ["ALIGN_BYTES", "Arena", "Arenas"]
