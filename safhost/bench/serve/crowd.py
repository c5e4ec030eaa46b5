"""Very many clients at once, each a connection of its own: no errors, and latencies below saturation.

First the server's rate with 16 in flight is measured. Then ``clients`` connections, opened one after the other within
RAMP_S, send together a part of that rate: their phases are spread as those of clients that know nothing of each other.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from safhost.bench.report import Goal, summarize
from safhost.bench.serve import bodies, h2load, load
from safhost.bench.serve.repository import SMALL
from safhost.bench.serve.servers import Server

CLIENTS = 1500
PART = 0.4
"""Of the rate at saturation."""

RAMP_S = 5
SECONDS = 15
GOAL_TAIL = 3.0

Say = Callable[[str], None]


def run(server: Server, cpus: Sequence[int], clients: int = CLIENTS, rounds: int = 3, requests: int = 20_000,
        say: Say = lambda _text: None) -> dict[str, Any]:
    """Latencies and errors of each round; raises SafError when the server's count of good inferences is another."""
    full = statistics.median(load.measure(server, load.grpc(SMALL, 1, requests), cpus, SMALL).per_s for _ in range(3))
    each_per_s = full * PART / clients
    total = max(int(each_per_s * SECONDS), 1) * clients
    body = bodies.grpc_body(SMALL, 1)
    found = []
    for number in range(1, rounds + 1):
        before = load.successes(server, SMALL)
        one = h2load.run(f"http://{server.grpc}{bodies.GRPC_INFER}", body, bodies.GRPC_HEADERS, requests=total,
                         clients=clients, per_client_per_s=each_per_s, ramp_per_s=max(clients // RAMP_S, 1), cpus=cpus,
                         skip_s=RAMP_S)
        lost = total - (load.successes(server, SMALL) - before)
        found.append((one, lost))
        say(f"round {number}: {clients} clients, {one.per_s:,.0f}/s, p50 {one.p50_us:,.0f} µs, p99 {one.p99_us:,.0f} "
            f"µs, {one.failed + lost} errors")
    return {"clients": clients, "saturated_per_s": round(full, 1), "asked_per_s": round(full * PART, 1),
            "requests": total, "errors": sum(one.failed + lost for one, lost in found),
            "p50_us": summarize([one.p50_us for one, _ in found], 1),
            "p99_us": summarize([one.p99_us for one, _ in found], 1),
            "tail": summarize([one.p99_us / one.p50_us for one, _ in found], 2)}


def goals(result: dict[str, Any]) -> list[Goal]:
    """No error; p99 beside p50."""
    return [Goal(f"errors of {result['clients']} clients", float(result["errors"]), 0, "at most"),
            Goal(f"p99 beside p50, {result['clients']} clients at {PART:.0%} of saturation", result["tail"]["median"],
                 GOAL_TAIL, "at most", "times")]
