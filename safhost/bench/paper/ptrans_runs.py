"""PTRANS on the lab, through ``safhost bench ptrans --json`` in a process of its own: what Figure 7 and Table III show.

The command line that was run stands in the report, so that anybody can repeat a single line of it. Kernels take the
time
that the Arria 10 model gives them, stretched so that two CPUs can carry the frames of twenty cards in the meantime.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from safhost.bench.paper import constants as printed
from safhost.bench.paper import models
from safhost.bench.paper.content import Section
from safhost.bench.paper.options import Options
from safhost.bench.paper.store import Measurement, Store
from safhost.errors import DaemonError

SCALINGS = ("strong", "weak")
HOTPLUG_PERCENT = 40
_TIMEOUT_S = 3600.0


def card_counts(options: Options) -> list[int]:
    """The paper's numbers of cards, up to those asked for; three of them when it shall be quick."""
    counts = [n for n in printed.CARD_COUNTS if n < options.cards] + [options.cards]
    return sorted({1, min(4, options.cards), options.cards}) if options.quick else counts


def scaling_command(scaling: str, options: Options) -> list[str]:
    """``bench ptrans`` for one half of Figure 7."""
    cards = ",".join(map(str, card_counts(options)))
    return ["bench", "ptrans", f"--{scaling}", "--cards", cards, *_size(options)]


def hotplug_commands(options: Options) -> dict[str, list[str]]:
    """``bench ptrans`` with four cards, and with four that become eight."""
    base = ["bench", "ptrans", "--strong", "--cards", str(printed.BASELINE_CARDS), *_size(options)]
    return {"baseline": base, "hotplug": [*base, "--hotplug", f"+{printed.ADDED_CARDS}@{HOTPLUG_PERCENT}%"]}


def _size(options: Options) -> list[str]:
    return ["--n", "4096" if options.quick else "16384", "--block", "512", "--timing", "arria10"]


def scaling(options: Options, store: Store, section: Section) -> dict[str, list[dict[str, Any]]]:
    """Rows of both scalings, by name; one that could not be measured is left out, and ``section`` says why."""
    if not _allowed(options, section):
        return {}
    into = _open(store, "fig7", {name: scaling_command(name, options) for name in SCALINGS}, section)
    out: dict[str, list[dict[str, Any]]] = {}
    for name in SCALINGS:
        document = _result(into, name, scaling_command(name, options), options, section)
        if document is not None:
            out[name] = document["rows"]
    return out


def hotplug(options: Options, store: Store, section: Section) -> dict[str, Any] | None:
    """Seconds with and without the new cards, their ratio and the ideal one; None when there was no run."""
    if not _allowed(options, section):
        return None
    commands = hotplug_commands(options)
    into = _open(store, "table3", commands, section)
    documents = {name: _result(into, name, command, options, section) for name, command in commands.items()}
    baseline, plugged = documents["baseline"], documents["hotplug"]
    if baseline is None or plugged is None:
        return None
    return hotplug_figures(baseline, plugged)


def hotplug_figures(baseline: dict[str, Any], plugged: dict[str, Any]) -> dict[str, Any]:
    """What Table III takes from the two documents."""
    before_s, after_s = float(baseline["rows"][0]["total_s"]), float(plugged["rows"][0]["total_s"])
    done = float(HOTPLUG_PERCENT)
    return {"done_percent": done, "baseline_s": before_s, "total_s": after_s, "ratio": after_s / before_s,
            "ideal": models.ideal_ratio(done / 100), "note": []}


def _allowed(options: Options, section: Section) -> bool:
    if not options.measure:
        section.missing.append("The lab was left alone (--no-measure): nothing of ours is measured here.")
    return options.measure


def _open(store: Store, key: str, commands: dict[str, list[str]], section: Section) -> Measurement:
    into = store.open(key, {"commands": commands})
    section.data["measurement"] = into.to_dict()
    section.commands += ["safhost " + " ".join(command) for command in commands.values()]
    return into


def _result(into: Measurement, name: str, command: Sequence[str], options: Options,
            section: Section) -> dict[str, Any] | None:
    """The document of a run, from before or from now. A run that fails leaves its reason in the section."""
    if name not in into.results:
        options.say(f"{section.key}: safhost {' '.join(command)}")
        try:
            into.put(name, run_command(command, options))
        except DaemonError as err:
            section.failures.append(f"{name}: {err}")
            return None
    document: dict[str, Any] = into.results[name]
    if not all(row.get("validated") for row in document["rows"]):
        section.failures.append(f"{name}: a result was not validated; see the JSON file.")
        return None
    return document


def run_command(command: Sequence[str], options: Options) -> dict[str, Any]:
    """Run ``safhost COMMAND --json``; its remarks are passed on, its document is returned.

    Raises DaemonError when it fails, or gives no document with rows.
    """
    line = [sys.executable, "-m", "safhost.cli", *command, "--json"]
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as err:
        raise DaemonError(f"it did not end within {_TIMEOUT_S:.0f} s", "is the machine overloaded?") from err
    try:
        document = json.loads(done.stdout)
    except ValueError as err:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DaemonError(lines[-1], "run the command by hand") from err
    if not isinstance(document, dict) or not document.get("rows"):
        message = document.get("error", document) if isinstance(document, dict) else document
        raise DaemonError(f"it gave no rows: {message}", "run the command by hand")
    return document
