"""The one bulk engine: an object to N cards on one link, broadcast where two or more miss a block.

open to each → pass over the blocks (windowed by every live member's credit, paced by a token bucket) → ask each
what it misses → union → next pass … → CLOSE each member as soon as it misses nothing → VERIFIED or repair.
A member that leaves two polls unanswered is left behind: nobody waits for it, it takes what the broadcasts
bring, and the rest goes to it when the others are done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safhost.core import card as st
from safhost.core import member as m_
from safhost.core.actions import SendBlocks
from safhost.core.commands import status_name
from safhost.core.exchange import Exchange
from safhost.core.member import Member
from safhost.core.pacing import TokenBucket
from safhost.core.repair import Repair
from safhost.core.transfers import PollExchange, TransferOwner, Unwanted, abort
from safhost.errors import CardError, DeadlineExceeded, RemoteProtocolError, SafError
from safhost.plan.blocks import block_bytes_for, block_count
from safhost.wire.codec import BROADCAST_BYTES, DataEncoder, Frame
from safhost.wire.generated import (
    BLOCK_MULTIPLE,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    HEADER_BYTES,
    SECTION_BLOCKS,
    TAG_BYTES,
    Close,
    DropReason,
    Nack,
    Opcode,
    Poll,
    Ready,
    Status,
    TransferKind,
    TransferState,
    Verdict,
    XferOpen,
)

if TYPE_CHECKING:
    from safhost.core.card import Card
    from safhost.core.cluster import Cluster
    from safhost.core.jobs import Job

BATCH_FRAMES = 256
EAGER_BLOCKS = 8  # of an object for one card that go right behind its XFER_OPEN: hardly ever is it refused or lost
POLL_SHARE = 3 / 4  # of a window out: then its receiver is asked, and a quarter is left for the way there and back
PROGRESS_NS = 100_000_000
OPEN_GRACE_NS = 450_000_000  # five tries of XFER_OPEN: then the others begin without who has not answered
WINDOW_TIMES = 4  # what a card may take longer for a window of blocks than its receive rate says
MOST_POLL_WAIT_NS = 1_000_000_000
GIVE_UP_POLLS = 2  # unanswered polls until a member is left behind (DESIGN section 3)
SLOW_OPEN_GRACE_NS, SLOW_GIVE_UP_POLLS = 3_000_000_000, 8  # the same for a simulated card: its machine has other work


class Lane:
    """One pass to one destination: ``indices`` ascending block numbers, ``at`` the next one to send."""

    __slots__ = ("at", "encoder", "indices", "members")

    def __init__(self, encoder: DataEncoder, indices: NDArray[np.int64], members: list[Member]) -> None:
        self.encoder = encoder
        self.indices = indices
        self.members = members
        self.at = 0


class Transfer:
    """One object to the members of one link. ``payload`` (n,) uint8; ``leaves`` concatenated leaf digests."""

    def __init__(self, cluster: Cluster, link: str, kind: TransferKind, payload: NDArray[np.uint8], leaves: bytes,
                 digest: bytes, targets: list[tuple[Card, int, int]], owner: TransferOwner, now_ns: int,
                 deadline_ns: int, broadcast: bool = True, background: bool = False,
                 job: Job | None = None) -> None:
        self.cluster = cluster
        self.link = cluster.links[link]
        self.kind = kind
        self.payload = payload
        self.leaves = leaves
        self.digest = digest
        self.owner = owner
        self.deadline_ns = deadline_ns
        self.id = 0  # given at the start: ids must reach a card in order
        self.start_ns = now_ns
        self.due_ns: int | None = None
        self.ethertype = ETHERTYPE_IMAGE if kind == TransferKind.IMAGE else ETHERTYPE_INPUT
        self.length = len(payload)
        mtu = min([self.link.mtu, *(card.hello.mtu for card, _, _ in targets)])
        # what fits one block is announced and sent in frames no longer than it is
        self.block_bytes = min(block_bytes_for(mtu), max(1, -(-self.length // BLOCK_MULTIPLE)) * BLOCK_MULTIPLE)
        self.blocks = block_count(self.length, self.block_bytes)
        self.members = [Member(card, slot, base, self.blocks) for card, slot, base in targets]
        self.by_card = {m.card.key: m for m in self.members}
        self.background = background
        self.job = job  # whose unit's inputs these are
        # one in the background has a group from the beginning: others may join it
        grouped = broadcast and (len(targets) > 1 or background)
        self.group = int.from_bytes(cluster.entropy(4), "big") | 0x80000000 if grouped else 0
        self._encoders: dict[tuple[str, int], DataEncoder] = {}
        self.lanes: list[Lane] = []
        self._taking: Lane | None = None
        self.in_line = False  # for its share of the link
        self._passing = False
        self._started = False
        self.passes = 0
        self.frames_sent = 0
        self._progress_ns = 0
        self.ended = False
        rate = min([cluster.config.link_rate_bytes_s, *(c.hello.receive_rate for c, _, _ in targets)])
        self.bucket = TokenBucket(rate, max(2 << 20, 2 * BATCH_FRAMES * self.block_bytes), now_ns)
        self.share = cluster.share(link, now_ns)

    @property
    def blocks_resent(self) -> int:
        """Frames beyond one for each block."""
        return max(0, self.frames_sent - self.blocks)

    # -- opening -------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        self.id = self.cluster.transfers.new_id()
        self.start_ns = now_ns
        self.cluster.transfers.add(self)
        self.cluster.timers.set(self, now_ns + PROGRESS_NS)
        for member in self.members:
            if not member.ended:
                self._open_member(member, now_ns)

    def can_take(self, card: Card) -> bool:
        """Whether one more card may still join: it takes what comes from then on, and gets the rest afterwards. Ids
        must reach a card in order, so it must not have heard of a later transfer."""
        earlier = self.by_card.get(card.key)
        return (not self.ended and self.id > 0 and bool(self.group) and card.link == self.link.name
                and (earlier is None or earlier.ended) and card.last_transfer < self.id
                and block_bytes_for(min(self.link.mtu, card.hello.mtu)) >= self.block_bytes)

    def add_member(self, card: Card, slot: int, base: int, now_ns: int) -> None:
        """A card joins a transfer that is under way (:meth:`can_take`); its owner hears of it as of the others."""
        member = Member(card, slot, base, self.blocks)
        member.joined = self._started
        self.members.append(member)
        self.by_card[card.key] = member
        self._open_member(member, now_ns)

    def _open_member(self, member: Member, now_ns: int) -> None:
        card = member.card
        card.counters["transfers"] += 1
        card.last_transfer = max(card.last_transfer, self.id)
        card.open_queue.append((self, member))
        if len(card.open_queue) == 1:
            self.send_open(member, now_ns)

    def _join_pass(self, member: Member) -> None:
        """It takes part in the pass under way: what goes to a group goes to it, and what goes to one card alone goes to
        the group from here on."""
        for lane in self.lanes:
            if len(lane.members) > 1 or self.passes <= 1:
                lane.encoder = self._encoder(None)
                lane.members.append(member)

    def send_open(self, member: Member, now_ns: int) -> None:
        """Announce the object; padded to a full frame so that READY proves the MTU. Ids must reach a card in
        order, so a card has one OPEN in flight."""
        fixed = XferOpen(self.kind, member.slot, self.block_bytes, self.group, member.base, self.length, self.blocks,
                         0, self.digest)
        tag = TAG_BYTES if member.card.hello.suite else 0
        payload = fixed.pack()
        payload += bytes(max(0, self.block_bytes - tag - len(payload)))
        Exchange(self.cluster, member.card, self, Opcode.XFER_OPEN, self.ethertype, payload, self.id, 1,
                 min(self.deadline_ns, now_ns + self.cluster.config.request_deadline_ns),
                 max_ns=self.cluster.config.short_retry_max_ns, tag=member,
                 outage_until_ns=self.deadline_ns).start(now_ns)
        card = member.card
        if self.kind == TransferKind.DDR and not (self.group or self._started or card.is_slow or card.channel is None) \
                and self.blocks <= min(EAGER_BLOCKS, card.hello.window_blocks):
            member.state = m_.RECEIVING
            member.eager = True
            member.window = self.blocks
            self._begin(now_ns)

    def _eager_ready(self, exchange: Exchange, member: Member, ready: Ready, now_ns: int) -> bool:
        """READY of a member to which all was sent already; False when it took none of that, so that what follows is as
        if it had been waited for."""
        if ready.status == Status.OK and ready.state != TransferState.CLEARING \
                and (exchange.attempts == 1 or not ready.missing):
            member.eager = False
            self._opened_or_not(member, now_ns)
            return True
        self._take_back(member)
        return False

    def _take_back(self, member: Member) -> None:
        """Its context was not open when the blocks came."""
        for asked in self._asked(member):
            if asked.opcode != Opcode.XFER_OPEN:
                asked.cancel()
        member.eager = False
        member.flow = None
        member.state = m_.OPENING

    def _opened_or_not(self, member: Member, now_ns: int) -> None:
        queue = member.card.open_queue
        if queue and queue[0][1] is member:
            queue.popleft()
            while queue:
                transfer, waiting = queue[0]
                if waiting.ended:
                    queue.popleft()
                else:
                    transfer.send_open(waiting, now_ns)
                    break
        if not any(m.state == m_.OPENING for m in self.members):
            self._begin(now_ns)

    def _begin(self, now_ns: int) -> None:
        """First pass: everything to everybody that is ready."""
        if self._started or self.ended or not any(m.active for m in self.members):
            return
        self._started = True
        for member in self.members:
            if member.state == m_.OPENING:
                member.lagging = member.behind = True
        self._plan_pass(now_ns)

    # -- answers -------------------------------------------------------------------------------------------

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool:
        member: Member = exchange.tag  # type: ignore[assignment]  # this class tags exchanges with members only
        if exchange.opcode == Opcode.XFER_OPEN:
            ready = Ready.unpack(frame.payload)
            if member.eager and self._eager_ready(exchange, member, ready, now_ns):
                return True
            if member.state != m_.OPENING:  # what it answered to CLOSE was here first
                self._opened_or_not(member, now_ns)
                return True
            if ready.status == Status.BUSY or ready.state == TransferState.CLEARING:
                # BUSY: all contexts are taken, one comes free when its transfer ends
                patience_ns = now_ns + self.cluster.config.request_deadline_ns
                exchange.deadline_ns = min(self.deadline_ns, patience_ns)
                still = "busy" if ready.status == Status.BUSY else "clearing"
                exchange.keep_asking(now_ns, self.cluster.config.verify_poll_ns, still)
                return False
            self._on_ready(member, ready, now_ns)
            return True
        if exchange.opcode == Opcode.POLL:
            if member.flow is exchange:
                member.flow = None
            self._on_nack(member, exchange.number, Nack.unpack(frame.payload), now_ns)
            return True
        return self._on_verdict(exchange, member, Verdict.unpack(frame.payload), now_ns)

    def _on_ready(self, member: Member, ready: Ready, now_ns: int) -> None:
        if ready.status != Status.OK:
            self._fail(member, CardError(f"refused the transfer: {status_name(ready.status)}",
                                         "see `safhost cards --counters`", member.card.key), now_ns)
        elif ready.state == TransferState.VERIFIED:
            self._verified(member, now_ns)
        else:
            member.state = m_.RECEIVING
            member.lagging = False
            member.on_ready(ready)
        late = self._started
        self._opened_or_not(member, now_ns)
        if late and member.active and self._passing and member.joined:
            self._join_pass(member)
        elif late and member.active and not self._passing:
            member.start_map()
            self._ask(member, 0, now_ns)
        self.cluster.pump(self, now_ns)

    def _on_nack(self, member: Member, round_: int, nack: Nack, now_ns: int) -> None:
        if not member.active:
            return
        if nack.status != Status.OK:
            self._fail(member, CardError(f"lost the transfer: {status_name(nack.status)}", "", member.card.key), now_ns)
            return
        if not member.plausible(nack):
            self.cluster.drop(DropReason.BAD_PARAMETER)
            self._fail(member, RemoteProtocolError(f"card {member.card.key}: its NACK is not about this object",
                                                   "its shell is broken; take it out"), now_ns)
            return
        member.lagging = False
        member.on_nack(round_, nack)
        if nack.missing == 0:
            self._close(member, now_ns)
        elif member.map_round and round_ >= member.map_round and not member.map_complete:
            for section in member.unknown_sections():
                self._ask(member, section, now_ns)
        self._next(now_ns)

    def on_failure(self, exchange: Exchange, error: SafError, now_ns: int) -> None:
        member: Member = exchange.tag  # type: ignore[assignment]  # as in on_answer
        if member.flow is exchange:
            member.flow = None
        if exchange.opcode == Opcode.XFER_OPEN and member.card.channel is not None:
            Unwanted.ask_on(exchange, self.kind, now_ns)  # only its answers may have got lost
            if isinstance(error, DeadlineExceeded) and not exchange.still and member.card.state == st.AVAILABLE:
                error.hint = (f"it answers short frames: does every port on the way carry frames of "
                              f"{self.block_bytes + HEADER_BYTES} bytes? see `safhost doctor`")
        self._fail(member, error, now_ns)

    # -- sending -------------------------------------------------------------------------------------------

    def pump(self, now_ns: int) -> None:
        """Send one batch if credit, pace and link allow. Called until it sends nothing."""
        if self._taking is not None or self.ended:
            return
        while self.lanes:
            lane = self.lanes[0]
            lane.members = [m for m in lane.members if m.active]
            if not lane.members or lane.at == len(lane.indices):
                self.lanes.pop(0)
                continue
            waited_for = self._waited_for(lane.members)
            if not waited_for:
                if len(lane.members) == 1 or len(self.lanes) > 1:
                    self.lanes.pop(0)  # its blocks are asked for again when it answers
                    continue
                return  # nobody answers what was asked: an answer, or the end of them all, is what comes next
            left = len(lane.indices) - lane.at
            n = min(BATCH_FRAMES, left, *(m.allowance for m in waited_for))
            if n < min(BATCH_FRAMES // 4, left, *(-(-m.window // 2) for m in waited_for)):
                self._flow_polls([m for m in waited_for if m.allowance <= n], now_ns, everybody=True)
                return  # a NACK or a missed poll opens the window again
            frame_bytes = self.block_bytes + HEADER_BYTES
            n = min(n, self.share.batch(self, frame_bytes))
            if self.bucket.available(now_ns) < n * frame_bytes:
                self.cluster.timers.set(self, self.bucket.ready_ns(n * frame_bytes, now_ns))
                return
            if not self.share.may_send(self, n, frame_bytes, now_ns):
                return
            self._taking = lane
            self.cluster.send_blocks(SendBlocks(self.link.name, self.id, lane.encoder, self.payload,
                                                lane.indices[lane.at:lane.at + n]), self.share)
            return
        if self._passing:
            self._passing = False
            self._end_pass(now_ns)

    def _waited_for(self, members: list[Member]) -> list[Member]:
        """Whose answers matter to the pace: those without fault while there are any in the whole transfer, else
        those that answer now."""
        if any(m.active and not m.behind for m in self.members):
            return [m for m in members if not m.behind]
        return [m for m in members if not m.lagging]

    def on_taken(self, frames: int, now_ns: int) -> None:
        lane, self._taking = self._taking, None
        if lane is None:
            return
        lane.at += frames
        self.frames_sent += frames
        self.bucket.take(frames * (self.block_bytes + HEADER_BYTES))
        for member in lane.members:
            member.sent += frames
            member.since_poll += frames
        self._flow_polls(lane.members, now_ns)
        self.cluster.pump(self, now_ns)

    def _flow_polls(self, members: list[Member], now_ns: int, everybody: bool = False) -> None:
        """Keep each member's credit fresh: ask once most of its window is out (or ``everybody`` now), one
        question at a time."""
        for member in members:
            if member.flow is None and (everybody or member.since_poll >= max(16, int(member.window * POLL_SHARE))):
                member.flow = self._poll(member, 0, now_ns)

    def _poll(self, member: Member, section: int, now_ns: int) -> Exchange:
        return PollExchange(self.cluster, member.card, self, Opcode.POLL, self.ethertype,
                             Poll(section * SECTION_BLOCKS).pack(), self.id, member.next_round(), self.deadline_ns,
                             first_ns=self._poll_wait_ns(member), tag=member).start(now_ns)

    def _poll_wait_ns(self, member: Member) -> int:
        """For an answer to POLL or CLOSE: before it the card takes a window of blocks, slowly if it says so."""
        frame_bytes = self.block_bytes + HEADER_BYTES
        window_ns = WINDOW_TIMES * member.window * frame_bytes * 1_000_000_000 // member.card.hello.receive_rate
        return max(self.cluster.config.poll_retry_ns, min(window_ns, MOST_POLL_WAIT_NS))

    def _ask(self, member: Member, section: int, now_ns: int) -> None:
        member.asked.add(section)
        self._poll(member, section, now_ns)

    # -- passes --------------------------------------------------------------------------------------------

    def _end_pass(self, now_ns: int) -> None:
        if self.passes == 1 and self.kind == TransferKind.DDR and len(self.members) == 1 and self.members[0].active:
            # hardly ever is a block lost: CLOSE asks whether all are there (SEAL-1), and saves a question
            self._close(self.members[0], now_ns)
            return
        for member in self.members:
            # of one that does not answer a question is out already, and any answer to it is new enough
            if member.active and not (member.lagging and member.map_round):
                member.start_map()
                self._ask(member, 0, now_ns)
        self.owner.on_transfer_progress(self, now_ns)

    def _next(self, now_ns: int) -> None:
        """Plan the next pass once everybody that is waited for has said what it misses."""
        if self.ended:
            return
        waited_for = self._waited_for([m for m in self.members if m.active])
        if self._started and not self.lanes and not self._passing and waited_for \
                and all(m.map_round and m.map_complete for m in waited_for):
            self._plan_pass(now_ns)
        self.cluster.pump(self, now_ns)

    def _plan_pass(self, now_ns: int) -> None:
        """What two or more miss goes to all, the rest to each that is waited for.

        A block that one misses for sure and another may miss, whose answer is not here yet, goes to all as well: sent
        to one alone, it would go out again for the other.
        """
        known = [m for m in self.members if m.active and (m.map_complete or not self.passes)]
        waited_for = self._waited_for(known)
        if self.passes:
            self.bucket.adapt(max((m.loss_of_pass() for m in waited_for), default=0.0))
        count = np.zeros(self.blocks, np.uint16)
        for m in known:
            np.add(count, m.missing, out=count, casting="unsafe")
        shared = count >= 2 if self.group else np.zeros(self.blocks, np.bool_)
        if self.group:
            sure, maybe = np.zeros((2, self.blocks), np.bool_)
            for m in waited_for:
                sure |= m.missing
            for m in self.members:
                if m.state in (m_.OPENING, m_.RECEIVING) and m not in known and not m.repairs:
                    maybe |= m.missing
            shared |= sure & maybe
        if shared.any():
            self.lanes.append(Lane(self._encoder(None), np.flatnonzero(shared), list(known)))
        for m in known:
            m.map_round = 0
            m.map_complete = False
            if m not in waited_for:
                continue
            alone = np.flatnonzero(m.missing & ~shared)
            if m.repairs:
                m.state = m_.REPAIRING  # its card takes GUARDED blocks only from here on
                Repair(self, m).resend(np.flatnonzero(m.missing).tolist(), now_ns)
            elif len(alone):
                self.lanes.append(Lane(self._encoder(m.card), alone, [m]))
        self.passes += 1
        self._passing = True
        self.cluster.pump(self, now_ns)

    def _encoder(self, card: Card | None) -> DataEncoder:
        """Header templates: one for the group, one for each card and session."""
        session = self.group if card is None else card.channel.session if card.channel else 0
        key = ("" if card is None else card.key, session)
        if key not in self._encoders:
            self._encoders[key] = DataEncoder(
                dst=BROADCAST_BYTES if card is None else card.mac, src=self.link.mac,
                ethertype=self.cluster.codec.outgoing(self.ethertype), session=session, object=self.id,
                length_bytes=self.length, block_bytes=self.block_bytes, max_batch=min(BATCH_FRAMES, self.blocks))
        return self._encoders[key]

    def new_session(self, card: Card, now_ns: int) -> None:
        """The card is re-adopted: unicast lanes of the old session would be dropped, and the link's own address
        may be another one."""
        member = self.by_card.get(card.key)
        if member is None or not member.active:
            return
        link = self.cluster.links[self.link.name]
        if link.mac != self.link.mac:
            self.link = link
            self._encoders.clear()
        for lane in self.lanes:
            if lane.members == [member]:
                lane.encoder = self._encoder(card)
            elif member in lane.members:
                lane.encoder = self._encoder(None)

    # -- closing -------------------------------------------------------------------------------------------

    def _close(self, member: Member, now_ns: int) -> None:
        member.state = m_.CLOSING
        member.missing_count = 0
        self._drop_polls(member, now_ns)
        Exchange(self.cluster, member.card, self, Opcode.CLOSE, self.ethertype, Close().pack(), self.id,
                 member.next_round(), self.deadline_ns, first_ns=self._poll_wait_ns(member),
                 tag=member).start(now_ns)
        self.owner.on_transfer_progress(self, now_ns)

    def _on_verdict(self, exchange: Exchange, member: Member, verdict: Verdict, now_ns: int) -> bool:
        if verdict.status == Status.RUNNING:
            member.progress = verdict.leaves_done / max(1, verdict.leaves)
            exchange.keep_asking(now_ns, self.cluster.config.verify_poll_ns)
            return False
        if verdict.status == Status.OK:
            if verdict.digest == self.digest:
                self._verified(member, now_ns)
            else:
                self._fail(member, RemoteProtocolError(f"card {member.card.key} calls another digest verified",
                                                       "its shell is broken; take it out"), now_ns)
        elif member.eager and verdict.status == Status.UNKNOWN_TRANSFER:
            self._take_back(member)  # its XFER_OPEN got lost, and is sent again
        elif verdict.status == Status.BAD_STATE and verdict.missing:
            member.eager = False
            member.state = m_.RECEIVING  # a late INVALIDATE or a card that forgot; the map tells
            member.start_map()
            self._ask(member, 0, now_ns)
        elif verdict.status == Status.DIGEST_MISMATCH and member.repairs < Repair.MAX_REPAIRS:
            member.repairs += 1
            member.state = m_.REPAIRING
            Repair(self, member).start(now_ns)
        else:
            self._fail(member, CardError(f"does not verify: {status_name(verdict.status)}",
                                         "its memory or its path corrupts data", member.card.key), now_ns)
        self._next(now_ns)
        return True

    def member_failed(self, member: Member, error: SafError, now_ns: int) -> None:
        self._fail(member, error, now_ns)

    def send_guarded(self, member: Member, blocks: list[int], now_ns: int) -> None:
        """GUARDED copies of ``blocks`` to one member; few frames, so bytes objects."""
        channel = member.card.channel
        if channel is None:
            return
        encoder = self._encoder(member.card)
        for i in blocks:
            block = self.payload[i * self.block_bytes:(i + 1) * self.block_bytes]
            self.cluster.emit_frame(member.card, encoder.encode_guarded(i, block.data, channel.send_key), now_ns)
        member.sent += len(blocks)
        self.frames_sent += len(blocks)

    def repaired(self, member: Member, now_ns: int) -> None:
        """GUARDED blocks are out: ask what is missing, as after any pass."""
        member.state = m_.RECEIVING
        member.start_map()
        self._ask(member, 0, now_ns)

    def _verified(self, member: Member, now_ns: int) -> None:
        if member.eager:  # its READY got lost, and is not asked for again
            for asked in self._asked(member):
                asked.cancel()
        member.state = m_.VERIFIED
        member.progress = 1.0
        member.card.counters["written_bytes"] += self.length
        self._member_ended(member, now_ns)

    def _fail(self, member: Member, error: SafError, now_ns: int) -> None:
        if member.ended:
            return
        opened = member.state != m_.OPENING and not member.eager
        member.state = m_.FAILED
        member.error = error
        self._drop_polls(member, now_ns)
        if opened and member.card.channel is not None:
            abort(self.cluster, member.card, self.id, self.kind, now_ns)  # its context is free for others
        self._member_ended(member, now_ns)

    def _member_ended(self, member: Member, now_ns: int) -> None:
        member.finished_ns = now_ns
        if self.kind == TransferKind.DDR:
            self.cluster.ddr_member_ended(self, member.card, now_ns)
        self.owner.on_member_ended(self, member, now_ns)
        self._opened_or_not(member, now_ns)
        if all(m.ended for m in self.members):
            self._finish(now_ns)
        else:
            self._next(now_ns)

    def _finish(self, now_ns: int) -> None:
        if self.ended:
            return
        self.ended = True
        self.due_ns = None
        self.lanes.clear()
        self.cluster.transfers.remove(self)
        self.owner.on_transfer_ended(self, now_ns)

    def _asked(self, member: Member) -> list[Exchange]:
        """What a member was asked and has not answered."""
        return [e for e in member.card.pending.values() if e.asker is self and e.tag is member]

    def _drop_polls(self, member: Member, now_ns: int) -> None:
        for exchange in self._asked(member):
            if exchange.opcode != Opcode.XFER_OPEN:
                exchange.cancel()
            elif member.state != m_.CLOSING:  # else its READY still counts
                exchange.asker = Unwanted(self.kind)
                exchange.deadline_ns = now_ns + 2 * self.cluster.config.lease_ns
        member.flow = None

    # -- time and ends -------------------------------------------------------------------------------------

    def on_timer(self, now_ns: int) -> None:
        if now_ns >= self.deadline_ns:
            for member in self.members:
                if not member.ended:
                    self._fail(member, DeadlineExceeded(
                        f"card {member.card.key}: transfer not verified in time ({member.missing_count} of "
                        f"{self.blocks} blocks missing, state {member.state})",
                        "raise --deadline or look at the path with `safhost doctor`"), now_ns)
            return
        if now_ns - self._progress_ns >= PROGRESS_NS:
            self._progress_ns = now_ns
            self.owner.on_transfer_progress(self, now_ns)
        if not self._started:
            slow = any(m.state == m_.OPENING and m.card.is_slow for m in self.members)
            if now_ns - self.start_ns >= (SLOW_OPEN_GRACE_NS if slow else OPEN_GRACE_NS):
                self._begin(now_ns)
        self.cluster.timers.set(self, min(self.deadline_ns, now_ns + PROGRESS_NS))
        self.cluster.pump(self, now_ns)

    def poll_missed(self, member: Member, attempts: int, now_ns: int) -> None:
        if attempts > (SLOW_GIVE_UP_POLLS if member.card.is_slow else GIVE_UP_POLLS) and not member.lagging:
            member.lagging = member.behind = True
            self._next(now_ns)

    def live_cards(self) -> list[Card]:
        """Cards of the members that have not ended."""
        return [m.card for m in self.members if not m.ended]

    def drop(self, card: Card, why: SafError, now_ns: int) -> None:
        """Give up on one card, if it takes part."""
        member = self.by_card.get(card.key)
        if member is not None:
            self._fail(member, why, now_ns)

    def cancel(self, why: SafError, now_ns: int) -> None:
        """Give up on all members."""
        for member in self.members:
            self._fail(member, why, now_ns)

    def describe(self) -> dict[str, Any]:
        """Progress for people: what went out, what each card misses."""
        return {
            "sent_frames": self.frames_sent, "total_blocks": self.blocks, "block_bytes": self.block_bytes,
            "passes": self.passes, "resent_blocks": self.blocks_resent, "rate": self.bucket.rate,
            "cards": {m.card.key: {"state": m.state, "missing": m.missing_count, "progress": round(m.progress, 4)}
                      for m in self.members},
        }
