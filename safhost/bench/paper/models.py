"""The formulas behind the evaluation: pure functions, nothing measured.

Each one either reproduces what the paper prints (the tests hold it to every cell) or says what 10 GbE and the PR
controller of an Arria 10 allow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from safhost.bench.paper import constants as paper
from safhost.wire.generated import BLOCK_BYTES_1500, BLOCK_BYTES_9000, HEADER_BYTES, PR_BYTES_PER_SECOND

# -- Figure 6 --------------------------------------------------------------------------------------------------

TEN_GBE_BYTES_S = 1_250_000_000
"""10GBASE-R carries 10 Gbit/s (IEEE 802.3-2018 49)."""
ETHERNET_EXTRA_BYTES = 24
"""Around each frame on the cable: preamble 8, frame check sequence 4, gap 12 (IEEE 802.3-2018 3.1.1, 4.4.2)."""
MINIMUM_FRAME_BYTES = 60
"""Without frame check sequence (IEEE 802.3-2018 4.4.2: 64 with it)."""
CONTROL_FRAMES_A_CARD = 10
"""Open, ready, poll, missing blocks, close, verdict, commit and its three answers: what a transfer exchanges with each
card besides the broadcast (docs/protocol.md)."""
HASH_BYTES_S = 1_250_000_000
"""Digest engines of the shell: as fast as 10 GbE (safhost/lab/timing.py); they run behind the lowest missing block."""
LEAF_BYTES = 65_536
BLOCK_BYTES = {1500: BLOCK_BYTES_1500, 9000: BLOCK_BYTES_9000}


def pcie_tree_s(cards: int) -> float:
    """Seconds to reconfigure ``cards`` behind one host, one after the other (VI-A)."""
    return paper.PCIE_CARD_S * cards


def pcie_s(cards: int) -> float:
    """Seconds with two cards a host: sent over the network first where there is a second host (VI-A)."""
    here = paper.PCIE_CARD_S * min(cards, paper.CARDS_PER_PCIE_HOST)
    return here + (paper.PCIE_NETWORK_S if cards > paper.CARDS_PER_PCIE_HOST else 0.0)


def ethernet_s(_cards: int) -> float:
    """Seconds of the paper's broadcast: the same for any number of cards (VI-A)."""
    return paper.ETHERNET_S


class BroadcastModel(NamedTuple):
    """Seconds of one image to all cards, part by part."""

    wire_s: float
    control_s: float
    verify_s: float
    pr_s: float

    @property
    def staged_s(self) -> float:
        """Until the last card has verified what it received."""
        return self.wire_s + self.control_s + self.verify_s

    @property
    def total_s(self) -> float:
        """Until the last card runs it."""
        return self.staged_s + self.pr_s


def line_rate_bytes_s(mtu: int) -> float:
    """Payload bytes a second of bulk frames on 10 GbE, for MTU 1500 or 9000."""
    block = BLOCK_BYTES[mtu]
    return TEN_GBE_BYTES_S * block / (block + HEADER_BYTES + ETHERNET_EXTRA_BYTES)


def broadcast(cards: int, image_bytes: int = paper.IMAGE_BYTES, mtu: int = 1500) -> BroadcastModel:
    """One image to ``cards`` at line rate: every block once, digests behind it (all that is left after the last block
    is
    one leaf), then the PR controller at 400 MB/s (Intel 683834). Nothing is lost and the host keeps up."""
    block = BLOCK_BYTES[mtu]
    around = (HEADER_BYTES + ETHERNET_EXTRA_BYTES) * math.ceil(image_bytes / block)
    control = cards * CONTROL_FRAMES_A_CARD * (MINIMUM_FRAME_BYTES + ETHERNET_EXTRA_BYTES)
    return BroadcastModel((image_bytes + around) / TEN_GBE_BYTES_S, control / TEN_GBE_BYTES_S,
                          LEAF_BYTES / HASH_BYTES_S, image_bytes / PR_BYTES_PER_SECOND)


# -- Table II --------------------------------------------------------------------------------------------------


class Prices(NamedTuple):
    card: float
    host: float


def solve_prices(first_cards: int, first_cost: float, second_cards: int, second_cost: float) -> Prices:
    """Prices of a card and a host from two SAF rows of Table II: cost = cards × card + 1 host."""
    card = (second_cost - first_cost) / (second_cards - first_cards)
    return Prices(round(card, 2), round(first_cost - first_cards * card, 2))


PRICES = solve_prices(1, paper.TABLE2[0].saf_cost, 20, paper.TABLE2[-1].saf_cost)


def noctua_hosts(cards: int) -> int:
    """One host a card."""
    return cards


def essper_hosts(cards: int) -> int:
    """One host for two cards."""
    return math.ceil(cards / 2)


def setup_cost(cards: int, hosts: int, prices: Prices = PRICES) -> float:
    """Cost of cards and hosts; switches, cables and adapters are not in it, as in VI-B."""
    return round(cards * prices.card + hosts * prices.host, 2)


