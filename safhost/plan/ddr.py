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

    def allocate(self, length_bytes: int) -> int | None:
        """Address of a free range, or None when nothing large enough is free now. Raises SchedulingError when
        the card could never hold it."""
        need = -(-max(1, length_bytes) // DDR_ALIGN_BYTES) * DDR_ALIGN_BYTES
        if need > self.size_bytes:
            raise SchedulingError(f"{length_bytes} bytes do not fit the card's {self.size_bytes} bytes of DDR",
                                  "split the work into smaller units")
        for i, (at, size) in enumerate(self._free):
            if size >= need:
                if size == need:
                    del self._free[i]
                else:
                    self._free[i] = (at + need, size - need)
                self._used[at] = need
                return at
        return None

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
