"""Throughput and latency against the number of clients and against the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from safhost.bench.serve import load
from safhost.bench.serve.repository import FACILE, SMALL
from safhost.bench.serve.servers import Server

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BATCHES = (1, 10, 100, 1000, 4000, 16_000)
ROWS = 400_000
"""Rows that a point of the batch sweep sends, within MOST and FEW requests."""

MOST, FEW = 4000, 64
Say = Callable[[str], None]


def run(servers: Sequence[Server], cpus: Sequence[int], requests: int = 5000, clients: Sequence[int] = CLIENTS,
        batches: Sequence[int] = BATCHES, say: Say = lambda _text: None) -> dict[str, Any]:
    """Points of each server: {"clients": {name: [...]}, "batch": {name: [...]}}."""
    out: dict[str, Any] = {"clients": {s.name: [] for s in servers}, "batch": {s.name: [] for s in servers}}
    for count in clients:
        for server in servers:
            found = load.measure(server, load.grpc(SMALL, 1, max(requests, 4 * count), count, 1), cpus, SMALL)
            out["clients"][server.name].append({"x": count, "per_s": found.per_s, "p50_us": found.p50_us,
                                                "p99_us": found.p99_us, "cpu_us": round(found.cpu_us, 1)})
            say(f"{count} clients, {server.name}: {found.per_s:,.0f}/s, p50 {found.p50_us:,.0f} µs")
    for batch in batches:
        for server in servers:
            sent = min(MOST, max(FEW, ROWS // batch))
            found = load.measure(server, load.grpc(FACILE, batch, sent), cpus, FACILE)
            out["batch"][server.name].append({"x": batch, "per_s": found.per_s, "rows_per_s": found.per_s * batch,
                                              "p50_us": found.p50_us, "cpu_us": round(found.cpu_us, 1)})
            say(f"batch {batch}, {server.name}: {found.per_s * batch:,.0f} rows/s")
    return out
