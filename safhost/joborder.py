"""What a job is, as a client asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from safhost.plan.kernelspec import KernelSpec
from safhost.resident import ResidentData

Note = Callable[[dict[str, Any]], None]


class Order(NamedTuple):
    """``kernel`` is the kernel's description, ``params`` what travels in the request that opens the job."""

    kernel: KernelSpec
    params: dict[str, Any]
    window: int | None
    phased: bool
    depth: int
    total: int | None
    resume: str | None
    ephemeral: bool = False
    resident: ResidentData | None = None
    compute_units: int = 1


__all__ = ["Note", "Order"]
