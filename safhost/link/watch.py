"""Interface events from the kernel, for the event loop: came, went, up, down, changed.

A raw socket on an interface that was deleted stays deaf for ever, even when one of the same name is made
again; so the owner of a link watches here and calls ``rebind()``.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from safhost.errors import LinkError
from safhost.link import netlink
from safhost.link.netlink import LinkMessage
from safhost.units import Mac


class LinkChange(enum.Enum):
    """What happened to an interface."""

    APPEARED = "appeared"
    UP = "up"
    DOWN = "down"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """One change. ``is_running``: up and with carrier. CHANGED means another MAC address or MTU."""

    change: LinkChange
    name: str
    index: int
    mac: Mac
    mtu: int
    is_running: bool


class LinkTable:
    """Known interfaces by index; turns kernel messages into events. No socket in here."""

    def __init__(self) -> None:
        self._known: dict[int, LinkMessage] = {}

    def apply(self, message: LinkMessage) -> list[LinkEvent]:
        """Events that one message means; a rename is the old name REMOVED and the new one APPEARED."""
        old = self._known.get(message.index)
        if message.removed:
            if old is None:
                return []
            del self._known[message.index]
            return _went(old)
        self._known[message.index] = message
        if old is None or old.name != message.name:
            events = [] if old is None else _went(old)
            events.append(_event(LinkChange.APPEARED, message))
            if message.is_running:
                events.append(_event(LinkChange.UP, message))
            return events
        events = []
        if (old.mac, old.mtu) != (message.mac, message.mtu):
            events.append(_event(LinkChange.CHANGED, message))
        if old.is_running != message.is_running:
            events.append(_event(LinkChange.UP if message.is_running else LinkChange.DOWN, message))
        return events

    def replace(self, messages: list[LinkMessage]) -> list[LinkEvent]:
        """Events between what was known and a whole new listing."""
        present = {m.index for m in messages}
        events = [e for index in sorted(self._known.keys() - present) for e in _went(self._known.pop(index))]
        for message in messages:
            events += self.apply(message)
        return events


class LinkWatcher:
    """Subscribes to interface changes of this network namespace.

    Interfaces that exist at the start are known and give no event. Raises LinkError without netlink.
    """

    def __init__(self) -> None:
        self._table = LinkTable()
        # Subscribed before the listing, so that nothing falls between; what is seen twice gives no event.
        self._sock = netlink.open_socket(netlink.RTMGRP_LINK)
        self._sock.setblocking(False)
        self._table.replace(netlink.query_links())

    def fileno(self) -> int:
        """Readable when events may wait."""
        return self._sock.fileno()

    def read(self) -> list[LinkEvent]:
        """All events that wait, oldest first; never blocks."""
        events: list[LinkEvent] = []
        while True:
            try:
                data = self._sock.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return events
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise
                # The kernel had more to tell than fits: start over from a whole listing.
                events += self._table.replace(netlink.query_links())
                continue
            for kind, _sequence, body in netlink.iterate_messages(data):
                message = netlink.decode_link(kind, body)
                if message is not None:
                    events += self._table.apply(message)

    def close(self) -> None:
        self._sock.close()


def wait_for_carrier(names: Sequence[str], *, present: bool = True, timeout_s: float = 5.0) -> None:
    """Block until all the interfaces are running (or, with ``present=False``, none is).

    An interface that was just set up loses frames without an error until the kernel, a moment later, has
    seen the carrier and put its queue in place. Raises LinkError after ``timeout_s`` seconds. For programs that
    make interfaces; an event loop reads a `LinkWatcher` instead.
    """
    deadline_s = time.monotonic() + timeout_s
    with netlink.open_socket(netlink.RTMGRP_LINK) as sock:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while True:
            waiting = [n for n in names if any(m.is_running for m in netlink.query_links(n)) != present]
            if not waiting:
                return
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise LinkError(f"{', '.join(waiting)}: carrier did not {'come' if present else 'go'} "
                                f"within {timeout_s:g} s", "set both ends up: ip link")
            # Woken by any change; looks again twice a second even if the kernel could not tell of one.
            if poll.poll(min(left_s, 0.5) * 1000):
                with contextlib.suppress(OSError):
                    sock.recv(1 << 18, socket.MSG_DONTWAIT)


def _went(old: LinkMessage) -> list[LinkEvent]:
    down = LinkEvent(LinkChange.DOWN, old.name, old.index, old.mac, old.mtu, False)
    removed = LinkEvent(LinkChange.REMOVED, old.name, old.index, old.mac, old.mtu, False)
    return [down, removed] if old.is_running else [removed]


def _event(change: LinkChange, message: LinkMessage) -> LinkEvent:
    return LinkEvent(change, message.name, message.index, message.mac, message.mtu, message.is_running)
