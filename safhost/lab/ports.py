"""Virtual cards on real links: frames in, frames out, at the least cost a batch.

A batch of the ring goes to its card as it lies there; what the card answers is sent in the same call, so that
a command's round trip waits for nothing. What the link does not take at once waits in an `Outlet`, in order.
"""

from __future__ import annotations

import logging
import select
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safhost.lab.card import VirtualCard
from safhost.lab.card_types import ControlOut, DataOut, Output
from safhost.lab.loop import Alarm, Loop
from safhost.lab.topology import card_mac, card_number, card_serial
from safhost.link.base import LinkDown
from safhost.units import BROADCAST, Mac
from safhost.wire.codec import DataGroup, split_batch
from safhost.wire.generated import FLAG_LAST, DropReason, Opcode

if TYPE_CHECKING:
    from safhost.lab.roles import RoleBroker
    from safhost.lab.rtl_card import RtlCard
    from safhost.lab.wire import Wire
    from safhost.link.packet import PacketLink

_LOG = logging.getLogger(__name__)
Frames = NDArray[np.uint8]
SplitBatch = tuple[list[bytes], list[DataGroup], list[DropReason]]

BATCH_FRAMES = 512
"""Frames handled at once: enough to make the cost per batch small, few enough to answer others meanwhile."""

FEW_BYTES = 600_000
REST_S = 0.006
"""After a batch of so few blocks the loop rests, when more of the same object are to come: the cost of a batch hardly
depends on its size. What ends with an object's last block, or with a command, is dealt with at once, and who sent it
is not kept waiting; a ring holds what comes meanwhile, as cards ask for no more than `WINDOW_SHARE` of it."""

BACKLOG_MAX = 4096
"""Outputs (a control frame or a batch of blocks each) that wait for a full link before some are dropped."""

_DATA = int(Opcode.DATA)
_FLAGS_AT = 23
"""The low byte of a header's flags (codec.HEADER)."""

_MAC_MASK = np.uint64(int.from_bytes(b"\xff" * 6 + b"\0\0", "little"))
_BROADCAST_KEY = int.from_bytes(bytes(BROADCAST), "little")


def _more_to_come(frames: Frames) -> bool:
    """Whether a batch is of blocks, and ends before its object does."""
    return bool(frames[0, 15] == _DATA == frames[-1, 15] and not frames[-1, _FLAGS_AT] & FLAG_LAST)


