"""A network namespace of one's own, and virtual Ethernet in it: for the lab, benchmarks and tests.

Works as root (network namespace) and unprivileged (user and network namespace). Imports no numpy: its thread
pool would make a user namespace impossible to enter (unshare(2), EINVAL). Commands of others are run in a
fresh namespace through ``python -m safhost.link.netns COMMAND …``, see `netns_command`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safhost.errors import LinkError, SafError
from safhost.link.watch import wait_for_carrier
from safhost.units import Mac

# linux/sched.h, linux/sockios.h, linux/if.h
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_IFREQ = struct.Struct("16sH22x")

_USERNS_HINT = ("run as root, or allow them: sysctl kernel.apparmor_restrict_unprivileged_userns=0 "
                "(Ubuntu 24.04 and later), sysctl user.max_user_namespaces=15000 where it is 0")


def enter_private_netns() -> None:
    """Move this thread, and whatever it starts from now on, into a fresh network namespace with ``lo`` up.

    Root gets a network namespace alone; anybody else a user namespace as well, in which they are root. Call
    it before any thread is started. IPv6 is switched off in there, so that the kernel sends nothing by
    itself.
    Raises LinkError when the kernel does not allow it.
    """
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if uid != 0 or libc.unshare(_CLONE_NEWNET) != 0:
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            if code == errno.EINVAL:
                raise LinkError("a process with threads cannot enter a user namespace",
                                "enter it first, before numpy is imported or threads are started")
            raise LinkError(f"no namespace of our own: {os.strerror(code)}", _USERNS_HINT)
        try:
            # One identity only may be mapped without privileges, and only once setgroups is denied.
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        except OSError as err:
            raise LinkError(f"cannot become root of our own namespace: {err.strerror}", _USERNS_HINT) from err
    try:
        for scope in ("all", "default"):
            _disable_ipv6(scope)
        set_up("lo")
    except LinkError as err:
        raise LinkError(f"no rights in our own namespace: {err.message}", _USERNS_HINT) from err


def netns_command(argv: Sequence[str]) -> list[str]:
    """``argv`` prefixed so that it runs in a fresh namespace, as the same process id."""
    return [sys.executable, "-m", "safhost.link.netns", *argv]


def set_up(name: str, *, is_up: bool = True, arp: bool = True) -> None:
    """Set an interface up or down; ``arp=False`` also keeps the kernel from ARP on it. Raises LinkError."""
    encoded = name.encode()
    if not 0 < len(encoded) < 16:
        raise LinkError(f"{name!r} cannot be an interface name", "use 1 to 15 bytes")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            reply = fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, _IFREQ.pack(encoded, 0))
            flags = _IFREQ.unpack(reply)[1]
            flags = flags | _IFF_UP if is_up else flags & ~_IFF_UP
            if not arp:
                flags |= _IFF_NOARP
            fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, _IFREQ.pack(encoded, flags))
        except OSError as err:
            raise LinkError(f"cannot set {name} {'up' if is_up else 'down'}: {err.strerror}",
                            "check the name, and that you are root in this network namespace") from err


def create_veth(a: str, b: str, *, mtu: int = 1500, mac_a: Mac | None = None,
                mac_b: Mac | None = None) -> None:
    """A pair of virtual Ethernet ports, up, with carrier, silent (no ARP, no IPv6). Raises LinkError."""
    peer: dict[str, Any] = {"ifname": b, "mtu": mtu}
    options: dict[str, Any] = {"ifname": a, "kind": "veth", "mtu": mtu, "peer": peer}
    if mac_a is not None:
        options["address"] = str(mac_a)
    if mac_b is not None:
        peer["address"] = str(mac_b)
    with _rtnetlink(f"create {a} and {b}") as route:
        route.link("add", **options)
    for name in (a, b):
        _make_silent(name)
    wait_for_carrier([a, b])


def create_bridge(name: str, *, mtu: int = 1500) -> None:
    """A bridge that forwards at once (no spanning tree, no snooping), silent, up. Raises LinkError."""
    with _rtnetlink(f"create bridge {name}") as route:
        route.link("add", ifname=name, kind="bridge", mtu=mtu, br_stp_state=0, br_forward_delay=0,
                   br_mcast_snooping=0)
    _make_silent(name)


def add_bridge_port(bridge: str, port: str) -> None:
    """Make ``port`` a port of ``bridge``. Raises LinkError."""
    with _rtnetlink(f"add {port} to {bridge}") as route:
        route.link("set", index=_index(port), master=_index(bridge))


def set_mtu(name: str, mtu: int) -> None:
    """Change an interface's MTU. Raises LinkError."""
    with _rtnetlink(f"set the MTU of {name}") as route:
        route.link("set", index=_index(name), mtu=mtu)


def delete(name: str) -> None:
    """Delete a virtual interface (of a veth pair both ends go). Raises LinkError."""
    with _rtnetlink(f"delete {name}") as route:
        route.link("del", index=_index(name))


def _make_silent(name: str) -> None:
    _disable_ipv6(name)
    set_up(name, arp=False)


def _disable_ipv6(scope: str) -> None:
    # A kernel without IPv6 has no such file; where /proc/sys is read-only our filters keep the noise out.
    with contextlib.suppress(OSError):
        Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as err:
        raise LinkError(f"there is no interface {name!r}", "list them with: ip link") from err


@contextlib.contextmanager
def _rtnetlink(what: str) -> Iterator[Any]:
    try:
        from pyroute2 import IPRoute, NetlinkError
    except ImportError as err:
        raise LinkError(f"cannot {what}: pyroute2 is not installed", "pip install 'safhost[lab]'") from err
    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as err:
        raise LinkError(f"cannot {what}: {os.strerror(err.code)}",
                        "check the names, and that you are root in this network namespace") from err


def _main(argv: list[str]) -> int:
    if not argv:
        sys.stderr.write("usage: python -m safhost.link.netns COMMAND [ARGUMENT …]\n")
        return 2
    try:
        enter_private_netns()
        os.execvp(argv[0], argv)
    except SafError as err:
        sys.stderr.write(f"{err}\n")
        return err.exit_code
    except OSError as err:
        sys.stderr.write(f"cannot run {argv[0]}: {err.strerror}\n")
        return 127


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
