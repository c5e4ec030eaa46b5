"""A plugged-in card simulated from RTL, for tests that know `VirtualCard`'s interface."""

from __future__ import annotations

import numpy as np

from safhost.lab.card_types import CardConfig
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_card import ROLE_BYTES
from safhost.lab.rtl_stepped import SteppedCard


def make_rtl_card(config: CardConfig, seed: int = 1, variant: str = "one-clock") -> SteppedCard:
    """A plugged-in card with the seed's randomness."""
    card = SteppedCard(config, build_card_library(variant), np.random.Generator(np.random.PCG64(seed)).bytes)
    card.link_up(0)
    return card


__all__ = ["ROLE_BYTES", "SteppedCard", "make_rtl_card"]
