"""What goes with the bulk engine: who wants a transfer, the list of those in flight, POLL and ABORT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from safhost.core.exchange import Exchange, Nobody
from safhost.wire.generated import ETHERTYPE_IMAGE, ETHERTYPE_INPUT, Abort, Opcode, Ready, Status, TransferKind

if TYPE_CHECKING:
    from safhost.core.bulk import Transfer
    from safhost.core.card import Card
    from safhost.core.cluster import Cluster
    from safhost.core.member import Member
    from safhost.errors import SafError
    from safhost.wire.codec import Frame


class TransferOwner(Protocol):
    """Who wants the transfer. Called as members end and when all have."""

    def on_member_ended(self, transfer: Transfer, member: Member, now_ns: int) -> None: ...

    def on_transfer_progress(self, transfer: Transfer, now_ns: int) -> None: ...

    def on_transfer_ended(self, transfer: Transfer, now_ns: int) -> None: ...


class PollExchange(Exchange):
    """A POLL tells its transfer when it goes unanswered."""

    __slots__ = ()

    def on_timer(self, now_ns: int) -> None:
        super().on_timer(now_ns)
        if self.due_ns is not None:
            self.asker.poll_missed(self.tag, self.attempts, now_ns)  # type: ignore[attr-defined]  # a Transfer


class Transfers:
    """All transfers in flight and the one id counter."""

    def __init__(self) -> None:
        self.next_id = 1
        self.active: dict[int, Transfer] = {}

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def add(self, transfer: Transfer) -> None:
        self.active[transfer.id] = transfer

    def remove(self, transfer: Transfer) -> None:
        self.active.pop(transfer.id, None)


def abort(cluster: Cluster, card: Card, transfer: int, kind: TransferKind, now_ns: int) -> None:
    """Have a card forget a transfer, so that its context is free again. Asked until it did, or is lost."""
    ethertype = ETHERTYPE_IMAGE if kind == TransferKind.IMAGE else ETHERTYPE_INPUT
    Exchange(cluster, card, Nobody(), Opcode.ABORT, ethertype, Abort().pack(), transfer, 0,
             now_ns + 2 * cluster.config.lease_ns).start(now_ns)


class Unwanted:
    """Takes over an XFER_OPEN whose member was given up. An ABORT sent now could arrive before it and leave a
    context open that nobody fills; so the card answers first, and is told then."""

    def __init__(self, kind: TransferKind) -> None:
        self._kind = kind

    @classmethod
    def ask_on(cls, exchange: Exchange, kind: TransferKind, now_ns: int) -> None:
        """Ask what ``exchange`` asked, whatever deadline it had, until the card has said what became of it."""
        cluster = exchange.cluster
        Exchange(cluster, exchange.card, cls(kind), exchange.opcode, exchange.ethertype, exchange.payload,
                 exchange.object, exchange.number, now_ns + 2 * cluster.config.lease_ns,
                 first_ns=exchange.first_ns).start(now_ns)

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool:
        status = Ready.unpack(frame.payload).status
        if status == Status.BUSY:  # a copy of it may still be taken when a context is free
            exchange.keep_asking(now_ns, exchange.cluster.config.retry_max_ns, "busy")
            return False
        if status == Status.OK:
            abort(exchange.cluster, exchange.card, exchange.object, self._kind, now_ns)
        return True

    def on_failure(self, exchange: Exchange, error: SafError, now_ns: int) -> None:
        """The card is gone, or has been silent for so long that the next session will clear this up."""
