"""What a cluster survives: a job under each named condition, every byte checked, and what repair costs.

The job is what a user does: program all cards, write to all, work units, read everything back. The cost of repair
is compared with the least that a sender can do who learns after each round who misses what: a block goes out until
the unluckiest card has it, so the bound is the expected maximum of one geometric variable a card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from safhost.core import events as ev
from safhost.errors import SafError
from safhost.plan.blocks import block_bytes_for, block_count
from safhost.sim.images import SimImage, make_image
from safhost.sim.network import Impairment
from safhost.sim.simulation import NS, Simulation, SimulationStuck
from safhost.wire.generated import ReadSpace

PAGE = 4096
WRITE_AT = 1 << 20
WRITE_SHARE = 4  # a write is a quarter of the image, and has to be read back twenty times
UNIT_SIDE = 48  # of the matrices of a unit: two blocks more than fit in a few frames
PATIENCE_S = 600.0
NEGLIGIBLE = 1e-12
FAST_BYTES_S = 1_250_000_000  # 10 GbE
SLOW_BYTES_S = 20_000_000  # links under a blackout: else it strikes when all blocks have left the host's queue
CLEAN = Impairment()
GOAL_RATIO = 1.1  # of the bound, for loss of every frame by itself


def union_bound(losses: Iterable[float]) -> float:
    """Expected transmissions of a block until the unluckiest card has it: one loss probability a card."""
    chances = np.array([p for p in losses if p > 0.0])
    total, still = 1.0, chances.copy()
    while len(still):
        term = 1.0 - float(np.prod(1.0 - still))
        if term < NEGLIGIBLE:
            break
        total += term
        still *= chances
    return total


def mean_loss(faults: Impairment) -> float:
    """Share of frames that one direction loses: by themselves, or in bursts."""
    bad = faults.burst * faults.burst_frames / (1.0 + faults.burst * faults.burst_frames)
    return 1.0 - (1.0 - faults.loss) * (1.0 - bad)


@dataclass(frozen=True, slots=True)
class Condition:
    """``every`` is what the plug of every card does to frames, each direction by itself; ``first``: the first card's
    instead. ``dark_s``: so long nothing gets through at all, from the middle of the image on."""

    name: str
    says: str
    every: Impairment = CLEAN
    first: Impairment | None = None
    dark_s: float = 0.0

    def losses(self, cards: int) -> list[float]:
        """Loss on the way to each card."""
        return [mean_loss(self.first or self.every)] + [mean_loss(self.every)] * (cards - 1)


CONDITIONS = (
    Condition("clean", "no fault at all"),
    Condition("loss", "30 % of all frames, both ways", Impairment(loss=0.3)),
    Condition("bursts", "bursts of 50 frames on average, 9 % of all frames, both ways",
              Impairment(burst=0.002, burst_frames=50.0)),
    Condition("one-card", "50 % both ways for one card, none for the others", first=Impairment(loss=0.5)),
    Condition("duplication", "20 % of all frames arrive twice", Impairment(duplicate=0.2)),
    Condition("reordering", "half of all frames are overtaken by up to 4096 others",
              Impairment(reorder=0.5, reorder_frames=4096)),
    Condition("corruption", "1 % of all frames have a wrong byte behind the FCS check",
              Impairment(corrupt=0.01, corrupt_control=0.01)),
    Condition("blackout", "nothing gets through for 60 s", dark_s=60.0),
    Condition("all", "5 % loss, bursts, 5 % twice, 10 % late by up to 256, 0.1 % corrupt, 12 s blackout",
              Impairment(loss=0.05, burst=0.0005, burst_frames=50.0, duplicate=0.05, reorder=0.1, reorder_frames=256,
                         corrupt=0.001, corrupt_control=0.001), dark_s=12.0),
)
LOSSES = (1e-4, 0.01, 0.1, 0.3)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One job. ``frames`` of DATA sent for image and write, which are ``blocks`` blocks; ``wrong`` is empty when
    every byte is right, else what is not. ``programmed_s`` and ``seconds`` are virtual."""

    condition: str
    seed: int
    seconds: float
    programmed_s: float
    frames: int
    blocks: int
    wrong: str

    @property
    def per_block(self) -> float:
        """Transmissions of a block on average."""
        return self.frames / self.blocks if self.blocks else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """Several seeds of one condition. ``bound`` is the union bound; ``ratio`` that of the median to it."""

    condition: Condition
    cards: int
    outcomes: tuple[Outcome, ...]

    @property
    def bound(self) -> float:
        return union_bound(self.condition.losses(self.cards))

    @property
    def per_block(self) -> float:
        return median(o.per_block for o in self.outcomes)

    @property
    def ratio(self) -> float:
        return self.per_block / self.bound

    @property
    def wrong(self) -> str:
        """What went wrong first, with its seed; empty when nothing did."""
        return next((f"seed {o.seed}: {o.wrong}" for o in self.outcomes if o.wrong), "")

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        spread = [o.per_block for o in self.outcomes]
        return {
            "condition": self.condition.name, "says": self.condition.says, "cards": self.cards,
            "seeds": [o.seed for o in self.outcomes], "verdict": "ok" if not self.wrong else "failed",
            "wrong": self.wrong, "virtual_seconds": median(o.seconds for o in self.outcomes),
            "programmed_seconds": median(o.programmed_s for o in self.outcomes),
            "frames": median(o.frames for o in self.outcomes), "blocks": self.outcomes[0].blocks,
            "per_block": self.per_block, "per_block_min": min(spread), "per_block_max": max(spread),
            "bound": self.bound, "ratio": self.ratio}


