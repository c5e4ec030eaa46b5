"""PTRANS on the lab, through ``safhost bench ptrans`` in a process of its own: what Figure 7 and Table III show.

The command line that was run stands in the report, so that anybody can repeat a part of it. Kernels take the time that
the Arria 10 model gives them, stretched so that two CPUs can carry the frames of twenty cards in the meantime.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safhost.bench.paper import constants as printed
from safhost.bench.paper.content import Cell, Kind, Number, Section
from safhost.bench.paper.options import Options
from safhost.bench.paper.store import Measurement, Store
from safhost.errors import DaemonError

SCALINGS = ("strong", "weak")
HOTPLUG_PERCENT = 40
SEED = 1
_END_GRACE_S = 30.0

SIDES = {"strong": 4096, "weak": 1536, "hotplug": 11264}
SIDES_QUICK = {"strong": 2560, "weak": 1024, "hotplug": 5632}
"""Sides of the matrices; at weak scaling that of one card."""
COMMON = ("--seed", str(SEED), "--mtu", "9000", "--timing", "arria10")
SCALING = ("--block", "256", "--time-scale", "4000", "--link-rate", "100Mbit")
"""So slow that two CPUs carry the frames of twenty cards, and that the port is full within the figure
(docs/ptrans.md)."""
HOTPLUG = ("--block", "512", "--time-scale", "4000", "--pr-scale", "1", "--image-size", "97.4MB")
"""The ten hours of the paper become about a minute. Image and time of reconfiguration are those of a real card, so that
joining takes far more of the run than it would of ten hours."""
_SILENT = ("written: ",)
"""Remarks of a run that are not passed on: files that are gone afterwards."""


def card_counts(options: Options) -> list[int]:
    """The paper's numbers of cards, up to those asked for; three of them when it shall be quick."""
    counts = [n for n in printed.CARD_COUNTS if n < options.cards] + [options.cards]
    return sorted({1, min(4, options.cards), options.cards}) if options.quick else counts


def scaling_command(scaling: str, options: Options) -> list[str]:
    """``bench ptrans`` for one half of Figure 7."""
    cards = ",".join(map(str, card_counts(options)))
    side = (SIDES_QUICK if options.quick else SIDES)[scaling]
    return ["bench", "ptrans", f"--{scaling}", "--cards", cards, "--n", str(side), *COMMON, *SCALING]


def hotplug_command(options: Options) -> list[str]:
    """``bench ptrans`` with four cards that become eight, after a run with four alone."""
    side = (SIDES_QUICK if options.quick else SIDES)["hotplug"]
    return ["bench", "ptrans", "--cards", str(printed.BASELINE_CARDS), "--n", str(side), *COMMON, *HOTPLUG,
            "--hotplug", f"+{printed.ADDED_CARDS}@{HOTPLUG_PERCENT}%"]


def scaling(options: Options, store: Store, section: Section) -> dict[str, dict[str, Any]]:
    """Documents of both scalings, by name; one that could not be measured is left out, and ``section`` says why."""
    commands = {name: scaling_command(name, options) for name in SCALINGS}
    return _results("fig7", commands, options, store, section)


def hotplug(options: Options, store: Store, section: Section) -> dict[str, Any] | None:
    """The document of the run; None when there was none, and ``section`` says why."""
    return _results("table3", {"hotplug": hotplug_command(options)}, options, store, section).get("hotplug")


def link_of(document: dict[str, Any]) -> list[Cell]:
    """What the host's link carried in a run, and how that is known."""
    given = document["parameters"]
    link = given["link"]
    kind = Kind.MEASURED if link["source"].startswith("measured") else Kind.MODELLED
    return ["Host's link: ", Number(link["bytes_per_s"] * 8 / 1e9, kind, "Gbit/s"),
            f" each way ({link['source']}), MTU {given['mtu']}."]


def _results(key: str, commands: dict[str, list[str]], options: Options, store: Store,
             section: Section) -> dict[str, dict[str, Any]]:
    """What the commands gave, before or now. One that fails, or whose results are wrong, leaves its reason in the
    section; the others are kept."""
    if not options.measure:
        section.missing.append("The lab was left alone (--no-measure): nothing of ours is measured here.")
        return {}
    into = store.open(key, {"commands": commands})
    found = {}
    for name, command in commands.items():
        try:
            found[name] = _result(into, name, command, options)
        except DaemonError as err:
            section.failures.append(f"{name}: {err}")
    section.data["measurement"] = into.to_dict()
    section.commands += [shlex.join(["safhost", *command]) for command in commands.values()]
    section.seeds.append(f"matrices {SEED}")
    return found


def _result(into: Measurement, name: str, command: Sequence[str], options: Options) -> dict[str, Any]:
    if name not in into.results:
        options.say(f"{name}: {shlex.join(['safhost', *command])}")
        into.put(name, run_command(command, options))
    document: dict[str, Any] = into.results[name]
    if not document["validated"]:
        raise DaemonError("a result was wrong: its error is above the threshold", "see the JSON file")
    return document


def run_command(command: Sequence[str], options: Options) -> dict[str, Any]:
    """Run ``safhost COMMAND`` and return the document that it writes; what it remarks is passed on.

    Raises DaemonError when it fails before there is a document.
    """
    with tempfile.TemporaryDirectory(prefix="safhost-paper-") as folder:
        line = [sys.executable, "-m", "safhost.cli", *command, "--out", folder]
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   text=True)
        last = ""
        try:
            assert process.stderr is not None
            for text in process.stderr:
                last = text.strip() or last
                if not text.startswith(_SILENT):
                    options.say(f"  {text.rstrip()}")
            process.wait()
        finally:
            _end(process)
        documents = sorted(Path(folder).glob("*.json"))
        if not documents:
            raise DaemonError(f"it ended with code {process.returncode}: {last}", "run the command by hand")
        document: dict[str, Any] = json.loads(documents[0].read_text())
        return document


def _end(process: subprocess.Popen[str]) -> None:
    """Where we were interrupted: let it remove its lab, and wait for that."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stderr is not None:
        process.stderr.close()
