"""``safhost sim survive | baseline | mutants``: tables of the simulation. Registered by safhost.cli.sim."""

from __future__ import annotations

import time
from typing import Any

import click

from safhost.cli.context import Address, OfflineCommand, Settings, pass_settings
from safhost.cli.output import emit_json, note, say, table
from safhost.errors import ConfigError

EXIT_FAILED = 1


def _numbers(text: str) -> list[float]:
    """``0,1e-5,0.1`` as probabilities."""
    try:
        found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or not all(0.0 <= p < 1.0 for p in found):
        raise ConfigError(f"{text!r} are not losses", "give probabilities below 1, as 0,1e-4,0.1")
    return found


@click.command(cls=OfflineCommand)
@click.argument("conditions", nargs=-1, metavar="[CONDITION]...")
@click.option("--cards", default=20, show_default=True, type=click.IntRange(1, 1000), help="Simulated cards.")
@click.option("--size", type=Address(), default="2MB", show_default=True, help="Size of the image.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 1000), help="Runs of each condition.")
@click.option("--losses/--no-losses", default=True, help="The table of transmissions against loss, too.")
@pass_settings
def survive(settings: Settings, conditions: tuple[str, ...], cards: int, size: int, seeds: int,
            losses: bool) -> None:
    """A job under each named condition, every byte checked, and what repair costs.

    The job programs all cards, writes to all, runs work units and reads everything back. Transmissions of a block are
    compared with the union bound: the expected maximum of one geometric variable a card.
    """
    from safhost.sim.survive import CONDITIONS, GOAL_RATIO, Row, loss_conditions, survey

    known = {c.name: c for c in CONDITIONS}
    for name in conditions:
        if name not in known:
            raise ConfigError(f"no condition {name!r}", f"there are: {', '.join(known)}")
    chosen = [known[name] for name in conditions] or list(CONDITIONS)
    numbers = range(1, seeds + 1)

    def told(row: Row) -> None:
        note(f"{row.condition.name}: {row.wrong or 'every byte is right'}")

    began = time.monotonic()
    jobs = survey(chosen, numbers, cards, size, on_row=told)
    priced = loss_conditions() if losses and not conditions else []
    costs = survey(priced, numbers, cards, size, units=False, on_row=told)
    failed = [row for row in jobs + costs if row.wrong] + [row for row in costs if row.ratio > GOAL_RATIO]
    if settings.json:
        emit_json({"conditions": [row.to_dict() for row in jobs], "losses": [row.to_dict() for row in costs],
                   "goal_ratio": GOAL_RATIO, "ok": not failed, "seconds": round(time.monotonic() - began, 3)})
    else:
        columns = ("condition", "virtual s", "frames", "per block", "spread", "bound", "ratio", "verdict")
        table(columns, [_survive_cells(row) for row in jobs], title=f"{cards} cards, {seeds} seeds: medians",
              right=columns[1:-1])
        for row in jobs:
            say(f"{row.condition.name}: {row.condition.says}" + (f"; {row.wrong}" if row.wrong else ""))
        if costs:
            say()
            table(("loss", *columns[1:]), [_survive_cells(row) for row in costs], right=columns[1:-1],
                  title="program only: transmissions of a block, loss of each frame by itself")
            say(f"goal: at most {GOAL_RATIO:g} times the bound")
    if failed:
        raise click.exceptions.Exit(EXIT_FAILED)


def _survive_cells(row: Any) -> tuple[object, ...]:
    found = row.to_dict()
    return (found["condition"], f"{found['virtual_seconds']:.2f}", f"{found['frames']:.0f}",
            f"{found['per_block']:.3f}", f"{found['per_block_min']:.3f}..{found['per_block_max']:.3f}",
            f"{found['bound']:.3f}", f"{found['ratio']:.3f}", found["verdict"])


@click.command(cls=OfflineCommand)
@click.option("--cards", default=8, show_default=True, type=click.IntRange(1, 1000), help="Simulated cards.")
@click.option("--loss", "losses", default="0,1e-5,1e-4,1e-3,1e-2,1e-1", show_default=True, metavar="P,P...",
              help="Share of frames lost, each way of each card.")
@click.option("--duplicate", default=0.0, type=click.FloatRange(0, 1),
              help="Share of frames that arrive twice, besides.")
@click.option("--corrupt", default=0.0, type=click.FloatRange(0, 1),
              help="Share of frames with a wrong byte behind the FCS check, besides.")
@click.option("--trials", default=20, show_default=True, type=click.IntRange(1, 100_000), help="Jobs of each row.")
@click.option("--size", type=Address(), default="1MB", show_default=True, help="Size of the image.")
@pass_settings
def baseline(settings: Settings, cards: int, losses: str, duplicate: float, corrupt: float, trials: int,
             size: int) -> None:
    """What loss does to the paper's plain protocol, beside ours.

    Each trial programs all cards by broadcast and runs one work unit on each. The paper has no retransmission, and
    names no deadline: a card counted as hung is one whose answer never came, which only our host's deadline noticed.
    """
    from safhost.sim.baseline import OUTCOMES, Row, compare
    from safhost.sim.network import Impairment

    def told(row: Row) -> None:
        note(f"{row.profile}, loss {row.loss:g}: {row.counts['right']} of {row.counts.total()} cards right")

    besides = Impairment(duplicate=duplicate, corrupt=corrupt, corrupt_control=corrupt)
    rows = compare(_numbers(losses), trials, cards, size, besides=besides, on_row=told)
    if settings.json:
        emit_json({"cards": cards, "trials": trials, "size_bytes": size, "outcomes": OUTCOMES,
                   "duplicate": duplicate, "corrupt": corrupt, "rows": [row.to_dict() for row in rows]})
        return
    columns = ("loss", "profile", *OUTCOMES, "jobs right", "virtual s")
    table(columns, [_baseline_cells(row, tuple(OUTCOMES)) for row in rows], right=columns[2:],
          title=f"{cards} cards, {trials} jobs a row: share of cards")
    for name, text in OUTCOMES.items():
        say(f"{name}: {text}")


def _baseline_cells(row: Any, outcomes: tuple[str, ...]) -> tuple[object, ...]:
    return (f"{row.loss:g}", row.profile, *(f"{row.share(name):.1%}" for name in outcomes), f"{row.jobs_right:.1%}",
            f"{row.to_dict()['virtual_seconds']:.3f}")


@click.command(cls=OfflineCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--seeds", default=1000, show_default=True, type=click.IntRange(1), help="Seeds to try for each bug.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1, 256), help="Processes.")
@click.option("--list", "only_list", is_flag=True, help="Only name the bugs.")
@pass_settings
def mutants(settings: Settings, names: tuple[str, ...], seeds: int, jobs: int, only_list: bool) -> None:
    """Plant bugs in core and card, one at a time, and look for each with storms.

    Exit code 1 when one of them is not found: then the simulation would not find such a mistake.
    """
    from safhost.sim.mutants import Hunt, hunt_all, mutants_named, side_of

    chosen = mutants_named(names)
    if only_list:
        if settings.json:
            emit_json([{"name": m.name, "side": side_of(m), "breaks": m.breaks} for m in chosen])
        table(("bug", "in", "what goes wrong"), [(m.name, side_of(m), m.breaks) for m in chosen])
        return
    began = time.monotonic()

    def told(one: Hunt) -> None:
        note(f"{one.name}: {f'found by seed {one.seed}, {one.invariant}' if one.found else 'NOT FOUND'} "
             f"({one.real_s:.1f} s)")

    found = hunt_all(chosen, seeds, jobs, told)
    missed = [one.name for one in found if not one.found]
    if settings.json:
        emit_json({"seeds": seeds, "bugs": [one.to_dict() for one in found], "missed": missed,
                   "seconds": round(time.monotonic() - began, 3)})
    else:
        columns = ("bug", "in", "found at seed", "by", "real s")
        table(columns, [(o.name, o.side, o.seed or "missed", o.invariant, f"{o.real_s:.1f}") for o in found],
              right=("found at seed", "real s"))
        say(f"{len(found) - len(missed)} of {len(found)} found within {seeds} seeds each")
    if missed:
        raise click.exceptions.Exit(EXIT_FAILED)
