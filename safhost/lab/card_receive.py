"""The bulk receive path of a virtual card: whole groups of DATA frames into DDR, no object per frame.

A block is written only while its transfer is receiving and only when its bit is clear; what is dropped is
counted by reason, vectorised. The usual group, ascending block numbers without a gap, costs a handful of numpy
calls and one strided copy; gaps cost a copy a run, many gaps a gather.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from safhost.wire import auth
from safhost.wire.codec import DataGroup
from safhost.wire.generated import (
    FLAG_GUARDED,
    HEADER_BYTES,
    LEAF_BYTES,
    DropReason,
    ImageInfo,
    TransferInfo,
    TransferKind,
    TransferState,
    XferOpen,
)

MAX_RUNS = 24
"""More runs of consecutive blocks than this in one group are written by one gather instead of a copy each."""


class Transfer:
    """One object on its way into DDR.

    ``memory`` is the object's place, (length,) uint8; ``todo`` (blocks,) bool tells what is missing; ``lowest``
    is the lowest missing block (``blocks`` when none); ``leaf_ok`` marks leaves whose digest in ``leaves`` holds.
    """

    __slots__ = ("address", "base", "block_bytes", "blocks", "close_index", "close_pending", "context", "digest",
                 "ethertype", "found", "full", "group", "guarded", "hashed_ns", "id", "kind", "last_bytes", "leaf_ok",
                 "leaf_total", "leaves", "leaves_done", "length", "lowest", "memory", "missing", "next_leaf",
                 "received", "repair_id", "rows", "slot", "state", "todo")

    def __init__(self, transfer_id: int, ask: XferOpen, context: int, ethertype: int,
                 memory: NDArray[np.uint8]) -> None:
        self.id = transfer_id
        self.kind = TransferKind(ask.kind)
        self.slot = ask.slot
        self.context = context
        self.ethertype = ethertype
        self.group = ask.group
        self.base = ask.base
        self.length = ask.length
        self.block_bytes = ask.block_bytes
        self.blocks = ask.blocks
        self.digest = ask.digest
        self.memory = memory
        self.address = int(memory.__array_interface__["data"][0])
        self.last_bytes = ask.length - (ask.blocks - 1) * ask.block_bytes
        self.full = ask.length // ask.block_bytes
        self.rows = memory[:self.full * ask.block_bytes].reshape(self.full, ask.block_bytes)
        self.state = TransferState.CLEARING
        self.todo: NDArray[np.bool_] = np.ones(ask.blocks, np.bool_)
        self.missing = ask.blocks
        self.lowest = 0
        self.received = 0
        self.guarded = False
        self.repair_id = 0
        self.leaf_total = -(-ask.length // LEAF_BYTES)
        self.leaves = bytearray(32 * self.leaf_total)
        self.leaf_ok = bytearray(self.leaf_total)
        self.leaves_done = 0
        self.next_leaf = 0
        self.hashed_ns = 0
        self.found = bytes(32)
        self.close_index = 0
        self.close_pending = False

    @property
    def over(self) -> bool:
        """Nothing more will happen to it: its context may be used again."""
        return self.state is TransferState.VERIFIED

    def ready_leaves(self) -> int:
        """Leaves, from the first, whose bytes are all there."""
        if self.lowest == self.blocks:
            return self.leaf_total
        return self.lowest * self.block_bytes // LEAF_BYTES

    def mark_complete(self) -> None:
        """Nothing is missing (the slot held the image already)."""
        self.todo[:] = False
        self.missing, self.lowest = 0, self.blocks

    def forget(self, first: int, count: int) -> None:
        """Blocks that are missing again, and the leaves they lie in."""
        self.todo[first:first + count] = True
        self.missing = int(np.count_nonzero(self.todo))
        self.lowest = int(self.todo.argmax())
        self.forget_leaves(first * self.block_bytes, count * self.block_bytes)

    def forget_leaves(self, offset: int, length_bytes: int) -> None:
        """Leaves whose bytes changed."""
        start = offset // LEAF_BYTES
        stop = min(self.leaf_total, -(-(offset + length_bytes) // LEAF_BYTES))
        if start < stop:
            self.leaf_ok[start:stop] = bytes(stop - start)
            self.leaves_done = self.leaf_ok.count(1)
            self.next_leaf = min(self.next_leaf, start)

    def retire(self) -> None:
        """Keep the outcome, give bitmap and memory views back (its context goes to another transfer)."""
        self.todo = np.zeros(0, np.bool_)
        self.memory = self.rows = np.zeros((0,), np.uint8)
        self.leaves, self.leaf_ok = bytearray(), bytearray()

    def info(self) -> TransferInfo:
        """Its entry in OPENED."""
        return TransferInfo(transfer=self.id, kind=self.kind, state=self.state,
                            received=self.received & 0xFFFFFFFF, blocks=self.blocks)

    def take(self, group: DataGroup, key: bytes, drops: list[int]) -> int:
        """Write the blocks of a group that belongs here; returns how many were new. Counts the others in ``drops``."""
        index = group.index
        n = len(index)
        first, last = int(index[0]), int(index[-1])
        if (last < self.full and group.guarded is None and not self.guarded
                and (n == 1 or bool((index[1:] > index[:-1]).all()))
                and bool((group.length == self.block_bytes).all())):
            # strictly ascending and within the full blocks; without a gap the numbers are a slice
            chosen = slice(first, last + 1) if last - first == n - 1 else index
            if bool(self.todo[chosen].all()):
                self._write_ascending(group.frames, index, chosen)
                self.todo[chosen] = False
                self.received += n
                self._account(n, first, first + 1 if chosen is index else last + 1)
                return n
        return self._take_sorted_out(group, key, drops)

    def _write_ascending(self, frames: NDArray[np.uint8], index: NDArray[np.int64],
                         chosen: slice | NDArray[np.int64]) -> None:
        """Copy the blocks of all frames: one copy for a slice, a copy a run for few gaps, else a scatter."""
        blocks = frames[:, HEADER_BYTES:HEADER_BYTES + self.block_bytes]
        if chosen is not index:
            self.rows[chosen] = blocks
            return
        breaks = np.flatnonzero(index[1:] - index[:-1] != 1) + 1
        if len(breaks) >= MAX_RUNS:
            self.rows[index] = blocks
            return
        for start, stop in pairwise([0, *breaks.tolist(), len(index)]):
            block = int(index[start])
            self.rows[block:block + stop - start] = blocks[start:stop]

    def _take_sorted_out(self, group: DataGroup, key: bytes, drops: list[int]) -> int:
        index, length = group.index, group.length
        good = (index >= 0) & (index < self.blocks)
        rows = np.flatnonzero(good)
        drops[DropReason.INDEX_OUT_OF_RANGE] += len(index) - len(rows)
        wanted = np.where(index[rows] == self.blocks - 1, self.last_bytes, self.block_bytes)
        fits = length[rows] == wanted
        if not fits.all():
            drops[DropReason.BAD_BLOCK_LENGTH] += len(rows) - int(np.count_nonzero(fits))
            rows = rows[fits]
        if self.guarded or group.guarded is not None:
            rows = self._guard_checked(group, rows, key, drops)
        known = len(rows)
        self.received += known
        rows = rows[self.todo[index[rows]]]
        if len(rows) > 1:
            numbers = index[rows]
            if not (numbers[1:] > numbers[:-1]).all():
                # the same block twice in one group: the first wins, as it would one frame at a time
                rows = rows[np.sort(np.unique(numbers, return_index=True)[1])]
        drops[DropReason.DUPLICATE_BLOCK] += known - len(rows)
        if not len(rows):
            return 0
        numbers = index[rows]
        self._write(group.frames, rows, numbers)
        self.todo[numbers] = False
        low = int(numbers.min())
        self._account(len(rows), low, low + 1)
        return len(rows)

    def _guard_checked(self, group: DataGroup, rows: NDArray[np.intp], key: bytes,
                       drops: list[int]) -> NDArray[np.intp]:
        """Rows that may be written under guard; guarded frames are few (repair only), so one at a time."""
        kept = []
        for row in rows.tolist():
            frame = group.frames[row]
            if group.guarded is not None and frame[23] & FLAG_GUARDED:
                head = frame[14:32].tobytes()
                block = frame[HEADER_BYTES:HEADER_BYTES + int(group.length[row])].tobytes()
                if auth.equal(auth.guard_tag(key, head, block), frame[32:40].tobytes()):
                    kept.append(row)
                    continue
            elif not self.guarded:
                kept.append(row)
                continue
            drops[DropReason.UNGUARDED] += 1
        return np.array(kept, np.intp)

    def _write(self, frames: NDArray[np.uint8], rows: NDArray[np.intp], numbers: NDArray[np.int64]) -> None:
        """Copy blocks ``numbers`` out of frames ``rows``; numbers are in range, distinct and of right length."""
        if self.full < self.blocks:
            short = np.flatnonzero(numbers == self.full)
            if len(short):
                row = int(rows[short[0]])
                self.memory[self.full * self.block_bytes:] = frames[row, HEADER_BYTES:HEADER_BYTES + self.last_bytes]
                rows, numbers = np.delete(rows, short), np.delete(numbers, short)
        blocks = frames[:, HEADER_BYTES:HEADER_BYTES + self.block_bytes]
        breaks = np.flatnonzero((np.diff(numbers) != 1) | (np.diff(rows) != 1)) + 1
        if len(breaks) >= MAX_RUNS:
            self.rows[numbers] = blocks[rows]
            return
        bounds = [0, *breaks.tolist(), len(numbers)]
        for start, stop in pairwise(bounds):
            if start < stop:
                block, row = int(numbers[start]), int(rows[start])
                self.rows[block:block + stop - start] = blocks[row:row + stop - start]

    def _account(self, written: int, low: int, stop: int) -> None:
        self.missing -= written
        if low == self.lowest:
            self.lowest = stop
        if not self.missing:
            self.lowest = self.blocks
        elif not self.todo[self.lowest]:
            self.lowest += int(self.todo[self.lowest:].argmax())


class ImageSlot:
    """An image slot of staging memory and what lies in it."""

    __slots__ = ("digest", "last_used", "length", "number", "state")

    def __init__(self, number: int) -> None:
        self.number = number
        self.clear()

    def clear(self) -> None:
        """Nothing is staged here."""
        self.digest = bytes(32)
        self.length = 0
        self.state = TransferState.UNUSED
        self.last_used = 0

    def info(self) -> ImageInfo:
        """Its entry in OPENED."""
        return ImageInfo(digest=self.digest, length=self.length, state=self.state, slot=self.number,
                         last_used=self.last_used)
