"""A card simulated from RTL under a virtual clock, with the interface of `VirtualCard`.

Each call ends when nothing happens in the card any more, and time that is waited for costs a short look a millisecond:
a second takes some milliseconds, and a run is the same every time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import CardError
from safhost.lab.card_types import CardConfig, Entropy
from safhost.lab.rtl_card import RtlCard

MAX_CYCLES = 100_000_000
"""In one call without becoming quiet: the shell hangs."""

QUIET_CYCLES = 700
"""Nothing happens any more: longer than anything in the shell takes that shows no activity (an access of DDR behind a
refresh, a message on its way to its tag)."""

GLANCE_CYCLES = 96
"""After time has passed: enough for a timer to be seen and to begin something."""

GLANCE_NS = 1_000_000
"""Timers of the shell are looked at this often while time is waited for."""


class SteppedCard(RtlCard):
    """One card. Its time is the caller's ``now_ns``, and the cycles that it works in addition."""

    def __init__(self, config: CardConfig, library: Path, entropy: Entropy) -> None:
        super().__init__(config, library, entropy, runs=False)
        self._now_ns = 0

    @property
    def now_ns(self) -> int:
        """The caller's time with all cycles since."""
        return self._now_ns

    def handle_batch(self, frames: NDArray[np.uint8], lengths: NDArray[Any], now_ns: int) -> None:
        """As of `RtlCard`; returns when all of it was dealt with."""
        self._pass(now_ns)
        super().handle_batch(frames, lengths, now_ns)
        self.settle()

    def tick(self, now_ns: int) -> None:
        """Let time pass."""
        super().tick(now_ns)
        self._pass(now_ns)
        if self.view.quiet < GLANCE_CYCLES or self._jobs or self._running:
            self.settle()

    def link_up(self, now_ns: int) -> None:
        """The cable is plugged in."""
        self._pass(now_ns)
        super().link_up(now_ns)
        self.settle()

    def link_down(self, now_ns: int) -> None:
        """The cable is out."""
        super().link_down(now_ns)
        self.settle()

    def reboot(self, now_ns: int) -> None:
        """Lose everything and start anew."""
        self._pass(now_ns)
        super().reboot(now_ns)
        self.settle()

    def next_wakeup_ns(self) -> int | None:
        """The next look."""
        return self._now_ns + GLANCE_NS

    def settle(self) -> int:
        """Run until nothing happens; the cycles it took. Raises CardError when it never ends."""
        cycles = self.simulation.step(MAX_CYCLES, until_idle=QUIET_CYCLES)
        self._count(cycles)
        if cycles >= MAX_CYCLES:
            raise CardError(f"{self.config.serial} did not become quiet in {MAX_CYCLES} cycles",
                              "the shell hangs: look at it with a trace of the last frames")
        return cycles

    def _pass(self, now_ns: int) -> None:
        if now_ns > self._now_ns:
            self.simulation.advance(now_ns - self._now_ns)
            self._now_ns = now_ns
            self._count(self.simulation.step(GLANCE_CYCLES))

    def _count(self, cycles: int) -> None:
        self._now_ns += cycles * 64 // 10  # 156.25 MHz
