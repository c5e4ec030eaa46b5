"""Discovery and sessions: from a HELLO nobody believes to an OPENED that is proven, and liveness after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core import card as st
from safhost.core.card import Card
from safhost.core.commands import status_name
from safhost.wire import auth
from safhost.wire.channel import Channel
from safhost.wire.codec import BROADCAST_BYTES, Frame
from safhost.wire.generated import (
    COMMAND_SLOTS,
    DDR_CONTEXTS,
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    IMAGE_SLOTS,
    SECTION_BLOCKS,
    SUITE_BLAKE2S,
    Alive,
    CardState,
    DropReason,
    Hello,
    Keepalive,
    Opcode,
    Opened,
    SessionOpen,
    Solicit,
    Status,
)

if TYPE_CHECKING:
    from safhost.core.cluster import Cluster, LinkInfo

MS = 1_000_000
OPEN_RETRY_NS = 200 * MS
OPEN_BACKOFF_STEPS = 4  # doublings of the wait
QUICK_OPENS = 3  # answers to SESSION_OPEN that may each be followed by the next one at once
SOLICIT_GAPS_NS = (100 * MS, 400 * MS, 2_000 * MS)  # between the SOLICITs after a link came up
OPTION_TAKEOVER = 1
QUIET_SHARE = 1 / 2  # of a lease without a word from any card of a link: then the network is out, not the cards
SUSPECT_KEEPALIVES = 3  # of the four in a second (DESIGN section 3), the last may be under way
STRANGERS_MAX = 4096  # records of cards without a session
MAX_GENERATION = 1 << 63  # generations grow by one a start: a larger one is nonsense
MASK_BLOCKS = 32 * SECTION_BLOCKS  # NACK's section mask has 32 bits
MAX_ID = 1 << 31  # of transfers, commits, commands: a card near the end of 32 bits has to reboot


class Sessions:
    """Owns every Card record: who is there, whose session it is, who went silent."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.by_mac: dict[tuple[str, bytes], Card] = {}
        self.by_key: dict[str, Card] = {}
        self.drained: set[str] = set()  # keys of cards that are to take no units
        self.generation = cluster.config.generation
        self.auto_open = cluster.config.auto_open
        self._quiet_ns = int(cluster.config.lease_ns * QUIET_SHARE)
        self._link_heard_ns: dict[str, int] = {}  # when some card of a link was heard
        self._link_back_ns: dict[str, int] = {}  # when one was heard again after all had been silent

    # -- discovery -----------------------------------------------------------------------------------------

    def solicit(self, spread_ms: int, links: tuple[str, ...] = ()) -> None:
        """Ask all cards on ``links`` (all when empty) to announce themselves."""
        c = self.cluster
        payload = Solicit(spread_ms, 0, int.from_bytes(c.entropy(4), "big")).pack()
        for name in links or c.links:
            c.emit(name, c.codec.encode(Opcode.SOLICIT, payload, dst=BROADCAST_BYTES, src=c.links[name].mac,
                                        ethertype=ETHERTYPE_DISCOVERY))

    def on_hello(self, link: str, frame: Frame, now_ns: int) -> None:
        hello = Hello.unpack(frame.payload)
        if hello.mac0 != frame.src or not _plausible(hello):
            self.cluster.drop(DropReason.BAD_PARAMETER)
            return
        card = self.by_mac.get((link, frame.src))
        if card is not None and card.channel is None and card.offer.serial != hello.serial:
            self._forget(card, now_ns, "another card claims its address")  # or what a stranger said once would stay
            card = None
        if card is None:
            if len(self.by_mac) >= STRANGERS_MAX:
                self._make_room(now_ns)
            card = Card(self, link, frame.src, hello)
            other = self.by_key.get(card.key)
            if other is not None:
                if other.channel is not None:
                    # Two places claim one serial; the one in session keeps it, HELLOs prove nothing. A card that was
                    # moved is known by its serial again when the lease has ended.
                    card.key = f"{card.key}@{link}/{frame.src.hex()}"
                else:
                    self._forget(other, now_ns, "another place claims its serial")
            card.first_seen_ns = now_ns
            self.by_mac[link, frame.src] = card
            self.by_key[card.key] = card
            self._set(card, st.LISTED, "not asked for")
        card.offer = hello
        if card.channel is None:
            card.hello = hello
            card.last_heard_ns = now_ns
            card.challenge = hello.challenge
            self._consider(card, now_ns)
        elif hello.boot_nonce != card.boot_nonce or card.state == st.SUSPECT or (
                not hello.session_open and now_ns - card.last_heard_ns > 2 * self.cluster.config.keepalive_ns):
            # It rebooted, or lost our session but not its boot: OPENED will tell. A card that has just answered
            # in its session has not lost it, whatever somebody claims in its name.
            card.challenge = hello.challenge
            self._consider(card, now_ns)

    def open_all(self, now_ns: int) -> None:
        """From here on cards are used: open a session to each that may be."""
        self.auto_open = True
        for card in self.by_mac.values():
            if card.channel is None and card.opening is None:
                self._consider(card, now_ns)

    def keys_changed(self, now_ns: int) -> None:
        """Cards whose key is gone are let go; cards that got one are used."""
        for card in list(self.by_mac.values()):
            why = self.refusal(card)
            if why and (card.channel is not None or card.opening is not None):
                self.end(card, now_ns, why)
                card.retry_open_ns = 0
            elif not why and card.state == st.LISTED:
                self._consider(card, now_ns)

    def _make_room(self, now_ns: int) -> None:
        """Anybody can say HELLO under any number of addresses: forget those that did longest ago and proved nothing."""
        strangers = [card for card in self.by_mac.values() if card.channel is None]
        if len(strangers) >= STRANGERS_MAX:
            strangers.sort(key=lambda card: card.last_heard_ns)
            for card in strangers[:STRANGERS_MAX // 4]:
                self._forget(card, now_ns, "nothing was heard of it, and others want its place")

    def _forget(self, card: Card, now_ns: int, why: str) -> None:
        card.due_ns = None
        self._void(card, why, now_ns)
        self.by_mac.pop((card.link, card.mac), None)
        self.by_key.pop(card.key, None)

    def refusal(self, card: Card) -> str:
        """Why the cluster does not use this card; empty when it may."""
        config = self.cluster.config
        if card.hello.suite != config.suite:
            return f"speaks suite {card.hello.suite}, the cluster demands suite {config.suite}"
        if config.suite == SUITE_BLAKE2S and card.serial not in config.keys:
            return "its key is not in the key file"
        return ""

    def _consider(self, card: Card, now_ns: int) -> None:
        why = self.refusal(card) if card.channel is None else ""  # a hint ends no session
        if why:
            self._set(card, st.LISTED, why)
        elif self.auto_open and now_ns >= card.retry_open_ns:
            self.open(card, now_ns)

    # -- opening -------------------------------------------------------------------------------------------

    def open(self, card: Card, now_ns: int) -> None:
        """Send SESSION_OPEN for the boot the card's HELLO names; its own session lives on until OPENED."""
        c, offer = self.cluster, card.offer
        if card.channel is None and card.opening is None:
            card.appeared_ns = now_ns
        if card.generation and card.boot_nonce == offer.boot_nonce and card.channel is not None:
            self.bump(card.generation + 1)  # re-adoption within one boot needs a newer generation
        card.generation = max(card.generation, self.generation)
        link = c.links[card.link]
        asked = (offer.boot_nonce, card.generation, card.challenge, link.mac)
        if card.opening is None or card.asked != asked:
            self._new_open(card, link)
            card.asked, card.open_tries = asked, 0
        # The same question again keeps its nonce, so that an answer that took its time still counts; and it is asked
        # ever more slowly: a thousand cards that answer late must not be asked faster than they can answer.
        wait_ns = OPEN_RETRY_NS << min(card.open_tries, OPEN_BACKOFF_STEPS)
        card.open_tries += 1
        card.retry_open_ns = now_ns + wait_ns
        opening = card.opening
        assert opening is not None
        frame = opening.seal(Opcode.SESSION_OPEN, card.open_payload, ETHERTYPE_CONTROL, 0, card.open_attempt)
        c.emit_frame(card, frame, now_ns)
        if card.channel is None and card.state != st.BUSY:
            self._set(card, st.OPENING, "session is being opened")
        c.timers.set(card, now_ns + wait_ns)

    def _new_open(self, card: Card, link: LinkInfo) -> None:
        """Keys and payload of a SESSION_OPEN with a nonce of its own."""
        c, offer = self.cluster, card.offer
        card.opening_nonce, card.opening_offer = offer.boot_nonce, offer
        card.host_nonce = c.entropy(16)
        card.open_attempt += 1
        keys = None
        if c.config.suite == SUITE_BLAKE2S:
            keys = auth.derive_keys(c.config.keys[card.serial], offer.boot_nonce, card.host_nonce,
                                    c.config.owner, card.generation, link.mac, card.mac)
        card.opening = Channel.for_host(c.codec, link.mac, card.mac, keys)
        card.open_payload = SessionOpen(c.config.owner, card.generation, card.host_nonce, offer.boot_nonce,
                                        card.challenge, c.config.lease_ns // MS,
                                        OPTION_TAKEOVER if c.config.takeover else 0, link.mtu, 0).pack()

    def on_opened(self, card: Card, frame: Frame, now_ns: int) -> None:
        c = self.cluster
        channel = card.opening
        if channel is None:
            c.drop(DropReason.REPLAYED)
            return
        reason = channel.check(frame)
        if reason is not None:
            c.drop(reason)
            return
        opened = Opened.unpack(frame.payload)
        if opened.host_nonce != card.host_nonce or opened.boot_nonce != card.opening_nonce:
            c.drop(DropReason.REPLAYED)
            return
        self._note_heard(card, now_ns)
        card.challenge = opened.challenge
        if opened.status != Status.OK:
            self._refused(card, opened, now_ns)
            return
        if opened.boot_nonce != card.boot_nonce and opened.hello_tag != auth.hello_tag(
                channel.receive_key, card.opening_offer.pack()):
            # A stranger's HELLO: what it said of the card is not so. The card says HELLO in a session when it is asked.
            c.drop(DropReason.BAD_TAG)
            self.solicit(0, (card.link,))
            return
        card.opening = None
        card.quick_opens = 0
        newest = max(opened.last_transfer, opened.last_commit, opened.last_kill, *(s.command for s in opened.slots))
        if newest >= MAX_ID:
            self._void(card, "its ids are used up", now_ns)
            self._set(card, st.REFUSED, "its ids are used up; reboot it")
            return
        # the count too: the OPENED that said that nothing was kept may have got lost
        kept = bool(opened.flags & 1) and (opened.boot_nonce, opened.forgotten) == (card.boot_nonce, card.forgotten)
        if card.boot_nonce and not kept:
            self._void(card, "it rebooted" if opened.boot_nonce != card.boot_nonce else "another owner had it",
                       now_ns)
        if opened.boot_nonce != card.boot_nonce:
            card.hello = card.opening_offer
            card.forget_boot()
        channel.session = opened.session
        card.channel = channel
        card.adopt(opened)
        c.transfers.next_id = max(c.transfers.next_id, card.last_transfer + 1)
        self._set(card, st.AVAILABLE, "")
        c.timers.set(card, now_ns + c.config.keepalive_ns)
        c.on_card_available(card, opened, now_ns)

    def _refused(self, card: Card, opened: Opened, now_ns: int) -> None:
        c = self.cluster
        status = opened.status
        card.opening = None
        if status == Status.STALE_GENERATION and opened.owner == c.config.owner \
                and opened.generation < MAX_GENERATION:
            self.bump(opened.generation + 1)
            self._open_again(card, now_ns)
        elif status == Status.BAD_CHALLENGE:
            self._open_again(card, now_ns)
        elif status == Status.BUSY:
            card.lease_left_ms = opened.lease_left_ms
            card.retry_open_ns = now_ns + min(1000, opened.lease_left_ms + 1) * MS
            if card.channel is not None:
                self._void(card, "another owner took it", now_ns)
            self._set(card, st.BUSY, f"owner {opened.owner:016x} holds it, lease left {opened.lease_left_ms} ms")
            c.timers.set(card, card.retry_open_ns)
        else:
            card.retry_open_ns = now_ns + 1000 * MS
            self._set(card, st.REFUSED, f"answered {status_name(status)} to SESSION_OPEN")

    def _open_again(self, card: Card, now_ns: int) -> None:
        """The answer said what was wrong: at once with that put right, but not for ever."""
        card.quick_opens += 1
        if card.quick_opens > QUICK_OPENS:
            card.quick_opens = 0
            self.cluster.timers.set(card, max(card.retry_open_ns, now_ns + 1))
        elif not self.refusal(card):
            self.open(card, now_ns)

    def bump(self, generation: int) -> None:
        if generation > self.generation:
            self.generation = generation
            self.cluster.keep_generation(generation)

    # -- liveness ------------------------------------------------------------------------------------------

    def on_alive(self, card: Card, frame: Frame, now_ns: int) -> None:
        alive = Alive.unpack(frame.payload)
        card.role_epoch = max(card.role_epoch, alive.role_epoch)
        if not card.committing:
            card.note_state(alive.card_state)
        card.note_running(alive.slots_running)
        self.cluster.on_card_idle(card, now_ns)

    def _note_heard(self, card: Card, now_ns: int) -> None:
        card.last_heard_ns = now_ns
        if now_ns - self._link_heard_ns.get(card.link, now_ns) >= self._quiet_ns:
            self._link_back_ns[card.link] = now_ns
        self._link_heard_ns[card.link] = now_ns

    def is_out(self, card: Card, now_ns: int) -> bool:
        """Whether a card that is silent is so because its whole link is, or was until less than a lease ago.

        One card that falls silent is lost after a lease and must hold up nobody. When several fall silent together,
        there is nobody to hold up: it is a switch that restarts or a cable, and work goes on when it is back.
        """
        if now_ns - card.last_heard_ns >= self.cluster.config.outage_ns:
            return False
        if now_ns - self._link_back_ns.get(card.link, -self.cluster.config.lease_ns) < self.cluster.config.lease_ns:
            return True
        last_ns = self._link_heard_ns.get(card.link, 0)
        return now_ns - last_ns >= self._quiet_ns and any(
            other.link == card.link and other is not card and other.boot_nonce
            and last_ns - other.last_heard_ns < self._quiet_ns for other in self.by_mac.values())

    def heard(self, card: Card, now_ns: int) -> None:
        self._note_heard(card, now_ns)
        card.unanswered = 0
        if card.state == st.SUSPECT:
            self._set(card, st.AVAILABLE, "")
            self.cluster.on_card_back(card, now_ns)

    def on_card_timer(self, card: Card, now_ns: int) -> None:
        c = self.cluster
        if card.channel is None:
            if card.state in (st.OPENING, st.BUSY) and not self.refusal(card):
                silent = now_ns - card.last_heard_ns
                if silent > c.config.lease_ns:
                    self._set(card, st.LOST, "no answer to SESSION_OPEN")
                elif now_ns >= card.retry_open_ns:
                    self.open(card, now_ns)
                else:
                    c.timers.set(card, card.retry_open_ns)
            return
        silent = now_ns - card.last_heard_ns
        if silent >= c.config.lease_ns and card.unanswered >= SUSPECT_KEEPALIVES \
                and not (c.works_on(card) and self.is_out(card, now_ns)):
            self._void(card, f"silent for {silent / 1e9:.1f} s", now_ns)
            self._set(card, st.LOST, f"silent for {silent / 1e9:.1f} s")
            return
        # silent is who was asked and did not answer: a host that was busy itself must not blame its cards
        if silent >= c.config.suspect_ns and card.unanswered >= SUSPECT_KEEPALIVES and card.state == st.AVAILABLE:
            self._set(card, st.SUSPECT, "silent")
            c.on_card_suspect(card, now_ns, hasty=True)
        if silent >= c.config.abandon_ns and card.state == st.SUSPECT:
            c.on_card_suspect(card, now_ns)
        if now_ns - card.last_sent_ns >= c.config.keepalive_ns or silent >= c.config.keepalive_ns:
            frame = card.channel.seal(Opcode.KEEPALIVE, Keepalive(c.config.lease_ns // MS, 0).pack(),
                                      ETHERTYPE_CONTROL)
            c.emit_frame(card, frame, now_ns)
            card.unanswered += 1
        others_are_heard = now_ns - self._link_heard_ns.get(card.link, 0) < self._quiet_ns
        # a slow card is late, not deaf: it would find all that was asked meanwhile in its queue at once
        urgent = card.state == st.SUSPECT and others_are_heard and c.works_on(card) and not card.is_slow
        c.timers.set(card, now_ns + (c.config.probe_ns if urgent else c.config.keepalive_ns))

    def link_up(self, link: str, now_ns: int) -> None:
        """The interface is there (again). With another address of ours, cards need sessions from there."""
        _Solicitor(self, link).on_timer(now_ns)
        mac = self.cluster.links[link].mac
        for card in self.by_mac.values():
            if card.link == link and card.channel is not None and card.channel.own_mac != mac:
                self.open(card, now_ns)

    def link_down(self, link: str, now_ns: int) -> None:
        for card in self.by_mac.values():
            if card.link == link and card.state == st.AVAILABLE:
                self._set(card, st.SUSPECT, "interface is down")
                self.cluster.on_card_suspect(card, now_ns)

    def end(self, card: Card, now_ns: int, why: str) -> None:
        """Our side lets go of the card."""
        self._void(card, why, now_ns)
        card.opening = None
        card.retry_open_ns = 1 << 62
        self._set(card, st.LISTED, why)

    def _void(self, card: Card, why: str, now_ns: int) -> None:
        """Everything in flight to the card is over."""
        card.channel = None
        self.cluster.on_card_lost(card, why, now_ns)
        card.forget_boot()

    def _set(self, card: Card, state: str, why: str) -> None:
        if (card.state, card.why) != (state, why):
            card.state, card.why = state, why
            self.cluster.card_changed(card)


class _Solicitor:
    """Asks who is there when a link comes up, and again: a card in somebody's session says nothing by itself, and
    the first SOLICIT may get lost or be one too many for the card."""

    def __init__(self, sessions: Sessions, link: str) -> None:
        self._sessions = sessions
        self._link = link
        self._gaps = list(SOLICIT_GAPS_NS)
        self.due_ns: int | None = None

    def on_timer(self, now_ns: int) -> None:
        self._sessions.solicit(0, (self._link,))
        if self._gaps:
            # never in step with another host: cards answer one SOLICIT at a time
            cluster = self._sessions.cluster
            share = (128 + cluster.entropy(1)[0]) / 256
            cluster.timers.set(self, now_ns + int(self._gaps.pop(0) * share))


def _plausible(hello: Hello) -> bool:
    """A HELLO is a hint, but it must not make us allocate or divide nonsense."""
    serial = hello.serial.rstrip(b"\0")
    return (90 <= hello.mtu <= 65535 and 0 < hello.image_slots <= IMAGE_SLOTS
            and 0 < hello.command_slots <= COMMAND_SLOTS and 0 < hello.ddr_contexts <= DDR_CONTEXTS
            and 0 < hello.image_max_blocks <= MASK_BLOCKS and 0 < hello.ddr_max_blocks <= MASK_BLOCKS
            and hello.window_blocks > 0 and hello.receive_rate > 0 and hello.card_state <= max(CardState)
            and all(0x21 <= byte < 0x7F for byte in serial))
