"""Strong and weak scaling of PTRANS, with transfers and without.

One small job before all others does not count. For each number of cards two jobs, each as often as asked for, the best
counting (HPCC FPGA takes the least time):

* total: an elastic job. Clock from the call of ``submit`` to the last result in place. Inputs travel while kernels run.
* calculation: a phased job. All tiles are loaded first, then all run, then all are read; the figure is the time of the
  middle phase, from its first command to its last answer, so that it holds what the host needs to start kernels. With
  ``repetitions`` R the kernels run R times on the data that is there, and the figure is that time divided by R.

Efficiency of p cards is the rate of p cards over p times the rate of the first row's cards. Strong: n stays. Weak: the
elements of a card stay, n grows with the root of p, to whole tiles; rates are by elements, so that rounding n is fair.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from safhost import Unit
from safhost.bench.ptrans.distribution import assign, largest_share
from safhost.bench.ptrans.problem import (
    DTYPE,
    KEEP_SHARE,
    MATRICES,
    Matrices,
    Problem,
    TileIndex,
    free_memory_bytes,
    threshold,
)
from safhost.bench.ptrans.roofline import roofline
from safhost.bench.ptrans.setting import KERNEL, Setting
from safhost.bench.report import Goal, document
from safhost.errors import ConfigError

GOAL_CALC, GOAL_ROOFLINE, GOAL_CARDS = 0.95, 0.90, 20
SHOW_S = 0.25
CARD_BYTES = 6 << 30
"""Of the 8 GiB of a 385A that tiles of a phased job may take."""

Progress = Callable[[dict[str, Any]], None]
"""Called with ``what``, ``done``, ``total`` while a job runs."""


def _no_progress(_event: dict[str, Any]) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured. ``n``: side of the matrices, at weak scaling that of the first row. ``folder``: they are kept
    there as files. ``store``: as of `Matrices`.

    Raises ConfigError for what cannot be measured, a distribution that does not fit among it.
    """

    cards: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 20)
    weak: bool = False
    n: int = 32768
    block: int = 512
    tile: int = 1
    seed: int = 1
    distribution: str = "elastic"
    repetitions: int = 1
    runs: int = 1
    store: str = "auto"
    folder: str | None = None
    unit_deadline_s: float = 300.0

    def __post_init__(self) -> None:
        if not self.cards or min(self.cards) < 1 or list(self.cards) != sorted(set(self.cards)):
            raise ConfigError(f"cards {','.join(map(str, self.cards))}", "give rising numbers, as 1,2,4,8")
        if self.repetitions < 1 or self.runs < 1:
            raise ConfigError(f"{self.repetitions} repetitions in {self.runs} runs measure nothing", "use at least 1")
        for cards in self.cards:
            assign(self.distribution, self.problem(cards).tiles_a_side, cards)

    def problem(self, cards: int) -> Problem:
        """What ``cards`` cards compute."""
        n = self.n
        if self.weak:
            side = self.block * self.tile
            n = max(side, round(self.n * math.sqrt(cards / self.cards[0]) / side) * side)
        return Problem(n, self.block, self.tile, self.seed)


@dataclass(slots=True)
class _Best:
    """The fastest run so far of one kind, and the worst error of all."""

    seconds: float = math.inf
    stats: dict[str, Any] = field(default_factory=dict)
    values: list[float] = field(default_factory=list)
    max_error: float = 0.0

    def add(self, seconds: float, stats: dict[str, Any], max_error: float) -> None:
        self.values.append(round(seconds, 6))
        self.max_error = max(self.max_error, max_error)
        if seconds < self.seconds:
            self.seconds, self.stats = seconds, stats


def run(setting: Setting, options: Options, on_progress: Progress = _no_progress,
        on_row: Callable[[dict[str, Any]], None] = _no_progress) -> dict[str, Any]:
    """Measure all rows; the document that ``--json`` prints. ``on_row`` gets each row as soon as it is there.

    Raises ConfigError for more cards than there are, and what a job raises.
    """
    if options.cards[-1] > len(setting.cards):
        raise ConfigError(f"{options.cards[-1]} cards are not there: {len(setting.cards)} are usable",
                          "give --cards fewer, or start more")
    warm_up(setting, options.block * options.tile, setting.cards[:options.cards[-1]], on_progress)
    rows: list[dict[str, Any]] = []
    matrices: Matrices | None = None
    for cards in options.cards:
        problem = options.problem(cards)
        if matrices is None or matrices.problem != problem:
            on_progress({"what": f"making matrices of side {problem.n}", "done": 0, "total": None})
            matrices = Matrices(problem, options.store, options.folder)
        rows.append(_row(setting, options, matrices, cards, rows[0] if rows else None, on_progress))
        on_row(rows[-1])
    return conclude(setting, options, rows)


