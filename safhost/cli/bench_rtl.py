"""``safhost bench rtl`` and ``bench reconfig --model``: figures of the shell's RTL, from cycles in simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from safhost.cli.context import Address, SafCommand, Settings, pass_settings
from safhost.cli.output import emit_json, note, say, table
from safhost.errors import ConfigError

FAMILIES = ("line", "latency", "pr", "digest", "read")
VARIANTS = ("four-clocks", "one-clock")


@click.command(cls=SafCommand)
@click.argument("families", nargs=-1, metavar="[FAMILY]...")
@click.option("--all", "all_sizes", is_flag=True, help="Every frame size from 64 to 9000 (minutes).")
@click.option("--size", "sizes", multiple=True, type=int, help="Frames of this size (without FCS); may be repeated.")
@click.option("--variant", type=click.Choice(VARIANTS), default=VARIANTS[0], show_default=True,
              help="A clock for every domain, or one for all (faster; PR runs at the core's clock then).")
@click.option("--image-size", type=Address(), default="2MiB", show_default=True, help="Of pr and digest.")
@pass_settings
def rtl(settings: Settings, families: tuple[str, ...], all_sizes: bool, sizes: tuple[int, ...], variant: str,
        image_size: int) -> None:
    """Line rate by frame size, latencies and rates of the shell, counted in cycles of its simulated RTL.

    FAMILY: line, latency, pr, digest, read; all without one. Nothing here was measured on hardware.
    """
    from safhost.bench.rtl import figures

    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        raise ConfigError(f"there is no family {unknown[0]!r}", f"choose from {', '.join(FAMILIES)}")
    if all_sizes and sizes:
        raise ConfigError("--all and --size at once", "give one of them")
    result = figures.run(families or FAMILIES, all_sizes, sizes, variant, image_size, say=note)
    if settings.json:
        emit_json(result)
        return
    clocks = ", ".join(f"{1e6 / ps:.2f}" for ps in result["parameters"]["clocks_ps"])
    say(f"clocks of core, DDR, PR and kernels: {clocks} MHz; a core cycle is {result['parameters']['cycle_ns']} ns; "
        f"all figures {result['figures']}")
    for name, rows in (("line", _line_rows), ("latency", _latency_rows), ("pr", _pr_rows), ("digest", _digest_rows),
                       ("read", _read_rows)):
        if name in result:
            columns, cells = rows(result[name])
            table(columns, cells, right=columns[1:])
    _goals(result)


def show_model(settings: Settings, cards: int, size: int, mtu: int, simulated: int) -> None:
    """`bench reconfig --model`."""
    from safhost.bench.rtl import reconfig

    result = reconfig.run(cards, size, mtu, simulated_bytes=simulated, say=note)
    if settings.json:
        emit_json(result)
        return
    say(f"all figures {result['figures']}, from cycles of the simulated RTL; not in them: the host's own time, "
        "switches, loss, and a real PR controller's time for its verdict")
    rows: list[list[object]] = [[term["name"], "" if term["within"] else f"{term['seconds']:.6f} s",
                                 f"{term['seconds']:.6f} s" if term["within"] else "", term["source"]]
                                for term in result["terms"]]
    rows.append(["together", f"{result['seconds']:.4f} s", "", f"the paper: {result['paper_seconds']} s, "
                 f"{result['times_faster']} times as long"])
    table(["TERM", "TIME", "WITHIN", "FROM"], rows, right=["TIME", "WITHIN"])
    _goals(result)


def _goals(result: Mapping[str, Any]) -> None:
    from safhost.bench.report import GOAL_COLUMNS, Goal

    rows = [Goal(g["name"], g["figure"], g["limit"], g["sense"], g["unit"]).row() for g in result["goals"]]
    table(GOAL_COLUMNS, rows, right=["FIGURE"])


Rows = tuple[list[str], list[list[object]]]


def _line_rows(rows: list[Mapping[str, Any]]) -> Rows:
    return (["FRAME BYTES", "FRAMES", "BLOCKS", "REPEATS", "LOST", "CYCLES", "BEHIND", "GBIT/S", "TO DDR, MB/S",
             "BYTES"],
            [[r["size_bytes"], r["frames"], r["blocks"], r["repeats"], r["lost"], r["cycles"], r["backlog_cycles"],
              f"{r['gb_per_s']:.2f}", f"{r['payload_mb_per_s']:.0f}", "right" if r["memory_ok"] else "WRONG"]
             for r in rows])


def _latency_rows(rows: list[Mapping[str, Any]]) -> Rows:
    return (["REQUEST → ANSWER", "LEAST", "MEDIAN", "MOST", "OF IT ON THE LINE", "MOST, NS"],
            [[r["what"], r["least"], r["median"], r["most"], r["answer_beats"], r["most_ns"]] for r in rows])


def _pr_rows(r: Mapping[str, Any]) -> Rows:
    return (["INTO THE PR CONTROLLER", "WORDS", "PR CLOCKS", "BYTES/CLOCK", "MB/S", "BUBBLES"],
            [["a staged image", r["words"], r["pr_clocks"], r["bytes_per_clock"], r["mb_per_s"],
              f"{r['bubbles']:.3%}"]])


def _digest_rows(rows: list[Mapping[str, Any]]) -> Rows:
    return (["DIGESTS", "BYTES", "CYCLES", "MB/S"],
            [["alone" if r["held"] else "behind a transfer at line rate", r["length_bytes"],
              r["verified_cycles"] - r["landed_cycles"] if r["held"] else r["verified_cycles"], r["digest_mb_per_s"]]
             for r in rows])


def _read_rows(rows: list[Mapping[str, Any]]) -> Rows:
    return (["READ", "FRAMES", "FIRST DATA", "LAST DATA", "READ_DONE", "GBIT/S OF DATA", "MB/S WITH DIGEST"],
            [[f"{r['length_bytes']} B in blocks of {r['block_bytes']}", r["frames"], r["first_cycles"],
              r["last_cycles"], r["done_cycles"], f"{r['gb_per_s']:.2f}", r["mb_per_s"]] for r in rows])


__all__: list[str] = ["rtl", "show_model"]
