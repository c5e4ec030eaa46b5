"""Where the time of a lone request goes: one in flight, one card.

The same server answers for the identity (what gRPC and the server take) and for FACILE on a virtual card. Beside it a
job of this process sends the same units without a server, one after the other: its answers say how long inputs,
kernel and results took, and what is left is the way between client and daemon. Medians; shares of means.
"""

from __future__ import annotations

import queue
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from safhost import Fill, Unit
from safhost.bench.report import summarize
from safhost.bench.serve import cost, load, with_lab
from safhost.bench.serve.with_lab import LabServer, Model
from safhost.client import connect
from safhost.errors import SafError
from safhost.unitplan import UnitResult

REQUESTS = 500
WARM_UP = 50
_TIMEOUT_S = 30.0
_MS = 1e6

Say = Callable[[str], None]


def run(rounds: int = 3, requests: int = REQUESTS, say: Say = lambda _text: None) -> dict[str, Any]:
    """Latencies in milliseconds: through the server, and as units of a job with their parts."""
    with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder:
        facile, identity, _ = cost.models(Path(folder))
        with with_lab.lab(1) as lab:
            with with_lab.serving(lab, [facile, identity], Path(folder)) as served:
                asked = {model.shape.name: _served(served, model, rounds, requests) for model in (identity, facile)}
            image = Path(folder, "models", facile.shape.name, "1", "model.saf")
            found = [_unit_times(lab.name, image, facile, requests) for _ in range(rounds)]
    parts = {part: summarize([one[part] for one in found], 3) for part in found[0]}
    say(f"one in flight: {asked['facile']['p50_ms']['median']:.2f} ms through the server "
        f"({asked['identity']['p50_ms']['median']:.2f} ms the identity), {parts['p50_ms']['median']:.2f} ms as a unit")
    return {"served": asked, "unit": parts}


def _served(served: LabServer, model: Model, rounds: int, requests: int) -> dict[str, Any]:
    runner = load.grpc(model.shape, 1, requests, 1, 1)
    runner(served.server, ())
    found = [load.measure(served.server, runner, (), model.shape) for _ in range(rounds)]
    return {"p50_ms": summarize([one.p50_us / 1e3 for one in found], 3),
            "p99_ms": summarize([one.p99_us / 1e3 for one in found], 3)}


def _unit_times(lab: str, image: Path, model: Model, requests: int) -> dict[str, float]:
    """Of units of one row, each sent when the one before has landed."""
    rows = np.random.default_rng(1).integers(-2000, 2000, (1, 32)).astype(np.int16)
    wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
    landed: queue.SimpleQueue[UnitResult | SafError] = queue.SimpleQueue()

    def units() -> Iterator[Unit]:
        while wanted.get():
            yield Unit(Fill(rows.shape, rows.dtype, lambda view: np.copyto(view, rows)), n=1)
    with connect(lab) as cluster:
        job = cluster.submit("facile", units(), image=image, resident=dict(model.weights), ephemeral=True,
                             keep_going=True, land=lambda _index, _views, info: landed.put(info),
                             land_failed=lambda _index, error, _info: landed.put(error))
        times: list[int] = []
        results: list[UnitResult] = []
        try:
            for _ in range(WARM_UP + requests):
                began = time.perf_counter_ns()
                wanted.put(True)
                result = landed.get(timeout=_TIMEOUT_S)
                if isinstance(result, SafError):
                    raise result
                times.append(time.perf_counter_ns() - began)
                results.append(result)
        finally:
            wanted.put(False)
            job.wait(_TIMEOUT_S)
    times, results = times[WARM_UP:], results[WARM_UP:]
    parts = {"queued_ms": [r.queued_ns for r in results], "inputs_ms": [r.write_ns for r in results],
             "kernel_ms": [r.kernel_ns for r in results], "start_ms": [r.run_ns - r.kernel_ns for r in results],
             "results_ms": [r.read_ns for r in results]}
    means = {name: statistics.mean(values) / _MS for name, values in parts.items()}
    means["client_ms"] = statistics.mean(times) / _MS - sum(means.values())
    return {"p50_ms": statistics.median(times) / _MS, "p99_ms": float(np.percentile(times, 99)) / _MS, **means}


__all__ = ["run"]