class _Job:
    """One job of one seed; ``run`` returns the first thing that is wrong."""

    def __init__(self, sim: Simulation, condition: Condition, image: SimImage, seed: int) -> None:
        self.sim = sim
        self.condition = condition
        self.image = image
        self.noise = np.random.default_rng(seed)
        self.programmed_s = 0.0
        self.frames = self.blocks = 0

    def run(self, units: bool) -> str:
        sim = self.sim
        sim.settle(PATIENCE_S)
        for key in sim.cards:
            sim.impair(key, self.condition.every)
        if self.condition.first is not None:
            sim.impair(next(iter(sim.cards)), self.condition.first)
        start_ns = sim.now_ns
        request = sim.program(self.image)
        if self.condition.dark_s:
            self._go_dark(request)
        wrong = self._ended(request, "program")
        self.programmed_s = (sim.now_ns - start_ns) / NS
        if wrong or not units:
            return wrong or self._images()
        data = self.noise.integers(0, 256, len(self.image.payload) // WRITE_SHARE, dtype=np.uint8)
        return (self._images() or self._write(data) or self._units() or self._read_back(data))

    def _all_there(self) -> None:
        """Wait for sessions: a burst of loss goes on for frames, not for seconds, and idle cards have few frames."""
        sessions = self.sim.host.cluster.sessions.by_key
        self.sim.run_while(lambda: not all(sessions[key].usable for key in self.sim.cards), PATIENCE_S, "sessions")

    def _write(self, data: np.ndarray[Any, Any]) -> str:
        self._all_there()
        return self._ended(self.sim.write(data, WRITE_AT), "write", len(data))

    def _go_dark(self, request: int) -> None:
        """Half of the blocks are out: from here on nothing gets through. No end of a link sees its cable pulled."""
        sim = self.sim
        half = block_count(len(self.image.payload), block_bytes_for(sim.mtu)) // 2
        sim.run_while(lambda: sim.host.bulk_frames < half and request not in sim.host.ended, PATIENCE_S, "half of it")
        before = {key: (node.port.incoming.impairment, node.port.outgoing.impairment)
                  for key, node in sim.cards.items()}
        for key in sim.cards:
            sim.impair(key, Impairment(loss=1.0))
        sim.run_for(self.condition.dark_s)
        for key, (incoming, outgoing) in before.items():
            sim.impair(key, incoming, "in")
            sim.impair(key, outgoing, "out")

    def _ended(self, request: int, what: str, length: int = 0) -> str:
        ended = self.sim.run_until(request, PATIENCE_S)
        if ended.error is not None:
            return f"{what}: {ended.error}"
        self.frames += ended.result.get("frames_sent", 0)
        self.blocks += ended.result.get("blocks", 0) or (block_count(length, block_bytes_for(self.sim.mtu)) if length
                                                         else 0)
        return ""

    def _images(self) -> str:
        """Every byte of every image, in the cards' own memory; and the role that runs."""
        want = self.image.payload
        for key, node in self.sim.cards.items():
            slots = [s for s in node.card.snapshot()["images"] if s["digest"] == self.image.digest.hex()]
            if not any(np.array_equal(node.card.memory.staging[s["slot"]].view(0, len(want)), want) for s in slots):
                return f"card {key} holds other bytes than the image"
            if node.card.snapshot()["image_digest"] != self.image.digest.hex():
                return f"card {key} runs another image"
        return ""

    def _units(self) -> str:
        """As many units as cards, each compared with numpy."""
        sim = self.sim
        asked = []
        for _ in sim.cards:
            a, b = (self.noise.random((UNIT_SIDE, UNIT_SIDE), dtype=np.float32) for _ in range(2))
            request, result = sim.unit(self.image, "ptrans", a, b)
            asked.append((request, result, b + a.T))
        for request, result, want in asked:
            wrong = self._ended(request, "unit")
            if wrong or not np.array_equal(result, want):
                return wrong or "a unit's result is wrong"
        return ""

    def _read_back(self, data: np.ndarray[Any, Any]) -> str:
        sim = self.sim
        self._all_there()
        asked = []
        for key in sim.cards:
            out = np.zeros(len(data), np.uint8)
            asked.append((key, sim.start(ev.StartRead(0, key, ReadSpace.DDR, WRITE_AT, out)), out))
        for key, request, out in asked:
            wrong = self._ended(request, "read")
            if wrong or not np.array_equal(out, data):
                return wrong or f"card {key} gives back other bytes than were written"
        return ""


def survive(condition: Condition, seed: int = 1, cards: int = 20, size_bytes: int = 2_000_000,
            units: bool = True) -> Outcome:
    """Run the job once. ``units`` False: program only. Never raises for what the condition does to the job."""
    memory = -(-(WRITE_AT + size_bytes + (4 << 20)) // PAGE) * PAGE
    rate = SLOW_BYTES_S if condition.dark_s else FAST_BYTES_S
    sim = Simulation(seed, cards=cards, rate_bytes_s=rate, card={"ddr_bytes": memory, "image_slot_bytes": memory})
    try:
        job = _Job(sim, condition, make_image(size_bytes), seed)
        try:
            wrong = job.run(units)
            sim.validate()
        except (SafError, SimulationStuck) as error:
            wrong = str(error)
        return Outcome(condition.name, seed, sim.now_ns / NS, job.programmed_s, job.frames, job.blocks, wrong)
    finally:
        sim.close()


def survey(conditions: Sequence[Condition], seeds: Sequence[int], cards: int, size_bytes: int, units: bool = True,
           on_row: Callable[[Row], None] | None = None) -> list[Row]:
    """One row a condition, told to ``on_row`` as it is there."""
    rows = []
    for condition in conditions:
        rows.append(Row(condition, cards, tuple(survive(condition, seed, cards, size_bytes, units)
                                                for seed in seeds)))
        if on_row is not None:
            on_row(rows[-1])
    return rows


def loss_conditions(losses: Sequence[float] = LOSSES) -> list[Condition]:
    """Loss of every frame by itself, both ways, for the table of what repair costs."""
    plain = Condition("", "")
    return [replace(plain, name=f"{loss:g}", says=f"loss {loss:g} both ways", every=Impairment(loss=loss))
            for loss in losses]
