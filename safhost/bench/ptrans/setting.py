"""Where PTRANS is measured: a lab of its own, made and removed, or a cluster that is there.

What is measured and what is modelled is said once, in `Setting.figures`, and stands beside every result.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safhost import paths
from safhost.bench.ptrans.problem import DTYPE
from safhost.bench.ptrans.roofline import LinkRate, measure_rate
from safhost.bench.reconfig import wait_available
from safhost.client import Card, Cluster, connect
from safhost.errors import ConfigError, SchedulingError
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.lab.timing import Timing, describe_timing, timing_named
from safhost.plan.image import Image, build_image

KERNEL = "ptrans"
HOST_NOT_SLOWED = ("frames, digests and results are real; this machine's own work is not slowed with the model, so "
                   "that it weighs {scale:g} times less beside a kernel than it would beside a real card's")

_numbers = itertools.count(1)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LabOptions:
    """How a lab for the benchmark is made. ``image_bytes``: size of the image, None as small as it is.
    ``spare``: cards that can be plugged later, with their cable out."""

    cards: int = 20
    mtu: int = 1500
    timing: str = "arria10"
    time_scale: float = 1.0
    pr_scale: float | None = None
    link_rate: int = 0
    image_bytes: int | None = None
    topology: str = "bridge"
    spare: int = 0


@dataclass(slots=True)
class Setting:
    """A cluster whose cards run PTRANS. ``lab``: its name where it is one, else empty. ``cards``: names, in order."""

    cluster: Cluster
    image: Image
    cards: list[str]
    mtu: int
    rate: LinkRate
    lab: str = ""
    timing_label: str = "none"
    timing: Timing | None = None
    time_scale: float = 1.0
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def figures(self) -> str:
        """What of the figures is measured, and what is modelled."""
        if not self.lab:
            return "measured"
        if self.timing is None:
            return "measured on virtual cards, whose kernels are as fast as this machine"
        remark = HOST_NOT_SLOWED.format(scale=self.time_scale) if self.time_scale > 1 else "frames and results are real"
        return f"measured on virtual cards; times of kernels and reconfiguration {self.timing_label}; {remark}"

    def late_kernels(self) -> int:
        """Kernels so far that this machine could not compute in the time of the model."""
        return int(manager.status(self.lab)["late_kernels"]) if self.lab else 0

    @property
    def pr_s(self) -> float:
        """Modelled time of the PR controller for the image; 0 without a model."""
        return self.timing.pr_ns(self.image.payload_bytes) / 1e9 if self.timing else 0.0


@contextmanager
def own_lab(options: LabOptions, say: Say) -> Iterator[Setting]:
    """A lab for the benchmark alone: brought up, its cards programmed, removed at the end. Raises SafError."""
    model = timing_named(options.timing)
    name = f"ptrans-{os.getpid()}-{next(_numbers)}"
    rate = _rate(options.link_rate, options.mtu, say)
    with tempfile.TemporaryDirectory(prefix="safhost-ptrans-") as folder:
        image = build_image(paths.kernels_dir() / KERNEL, Path(folder) / f"{KERNEL}.saf", options.image_bytes)
        spec = LabSpec(name=name, cards=options.cards, mtu=options.mtu, timing=options.timing,
                       time_scale=options.time_scale, pr_scale=options.pr_scale, link_rate=options.link_rate,
                       topology=options.topology, spare=options.spare, spare_image_bytes=image.payload_bytes)
        label = describe_timing(options.timing, options.time_scale, options.pr_scale)
        timing = None if model is None else model.scaled(options.time_scale, options.pr_scale, options.link_rate)
        say(f"starting a lab of {options.cards} cards, timing {label}, link {rate.to_dict()['text']}")
        manager.up(spec)
        try:
            with connect(name) as cluster:
                wait_available(cluster, options.cards)
                cluster.program(image)
                yield Setting(cluster, image, names_of(cluster.cards()), options.mtu, rate, name, label, timing,
                              options.time_scale)
        finally:
            manager.down(name)
            shutil.rmtree(paths.cluster_state_dir(name), ignore_errors=True)


@contextmanager
def existing(cluster_name: str, link_rate: int, image_bytes: int | None, say: Say) -> Iterator[Setting]:
    """A cluster that is there: its usable cards are programmed with PTRANS where they run something else.

    ``link_rate``: bytes per second of the host's interface; 0: what the lab says, or the interface. Raises
    ConfigError when it cannot be known, SchedulingError without a usable card.
    """
    with connect(cluster_name) as cluster, tempfile.TemporaryDirectory(prefix="safhost-ptrans-") as folder:
        image = build_image(paths.kernels_dir() / KERNEL, Path(folder) / f"{KERNEL}.saf", image_bytes)
        state = manager.status(cluster_name)
        is_lab = state["state"] == "up"
        if is_lab:
            wait_available(cluster, state["plugged"])  # one that was just started is still opening sessions
        usable = [c for c in cluster.cards() if c.state == "available"]
        if not usable:
            raise SchedulingError(f"cluster {cluster_name} has no usable card", "see `safhost cards`")
        other = [c.name for c in usable if c.info.get("image") != image.digest_root.hex()]
        if other:
            say(f"programming {len(other)} cards with PTRANS")
            cluster.program(image, other)
        mtu = min(link["mtu"] for link in cluster.info()["interfaces"])
        timing = None
        if is_lab:
            model = timing_named(str(state["timing"]).split(" ", 1)[0])
            timing = model and model.scaled(state["time_scale"], state["pr_scale"], state["link_rate"])
        rate = (_rate(link_rate or state["link_rate"], mtu, say) if is_lab else
                LinkRate(float(link_rate), "given") if link_rate else _interface_rate(cluster))
        yield Setting(cluster, image, names_of(usable), mtu, rate, cluster_name if is_lab else "",
                      state["timing"] if is_lab else "none", timing, state["time_scale"] if is_lab else 1.0)


def names_of(cards: Iterable[Card]) -> list[str]:
    """Names in the order of the cards' serials."""
    return [card.name for card in sorted(cards, key=lambda c: c.serial or c.mac)]


def check_dtype(name: str) -> None:
    """Raises ConfigError for an element type that the kernel does not compute."""
    if name != DTYPE.name:
        raise ConfigError(f"the kernel {KERNEL} computes {DTYPE.name}, not {name}",
                          f"use --dtype {DTYPE.name}; kernels/{KERNEL}/kernel.yaml says what a kernel takes")


def _rate(link_rate: int, mtu: int, say: Say) -> LinkRate:
    if link_rate:
        return LinkRate(float(link_rate), "the lab's link rate")
    say("measuring the rate of raw frames")
    return measure_rate(mtu)


def _interface_rate(cluster: Cluster) -> LinkRate:
    """What the interfaces' drivers report, Mbit/s (sysfs-class-net, speed)."""
    total = 0.0
    for link in cluster.info()["interfaces"]:
        try:
            megabits = int(Path(f"/sys/class/net/{link['name']}/speed").read_text())
        except (OSError, ValueError):
            megabits = 0
        if megabits <= 0:
            raise ConfigError(f"the rate of {link['name']} is not known", "give it: --link-rate 10Gbit")
        total += megabits * 125_000
    return LinkRate(total, "the interface's speed")
