"""How many units of a job a card works on at once, from what their steps take.

A unit is written, run and read back; the steps of different units overlap. A card is kept busy when enough units
are under way to cover the time from the first byte of inputs to the last of outputs by the time that one unit
needs of what it has to itself: the kernel, or its share of the link (FaaST's ring of buffers in card DDR).
"""

from __future__ import annotations

FIRST_DEPTH = 2  # until times are known: one computes while the next one's inputs travel
MAX_DEPTH = 8  # command slots of a card
FORGET = 1 / 16  # a shortest time grows so much a unit, or one lucky moment would count for ever
SMOOTH = 1 / 4  # share of the newest kernel time in their average


class Pace:
    """Times of one job's units on one card, ns; ``depth`` follows from them."""

    __slots__ = ("depth", "kernel_ns", "overhead_ns", "read_ns", "units", "write_ns")

    def __init__(self) -> None:
        self.units = 0
        self.write_ns = 0.0
        self.kernel_ns = 0.0
        self.overhead_ns = 0.0  # of a RUN: what it takes beyond the kernel
        self.read_ns = 0.0
        self.depth = FIRST_DEPTH

    def note(self, write_ns: int, run_ns: int, kernel_ns: int, read_ns: int, link_ns: float) -> None:
        """One more unit ended. ``link_ns``: time of the card's share of the link that its inputs or its outputs, the
        longer of the two, take."""
        overhead_ns = max(0, run_ns - kernel_ns)
        if not self.units:
            self.write_ns, self.kernel_ns, self.overhead_ns, self.read_ns = write_ns, kernel_ns, overhead_ns, read_ns
        else:
            grown = 1 + FORGET
            self.write_ns = min(write_ns, self.write_ns * grown)
            self.read_ns = min(read_ns, self.read_ns * grown)
            self.overhead_ns = min(overhead_ns, self.overhead_ns * grown)
            self.kernel_ns += (kernel_ns - self.kernel_ns) * SMOOTH
        self.units += 1
        alone_ns = max(self.kernel_ns, link_ns, 1.0)
        latency_ns = self.write_ns + self.kernel_ns + self.overhead_ns + self.read_ns
        self.depth = min(MAX_DEPTH, max(FIRST_DEPTH, int(-(-latency_ns // alone_ns))))


__all__ = ["FIRST_DEPTH", "MAX_DEPTH", "Pace"]
