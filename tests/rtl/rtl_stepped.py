"""A card simulated from RTL in the time of a test: the interface of `VirtualCard`, so that its tests' host drives both."""

from __future__ import annotations

from typing import Any

import numpy as np

from safhost.lab.card_types import CardConfig, Entropy, Output
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_card import ROLE_BYTES, RtlCard

MOST_CYCLES = 3_000_000


class SteppedCard(RtlCard):
    """Time goes on with the calls' ``now_ns``; each call ends when nothing happens any more."""

    def __init__(self, config: CardConfig, entropy: Entropy, variant: str = "one-clock") -> None:
        super().__init__(config, build_card_library(variant), entropy, runs=False)
        self._now_ns = 0

    def handle_batch(self, frames: Any, lengths: Any, now_ns: int) -> None:
        self._pass(now_ns)
        super().handle_batch(frames, lengths, now_ns)
        self.settle()

    def tick(self, now_ns: int) -> None:
        super().tick(now_ns)
        self._pass(now_ns)
        self.settle()

    def link_up(self, now_ns: int) -> None:
        super().link_up(now_ns)
        self.settle()

    def settle(self, cycles: int = MOST_CYCLES) -> int:
        """Run until nothing happens; returns the cycles."""
        return self.simulation.step(cycles, until_idle=True)

    def _pass(self, now_ns: int) -> None:
        if now_ns > self._now_ns:
            self.simulation.advance(now_ns - self._now_ns)
            self._now_ns = now_ns
            self.simulation.step(256)


def make_rtl_card(config: CardConfig, seed: int = 1, variant: str = "one-clock") -> SteppedCard:
    """A plugged-in card with the seed's randomness."""
    card = SteppedCard(config, np.random.Generator(np.random.PCG64(seed)).bytes, variant)
    card.link_up(0)
    return card


__all__ = ["ROLE_BYTES", "SteppedCard", "make_rtl_card"]
