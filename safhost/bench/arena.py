"""Where the peers run: a Linux bridge with receivers that have a network stack of their own.

Each receiver is a veth port of one bridge, as a card of ``lab up --topology bridge`` is; its other end lies in
a network namespace of its own, because a multicast program needs its own routes and its own UDP port. All of
it belongs to the process that made it and vanishes with it; addresses are 10.77.0.0/16 and reach nobody.

Imports no numpy, and starts no thread: namespaces are changed for the whole process, children are started in
between.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from safhost.errors import LinkError
from safhost.link import netns

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_BRIDGE = "peerbr0"
SENDER_INTERFACE = "peer0"
RECEIVER_INTERFACE = "peer1"
SENDER_ADDRESS = "10.77.0.1"
_PREFIX = 16
_BROADCAST = "10.77.255.255"
MAX_RECEIVERS = 254
_libc = ctypes.CDLL(None, use_errno=True)


def receiver_address(number: int) -> str:
    """Address of receiver 1 to 254."""
    return f"10.77.1.{number}"


class Arena:
    """``receivers`` ports of a bridge. Make it in a network namespace of one's own (`netns.netns_command`).

    Raises LinkError when the kernel refuses, or pyroute2 is missing.
    """

    def __init__(self, receivers: int, mtu: int) -> None:
        if not 1 <= receivers <= MAX_RECEIVERS:
            raise LinkError(f"{receivers} receivers are not possible", f"use 1 to {MAX_RECEIVERS}")
        self.receivers = receivers
        self.mtu = mtu
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._spaces: list[int] = []
        netns.create_bridge(_BRIDGE, mtu=mtu)
        self._add_port(SENDER_INTERFACE, "peer0p", None)
        _configure(SENDER_INTERFACE, SENDER_ADDRESS)
        for number in range(1, receivers + 1):
            self._spaces.append(self._make_space())
            self._add_port(RECEIVER_INTERFACE, f"peer1p{number}", self._spaces[-1])
            with self.inside(number):
                netns.set_up("lo")
                _configure(RECEIVER_INTERFACE, receiver_address(number))

    def _make_space(self) -> int:
        """A new network namespace, kept by its descriptor alone."""
        if _libc.unshare(_CLONE_NEWNET) != 0:
            raise LinkError(f"no namespace for a receiver: {os.strerror(ctypes.get_errno())}",
                            "raise user.max_net_namespaces")
        space = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for scope in ("all", "default"):
            with contextlib.suppress(OSError):  # no such file where the kernel has no IPv6
                Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
        _enter(self._home)
        return space

    def _add_port(self, name: str, port: str, space: int | None) -> None:
        """A veth whose far end ``port`` is on the bridge; ``name`` goes to ``space`` when one is given."""
        with _route(f"create {name}") as route:
            route.link("add", ifname=port, kind="veth", mtu=self.mtu,
                       peer={"ifname": name, "mtu": self.mtu} | ({} if space is None else {"net_ns_fd": space}))
            route.link("set", index=route.link_lookup(ifname=port)[0], state="up",
                       master=route.link_lookup(ifname=_BRIDGE)[0])

    @contextlib.contextmanager
    def inside(self, number: int) -> Iterator[None]:
        """Run the block, and start what it starts, in the namespace of receiver ``number`` (from 1)."""
        _enter(self._spaces[number - 1])
        try:
            yield
        finally:
            _enter(self._home)

    def start(self, number: int, command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start ``command`` at receiver ``number``, or at the sender for 0; it dies with this process."""
        place = self.inside(number) if number else contextlib.nullcontext()
        with place:
            return subprocess.Popen(list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    preexec_fn=die_with_parent)  # noqa: PLW1509  # no thread here, see above

    def close(self) -> None:
        """Let go of the namespaces; their interfaces go with the last process in them."""
        for space in self._spaces:
            os.close(space)
        self._spaces.clear()
        netns.delete(_BRIDGE)
        os.close(self._home)


def end(process: subprocess.Popen[Any], grace_s: float = 2.0) -> None:
    """Stop a process we started and reap it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def die_with_parent() -> None:
    """In a child before exec: be killed when the parent ends, however it ends (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _enter(space: int) -> None:
    if _libc.setns(space, _CLONE_NEWNET) != 0:
        raise LinkError(f"cannot change the network namespace: {os.strerror(ctypes.get_errno())}",
                        "run as root, or allow user namespaces")


def _configure(name: str, address: str) -> None:
    """Address, multicast route, up. ARP stays on: receivers answer the sender by unicast."""
    with _route(f"configure {name}") as route:
        index = route.link_lookup(ifname=name)[0]
        route.addr("add", index=index, address=address, prefixlen=_PREFIX, broadcast=_BROADCAST)
        route.link("set", index=index, state="up")
        route.route("add", dst="224.0.0.0/4", oif=index)


@contextlib.contextmanager
def _route(what: str) -> Iterator[Any]:
    try:
        from pyroute2 import IPRoute, NetlinkError
    except ImportError as err:
        raise LinkError(f"cannot {what}: pyroute2 is not installed", "pip install 'safhost[lab]'") from err
    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as err:
        raise LinkError(f"cannot {what}: {os.strerror(err.code)}", "see dmesg") from err
