"""What a report is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safhost.bench.paper.constants import MAX_CARDS
from safhost.errors import ConfigError

KEYS = ("fig6", "table2", "fig7", "table3", "table4")


@dataclass(frozen=True, slots=True)
class Options:
    """``only``: parts by key, in the paper's order. ``quick``: fewer points, fewer rounds, a smaller matrix. ``cards``:
    at
    most so many on the lab. ``reuse``: take what was measured before into ``out``. ``measure``: False leaves the lab
    alone:
    paper and models only. ``resources``: the shell's resources, None for the place where the RTL puts them.
    ``command``: the
    call, for the report.

    Raises ConfigError for a part that does not exist and for too many cards.
    """

    out: Path
    only: tuple[str, ...] = KEYS
    quick: bool = False
    cards: int = MAX_CARDS
    reuse: bool = False
    measure: bool = True
    resources: Path | None = None
    command: str = "safhost paper"
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        for key in self.only:
            if key not in KEYS:
                raise ConfigError(f"there is no part {key!r}", f"choose from {', '.join(KEYS)}")
        if not self.only:
            raise ConfigError("no part was asked for", f"choose from {', '.join(KEYS)}")
        if not 1 <= self.cards <= MAX_CARDS:
            raise ConfigError(f"{self.cards} cards are not in the paper", f"use 1 to {MAX_CARDS}")
