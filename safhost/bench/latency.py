"""`safhost bench latency`: command → done of the empty kernel, beside a raw-socket ping-pong in C.

The empty kernel is built into every card and does nothing, so that the time is that of the way there and back:
client, (daemon,) core, wire, virtual card. The ping-pong sends a frame of 64 bytes and returns it with nothing
in between, over a veth pair in the same namespace. Both take turns, several times.

Both are pinned alike, because a wake-up on another CPU costs several times one on the same: ``apart``, host on one
CPU and card (or echo) on another, as a card is another machine; and ``same``, everything on one CPU. The goals are
those of ``apart``; the figures of both are in the result.

    python -m safhost.bench.latency CLUSTER SERIAL ROUNDS INTERFACE PINGPONG HOST_CPU CARD_CPU
                                                                    (inside a lab; INTERFACE "": daemon)
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from safhost import paths
from safhost.bench.cbuild import build_program
from safhost.bench.report import Goal, document, percentile_ns, ratio, summarize
from safhost.errors import ConfigError, DeadlineExceeded, LinkError, SafError
from safhost.lab import manager
from safhost.lab.state import HOST_INTERFACE, LabSpec
from safhost.lab.topology import card_serial
from safhost.link import netns

GOAL_IN_PROCESS, GOAL_DAEMON = 5.0, 10.0
FRAME_BYTES = 64
TURNS = 3
_PING, _PONG = "ping0", "pong0"
_READY_TIMEOUT_S = 30.0
_RUN_TIMEOUT_S = 300.0

Say = Callable[[str], None]


def run(rounds: int = 20_000, turns: int = TURNS, say: Say = lambda _text: None) -> dict[str, Any]:
    """Measure in-process and through the daemon; returns the result as JSON-ready dicts, times in ns.

    ``rounds``: commands, and ping-pongs, a turn. Raises ConfigError without a C compiler, LinkError without
    namespaces, and what a lab raises.
    """
    if rounds < 100 or turns < 1:
        raise ConfigError(f"{turns} turns of {rounds} rounds tell no percentiles", "use 1 turn of 100 or more")
    pingpong = str(build_program("pingpong"))
    results: dict[str, dict[str, Any]] = {}
    cpus = sorted(os.sched_getaffinity(0))
    pins = {"apart": (cpus[0], cpus[1])} if len(cpus) > 1 else {}
    pins["same"] = (cpus[0], cpus[0])
    for pin, (host_cpu, card_cpu) in pins.items():
        for way, daemon in (("in_process", False), ("daemon", True)):
            ours, theirs = [], []
            for turn in range(1, turns + 1):
                answer = _measure(daemon, rounds, pingpong, host_cpu, card_cpu)
                ours.append(answer["safhost"])
                theirs.append(answer["pingpong"])
                say(f"turn {turn}, {way.replace('_', '-')}, CPUs {pin}: "
                    f"p50 {answer['safhost']['p50_ns'] / 1e3:.1f} µs, "
                    f"ping-pong {answer['pingpong']['p50_ns'] / 1e3:.1f} µs")
            results[way if pin == next(iter(pins)) else f"{way}_{pin}"] = _compare(ours, theirs)
    goals = [Goal(f"p50 {words} beside a C ping-pong", results[way]["ratio_p50"], limit, "at most", "times")
             for way, words, limit in (("in_process", "in-process", GOAL_IN_PROCESS),
                                       ("daemon", "through the daemon", GOAL_DAEMON))]
    parameters = {"rounds": rounds, "turns": turns, "topology": "chassis", "cards": 1, "frame_bytes": FRAME_BYTES,
                  "cpus": {pin: {"host": host, "card": card} for pin, (host, card) in pins.items()}}
    return document("latency", parameters, goals, **results)


def _compare(ours: list[dict[str, int]], theirs: list[dict[str, int]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, runs in (("safhost", ours), ("pingpong", theirs)):
        out[name] = {key: summarize([r[key] for r in runs], 0) for key in ("p50_ns", "p99_ns")}
        out[name]["min_ns"] = min(r["min_ns"] for r in runs)
    for key in ("p50", "p99"):
        out[f"ratio_{key}"] = ratio(out["safhost"][f"{key}_ns"]["median"], out["pingpong"][f"{key}_ns"]["median"])
    return out


def _measure(daemon: bool, rounds: int, pingpong: str, host_cpu: int, card_cpu: int) -> dict[str, Any]:
    """One turn in a lab made for it: the measuring process runs inside the lab's namespaces."""
    name = f"bench-{os.getpid()}"
    status = manager.up(LabSpec(name=name, cards=1, topology="chassis", daemon=daemon))
    try:
        pin_process(int(status["pid"]), card_cpu)
        if daemon:
            pin_process(int(status["daemon"]["pid"]), host_cpu)
        command = manager.exec_command(name, [
            sys.executable, "-m", "safhost.bench.latency", name, card_serial(1), str(rounds),
            "" if daemon else HOST_INTERFACE, pingpong, str(host_cpu), str(card_cpu)])
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_RUN_TIMEOUT_S)
        if done.returncode != 0:
            raise LinkError(f"the measurement failed: {done.stderr.strip()[-300:]}", f"see {paths.lab_log(name)}")
        return cast(dict[str, Any], json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{rounds} rounds took more than {_RUN_TIMEOUT_S:g} s", "use fewer rounds") from None
    finally:
        manager.down(name)
        shutil.rmtree(paths.cluster_state_dir(name), ignore_errors=True)


def pin_process(pid: int, cpu: int) -> None:
    """Bind all threads of a process to one CPU; threads it starts later inherit that."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {cpu})


def _pingpong(program: str, rounds: int, host_cpu: str, card_cpu: str) -> dict[str, int]:
    # A veth pair of its own beside the lab's: the card must not be woken by the frames of the ping-pong.
    netns.create_veth(_PING, _PONG)
    try:
        command = [program, _PING, _PONG, str(rounds), str(FRAME_BYTES), host_cpu, card_cpu]
        done = subprocess.run(command, capture_output=True,
                              text=True, check=False, timeout=_RUN_TIMEOUT_S)
        if done.returncode != 0:
            raise LinkError(f"the ping-pong failed: {done.stderr.strip()}", "see its message")
        return cast(dict[str, int], json.loads(done.stdout))
    finally:
        netns.delete(_PING)


def _commands(cluster_name: str, serial: str, rounds: int, interface: str) -> dict[str, int]:
    """Round trips of the empty kernel, a tenth of ``rounds`` more unmeasured before."""
    from safhost.client import connect
    from safhost.config import ClusterConfig, Config

    # A lab without a daemon writes no configuration; its cards have no keys.
    config = Config({cluster_name: ClusterConfig(cluster_name, suite=0)}) if interface else None
    took: np.ndarray[Any, np.dtype[np.int64]] = np.zeros(rounds, np.int64)
    with connect(cluster_name, [interface] if interface else None, config) as cluster:
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not any(card.state == "available" for card in cluster.cards()):
            if time.monotonic() > deadline_s:
                raise DeadlineExceeded(f"card {serial} was not there after {_READY_TIMEOUT_S:g} s", "see the lab's log")
            time.sleep(0.02)
        cards = [serial]
        run_empty, clock = cluster.run_empty, time.perf_counter_ns
        for _ in range(rounds // 10 + 1):
            run_empty(cards)
        gc.collect()
        for i in range(rounds):
            start = clock()
            run_empty(cards)
            took[i] = clock() - start
    ordered = np.sort(took).tolist()
    return {"rounds": rounds, "p50_ns": percentile_ns(ordered, 0.5), "p99_ns": percentile_ns(ordered, 0.99),
            "min_ns": ordered[0], "max_ns": ordered[-1]}


def _main(argv: list[str]) -> int:
    if len(argv) != 7:
        sys.stderr.write((__doc__ or "") + "\n")
        return 2
    name, serial, rounds, interface, program, host_cpu, card_cpu = argv
    try:
        before = _pingpong(program, int(rounds), host_cpu, card_cpu)
        os.sched_setaffinity(0, {int(host_cpu)})
        ours = _commands(name, serial, int(rounds), interface)
        json.dump({"pingpong": before, "safhost": ours}, sys.stdout)
    except SafError as err:
        sys.stderr.write(f"{err}\n")
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
