"""The sans-IO host: ``handle(event, now_ns)`` in, actions out. No socket, clock, thread or random source inside.

Time is an argument, randomness is ``entropy(n) -> bytes``. The runtime carries the actions out in order, feeds
what happens back as events, and calls ``handle(TimePassed(), now)`` at ``next_wakeup_ns()``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from safhost.core import events as ev
from safhost.core import jobchecks
from safhost.core.actions import Action, CardChanged, KeepGeneration, RequestEnded, SendBlocks, SendFrames
from safhost.core.bulk import Transfer
from safhost.core.card import Card
from safhost.core.commands import start_waiting
from safhost.core.config import CoreConfig
from safhost.core.drain import DrainRequest
from safhost.core.exchange import LOST_HINT
from safhost.core.jobs import Job
from safhost.core.linkshare import LinkShare
from safhost.core.reads import Read
from safhost.core.requests import KillRequest, ProgramRequest, ReadBack, RunRequest, WriteRequest, unusable
from safhost.core.scheduler import Scheduler
from safhost.core.session import Sessions
from safhost.core.singles import Single
from safhost.core.timers import Timers
from safhost.core.transfers import Transfers, abort
from safhost.errors import CardError, CardLost, SafError, SchedulingError
from safhost.wire.codec import Codec, Frame
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_RESULT,
    DropReason,
    Opcode,
    Opened,
    SessionClose,
    TransferKind,
    TransferState,
)


class LinkInfo(NamedTuple):
    """A link the core may send on; ``mac`` 6 bytes."""

    name: str
    mac: bytes
    mtu: int


class Request(Protocol):
    @property
    def request(self) -> int: ...

    cards: list[Card]
    ended: bool

    def start(self, now_ns: int) -> None: ...

    def cancel(self, error: SafError, now_ns: int) -> None: ...


class Cluster:
    """All cards on all links of one cluster, and everything in flight to them."""

    raw_batches = False  # frames have our header: the runtime splits batches into control frames and blocks

    def __init__(self, config: CoreConfig, entropy: Callable[[int], bytes], codec: Codec | None = None) -> None:
        self.config = config
        self.entropy = entropy
        self.codec = codec or Codec()
        self.links: dict[str, LinkInfo] = {}
        self.timers = Timers()
        self.sessions = Sessions(self)
        self.transfers = Transfers()
        self.requests: dict[int, Request] = {}
        self.scheduler = Scheduler(self)
        self.read_queue: deque[Read] = deque()
        self.read_outstanding = 0
        self.drops: dict[DropReason, int] = {}
        self.out: list[Action] = []
        self._frames: dict[str, list[bytes]] = {}
        self._pumping: dict[int, Transfer] = {}
        self._shares: dict[str, LinkShare] = {}
        self._asked: dict[int, LinkShare] = {}  # transfer whose batch the link has not answered → its share
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            ev.FrameReceived: self._frame_received, ev.BlocksReceived: self._blocks_received,
            ev.BlocksTaken: self._blocks_taken, ev.TimePassed: self._time_passed,
            ev.LinkWritable: self._link_writable, ev.LinkCameUp: self._link_up, ev.LinkWentDown: self._link_down,
            ev.SessionsWanted: self._sessions_wanted,
            ev.KeysChanged: self._keys_changed, ev.StartSolicit: self._solicit, ev.StartProgram: self._program,
            ev.StartWrite: self._write, ev.StartRead: self._read, ev.StartRun: self._run, ev.StartUnit: self._unit,
            ev.StartKill: self._kill, ev.StartClose: self._close, ev.RequestCancelled: self._cancelled,
            ev.StartJob: self._job, ev.AddUnits: self._add_units, ev.EndUnits: self._end_units,
            ev.ChangeJob: self._change_job, ev.DrainCard: self._drain_card,
        }

    # -- in and out ----------------------------------------------------------------------------------------

    def handle(self, event: ev.Event, now_ns: int) -> list[Action]:
        """The one way in. Returns the actions to carry out, in order."""
        self._handlers[type(event)](event, now_ns)
        due = self.timers.next_ns()
        if due is not None and due <= now_ns:
            self.timers.run(now_ns)
        self.scheduler.run(now_ns)
        while self._pumping:
            _, transfer = self._pumping.popitem()
            transfer.pump(now_ns)
        out = self.out
        if self._frames:
            frames: list[Action] = [SendFrames(link, batch) for link, batch in self._frames.items()]
            self._frames = {}
            # a generation is kept before the first frame that carries it
            kept: list[Action] = [a for a in out if type(a) is KeepGeneration]
            out = kept + frames + [a for a in out if type(a) is not KeepGeneration]
        self.out = []
        return out

    def next_wakeup_ns(self) -> int | None:
        """When to call ``handle(TimePassed(), …)`` next if nothing else happens."""
        return self.timers.next_ns()

    def emit(self, link: str, frame: bytes) -> None:
        batch = self._frames.get(link)
        if batch is None:
            self._frames[link] = [frame]
        else:
            batch.append(frame)

    def emit_frame(self, card: Card, frame: bytes, now_ns: int) -> None:
        card.last_sent_ns = now_ns
        self.emit(card.link, frame)

    def pump(self, transfer: Transfer, now_ns: int) -> None:
        """Have the transfer send on, once this event is dealt with."""
        self._pumping[transfer.id] = transfer

    def share(self, link: str, now_ns: int) -> LinkShare:
        """What a link's transfers share."""
        if link not in self._shares:
            self._shares[link] = LinkShare(self, link, now_ns)
        return self._shares[link]

    def send_blocks(self, action: SendBlocks, share: LinkShare) -> None:
        """A batch that ``share`` allowed; BlocksTaken answers it."""
        self._asked[action.transfer] = share
        self.out.append(action)

    def drop(self, reason: DropReason, n: int = 1) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + n

    # -- frames --------------------------------------------------------------------------------------------

    def _frame_received(self, event: ev.FrameReceived, now_ns: int) -> None:
        frame = self.codec.parse(event.raw, "c2h")
        if not isinstance(frame, Frame):
            self.drop(frame)
            return
        if frame.opcode == Opcode.HELLO:
            self.sessions.on_hello(event.link, frame, now_ns)
            return
        card = self.sessions.by_mac.get((event.link, frame.src))
        if card is None:
            self.drop(DropReason.WRONG_SOURCE)
            return
        if frame.opcode == Opcode.OPENED:
            self.sessions.on_opened(card, frame, now_ns)
            return
        if card.channel is None:
            self.drop(DropReason.WRONG_SESSION)
            return
        reason = card.channel.check(frame)
        if reason is not None:
            self.drop(reason)
            return
        self.sessions.heard(card, now_ns)
        exchange = card.pending.get((frame.opcode, frame.object, frame.index))
        if exchange is not None:
            exchange.answered(frame, now_ns)
        elif frame.opcode == Opcode.ALIVE:
            self.sessions.on_alive(card, frame, now_ns)

    def _blocks_received(self, event: ev.BlocksReceived, now_ns: int) -> None:
        group = event.group
        card = self.sessions.by_mac.get((event.link, group.src))
        if card is None or card.channel is None:
            self.drop(DropReason.WRONG_SOURCE, len(group.index))
        elif self.codec.canonical(group.ethertype) != ETHERTYPE_RESULT:
            self.drop(DropReason.WRONG_ETHERTYPE, len(group.index))
        elif group.session != card.channel.session:
            self.drop(DropReason.WRONG_SESSION, len(group.index))
        else:
            chunk = card.reads.get(group.object)
            if chunk is None:
                self.drop(DropReason.NO_CONTEXT, len(group.index))
            else:
                chunk.on_blocks(group, now_ns)

    def _blocks_taken(self, event: ev.BlocksTaken, now_ns: int) -> None:
        transfer = self.transfers.active.get(event.transfer)
        if transfer is not None:
            transfer.on_taken(event.frames, now_ns)
        share = self._asked.pop(event.transfer, None)
        if share is not None:
            share.taken(event.transfer, event.frames, event.full, now_ns)

    def _time_passed(self, event: ev.TimePassed, now_ns: int) -> None:
        self.timers.run(now_ns)

    # -- links and keys ------------------------------------------------------------------------------------

    def _link_up(self, event: ev.LinkCameUp, now_ns: int) -> None:
        self.links[event.link] = LinkInfo(event.link, event.mac, event.mtu)
        self.sessions.link_up(event.link, now_ns)

    def _link_down(self, event: ev.LinkWentDown, now_ns: int) -> None:
        self.sessions.link_down(event.link, now_ns)

    def _link_writable(self, event: ev.LinkWritable, now_ns: int) -> None:
        share = self._shares.get(event.link)
        if share is not None:
            share.writable(now_ns)

    def _keys_changed(self, event: ev.KeysChanged, now_ns: int) -> None:
        self.config.keys.clear()
        self.config.keys.update(event.keys)
        self.sessions.keys_changed(now_ns)

    def _solicit(self, event: ev.StartSolicit, now_ns: int) -> None:
        self.sessions.solicit(event.spread_ms)

    def _sessions_wanted(self, event: ev.SessionsWanted, now_ns: int) -> None:
        self.sessions.open_all(now_ns)

    # -- cards ---------------------------------------------------------------------------------------------

    def card_changed(self, card: Card) -> None:
        self.out.append(CardChanged(card.key, card.state, card.why))
        self.scheduler.cards_moved()

    def keep_generation(self, generation: int) -> None:
        self.out.append(KeepGeneration(generation))

    def on_card_available(self, card: Card, opened: Opened, now_ns: int) -> None:
        """A session is open: transfers the card still holds from before are nobody's any more, ours go on."""
        for info in opened.transfers:
            ours = self.transfers.active.get(info.transfer)
            member = None if ours is None else ours.by_card.get(card.key)
            if info.transfer and (member is None or member.ended) \
                    and info.state not in (TransferState.UNUSED, TransferState.VERIFIED):
                abort(self, card, info.transfer, TransferKind.IMAGE if info.kind == TransferKind.IMAGE
                      else TransferKind.DDR, now_ns)
        for transfer in list(self.transfers.active.values()):
            transfer.new_session(card, now_ns)
        self.scheduler.card_available(card, now_ns)

    def on_card_back(self, card: Card, now_ns: int) -> None:
        self.scheduler.touch(card)

    def on_card_idle(self, card: Card, now_ns: int) -> None:
        """It said which slots run: commands and units that waited for one that does not any more."""
        if card.run_waiting:
            start_waiting(card, now_ns)
        self.scheduler.touch(card)

    def role_changed(self, now_ns: int) -> None:
        """Some card runs another image now."""
        self.scheduler.touch_all()
        self.scheduler.cards_moved()

    def works_on(self, card: Card) -> bool:
        """Whether some request has to do with the card."""
        return bool(card.pending or card.units) or any(card in request.cards for request in self.requests.values())

    def on_card_suspect(self, card: Card, now_ns: int, hasty: bool = False) -> None:
        """Units of a silent card go to others at once, if there are others."""
        self.scheduler.card_suspect(card, now_ns, hasty)

    def on_card_lost(self, card: Card, why: str, now_ns: int) -> None:
        """The card's session is over for good: everything in flight to it ends."""
        self.scheduler.note_lost(card, why)
        card.open_queue.clear()
        lost = CardLost(why, LOST_HINT, card.key)
        for transfer in [*self.transfers.active.values(), *card.ddr_waiting]:
            transfer.drop(card, lost, now_ns)
        for exchange in list(card.pending.values()):
            if card.pending.get(exchange.key) is exchange:
                exchange.card_lost(why, now_ns)
        while card.run_waiting:
            card.run_waiting.popleft().on_failure(None, lost, now_ns)
        for read in [*(chunk.read for chunk in card.reads.values()), *self.read_queue]:
            if read.card is card:
                read.cancel(lost, now_ns)
        self.scheduler.card_lost(card, why, now_ns)
        card.ddr_live.clear()

    # -- DDR transfers: as many at once as the card has contexts ----------------------------------------------

    def start_ddr_transfer(self, transfer: Transfer, now_ns: int) -> None:
        """Start it, or have it wait until every member has a free context."""
        if transfer.ended:
            return
        cards = transfer.live_cards()
        if any(c.ddr_waiting or len(c.ddr_live) >= c.hello.ddr_contexts for c in cards):
            for card in cards:
                card.ddr_waiting.append(transfer)
            self.timers.set(transfer, transfer.deadline_ns)
            return
        self._launch(transfer, cards, now_ns)

    def _launch(self, transfer: Transfer, cards: list[Card], now_ns: int) -> None:
        for card in cards:
            card.ddr_live.add(transfer)
        transfer.start(now_ns)

    def ddr_member_ended(self, transfer: Transfer, card: Card, now_ns: int) -> None:
        """The card's context is free again, or its place in the queue."""
        card.ddr_live.discard(transfer)
        if transfer in card.ddr_waiting:
            card.ddr_waiting.remove(transfer)
        self._start_waiting([card, *transfer.live_cards()], now_ns)

    def _start_waiting(self, touched: list[Card], now_ns: int) -> None:
        """Launch what waits at the heads of these cards' queues, and what that brings to the head elsewhere."""
        while touched:
            card = touched.pop()
            if not card.ddr_waiting:
                continue
            transfer = card.ddr_waiting[0]
            cards = transfer.live_cards()
            if any(not c.usable or c.ddr_waiting[0] is not transfer or len(c.ddr_live) >= c.hello.ddr_contexts
                   for c in cards):
                continue  # a card that was just lost leaves the transfer in a moment
            for c in cards:
                c.ddr_waiting.popleft()
            touched.extend(cards)
            self._launch(transfer, cards, now_ns)

    # -- reads: one window for all cards, which is the answer to incast ---------------------------------------

    def pump_reads(self, now_ns: int) -> None:
        """Ask for chunks, card by card in turn, while the window has room."""
        limit = self.config.read_window_bytes
        asked = True
        while asked:
            asked = False
            for _ in range(len(self.read_queue)):
                if self.read_outstanding >= limit:
                    return
                read = self.read_queue.popleft()
                if read.waiting and read.has_room:
                    read.next_chunk(now_ns)
                    asked = True
                if read.waiting:
                    self.read_queue.append(read)

    # -- requests ------------------------------------------------------------------------------------------

    def end_request(self, request: Request, ended: RequestEnded) -> None:
        self.requests.pop(request.request, None)
        self.out.append(ended)

    def _begin(self, request: Request, now_ns: int) -> None:
        self.requests[request.request] = request
        request.start(now_ns)

    def _cards(self, request: int, keys: tuple[str, ...]) -> list[Card] | None:
        cards = [self.sessions.by_key[k] for k in dict.fromkeys(keys) if k in self.sessions.by_key]
        missing = [k for k in keys if k not in self.sessions.by_key]
        if missing or not cards:
            what = f"no card {missing[0]!r}" if missing else "no card to work with"
            self.out.append(RequestEnded(request, {}, CardError(what, "see `safhost discover`", "")))
            return None
        return cards

    def _program(self, event: ev.StartProgram, now_ns: int) -> None:
        cards = self._cards(event.request, event.cards)
        if cards is not None:
            self._begin(ProgramRequest(self, event, cards, now_ns), now_ns)

    def _write(self, event: ev.StartWrite, now_ns: int) -> None:
        cards = self._cards(event.request, event.cards)
        if cards is not None:
            self._begin(WriteRequest(self, event, cards, now_ns), now_ns)

    def _read(self, event: ev.StartRead, now_ns: int) -> None:
        cards = self._cards(event.request, (event.card,))
        if cards is not None and not cards[0].usable:
            self.out.append(RequestEnded(event.request, {}, unusable(cards[0])))
        elif cards is not None:
            self._begin(ReadBack(self, event, cards[0], now_ns), now_ns)

    def _run(self, event: ev.StartRun, now_ns: int) -> None:
        cards = self._cards(event.request, event.cards)
        if cards is not None:
            self._begin(RunRequest(self, event, cards, now_ns), now_ns)

    @property
    def unit_queue(self) -> list[Single]:
        """Single units that wait for a card."""
        return [unit for job in self.scheduler.singles.values() for unit in (*job.queue.again, *job.queue.pending)
                if isinstance(unit, Single)]

    def _unit(self, event: ev.StartUnit, now_ns: int) -> None:
        if not any(card.usable and card.image_digest == event.digest and (not event.cards or card.key in event.cards)
                   for card in self.sessions.by_mac.values()):
            self.out.append(RequestEnded(event.request, {}, SchedulingError(
                f"no card runs image {event.digest.hex()[:12]}", "program it first: safhost program IMAGE")))
            return
        self._begin(self.scheduler.add_single(event, now_ns), now_ns)

    def _job(self, event: ev.StartJob, now_ns: int) -> None:
        if event.unit_deadline_ms <= 0 or event.weight <= 0 or event.repeat < 1 or event.retries < 1:
            self.out.append(RequestEnded(event.request, {}, SchedulingError(
                "a job has a deadline for its kernel, a weight, and at least one run and one try of each unit",
                "see `safhost job --help`")))
            return
        self._begin(Job(self, event, now_ns), now_ns)

    def _add_units(self, event: ev.AddUnits, now_ns: int) -> None:
        job = self.scheduler.jobs.get(event.request)
        if job is not None:
            job.add(event.units, now_ns)

    def _end_units(self, event: ev.EndUnits, now_ns: int) -> None:
        job = self.scheduler.jobs.get(event.request)
        if job is not None:
            job.no_more(now_ns)

    def _change_job(self, event: ev.ChangeJob, now_ns: int) -> None:
        job = self.scheduler.jobs.get(event.request)
        if job is not None:
            self.scheduler.change(job, event.priority, event.weight, event.hold, now_ns)

    def _drain_card(self, event: ev.DrainCard, now_ns: int) -> None:
        cards = self._cards(event.request, (event.card,))
        if cards is not None:
            self._begin(DrainRequest(self, event, cards[0], now_ns), now_ns)

    def jobs_view(self, now_ns: int) -> list[dict[str, Any]]:
        """Live jobs in JSON form."""
        return self.scheduler.view(now_ns)

    def _kill(self, event: ev.StartKill, now_ns: int) -> None:
        cards = self._cards(event.request, (event.card,))
        if cards is not None and not cards[0].usable:
            self.out.append(RequestEnded(event.request, {}, unusable(cards[0])))
        elif cards is not None:
            self._begin(KillRequest(self, event, cards[0], now_ns), now_ns)

    def _close(self, event: ev.StartClose, now_ns: int) -> None:
        cards = [self.sessions.by_key[k] for k in event.cards if k in self.sessions.by_key] if event.cards \
            else list(self.sessions.by_mac.values())
        for card in cards:
            if card.channel is not None:
                # Not answered for: the lease ends on its own if this is lost.
                frame = card.channel.seal(Opcode.SESSION_CLOSE, SessionClose().pack(), ETHERTYPE_CONTROL)
                self.emit_frame(card, frame, now_ns)
                self.sessions.end(card, now_ns, "released")
        self.out.append(RequestEnded(event.request))

    def _cancelled(self, event: ev.RequestCancelled, now_ns: int) -> None:
        request = self.requests.get(event.request)
        if request is not None:
            request.cancel(SchedulingError("cancelled", ""), now_ns)

    # -- checks --------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Assert the invariants; tests call it after every run."""
        outstanding = 0
        for card in self.sessions.by_mac.values():
            for key, exchange in card.pending.items():
                assert exchange.key == key, f"{card.key}: exchange filed under {key}"
                assert exchange.due_ns is not None, f"{card.key}: {exchange.opcode.name} waits without a deadline"
            assert len(card.ddr_live) <= card.hello.ddr_contexts, f"{card.key}: {len(card.ddr_live)} DDR transfers"
            assert not any(t.ended for t in (*card.ddr_live, *card.ddr_waiting)), f"{card.key}: dead transfers wait"
            assert not card.ddr_waiting or any(
                len(c.ddr_live) == c.hello.ddr_contexts or c.ddr_waiting[0] is not card.ddr_waiting[0]
                for c in card.ddr_waiting[0].live_cards()), f"{card.key}: a transfer waits for nothing"
            assert not card.run_waiting or all(s.busy for s in card.slots), f"{card.key}: a command waits for nothing"
            assert card.ddr.used_bytes >= 0
            outstanding += sum(len(c.out) for c in card.reads.values() if c.counts)
            if card.channel is None:
                assert not card.pending, f"{card.key}: requests in flight without a session"
        assert outstanding == self.read_outstanding, "read window leaks"
        jobchecks.check(self.scheduler)
        for share in self._shares.values():
            share.validate()
        for transfer in self.transfers.active.values():
            assert not transfer.ended
            assert transfer.due_ns is not None, f"transfer {transfer.id} waits without a deadline"
