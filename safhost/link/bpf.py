"""The kernel filter of a raw socket, as a classic BPF program.

Frames that are not ours are dropped before they take a ring slot: a card's port on a flooding bridge sees
every other card's unicast, and the host's interface sees whatever else runs on that network.
Instruction codes: Linux ``linux/bpf_common.h`` and ``linux/filter.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from safhost.errors import ConfigError

LD_W_ABS, LD_H_ABS, JEQ_K, RET_K = 0x20, 0x28, 0x15, 0x06
SKF_AD_PKTTYPE = 0xFFFFF000 + 4
"""Ancillary load of the kernel's packet type (SKF_AD_OFF + SKF_AD_PKTTYPE)."""

PACKET_OTHERHOST = 3
"""Packet type of a unicast frame for somebody else (``linux/if_packet.h``)."""

Instruction = tuple[int, int, int, int]
"""(code, jump if true, jump if false, k)"""


def ethertype_program(ethertypes: Iterable[int], *, promiscuous: bool,
                      capture_bytes: int) -> list[Instruction]:
    """Pass frames of the given EtherTypes, cut to ``capture_bytes``; drop everything else.

    Unless ``promiscuous``, unicast frames for another address are dropped as well. A VLAN tag was already
    taken off when the filter runs, so tagged frames pass by their inner EtherType; `ring` counts and drops
    them.
    Raises ConfigError for no EtherType, more than 200, or a value that is a length (below 0x600).
    """
    wanted = list(dict.fromkeys(ethertypes))
    if not 0 < len(wanted) <= 200:
        raise ConfigError(f"{len(wanted)} EtherTypes to filter for", "give between 1 and 200")
    for value in wanted:
        if not 0x600 <= value <= 0xFFFF:
            raise ConfigError(f"0x{value:04x} is not an EtherType", "EtherTypes are 0x0600 to 0xffff")
    tail: list[Instruction] = [] if promiscuous else [
        (LD_W_ABS, 0, 0, SKF_AD_PKTTYPE),
        (JEQ_K, 1, 0, PACKET_OTHERHOST),
    ]
    tail += [(RET_K, 0, 0, capture_bytes), (RET_K, 0, 0, 0)]
    program: list[Instruction] = [(LD_H_ABS, 0, 0, 12)]
    for i, value in enumerate(wanted):
        after = len(wanted) - 1 - i
        # The last comparison falls through to acceptance, and jumps to the final RET 0 when it fails.
        program.append((JEQ_K, after, 0 if after else len(tail) - 1, value))
    return program + tail


def encode_program(program: list[Instruction]) -> bytes:
    """Instructions as the kernel's ``struct sock_filter`` array."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


DROP_ALL: list[Instruction] = [(RET_K, 0, 0, 0)]
"""Attached when a link closes: a mapping that is still in use keeps the socket alive, but no longer fed."""
