"""Memory of a virtual card: sparse, lazy, bounds-checked, and cheap until it is touched.

Role DDR is a memfd, so that the processes that run kernels map the same pages; staging memory for images is
anonymous and belongs to the card's process alone, as the static shell clamps the role away from it.
A thousand cards of 8 GiB cost nothing before the first byte is written.
"""

from __future__ import annotations

import mmap
import os
import weakref
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError

PAGE_BYTES = mmap.PAGESIZE


class SparseMemory:
    """``size_bytes`` of zeros that take pages only where written.

    ``shared``: back it by a memfd (``fd`` gives it) instead of anonymous memory. Raises ConfigError when the
    system gives no memory.
    """

    def __init__(self, size_bytes: int, *, shared: bool, name: str = "saf-ddr") -> None:
        if size_bytes <= 0 or size_bytes % PAGE_BYTES:
            raise ConfigError(f"{size_bytes} bytes of card memory", f"give a multiple of {PAGE_BYTES}")
        self.size_bytes = size_bytes
        self._shared = shared
        self._name = name
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._array: NDArray[np.uint8] | None = None
        self._address = 0
        self._populated = 0
        self._closer: weakref.finalize[[int], SparseMemory] | None = None

    @property
    def touched(self) -> bool:
        """Whether anything was mapped yet."""
        return self._array is not None

    @property
    def array(self) -> NDArray[np.uint8]:
        """The whole memory, (size_bytes,) uint8, mapped on first use."""
        if self._array is None:
            self._open()
            assert self._array is not None
        return self._array

    @property
    def fd(self) -> int:
        """The memfd of shared memory. Raises ConfigError for private memory, which has none."""
        if not self._shared:
            raise ConfigError("private card memory has no descriptor", "share role DDR, not staging memory")
        if self._array is None:
            self._open()
        return self._fd

    @property
    def address(self) -> int:
        """Address of byte 0 in this process."""
        if self._array is None:
            self._open()
        return self._address

    def view(self, address: int, length_bytes: int) -> NDArray[np.uint8]:
        """Bytes ``address .. address + length_bytes`` as a (length_bytes,) uint8 view. Raises IndexError outside."""
        if address < 0 or length_bytes < 0 or address + length_bytes > self.size_bytes:
            raise IndexError(f"{length_bytes} bytes at {address:#x} lie outside {self.size_bytes} bytes of card memory")
        return self.array[address:address + length_bytes]

    def populate(self, length_bytes: int) -> None:
        """Take real memory for the first ``length_bytes`` now, so that writing there costs no page faults, as a card's
        memory is there before it is used. In a virtual machine a first touch costs 2.5 ms a megabyte (measured)."""
        self._populated = min(length_bytes, self.size_bytes)
        self.array[:self._populated:PAGE_BYTES] = 0

    def scrub(self) -> None:
        """Make everything zero and give the pages back, but those populated; views stay valid and read zero."""
        if self._map is None:
            return
        kept = -(-self._populated // PAGE_BYTES) * PAGE_BYTES
        if kept:
            self.array[:kept] = 0
        if kept < self.size_bytes:
            self._map.madvise(mmap.MADV_REMOVE if self._shared else mmap.MADV_DONTNEED, kept, self.size_bytes - kept)

    def resident_bytes(self) -> int:
        """Bytes that take real memory now (shared memory only; 0 for private memory)."""
        return os.fstat(self._fd).st_blocks * 512 if self._fd >= 0 else 0

    def close(self) -> None:
        """Give the memory back; for good. Views that others still hold keep their mapping alive, not the memfd."""
        if self._map is not None:
            self._populated = 0
            self.scrub()
            self._array = None
            with suppress(BufferError):  # somebody still looks: the mapping goes when they do
                self._map.close()
            self._map = None
        if self._closer is not None:
            self._closer()
            self._closer, self._fd = None, -1

    def _open(self) -> None:
        try:
            if self._shared:
                self._fd = os.memfd_create(self._name, os.MFD_CLOEXEC)
                self._closer = weakref.finalize(self, os.close, self._fd)
                os.ftruncate(self._fd, self.size_bytes)
                self._map = mmap.mmap(self._fd, self.size_bytes)
            else:
                self._map = mmap.mmap(-1, self.size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise ConfigError(f"no {self.size_bytes} bytes of card memory: {error}",
                              "use fewer cards, or raise vm.overcommit_memory or the open files limit") from None
        with suppress(OSError):  # kernels without huge pages: slower, not wrong
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self._array = np.frombuffer(self._map, np.uint8)
        self._address = int(self._array.__array_interface__["data"][0])


class CardMemory:
    """Role DDR (shared with role processes) and one staging region per image slot."""

    def __init__(self, ddr_bytes: int, image_slots: int, image_slot_bytes: int, name: str = "saf") -> None:
        self.role = SparseMemory(ddr_bytes, shared=True, name=f"{name}-ddr")
        self.staging = [SparseMemory(image_slot_bytes, shared=False) for _ in range(image_slots)]

    def scrub(self) -> None:
        """Zero everything: another owner, or a reboot."""
        self.role.scrub()
        for region in self.staging:
            region.scrub()

    def close(self) -> None:
        """Give everything back."""
        self.role.close()
        for region in self.staging:
            region.close()
