"""``safhost bench``: figures of this machine beside those of peers, each with its goal.

The benchmarks make what they need (labs, namespaces, peers) and remove it again; they touch no cluster that
runs and no interface of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from safhost.cli.bench_ptrans import ptrans
from safhost.cli.bench_rtl import rtl, show_model
from safhost.cli.bench_serve import serve
from safhost.cli.context import Address, OfflineGroup, Settings, pass_settings
from safhost.cli.output import emit_json, note, say, table
from safhost.units import format_bytes

SIZE_DEFAULT = "97.4MB"  # PTRANS image of the paper, section VI-A
SIMULATED_DEFAULT = "8MB"
PEERS_DEFAULT = "uftp,udpcast,blast"


@click.group(cls=OfflineGroup)
def bench() -> None:
    """Measure, beside peers; every figure with its goal."""


bench.add_command(ptrans)
bench.add_command(rtl)
bench.add_command(serve)


@bench.command()
@click.option("--cards", default=20, show_default=True, help="Receivers: virtual cards, and as many of each peer.")
@click.option("--size", type=Address(), default=SIZE_DEFAULT, show_default=True, help="Bytes of the image.")
@click.option("--mtu", type=int, help="MTU of every port.  [default: 1500; 9000 with --model]")
@click.option("--topology", type=click.Choice(["bridge", "chassis"]), default="bridge", show_default=True,
              help="How our cards are connected; peers always sit on a bridge.")
@click.option("--peers", default=PEERS_DEFAULT, show_default=True, metavar="NAME,...",
              help="uftp and udpcast (Debian packages), blast (raw frames), or none.")
@click.option("--rounds", default=5, show_default=True, help="Rounds, everybody once in each.")
@click.option("--tune/--no-tune", default=True, show_default=True,
              help="Try all settings of a peer first and use its fastest lossless one.")
@click.option("--one-card/--no-one-card", default=True, show_default=True,
              help="Measure a single card too: what do more cards cost the host?")
@click.option("--model", is_flag=True, help="Nothing is measured: what hardware cards would take by the RTL's cycles "
              "(uses --cards, --size, --mtu, --simulate).")
@click.option("--simulate", type=Address(), default=SIMULATED_DEFAULT, show_default=True,
              help="With --model: bytes that go through the simulated RTL; the rest is extended linearly.")
@pass_settings
def reconfig(settings: Settings, cards: int, size: int, mtu: int | None, topology: str, peers: str, rounds: int,
             tune: bool, one_card: bool, model: bool, simulate: int) -> None:
    """One image to all cards by broadcast, beside uftp, udpcast and raw frames.

    Seconds run from the call to the last card's verified image.
    """
    if model:
        show_model(settings, cards, size, mtu or 9000, simulate)
        return
    mtu = mtu or 1500
    from safhost.bench import reconfig as module

    names = [] if peers.strip() in ("", "none") else [name.strip() for name in peers.split(",")]
    _show(settings, module.run(cards, size, mtu, topology, names, rounds, tune, one_card, note), _reconfig_rows)


@bench.command()
@click.option("--mtu", "mtus", multiple=True, type=int, default=(1500, 9000), show_default=True,
              help="MTU to measure at; may be repeated.")
@click.option("--frames", type=int, help="Frames of a run (else as many as make 600 MB).")
@click.option("--repeats", default=7, show_default=True, help="Runs of each program.")
@pass_settings
def link(settings: Settings, mtus: tuple[int, ...], frames: int | None, repeats: int) -> None:
    """Transmit and receive path beside small C programs on the same veth pair."""
    from safhost.bench import link as module
    from safhost.bench.report import Goal, document

    figures = module.run(mtus, frames, repeats)
    goals = []
    for way in ("transmit", "receive"):
        goals += [Goal(f"{way} beside C, {entry['block_bytes']} byte blocks", entry["ratio"], figures["goal_ratio"],
                       "at least") for entry in figures[way]]
    goals += [Goal(f"drops at full pace, {entry['block_bytes']} byte blocks",
                   float(sum(entry["safhost"]["drops"])), 0.0, "at most", "frames")
              for entry in figures["receive"]]
    parameters = {"mtus": list(mtus), "repeats": repeats}
    _show(settings, document("link", parameters, goals, transmit=figures["transmit"], receive=figures["receive"],
                             batch_frames=figures["batch_frames"], ring_bytes=figures["ring_bytes"]), _link_rows)


@bench.command()
@click.option("--rounds", default=20_000, show_default=True, help="Commands of a turn.")
@click.option("--turns", default=3, show_default=True, help="Turns of ours and of the ping-pong.")
@pass_settings
def latency(settings: Settings, rounds: int, turns: int) -> None:
    """Command to done of an empty kernel, beside a C ping-pong with raw sockets."""
    from safhost.bench import latency as module

    _show(settings, module.run(rounds, turns, note), _latency_rows)


@bench.command()
@click.option("--cards", default=1000, show_default=True, help="Virtual cards behind one interface.")
@click.option("--rounds", default=3, show_default=True, help="Times everything is done.")
@click.option("--suite", type=click.IntRange(0, 1), default=0, show_default=True, help="1: tagged frames.")
@pass_settings
def scale(settings: Settings, cards: int, rounds: int, suite: int) -> None:
    """Time until many cards are discovered, and the memory of the daemon."""
    from safhost.bench import scale as module

    _show(settings, module.run(cards, rounds, suite, note), _scale_rows)


@bench.command("rtl-cosim")
@click.option("--size", type=Address(), default="20MB", show_default=True, help="Bytes of the image.")
@click.option("--rounds", default=3, show_default=True, help="Images, one after the other.")
@click.option("--mtu", default=1500, show_default=True, help="MTU of the card's port.")
@click.option("--suite", type=click.IntRange(0, 1), default=1, show_default=True, help="1: tagged frames.")
@pass_settings
def rtl_cosim(settings: Settings, size: int, rounds: int, mtu: int, suite: int) -> None:
    """Frames through one card simulated from the shell's RTL.

    MB/s of frames taken in and until verified, and cycles of the core clock a second. The first run compiles the RTL.
    """
    from safhost.bench import rtl_cosim as module

    _show(settings, module.run(size, rounds, mtu, suite, note), _rtl_cosim_rows)


@bench.command()
@click.option("--unit", "units_of", multiple=True, type=Address(), default=("1MiB", "8MiB"), show_default=True,
              help="Bytes of a unit's inputs; its result is half of that. May be repeated.")
@click.option("--mtu", "mtus", multiple=True, type=int, default=(1500, 9000), show_default=True,
              help="MTU of the lab; may be repeated.")
@click.option("--cards", default=4, show_default=True, help="Virtual cards.")
@click.option("--size", type=Address(), default="512MiB", show_default=True, help="Inputs of one round, in all.")
@click.option("--rounds", default=5, show_default=True, help="Rounds: jobs of each unit size, and the bare link.")
@click.option("--small-units", default=5000, show_default=True, help="Units of 8 KiB a round; 0: none.")
@click.option("--units", default=0, show_default=True,
              help="Watch the memory of client and daemon while so many units of 512 bytes pass; 0: do not.")
@pass_settings
def jobs(settings: Settings, units_of: tuple[int, ...], mtus: tuple[int, ...], cards: int, size: int, rounds: int,
         small_units: int, units: int) -> None:
    """What moving work units through jobs costs the host, beside the bare link.

    CPU seconds of client and daemon a GB moved, against those of `safhost bench link` for the same bytes in the same
    round; units/s and CPU time of small units; memory while very many pass (--units 1000000 takes a while).
    """
    from safhost.bench import jobs as module

    _show(settings, module.run(units_of, mtus, cards, size, rounds, small_units, units, note), _jobs_rows)


def _show(settings: Settings, result: dict[str, Any], rows: Any) -> None:
    """The document as JSON, or as a table of figures and one of goals."""
    if settings.json:
        emit_json(result)
        return
    from safhost.bench.report import GOAL_COLUMNS

    machine = result["machine"]
    say(f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}, Linux {machine['kernel']}, Python "
        f"{machine['python']}, load before {machine['load_before']}; all figures {result['figures']}")
    columns, cells = rows(result)
    table(columns, cells, right=columns[1:])
    table(GOAL_COLUMNS, [_goal_row(goal) for goal in result["goals"]], right=["FIGURE"])


def _goal_row(goal: Mapping[str, Any]) -> Sequence[object]:
    from safhost.bench.report import Goal

    return Goal(goal["name"], goal["figure"], goal["limit"], goal["sense"], goal["unit"]).row()


def _reconfig_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    ours, one = result["safhost"], result["one_card"]
    rows: list[list[object]] = [["safhost", f"{ours['median_s']:.2f} s", ours["spread"], ours["verified_cards"],
                                 max(ours["frames_sent"]), f"{sum(ours['user_cpu_s']):.2f} s",
                                 f"{sum(ours['system_cpu_s']):.2f} s"]]
    if one:
        rows.append(["safhost, 1 card", f"{one['median_s']:.2f} s", one["spread"], one["verified_cards"],
                     max(one["frames_sent"]), f"{sum(one['user_cpu_s']):.2f} s", f"{sum(one['system_cpu_s']):.2f} s"])
    for name, entry in result["peers"].items():
        if "median_s" not in entry:
            rows.append([name, entry["failures"][0], "", "", "", "", ""])
            continue
        rows.append([name, f"{entry['median_s']:.2f} s", entry["spread"], entry.get("verified_receivers", ""),
                     max(entry["frames_sent"]) if "frames_sent" in entry else "", "", ""])
    return ["WHO", "MEDIAN", "SPREAD", "VERIFIED", "FRAMES", "USER CPU", "SYSTEM CPU"], rows


def _link_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for way in ("transmit", "receive"):
        for entry in result[way]:
            for who in ("safhost", "c"):
                figures = entry[who]
                rows.append([f"{way} {entry['block_bytes']} B, {who}", figures["median_frames_per_s"],
                             figures["median_mb_per_s"], figures["spread"], figures["median_cpu_us_per_frame"]])
    return ["WHAT", "FRAMES/S", "MB/S", "SPREAD", "CPU µS/FRAME"], rows


def _latency_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for way in (way for way in ("in_process", "daemon", "in_process_same", "daemon_same") if way in result):
        for who in ("safhost", "pingpong"):
            figures = result[way][who]
            rows.append([f"{who}, {way.replace('_', '-')}", *(f"{figures[key]['median'] / 1e3:.1f} µs"
                                                             for key in ("p50_ns", "p99_ns")),
                         figures["p50_ns"]["spread"]])
    return ["WHAT", "P50", "P99", "SPREAD"], rows


def _rtl_cosim_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for key, name in (("received", "frames taken in"), ("verified", "until verified")):
        rate, per_cycle = result[f"{key}_mb_per_s"], result[f"{key}_bytes_per_cycle"]
        rows.append([name, f"{rate['median']:.2f} MB/s", rate["spread"], f"{per_cycle['median']:.2f}"])
    cycles = result["received_mcycles_per_s"]
    rows.append(["core clock while frames come", f"{cycles['median']:.3f} M/s", cycles["spread"], ""])
    cpu = result["verified_mcycles_per_cpu_s"]
    rows.append(["core clock a CPU second", f"{cpu['median']:.3f} M", cpu["spread"], ""])
    return ["WHAT", "MEDIAN", "SPREAD", "BYTES/CYCLE"], rows


def _scale_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    if result["usable_cards"] < result["parameters"]["cards"]:
        note(f"only {result['usable_cards']} of {result['parameters']['cards']} cards became usable")
    rows: list[list[object]] = []
    for key, unit, scale_by in (("lab_up_s", "s", 1.0), ("discovered_s", "s", 1.0), ("usable_s", "s", 1.0),
                                ("resident_bytes", "MB", 1e6), ("peak_bytes", "MB", 1e6)):
        figures = result[key]
        rows.append([key.rsplit("_", 1)[0].replace("_", " "), f"{figures['median'] / scale_by:.2f} {unit}",
                     figures["spread"]])
    return ["WHAT", "MEDIAN", "SPREAD"], rows


def _jobs_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for one in result["bulk"]:
        rows.append([f"{format_bytes(one['unit_bytes'])}, MTU {one['mtu']}",
                     *(f"{one[f'{key}cpu_s_per_gb']['median']:.2f} s" for key in ("", "client_", "daemon_", "digest_",
                                                                               "link_")),
                     f"{one['ratio']['median']:.2f}", one["ratio"]["spread"],
                     *(f"{one[f'ratio_{how}']['median']:.2f}" for how in ("without_digests", "undelivered")),
                     f"{one['gb_per_s']['median'] * 1e3:.0f} MB/s"])
    for one in result["small"]:
        client, daemon = one["client_us_per_unit"]["median"], one["daemon_us_per_unit"]["median"]
        rows.append([f"{format_bytes(one['unit_bytes'])}, MTU {one['mtu']}, a unit", f"{client + daemon:.0f} µs",
                     f"{client:.0f} µs", f"{daemon:.0f} µs", "", "", "", one["units_per_s"]["spread"], "", "",
                     f"{one['units_per_s']['median']:.0f} units/s"])
    return ["UNITS OF", "CPU A GB", "CLIENT", "DAEMON", "OF IT DIGESTS", "LINK", "RATIO", "SPREAD", "NO DIGESTS",
            "TO AN IDLE LINK", "RATE"], rows
