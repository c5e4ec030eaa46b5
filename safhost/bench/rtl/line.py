"""Line rate: DATA frames of one size back to back into DDR, and what became of them.

A frame of 104 bytes or more carries the largest whole block (a multiple of 64 bytes) that it holds, and padding behind
it: every frame is written. A shorter one can only be the last block of an object: the same block is sent over and
over, judged each time, and written once; the others count as duplicates, which is what must happen to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from safhost.bench.rtl.host import CYCLE_NS, LINE_OVERHEAD_BYTES, BenchCard, beats, line_cycles
from safhost.errors import CardError
from safhost.lab.rtl_sim import View
from safhost.wire.codec import MIN_FRAME_BYTES
from safhost.wire.generated import BLOCK_MULTIPLE, HEADER_BYTES, DropReason, Opcode, TransferKind

LEAST_CYCLES, LEAST_FRAMES = 20_000, 32
"""Of one size: more than a dozen refreshes of DDR."""

SWEEP_CYCLES, SWEEP_FRAMES = 2_500, 3
"""Of one size when all of them are tried; what the shell does not keep up with shows behind the line's end."""

FULL_BLOCK_BYTES = HEADER_BYTES + BLOCK_MULTIPLE
BASE = (1 << 20) + 37
"""Nowhere near a border of DDR's words, so that every block is written by byte enables at both ends."""

TAIL_STEP, MOST_TAIL_CYCLES = 8, 20_000
ALL_SIZES = range(64, 9001)


def table_sizes() -> list[int]:
    """The table's sizes: around the smallest, all modulo 8, powers of two, full frames of usual MTUs (without FCS)."""
    around = {60, *range(64, 72), *range(103, 113)}
    powers = {p + d for p in (128, 256, 512, 1024, 2048, 4096, 8192) for d in (-1, 0, 1)}
    full = {1500, 1512, 1514, *range(4992, 5000), 8974, 8999, 9000, 9014}
    return sorted(around | powers | full)


@dataclass(frozen=True, slots=True)
class LineRow:
    """One size. ``cycles``: from the first beat until every frame is judged and the last byte is in DDR;
    ``behind_cycles``: of them after the end of the line's last frame: a frame is stored whole before a beat a cycle of
    it is written. ``blocks``: written; ``repeats``: of a block that was there; ``lost``: neither, for whatever reason;
    ``gb_per_s``: of the line, all overhead counted, in ``cycles`` less those in which one frame is stored;
    ``payload_mb_per_s``: bytes into DDR in the same time."""

    size_bytes: int
    frames: int
    blocks: int
    repeats: int
    lost: int
    cycles: int
    behind_cycles: int
    gb_per_s: float
    payload_mb_per_s: float
    memory_ok: bool

    @property
    def backlog_cycles(self) -> int:
        """How far behind the line the shell was in the end, storing a frame not counted."""
        return self.behind_cycles - beats(self.size_bytes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"backlog_cycles": self.backlog_cycles}


def measure_sizes(card: BenchCard, sizes: Sequence[int], least_cycles: int = LEAST_CYCLES,
                  least_frames: int = LEAST_FRAMES) -> Iterator[LineRow]:
    """A row for each size, in order, on a card with an open session. Raises CardError for a size beyond the MTU."""
    for size in sizes:
        if not MIN_FRAME_BYTES <= size <= card.mtu + 14:
            raise CardError(f"no frame of {size} bytes fits MTU {card.mtu}", f"use 60 to {card.mtu + 14}")
        yield measure_size(card, size, least_cycles, least_frames)


def measure_size(card: BenchCard, size: int, least_cycles: int = LEAST_CYCLES,
                 least_frames: int = LEAST_FRAMES) -> LineRow:
    """Frames of ``size`` bytes back to back, for that many cycles and frames at least."""
    count = max(least_frames, -(-least_cycles * 8 // (size + LINE_OVERHEAD_BYTES)))
    whole = size >= FULL_BLOCK_BYTES
    block = (size - HEADER_BYTES) // BLOCK_MULTIPLE * BLOCK_MULTIPLE if whole else BLOCK_MULTIPLE
    length = count * block if whole else size - HEADER_BYTES
    data = np.random.default_rng(size).integers(0, 256, length, np.uint8)
    ddr = card.memory.role.view(BASE, length)
    ddr[:] = 0
    transfer, _ = card.open_xfer(TransferKind.DDR, length, block, bytes(32), BASE)
    rows, sizes = card.data_frames(data, transfer, TransferKind.DDR, block, size - HEADER_BYTES - block if whole else 0)
    if not whole:
        rows, sizes = np.repeat(rows, count, axis=0), np.repeat(sizes, count)
    before, begin = card.look(), card.cycles
    card.push(rows, sizes)
    line = round(line_cycles(sizes))
    card.step(line)
    # blocks are written in order: the last bytes are the last to come
    done = 0
    while card.cycles - begin - line < MOST_TAIL_CYCLES:
        done = _taken(before, card.look())
        if done >= count and np.array_equal(ddr[-BLOCK_MULTIPLE:], data[-BLOCK_MULTIPLE:]):
            break
        card.step(TAIL_STEP)
    cycles, after = card.cycles - begin, card.look()
    card.ask(Opcode.ABORT, bytes(8), transfer, 0, card.carrier(TransferKind.DDR), step=TAIL_STEP)
    blocks = after.data_blocks - before.data_blocks
    ns = (cycles - beats(size)) * CYCLE_NS
    return LineRow(size, count, blocks, done - blocks, count - done, cycles, cycles - line,
                   round(float((np.maximum(sizes, MIN_FRAME_BYTES) + LINE_OVERHEAD_BYTES).sum()) * 8 / ns, 3),
                   round((length if whole else blocks * length) / ns * 1e3, 1), bool(np.array_equal(ddr, data)))


def _taken(before: View, after: View) -> int:
    repeats = DropReason.DUPLICATE_BLOCK
    return after.data_blocks - before.data_blocks + after.drops[repeats] - before.drops[repeats]
