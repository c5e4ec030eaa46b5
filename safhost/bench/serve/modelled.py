"""What 385A cards on 10 GbE give as inference backends: modelled, from the kernels' cycle models and the link.

A batch goes over the link into the card's memory, through the kernel, and back; several batches are under way in a ring
of buffers, several compute units take them. In the steady state a card's rate is what its narrowest part gives:

    rate = 1 / max(t_in, t_kernel / units, t_out, (t_in + t_kernel + t_out + t_command) / ring)

Every figure from here is labelled modelled. Figures of papers are as printed there: FaaST arXiv:2010.08556 (Table I,
section V), and for boosted trees the streaming design that takes a row of 112 features of 4 bits a cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safhost import paths
from safhost.bench.paper.models import line_rate_bytes_s
from safhost.plan.kernelspec import KernelPackage

MTU = 9000
COMMAND_S = 30e-6
"""A launch command there and its answer back through host and link, an assumption: `safhost bench latency` measures
about that on veth pairs."""

BOARD_W = 75.0
"""What a PCI Express slot gives a card without a power plug (PCI Express CEM 3.0, 4.2), hence the most a 385A takes:
inferences per watt are at least what follows from it."""

FAAST_FACILE_PER_S = 86e6
FAAST_FACILE_BATCH = 16_000
FAAST_RESNET_F1_PER_S = (1350.0, 1400.0)
FAAST_RESNET_F1_SCALING = (5.5, 6.1)
FAAST_RESNET_ARRIA10_PER_S = 460.0
RESNET_IMAGE_BYTES = 224 * 224 * 3
FAAST_GRPC_CAP_PER_S = 2000.0
XGBOOST_PER_S = 65e6
XGBOOST_BATCHES = tuple(1 << n for n in range(0, 23, 2))


@dataclass(frozen=True, slots=True)
class Load:
    """Bytes a row in and out, and the kernel's seconds for so many rows. ``rows``: what kernel.yaml calls their number;
    ``others``: further numbers that its cycle model needs."""

    kernel: str
    in_bytes: int
    out_bytes: int
    rows: str = "n"
    others: tuple[tuple[str, int], ...] = ()

    def kernel_s(self, batch: int) -> float:
        """Cycles of kernel.yaml's model at its clock."""
        spec = KernelPackage.load(paths.kernels_dir() / self.kernel).kernels[self.kernel]
        assert spec.model is not None, f"{self.kernel} has no cycle model"
        return float(spec.model.cycles.evaluate({self.rows: batch} | dict(self.others))) / (spec.model.clock_mhz * 1e6)


FACILE = Load("facile", 64, 2)
XGBOOST = Load("xgboost", 56, 4)

RESNET_CYCLES = 610_496
"""Of an image: what `safhost.serve.add.convnet_clocks` counts for the program of kernels/resnet50's tagger (trunk of
224 × 224, head 2048-1024-2), on the array that kernels/resnet50/README.md declares."""

RESNET50 = Load("resnet50", RESNET_IMAGE_BYTES, 8, "batch", (("cycles", RESNET_CYCLES),))


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of this machine, and under what conditions."""

    figure: float
    how: str


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows a second of one card, and what holds it back: link in, kernel, link out or ring."""

    per_s: float
    limit: str


def rate(load: Load, batch: int, units: int = 1, ring: int = 8, mtu: int = MTU) -> Rate:
    """The steady state of one card."""
    line = line_rate_bytes_s(mtu)
    arrive, leave, work = load.in_bytes * batch / line, load.out_bytes * batch / line, load.kernel_s(batch)
    parts = {"link in": arrive, "kernel": work / units, "link out": leave,
             "ring": (arrive + work + leave + COMMAND_S) / ring}
    limit = max(parts, key=lambda part: parts[part])
    return Rate(batch / parts[limit], limit)


def scan(load: Load = FACILE, batch: int = FAAST_FACILE_BATCH, rings: tuple[int, ...] = (1, 2, 3, 4, 6, 8),
         units: tuple[int, ...] = (1, 2, 4)) -> list[dict[str, Any]]:
    """Rate over buffers × compute units, as FaaST's figure 3."""
    return [{"ring": ring, "units": unit, "per_s": round(found.per_s, 1), "limit": found.limit}
            for unit in units for ring in rings for found in (rate(load, batch, unit, ring),)]


def xgboost_sweep(batches: tuple[int, ...] = XGBOOST_BATCHES) -> list[dict[str, Any]]:
    """Rows a second and rows a second and watt over the batch: one batch at a time (ring 1) and a ring of 8."""
    found = []
    for batch in batches:
        alone, ring = rate(XGBOOST, batch, ring=1), rate(XGBOOST, batch)
        found.append({"batch": batch, "one_at_a_time_per_s": round(alone.per_s, 1), "ring_per_s": round(ring.per_s, 1),
                      "kernel_only_per_s": round(batch / XGBOOST.kernel_s(batch), 1), "limit": ring.limit,
                      "per_s_per_w_at_least": round(ring.per_s / BOARD_W, 1)})
    return found


def cards_per_s(load: Load, batch: int, cards: int) -> Rate:
    """Several cards behind one host, whose port carries what goes to all of them."""
    one = rate(load, batch)
    host = line_rate_bytes_s(MTU) / load.in_bytes
    return Rate(cards * one.per_s, one.limit) if cards * one.per_s <= host else Rate(host, "the host's link")


def table_one(measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """FaaST's Table I and what stands beside it. ``measured``: figures of other parts of a run and their conditions by
    key: facile, resnet50, cards_ratio, grpc_1, xgboost."""
    facile, trees = rate(FACILE, FAAST_FACILE_BATCH), rate(XGBOOST, FAAST_FACILE_BATCH)
    image, eight = rate(RESNET50, 1), cards_per_s(RESNET50, 1, 8)

    def row(what: str, paper: str, key: str, model: float | None, limit: str = "") -> dict[str, Any]:
        lab = measured.get(key)
        return {"what": what, "paper": paper, "lab": lab.figure if lab else None, "lab_how": lab.how if lab else "",
                "measurable": bool(key), "modelled": model, "limit": limit}
    return [
        row("FACILE, batch 16,000, one card, rows/s", f"{FAAST_FACILE_PER_S / 1e6:.0f} M (Alveo U250, PCIe)", "facile",
            facile.per_s, facile.limit),
        row("ResNet-50, batch 1, one card, images/s", f"{FAAST_RESNET_ARRIA10_PER_S:.0f} (Arria 10, Azure Stack Edge)",
            "", image.per_s, image.limit),
        row("ResNet-50, batch 1, 8 cards, images/s", "{:,.0f}–{:,.0f} (AWS F1)".format(*FAAST_RESNET_F1_PER_S),
            "resnet50", eight.per_s, eight.limit),
        row("ResNet-50, 8 cards beside 1", "{}–{} ×".format(*FAAST_RESNET_F1_SCALING), "cards_ratio",
            eight.per_s / image.per_s, "the host's link would carry "
            f"{line_rate_bytes_s(MTU) / RESNET_IMAGE_BYTES / image.per_s:.0f} cards"),
        row("gRPC requests/s of one server", f"{FAAST_GRPC_CAP_PER_S:,.0f} until 8 server threads stood behind HAProxy",
            "grpc_1", None),
        row("boosted trees (100 × 3 levels), batch 16,000, rows/s", f"{XGBOOST_PER_S / 1e6:.0f} M (PCIe)", "xgboost",
            trees.per_s, trees.limit)]
