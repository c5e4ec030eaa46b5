"""Bugs planted in core and card, one at a time, and the hunt for each of them with storms.

A simulation that finds nothing proves nothing until it has been seen to find something. Each bug here is a mistake
that somebody could make in a protocol like this one. Each has to be found by a named invariant within so many seeds.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any

from safhost.errors import ConfigError
from safhost.planting import Planting, planted
from safhost.sim.mutants_card import CARD_MUTANTS
from safhost.sim.mutants_core import CORE_MUTANTS
from safhost.sim.mutants_jobs import JOB_MUTANTS
from safhost.sim.storm import run_seed

MUTANTS: tuple[Planting, ...] = CORE_MUTANTS + CARD_MUTANTS + JOB_MUTANTS
SEEDS = 1000
CARDS = 8  # at most: a bug shows in few cards as in many, and sooner
WALL_S = 30.0  # real time a seed may take: a bug may make it endless


@dataclass(frozen=True, slots=True)
class Hunt:
    """What became of one bug: the seed that found it and by which invariant; ``seed`` 0: none of ``seeds`` did."""

    name: str
    side: str
    breaks: str
    seed: int
    seeds: int
    invariant: str
    message: str
    real_s: float

    @property
    def found(self) -> bool:
        return self.seed > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self) | {"found": self.found}


def side_of(mutant: Planting) -> str:
    """``core`` or ``card``: where the bug is; what both ends share counts as core."""
    return "card" if mutant.module.startswith("safhost.lab.") else "core"


def mutants_named(names: Sequence[str]) -> list[Planting]:
    """Those of these names, all when there are none. Raises ConfigError for an unknown one."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    for name in names:
        if name not in known:
            raise ConfigError(f"no planted bug {name!r}", f"there are: {', '.join(sorted(known))}")
    return [known[name] for name in names] or list(MUTANTS)


def hunt(name: str, seeds: int = SEEDS, first_seed: int = 1, profile: str = "quick") -> Hunt:
    """Run storms in this process, with the bug in place, until an invariant fails.

    A seed that fails without the bug as well says nothing about it and does not count.
    """
    mutant, = mutants_named([name])
    began = time.monotonic()
    seed, invariant, message = 0, "", ""
    for at in range(first_seed, first_seed + seeds):
        with planted(mutant):
            invariant, message = _storm(at, profile)
        if invariant and not _storm(at, profile)[0]:
            seed = at
            break
        invariant = message = ""
    return Hunt(name, side_of(mutant), mutant.breaks, seed, seeds, invariant, message,
                round(time.monotonic() - began, 3))


def _storm(seed: int, profile: str) -> tuple[str, str]:
    """(invariant that failed, how); empty when all held."""
    try:
        outcome = run_seed(seed, CARDS, profile, WALL_S)
    except Exception as error:  # a bug may strike before the storm begins
        return "no-exception", f"{type(error).__name__}: {error}"
    return outcome.invariant, outcome.message


def hunt_all(mutants: Sequence[Planting], seeds: int = SEEDS, jobs: int = 2,
             on_hunt: Callable[[Hunt], None] | None = None) -> list[Hunt]:
    """Each bug in processes of their own, ``jobs`` at a time; told to ``on_hunt`` as they end, returned in order."""
    found: dict[str, Hunt] = {}
    # spawned, not forked: nothing planted or running here gets into the workers
    with ProcessPoolExecutor(max_workers=jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for done in as_completed([pool.submit(hunt, mutant.name, seeds) for mutant in mutants]):
                result = done.result()
                found[result.name] = result
                if on_hunt is not None:
                    on_hunt(result)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [found[mutant.name] for mutant in mutants]
