"""The table of `safhost bench serve`: our server and its peers under the same load, in the same run.

Every server runs on one core and every generator on another. A round measures each row on each server, one right after
the other; a ratio is the median over rounds of the ratios within a round: what else the machine does meets both.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safhost.bench.report import Goal, ratio, summarize
from safhost.bench.serve import load, rows
from safhost.bench.serve.peers import OURS, Peers, serving
from safhost.bench.serve.repository import FACILE, SMALL
from safhost.bench.serve.servers import Server
from safhost.errors import ConfigError, SafError

GOAL_SHM, GOAL_BATCHING, GOAL_WORKERS = 3.0, 1.7, 1.6
NOT_RUN = "not run"
WORKER_CONNECTIONS = 64
WORKERS = "workers"
WORKERS_TITLE = f"workers with a core each, gRPC, batch 1, {WORKER_CONNECTIONS} connections, load on any core"

Say = Callable[[str], None]
Series = dict[str, dict[str, list[dict[str, Any]]]]
"""Row key, server name, figures of each round."""


def run(peers: Peers, rounds: int = 5, requests: int = 20_000, window_ms: int = 1000, client_s: float = 2.0,
        only: Sequence[str] = (), workers: bool = True,
        say: Say = lambda _text: None) -> tuple[dict[str, Any], list[Goal]]:
    """Measure and return the result as JSON-ready dicts, {"rows", "workers"}, with its goals.

    ``requests``: of batch 1 in a run; ``only``: prefixes of row keys, and of "workers". Raises ConfigError for what
    measures nothing or with a single core, SafError when our server fails; a peer that fails has its words in the
    result.
    """
    cores = sorted(os.sched_getaffinity(0))
    if rounds < 1 or requests < 100:
        raise ConfigError(f"{rounds} rounds of {requests} requests measure nothing", "1 round, 100 requests or more")
    if len(cores) < 2:
        raise ConfigError("one core cannot be shared by server and load", "run it where there are two or more")
    wanted = [row for row in (*rows.raw(requests), *rows.analyzed(peers, window_ms), *rows.real(client_s))
              if not only or row.key.startswith(tuple(only))]
    series: Series = {row.key: {} for row in wanted}
    failures: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder, ExitStack() as stack:
        servers = [stack.enter_context(serving(name, peers, Path(folder) / name, cores[:1])) for name in peers.names()]
        for server in servers:
            load.verify(server, SMALL, 3)
            load.verify(server, FACILE, 16)
        for number in range(1, rounds + 1):
            for row in wanted:
                for server in servers:
                    _one(row, server, cores[1:2], series, failures)
                say(f"round {number}, {row.title}: {_told(series[row.key])}")
    scaling = _workers(peers, rounds, requests, cores, say) if workers and (
        not only or WORKERS.startswith(tuple(only))) else None
    cells = [_summary(row, series[row.key], failures.get(row.key, {}), peers) for row in wanted]
    return {"rows": cells, "workers": scaling}, _goals(wanted, series, scaling)


def _one(row: rows.Row, server: Server, cpus: Sequence[int], series: Series,
         failures: dict[str, dict[str, str]]) -> None:
    if server.name not in row.servers or server.name in failures.get(row.key, {}):
        return
    try:
        counted = row.counted if server.name in rows.TRITONS else None
        figures = load.measure(server, row.runner, cpus, counted, row.each)
        if figures.failed:
            raise SafError(f"{figures.failed} of {row.title} failed", f"look into {server.log}")
    except SafError as err:
        if server.name == OURS:
            raise
        failures.setdefault(row.key, {})[server.name] = err.message
        return
    series[row.key].setdefault(server.name, []).append(asdict(figures))


def _told(found: dict[str, list[dict[str, Any]]]) -> str:
    return ", ".join(f"{name} {figures[-1]['per_s']:,.0f}/s" for name, figures in found.items())


def _summary(row: rows.Row, found: dict[str, list[dict[str, Any]]], failed: dict[str, str],
             peers: Peers) -> dict[str, Any]:
    """Figures of a row, and our rate and our CPU beside each other's."""
    cells: dict[str, Any] = {}
    for name in row.servers:
        if name in found:
            cells[name] = {what: summarize([f[what] for f in found[name]], 1)
                           for what in ("per_s", "p50_us", "p99_us", "cpu_us")}
        else:
            cells[name] = {"not_run": failed.get(name, NOT_RUN if name not in peers.names() else "no figures")}
    ratios = {name: {"per_s": _paired(found, OURS, name, "per_s"), "cpu": _paired(found, name, OURS, "cpu_us")}
              for name in row.servers if name != OURS and name in found and OURS in found}
    return {"key": row.key, "title": row.title, "servers": cells, "ratios": ratios}


