"""What the paper prints in its evaluation, as it prints it. Section numbers are the paper's.

Numbers with a slip in them are kept as printed; `PRINTED` values are compared with the models cell by cell, and
the sections of the report explain what does not agree.
"""

from __future__ import annotations

from typing import NamedTuple

CARD_COUNTS = (1, 2, 4, 8, 12, 16, 20)
"""Rows of Table II, and the points at which ours is measured."""
MAX_CARDS = 20

# -- Figure 6, section VI-A ------------------------------------------------------------------------------------

IMAGE_BYTES = 97_400_000
"""PTRANS bitstream of VI-A, "97.4 MB"."""
PCIE_CARD_S = 12.3
"""One card by PCIe, VI-A."""
PCIE_NETWORK_S = 15.67
"""The bitstream over the network to the other hosts, VI-A."""
ETHERNET_S = 17.76
"""Broadcast to any number of cards, VI-A."""
ETHERNET_SLIP_S = 12.3
"""What VI-A once says the broadcast takes: "remains unchanged at 12.3 seconds"."""
CARDS_PER_PCIE_HOST = 2
RECONFIGURATION_20_S = {"pcie_tree": 246.0, "pcie": 40.27, "ethernet": 17.76}
"""The three figures that VI-A gives for 20 cards."""
RECONFIGURATION_PRINTED = (1, 2, 20)
"""For these numbers of cards VI-A gives seconds; those between are only in the plot."""
SPEEDUP_20 = {"pcie": 2.27, "pcie_tree": 13.85}
"""How much faster the broadcast is at 20 cards, VI-A."""

# -- Table II, section VI-B ------------------------------------------------------------------------------------


class SetupRow(NamedTuple):
    """A row of Table II: cards, hosts of the three architectures, their costs, savings in per cent."""

    cards: int
    noctua_hosts: int
    essper_hosts: int
    saf_hosts: int
    noctua_cost: float
    essper_cost: float
    saf_cost: float
    savings_percent: float


TABLE2 = (
    SetupRow(1, 1, 1, 1, 1849.98, 1849.98, 1849.98, 0.00),
    SetupRow(2, 2, 1, 1, 3699.96, 2599.97, 2599.97, 0.00),
    SetupRow(4, 4, 2, 1, 7399.92, 5199.94, 4099.95, 21.15),
    SetupRow(8, 8, 4, 1, 14799.84, 10399.88, 7099.91, 31.73),
    SetupRow(12, 12, 6, 1, 22199.76, 15599.82, 10099.87, 35.26),
    SetupRow(16, 16, 8, 1, 29599.68, 20799.76, 13099.83, 37.02),
    SetupRow(20, 20, 20, 1, 36999.60, 25999.70, 16099.79, 38.08),
)

# -- Figure 7, section VI-C ------------------------------------------------------------------------------------

MATRIX_SIDE = 32_768
"""Side of the PTRANS matrix, VI-C ("32,768 elements")."""
LINEAR_UP_TO_CARDS = 8
"""Up to here the paper's scaling follows the ideal line, VI-C."""

# -- Table III, section VI-D -----------------------------------------------------------------------------------

BASELINE_H = 10.0
BASELINE_CARDS = 4
ADDED_CARDS = 4
STATIC_MW = 22.0
DYNAMIC_MW = 46.0
WAITING_MW = 10.0


class HotplugRow(NamedTuple):
    """A row of Table III: per cent done when cards are added; hours and energies; reductions in per cent."""

    done_percent: int
    cluster_h: float
    cluster_kj: float
    saf_h: float
    saf_kj: float
    time_reduction: float
    energy_reduction: float


TABLE3 = (
    HotplugRow(0, 5, 9.79, 5, 9.79, 0.00, 0.00),
    HotplugRow(10, 6, 10.77, 5.5, 9.83, 8.33, 8.74),
    HotplugRow(20, 7, 11.75, 6, 9.86, 14.29, 16.05),
    HotplugRow(30, 8, 12.73, 6.5, 9.90, 18.75, 22.23),
    HotplugRow(40, 9, 13.71, 7, 9.94, 22.22, 27.53),
    HotplugRow(50, 10, 9.79, 7.5, 9.97, 25.00, -1.82),
    HotplugRow(60, 10, 9.79, 8, 10.01, 20.00, -2.23),
    HotplugRow(70, 10, 9.79, 8.5, 10.04, 15.00, -2.53),
    HotplugRow(80, 10, 9.79, 9, 10.08, 10.00, -2.94),
    HotplugRow(90, 10, 9.792, 9.5, 10.12, 5.00, -3.35),
    HotplugRow(100, 10, 9.792, 10, 9.79, 0.00, 0.00),
)
"""The last two energies of the clusters are printed with three decimals. The unit is not printed: kJ fits."""

# -- Table IV, section VI-E ------------------------------------------------------------------------------------


class ShellRow(NamedTuple):
    """A resource of Table IV: what, the default shell's, SAF's, the percentages printed beside them (None: none), as
    printed where that differs from the number, and how many the device has."""

    name: str
    default: int
    saf: int
    default_percent: int | None
    saf_percent: int | None
    default_printed: str
    saf_printed: str
    device: int | None


TABLE4 = (
    ShellRow("ALMs", 43_994, 49_861, 10, 12, "43,994", "49,861", 427_200),
    ShellRow("registers", 85_173, 99_579, None, None, "85,173", "99,579", 1_708_800),
    ShellRow("block memory bits", 6_111_846, 7_155_056, 11, 13, "61,11,846", "71,55,056", 2_713 * 20_480),
    ShellRow("PLLs", 60, 60, 54, 54, "60", "60", None),
    ShellRow("pins", 335, 351, 41, 43, "335", "351", None),
)
"""Device: Arria 10 GX 1150, Intel 683332 (device overview): 427,200 ALMs of four registers, 2,713 M20K blocks. The
percentages printed agree with these."""
ADDITIONAL_PERCENT = 2
"""VI-E: "a very small percentage (2%) of additional resources"."""
