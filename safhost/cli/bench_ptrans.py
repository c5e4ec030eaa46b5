"""``safhost bench ptrans``: strong and weak scaling of PTRANS, and cards that come and go while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from safhost.cli.context import Address, Duration, LinkRate, SafCommand, Settings, pass_settings
from safhost.cli.output import console, emit_json, is_json, is_terminal, note, say, table
from safhost.errors import ConfigError
from safhost.units import format_bytes, format_rate

if TYPE_CHECKING:
    from safhost.bench.ptrans.setting import Setting

CARDS_DEFAULT = "1,2,4,8,12,16,20"
PLAIN_INTERVAL_S = 2.0


@click.command(cls=SafCommand, context_settings={"ignore_unknown_options": True})  # -1@70% is none
@click.option("--strong/--weak", default=True, help="n stays, or the elements of a card stay.")
@click.option("--cards", default=CARDS_DEFAULT, show_default=True, metavar="N,...", help="Numbers of cards, rising.")
@click.option("--n", default=32768, show_default=True, help="Side of the matrices (--weak: for the first number).")
@click.option("--block", default=512, show_default=True, help="Side of a block; n is a multiple of it.")
@click.option("--tile", default=1, show_default=True, metavar="K", help="A work unit is K x K blocks.")
@click.option("--distribution", type=click.Choice(["elastic", "diag", "pq"]), default="elastic", show_default=True,
              help="Who computes which tile: whoever is free, or as HPCC FPGA's ranks.")
@click.option("--dtype", default="float32", show_default=True, help="Element type: what the kernel computes.")
@click.option("--repetitions", default=1, show_default=True, metavar="R",
              help="Run the kernels R times on resident data as well.")
@click.option("--runs", default=1, show_default=True, help="Everything so often; the fastest counts.")
@click.option("--hotplug", "hotplug", multiple=True, metavar="CHANGE...",
              help="Plug and pull lab cards instead: +4@40% -1@70%. Starts with the first number of --cards.")
@click.option("--seed", default=1, show_default=True, help="Of the matrices.")
@click.option("--matrix", type=click.Path(file_okay=False), metavar="DIR", help="Keep matrices there as .npy files.")
@click.option("--store", type=click.Choice(["auto", "memory", "generated"]), default="auto", show_default=True,
              help="Matrices in memory, or tile by tile as they are needed (for those larger than memory).")
@click.option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Write plots and the JSON there.")
@click.option("--deadline", type=Duration(), default=300.0, metavar="TIME", help="Of one kernel run.")
@click.option("--timing", type=click.Choice(["none", "arria10"]), default="arria10", show_default=True,
              help="Own lab: modelled times of its cards.")
@click.option("--time-scale", default=200.0, show_default=True, metavar="S", help="Own lab: they take S times as long.")
@click.option("--pr-scale", type=float, metavar="S", help="Own lab: those of reconfiguration (else as --time-scale).")
@click.option("--link-rate", type=LinkRate(), default=0, metavar="RATE",
              help="Own lab: what the host's port carries, as 1Gbit. With --cluster: what its interface carries.")
@click.option("--mtu", default=1500, show_default=True, help="Own lab: MTU of every port.")
@click.option("--image-size", type=Address(), metavar="BYTES", help="Pad the image to that, as 97.4MB.")
@click.argument("more_changes", nargs=-1, metavar="[CHANGE]...")
@pass_settings
def ptrans(settings: Settings, /, **options: Any) -> None:
    """C = B + Aᵀ on 1 to 20 cards: HPCC FPGA's definition, error and counting.

    Without --cluster a lab is made and removed again. Ends with exit code 1 when a result is wrong.
    """
    from safhost.bench.ptrans import hotplug as hotplug_module
    from safhost.bench.ptrans import measure
    from safhost.bench.ptrans.problem import Problem
    from safhost.bench.ptrans.setting import check_dtype

    check_dtype(options["dtype"])
    numbers = _numbers(options["cards"])
    if options["more_changes"] and not options["hotplug"]:
        raise ConfigError(f"{options['more_changes'][0]!r} is left over", "changes of cards follow --hotplug")
    changes = hotplug_module.parse_changes((*options["hotplug"], *options["more_changes"]))
    if changes:
        problem = Problem(options["n"], options["block"], options["tile"], options["seed"])
        spare = sum(change.cards for change in changes if change.cards > 0)
        with _setting(settings, options, numbers[0], spare) as setting, ProgressView() as view:
            result = hotplug_module.run(setting, problem, changes, options["repetitions"], options["store"],
                                        unit_deadline_s=options["deadline"], on_progress=view.update)
        finish(result, options["out"], hotplug_tables)
        return
    wanted = measure.Options(numbers, not options["strong"], options["n"], options["block"], options["tile"],
                             options["seed"], options["distribution"], options["repetitions"], options["runs"],
                             options["store"], options["matrix"], options["deadline"])
    with _setting(settings, options, numbers[-1]) as setting, ProgressView() as view:
        result = measure.run(setting, wanted, view.update, lambda row: view.line(_row_text(row)))
    finish(result, options["out"], scaling_tables)


def _setting(settings: Settings, options: dict[str, Any], cards: int,
             spare: int = 0) -> AbstractContextManager[Setting]:
    from safhost.bench.ptrans.setting import LabOptions, existing, own_lab

    if settings.cluster:
        return existing(settings.cluster, options["link_rate"], options["image_size"], note)
    scale = options["time_scale"] if options["timing"] != "none" else 1.0
    return own_lab(LabOptions(cards, options["mtu"], options["timing"], scale, options["pr_scale"],
                              options["link_rate"], options["image_size"], spare=spare), note)


def finish(result: dict[str, Any], out: str | None, show: Any) -> None:
    """Print the result, write plots, and end with 1 when a result is wrong."""
    from safhost.bench.ptrans import pictures
    from safhost.bench.report import GOAL_COLUMNS, Goal

    if is_json():
        emit_json(result)
    else:
        machine = result["machine"]
        say(f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}, Linux {machine['kernel']}, load before "
            f"{machine['load_before']}")
        say(f"figures: {result['figures']}")
        link = result["parameters"]["link"]
        say(f"host's link: {link['text']} each way ({link['source']})")
        show(result)
        goals = [Goal(**{k: v for k, v in g.items() if k != "reached"}) for g in result["goals"]]
        table(list(GOAL_COLUMNS), [goal.row() for goal in goals])
    if out is not None:
        draw = pictures.draw_scaling if "rows" in result else pictures.draw_hotplug
        paths = draw(result, Path(out))
        target = paths[0].with_suffix(".json")
        target.write_text(_json_text(result))
        note(f"written: {', '.join(str(path) for path in (*paths, target))}")
    if not result["validated"]:
        note("wrong result: an error is larger than the threshold")
        click.get_current_context().exit(1)


def scaling_tables(result: Mapping[str, Any]) -> None:
    """A row a number of cards."""
    repetitions = result["parameters"]["repetitions"]
    rows = []
    for row in result["rows"]:
        rows.append([row["cards"], row["n"], f"{row['total_s']:.4f}", f"{row['calc_s']:.5f}",
                     f"{row['resident_s']:.5f}" if row["resident_s"] is not None else "",
                     f"{row['calc_flops']:.4g}", f"{row['calc_memory_bytes_s']:.4g}", f"{row['moved_bytes_s']:.4g}"])
    columns = ["CARDS", "N", "TOTAL S", "CALC S", f"CALC S, R={repetitions}", "FLOP/S", "MEM B/S", "NET B/S"]
    table(columns, rows, right=columns, title="times: the best of all runs")
    rows = []
    for row in result["rows"]:
        resident = row["efficiency_resident"]
        rows.append([row["cards"], f"{row['efficiency_calc']:.3f}", "" if resident is None else f"{resident:.3f}",
                     f"{row['efficiency_total']:.3f}", f"{row['roofline_s']:.4f}", row["roofline_parts"]["bound"],
                     f"{row['roofline']:.3f}", f"{row['max_error']:.3g}", "yes" if row["validated"] else "NO",
                     row["late_kernels"]])
    columns = ["CARDS", "EFF CALC", f"EFF R={repetitions}", "EFF TOTAL", "ROOFLINE S", "BOUND BY", "OF ROOFLINE",
               "MAX ERROR", "VALID", "LATE KERNELS"]
    table(columns, rows, right=columns, title="parallel efficiency")


def hotplug_tables(result: Mapping[str, Any]) -> None:
    """What the run took, and what each change did."""
    changes = ", ".join(result["parameters"]["changes"])
    say(f"{result['cards']} cards, then {changes}: {result['run_s']:.2f} s; baseline {result['baseline_s']:.2f} s, "
        f"ideal {result['ideal_s']:.2f} s ({result['ideal_share']:.3f} of it), over ideal {result['over_ideal']:.3f}")
    rows = [[card["card"], *(f"{card[key]:.3f} s" if card.get(key) is not None else "" for key in
                             ("since_plug_s", "since_link_up_s", "stage_s", "commit_s", "beyond_pr_s"))]
            for card in result["joined"]]
    columns = ["NEW CARD", "SINCE PLUG", "SINCE LINK-UP", "STAGING", "COMMIT", "BEYOND PR"]
    table(columns, rows, right=columns[1:], title=f"first kernel on new cards; image "
          f"{format_bytes(result['image_bytes'])}, modelled PR {result['pr_s']:.3f} s")
    old = result["old_cards"]
    if old["loss"] is not None:
        say(f"cards that were there: {old['before_units_s']:.3f} tiles/s each before, {old['during_units_s']:.3f} "
            f"while others joined ({100 * old['loss']:.1f} % less)")
    say(f"{result['moved_units']} units moved, {result['late_kernels']} kernels later than modelled, largest error "
        f"{result['max_error']:.3g}")


def _row_text(row: Mapping[str, Any]) -> str:
    return (f"{row['cards']} cards, n {row['n']}: total {row['total_s']:.3f} s, {row['roofline']:.2f} of the roofline; "
            f"calculation {row['calc_s']:.4f} s, efficiency {row['efficiency_calc']:.3f}; moved "
            f"{format_rate(row['moved_bytes_s'])}")


class ProgressView:
    """How far a job is, on stderr: a bar on a terminal, a line every two seconds in a pipe, nothing under --json."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._last_s = 0.0
        self._what = ""

    def __enter__(self) -> Self:
        if not is_json() and is_terminal(sys.stderr):
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                 TimeElapsedColumn(), console=console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, event: Mapping[str, Any]) -> None:
        """``what``, ``done``, ``total``."""
        what, done, total = str(event["what"]), int(event["done"]), event["total"]
        if self._bar is not None:
            if what != self._what:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(what, total=total)
            self._bar.update(self._task, completed=done)
        elif what != self._what or time.monotonic() - self._last_s >= PLAIN_INTERVAL_S:
            self._last_s = time.monotonic()
            note(f"{what}: {done}" + (f" of {total}" if total else "") if done else what)
        self._what = what

    def line(self, text: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            note(text)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--cards {text}", "give numbers, as 1,2,4,8") from None


def _json_text(result: Mapping[str, Any]) -> str:
    import json

    from safhost.cli.output import jsonable

    return json.dumps(result, default=jsonable, ensure_ascii=False, indent=2) + "\n"
