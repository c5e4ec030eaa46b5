"""Boosted trees on a virtual card behind our server: rows a second over the batch, measured.

100 trees of 3 levels over 112 features of 4 bits, as `kernels/xgboost` has them; clients send packed bins, 56 bytes a
row, as the PCIe design that is shown beside it takes them. The trees are of chance: they take the same time. The card
is as fast as this machine computes its kernel, so figures tell what server, daemon, link and processor do together.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from safhost import paths
from safhost.bench.serve import load, with_lab
from safhost.bench.serve.repository import Shape
from safhost.bench.serve.with_lab import Model

FEATURES, ROW_BYTES, TREES = 112, 56, 100
BATCHES = (1, 16, 256, 4096, 16_000, 65_536)
ROWS = 400_000
"""Rows that a point sends, within FEW and MOST requests."""

FEW, MOST = 24, 2000

Say = Callable[[str], None]


def tree_model(most_rows: int = BATCHES[-1]) -> Model:
    """kernels/xgboost with trees of chance; input and output are the kernel's own, packed bins and margins."""
    chance = np.random.default_rng(11)
    feature, first = chance.integers(0, FEATURES, TREES * 7), chance.integers(0, 16, TREES * 7)
    nodes = (feature << 16 | first << 8 | chance.integers(first, 16)).astype(np.uint32)
    leaves = chance.normal(0, 0.1, 1 + TREES * 8).astype(np.float32)
    mapping = ("kernel: xgboost\ninputs:\n- {tensor: INPUT, argument: X}\noutputs:\n- {tensor: OUTPUT, argument: Y}\n"
               "scalars: {n: batch}\nresident: [N, L]\n")
    return Model(Shape("xgboost", ROW_BYTES, most_rows, datatype="UINT8"), paths.kernels_dir() / "xgboost", mapping,
                 {"N": nodes, "L": leaves}, 1)


def run(rounds: int = 3, batches: Sequence[int] = BATCHES, rows: int = ROWS,
        say: Say = lambda _text: None) -> dict[str, Any]:
    """Rows a second and median latency for each batch, four requests in flight; medians over rounds."""
    cores = sorted(os.sched_getaffinity(0))
    points = []
    model = tree_model(max(batches))
    with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder, \
            with_lab.lab(1, daemon_cpus=cores[:1], card_cpus=cores[1:2]) as lab, \
            with_lab.serving(lab, [model], Path(folder), cpus=cores[:1]) as served:
        for batch in batches:
            runner = load.grpc(model.shape, batch, min(MOST, max(FEW, rows // batch)), 2, 2)
            found = [load.measure(served.server, runner, cores[1:2], model.shape) for _ in range(rounds)]
            values = [round(f.per_s * batch, 1) for f in found]
            per_s = statistics.median(values)
            points.append({"batch": batch, "per_s": per_s, "values": values,
                           "p50_us": round(statistics.median(f.p50_us for f in found), 1)})
            say(f"boosted trees, batch {batch:,}: {per_s:,.0f} rows/s")
    return {"cards": 1, "in_flight": 4, "points": points}


__all__ = ["BATCHES", "run", "tree_model"]
