"""Which Ethernet interfaces there are, without sending anything on any of them."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from dataclasses import dataclass

from safhost.errors import LinkError
from safhost.link import netlink
from safhost.link.base import LinkDown
from safhost.units import Mac

_SIOCETHTOOL = 0x8946
_ETHTOOL_GSET = 0x1
_ETHTOOL_CMD_BYTES = 44
_SPEED_LOW_OFFSET, _SPEED_HIGH_OFFSET = 12, 28
_SPEED_UNKNOWN = (0, 0xFFFF, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Interface:
    """One Ethernet interface. ``kind`` is the driver's kind (``veth``, ``bridge``, empty for hardware)."""

    name: str
    index: int
    mac: Mac
    mtu: int
    is_up: bool
    has_carrier: bool
    kind: str
    speed_mbps: int | None


def list_interfaces() -> list[Interface]:
    """All Ethernet interfaces of this network namespace in the order of their index, loopback left out."""
    found = [m for m in netlink.query_links()
             if m.device_type == netlink.ARPHRD_ETHER and not m.flags & netlink.IFF_LOOPBACK]
    return [_interface(m) for m in sorted(found, key=lambda m: m.index)]


def find_interface(name: str) -> Interface:
    """The named Ethernet interface; raises LinkError that lists the candidates, or says why it is unfit."""
    found = netlink.query_links(name)
    if not found:
        raise LinkError(f"there is no interface {name!r}", candidates_hint())
    if found[0].device_type != netlink.ARPHRD_ETHER or found[0].flags & netlink.IFF_LOOPBACK:
        raise LinkError(f"{name} is not an Ethernet interface", candidates_hint())
    return _interface(found[0])


def find_usable_interface(name: str) -> Interface:
    """As `find_interface`, and raises LinkDown when it is not set up."""
    interface = find_interface(name)
    if not interface.is_up:
        raise LinkDown(f"interface {name} is down", f"ip link set {name} up")
    return interface


def candidates_hint() -> str:
    """One line naming the interfaces that could be meant."""
    names = [i.name + ("" if i.is_up else " (down)") for i in list_interfaces()]
    return f"interfaces here: {', '.join(names)}" if names else "there is no Ethernet interface here at all"


def _interface(message: netlink.LinkMessage) -> Interface:
    return Interface(name=message.name, index=message.index, mac=message.mac, mtu=message.mtu,
                     is_up=message.is_up, has_carrier=message.is_running, kind=message.kind,
                     speed_mbps=read_speed_mbps(message.name))


def read_speed_mbps(name: str) -> int | None:
    """Speed in Mbit/s as the driver reports it (``ethtool``), None when it does not know.

    Source: Linux ``linux/ethtool.h``, ``struct ethtool_cmd``; this old call needs no privilege and every
    kernel still answers it.
    """
    command = bytearray(_ETHTOOL_CMD_BYTES)
    struct.pack_into("=I", command, 0, _ETHTOOL_GSET)
    buffer = (ctypes.c_char * len(command)).from_buffer(command)
    request = struct.pack("16sP16x", name.encode()[:15], ctypes.addressof(buffer))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock.fileno(), _SIOCETHTOOL, request)
        except OSError:
            return None  # no such operation in this driver, or no carrier: unknown, not an error
    low = struct.unpack_from("=H", command, _SPEED_LOW_OFFSET)[0]
    high = struct.unpack_from("=H", command, _SPEED_HIGH_OFFSET)[0]
    speed = high << 16 | low
    return None if speed in _SPEED_UNKNOWN else speed
