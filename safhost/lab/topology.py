"""The lab's Ethernet, inside its network namespace: real interfaces for virtual cards.

``bridge``: each card has a veth of its own (``cN``), whose other end (``cNp``) is a port of the Linux bridge
``safbr0``, as on a switch; so has the host (``saf0``, other end ``saf0p``). ``chassis``: one veth from the
host (``saf0``) to an interface that carries all cards (``cards0``): thousands cost no interface each.

Addresses are fixed, so that a lab of the same size is the same lab: card N has serial ``VC`` and N in four
digits, MAC 02:5a:f0:00:HH:LL and second MAC 02:5a:f0:01:HH:LL with HHLL = N; the host has 02:5a:f0:ff:00:01.
All are locally administered (IEEE 802-2014 8.2.2).
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Iterable

from safhost.errors import ConfigError, DeadlineExceeded
from safhost.lab.shaping import limit_rate
from safhost.lab.state import HOST_INTERFACE
from safhost.link import netns
from safhost.link.netlink import query_links
from safhost.link.watch import LinkWatcher
from safhost.units import Mac

BRIDGE = "safbr0"
HOST_PORT = HOST_INTERFACE + "p"
CHASSIS_INTERFACE = "cards0"

_BASE = 0x025AF0_000000
HOST_MAC = Mac(_BASE | 0xFF0001)
CHASSIS_MAC = Mac(_BASE | 0xFF0002)
_HOST_PORT_MAC = Mac(_BASE | 0xFEFF01)
_BRIDGE_PORT_BASE = _BASE | 0xFE0000

_CARD_RANGE = re.compile(r"(?:c|vc)?\[?0*(\d+)(?:-0*(\d+))?\]?", re.IGNORECASE)


def card_serial(number: int) -> str:
    """``VC0001`` for card 1."""
    return f"VC{number:04d}"


def card_mac(number: int, channel: int = 0) -> Mac:
    """MAC of a card's Ethernet channel 0 or 1."""
    return Mac(_BASE | channel << 16 | number)


def card_number(mac: Mac) -> int | None:
    """The card that has this MAC on channel 0, None when it cannot be a card's."""
    number = mac.value ^ _BASE
    return number if 0 < number <= 0xFFFF else None


def card_interface(number: int) -> str:
    """Interface of a card on a bridge."""
    return f"c{number}"


def select_cards(patterns: Iterable[str], numbers: Iterable[int]) -> list[int]:
    """Card numbers meant by serials, MACs, interface names, numbers, ranges ``c[2-5]`` or ``all``.

    Raises ConfigError for one that is not among ``numbers``.
    """
    present = sorted(numbers)
    wanted: set[int] = set()
    for pattern in patterns:
        found = _match(pattern.strip(), present)
        missing = [n for n in found if n not in present]
        if missing or not found:
            raise ConfigError(f"there is no card {pattern!r} in this lab",
                              f"cards here: {card_serial(present[0])} to {card_serial(present[-1])}"
                              if present else "no card is here")
        wanted.update(found)
    return sorted(wanted)


def _match(pattern: str, present: list[int]) -> list[int]:
    if pattern.lower() == "all":
        return present
    if pattern.count(":") == 5:
        number = card_number(Mac.parse(pattern))
        return [] if number is None else [number]
    match = _CARD_RANGE.fullmatch(pattern)
    if not match:
        return []
    first, last = int(match[1]), int(match[2] or match[1])
    if last - first > 0xFFFF:
        return []
    return list(range(first, last + 1))


class BridgeTopology:
    """Host and cards as ports of one Linux bridge. Raises LinkError for what the kernel refuses."""

    def __init__(self, mtu: int) -> None:
        self.mtu = mtu
        netns.create_bridge(BRIDGE, mtu=mtu)
        netns.create_veth(HOST_INTERFACE, HOST_PORT, mtu=mtu, mac_a=HOST_MAC, mac_b=_HOST_PORT_MAC)
        netns.add_bridge_port(BRIDGE, HOST_PORT)

    def add_card(self, number: int) -> str:
        """A port for a new card; returns its interface, which is up."""
        name = card_interface(number)
        netns.create_veth(name, name + "p", mtu=self.mtu, mac_a=card_mac(number),
                          mac_b=Mac(_BRIDGE_PORT_BASE | number))
        netns.add_bridge_port(BRIDGE, name + "p")
        return name

    def pull(self, number: int) -> None:
        """Take a card's cable out: its interface goes down, and the bridge port loses its carrier."""
        netns.set_up(card_interface(number), is_up=False)

    def plug(self, number: int) -> None:
        """Put it back."""
        netns.set_up(card_interface(number))


class ChassisTopology:
    """All cards behind one interface. Pulling a card's cable is done by who dispatches its frames."""

    def __init__(self, mtu: int) -> None:
        self.mtu = mtu
        netns.create_veth(HOST_INTERFACE, CHASSIS_INTERFACE, mtu=mtu, mac_a=HOST_MAC, mac_b=CHASSIS_MAC)

    def add_card(self, _number: int) -> str:
        return CHASSIS_INTERFACE

    def pull(self, _number: int) -> None:
        """Nothing on the wire changes."""

    def plug(self, _number: int) -> None:
        """Nothing on the wire changes."""


def make_topology(kind: str, mtu: int, link_rate: int = 0) -> BridgeTopology | ChassisTopology:
    """Build the host's side of ``kind`` in the current network namespace.

    ``link_rate``: bytes per second that the host's port carries each way, 0 for no limit. Raises LinkError.
    """
    topology = BridgeTopology(mtu) if kind == "bridge" else ChassisTopology(mtu)
    if link_rate:
        # out of the host, and out of the other end towards it
        for name in (HOST_INTERFACE, HOST_PORT if kind == "bridge" else CHASSIS_INTERFACE):
            limit_rate(name, link_rate)
    return topology


def wait_running(watcher: LinkWatcher, names: Iterable[str], deadline_ns: int,
                 clock: Callable[[], int] = time.monotonic_ns) -> None:
    """Until all ``names`` are up with carrier: the kernel reports it later than it accepts "up".

    A bridge port forwards from then on. Raises DeadlineExceeded naming what is missing.
    """
    poll = select.poll()
    poll.register(watcher.fileno(), select.POLLIN)
    while True:
        missing = set(names) - {m.name for m in query_links() if m.is_running}
        if not missing:
            return
        left_ms = (deadline_ns - clock()) / 1e6
        if left_ms <= 0 or not poll.poll(left_ms):
            raise DeadlineExceeded(f"interfaces without carrier: {', '.join(sorted(missing))}",
                                   "see dmesg; is the machine overloaded?")
        watcher.read()
