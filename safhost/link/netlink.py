"""The little of rtnetlink that links need: ask for interfaces, read what the kernel reports.

The answers are about the network namespace of the socket, which /sys/class/net is not when a namespace was
entered without mounting sysfs anew. Formats and numbers: Linux ``linux/netlink.h``, ``linux/rtnetlink.h``,
``linux/if_link.h`` (all host byte order).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from safhost.errors import LinkError
from safhost.units import Mac

NETLINK_ROUTE = 0
RTMGRP_LINK = 1
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO = 1, 3, 4, 18
IFLA_INFO_KIND = 1
ARPHRD_ETHER = 1
IFF_UP, IFF_LOOPBACK, IFF_RUNNING = 0x1, 0x8, 0x40

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_IFINFO = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_RECEIVE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class LinkMessage:
    """One RTM_NEWLINK or RTM_DELLINK (``removed``) about an interface."""

    removed: bool
    index: int
    name: str
    device_type: int
    flags: int
    mac: Mac
    mtu: int
    kind: str

    @property
    def is_up(self) -> bool:
        """Set up by the administrator."""
        return bool(self.flags & IFF_UP)

    @property
    def is_running(self) -> bool:
        """Up and with carrier: frames can pass."""
        return self.flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


def open_socket(groups: int = 0) -> socket.socket:
    """A NETLINK_ROUTE socket in this thread's namespace. Raises LinkError when the kernel refuses."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        sock.bind((0, groups))
    except OSError as err:
        raise LinkError(f"netlink is not available: {err.strerror}",
                        "allow AF_NETLINK (RestrictAddressFamilies= in a systemd unit)") from err
    return sock


def encode_request(sequence: int, name: str | None = None) -> bytes:
    """RTM_GETLINK for one interface by name, or for all."""
    attributes = b""
    if name is not None:
        value = name.encode() + b"\0"
        attributes = _ATTRIBUTE.pack(4 + len(value), IFLA_IFNAME) + value + b"\0" * (-len(value) % 4)
    flags = NLM_F_REQUEST if name is not None else NLM_F_REQUEST | NLM_F_DUMP
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attributes
    return _HEADER.pack(_HEADER.size + len(body), RTM_GETLINK, flags, sequence, 0) + body


def iterate_messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, body) of each message in one datagram."""
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind, _flags, sequence, _port = _HEADER.unpack_from(data, position)
        if length < _HEADER.size:
            return
        yield kind, sequence, data[position + _HEADER.size:position + length]
        position += length + -length % 4


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[position + _ATTRIBUTE.size:position + length]
        position += length + -length % 4


def decode_link(kind: int, body: bytes) -> LinkMessage | None:
    """The message if it is about an interface as such, else None.

    The bridge sends RTM_NEWLINK and RTM_DELLINK of its own family about its ports: those say that a port
    joined or left, not that an interface came or went.
    """
    if kind not in (RTM_NEWLINK, RTM_DELLINK) or len(body) < _IFINFO.size:
        return None
    family, device_type, index, flags, _change = _IFINFO.unpack_from(body)
    if family != socket.AF_UNSPEC:
        return None
    values = dict(_attributes(body[_IFINFO.size:]))
    info = dict(_attributes(values.get(IFLA_LINKINFO, b"")))
    address = values.get(IFLA_ADDRESS, b"")
    return LinkMessage(
        removed=kind == RTM_DELLINK,
        index=index,
        name=_text(values.get(IFLA_IFNAME, b"")),
        device_type=device_type,
        flags=flags,
        mac=Mac.from_bytes(address) if len(address) == 6 else Mac(0),
        mtu=int.from_bytes(values.get(IFLA_MTU, b"")[:4], "little" if _LITTLE else "big"),
        kind=_text(info.get(IFLA_INFO_KIND, b"")),
    )


def query_links(name: str | None = None) -> list[LinkMessage]:
    """Interfaces of this namespace, or the named one (empty list when there is none). Sends no frame.

    Raises LinkError when the kernel answers with an error.
    """
    found: list[LinkMessage] = []
    with open_socket() as sock:
        sock.send(encode_request(1, name))
        while True:
            for kind, _sequence, body in iterate_messages(sock.recv(_RECEIVE_BYTES)):
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    if name is not None:
                        return []  # ENODEV, or ENAMETOOLONG/EINVAL for what cannot be a name
                    raise LinkError(f"the kernel does not list interfaces: {os.strerror(code)}",
                                    "look into the system log")
                message = decode_link(kind, body)
                if message is not None:
                    found.append(message)
                    if name is not None:
                        return found


_LITTLE = struct.pack("=H", 1)[0] == 1


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode(errors="replace")
