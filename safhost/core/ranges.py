"""Sets of unit numbers that stay small when units end nearly in order: sorted, disjoint, inclusive ranges."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of integers >= 0 as ranges ``first .. last`` that neither overlap nor touch."""

    __slots__ = ("_firsts", "_lasts", "count")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.count = 0  # numbers in the set
        for first, last in pairs:
            self.add(first, last)

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Ranges:
        out = cls()
        for number in numbers:
            out.add(number)
        return out

    def add(self, first: int, last: int | None = None) -> None:
        """Put in ``first``, or all of ``first .. last``. Raises ValueError when that is no range."""
        if last is None:
            last = first
        if first < 0 or last < first:
            raise ValueError(f"{first} .. {last} is no range of units")
        firsts, lasts = self._firsts, self._lasts
        lo = bisect_right(firsts, first) - 1
        if lo < 0 or lasts[lo] < first - 1:
            lo += 1  # the one before does not reach here
        hi = lo
        while hi < len(firsts) and firsts[hi] <= last + 1:
            self.count -= lasts[hi] - firsts[hi] + 1
            first, last = min(first, firsts[hi]), max(last, lasts[hi])
            hi += 1
        firsts[lo:hi] = [first]
        lasts[lo:hi] = [last]
        self.count += last - first + 1

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def __len__(self) -> int:
        """How many ranges; ``count`` is how many numbers."""
        return len(self._firsts)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.pairs():
            yield from range(first, last + 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.pairs() == other.pairs()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ranges({self.pairs()})"

    def pairs(self) -> list[tuple[int, int]]:
        """(first, last) of each, ascending."""
        return list(zip(self._firsts, self._lasts, strict=True))


__all__ = ["Ranges"]