def setup_savings(cards: int) -> float:
    """Per cent that SAF saves against the cheaper of Noctua and ESSPER (VI-B)."""
    cheapest = min(setup_cost(cards, noctua_hosts(cards)), setup_cost(cards, essper_hosts(cards)))
    return 100 * (1 - setup_cost(cards, 1) / cheapest)


# -- Figure 7 --------------------------------------------------------------------------------------------------

ELEMENT_OUT_BYTES, ELEMENT_BACK_BYTES = 8, 4
"""A and B go to the card, C comes back: float32 (HPCC FPGA PTRANS, 3·n²·4 bytes)."""
DDR_BYTES_S = 25_600_000_000
"""Two banks of DDR3-1600, 64 bit (safhost/lab/timing.py): a kernel that reads A and B and writes C at that rate."""


class PtransModel(NamedTuple):
    """Lower bounds in seconds for one matrix: to the cards, back, and calculation on ``cards`` cards."""

    out_bytes: int
    back_bytes: int
    out_s: float
    back_s: float
    calc_s: float

    @property
    def link_s(self) -> float:
        """Both ways at once, as 10 GbE is full duplex: the longer of the two."""
        return max(self.out_s, self.back_s)

    @property
    def repetitions_to_balance(self) -> float:
        """Runs on resident data after which calculation takes as long as the link."""
        return self.link_s / self.calc_s


def ptrans(side: int, cards: int, rate_bytes_s: float) -> PtransModel:
    """PTRANS of a ``side`` × ``side`` float32 matrix; ``rate_bytes_s``: payload of the host's one link."""
    elements = side * side
    out, back = elements * ELEMENT_OUT_BYTES, elements * ELEMENT_BACK_BYTES
    return PtransModel(out, back, out / rate_bytes_s, back / rate_bytes_s, (out + back) / DDR_BYTES_S / cards)


# -- Table III -------------------------------------------------------------------------------------------------

SECONDS_AN_HOUR = 3600
MILLIJOULE_PER_KILOJOULE = 1e6


def saf_hours(done_h: float) -> float:
    """Four cards until ``done_h``, eight from there: x + (10 − x)/2 (VI-D)."""
    return done_h + (paper.BASELINE_H - done_h) / _speedup()


def cluster_hours(done_h: float) -> float:
    """Started anew on eight cards after ``done_h``, or finished on four: min(x + 10/2, 10) (VI-D)."""
    return min(done_h + paper.BASELINE_H / _speedup(), paper.BASELINE_H)


def saf_kilojoules(done_h: float, waiting_cards: int = 1) -> float:
    """Energy of hot-plugging: running cards at static plus dynamic power, and the waiting power until ``done_h``.

    The printed energies fit ``waiting_cards`` = 1: the 10 mW are charged once, though four cards wait. At the end of
    the
    job nobody has waited for anything: no waiting power, as printed.
    """
    running = _running_mwh(done_h, paper.BASELINE_CARDS) + _running_mwh(
        saf_hours(done_h) - done_h, paper.BASELINE_CARDS + paper.ADDED_CARDS)
    waiting = waiting_cards * paper.WAITING_MW * done_h if done_h < paper.BASELINE_H else 0.0
    return _kilojoules(running + waiting)


def run_kilojoules(total_h: float, joined_h: float) -> float:
    """Energy of a run of ``total_h`` in which the new cards worked from ``joined_h`` on, by the same powers; until then
    the waiting power, once."""
    return _kilojoules(_running_mwh(total_h, paper.BASELINE_CARDS)
                       + _running_mwh(total_h - joined_h, paper.ADDED_CARDS) + paper.WAITING_MW * joined_h)


def cluster_kilojoules(done_h: float) -> float:
    """Energy of starting anew (what was done before is spent too), or of finishing on four cards."""
    anew_h = done_h + paper.BASELINE_H / _speedup()
    if anew_h >= paper.BASELINE_H:
        return _kilojoules(_running_mwh(paper.BASELINE_H, paper.BASELINE_CARDS))
    return _kilojoules(_running_mwh(done_h, paper.BASELINE_CARDS)
                       + _running_mwh(anew_h - done_h, paper.BASELINE_CARDS + paper.ADDED_CARDS))


def reduction_percent(cluster: float, saf: float) -> float:
    """By how many per cent ``saf`` is below ``cluster``."""
    return 100 * (1 - saf / cluster)


def ideal_ratio(done_share: float, cards: int = paper.BASELINE_CARDS, added: int = paper.ADDED_CARDS) -> float:
    """Run time beside that of the baseline when ``added`` cards join at ``done_share`` (0 to 1) of the work."""
    return done_share + (1 - done_share) * cards / (cards + added)


def _speedup() -> float:
    return (paper.BASELINE_CARDS + paper.ADDED_CARDS) / paper.BASELINE_CARDS


def _running_mwh(hours: float, cards: int) -> float:
    return cards * (paper.STATIC_MW + paper.DYNAMIC_MW) * hours


def _kilojoules(milliwatt_hours: float) -> float:
    return milliwatt_hours * SECONDS_AN_HOUR / MILLIJOULE_PER_KILOJOULE
