"""``safhost conformance``: try a card against every clause of the protocol."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safhost.cli.context import SafCommand, Settings, pass_settings
from safhost.cli.output import clean, emit_json, is_terminal, note, say, table
from safhost.errors import ConfigError

if TYPE_CHECKING:
    from safhost.cli.conformance_target import Target
    from safhost.conformance.suite import Check, Report

COLUMNS = ("clause", "sent", "came", "verdict")
NOTE_INTERVAL_S = 5.0
HOOK_TIMEOUT_S = 300
CAME_CHARS = 160
PATIENT_BELOW, MOST_PATIENCE = 10e6, 10.0
"""Bytes a second: only a simulation is slower, and ten times as slow where its machine has other work."""

RTL_VARIANTS = {"one": "one-clock", "four": "four-clocks"}


@click.command(cls=SafCommand)
@click.argument("cards", nargs=-1, metavar="[CARD]...")
@click.option("--card", "more_cards", metavar="SELECTOR", multiple=True, help="Card to try: serial, MAC or name.")
@click.option("--model", is_flag=True, help="Try the card model in this process: no network needed.")
@click.option("--rtl", is_flag=True, help="Try the shell's RTL in this process; compiled the first time (minutes).")
@click.option("--clocks", type=click.Choice(list(RTL_VARIANTS)), default="one", show_default=True,
              help="Of the RTL: one clock is fast; four unrelated ones check every assertion too.")
@click.option("--mtu", type=click.IntRange(1500, 65535), default=1500, show_default=True,
              help="MTU of the model or the RTL.")
@click.option("--key", metavar="FILE|HEX|none", help="The card's key (else the cluster's key file).")
@click.option("--clause", "clauses", metavar="PATTERN", multiple=True, help="Only these: XOPEN, XOPEN-3, 'S*'.")
@click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Write the results as JUnit XML.")
@click.option("--pcap-dir", metavar="DIR", type=click.Path(file_okay=False), default="conformance-pcap",
              show_default=True, help="Where the frames of failed checks are kept.")
@click.option("--patience", type=click.FloatRange(0.1, 1000),
              help="Multiplies every deadline: for a slow card or a simulation (else by the card's receive rate).")
@click.option("--reboot-command", metavar="CMD", help="Shell command that reboots the card.")
@click.option("--replug-command", metavar="CMD", help="Shell command that takes the card's link down and up.")
@click.option("--image", "images", metavar="FILE", multiple=True, type=click.Path(exists=True, dir_okay=False),
              help="Image with the suite's kernels, made for this card; give two.")
@click.option("--list", "only_list", is_flag=True, help="List the clauses and what their checks send.")
@click.option("--self-test", "only_self_test", is_flag=True, help="Try the suite on card models with one bug each.")
@click.option("--in-lab", "lab", hidden=True, help="Set when this process was moved into a lab.")
@pass_settings
def conformance(settings: Settings, /, **options: Any) -> int:
    """Try cards against every clause of the protocol, over their network.

    Takes a card over from whoever has it, erases its DDR and staged images, and loads images where it may. A table
    says what was sent, what came, and the verdict; the frames of failed checks are kept as pcap. Exit code 1: a
    clause failed.
    """
    from safhost.conformance.suite import choose

    if options["only_list"]:
        return _list(settings, choose(options["clauses"]))
    if options["only_self_test"]:
        return _self_test(settings)
    checks = choose(options["clauses"])
    if options["model"] and options["rtl"]:
        raise ConfigError("--model and --rtl are two cards", "run the command once for each")
    if options["model"] or options["rtl"]:
        return _finish(settings, options, [_try_in_process(options, checks)])
    from safhost.cli.conformance_target import open_targets

    reports = []
    with open_targets(settings, [*options["cards"], *options["more_cards"]], options["key"], options["lab"]) as targets:
        for target in targets:
            reports.append(_try_card(target, options, checks))
    return _finish(settings, options, reports)


def _try_in_process(options: dict[str, Any], checks: list[Check]) -> Report:
    from safhost.cli.conformance_target import read_key
    from safhost.conformance.selftest import MODEL_KEY, make_model, make_rtl

    given = options["key"]
    key = MODEL_KEY if given is None else read_key(given)
    suite, mtu = int(key is not None), options["mtu"]
    if options["rtl"]:
        from safhost.lab.rtl_build import build_card_library

        library = build_card_library(RTL_VARIANTS[options["clocks"]], note)
        probe = make_rtl(library, suite, mtu, key or MODEL_KEY)
    else:
        probe = make_model(suite, mtu, key or MODEL_KEY)
    probe.patience = options["patience"] or 1.0
    try:
        return _run("rtl" if options["rtl"] else "model", probe, checks, options, repeat=False)
    finally:
        probe.wire.close()


def patience_of(receive_rate: int) -> float:
    """By how much the deadlines for a card of that rate, in bytes a second, are multiplied."""
    return min(MOST_PATIENCE, max(1.0, round(PATIENT_BELOW / max(1, receive_rate), 1)))


def _try_card(target: Target, options: dict[str, Any], checks: list[Check]) -> Report:
    from safhost.conformance.broken import ClauseBroken
    from safhost.conformance.images import open_images
    from safhost.conformance.probe import Probe
    from safhost.conformance.wires import link_wire

    images = open_images(options["images"])
    reboot = _hook(options["reboot_command"]) or target.reboot
    replug = _hook(options["replug_command"]) or target.replug
    wire = link_wire(target.open_link(), target.mac, target.codec, reboot, replug)
    try:
        probe = Probe(wire, target.key, patience=options["patience"] or 1.0, images=images)
        if options["patience"] is None:
            with contextlib.suppress(ClauseBroken):  # what is wrong with it is said by the checks
                probe.patience = patience_of(probe.last_hello().receive_rate)
                if probe.patience > 1:
                    note(f"card {clean(target.name)} is slow by its own word: deadlines are {probe.patience:g} times "
                         "as long, --patience says how much")
        note(f"card {clean(target.name)}: {len(checks)} checks; it is taken over, its DDR and images are erased")
        report = _run(target.name, probe, checks, options, repeat=True)
        with contextlib.suppress(ClauseBroken):  # a card that opens no session has none to give back
            probe.give_back()
        return report
    finally:
        wire.close()


def _run(name: str, probe: Any, checks: list[Check], options: dict[str, Any], *, repeat: bool) -> Report:
    from safhost.conformance.suite import FAIL, Report, run

    report = Report(name)
    pcap_dir = Path(options["pcap_dir"]) / "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    shown, live = time.monotonic(), is_terminal(sys.stderr)
    for result in run(probe, checks, repeat=repeat, pcap_dir=pcap_dir):
        report.results.append(result)
        if live or time.monotonic() - shown > NOTE_INTERVAL_S:
            shown = time.monotonic()
            text = f"{len(report.results)} of {len(checks)} checks, {len(report.of(FAIL))} failed"
            if live:
                click.echo(f"\r\x1b[K{text}: {result.clause}", nl=False, err=True)
            else:
                note(text)
    if live:
        click.echo("\r\x1b[K", nl=False, err=True)
    return report


def _finish(settings: Settings, options: dict[str, Any], reports: list[Report]) -> int:
    from safhost.conformance.report import to_json, write_junit
    from safhost.conformance.suite import FAIL, NOT_RUN, PASS

    if options["junit"]:
        write_junit(reports, options["junit"])
    if settings.json:
        emit_json({"cards": [to_json(report) for report in reports]})
    for report in reports:
        table(COLUMNS, [(r.clause, r.sent, _short(r.came or f"needs {r.reason}"), r.verdict) for r in report.results],
              title=f"card {clean(report.card)}")
        seconds = sum(r.seconds for r in report.results)
        say(f"{len(report.of(PASS))} passed, {len(report.of(FAIL))} failed, {len(report.of(NOT_RUN))} not run, in "
            f"{seconds:.1f} s of the card's time")
        kept = [r.pcap for r in report.results if r.pcap]
        if kept:
            note(f"frames of failed checks: {Path(kept[0]).parent}")
    return 0 if all(report.passed for report in reports) else 1


def _short(text: str) -> str:
    return text if len(text) <= CAME_CHARS else text[:CAME_CHARS - 1] + "…"


def _list(settings: Settings, checks: list[Check]) -> int:
    from safhost.wire.clauses import CLAUSES

    rows = [(c.clause, CLAUSES[c.clause].text, c.sends, c.needs if c.needs != "nothing" else "") for c in checks]
    if settings.json:
        emit_json([dict(zip(("clause", "text", "sends", "needs"), row, strict=True)) for row in rows])
    table(("clause", "text", "sends", "needs"), rows)
    return 0


def _self_test(settings: Settings) -> int:
    from safhost.conformance.faulty import FAULTY
    from safhost.conformance.selftest import self_test

    results = []
    for caught in self_test(FAULTY):
        results.append(caught)
        note(f"{len(results)} of {len(FAULTY)}: {caught.name}: " + (", ".join(caught.clauses) or "missed"))
    results.sort(key=lambda caught: caught.name)
    missed = [caught for caught in results if not caught.clauses]
    if settings.json:
        emit_json({"faulty": len(results), "missed": len(missed),
                   "results": [{"bug": c.name, "breaks": c.breaks, "caught_by": list(c.clauses)} for c in results]})
    table(("bug", "what goes wrong", "caught by"),
          [(c.name, c.breaks, ", ".join(c.clauses) or "missed") for c in results])
    say(f"{len(results) - len(missed)} of {len(results)} faulty cards caught")
    return 1 if missed else 0


def _hook(command: str | None) -> Callable[[], None] | None:
    if not command:
        return None

    def run_it() -> None:
        try:
            done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False,
                                  timeout=HOOK_TIMEOUT_S)
        except subprocess.TimeoutExpired as err:
            raise ConfigError(f"{command!r} does not end", f"it has {HOOK_TIMEOUT_S} s") from err
        if done.returncode:
            raise ConfigError(f"{command!r} ended with exit code {done.returncode}", "it must end with 0")
    return run_it
