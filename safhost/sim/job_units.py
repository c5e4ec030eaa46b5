"""What a simulated job is: its plan, its units and what they must come to, the data that it has on its cards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from safhost.core import events as ev
from safhost.plan.layout import plan_arguments
from safhost.sim.images import Bytes, SimImage, three
from safhost.wire.digest import leaf_digests, root_digest

KERNEL = "stamp"
TAGS = 4096  # units a job may have: a unit's tag is its job's number times this, plus its own
POISON = 0xA5
PIECE_BYTES = 300_000  # of resident data


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a job is. ``floats``: length of a unit's buffers, at least and at most. ``window``: units handed out at
    once; ``batch``: of those, at most so many at a time. ``memory``: what the client does with a unit's memory when
    it has its result: ``keep`` it, ``poison`` it, ``forget`` it. ``pinned``: share of units for one card alone.
    ``resident_bytes``: of data that its cards have once, where units take their first input from; 0 for none."""

    image: SimImage
    units: int
    floats: tuple[int, int] = (1, 300)
    window: int = 8
    batch: int = 4
    priority: int = 0
    weight: float = 1.0
    cards: tuple[str, ...] = ()
    carries_image: bool = True
    unit_deadline_ms: int = 300_000
    retries: int = 3
    keep_going: bool = False
    speculate: bool = True
    phased: bool = False
    repeat: int = 1
    depth: int = 0
    memory: str = "keep"
    pinned: float = 0.0
    resident_bytes: int = 0
    min_cards: int = 0
    max_cards: int = 0
    lasting: bool = False


class Expected(NamedTuple):
    """One unit as its client keeps it: ``outputs`` are (offset in memory, bytes that must be there)."""

    memory: Bytes
    outputs: tuple[tuple[int, bytes], ...]

    def wrong(self) -> str:
        """What differs from the reference; empty when nothing does."""
        for at, wanted in self.outputs:
            found = self.memory[at:at + len(wanted)].tobytes()
            if found != wanted:
                differ = sum(a != b for a, b in zip(found, wanted, strict=True))
                return f"{differ} of {len(wanted)} bytes at {at:#x} of its memory differ from the reference"
        return ""


@lru_cache(16)
def resident_of(size_bytes: int, number: int, seed: int) -> ev.JobResident:
    """Data of job ``number``, none like another's; always the same."""
    floats = np.random.default_rng((seed, number)).random(size_bytes // 4, np.float32)
    payload = floats.view(np.uint8)
    payload.flags.writeable = False
    pieces = []
    for at in range(0, len(payload), PIECE_BYTES):
        part = payload[at:at + PIECE_BYTES]
        leaves = leaf_digests(part.data)
        pieces.append((at, len(part), leaves, root_digest(leaves)))
    return ev.JobResident(payload, tuple(pieces))


def resident_at(plan: JobPlan, number: int, index: int, seed: int, length_bytes: int) -> int:
    """Where in its job's data a unit begins to read: at its start, its end, or between."""
    last = plan.resident_bytes // 4 * 4 - length_bytes
    return int(np.random.default_rng((seed, number, index, 1)).choice([0, last, last // 8 * 4]))


def make_unit(plan: JobPlan, number: int, index: int, seed: int, card: str = "") -> tuple[ev.JobUnit, Expected]:
    """Unit ``index`` of job ``number``; always the same one. Outputs over inputs go behind the range's layout, as
    nothing may be written over an input."""
    noise = np.random.default_rng((seed, number, index))
    n = int(noise.integers(plan.floats[0], plan.floats[1] + 1))
    x, z = (noise.random(n, dtype=np.float32) for _ in range(2))
    tag = number * TAGS + index
    _, spec = plan.image.kernel(KERNEL)
    resident = {}
    if plan.resident_bytes:
        at = resident["X"] = resident_at(plan, number, index, seed, x.nbytes)
        x = resident_of(plan.resident_bytes, number, seed).payload[at:at + x.nbytes].view(np.float32)
    layout = plan_arguments(spec, spec.bind(x, z, tag=tag), 0, 1 << 40, resident=resident)
    z_out = z.copy()
    for _ in range(plan.repeat):
        z_out += 1
    wanted = {"Y": x + np.float32(tag), "Z": z_out}
    memory = np.full(layout.end + z.nbytes + int(noise.integers(0, 100)), POISON, np.uint8)
    inputs = []
    for array, address in layout.writes:
        memory[address:address + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
        leaves = leaf_digests(memory[address:address + array.nbytes].data)
        inputs.append((address, array.nbytes, leaves, root_digest(leaves)))
    written = {address for _, address in layout.writes}
    outputs, expected, behind = [], [], layout.end
    for read in layout.reads:
        at = behind if read.address in written else read.address
        behind += read.length_bytes if read.address in written else 0
        outputs.append((read.address, read.length_bytes, at))
        expected.append((at, wanted[read.name].tobytes()))
    unit = ev.JobUnit(index, memory, layout.end, tuple(inputs), tuple(outputs), layout.block,
                      tuple(a.csr_offset for a in spec.args if a.kind == "buffer" and a.name not in resident),
                      three(layout.global_size), work_dim=len(layout.global_size), card=card,
                      resident=tuple(a.csr_offset for a in spec.args if a.name in resident))
    return unit, Expected(memory, tuple(expected))


def resident_base(plan: JobPlan, number: int, index: int, seed: int, block: bytes) -> int:
    """Where a unit's argument block, as it is on a card, says that its job's data lies."""
    _, spec = plan.image.kernel(KERNEL)
    x = next(arg for arg in spec.args if arg.name == "X")
    unit, _ = make_unit(plan, number, index, seed)
    address, at = (int.from_bytes(b[x.csr_offset:x.csr_offset + 8], "little") for b in (block, unit.arguments))
    return address - at


__all__ = ["KERNEL", "POISON", "TAGS", "Expected", "JobPlan", "make_unit", "resident_base", "resident_of"]
