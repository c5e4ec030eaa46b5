"""One card's part in one job."""

from __future__ import annotations

from typing import Any

from safhost.core.pipeline import Pace


class Share:
    """One card's part in one job. ``blamed``: units it failed that another card did; ``excluded``: why it gets no
    more; ``waits``: it failed some in a row, and gets no more until it is known whether others can do them; times in
    seconds, None when it was not so."""

    __slots__ = ("blamed", "commit_s", "excluded", "fails", "joined_ns", "kernel_ns", "pace", "speculative", "stage_s",
                 "units", "waits", "working")

    def __init__(self) -> None:
        self.units = 0
        self.kernel_ns = 0
        self.speculative = 0
        self.fails = 0
        self.blamed = 0
        self.excluded = ""
        self.waits = False
        self.working = False
        self.joined_ns: int | None = None
        self.stage_s: float | None = None
        self.commit_s: float | None = None
        self.pace = Pace()

    def describe(self) -> dict[str, Any]:
        out: dict[str, Any] = {"units": self.units, "kernel_ns": self.kernel_ns, "speculative": self.speculative,
                               "depth": self.pace.depth, "failed": self.fails}
        if self.excluded:
            out["excluded"] = self.excluded
        return out


__all__ = ["Share"]
