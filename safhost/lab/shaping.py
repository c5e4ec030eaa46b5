"""A link rate for the lab: a token bucket (tbf) on the interfaces that carry the host's traffic.

The kernel's bucket counts what a frame takes on a real wire: its bytes as the kernel sees them, and
`WIRE_OVERHEAD_BYTES` for what the kernel does not see. A sender is held back by its socket buffer: the queue is
larger than any socket buffer lets wait, so that nothing is lost in it. Measured over a veth at 0.1, 1 and 10 Gbit/s
with frames of 64, 1514 and 9014 bytes: no loss, and the rate reached to 5 % by a sender that only fills its socket.

The requests are written by hand: pyroute2's tbf has no place for the overhead of a frame, nor for rates past
2^32 bytes a second.
"""

from __future__ import annotations

import os
import socket
import struct

from safhost.errors import ConfigError, LinkError
from safhost.link.netlink import NLM_F_REQUEST, NLMSG_ERROR, iterate_messages, open_socket

WIRE_OVERHEAD_BYTES = 24
"""Preamble and start delimiter 8, frame check sequence 4, smallest gap 12 (IEEE 802.3-2018 3.1.1, 4.4.2)."""

MIN_RATE_BYTES_S = 125_000
"""1 Mbit/s: below it a single full frame takes longer than the protocol's first retry (20 ms)."""

MAX_RATE_BYTES_S = 50_000_000_000
"""400 Gbit/s, the fastest Ethernet that cards of this kind see; no virtual port comes near."""

QUEUE_BYTES = 256 << 20
"""More than the socket buffers of the host and of all cards that answer it at once can hold."""

BURST_S = 0.001
"""What may pass at once after silence: as much as the kernel's timers (50 µs of slack) and a busy CPU may be late."""

MIN_BURST_BYTES = 64 << 10
"""Seven frames of the largest MTU: a bucket smaller than a frame passes nothing."""

# linux/rtnetlink.h, linux/pkt_sched.h, linux/netlink.h
_RTM_NEWQDISC = 36
_NLM_F_ACK, _NLM_F_REPLACE, _NLM_F_CREATE = 0x4, 0x100, 0x400
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_TC_LINKLAYER_ETHERNET = 1
_TC_H_ROOT, _HANDLE = 0xFFFFFFFF, 0x1_0000
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_TCMSG = struct.Struct("=BxxxiIII")  # family, interface, handle, parent, info
_RATE = struct.Struct("=BBHhHI")  # cell log, link layer, overhead, cell align, mpu, rate
_TBF = struct.Struct("=12s12sIII")  # rate, peak rate, limit, buffer (ticks; replaced by TCA_TBF_BURST), mtu


def check_rate(rate_bytes_s: int) -> None:
    """Raises ConfigError for a link rate that a lab cannot have; 0 is none."""
    if rate_bytes_s and not MIN_RATE_BYTES_S <= rate_bytes_s <= MAX_RATE_BYTES_S:
        raise ConfigError(f"a link rate of {rate_bytes_s} bytes a second is not possible",
                          "give 1Mbit to 400Gbit, as 1Gbit, or leave it out for as fast as this machine")


def burst_bytes(rate_bytes_s: int) -> int:
    """Size of the bucket for a rate."""
    return max(MIN_BURST_BYTES, round(rate_bytes_s * BURST_S))


def limit_rate(interface: str, rate_bytes_s: int) -> None:
    """Let no more than ``rate_bytes_s`` (on the wire) leave ``interface`` of this network namespace.

    Raises ConfigError for an impossible rate, LinkError when there is no such interface or the kernel refuses.
    """
    check_rate(rate_bytes_s)
    if not rate_bytes_s:
        raise ConfigError("a link rate of 0", "to have no limit, set none")
    try:
        index = socket.if_nametoindex(interface)
    except OSError as err:
        raise LinkError(f"there is no interface {interface!r}", "list them with: ip link") from err
    with open_socket() as sock:
        sock.send(encode_tbf(index, rate_bytes_s, burst_bytes(rate_bytes_s), QUEUE_BYTES))
        for kind, _sequence, body in iterate_messages(sock.recv(1 << 16)):
            code = -struct.unpack_from("=i", body)[0] if kind == NLMSG_ERROR else 0
            if code:
                raise LinkError(f"the kernel does not limit the rate of {interface}: {os.strerror(code)}",
                                "it needs CONFIG_NET_SCH_TBF (modprobe sch_tbf), and root in this namespace")


def encode_tbf(index: int, rate_bytes_s: int, burst: int, limit_bytes: int) -> bytes:
    """RTM_NEWQDISC with a tbf as the root of interface ``index`` (replaces an earlier one)."""
    rate = _RATE.pack(0, _TC_LINKLAYER_ETHERNET, WIRE_OVERHEAD_BYTES, 0, 0, min(rate_bytes_s, 0xFFFFFFFF))
    parameters = _TBF.pack(rate, bytes(12), limit_bytes, 0, 0)
    options = (_attribute(_TCA_TBF_PARMS, parameters) + _attribute(_TCA_TBF_RATE64, struct.pack("=Q", rate_bytes_s))
               + _attribute(_TCA_TBF_BURST, struct.pack("=I", burst)))
    body = (_TCMSG.pack(socket.AF_UNSPEC, index, _HANDLE, _TC_H_ROOT, 0) + _attribute(_TCA_KIND, b"tbf\0")
            + _attribute(_TCA_OPTIONS, options))
    flags = NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_REPLACE
    return _HEADER.pack(_HEADER.size + len(body), _RTM_NEWQDISC, flags, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
