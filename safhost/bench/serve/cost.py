"""What an inference on a card costs the host, beside the identity in the same server.

One server with three models: FACILE on virtual cards and the identity, which no card sees, both with dynamic batching,
and the plain identity without it, answered where it is read. All get the same load in turn. Counted is the CPU time of
server and daemon, a request; that of the load and of the virtual cards, which would be elsewhere, is told apart. Server
and daemon share one core, load and cards the other.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safhost.bench.report import Goal, ratio, summarize
from safhost.bench.serve import load, on_cards, with_lab
from safhost.bench.serve.repository import Shape
from safhost.bench.serve.with_lab import LabServer, Model

GOAL_RATIO = 1.33
CARDS = 2
MANY, LARGE = 1, 16_000
"""Rows a request: of very many small ones, and of FACILE's own."""

IN_FLIGHT = {MANY: (64, 128, 256), LARGE: (16,)}
CONNECTIONS = 8
FIGURES = ("per_s", "p50_us", "p99_us", "server_us", "daemon_us", "cards_us")
_BATCHING = "dynamic_batching { }\n"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cost:
    """One run. CPU in microseconds a request."""

    per_s: float
    p50_us: float
    p99_us: float
    server_us: float
    daemon_us: float
    cards_us: float

    @property
    def host_us(self) -> float:
        return self.server_us + self.daemon_us


def models(folder: Path) -> tuple[Model, Model, Model]:
    """FACILE and the identity of its shape, both with dynamic batching, and the plain identity."""
    facile = on_cards.facile_model(folder / "facile", 1)
    batched = Model(Shape("facile", 18, LARGE, _BATCHING), facile.kernel, facile.mapping, facile.weights, 1)
    return (batched, Model(Shape("identity", 18, LARGE, _BATCHING), None, "", {}, 18),
            Model(Shape("plain", 18, LARGE), None, "", {}, 18))


def run(rounds: int = 5, requests: int = 20_000, cards: int = CARDS, say: Say = lambda _text: None,
        in_flight: dict[int, Sequence[int]] | None = None) -> dict[str, Any]:
    """All models under the same load, ``rounds`` times in turn; ratios are medians of those within rounds."""
    cores = sorted(os.sched_getaffinity(0))
    rows = []
    with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder:
        served_models = models(Path(folder))
        with with_lab.lab(cards, daemon_cpus=cores[:1], card_cpus=cores[1:2]) as lab, \
                with_lab.serving(lab, list(served_models), Path(folder) / "served", cpus=cores[:1]) as served:
            for batch, counts in (in_flight or IN_FLIGHT).items():
                for count in counts:
                    number = requests if batch == MANY else max(requests // 50, 100)
                    rows.append(_row(served, served_models, batch, count, number, rounds, cores[1:2], say))
    return {"cards": cards, "rows": rows}


def _row(served: LabServer, models: Sequence[Model], batch: int, in_flight: int, requests: int, rounds: int,
         cpus: Sequence[int], say: Say) -> dict[str, Any]:
    found: dict[str, list[Cost]] = {model.shape.name: [] for model in models}
    for number in range(rounds + 1):
        for model in models:
            few = requests if number else max(requests // 5, 50)  # the first round is not counted
            cost = measure(served, model, batch, in_flight, few, cpus)
            if number:
                found[model.shape.name].append(cost)
    facile, batched, plain = ([c.host_us for c in costs] for costs in found.values())
    row: dict[str, Any] = {"batch": batch, "in_flight": in_flight, "ratio": _beside(facile, batched),
                           "plain_ratio": _beside(facile, plain)}
    row["models"] = {name: {what: summarize([getattr(c, what) for c in costs], 1) for what in FIGURES}
                     for name, costs in found.items()}
    say(f"batch {batch:,}, {in_flight} in flight: server and daemon {statistics.median(facile):,.0f} µs a request on "
        f"cards, {statistics.median(batched):,.0f} µs for the identity, {row['ratio']['median']:.2f} times; without "
        f"dynamic batching {statistics.median(plain):,.0f} µs, {row['plain_ratio']['median']:.2f} times")
    return row


def _beside(ours: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    return summarize([ratio(a, b) or 0.0 for a, b in zip(ours, others, strict=True)], 3)


def measure(served: LabServer, model: Model, batch: int, in_flight: int, requests: int, cpus: Sequence[int]) -> Cost:
    """One run of one model. Raises SafError when a request failed or the server counts another number."""
    connections = min(CONNECTIONS, in_flight)
    runner = load.grpc(model.shape, batch, requests, connections, in_flight // connections)
    before = served.cpu()
    figures = load.measure(served.server, runner, cpus, model.shape)
    used = served.cpu() - before
    each = 1e6 / requests
    return Cost(figures.per_s, figures.p50_us, figures.p99_us, used.server * each, used.daemon * each,
                used.cards * each)


def goals(result: dict[str, Any]) -> list[Goal]:
    """At batch 1, the most in flight."""
    rows = [row for row in result["rows"] if row["batch"] == MANY]
    return [Goal(f"CPU of server and daemon a request, FACILE on cards beside the identity, batch {MANY}, "
                 f"{row['in_flight']} in flight", row["ratio"]["median"], GOAL_RATIO, "at most", "times")
            for row in rows[-1:]]


__all__ = ["CARDS", "Cost", "goals", "measure", "models", "run"]
