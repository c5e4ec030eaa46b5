"""`safhost bench jobs`: what moving work through jobs costs the host, beside the bare link.

Units of ``vadd`` (two inputs, one output of half their size together) go through client, daemon and a lab of virtual
cards. Counted are the CPU seconds, user and system, of client and daemon alone; the cards and their kernels would be
elsewhere.

* host cost: CPU seconds a GB moved (inputs and results), beside what `safhost bench link` needs to send and receive
  the same bytes in blocks of the same size, in the same round. What hashing those bytes takes is told apart. Sending
  is that to a receiver: on one machine the kernel delivers within the sender's system call, to cards as well; the ratio
  to sending with nobody there is told too.
* small units: units/s, and the CPU time a unit costs client and daemon.
* memory: resident memory of client and daemon while very many units pass (``units``).
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from safhost import Unit, paths
from safhost.bench import link
from safhost.bench.report import Goal, document, ratio, summarize
from safhost.client import Cluster, Kernel, connect
from safhost.errors import ConfigError, SafError
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.plan.image import build_image
from safhost.units import format_bytes
from safhost.wire.digest import tree_root

KERNEL = "vadd"
UNIT_BYTES = (1 << 20, 8 << 20)
"""Inputs of a unit; its result is half of that."""

SMALL_UNIT_BYTES = 8192
TINY_UNIT_BYTES = 512
IMAGE_BYTES = 1 << 20
DISTINCT = 8
"""Units that differ; they are sent again and again, and each has its own row of results."""

GOAL_RATIO = 2.0
GOAL_GROWTH = 0.05
STEPS = 10
"""Memory is looked at after every tenth of the units; growth counts from the first tenth on."""

WARM_UP = 0.1
_READY_TIMEOUT_S = 60.0
_JOB_TIMEOUT_S = 7200.0

Say = Callable[[str], None]


def run(unit_bytes: Sequence[int] = UNIT_BYTES, mtus: Sequence[int] = (1500, 9000), cards: int = 4,
        size_bytes: int = 512 << 20, rounds: int = 5, small_units: int = 5000, units: int = 0,
        say: Say = lambda _text: None) -> dict[str, Any]:
    """Measure and return the result as JSON-ready dicts.

    ``size_bytes``: inputs of one round at one unit size; ``small_units``: units of 8 KiB a round (0: none);
    ``units``: units of 512 bytes for the look at memory (0: none). Raises ConfigError for what measures nothing,
    LinkError without namespaces, and what a lab or a job raises.
    """
    if rounds < 1 or cards < 1 or any(u % 128 or u <= 0 or u > size_bytes for u in unit_bytes):
        raise ConfigError(f"{rounds} rounds of {format_bytes(size_bytes)} in units of "
                          f"{', '.join(map(format_bytes, unit_bytes))} measure nothing",
                          "use 1 round and 1 card or more, and units of a multiple of 128 bytes that fit the size")
    bulk: list[dict[str, Any]] = []
    small: list[dict[str, Any]] = []
    memory: dict[str, Any] | None = None
    for mtu in mtus:
        bare: list[dict[str, float]] = []
        with _lab(cards, mtu) as (cluster, kernel, daemon):
            series = {size: _Series(kernel, daemon, size) for size in unit_bytes}
            few = _Series(kernel, daemon, SMALL_UNIT_BYTES)
            for size in (*unit_bytes, *([SMALL_UNIT_BYTES] if small_units else [])):  # not counted
                (series.get(size) or few).measure(cluster, _warm_up(small_units if size not in series
                                                                    else size_bytes // size), counted=False)
            for number in range(1, rounds + 1):
                bare.append(_bare_link(mtu, size_bytes))
                for size, one in series.items():
                    one.measure(cluster, size_bytes // size)
                if small_units:
                    few.measure(cluster, small_units)
                say(f"MTU {mtu}, round {number}: " + ", ".join(
                    f"units of {format_bytes(size)}: {one.rounds[-1]['cpu_s_per_gb']:.2f} CPU s/GB"
                    for size, one in series.items()))
            if units and mtu == mtus[-1]:
                memory = _watch_memory(cluster, kernel, daemon, units, say)
        bulk += [_bulk(one, bare, mtu) for one in series.values()]
        if small_units:
            small.append({"mtu": mtu, **_small(few)})
    return document("jobs", {"unit_bytes": list(unit_bytes), "mtus": list(mtus), "cards": cards, "rounds": rounds,
                             "size_bytes": size_bytes, "small_units": small_units, "units": units, "kernel": KERNEL,
                             "topology": "chassis"},
                    _goals(bulk, memory), bulk=bulk, small=small, memory=memory)


def _warm_up(count: int) -> int:
    return max(DISTINCT, int(count * WARM_UP))


def _goals(bulk: list[dict[str, Any]], memory: dict[str, Any] | None) -> list[Goal]:
    goals = [Goal(f"CPU a GB, units of {format_bytes(b['unit_bytes'])}, MTU {b['mtu']}, beside bench link",
                  b["ratio"]["median"], GOAL_RATIO, "at most", "times") for b in bulk]
    return goals + [Goal(f"resident memory of the {who}, growth after the first tenth",
                         memory[who]["growth"] if memory else None, GOAL_GROWTH, "at most")
                    for who in ("client", "daemon")]


# -- host cost -----------------------------------------------------------------------------------------------


class _Series:
    """Jobs of one unit size. ``rounds``: figures of each counted one."""

    def __init__(self, kernel: Kernel, daemon_pid: int, unit_bytes: int) -> None:
        self.kernel = kernel
        self.unit_bytes = unit_bytes
        self.length = unit_bytes // 8  # two float32 arrays
        random = np.random.default_rng(unit_bytes)
        self._inputs = [random.random((2, self.length), np.float32) for _ in range(DISTINCT)]
        self._out = np.zeros((DISTINCT, self.length), np.float32)
        self._daemon_pid = daemon_pid
        self.rounds: list[dict[str, float]] = []

    def measure(self, cluster: Cluster, count: int, counted: bool = True) -> None:
        """Move ``count`` units through one job. Raises ConfigError when a result is not right."""
        self._out[:] = 0
        gc.collect()
        client_s, daemon_s, begun_s = time.process_time(), process_cpu_s(self._daemon_pid), time.perf_counter()
        job = cluster.submit(self.kernel, self._units(count), out=self._out, total=count, name="bench")
        job.result(_JOB_TIMEOUT_S)
        seconds = time.perf_counter() - begun_s
        client_s, daemon_s = time.process_time() - client_s, process_cpu_s(self._daemon_pid) - daemon_s
        for i in range(min(count, DISTINCT)):
            a, b = self._inputs[i]
            if not np.array_equal(self._out[i], a + b):
                raise SafError(f"unit {i} has a wrong result", "report this; nothing was measured")
        gigabytes = count * self.unit_bytes * 1.5 / 1e9
        if counted:
            self.rounds.append({
                "units": count, "seconds": seconds, "client_cpu_s": client_s, "daemon_cpu_s": daemon_s,
                "cpu_s_per_gb": (client_s + daemon_s) / gigabytes, "digest_cpu_s": self._digest_s() * count,
                "moved_gb": gigabytes})

    def _units(self, count: int) -> Iterator[Unit]:
        for i in range(count):
            a, b = self._inputs[i % DISTINCT]
            yield Unit(a, b, into=i % DISTINCT)

    def _digest_s(self) -> float:
        """CPU seconds of the digests of one unit: both inputs and the result, as the daemon makes them."""
        repeats = max(1, (32 << 20) // self.unit_bytes)
        begun_s = time.thread_time()
        for i in range(repeats):
            a, b = self._inputs[i % DISTINCT]
            for array in (a, b, self._out[i % DISTINCT]):
                tree_root(array.view(np.uint8).data)
        return (time.thread_time() - begun_s) / repeats


def _bare_link(mtu: int, size_bytes: int) -> dict[str, float]:
    """CPU seconds a GB of our own sender and receiver on a veth pair, as `safhost bench link` has them: sending with
    nobody there (``transmit``), to a receiver (``deliver``), and receiving."""
    block = link.block_bytes_for(mtu)
    result = link.run((mtu,), max(1, min(size_bytes, link.DEFAULT_BYTES) // block), 1)
    transmit, receive = result["transmit"][0], result["receive"][0]
    found = {"transmit": transmit["safhost"]["median_cpu_us_per_frame"],
             "deliver": receive["median_sender_cpu_us_per_frame"],
             "receive": receive["safhost"]["median_cpu_us_per_frame"]}
    return {way: us / block * 1e3 for way, us in found.items()}


def _bulk(series: _Series, bare: list[dict[str, float]], mtu: int) -> dict[str, Any]:
    """Figures of one unit size; each round beside the bare link of the same round."""
    out: dict[str, Any] = {"mtu": mtu, "unit_bytes": series.unit_bytes, "result_bytes": series.unit_bytes // 2}
    # Two bytes go out for one that comes in, and to cards that are there.
    links = [(b["deliver"] * 2 + b["receive"]) / 3 for b in bare]
    alone = [(b["transmit"] * 2 + b["receive"]) / 3 for b in bare]
    rows = series.rounds
    for key in ("client", "daemon", "digest"):
        out[f"{key}_cpu_s_per_gb"] = summarize([r[f"{key}_cpu_s"] / r["moved_gb"] for r in rows])
    out["cpu_s_per_gb"] = summarize([r["cpu_s_per_gb"] for r in rows])
    out["link_cpu_s_per_gb"] = summarize(links)
    out["link_cpu_s_per_gb_undelivered"] = summarize(alone)
    out["gb_per_s"] = summarize([r["moved_gb"] / r["seconds"] for r in rows])
    out["ratio"] = summarize([r["cpu_s_per_gb"] / one for r, one in zip(rows, links, strict=True)], 3)
    out["ratio_undelivered"] = summarize([r["cpu_s_per_gb"] / one for r, one in zip(rows, alone, strict=True)], 3)
    out["ratio_without_digests"] = summarize(
        [(r["cpu_s_per_gb"] - r["digest_cpu_s"] / r["moved_gb"]) / one for r, one in zip(rows, links, strict=True)], 3)
    return out


def _small(series: _Series) -> dict[str, Any]:
    rows = series.rounds
    return {"unit_bytes": series.unit_bytes, "result_bytes": series.unit_bytes // 2,
            "units_per_s": summarize([r["units"] / r["seconds"] for r in rows], 1),
            "client_us_per_unit": summarize([r["client_cpu_s"] / r["units"] * 1e6 for r in rows], 1),
            "daemon_us_per_unit": summarize([r["daemon_cpu_s"] / r["units"] * 1e6 for r in rows], 1)}


# -- memory --------------------------------------------------------------------------------------------------


def _watch_memory(cluster: Cluster, kernel: Kernel, daemon_pid: int, units: int, say: Say) -> dict[str, Any]:
    """Resident memory of client and daemon while ``units`` units pass; results are looked at and dropped."""
    length = TINY_UNIT_BYTES // 8
    a, b = np.arange(length, dtype=np.float32), np.ones(length, np.float32)
    want = a + b
    resident: dict[str, list[int]] = {"client": [], "daemon": []}
    done, begun_s = 0, time.perf_counter()
    job = cluster.submit(kernel, (Unit(a, b) for _ in range(units)), total=units, name="bench-memory")
    marks = iter([max(1, units * step // STEPS) for step in range(1, STEPS + 1)])
    mark = next(marks)
    for result in cluster.as_completed(job, timeout=_JOB_TIMEOUT_S):
        if not np.array_equal(result.value, want):
            raise SafError(f"unit {result.index} has a wrong result", "report this; nothing was measured")
        done += 1
        if done == mark:
            mark = next(marks, 0)
            resident["client"].append(resident_bytes(os.getpid()))
            resident["daemon"].append(resident_bytes(daemon_pid))
            say(f"{done} of {units} units: client {format_bytes(resident['client'][-1])}, "
                f"daemon {format_bytes(resident['daemon'][-1])}")
    out: dict[str, Any] = {"units": done, "seconds": round(time.perf_counter() - begun_s, 2),
                           "unit_bytes": TINY_UNIT_BYTES}
    for who, found in resident.items():
        out[who] = {"resident_bytes": found, "growth": ratio(max(found) - found[0], found[0])}
    return out


# -- the machine ---------------------------------------------------------------------------------------------


@contextmanager
def _lab(cards: int, mtu: int) -> Iterator[tuple[Cluster, Kernel, int]]:
    """Cards that run the kernel, a client, and the daemon's process id."""
    name = f"bench-{os.getpid()}-jobs"
    state = manager.up(LabSpec(name=name, cards=cards, topology="chassis", mtu=mtu))
    try:
        with tempfile.TemporaryDirectory(prefix="safhost-bench-") as scratch, connect(name) as cluster:
            deadline_s = time.monotonic() + _READY_TIMEOUT_S
            while sum(card.state == "available" for card in cluster.cards()) < cards:
                if time.monotonic() > deadline_s:
                    raise ConfigError(f"not all {cards} cards were there after {_READY_TIMEOUT_S:g} s",
                                      "is the machine overloaded?")
                time.sleep(0.02)
            image = build_image(paths.kernels_dir() / KERNEL, Path(scratch) / "vadd.saf", IMAGE_BYTES)
            cluster.program(image.path)
            yield cluster, cluster.kernel(KERNEL), int(state["daemon"]["pid"])
    finally:
        manager.down(name)
        shutil.rmtree(paths.cluster_state_dir(name), ignore_errors=True)


def process_cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that all threads of a process have used: its CPU clock (clock_getcpuclockid(3)),
    which counts nanoseconds where /proc counts ticks."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED, linux/posix-timers.h
    except OSError as err:
        raise SafError(f"process {pid} ended while it was measured", "see the lab's log") from err


def resident_bytes(pid: int) -> int:
    """VmRSS of a process (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SafError(f"process {pid} has no resident memory", "it ended; see the lab's log")
