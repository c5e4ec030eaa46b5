"""First-fit allocation of role DDR on one card. Pure bookkeeping, no bytes."""

from __future__ import annotations

from safhost.errors import SchedulingError

DDR_ALIGN_BYTES = 4096  # keeps buffers of different units on different DDR pages


class DdrAllocator:
    """Free ranges of ``size_bytes`` of DDR; all addresses are multiples of 4096."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._free: list[tuple[int, int]] = [(0, size_bytes)]
        self._used: dict[int, int] = {}

    @property
    def used_bytes(self) -> int:
        return sum(self._used.values())

    def allocate(self, length_bytes: int, top: bool = False, bank: int = 0, banks: int = 1) -> int | None:
        """Address of a free range, or None when nothing large enough is free now. ``top``: as far to the end as there
        is one. ``bank``: within this one of so many equal parts. Raises SchedulingError when the card could never hold
        it there."""
        need = -(-max(1, length_bytes) // DDR_ALIGN_BYTES) * DDR_ALIGN_BYTES
        low, high = self.bank(bank, banks)
        if need > high - low:
            raise SchedulingError(f"{length_bytes} bytes do not fit the {'card' if banks == 1 else 'bank'}'s "
                                  f"{high - low} bytes of DDR", "split the work into smaller units")
        for i in reversed(range(len(self._free))) if top else range(len(self._free)):
            first, size = self._free[i]
            start, end = max(first, low), min(first + size, high)
            if end - start >= need:
                at = end - need if top else start
                left = [(first, at - first), (at + need, first + size - at - need)]
                self._free[i:i + 1] = [part for part in left if part[1]]
                self._used[at] = need
                return at
        return None

    def bank(self, number: int, banks: int) -> tuple[int, int]:
        """(first byte, end) of one of ``banks`` equal parts."""
        size = self.size_bytes // banks // DDR_ALIGN_BYTES * DDR_ALIGN_BYTES
        return number * size, self.size_bytes if number == banks - 1 else (number + 1) * size

    def release(self, address: int) -> None:
        """Give back what :meth:`allocate` returned."""
        size = self._used.pop(address, 0)
        if not size:
            return  # cleared in between
        merged: list[tuple[int, int]] = []
        for at, length in sorted([*self._free, (address, size)]):
            if merged and merged[-1][0] + merged[-1][1] == at:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((at, length))
        self._free = merged

    def clear(self) -> None:
        """Forget everything (the card lost its DDR)."""
        self._free = [(0, self.size_bytes)]
        self._used.clear()