class Outlet:
    """The sending side of one link. Sends at once while it can, keeps order, never blocks."""

    def __init__(self, link: PacketLink, loop: Loop) -> None:
        self._link = link
        self._loop = loop
        self._backlog: deque[Output] = deque()
        self.dropped_outputs = 0
        self.sent_control = 0

    @property
    def waiting(self) -> int:
        return len(self._backlog)

    def send(self, outputs: Iterable[Output]) -> None:
        """Send in order; what does not fit waits for the link to become writable."""
        if self._backlog:
            self._keep(outputs)
            return
        pending = deque(outputs)
        self._drain(pending)
        if pending:
            self._keep(pending)
            self._loop.modify(self._link.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def flush(self) -> None:
        """The link is writable again."""
        self._drain(self._backlog)
        if not self._backlog:
            self._loop.modify(self._link.fileno(), select.EPOLLIN)

    def clear(self) -> None:
        """The cable is out: what waited is gone."""
        if self._backlog:
            self.dropped_outputs += len(self._backlog)
            self._backlog.clear()
            self._loop.modify(self._link.fileno(), select.EPOLLIN)

    def _keep(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if len(self._backlog) >= BACKLOG_MAX:
                self.dropped_outputs += 1
                continue
            self._backlog.append(output)

    def _drain(self, pending: deque[Output]) -> None:
        try:
            while pending:
                output = pending[0]
                if isinstance(output, ControlOut):
                    if not self._link.send_frames((output.raw,)):
                        return
                    self.sent_control += 1
                else:
                    taken = self._link.send_blocks(output.headers, output.payload, output.offsets,
                                                   output.block_bytes, output.last_bytes)
                    if taken < len(output.headers):
                        pending[0] = DataOut(output.headers[taken:], output.payload, output.offsets[taken:],
                                             output.block_bytes, output.last_bytes)
                        return
                pending.popleft()
        except LinkDown:
            self.dropped_outputs += len(pending)
            pending.clear()


class CardSlot:
    """One card in the lab: the model, its place on the wire, its next wake-up."""

    def __init__(self, number: int, card: VirtualCard | RtlCard, loop: Loop, roles: RoleBroker, wire: Wire) -> None:
        self.number = number
        self.serial = card_serial(number)
        self.mac: Mac = card_mac(number)
        self.card = card
        self.plugged = False
        self.is_plain = card.config.profile == "paper" or card.kind == "rtl"  # takes frames as they are
        self.wire = wire
        self._loop = loop
        self._roles = roles
        self._alarm = Alarm(self._on_alarm)
        self.send: Callable[[Iterable[Output]], None] = _nowhere

    def power(self, now_ns: int) -> None:
        """Plug the cable in."""
        if not self.plugged:
            self.plugged = True
            self.card.link_up(now_ns)
            self.settle(now_ns)

    def cut(self, now_ns: int) -> None:
        """Pull the cable out."""
        if self.plugged:
            self.plugged = False
            self.wire.clear()
            self.card.link_down(now_ns)
            self.settle(now_ns)

    def wake(self, now_ns: int) -> None:
        """Let the card act on what somebody changed in it."""
        self.card.tick(now_ns)
        self.settle(now_ns)

    def receive(self, frames: Frames, lengths: NDArray[Any], now_ns: int) -> None:
        """Frames from the link, destined for this card (or for all)."""
        if self.wire.active:
            frames, lengths = self.wire.inbound(frames, lengths, now_ns)
        if len(lengths):
            self.card.handle_batch(frames, lengths, now_ns)
        self.settle(now_ns)

    def receive_shared(self, batch: SplitBatch, now_ns: int) -> None:
        """As `receive`, of frames that were split once for many cards; not through an impaired wire."""
        controls, groups, drops = batch
        card = self.card
        assert isinstance(card, VirtualCard)
        for reason in drops:
            card.count_drops(reason, 1)
        for group in groups:
            card.handle_data(group, now_ns)
        for raw in controls:
            card.handle_control(raw, now_ns)
        self.settle(now_ns)

    def settle(self, now_ns: int) -> None:
        """Send what the card has to say, start what it wants run, note when it wants to be woken."""
        card = self.card
        outputs = card.take_output()
        if outputs and self.plugged:
            if self.wire.active:
                outputs = self.wire.outbound(outputs, now_ns)
            self.send(outputs)
        self._roles.collect(self, now_ns)
        due = card.next_wakeup_ns()
        if self.wire.active:
            due = _earlier(due, self.wire.next_wakeup_ns())
        if due != self._alarm.due_ns:
            self._loop.set_alarm(self._alarm, due)

    def _on_alarm(self, now_ns: int) -> None:
        if self.wire.active and self.plugged:
            late = self.wire.take_late(now_ns)
            for frames, lengths in late.inbound:
                self.card.handle_batch(frames, lengths, now_ns)
            if late.outbound:
                self.send(late.outbound)
        self.card.tick(now_ns)
        self.settle(now_ns)


def _nowhere(_outputs: Iterable[Output]) -> None:
    """A card that no port carries has nobody to talk to."""


def _earlier(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


class _Port(ABC):
    """A link in the loop."""

    def __init__(self, link: PacketLink, loop: Loop) -> None:
        self.link = link
        self.outlet = Outlet(link, loop)
        self._loop = loop
        loop.add(link.fileno(), select.EPOLLIN, self._on_event)

    def _on_event(self, mask: int, now_ns: int) -> None:
        if mask & select.EPOLLOUT:
            self.outlet.flush()
        if mask & ~select.EPOLLOUT:
            batch = self.link.receive(BATCH_FRAMES)
            if batch is not None:
                if _more_to_come(batch.frames) and len(batch) * batch.lengths.item(0) < FEW_BYTES:
                    self._loop.rest(REST_S)
                try:
                    self._deliver(batch.frames, batch.lengths, now_ns)
                finally:
                    batch.release()

    @abstractmethod
    def _deliver(self, frames: Frames, lengths: NDArray[Any], now_ns: int) -> None:
        """Hand frames that lie in the ring to the card or cards they are for."""

    def rebind(self) -> None:
        """The interface is up again."""
        before = self.link.fileno()
        self._loop.remove(before)
        self.link.rebind()
        self._loop.add(self.link.fileno(), select.EPOLLIN, self._on_event)

    def close(self) -> None:
        self._loop.remove(self.link.fileno())
        self.link.close()


class CardPort(_Port):
    """One card on an interface of its own."""

    def __init__(self, link: PacketLink, loop: Loop, slot: CardSlot) -> None:
        self.slot = slot
        super().__init__(link, loop)
        slot.send = self.outlet.send

    def _deliver(self, frames: Frames, lengths: NDArray[Any], now_ns: int) -> None:
        if self.slot.plugged:
            self.slot.receive(frames, lengths, now_ns)


class ChassisPort(_Port):
    """Many cards behind one promiscuous interface: dispatch by destination MAC, broadcast to all."""

    def __init__(self, link: PacketLink, loop: Loop) -> None:
        self._slots: dict[int, CardSlot] = {}
        self.foreign_frames = 0
        super().__init__(link, loop)

    def add(self, slot: CardSlot) -> None:
        self._slots[slot.number] = slot
        slot.send = self.outlet.send

    def _deliver(self, frames: Frames, lengths: NDArray[Any], now_ns: int) -> None:
        count = len(lengths)
        if count == 1:
            self._hand_over(int.from_bytes(frames[0, :6].tobytes(), "little"), frames, lengths, now_ns)
            return
        keys = frames[:, 0:8].view(np.uint64)[:, 0] & _MAC_MASK
        # Runs of one destination keep the order in which each card sees its frames, broadcast among unicast.
        starts = np.flatnonzero(keys[1:] != keys[:-1]) + 1
        edges = [0, *starts.tolist(), count]
        for i in range(len(edges) - 1):
            first, last = edges[i], edges[i + 1]
            self._hand_over(int(keys[first]), frames[first:last], lengths[first:last], now_ns)

    def _hand_over(self, key: int, frames: Frames, lengths: NDArray[Any], now_ns: int) -> None:
        if key == _BROADCAST_KEY:
            shared: SplitBatch | None = None
            for slot in self._slots.values():
                if not slot.plugged:
                    continue
                if slot.wire.active or slot.is_plain:
                    slot.receive(frames, lengths, now_ns)
                    continue
                if shared is None:
                    shared = split_batch(frames, lengths)
                slot.receive_shared(shared, now_ns)
            return
        number = card_number(Mac.from_bytes(key.to_bytes(6, "little")))
        found = self._slots.get(number) if number is not None else None
        if found is None:
            self.foreign_frames += len(lengths)
        elif found.plugged:
            found.receive(frames, lengths, now_ns)
