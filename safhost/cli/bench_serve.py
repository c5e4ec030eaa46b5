"""``safhost bench serve``: our inference server beside Triton, MLServer and KServe, and what cards make of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from safhost.cli.context import Settings, pass_settings
from safhost.cli.output import emit_json, note, say, table
from safhost.errors import ConfigError

PARTS = ("rows", "crowd", "sweep", "workflow", "cards", "scan", "facile", "pull", "lone", "trees", "paper")
_PARTS = (("client_ms", "client to daemon and back"), ("queued_ms", "waiting for the card"),
          ("inputs_ms", "inputs to the card, verified"), ("start_ms", "command to the card and its answer"),
          ("kernel_ms", "kernel"), ("results_ms", "results from the card, verified"))
_PREFIX = click.Path(file_okay=False)


@click.command()
@click.option("--triton", type=_PREFIX, metavar="VENV", help="Virtual environment with nvidia-pytriton.")
@click.option("--mlserver", type=_PREFIX, metavar="VENV", help="Virtual environment with MLServer.")
@click.option("--kserve", type=_PREFIX, metavar="VENV", help="Virtual environment with KServe.")
@click.option("--perf", type=_PREFIX, metavar="VENV", help="Virtual environment with perf_analyzer (tritonclient "
              "2.50.0) and libcudart.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=("rows",), show_default=True,
              help="What to measure; may be repeated. paper measures nothing: figures of papers beside modelled ones.")
@click.option("--scan", is_flag=True, help="The same as --part scan: throughput over buffers × compute units.")
@click.option("--rounds", default=5, show_default=True, help="Rounds, every row on every server in each.")
@click.option("--requests", default=20_000, show_default=True, help="Requests of batch 1 in a run.")
@click.option("--only", multiple=True, metavar="PREFIX", help="Rows whose key begins so; may be repeated.")
@click.option("--clients", default=1500, show_default=True, help="Connections of the part crowd.")
@click.option("--cards", "most_cards", default=8, show_default=True, help="Virtual cards of the part cards.")
@click.option("--plots", type=_PREFIX, metavar="FOLDER", help="Write plots there, SVG and PNG.")
@pass_settings
def serve(settings: Settings, triton: str | None, mlserver: str | None, kserve: str | None, perf: str | None,
          parts: tuple[str, ...], scan: bool, rounds: int, requests: int, only: tuple[str, ...], clients: int,
          most_cards: int, plots: str | None) -> None:
    """Cards as an inference server, beside Triton, MLServer and KServe.

    Every server runs on one core, the load on another; ratios are medians over rounds. Peers live in virtual
    environments of their own (`python -m tools.serve_peers FOLDER` makes them); rows of those that are not given say
    "not run".
    """
    from safhost.bench.serve import suite
    from safhost.bench.serve.peers import Peers

    wanted = tuple(dict.fromkeys((*parts, *(("scan",) if scan else ()))))
    if scan and parts == ("rows",):
        wanted = ("scan",)
    if only and "rows" not in wanted:
        raise ConfigError("--only chooses rows, and rows are not measured", "add --part rows")
    result = suite.run(Peers(triton, mlserver, kserve, perf), wanted, rounds=rounds, requests=requests, only=only,
                       clients=clients, most_cards=most_cards, say=note)
    written = []
    if plots:
        from safhost.bench.serve import draw

        written = draw.all_parts(result, Path(plots))
    if settings.json:
        emit_json(result | {"plots": [str(path) for path in written]})
        return
    show(result)
    for path in written:
        say(f"wrote {path}")


def show(result: Mapping[str, Any]) -> None:
    """Tables of every part that was measured, then goals."""
    from safhost.bench.report import GOAL_COLUMNS, Goal

    machine = result["machine"]
    say(f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}, Linux {machine['kernel']}, Python "
        f"{machine['python']}, load before {machine['load_before']}; figures {result['figures']} unless they say "
        "modelled")
    if result["rows"]:
        _rows(result["rows"])
    if found := result["sweep"]:
        table(["REQUESTS", "SERVER", "CLIENTS", "PER S", "P50", "P99"], [
            ["batch 1", name, p["x"], f"{p['per_s']:,.0f}", _us(p["p50_us"]), _us(p["p99_us"])]
            for name, points in found["clients"].items() for p in points], right=["CLIENTS", "PER S", "P50", "P99"])
        table(["SERVER", "ROWS A REQUEST", "ROWS/S", "P50"], [
            [name, p["x"], f"{p['rows_per_s']:,.0f}", _us(p["p50_us"])]
            for name, points in found["batch"].items() for p in points], right=["ROWS A REQUEST", "ROWS/S", "P50"])
    if found := result["workflow"]:
        table(["CLIENTS", "MS AN EVENT", "EVENTS/S"], [[p["clients"], p["event_ms"], p["events_per_s"]]
                                                       for p in found["points"]], right=["MS AN EVENT", "EVENTS/S"])
        fit = found["fit"]
        say(f"fitted: t_acc {fit['acc_ms']} ms, t_latency {fit['latency_ms']} ms, t_ideal {fit['ideal_ms']} ms of "
            f"{found['local_ms']:g} ms local; saturated from {fit['saturation_clients']:.0f} clients on "
            f"(rms {fit['error']:.1%})")
    if found := result["cards"]:
        table(["CARDS", "PER S", "BESIDE ONE"], [[p["cards"], f"{p['per_s']:,.1f}", p["ratio"]]
                                                 for p in found["points"]], right=["PER S", "BESIDE ONE"])
    if found := result["scan"]:
        for kind in ("measured", "modelled"):
            table([f"{found['model']}, {kind}: UNITS", "BUFFERS", "ROWS/S", "LIMIT"], [
                [p["units"], p["ring"], f"{p['per_s']:,.0f}", p.get("limit", "")] for p in found.get(kind) or ()],
                right=["BUFFERS", "ROWS/S"])
    if found := result["facile"]:
        table(["REQUESTS", "MODEL", "PER S", "P50", "SERVER CPU", "DAEMON CPU", "CARDS CPU", "BESIDE IDENTITY",
               "BESIDE PLAIN"], [
            [f"batch {row['batch']:,}, {row['in_flight']} in flight", name, f"{cells['per_s']['median']:,.0f}",
             _us(cells["p50_us"]["median"]), *(f"{cells[who]['median']:,.0f} µs" for who in
                                               ("server_us", "daemon_us", "cards_us")),
             *(f"{row[beside]['median']:.2f} ± {row[beside]['spread'] / 2:.0%}" if name == "facile" else ""
               for beside in ("ratio", "plain_ratio"))]
            for row in found["rows"] for name, cells in row["models"].items()],
            right=["PER S", "P50", "SERVER CPU", "DAEMON CPU", "CARDS CPU", "BESIDE IDENTITY", "BESIDE PLAIN"])
    if found := result["pull"]:
        table(["A CARD OF MANY PULLED", ""], [
            ["requests that failed", f"{found['failed']} of {found['requests']:,}"],
            ["p99 before", f"{found['p99_ms']['median']:,.1f} ms"],
            ["p99 is what it was after, median", f"{found['recovery_s']['median']:.2f} s"],
            ["p99 is what it was after, longest", f"{found['recovery_s']['max']:.2f} s"],
            ["longest latency", f"{found['longest_ms']['max']:,.0f} ms"],
            ["last card: refused after", f"{found['last']['refused_s']:.2f} s"],
            ["last card: not ready after", f"{found['last']['unready_s']:.2f} s"]])
    if found := result["lone"]:
        table(["ONE REQUEST IN FLIGHT, ONE CARD", "P50", "P99"], [
            *([f"{name}, through the server", _ms(cells["p50_ms"]), _ms(cells["p99_ms"])]
              for name, cells in found["served"].items()),
            ["facile, a unit of a job", _ms(found["unit"]["p50_ms"]), _ms(found["unit"]["p99_ms"])]],
            right=["P50", "P99"])
        table(["PART OF THE UNIT, MEAN", ""], [[text, _ms(found["unit"][part])] for part, text in _PARTS], right=[""])
    if found := result["trees"]:
        table(["BOOSTED TREES, VIRTUAL CARD: ROWS A BATCH", "ROWS/S", "P50"], [
            [f"{p['batch']:,}", f"{p['per_s']:,.0f}", _us(p["p50_us"])] for p in found["points"]],
            right=["ROWS/S", "P50"])
    if found := result["paper"]:
        table(["WHAT", "PAPER", "MEASURED ON LAB", "MODELLED ON 385A", "LIMIT OF THE MODEL"], [
            [r["what"], r["paper"], _lab(r), _or_not_run(r["modelled"], "—"), r["limit"]] for r in found["table"]])
        table(["ROWS A BATCH (modelled)", "ONE AT A TIME", "RING OF 8", "KERNEL ALONE", "ROWS/S A WATT, AT LEAST"], [
            [p["batch"], f"{p['one_at_a_time_per_s']:,.0f}", f"{p['ring_per_s']:,.0f}",
             f"{p['kernel_only_per_s']:,.0f}", f"{p['per_s_per_w_at_least']:,.0f}"] for p in result["xgboost"]],
            right=["ONE AT A TIME", "RING OF 8", "KERNEL ALONE", "ROWS/S A WATT, AT LEAST"])
    if result["goals"]:
        table(GOAL_COLUMNS, [Goal(g["name"], g["figure"], g["limit"], g["sense"], g["unit"]).row()
                             for g in result["goals"]], right=["FIGURE"])


def _rows(rows: list[Mapping[str, Any]]) -> None:
    cells = []
    for row in rows:
        for name, found in row["servers"].items():
            if "not_run" in found:
                cells.append([row["title"], name, found["not_run"], "", "", "", "", "", ""])
                continue
            beside = row["ratios"].get(name, {})
            cells.append([row["title"], name, f"{found['per_s']['median']:,.0f}", found["per_s"]["spread"],
                          _us(found["p50_us"]["median"]), _us(found["p99_us"]["median"]),
                          f"{found['cpu_us']['median']:,.0f} µs", beside.get("per_s") or "",
                          beside.get("cpu") or ""])
    columns = ["LOAD", "SERVER", "PER S", "SPREAD", "P50", "P99", "CPU", "OURS BESIDE", "BY CPU"]
    table(columns, cells, right=columns[2:])


def _ms(found: Mapping[str, Any]) -> str:
    return f"{found['median']:.2f} ms"


def _us(value: float) -> str:
    return f"{value / 1000:,.1f} ms" if value >= 10_000 else f"{value:,.0f} µs"


def _lab(row: Mapping[str, Any]) -> str:
    figure = _or_not_run(row["lab"], "not run" if row["measurable"] else "—")
    return f"{figure} ({row['lab_how']})" if row["lab_how"] else figure


def _or_not_run(value: float | None, none: str = "not run") -> str:
    return none if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
