"""SONIC's model of how long an event takes when one part of it is computed by shared accelerators, and its fit.

With t_CPU the time of an event on a CPU, p the part of it that goes to an accelerator, t_acc what the accelerator works
on it and t_latency the way there and back:

    t_ideal = (1 − p)·t_CPU + t_acc + t_latency                  (few clients: nobody waits for others)
    t       = t_acc·N_CPU / N_acc,  when N_CPU / N_acc > t_ideal / t_acc   (saturated: accelerators are always busy)

Source: the SONIC papers (arXiv:1904.08986, arXiv:2007.10359).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safhost.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Fit:
    """Times in milliseconds. ``cpu_ms`` is (1 − p)·t_CPU, known beforehand; ``error``: root mean square of the relative
    differences between model and measurement."""

    cpu_ms: float
    acc_ms: float
    latency_ms: float
    accelerators: int
    error: float

    @property
    def ideal_ms(self) -> float:
        return self.cpu_ms + self.acc_ms + self.latency_ms

    @property
    def saturation_clients(self) -> float:
        """Clients beyond which accelerators are the limit."""
        return self.accelerators * self.ideal_ms / self.acc_ms

    def event_ms(self, clients: float) -> float:
        """Time of an event with so many clients."""
        return max(self.ideal_ms, self.acc_ms * clients / self.accelerators)

    def to_dict(self) -> dict[str, float]:
        return {"cpu_ms": round(self.cpu_ms, 3), "acc_ms": round(self.acc_ms, 4),
                "latency_ms": round(self.latency_ms, 3), "ideal_ms": round(self.ideal_ms, 3),
                "accelerators": self.accelerators, "saturation_clients": round(self.saturation_clients, 1),
                "error": round(self.error, 4)}


def fit(clients: Sequence[int], event_ms: Sequence[float], cpu_ms: float, accelerators: int = 1) -> Fit:
    """t_acc and t_latency that describe a measurement best (least squares of relative errors).

    For every split of the points into the first k that are ideal and the rest that are saturated both lines have a
    closed form; the split whose curve lies closest is taken. Raises ConfigError with fewer than two points, or with
    events shorter than ``cpu_ms``.
    """
    n, t = np.asarray(clients, float), np.asarray(event_ms, float)
    if len(n) < 2 or len(n) != len(t) or np.any(t <= 0):
        raise ConfigError(f"{len(n)} points of measurement fit nothing", "measure at two or more numbers of clients")
    order = np.argsort(n)
    n, t = n[order] / accelerators, t[order]
    best: Fit | None = None
    for k in range(1, len(n) + 1):
        ideal = float(np.sum(1 / t[:k]) / np.sum(1 / t[:k] ** 2))  # least squares of ideal / t - 1
        slope = n[k:] / t[k:]
        acc = float(np.sum(slope) / np.sum(slope ** 2)) if k < len(n) else ideal / float(n[-1])
        acc = min(acc, ideal)
        curve = np.maximum(ideal, acc * n)
        error = float(np.sqrt(np.mean((curve / t - 1) ** 2)))
        if best is None or error < best.error - 1e-12:
            best = Fit(cpu_ms, acc, max(ideal - cpu_ms - acc, 0.0), accelerators, error)
    assert best is not None
    return best
