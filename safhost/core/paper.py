"""A host of the paper's plain protocol (profile `paper`): Table I's payloads, no header, no numbers.

It has the same ``handle(event, now_ns)`` as :class:`safhost.core.cluster.Cluster`, so the same runtime drives it.
What the paper leaves out is left out: nothing lost is sent again, nothing that arrived is verified, a result is as
many bytes as came. What this adds is that every wait has a deadline and names the cards that did not answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.core import card as st
from safhost.core import events as ev
from safhost.core.actions import Action, CardChanged, RequestEnded, SendFrames
from safhost.core.card import Card
from safhost.core.cluster import LinkInfo
from safhost.core.config import CoreConfig
from safhost.core.paper_requests import MAX_KERNELS, RESET_REGISTER, PaperProgram, PaperRequest, PaperUnit, PaperWrite
from safhost.core.paper_sending import Sending
from safhost.core.timers import Timers
from safhost.errors import CardError, CardLost, SafError, SchedulingError
from safhost.wire.codec import BROADCAST_BYTES, MIN_FRAME_BYTES, Codec
from safhost.wire.generated import (
    ETHERNET_HEADER_BYTES,
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    ETHERTYPE_RESULT,
    PR_COMPAT_ID,
    CardState,
    DropReason,
    Hello,
    PaperCommand,
    PaperConfirm,
    PaperHello,
)

DDR_BYTES = 8 << 30  # SAF V: a 385A's memory; the paper's discovery frame does not say


LOST_HINT = "it is used again when it announces itself"
_ANSWERS = {ETHERTYPE_IMAGE: ETHERTYPE_IMAGE_ANSWER, ETHERTYPE_INPUT: ETHERTYPE_INPUT_ANSWER}


class PaperCard(Card):
    """A card that announced itself in the paper's way. There is no session: it is used as it stands. It does one
    thing at a time: a ``unit`` or a ``request``; ``sending`` is what answers of it are for."""

    unit: PaperUnit | None = None
    request: PaperRequest | None = None
    sending: Sending | None = None

    @property
    def usable(self) -> bool:
        return self.state == st.AVAILABLE


class _Sessions:
    """The part of Sessions that listings look at."""

    def __init__(self, generation: int) -> None:
        self.by_mac: dict[tuple[str, bytes], Card] = {}
        self.by_key: dict[str, Card] = {}
        self.generation = generation
        self.drained: set[str] = set()  # keys of cards that get no more work

    def on_card_timer(self, card: Card, now_ns: int) -> None:
        """A card of this profile has no lease and so no timer."""


class PaperCluster:
    raw_batches = True  # frames have no header of ours: the runtime hands batches over as they are

    def __init__(self, config: CoreConfig, entropy: Callable[[int], bytes], codec: Codec | None = None) -> None:
        self.config = config
        self.entropy = entropy
        self.codec = codec or Codec()
        self.links: dict[str, LinkInfo] = {}
        self.timers = Timers()
        self.sessions = _Sessions(config.generation)
        self.requests: dict[int, Any] = {}
        self.drops: dict[DropReason, int] = {}
        self.out: list[Action] = []
        self.unit_queue: deque[PaperUnit] = deque()
        self.transfers: dict[int, Sending] = {}
        self._next_id = 1
        self._dispatching = False
        self._frames: dict[str, list[bytes]] = {}
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            ev.BatchReceived: self._batch, ev.BlocksTaken: self._taken, ev.TimePassed: self._time,
            ev.LinkWritable: self._writable, ev.LinkCameUp: self._link_up, ev.LinkWentDown: self._link_down,
            ev.KeysChanged: self._nothing, ev.SessionsWanted: self._nothing, ev.StartSolicit: self._solicit,
            ev.StartProgram: self._program, ev.StartWrite: self._write, ev.StartUnit: self._unit,
            ev.StartKill: self._kill, ev.StartClose: self._close, ev.RequestCancelled: self._cancel,
            ev.StartRead: self._unsupported, ev.StartRun: self._unsupported,
        }

    # -- in and out ----------------------------------------------------------------------------------------

    def handle(self, event: Any, now_ns: int) -> list[Action]:
        """The one way in. Returns the actions to carry out, in order."""
        self._handlers[type(event)](event, now_ns)
        self.timers.run(now_ns)
        frames: list[Action] = [SendFrames(link, batch) for link, batch in self._frames.items()]
        self._frames = {}
        out, self.out = frames + self.out, []
        return out

    def next_wakeup_ns(self) -> int | None:
        return self.timers.next_ns()

    def emit(self, link: str, dst: bytes, ethertype: int, payload: bytes) -> None:
        frame = dst + self.links[link].mac + self.codec.outgoing(ethertype).to_bytes(2, "big") + payload
        self._frames.setdefault(link, []).append(frame + bytes(max(0, MIN_FRAME_BYTES - len(frame))))

    def command(self, card: Card, address: int, word: int) -> None:
        """One 32-bit write to the kernel interface (SAF IV-A3)."""
        self.emit(card.link, card.mac, ETHERTYPE_CONTROL, PaperCommand(address, word).pack())

    def drop(self, reason: DropReason, n: int = 1) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + n

    def cards_on(self, link: str) -> list[PaperCard]:
        """Cards that a broadcast on this link reaches, as far as we know."""
        return [c for c in self.sessions.by_mac.values() if isinstance(c, PaperCard) and c.link == link and c.usable]

    def new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    # -- frames --------------------------------------------------------------------------------------------

    def _batch(self, event: ev.BatchReceived, now_ns: int) -> None:
        frames, lengths = event.frames, event.lengths
        types = frames[:, 12].astype(np.int64) << 8 | frames[:, 13]
        at = 0
        while at < len(types):
            canonical = self.codec.canonical(int(types[at]))
            end = at + 1
            if canonical == ETHERTYPE_RESULT:  # bulk: a run of equally long frames of one card at a time
                same = (types[at:] == types[at]) & (lengths[at:] == lengths[at]) \
                    & (frames[at:, 6:12] == frames[at, 6:12]).all(axis=1)
                end = at + (len(same) if same.all() else int((~same).argmax()))
                self._result(event.link, frames[at:end], int(lengths[at]), now_ns)
            else:
                self._frame(event.link, canonical, frames[at, :lengths[at]].tobytes(), now_ns)
            at = end

    def _frame(self, link: str, canonical: int, raw: bytes, now_ns: int) -> None:
        payload = raw[ETHERNET_HEADER_BYTES:]
        if canonical == ETHERTYPE_DISCOVERY and len(payload) >= 16:
            self._hello(link, PaperHello.unpack(payload[:16]), raw[6:12], now_ns)
            return
        card = self.sessions.by_mac.get((link, raw[6:12]))
        if not isinstance(card, PaperCard) or len(payload) < 4:
            self.drop(DropReason.WRONG_SOURCE if card is None else DropReason.TRUNCATED)
            return
        card.last_heard_ns = now_ns
        sending = card.sending
        if sending is not None and canonical == _ANSWERS[sending.ethertype]:
            sending.on_answer(card, PaperConfirm.unpack(payload[:4]).status, now_ns)
        else:
            self.drop(DropReason.NO_CONTEXT)

    def _hello(self, link: str, hello: PaperHello, source: bytes, now_ns: int) -> None:
        if hello.mac0 != source:
            self.drop(DropReason.WRONG_SOURCE)
            return
        card = self.sessions.by_mac.get((link, source))
        if card is None:
            facts = Hello(mac0=hello.mac0, mac1=hello.mac1, vendor_id=hello.vendor_id, product_id=hello.product_id,
                          mtu=self.links[link].mtu, image_slots=1, command_slots=1, ddr_contexts=1,
                          pr_compat_id=PR_COMPAT_ID, ddr_bytes=DDR_BYTES, image_slot_bytes=1 << 28,
                          ddr_max_blocks=65536)
            card = PaperCard(self.sessions, link, source, facts)  # type: ignore[arg-type]  # has what a card asks of it
            other = self.sessions.by_key.get(card.key)
            if other is not None and other.usable:
                self.drop(DropReason.WRONG_SOURCE)  # heard by another interface too: one way to it is enough
                return
            if other is not None:
                del self.sessions.by_mac[other.link, other.mac]
            self.sessions.by_mac[link, source] = card
            self.sessions.by_key[card.key] = card
        elif card.state == st.AVAILABLE:
            self._lost(card, "it announced itself again: it was plugged in anew", now_ns)
        card.last_heard_ns = now_ns
        self._set(card, st.AVAILABLE, "")

    def _result(self, link: str, frames: NDArray[np.uint8], length: int, now_ns: int) -> None:
        card = self.sessions.by_mac.get((link, frames[0, 6:12].tobytes()))
        if not isinstance(card, PaperCard) or card.unit is None or not card.unit.running:
            self.drop(DropReason.NO_CONTEXT, len(frames))
        else:
            card.unit.on_result(frames[:, ETHERNET_HEADER_BYTES:length], now_ns)

    # -- other events --------------------------------------------------------------------------------------

    def _taken(self, event: ev.BlocksTaken, now_ns: int) -> None:
        transfer = self.transfers.get(event.transfer)
        if transfer is not None:
            transfer.on_taken(event.frames, event.full, now_ns)

    def _writable(self, event: ev.LinkWritable, now_ns: int) -> None:
        for transfer in list(self.transfers.values()):
            if transfer.link == event.link:
                transfer.pump(now_ns)

    def _time(self, event: ev.TimePassed, now_ns: int) -> None:
        self.timers.run(now_ns)

    def _nothing(self, event: Any, now_ns: int) -> None:
        """Keys and sessions do not exist in this profile."""

    def _link_up(self, event: ev.LinkCameUp, now_ns: int) -> None:
        self.links[event.link] = LinkInfo(event.link, event.mac, event.mtu)
        for card in self.sessions.by_mac.values():
            if card.link == event.link and card.state == st.SUSPECT:
                self._set(card, st.AVAILABLE, "")  # it would announce itself again only if it had noticed
        self._solicit(ev.StartSolicit(), now_ns)

    def _link_down(self, event: ev.LinkWentDown, now_ns: int) -> None:
        for card in self.sessions.by_mac.values():
            if card.link == event.link and card.usable:
                self._set(card, st.SUSPECT, "interface is down")
                self._end_work(card, "interface is down", now_ns)

    def _solicit(self, event: ev.StartSolicit, now_ns: int) -> None:
        """Any frame will do: a card announces itself on the first one it sees (SAF IV-A1)."""
        for link in self.links:
            self.emit(link, BROADCAST_BYTES, ETHERTYPE_DISCOVERY, b"")

    def _lost(self, card: Card, why: str, now_ns: int) -> None:
        """It is not what it was: it has no role and knows nothing."""
        card.image_digest = bytes(32)
        card.card_state = CardState.NO_ROLE
        self._set(card, st.LOST, why)
        self._end_work(card, why, now_ns)

    def _set(self, card: Card, state: str, why: str) -> None:
        card.state, card.why = state, why
        self.out.append(CardChanged(card.key, state, why))

    def _end_work(self, card: Card, why: str, now_ns: int) -> None:
        assert isinstance(card, PaperCard)
        error = CardLost(why, LOST_HINT, card.key)
        if card.unit is not None:
            card.unit.fail(error, now_ns)
        if card.request is not None:
            card.request.card_lost(card, error, now_ns)

    # -- requests ------------------------------------------------------------------------------------------

    def end(self, request: int, result: dict[str, Any], error: SafError | None) -> None:
        self.requests.pop(request, None)
        self.out.append(RequestEnded(request, result, error))

    def _cards(self, request: int, keys: tuple[str, ...]) -> list[PaperCard]:
        """The cards, all of them free; else the request is answered and there are none."""
        cards = [c for k in dict.fromkeys(keys) if isinstance(c := self.sessions.by_key.get(k), PaperCard)]
        bad = [c for c in cards if not c.usable or c.request is not None or c.unit is not None]
        if bad:
            why = "is busy with another request" if bad[0].usable else f"is {bad[0].state}: {bad[0].why}"
            self.end(request, {}, CardError(why, "wait, or plug it in again", bad[0].key))
            return []
        if not cards:
            self.end(request, {}, CardError("no card to work with", "plug one in: it announces itself once"))
        return cards

    def _program(self, event: ev.StartProgram, now_ns: int) -> None:
        if not event.commit or event.staged_only:
            why = "cannot stage an image without loading it" if not event.commit else "keeps no image for later"
            self.end(event.request, {}, SchedulingError(f"the paper's protocol {why}",
                                                        "program the image as a whole, or use the profile saf"))
            return
        cards = self._cards(event.request, event.cards)
        if cards:
            self.requests[event.request] = request = PaperProgram(self, event, cards, now_ns)
            request.start(now_ns)

    def _write(self, event: ev.StartWrite, now_ns: int) -> None:
        cards = self._cards(event.request, event.cards)
        if cards:
            self.requests[event.request] = request = PaperWrite(self, event, cards, now_ns)
            request.start(now_ns)

    def _unit(self, event: ev.StartUnit, now_ns: int) -> None:
        unit = PaperUnit(self, event, now_ns)
        problem = unit.problem() or ("" if event.kernel < MAX_KERNELS else f"there is no kernel {event.kernel}")
        if not problem and not any(_fits(c, event) for c in self.sessions.by_mac.values()):
            problem = f"no card runs image {event.digest.hex()[:12]}"
        if problem:
            self.end(event.request, {}, SchedulingError(problem, "program an image that fits: safhost program IMAGE"))
            return
        self.requests[event.request] = unit
        self.unit_queue.append(unit)
        self.dispatch(now_ns)

    def dispatch(self, now_ns: int) -> None:
        """One unit a card at a time: results have no name by which two could be told apart."""
        if self._dispatching:
            return
        self._dispatching = True
        waiting: deque[PaperUnit] = deque()
        while self.unit_queue:
            unit = self.unit_queue.popleft()
            free = [c for c in self.sessions.by_mac.values() if isinstance(c, PaperCard) and c.usable and c.unit is None
                    and c.request is None and _fits(c, unit.event)]
            if free:
                unit.begin(free[0], now_ns)
            else:
                waiting.append(unit)
        self.unit_queue = waiting
        self._dispatching = False

    def _kill(self, event: ev.StartKill, now_ns: int) -> None:
        card = self.sessions.by_key.get(event.card)
        if not isinstance(card, PaperCard) or not card.usable:
            why = f"is {card.state}: {card.why}" if card is not None else "is not known"
            self.end(event.request, {}, CardError(why, "see `safhost cards`", event.card))
            return
        unit = card.unit
        if unit is None or not unit.running:
            self.command(card, RESET_REGISTER, 1)
        if unit is not None:
            unit.fail(SchedulingError("the role was reset", "submit it again"), now_ns)  # resets what runs
        self.end(event.request, {}, None)

    def _close(self, event: ev.StartClose, now_ns: int) -> None:
        self.end(event.request, {}, None)

    def _cancel(self, event: ev.RequestCancelled, now_ns: int) -> None:
        request = self.requests.get(event.request)
        if request is not None:
            request.cancel(SchedulingError("cancelled", ""), now_ns)

    def _unsupported(self, event: ev.StartRead | ev.StartRun, now_ns: int) -> None:
        what = "READ" if isinstance(event, ev.StartRead) else "a command that is answered"
        self.end(event.request, {}, SchedulingError(f"the paper's protocol has no {what}",
                                                    "results come as kernel outputs; or use the profile saf"))


def _fits(card: Card, event: ev.StartUnit) -> bool:
    """Whether the card runs the unit's image and may be used for it."""
    return card.image_digest == event.digest and (not event.cards or card.key in event.cards)
