"""What all benchmarks share: summaries of repeated measurements, goals, facts of the machine.

Every figure is the median of its repetitions with its spread beside it, and is labelled ``measured``. A goal is
printed next to the figure it belongs to, reached or not.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from safhost import __version__

MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure beside what it should be. ``figure`` None: it was not measured in this run."""

    name: str
    figure: float | None
    limit: float
    sense: Literal["at most", "at least"]
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal holds; None when there is no figure."""
        if self.figure is None:
            return None
        return self.figure <= self.limit if self.sense == "at most" else self.figure >= self.limit

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}

    def row(self) -> list[str]:
        """Cells for a table: what, figure, goal, whether it is reached."""
        unit = f" {self.unit}" if self.unit else ""
        figure = "not measured" if self.figure is None else f"{self.figure:.3g}{unit}"
        verdict = {True: "ok", False: "missed", None: ""}[self.reached]
        return [self.name, figure, f"{self.sense} {self.limit:g}{unit}", verdict]


GOAL_COLUMNS = ("WHAT", "FIGURE", "GOAL", "")


def summarize(values: Sequence[float], digits: int = 4) -> dict[str, Any]:
    """``values`` with median, extremes and spread ((max - min) / median, 0 for a median of 0)."""
    median = statistics.median(values)
    low, high = min(values), max(values)
    return {"values": [round(v, digits) for v in values], "median": round(median, digits),
            "min": round(low, digits), "max": round(high, digits),
            "spread": round((high - low) / median, 3) if median else 0.0}


def ratio(numerator: float, denominator: float) -> float | None:
    """Rounded quotient; None when there is nothing to divide by."""
    return round(numerator / denominator, 3) if denominator else None


def percentile_ns(sorted_ns: Sequence[int], fraction: float) -> int:
    """The value below which ``fraction`` of the sorted values lie, by the same rule as csrc/pingpong.c."""
    if fraction <= 0.5:
        return int(sorted_ns[len(sorted_ns) // 2])
    return int(sorted_ns[len(sorted_ns) - 1 - int(len(sorted_ns) * (1 - fraction) + 1e-9)])


def machine_facts() -> dict[str, Any]:
    """CPU, memory, kernel, Python and our version: what a figure cannot be read without."""
    return {"cpu": _cpu_model(), "cpus": len(os.sched_getaffinity(0)), "memory_bytes": _memory_bytes(),
            "kernel": platform.release(), "system": _system_name(), "python": platform.python_version(),
            "machine": platform.machine(), "numpy": _numpy_version(), "safhost": __version__,
            "load_before": round(os.getloadavg()[0], 2)}


def document(benchmark: str, parameters: dict[str, Any], goals: Sequence[Goal], **parts: Any) -> dict[str, Any]:
    """One benchmark's result in the form that ``--json`` prints."""
    return {"benchmark": benchmark, "figures": MEASURED, "machine": machine_facts(), "parameters": parameters,
            **parts, "goals": [g.to_dict() for g in goals]}


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware", "cpu model"):
            return value.strip()
    return platform.processor() or "unknown"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _numpy_version() -> str:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        from importlib.metadata import version

        return version("numpy")
    return str(numpy.__version__)
