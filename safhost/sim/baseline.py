"""What loss does to the paper's plain protocol, beside ours: the same job, network and losses.

The job is program to all by broadcast, then one work unit on each card: input, command, result. Judged is what
became of each card, by what a user would see. The paper (SAF, Table I) names no deadline anywhere: a host built as
published waits for a confirmation or a result that never comes. Ours adds a deadline to the paper's protocol; a
card that only this deadline ended is counted as *hung*, and the table says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from safhost.errors import CardLost, DeadlineExceeded, PartialError, SafError
from safhost.sim.images import SimImage, make_image
from safhost.sim.network import Impairment
from safhost.sim.paper_world import PaperSimulation
from safhost.sim.simulation import NS, Simulation
from safhost.sim.survive import CLEAN, PAGE

LOSSES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
VECTOR = 65_536  # elements of a unit's vectors: 512 KiB in, 256 KiB out, 542 frames
PATIENCE_S = 900.0
RIGHT, WRONG, HUNG, FAILED = "right", "wrong", "hung", "failed"
OUTCOMES = {
    RIGHT: "the result is right",
    WRONG: "no error, and image or result is wrong",
    HUNG: "an answer never came; without a deadline nobody would ever hear of it",
    FAILED: "an error was reported",
}
PROFILES = ("paper", "saf")


@dataclass(frozen=True, slots=True)
class Trial:
    """One job: what became of each card, and how long it took in virtual time."""

    profile: str
    loss: float
    seed: int
    cards: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """All trials of one loss for one profile."""

    profile: str
    loss: float
    trials: tuple[Trial, ...]

    @property
    def counts(self) -> Counter[str]:
        return Counter(outcome for trial in self.trials for outcome in trial.cards)

    def share(self, outcome: str) -> float:
        """Of all cards of all trials."""
        return self.counts[outcome] / max(1, self.counts.total())

    @property
    def jobs_right(self) -> float:
        """Share of jobs whose cards all were right: what a user counts."""
        return sum(set(t.cards) == {RIGHT} for t in self.trials) / len(self.trials)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"profile": self.profile, "loss": self.loss, "trials": len(self.trials),
                "cards": self.counts.total(), **{name: self.counts[name] for name in OUTCOMES},
                "jobs_right": self.jobs_right, "virtual_seconds": median(t.seconds for t in self.trials)}


def _judge(error: SafError | None) -> str:
    """What an error means: a deadline of the host's own, or something that was told."""
    if error is None:
        return RIGHT
    return HUNG if isinstance(error, DeadlineExceeded | CardLost) else FAILED


def trial(profile: str, loss: float, seed: int, cards: int = 8, image: SimImage | None = None,
          besides: Impairment = CLEAN) -> Trial:
    """Run the job once over links that lose ``loss`` of all frames, each way of each card, ``besides`` other faults."""
    image = image or make_image(1_000_000)
    memory = {"ddr_bytes": 4 << 20, "image_slot_bytes": -(-len(image.payload) // PAGE) * PAGE}
    sim: Simulation = PaperSimulation(seed, cards, memory) if profile == "paper" else Simulation(
        seed, cards=cards, card=memory)
    try:
        sim.settle()
        for key in sim.cards:
            sim.impair(key, replace(besides, loss=loss))
        start_ns = sim.now_ns
        found = _job(sim, image, seed)
        return Trial(profile, loss, seed, tuple(found.values()), (sim.now_ns - start_ns) / NS)
    finally:
        sim.close()


def _job(sim: Simulation, image: SimImage, seed: int) -> dict[str, str]:
    """Card → what became of it."""
    names = {key: sim.paper_key(node) if isinstance(sim, PaperSimulation) else key for key, node in sim.cards.items()}
    found: dict[str, str] = {}
    ended = sim.run_until(sim.program(image, tuple(names.values())), PATIENCE_S)
    failed = _failures(ended.error, list(names.values()), ended.result)
    asked: dict[str, tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}
    rng = np.random.default_rng(seed)
    for key, name in names.items():
        if name in failed:
            found[key] = failed[name]
        elif not _holds(sim, key, image):
            found[key] = WRONG
        else:
            a, b = (rng.random(VECTOR, dtype=np.float32) for _ in range(2))
            request, result = sim.unit(image, "vadd", a, b, cards=(name,))
            asked[key] = request, result, a + b
    for key, (request, result, want) in asked.items():
        error = sim.run_until(request, PATIENCE_S).error
        found[key] = _judge(error)
        if error is None and not np.array_equal(result, want):
            found[key] = WRONG
    return found


def _failures(error: SafError | None, names: list[str], result: dict[str, Any]) -> dict[str, str]:
    """Cards that were not programmed, and whether anybody but a deadline said so."""
    if error is None:
        return {}
    if not isinstance(error, PartialError):
        return {name: _judge(error) for name in names if name not in result.get("done", [])}
    kinds = {name: (result["cards"].get(name, {}).get("error") or {}).get("type", "") for name in error.failed}
    silent = {DeadlineExceeded.__name__, CardLost.__name__}
    return {name: HUNG if kind in silent else FAILED for name, kind in kinds.items()}


def _holds(sim: Simulation, key: str, image: SimImage) -> bool:
    """Whether the card's own memory has every byte of the image that it says it runs."""
    want = image.payload
    return any(np.array_equal(region.view(0, len(want)), want) for region in sim.cards[key].card.memory.staging)


def compare(losses: Sequence[float], trials: int, cards: int, size_bytes: int, profiles: Sequence[str] = PROFILES,
            besides: Impairment = CLEAN, on_row: Callable[[Row], None] | None = None) -> list[Row]:
    """One row a loss and profile, told to ``on_row`` as it is there."""
    image = make_image(size_bytes)
    rows = []
    for loss in losses:
        for profile in profiles:
            rows.append(Row(profile, loss, tuple(trial(profile, loss, seed, cards, image, besides)
                                                 for seed in range(1, trials + 1))))
            if on_row is not None:
                on_row(rows[-1])
    return rows