def conclude(setting: Setting, options: Options, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Goals and the document of measured rows."""
    last = rows[-1]
    kind = "weak" if options.weak else "strong"
    enough = last["cards"] >= GOAL_CARDS
    goals = [Goal(f"calculation only, {kind}: efficiency at {last['cards']} cards",
                  last["efficiency_calc"] if enough else None, GOAL_CALC, "at least"),
             Goal(f"{options.repetitions} repetitions on resident data, {kind}: efficiency at {last['cards']} cards",
                  last["efficiency_resident"] if enough else None, GOAL_CALC, "at least"),
             Goal("with transfers: share of the roofline, least of all rows",
                  min(row["roofline"] for row in rows), GOAL_ROOFLINE, "at least"),
             Goal("largest error", max(row["max_error"] for row in rows), threshold(), "at most")]
    if options.repetitions == 1:
        del goals[1]
    parameters = {"scaling": kind, "cards": list(options.cards), "n": options.n, "block": options.block,
                  "tile_blocks": options.tile, "dtype": "float32", "distribution": options.distribution,
                  "repetitions": options.repetitions, "runs": options.runs, "seed": options.seed, "mtu": setting.mtu,
                  "timing": setting.timing_label, "link": setting.rate.to_dict()}
    return document("ptrans", parameters, goals, figures=setting.figures, rows=list(rows),
                    validated=all(row["validated"] for row in rows))


def units(matrices: Matrices, names: Sequence[str], distribution: str, part: range) -> Iterator[Unit]:
    """The tiles with numbers in ``part`` as work units; each for its card unless the distribution is elastic."""
    p = matrices.problem
    owners = assign(distribution, p.tiles_a_side, len(names))
    for number in part:
        tile = tile_of(p, number)
        into = (slice(tile.row0, tile.row1), slice(tile.col0, tile.col1)) if matrices.c is not None else None
        owner = owners[divmod(number, p.tiles_a_side)] if owners else None
        yield Unit(*matrices.inputs(tile), into=into, card=None if owner is None else names[owner])


def run_job(setting: Setting, matrices: Matrices, names: Sequence[str] | None, what: str, on_progress: Progress,
            distribution: str = "elastic", part: range | None = None,
            **options: Any) -> tuple[float, dict[str, Any], float]:
    """One job over all tiles, or those in ``part``: seconds from the call to the last result, its statistics, the
    largest error.

    ``names`` None: on every card of the cluster. Results that are not kept are checked as they come.
    """
    part = part or range(matrices.problem.tiles)
    total = len(part)
    if part.start == 0:
        matrices.forget_results()
    start_s = time.perf_counter()
    job = setting.cluster.submit(KERNEL, units(matrices, names or (), distribution, part), out=matrices.c,
                                 image=setting.image, cards=None if names is None else list(names), total=total,
                                 name=what, **options)
    try:
        if matrices.c is not None:
            wait(job, what, total, on_progress)
            seconds = time.perf_counter() - start_s
            max_error = matrices.max_error(part)
        else:
            max_error = _check_stream(setting, matrices, job, part, what, on_progress)
            seconds = time.perf_counter() - start_s
    except BaseException:
        job.cancel()
        raise
    return seconds, dict(job.stats), max_error


def warm_up(setting: Setting, side: int, names: Sequence[str], on_progress: Progress) -> None:
    """A job of a tile or two a card that does not count: workers of virtual cards compile, memory is touched."""
    across = math.isqrt(len(names)) + 1
    run_job(setting, Matrices(Problem(across * side, side), "memory"), names, "warming up", on_progress)


def wait(job: Any, what: str, total: int, on_progress: Progress) -> None:
    """Until the job has ended, telling how far it is. Raises what it raises."""
    while not job.wait(SHOW_S):
        on_progress({"what": what, "done": job.progress()[0], "total": total})
    job.result()
    on_progress({"what": what, "done": total, "total": total})


def calculate(setting: Setting, matrices: Matrices, names: Sequence[str], what: str, on_progress: Progress,
              repeat: int, **options: Any) -> tuple[float, dict[str, Any], float]:
    """Phased jobs over all tiles, as few as memory takes: seconds of the middle phases, statistics, largest error.

    A phased job holds all its tiles twice on a lab: on the cards, and in the memory that is shared with the daemon.
    """
    parts = parts_of(matrices.problem, len(names))
    phases = {"load_s": 0.0, "run_s": 0.0, "read_s": 0.0}
    worst = 0.0
    for part in parts:
        _seconds, stats, error = run_job(setting, matrices, names, what, on_progress, part=part, phased=True,
                                         window=len(part), repeat=repeat, **options)
        worst = max(worst, error)
        for key in phases:
            phases[key] += float(stats["phases"][key])
    return phases["run_s"] / repeat, {"phases": phases, "parts": len(parts)}, worst


def parts_of(problem: Problem, cards: int) -> list[range]:
    """The tiles in parts that memory can hold at once, each (but the last) as many for every card."""
    tile_bytes = 2 * MATRICES * DTYPE.itemsize * (problem.tile * problem.block) ** 2
    at_once = int(KEEP_SHARE * free_memory_bytes()) // tile_bytes // cards * cards
    step = max(cards, min(at_once, CARD_BYTES * 2 // tile_bytes * cards))
    return [range(start, min(problem.tiles, start + step)) for start in range(0, problem.tiles, step)]


def _check_stream(setting: Setting, matrices: Matrices, job: Any, part: range, what: str,
                  on_progress: Progress) -> float:
    """Check each tile when it comes and let it go."""
    p = matrices.problem
    worst, shown_s, count = 0.0, 0.0, 0
    for done in setting.cluster.as_completed(job):
        if done.error is not None:
            raise done.error
        worst = max(worst, matrices.error(tile_of(p, part[done.index]), done.value))
        count += 1
        if time.monotonic() - shown_s >= SHOW_S:
            shown_s = time.monotonic()
            on_progress({"what": what, "done": count, "total": len(part)})
    job.result()
    return worst if count == len(part) else math.inf


def tile_of(problem: Problem, index: int) -> TileIndex:
    """The tile that unit ``index`` computes."""
    return problem.tile_at(*divmod(index, problem.tiles_a_side))


def _row(setting: Setting, options: Options, matrices: Matrices, cards: int, first: Mapping[str, Any] | None,
         on_progress: Progress) -> dict[str, Any]:
    problem, names = matrices.problem, setting.cards[:cards]
    late = setting.late_kernels()
    total, calc, resident = _Best(), _Best(), _Best()
    text = f"{cards} card{'s' * (cards > 1)}, n {problem.n}"
    common: dict[str, Any] = {"distribution": options.distribution, "unit_deadline_s": options.unit_deadline_s}
    for _ in range(options.runs):
        total.add(*run_job(setting, matrices, names, f"{text}, with transfers", on_progress, **common))
        calc.add(*calculate(setting, matrices, names, f"{text}, calculation only", on_progress, 1, **common))
        if options.repetitions > 1:
            resident.add(*calculate(setting, matrices, names, f"{text}, {options.repetitions} repetitions", on_progress,
                                    options.repetitions, **common))
    kernels_s = _kernels_s(total.stats)
    roof = roofline(problem, setting.mtu, setting.rate, _ideal_kernels_s(setting, options, problem, cards, total.stats))
    max_error = max(total.max_error, calc.max_error, resident.max_error)
    row: dict[str, Any] = {
        "cards": cards, "n": problem.n, "tiles": problem.tiles, "tiles_of_one_card": largest_share(
            options.distribution, problem.tiles_a_side, cards),
        "total_s": round(total.seconds, 6), "calc_s": round(calc.seconds, 6),
        "resident_s": round(resident.seconds, 6) if resident.values else None,
        "kernels_s": round(kernels_s, 6),
        "roofline": round(roof.seconds / total.seconds, 4), "roofline_s": round(roof.seconds, 6),
        "roofline_parts": roof.to_dict(),
        "total_flops": problem.flop / total.seconds, "calc_flops": problem.flop / calc.seconds,
        "calc_memory_bytes_s": problem.bytes_moved / calc.seconds,
        "moved_bytes_s": problem.bytes_moved / total.seconds,
        "phases": calc.stats["phases"], "phased_jobs": calc.stats["parts"],
        "runs": {"total_s": total.values, "calc_s": calc.values, "resident_s": resident.values},
        "moved_units": total.stats.get("moved", 0), "speculated": total.stats.get("speculated", 0),
        "late_kernels": setting.late_kernels() - late, "max_error": max_error,
        "validated": bool(max_error < threshold())}
    for key, best in (("total", total), ("calc", calc), ("resident", resident)):
        row[f"{key}_flops_a_card"] = rate = problem.flop / best.seconds / cards if best.values else None
        row[f"efficiency_{key}"] = rate and round(rate / (first[f"{key}_flops_a_card"] if first else rate), 4)
    return row


def _kernels_s(stats: Mapping[str, Any]) -> float:
    """Kernel time of the card that computed most."""
    return float(max((card["kernel_ns"] for card in stats["cards"].values()), default=0)) / 1e9


def _ideal_kernels_s(setting: Setting, options: Options, problem: Problem, cards: int,
                     stats: Mapping[str, Any]) -> float:
    """Kernel time of a card with its fair number of tiles: of the model, else as the cards reported it."""
    share = largest_share(options.distribution, problem.tiles_a_side, cards)
    if setting.timing is not None:
        return share / problem.tiles * setting.timing.ddr_ns(problem.bytes_moved) / 1e9
    return float(share / problem.tiles * sum(card["kernel_ns"] for card in stats["cards"].values()) / 1e9)
