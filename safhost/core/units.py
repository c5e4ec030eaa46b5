"""Work units: inputs to a card's DDR, kernel, outputs back; on another card when one is lost.

A unit is one user request; an Attempt is one try of it on one card. An attempt whose card went silent is
abandoned and its unit queued again; its DDR is given back only when its command is known to have ended, because
a kernel nobody waits for any more may still write there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from safhost.core import card as st
from safhost.core import member as m_
from safhost.core.actions import RequestEnded
from safhost.core.bulk import Transfer
from safhost.core.card import Card
from safhost.core.commands import RunCommand
from safhost.core.events import Bytes, StartUnit
from safhost.core.member import Member
from safhost.core.reads import Read
from safhost.errors import CardError, CardLost, CommandFailed, DeadlineExceeded, SafError, SchedulingError
from safhost.wire.generated import ReadSpace, Run, Status, TransferKind

if TYPE_CHECKING:
    from safhost.core.cluster import Cluster

ORPHAN_NS = 60_000_000_000  # a unit no card could take for so long ends; cards come and go, but not for ever
MAX_ATTEMPTS = 8  # a unit that eight cards could not finish is at fault itself
IO_DEADLINE_NS = 120_000_000_000
_RETRY_STATUS = (Status.BAD_EPOCH, Status.NO_ROLE, Status.KILLED)


class Unit:
    """One request of a user; ``attempt`` the try that counts."""

    def __init__(self, cluster: Cluster, event: StartUnit, now_ns: int) -> None:
        self.cluster = cluster
        self.event = event
        self.request = event.request
        self.cards: list[Card] = []
        self.started_ns = now_ns
        self.attempts = 0
        self.attempt: Attempt | None = None
        self.ended = False
        self.due_ns: int | None = None

    def start(self, now_ns: int) -> None:
        self.cluster.unit_queue.append(self)
        self.cluster.dispatch_units(now_ns)

    def cancel(self, error: SafError, now_ns: int) -> None:
        self.ended = True  # before anything is given back, so that nothing starts it again
        self.due_ns = None
        if self in self.cluster.unit_queue:
            self.cluster.unit_queue.remove(self)
        if self.attempt is not None:
            self.attempt.abandon(now_ns)
        self.cluster.end_request(self, RequestEnded(self.request, {}, error))

    def end(self, result: dict[str, Any], error: SafError | None) -> None:
        if not self.ended:
            self.ended = True
            self.due_ns = None
            self.cluster.end_request(self, RequestEnded(self.request, result, error))

    def may_run_on(self, card: Card) -> bool:
        """Whether this card, as things stand, is one for the unit."""
        return card.usable and card.image_digest == self.event.digest and (
            not self.event.cards or card.key in self.event.cards)

    def on_timer(self, now_ns: int) -> None:
        if self.ended or self.attempt is not None:
            return
        if any_candidate(self.cluster, self):
            return
        if self in self.cluster.unit_queue:
            self.cluster.unit_queue.remove(self)
        self.end({}, SchedulingError(
            f"no card ran image {self.event.digest.hex()[:12]} for {ORPHAN_NS // 1_000_000_000} s after "
            f"{self.attempts} tries", "look for the cards with `safhost cards`, then submit it again"))

    def failed(self, card: Card, error: SafError, now_ns: int) -> None:
        """An attempt failed: again elsewhere when the card is to blame, else the end."""
        self.attempt = None
        retry = isinstance(error, CardLost | DeadlineExceeded) or (
            isinstance(error, CommandFailed) and error.status in _RETRY_STATUS)
        if not retry:
            self.end({}, error)
        elif self.attempts >= MAX_ATTEMPTS:
            self.end({}, SchedulingError(f"unit failed {self.attempts} times; last: {error.message}", error.hint))
        else:
            self.cluster.unit_queue.appendleft(self)
            self.cluster.dispatch_units(now_ns)
            mark_orphans(self.cluster, now_ns)


class Attempt:
    def __init__(self, unit: Unit, card: Card, base: int) -> None:
        self.unit = unit
        self.card = card
        self.cluster = unit.cluster
        self.base = base
        self.abandoned = False
        self._transfers: list[Transfer] = []
        self._reads: list[Read] = []
        self._left = 0
        self._command: RunCommand | None = None
        self._times: dict[str, int] = {}
        self._scratch: list[tuple[int, Bytes]] = []

    def start(self, now_ns: int) -> None:
        e = self.unit.event
        self.card.units.add(self)
        self._times["start"] = now_ns
        self._left = len(e.inputs)
        if not e.inputs:
            self._run(now_ns)
        for offset, length, leaves, root in e.inputs:
            t = Transfer(self.cluster, self.card.link, TransferKind.DDR, e.memory[offset:offset + length], leaves, root,
                         [(self.card, 0, self.base + offset)], self, now_ns, now_ns + IO_DEADLINE_NS)
            self._transfers.append(t)
        for t in self._transfers:
            self.cluster.start_ddr_transfer(t, now_ns)

    # transfer owner
    def on_transfer_progress(self, transfer: Transfer, now_ns: int) -> None:
        """Units are many and short; their progress is that of the job."""

    def on_member_ended(self, transfer: Transfer, member: Member, now_ns: int) -> None:
        if self.abandoned:
            return
        if member.state != m_.VERIFIED:
            self._fail(member.error or CardError("transfer failed", "", self.card.key), now_ns)
            return
        self._left -= 1
        if not self._left:
            self._run(now_ns)

    def on_transfer_ended(self, transfer: Transfer, now_ns: int) -> None:
        """Each has one member, which ended just before."""

    def _run(self, now_ns: int) -> None:
        e = self.unit.event
        self._times["run"] = now_ns
        arguments = bytearray(e.arguments)
        for at in e.relocations:
            pointer = int.from_bytes(arguments[at:at + 8], "little") + self.base
            arguments[at:at + 8] = pointer.to_bytes(8, "little")
        body = Run(0, e.kernel, 0, e.deadline_ms, 0, 0, 0, 0, e.work_dim, 0, *e.global_size, *e.local_size,
                   bytes(arguments))
        self._command = RunCommand(self.cluster, self.card, body, self)
        self._command.submit(now_ns)

    def on_command_ended(self, command: RunCommand, error: SafError | None, now_ns: int) -> None:
        if not command.live:
            self._command = None
        if self.abandoned:
            if self._command is None:
                self._release(now_ns)
        elif error is not None:
            self._fail(error, now_ns)
        else:
            self._times["read"] = now_ns
            self._times["kernel_ns"] = command.kernel_ns
            e = self.unit.event
            self._left = len(e.outputs)
            for offset, length in e.outputs:
                out = e.memory[offset:offset + length]
                if any(at < offset + length and offset < at + size for at, size, _, _ in e.inputs):
                    # read beside the inputs: should this try fail, the next one needs them as they were
                    out = np.empty(length, np.uint8)
                    self._scratch.append((offset, out))
                self._reads.append(Read(self.cluster, self.card, ReadSpace.DDR, self.base + offset, out, self,
                                        now_ns + IO_DEADLINE_NS))
            for read in self._reads:
                read.start(now_ns)
            if not e.outputs:
                self._done(now_ns)

    def on_read_progress(self, read: Read, now_ns: int) -> None:
        """As on_transfer_progress."""

    def on_read_ended(self, read: Read, error: SafError | None, now_ns: int) -> None:
        if self.abandoned:
            return
        if error is not None:
            self._fail(error, now_ns)
            return
        self._left -= 1
        if not self._left:
            self._done(now_ns)

    def _done(self, now_ns: int) -> None:
        t = self._times
        for offset, out in self._scratch:
            self.unit.event.memory[offset:offset + len(out)] = out
        self.abandoned = True  # nothing that comes late counts
        self._release(now_ns)
        self.unit.attempt = None
        self.unit.end({"card": self.card.key, "attempts": self.unit.attempts, "kernel_ns": t["kernel_ns"],
                       "write_ns": t["run"] - t["start"], "run_ns": t["read"] - t["run"], "read_ns": now_ns - t["read"],
                       "queued_ns": t["start"] - self.unit.started_ns}, None)
        self.cluster.dispatch_units(now_ns)

    def _fail(self, error: SafError, now_ns: int) -> None:
        self.abandon(now_ns)
        self.unit.failed(self.card, error, now_ns)

    def abandon(self, now_ns: int) -> None:
        """Stop counting on this try. Its DDR stays reserved while its command may run."""
        if self.abandoned:
            return
        self.abandoned = True
        gone = CardLost("unit moved to another card", "", self.card.key)
        for t in self._transfers:
            t.cancel(gone, now_ns)
        for read in self._reads:
            read.cancel(gone, now_ns)
        if self._command is not None and not self._command.live:
            self._command.cancel()
            self._command = None
        if self._command is None:
            self._release(now_ns)

    def _release(self, now_ns: int) -> None:
        if self in self.card.units:
            self.card.units.discard(self)
            self.card.ddr.release(self.base)
            self.cluster.dispatch_units(now_ns)

    def card_gone(self, now_ns: int, why: str) -> None:
        """The card lost its boot or its session for good: nothing of this attempt runs any more."""
        self._command = None
        if not self.abandoned:
            self._fail(CardLost(why, "", self.card.key), now_ns)
        self.card.units.discard(self)


def dispatch(cluster: Cluster, queue: deque[Unit], now_ns: int) -> None:
    """Give queued units, in order, to the least loaded cards that run their image."""
    room = _cards_with_room(cluster)
    waiting: list[Unit] = []
    while queue and room:
        unit = queue.popleft()
        if unit.ended:
            continue
        card = _pick(unit, room.get(unit.event.digest, []))
        base: int | None = None
        if card is not None:
            try:
                base = card.ddr.allocate(len(unit.event.memory))
            except SchedulingError as err:
                unit.end({}, err)
                continue
        if card is None or base is None:
            waiting.append(unit)
            if not unit.event.cards:
                room.pop(unit.event.digest, None)  # others of this image wait behind it, in order
            continue
        unit.attempts += 1
        unit.due_ns = None
        unit.attempt = Attempt(unit, card, base)
        unit.attempt.start(now_ns)
        if len(card.units) >= cluster.config.units_per_card:
            left = room[unit.event.digest]
            left.remove(card)
            if not left:
                del room[unit.event.digest]
    queue.extendleft(reversed(waiting))


def mark_orphans(cluster: Cluster, now_ns: int) -> None:
    """Cards went away: units that none is left for wait under a deadline."""
    for unit in cluster.unit_queue:
        if unit.due_ns is None and not any_candidate(cluster, unit):
            cluster.timers.set(unit, now_ns + ORPHAN_NS)


def _cards_with_room(cluster: Cluster) -> dict[bytes, list[Card]]:
    """Image → cards that run it and could take a unit now."""
    room: dict[bytes, list[Card]] = {}
    for card in cluster.sessions.by_mac.values():
        if card.state == st.AVAILABLE and len(card.units) < cluster.config.units_per_card and card.usable \
                and not card.committing and not card.runs_for_others:  # the dearest question last
            room.setdefault(card.image_digest, []).append(card)
    return room


def _pick(unit: Unit, cards: list[Card]) -> Card | None:
    chosen = [card for card in cards if unit.may_run_on(card)]
    return min(chosen, key=lambda card: len(card.units), default=None)


def any_candidate(cluster: Cluster, unit: Unit) -> bool:
    """Whether some card could ever take the unit as things stand."""
    return any(unit.may_run_on(card) for card in cluster.sessions.by_mac.values())


__all__ = ["Attempt", "Unit", "any_candidate", "dispatch", "mark_orphans"]