def _paired(found: dict[str, list[dict[str, Any]]], above: str, below: str, what: str) -> float | None:
    """Median of the ratios within rounds."""
    pairs = [ratio(a[what], b[what]) for a, b in zip(found.get(above, []), found.get(below, []), strict=False)]
    known = [p for p in pairs if p is not None]
    return round(statistics.median(known), 3) if known else None


def _between(series: Series, above: str, below: str, who: str = OURS) -> float | None:
    """The same for two rows of one server."""
    pairs = [ratio(a["per_s"], b["per_s"]) for a, b in zip(series.get(above, {}).get(who, []),
                                                          series.get(below, {}).get(who, []), strict=False)]
    known = [p for p in pairs if p is not None]
    return round(statistics.median(known), 3) if known else None


def _goals(wanted: Sequence[rows.Row], series: Series, scaling: dict[str, Any] | None) -> list[Goal]:
    goals = [Goal(f"{row.title}, beside {other}", _paired(series[row.key], OURS, other, "per_s"), limit, "at least",
                  "times") for row in wanted for other, limit in row.goals]
    keys = {row.key for row in wanted}
    if {"shm-16000", "grpc-16000"} <= keys:
        goals.append(Goal("shared memory beside own gRPC, batch 16,000", _between(series, "shm-16000", "grpc-16000"),
                          GOAL_SHM, "at least", "times"))
    if {"grouped", "alone"} <= keys:
        goals.append(Goal("dynamic batching beside none", _between(series, "grouped", "alone"), GOAL_BATCHING,
                          "at least", "times"))
    if scaling:
        goals.append(Goal("2 workers beside 1, a core each", scaling["ratio"], GOAL_WORKERS, "at least", "times"))
    return goals


def _workers(peers: Peers, rounds: int, requests: int, cores: Sequence[int], say: Say) -> dict[str, Any]:
    """One worker on one core, and two on two; many connections, so that the kernel spreads them evenly. The load goes
    where it finds time: on a machine of two cores it takes some from the two workers."""
    found: dict[int, list[load.Figures]] = {1: [], 2: []}
    runner = load.grpc(SMALL, 1, requests, WORKER_CONNECTIONS, 1)
    with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder, ExitStack() as stack:
        servers = {count: stack.enter_context(serving(OURS, peers, Path(folder) / str(count), cores[:count], count))
                   for count in found}
        for number in range(1, rounds + 1):
            for count, server in servers.items():
                found[count].append(load.measure(server, runner, (), SMALL))
            say(f"round {number}, {WORKERS_TITLE}: 1 worker {found[1][-1].per_s:,.0f}/s, 2 workers "
                f"{found[2][-1].per_s:,.0f}/s")
    names = {"one": 1, "two": 2}
    return {"title": WORKERS_TITLE, "connections": WORKER_CONNECTIONS, "cores": len(cores),
            "cores_of_servers": [1, 2],
            **{name: summarize([f.per_s for f in found[count]], 1) for name, count in names.items()},
            "cpu_us": {name: summarize([f.cpu_us for f in found[count]], 1) for name, count in names.items()},
            "ratio": round(statistics.median(b.per_s / a.per_s for a, b in zip(found[1], found[2], strict=True)), 3)}
