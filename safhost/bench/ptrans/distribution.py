"""Which card computes which tile: as HPCC FPGA distributes blocks to ranks, or elastically.

``elastic``: no card is named; whoever is free takes the next tile, also cards that come while the job runs.
``diag``: a block and its mirror image lie on a pair of cards (c, c + h); the diagonal's blocks on cards of their own
where HPCC FPGA's rule gives some, else dealt to all. ``pq``: cards form a grid of P rows and Q columns, tile (i, j)
belongs to card (i mod P, j mod Q); every card has equally many when the tiles a side are a multiple of lcm(P, Q).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from safhost.errors import ConfigError

DISTRIBUTIONS = ("elastic", "diag", "pq")


def grid(cards: int) -> tuple[int, int]:
    """P and Q with P · Q = ``cards``, as near to a square as can be, P the smaller: 20 cards are 4 by 5."""
    p = math.isqrt(cards)
    while cards % p:
        p -= 1
    return p, cards // p


def assign(kind: str, tiles_a_side: int, cards: int) -> Mapping[tuple[int, int], int]:
    """Tile (row, column) → number of its card, 0 to ``cards`` - 1; empty for elastic.

    Raises ConfigError for an unknown kind, and for a pq grid that does not divide the matrix.
    """
    if kind not in DISTRIBUTIONS:
        raise ConfigError(f"there is no distribution {kind!r}", f"use one of: {', '.join(DISTRIBUTIONS)}")
    if kind == "elastic":
        return {}
    return _pq(tiles_a_side, cards) if kind == "pq" else _diag(tiles_a_side, cards)


def largest_share(kind: str, tiles_a_side: int, cards: int) -> int:
    """Tiles of the card that has most: what strong scaling can be at best."""
    found = assign(kind, tiles_a_side, cards)
    return max(Counter(found.values()).values()) if found else -(-tiles_a_side ** 2 // cards)


def _pq(m: int, cards: int) -> dict[tuple[int, int], int]:
    p, q = grid(cards)
    step = math.lcm(p, q)
    if m % step:
        near = max(1, round(m / step)) * step
        raise ConfigError(f"{m} tiles a side cannot be dealt evenly to a grid of {p} x {q} cards",
                          f"use n and block for a multiple of {step}, as {near}, or --distribution diag")
    return {(row, col): row % p * q + col % q for row in range(m) for col in range(m)}


def _diag(m: int, cards: int) -> dict[tuple[int, int], int]:
    own = _diagonal_cards(m, cards)
    paired = cards - own
    half = max(1, paired // 2)
    found: dict[tuple[int, int], int] = {}
    for number, (row, col) in enumerate(_upper(m)):
        first = number % half
        second = first + half if paired > 1 else first
        if number // half % 2:  # the sides take turns, so that neither has more when they do not come out even
            first, second = second, first
        found[row, col], found[col, row] = first, second
    load = Counter(found.values())
    for at in range(m):
        if own:
            found[at, at] = paired + at % own
        else:
            card = min(range(cards), key=lambda c: (load[c], c))
            load[card] += 1
            found[at, at] = card
    return found


def _diagonal_cards(m: int, cards: int) -> int:
    """HPCC FPGA's number of ranks that have the diagonal: blocks a side over blocks a rank, at least one; none where it
    would refuse because the rest are no pairs."""
    if cards == 1:
        return 0
    own = max(1, m // max(1, m * m // cards))
    return own if own < cards and (cards - own) % 2 == 0 else 0


def _upper(m: int) -> list[tuple[int, int]]:
    """Blocks above the diagonal, diagonal by diagonal."""
    return [(row, row + step) for step in range(1, m) for row in range(m - step)]
