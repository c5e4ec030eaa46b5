"""`safhost bench scale`: how fast a thousand cards are discovered, and what they cost the daemon.

A lab of one chassis carries all cards behind one interface. Their cables are pulled, the daemon is ended (its
supervisor starts a fresh one, which knows nobody), and all cables are plugged in at once: the clock runs from
there until the daemon lists every card, and further until it holds a session with every card.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safhost import paths
from safhost.bench.report import Goal, document, summarize
from safhost.client import Cluster, connect
from safhost.errors import ConfigError, DaemonError, DeadlineExceeded
from safhost.lab import manager
from safhost.lab.state import LabSpec, ProcessIdentity

GOAL_SECONDS, GOAL_RESIDENT_MB = 2.0, 150.0
GOAL_CARDS = 1000
_TIMEOUT_S = 60.0
_STEP_S = 0.01

Say = Callable[[str], None]


def run(cards: int = GOAL_CARDS, rounds: int = 3, suite: int = 0, say: Say = lambda _text: None) -> dict[str, Any]:
    """Measure ``rounds`` times; returns the result as JSON-ready dicts.

    Raises ConfigError for a number of cards that does not fit, DeadlineExceeded when they do not all appear,
    and what a lab raises.
    """
    if rounds < 1:
        raise ConfigError("no rounds measure nothing", "use 1 or more")
    keys = ("discovered_s", "usable_s", "lab_up_s", "resident_bytes", "peak_bytes")
    series: dict[str, list[float]] = {key: [] for key in keys}
    seen: list[int] = []
    for number in range(1, rounds + 1):
        one = _measure(LabSpec(name=f"bench-{os.getpid()}", cards=cards, topology="chassis", suite=suite))
        for key in keys:
            series[key].append(one[key])
        seen.append(int(one["usable_cards"]))
        say(f"round {number}: {cards} cards discovered in {one['discovered_s']:.2f} s, {seen[-1]} usable after "
            f"{one['usable_s']:.2f} s, daemon {one['resident_bytes'] / 1e6:.0f} MB")
    figures = {key: summarize(values) for key, values in series.items()}
    goals = [Goal(f"all {cards} cards discovered after link-up", figures["discovered_s"]["median"], GOAL_SECONDS,
                  "at most", "s"),
             Goal("daemon resident", round(figures["resident_bytes"]["median"] / 1e6, 1), GOAL_RESIDENT_MB,
                  "at most", "MB")]
    return document("scale", {"cards": cards, "topology": "chassis", "rounds": rounds, "suite": suite}, goals,
                    usable_cards=min(seen), **figures)


def _measure(spec: LabSpec) -> dict[str, float]:
    name = spec.name
    start_s = time.monotonic()
    state = manager.up(spec)
    lab_up_s = time.monotonic() - start_s
    try:
        manager.request(name, "unplug", cards=["all"])
        daemon = _replace_daemon(name, state["daemon"]["pid"])
        with connect(name) as cluster:
            if cluster.info()["cards"]:
                raise DaemonError("the fresh daemon knows cards already", "report this with the lab's log")
            start_s = time.monotonic()
            manager.request(name, "plug", cards=["all"])
            found = _wait(lambda: cluster.info()["cards"], spec.cards)
            discovered_s = time.monotonic() - start_s
            if found < spec.cards:
                raise DeadlineExceeded(f"{found} of {spec.cards} cards discovered after {_TIMEOUT_S:g} s",
                                       "see `safhost lab status`, and the daemon's log")
            usable = _wait(lambda: _usable(cluster), spec.cards)
            usable_s = time.monotonic() - start_s
        return {"lab_up_s": lab_up_s, "discovered_s": discovered_s, "usable_cards": usable, "usable_s": usable_s,
                "resident_bytes": _memory(daemon, "VmRSS"), "peak_bytes": _memory(daemon, "VmHWM")}
    finally:
        manager.down(name)
        shutil.rmtree(paths.cluster_state_dir(name), ignore_errors=True)


def _replace_daemon(name: str, pid: int) -> int:
    """End the lab's daemon and wait for the one that its supervisor starts; returns its process id."""
    old = ProcessIdentity.of(pid)
    if old is not None:
        old.end(grace_s=5.0)
    deadline_s = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline_s:
        daemon = manager.status(name)["daemon"]
        if daemon["state"] == "ready" and daemon["pid"] != pid:
            return int(daemon["pid"])
        time.sleep(_STEP_S)
    raise DeadlineExceeded(f"no new daemon after {_TIMEOUT_S:g} s", f"see {paths.lab_log(name)}")


def _usable(cluster: Cluster) -> int:
    return sum(card.state == "available" for card in cluster.cards())


def _wait(count: Callable[[], int], wanted: int) -> int:
    """Until ``count`` reaches ``wanted``, or the deadline passes; the latest count."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while (found := count()) < wanted and time.monotonic() < deadline_s:
        time.sleep(_STEP_S)
    return found


def _memory(pid: int, key: str) -> int:
    """A memory figure of a process in bytes (proc(5), status)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise DaemonError(f"process {pid} tells no {key}", "it may have ended: see its log")
