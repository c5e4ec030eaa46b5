"""What the host's link allows: PTRANS sends 8 bytes an element out and takes 4 in.

Each block of a frame carries our header and what Ethernet adds to a frame on the wire. The link is full duplex, so that
the time is at least that of the busier direction, out; and with p cards at least the time of their kernels. On 10 GbE
a card's DDR is twenty times faster than the link: PTRANS is bound by the host's link at any n, with any number of
cards.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from safhost.bench.link import block_bytes_for
from safhost.bench.ptrans.problem import DTYPE, Problem
from safhost.errors import LinkError
from safhost.lab.shaping import WIRE_OVERHEAD_BYTES
from safhost.link import netns
from safhost.units import format_rate
from safhost.wire.generated import HEADER_BYTES

MEASURE_BYTES = 200_000_000
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class LinkRate:
    """What the host's link carries in bytes per second on the wire, each way, and how that is known."""

    bytes_s: float
    source: str

    def to_dict(self) -> dict[str, Any]:
        return {"bytes_per_s": round(self.bytes_s), "text": format_rate(self.bytes_s), "source": self.source}


def wire_bytes(length_bytes: int, mtu: int) -> int:
    """What ``length_bytes`` of one object take on the wire at an MTU: headers, preamble, check sequence and gap."""
    block = block_bytes_for(mtu)
    return length_bytes + -(-length_bytes // block) * (HEADER_BYTES + WIRE_OVERHEAD_BYTES)


@dataclass(frozen=True, slots=True)
class Roofline:
    """The least time of a run, and of what it consists."""

    out_s: float
    in_s: float
    kernels_s: float

    @property
    def link_s(self) -> float:
        """The link alone."""
        return max(self.out_s, self.in_s)

    @property
    def seconds(self) -> float:
        return max(self.link_s, self.kernels_s)

    @property
    def bound(self) -> str:
        """What the run waits for: link, or kernels."""
        return "link" if self.link_s >= self.kernels_s else "kernels"

    def to_dict(self) -> dict[str, Any]:
        return {"seconds": round(self.seconds, 6), "link_s": round(self.link_s, 6), "out_s": round(self.out_s, 6),
                "in_s": round(self.in_s, 6), "kernels_s": round(self.kernels_s, 6), "bound": self.bound}


def roofline(problem: Problem, mtu: int, rate: LinkRate, kernels_s: float = 0.0) -> Roofline:
    """``kernels_s``: the kernels of the card that has most, one after the other."""
    out = into = 0
    for tile in problem.all_tiles():
        one = wire_bytes(tile.elements * DTYPE.itemsize, mtu)
        out += 2 * one
        into += one
    return Roofline(out / rate.bytes_s, into / rate.bytes_s, kernels_s)


def measure_rate(mtu: int) -> LinkRate:
    """How fast this machine moves our frames over a virtual cable, one sender and one receiver in one process.

    In a namespace of its own; no interface of the machine is touched. Raises LinkError where none can be made.
    """
    command = netns.netns_command([sys.executable, "-m", "safhost.bench.ptrans.raw_rate", str(mtu)])
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as err:
        raise LinkError(f"the raw rate was not measured within {_TIMEOUT_S:g} s", "is the machine overloaded?") from err
    if done.returncode:
        raise LinkError(f"the raw rate could not be measured: {done.stderr.strip()}",
                        "it needs root, or unprivileged user namespaces; or give --link-rate")
    return LinkRate(float(json.loads(done.stdout)), "measured: raw frames over a virtual cable of this machine")
