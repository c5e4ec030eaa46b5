"""A TPACKET_V2 receive ring: kernel memory with one frame a slot, seen as one strided numpy array.

Layout and option numbers: Linux ``linux/if_packet.h`` and ``Documentation/networking/packet_mmap.rst``. Each
slot starts with a ``tpacket2_hdr`` (status u32, length u32, captured length u32, mac u16, …). The kernel
writes the status last. A slot is ours while TP_STATUS_USER is set and the kernel's again once it is 0.
Reading a status and then the frame needs no barrier on x86; on weakly ordered machines the interpreter's
own locks lie between the two.

Slots have a constant distance because the block size is a multiple of the slot size; a power of two is
avoided where it wastes memory (and would put every status word in the same cache sets).
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import LinkError
from safhost.link.base import FrameBatch

SOL_PACKET = 263
PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, PACKET_RESERVE = 5, 6, 10, 12
TPACKET_V2 = 1
TP_STATUS_KERNEL, TP_STATUS_USER, TP_STATUS_VLAN_VALID = 0, 1, 1 << 4

RESERVE_BYTES = 22
"""Puts byte 40 of a frame, the first of a bulk block, on a multiple of 64 in its slot."""

MAC_OFFSET_BYTES = 66 + RESERVE_BYTES
"""Where a frame starts in its slot (tpacket_rcv): align16(header 32 + sockaddr_ll 20 + 16) less 14."""

_PAGE_BYTES = mmap.PAGESIZE
_MAX_BLOCK_PAGES = 128
_FIRST_LOOK_SLOTS = 32


@dataclass(frozen=True, slots=True)
class RingGeometry:
    """Sizes handed to PACKET_RX_RING; ``slots`` of ``slot_bytes`` fill ``blocks`` of ``block_bytes``."""

    slot_bytes: int
    block_bytes: int
    blocks: int

    @property
    def slots(self) -> int:
        return self.blocks * self.block_bytes // self.slot_bytes

    @property
    def capture_bytes(self) -> int:
        """Longest frame that a slot holds."""
        return self.slot_bytes - MAC_OFFSET_BYTES


def plan_ring(frame_bytes: int, ring_bytes: int) -> RingGeometry:
    """Smallest memory a slot for frames of up to ``frame_bytes``, in a ring of about ``ring_bytes``.

    The kernel allocates each block as a power of two of pages, so what counts is that size over the slots in
    the block. Raises LinkError when not even one block fits into ``ring_bytes``.
    """
    need = -(-(MAC_OFFSET_BYTES + frame_bytes) // 64) * 64
    best: tuple[float, int, int] | None = None
    for slot in range(need, need + need // 3 + 64, 64):
        for pages in range(1, min(_MAX_BLOCK_PAGES, ring_bytes // _PAGE_BYTES) + 1):
            slots, rest = divmod(pages * _PAGE_BYTES, slot)
            if rest or not slots:
                continue
            allocated = _PAGE_BYTES << (pages - 1).bit_length()
            candidate = (allocated / slots, -pages, slot)
            best = candidate if best is None else min(best, candidate)
    if best is None:
        raise LinkError(f"a receive ring of {ring_bytes} bytes holds no frame of {frame_bytes} bytes",
                        "give the ring at least 64 KiB")
    block = -best[1] * _PAGE_BYTES
    return RingGeometry(slot_bytes=best[2], block_bytes=block, blocks=max(1, ring_bytes // block))


@dataclass(slots=True, eq=False)
class RingBatch(FrameBatch):
    """Frames that still lie in the ring: `release` hands their slots back to the kernel."""

    ring: RxRing
    start: int
    slots: int
    released: bool = False

    def release(self) -> None:
        if not self.released:
            self.released = True
            self.ring.give_back(self)


class RxRing:
    """The mapped ring of one raw socket.

    Several batches may be held at once; slots come free for new batches in the order they were taken.
    Raises LinkError when the kernel has no memory for the ring.
    """

    def __init__(self, sock: socket.socket, geometry: RingGeometry) -> None:
        self.geometry = geometry
        self.rx_frames = 0
        self.vlan_frames = 0
        self._drops = 0
        self._sock = sock
        g = geometry
        try:
            sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
            sock.setsockopt(SOL_PACKET, PACKET_RESERVE, RESERVE_BYTES)
            sock.setsockopt(SOL_PACKET, PACKET_RX_RING,
                            struct.pack("IIII", g.block_bytes, g.blocks, g.slot_bytes, g.slots))
            # numpy views keep the mapping alive, so that a batch held past close() stays readable.
            memory = mmap.mmap(sock.fileno(), g.blocks * g.block_bytes, mmap.MAP_SHARED,
                               mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as err:
            raise LinkError(f"no receive ring of {g.blocks * g.block_bytes} bytes: {err.strerror}",
                            "ask for a smaller ring, or free memory") from err
        slots = np.frombuffer(memory, np.uint8).reshape(g.slots, g.slot_bytes)
        self._status: NDArray[np.uint32] = slots[:, 0:4].view(np.uint32)[:, 0]
        self._captured: NDArray[np.uint32] = slots[:, 8:12].view(np.uint32)[:, 0]
        self._frames: NDArray[np.uint8] = slots[:, MAC_OFFSET_BYTES:]
        self._slots = g.slots
        self._head = 0
        self._held_slots = 0
        self._batches: deque[RingBatch] = deque()

    def take(self, max_frames: int) -> RingBatch | None:
        """Up to ``max_frames`` frames from the oldest on, as a view; None when none waits.

        A batch ends at the ring's end. VLAN-tagged frames are counted and left out (by a copy).
        """
        while True:
            head = self._head
            first = self._status.item(head)
            limit = min(max_frames, self._slots - head, self._slots - self._held_slots)
            if not first & TP_STATUS_USER or limit <= 0:
                return None
            if limit == 1 or not self._status.item(head + 1) & TP_STATUS_USER:
                # One frame is the usual case of commands and answers, where every microsecond shows.
                count, flags, statuses = 1, first, self._status[head:head + 1]
            else:
                statuses = self._ready(head, limit)
                count, flags = len(statuses), int(np.bitwise_or.reduce(statuses))
            end = head + count
            frames, lengths = self._frames[head:end], self._captured[head:end]
            kept = count
            if flags & TP_STATUS_VLAN_VALID:
                keep = (statuses & TP_STATUS_VLAN_VALID) == 0
                frames, lengths = frames[keep], lengths[keep]
                kept = len(lengths)
                self.vlan_frames += count - kept
            batch = RingBatch(frames, lengths, self, head, count)
            self._head = end if end < self._slots else 0
            self._held_slots += count
            self._batches.append(batch)
            if kept:
                self.rx_frames += kept
                return batch
            batch.release()

    def _ready(self, head: int, limit: int) -> NDArray[np.uint32]:
        """Copy of the statuses of the slots from ``head`` on that are filled without a gap; two or more are.

        Looks far only when the near ones are filled, and reads each status word from the ring once or twice:
        every one is a cache line of its own.
        """
        statuses = self._status[head:head + min(limit, _FIRST_LOOK_SLOTS)].copy()
        if limit > _FIRST_LOOK_SLOTS and statuses[-1] & TP_STATUS_USER:
            statuses = self._status[head:head + limit].copy()
        filled = statuses & TP_STATUS_USER
        return statuses if filled.all() else statuses[:int(filled.argmin())]

    def give_back(self, batch: RingBatch) -> None:
        """Called by `RingBatch.release`."""
        if batch.slots == 1:
            self._status[batch.start] = TP_STATUS_KERNEL
        else:
            self._status[batch.start:batch.start + batch.slots] = TP_STATUS_KERNEL
        while self._batches and self._batches[0].released:
            self._held_slots -= self._batches.popleft().slots

    def drops(self) -> int:
        """Frames lost to a full ring since it was made (the kernel resets its figure when read)."""
        data: Any = self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self._drops += struct.unpack("II", data)[1]
        return self._drops
