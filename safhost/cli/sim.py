"""``safhost sim``: storms by seed, until something does not hold; and tables of what the protocol survives."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safhost.cli.context import OfflineGroup, Settings, pass_settings
from safhost.cli.output import emit_json, is_terminal, note, say, table

if TYPE_CHECKING:
    from safhost.sim.campaign import Summary
    from safhost.sim.storm import Outcome

PROFILE_NAMES = ("quick", "full", "resident")
TABLES = {
    "survive": "What one job survives: loss, bursts, duplication, reordering, corruption, blackout.",
    "baseline": "The paper's plain protocol beside ours, under loss.",
    "mutants": "Bugs planted on purpose, and which invariant finds each.",
}
PLAIN_INTERVAL_S = 5.0
DEFAULT_SEEDS = 200


class SimGroup(OfflineGroup):
    """Storms by itself, tables by name; those are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *TABLES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in TABLES:
            command: click.Command = getattr(importlib.import_module("safhost.cli.sim_tables"), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(TABLES.items()))


@click.group(cls=SimGroup, invoke_without_command=True)
@click.option("--seeds", type=click.IntRange(min=1), help=f"How many seeds. [default: {DEFAULT_SEEDS}]")
@click.option("--first-seed", type=click.IntRange(min=0), default=1, show_default=True, help="The first of them.")
@click.option("--seed", type=click.IntRange(min=0), help="This seed alone.")
@click.option("--cards", type=click.IntRange(min=1), default=20, show_default=True, help="Cards of a storm, at most.")
@click.option("--profile", type=click.Choice(PROFILE_NAMES), default="quick", show_default=True,
              help="How large images, requests and faults are.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the state of the campaign and the recordings of seeds that fail.")
@click.option("--resume", is_flag=True, help="Go on with the campaign in --out; seeds done by this version are kept.")
@click.option("--jobs", type=click.IntRange(min=0), default=0, help="Processes (0: one for each processor).")
@click.option("--time-limit", type=click.FloatRange(min=0), metavar="SECONDS", help="Begin no seed after so long.")
@click.option("--seed-limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="A seed that takes longer fails; the default is the profile's.")
@click.pass_context
@pass_settings
def sim(settings: Settings, context: click.Context, seeds: int | None, first_seed: int, seed: int | None, cards: int,
        profile: str, out: Path | None, resume: bool, jobs: int, time_limit: float | None,
        seed_limit: float | None) -> int:
    """Simulated clusters in storms: everything goes wrong, by seed, and invariants are checked all along.

    Exit code 0: they held; 1: some did not. Needs no card and no network.
    """
    if context.invoked_subcommand is not None:
        return 0
    from safhost.sim.campaign import Plan, run_campaign

    if seed is not None and seeds is not None:
        raise click.UsageError("--seed is one seed, --seeds are many: give one of them")
    numbers = range(seed, seed + 1) if seed is not None else range(first_seed, first_seed + (seeds or DEFAULT_SEEDS))
    plan = Plan(numbers, cards, profile, 1 if seed is not None else jobs, out, resume, time_limit, seed_limit)
    with Progress(len(numbers), settings.json) as progress:
        summary = run_campaign(plan, progress.on_outcome)
    if settings.json:
        emit_json(summary.to_dict() | {"event": "summary"}, stream=True)
    else:
        _say_summary(summary, out)
    if summary.interrupted:
        raise KeyboardInterrupt
    return 1 if summary.failures else 0


class Progress:
    """How far a campaign is: a bar on a terminal, a line now and then elsewhere, a line a seed as JSON. Failures are
    told at once."""

    def __init__(self, total: int, as_json: bool) -> None:
        self._total = total
        self._json = as_json
        self._bar: Any = None
        self._task: Any = None
        self._said = time.monotonic()

    def __enter__(self) -> Progress:
        if not self._json and is_terminal(sys.stderr) and self._total > 1:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            from safhost.cli.output import console

            self._bar = Bar(TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
                            TimeRemainingColumn(), console=console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("seeds", total=self._total, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_outcome(self, outcome: Outcome, summary: Summary) -> None:
        """A seed ended."""
        if self._json:
            emit_json(outcome.to_dict() | {"event": "seed"}, stream=True)
            return
        if outcome.failed:
            self._say_failure(outcome)
        text = f"{len(summary.failures)} failed, {_speed(summary)} virtual s/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=summary.seeds, text=text)
        elif time.monotonic() - self._said >= PLAIN_INTERVAL_S and summary.seeds < self._total:
            self._said = time.monotonic()
            note(f"{summary.seeds} of {self._total} seeds, {text}")

    def _say_failure(self, outcome: Outcome) -> None:
        from safhost.sim.campaign import repeat_command

        lines = [f"seed {outcome.seed}: {outcome.invariant}: {outcome.message}",
                 f"  again: {repeat_command(outcome)}", *(f"  see {path}" for path in outcome.files)]
        for line in lines:
            say(line)


def _speed(summary: Summary) -> int:
    """Virtual seconds simulated in a real second, by this campaign's processes together."""
    return round(summary.virtual_s / summary.real_s) if summary.real_s and not summary.reused else round(
        summary.virtual_s / summary.busy_s) if summary.busy_s else 0


def _say_summary(summary: Summary, out: Path | None) -> None:
    if summary.note:
        note(summary.note)
    reused = f" ({summary.reused} of them kept from before)" if summary.reused else ""
    say(f"{summary.seeds} seeds{reused}, {len(summary.failures)} failed"
        + (f", {summary.left} left" if summary.left else ""))
    say(f"{summary.virtual_s:.0f} virtual seconds in {summary.real_s:.1f} s: {_speed(summary)} a second; "
        f"{summary.frames} frames, {summary.requests} requests")
    if summary.disturbances:
        say(_disturbances(summary.disturbances))
    if summary.failures:
        rows = [[str(f.seed), f.invariant, f.message[:100]] for f in summary.failures]
        table(["seed", "invariant", "what"], rows)
    if out is not None and summary.failures:
        note(f"recordings are in {out}")


def _disturbances(counts: Mapping[str, int]) -> str:
    return "disturbances: " + ", ".join(f"{count} {kind}" for kind, count in
                                        sorted(counts.items(), key=lambda item: -item[1]) if count)
