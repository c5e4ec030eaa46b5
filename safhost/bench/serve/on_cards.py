"""Models on virtual cards behind our server: throughput over cards, and over buffers × compute units.

Virtual cards answer no earlier than a 385A with the kernel's modelled time would (`--timing arria10`), stretched, so
that what the kernels of all cards would do fits this machine. Server, daemon and their link are the real thing.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from safhost import paths
from safhost.bench.paper.models import TEN_GBE_BYTES_S
from safhost.bench.serve import load, modelled, servers, with_lab
from safhost.bench.serve.repository import Shape
from safhost.bench.serve.with_lab import Model
from safhost.lab.timing import describe_timing

RESNET_MS = 1e3 / modelled.FAAST_RESNET_ARRIA10_PER_S
"""What one Arria 10 takes for an image, as published: FaaST, 460 a second at batch 1."""

RESNET_VALUES = 2048
"""Values a request brings. An image is 150,528; this machine's two cores would measure how fast they copy."""

SCALING_STRETCH = 120.0
"""0.26 s an image, and 31 images a second of eight cards: what a busy processor or two can do for all their parts."""

SCAN_STRETCH = 400.0
"""FACILE's 87 µs for 16,000 rows become 35 ms, the 0.8 ms that 10 GbE takes for their megabyte 0.33 s; the processor
needs some ten milliseconds for all parts of it."""

RINGS, UNITS = (1, 2, 4, 8), (1, 2)
GOAL_PER_CARD = 7.6 / 8

Say = Callable[[str], None]


_TIMED = """\
__kernel void timed(__global const float *restrict X, __global float *restrict Y, const uint n)
{
    Y[get_global_id(0)] = X[get_global_id(0) * VALUES];
}
"""


def timed_model(folder: Path, kernel_ms: float = RESNET_MS) -> Model:
    """A model whose kernel is as slow as ``kernel_ms`` says and does nothing: the first value of a row comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "timed.cl").write_text(_TIMED)
    (folder / "kernel.yaml").write_text(
        f"name: timed\nversion: '1.0'\ndescription: takes its time\nsources: [timed.cl]\nboard: 385a\n"
        f"options: [-DVALUES={RESNET_VALUES}]\nkernels:\n- name: timed\n  args:\n"
        f"  - {{name: X, kind: buffer, dtype: float32, shape: [n, {RESNET_VALUES}], direction: in}}\n"
        "  - {name: Y, kind: buffer, dtype: float32, shape: [n], direction: out}\n"
        "  - {name: n, kind: scalar, dtype: uint32}\n  global: [n]\n  local: [1]\n"
        f"  model: {{cycles: n * {round(kernel_ms * 200_000)}, clock_mhz: 200}}\n")
    mapping = ("kernel: timed\ninputs:\n- {tensor: INPUT, argument: X}\noutputs:\n- {tensor: OUTPUT, argument: Y}\n"
               "scalars: {n: batch}\n")
    return Model(Shape("timed", RESNET_VALUES, 16), folder, mapping, {}, 1)


def facile_model(folder: Path, units: int) -> Model:
    """kernels/facile, ``units`` copies in the image, with weights of chance: what it computes takes the same time."""
    shutil.copytree(paths.kernels_dir() / "facile", folder)
    description = folder / "kernel.yaml"
    description.write_text(description.read_text().replace("- name: facile\n",
                                                           f"- name: facile\n  compute_units: {units}\n"))
    weights = np.random.default_rng(7).integers(-2000, 2000, 1101).astype(np.int16)
    mapping = ('kernel: facile\ninputs:\n- {tensor: INPUT, argument: X, type: "ap_fixed<16,6>", row: 32}\noutputs:\n'
               '- {tensor: OUTPUT, argument: Y, type: "ap_fixed<16,6>"}\nscalars: {n: batch}\nresident: [W]\n')
    return Model(Shape("facile", 18, 16_000), folder, mapping, {"W": weights}, 1)


def goal(cards: int) -> float:
    """7.6 for 8 cards beside one, and in proportion for others."""
    return round(GOAL_PER_CARD * cards, 3)


def scaling(most_cards: int = 8, rounds: int = 3, say: Say = lambda _text: None, requests: int = 24) -> dict[str, Any]:
    """Requests a second of 1, 2, 4 … ``most_cards`` cards with ResNet-50's published time.

    ``requests``: a card and run.
    """
    counts = [n for n in (1, 2, 4, 8, 16, 32) if n < most_cards] + [most_cards]
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder:
        model = timed_model(Path(folder) / "timed")
        for count in counts:
            with serving(count, model, SCALING_STRETCH, Path(folder) / str(count)) as server:
                runner = load.grpc(model.shape, 1, requests * count, 4, 2 * count)
                runner(server, ())  # every card has had work
                rates = [runner(server, ()).steady_per_s for _ in range(rounds)]
            found = statistics.median(rates)
            points.append({"cards": count, "per_s": round(found, 2), "values": [round(r, 2) for r in rates],
                           "ratio": round(found / points[0]["per_s"], 3) if points else 1.0})
            say(f"{count} cards: {found:.1f} requests/s, {points[-1]['ratio']:.2f} times one")
    return {"model": f"{RESNET_MS:.2f} ms an image (ResNet-50 on an Arria 10, as published)", "batch": 1,
            "timing": describe_timing("arria10", SCALING_STRETCH), "points": points, "ratio": points[-1]["ratio"]}


def scan(rounds: int = 3, say: Say = lambda _text: None, requests: int = 10, rings: Sequence[int] = RINGS,
         units: Sequence[int] = UNITS) -> dict[str, Any]:
    """FACILE's rows a second over buffers × compute units: one virtual card (measured) and a 385A (modelled)."""
    points = []
    batch = modelled.FAAST_FACILE_BATCH
    for unit in units:
        for ring in rings:
            if ring < unit:
                continue
            with tempfile.TemporaryDirectory(prefix="saf-bench-") as folder:
                model = facile_model(Path(folder) / "facile", unit)
                with serving(1, model, SCAN_STRETCH, Path(folder) / "served",
                             f"buffers: {{ring: {ring}, units: {unit}}}\n",
                             round(TEN_GBE_BYTES_S / SCAN_STRETCH)) as server:
                    runner = load.grpc(model.shape, batch, requests, 4, 4)
                    runner(server, ())
                    per_s = statistics.median(runner(server, ()).steady_per_s for _ in range(rounds))
            points.append({"ring": ring, "units": unit, "per_s": round(per_s * batch, 1)})
            say(f"{ring} buffers, {unit} units: {per_s * batch:,.0f} rows/s")
    return {"model": "facile", "batch": batch, "timing": describe_timing("arria10", SCAN_STRETCH), "measured": points,
            "modelled": modelled.scan()}


@contextmanager
def serving(cards: int, model: Model, stretch: float, scratch: Path, buffers: str = "",
            link_rate: int = 0) -> Iterator[servers.Server]:
    """Our server over a lab of its own whose cards take their modelled time; yields when all of them hold the image and
    an answer has come.

    ``link_rate``: bytes a second of the host's port, 0 for no limit.
    """
    with with_lab.lab(cards, timing="arria10", stretch=stretch, link_rate=link_rate) as lab, \
            with_lab.serving(lab, [model], scratch, buffers=buffers) as found:
        yield found.server


__all__ = ["Model", "facile_model", "goal", "scaling", "scan", "serving", "timed_model"]
