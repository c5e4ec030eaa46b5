"""Discovery, opening sessions, and what every check holds in its hands: a `Probe`.

Made of `safhost.wire` alone. A probe believes nothing: a frame of the card that does not parse, carries a tag that does
not verify or a sequence that came before breaks the check in which it comes. A lost frame breaks none: requests are
sealed anew and asked again, up to `TRIES` times.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

from safhost.conformance.broken import ClauseBroken, NotRun, status_name
from safhost.conformance.images import CardImage, make_image
from safhost.conformance.session import ProbeSession
from safhost.conformance.wires import CardWire
from safhost.units import Mac
from safhost.wire.auth import derive_keys
from safhost.wire.channel import Channel
from safhost.wire.codec import BROADCAST_BYTES, Frame
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    SOLICIT_GUARD_MS,
    SUITE_BLAKE2S,
    DropReason,
    Hello,
    Opcode,
    Opened,
    SessionOpen,
    Solicit,
    Status,
)

MS = 1_000_000
TRIES = 6
ANSWER_MS = 200
"""Time a card has to answer before it is asked again; `Probe.patience` multiplies it."""

LEASE_MS = 60_000
CAPABILITY_PUSH, CAPABILITY_GROUP, CAPABILITY_EMULATED = 1, 2, 8
OPTION_TAKEOVER = 1


class Probe:
    """A host's end by hand, for one card.

    ``card_key``: 32 bytes for a card of suite 1, None for suite 0. ``patience`` multiplies every deadline (a slow card,
    a simulation). ``images``: two for the clauses that need them; emulated cards get ours without asking. ``s`` is the
    session of a new owner that every check begins with.
    """

    s: ProbeSession

    def __init__(self, wire: CardWire, card_key: bytes | None, *, patience: float = 1.0,
                 images: Sequence[CardImage] = (), seed: int | None = None) -> None:
        self.wire = wire
        self.card_key = card_key
        self.patience = patience
        self.codec = wire.codec
        self._images = list(images)
        self._seed = secrets.token_bytes(16) if seed is None else seed.to_bytes(16, "big")
        self._drawn = 0
        self._last_hello: Hello | None = None
        self.hellos: list[Frame] = []
        self.sent, self.came = "", ""

    # -- what a check says

    def note(self, sent: str = "", came: str = "") -> None:
        """What goes into the table: what was sent, what came (the latest of each counts)."""
        self.sent, self.came = sent or self.sent, came or self.came

    @property
    def suite(self) -> int:
        """The suite that a card with this key speaks."""
        return 0 if self.card_key is None else SUITE_BLAKE2S

    def has_images(self) -> bool:
        """Whether `images` has some for this card."""
        return len(self._images) >= 2 or bool(self.last_hello().capabilities & CAPABILITY_EMULATED)

    def images(self) -> list[CardImage]:
        """Two images; raises NotRun when there are none for this card."""
        if not self.has_images():
            raise NotRun("two images made for this card (--image)")
        if len(self._images) < 2:
            self._images = [make_image(version, self.last_hello().pr_compat_id) for version in ("1", "2")]
        return self._images

    def need_capability(self, bit: int, name: str) -> None:
        """Raise NotRun for a card that says it cannot do ``name``."""
        if not self.last_hello().capabilities & bit:
            raise NotRun(f"a card with {name}")

    def random(self, count: int) -> bytes:
        """Bytes that repeat with the seed, if one was given."""
        self._drawn += 1
        key = hashlib.blake2s(self._seed + self._drawn.to_bytes(8, "big")).digest()
        return hashlib.shake_128(key).digest(count)

    # -- time

    def now_ns(self) -> int:
        return self.wire.now_ns()

    def ms(self, milliseconds: float) -> int:
        """A deadline in ns, with patience."""
        return round(milliseconds * MS * self.patience)

    # -- frames of no session

    def receive(self, wire: CardWire, timeout_ns: int) -> Frame | bytes | None:
        """The next frame to ``wire``'s address: a control frame taken apart, or a DATA frame as it is.

        HELLOs are also kept in ``hellos``. Raises ClauseBroken for a frame that does not parse.
        """
        raw = wire.receive(timeout_ns)
        if raw is None:
            return None
        if len(raw) >= 40 and raw[15] == Opcode.DATA:
            return raw
        frame = self.codec.parse(raw, "c2h", max(1514, wire.mtu + 14))
        if isinstance(frame, DropReason):
            raise ClauseBroken(f"a frame of the card that is {frame.name.lower()}: {raw[:40].hex(' ', 4)}")
        if frame.opcode == Opcode.HELLO:
            self.hellos.append(frame)
            self._last_hello = Hello.unpack(frame.payload)
        return frame

    def listen(self, milliseconds: float, wire: CardWire | None = None) -> list[Frame]:
        """All control frames that come within a time (not stretched by patience)."""
        wire = wire or self.wire
        end_ns, out = self.now_ns() + round(milliseconds * MS), []
        while (left_ns := end_ns - self.now_ns()) > 0:
            frame = self.receive(wire, left_ns)
            if isinstance(frame, Frame):
                out.append(frame)
        return out

    def pause(self, milliseconds: float) -> None:
        """Let time pass; what comes meanwhile on the probe's address is heard and forgotten."""
        self.listen(milliseconds)

    def encode(self, opcode: int, payload: bytes, ethertype: int, *, wire: CardWire | None = None,
               dst: bytes | None = None, **fields: Any) -> bytes:
        """An unsealed frame from ``wire``'s address."""
        wire = wire or self.wire
        return self.codec.encode(opcode, payload, dst=wire.card_mac if dst is None else dst,
                                 src=fields.pop("src", wire.host_mac), ethertype=ethertype, **fields)

    def solicit(self, spread_ms: int = 0, wire: CardWire | None = None) -> None:
        """Send SOLICIT."""
        wire = wire or self.wire
        wire.send(self.encode(Opcode.SOLICIT, Solicit(spread_ms=spread_ms).pack(), ETHERTYPE_DISCOVERY, wire=wire,
                              dst=BROADCAST_BYTES))

    def hello(self, wire: CardWire | None = None) -> Hello:
        """SOLICIT and the HELLO that answers; raises ClauseBroken when none comes."""
        wire = wire or self.wire
        self.drain(wire)
        for _ in range(TRIES):
            self.pause(2 * SOLICIT_GUARD_MS)
            self.solicit(wire=wire)
            end_ns = self.now_ns() + self.ms(ANSWER_MS)
            while (left_ns := end_ns - self.now_ns()) > 0:
                frame = self.receive(wire, left_ns)
                if isinstance(frame, Frame) and frame.opcode == Opcode.HELLO:
                    return Hello.unpack(frame.payload)
        raise ClauseBroken("no HELLO to SOLICIT")

    def last_hello(self) -> Hello:
        """The newest HELLO heard, asked for if there is none."""
        return self._last_hello or self.hello()

    def drain(self, wire: CardWire | None = None) -> None:
        """Forget what waits on an address."""
        while (wire or self.wire).receive(0) is not None:
            pass

    # -- sessions

    def owner(self) -> int:
        """An owner that no check used before."""
        return int.from_bytes(self.random(8), "big") | 1

    def channel(self, ask: SessionOpen, wire: CardWire) -> Channel:
        """The channel that an OPEN with these fields makes."""
        keys = None if self.card_key is None else derive_keys(
            self.card_key, ask.boot_nonce, ask.host_nonce, ask.owner, ask.generation, wire.host_mac, wire.card_mac)
        return Channel.for_host(self.codec, wire.host_mac, wire.card_mac, keys)

    def ask_open(self, owner: int, generation: int = 1, *, takeover: bool = False, lease_ms: int = LEASE_MS,
                 wire: CardWire | None = None, hello: Hello | None = None, nonce: bytes | None = None,
                 host_mtu: int | None = None, **fields: Any) -> tuple[Opened, ProbeSession]:
        """SESSION_OPEN, whatever the answer; the session is of use only when the status is ok.

        ``hello``: whose boot nonce and challenge to echo (default: one asked for now). Raises ClauseBroken without
        an answer.
        """
        wire = wire or self.wire
        hello = hello or self.hello(wire)
        ask = SessionOpen(owner=owner, generation=generation, host_nonce=nonce or self.random(16),
                          boot_nonce=hello.boot_nonce, challenge=hello.challenge, lease_ms=lease_ms,
                          options=OPTION_TAKEOVER if takeover else 0,
                          host_mtu=min(65535, wire.mtu) if host_mtu is None else host_mtu)._replace(**fields)
        session = ProbeSession(self, wire, self.channel(ask, wire), ask)
        return session.reopen(), session

    def open(self, owner: int | None = None, generation: int = 1, *, takeover: bool = True, lease_ms: int = LEASE_MS,
             wire: CardWire | None = None, **fields: Any) -> ProbeSession:
        """An open session of ``owner`` (default: a new one); raises ClauseBroken when it is refused."""
        opened, session = self.ask_open(owner or self.owner(), generation, takeover=takeover, lease_ms=lease_ms,
                                        wire=wire, **fields)
        if opened.status != Status.OK:
            raise ClauseBroken(f"SESSION_OPEN refused with {status_name(opened.status)}")
        return session

    def begin(self) -> None:
        """The start of a check: nothing noted, nothing waiting, a session of a new owner."""
        self.sent, self.came = "", ""
        self.hellos.clear()
        self.drain()
        self.s = self.open()

    def give_back(self) -> None:
        """Close the latest session, so that the card is anybody's."""
        self.s = self.open()
        self.s.ask(Opcode.SESSION_CLOSE)

    def other_wire(self, number: int = 1) -> CardWire:
        """Another host's address on the same port."""
        own = Mac.from_bytes(self.wire.host_mac).value
        return self.wire.other(bytes(Mac((own ^ (number << 8)) | 0x02_00_00_00_00_00)))

    def expect_hello(self, milliseconds: float, *, to: bytes | None = None, wire: CardWire | None = None) -> Frame:
        """A HELLO within a time (stretched by patience), addressed to ``to`` if given; else ClauseBroken."""
        wire = wire or self.wire
        end_ns = self.now_ns() + self.ms(milliseconds)
        while (left_ns := end_ns - self.now_ns()) > 0:
            frame = self.receive(wire, left_ns)
            if isinstance(frame, Frame) and frame.opcode == Opcode.HELLO and to in (None, frame.dst):
                return frame
        raise ClauseBroken(f"no HELLO within {milliseconds:g} ms")

    def open_frame(self, ask: SessionOpen, wire: CardWire | None = None, *, key: bytes | None = None,
                   session: int = 0, sequence: int = 1) -> bytes:
        """A SESSION_OPEN frame with any header."""
        wire = wire or self.wire
        channel = self.channel(ask, wire)
        return self.codec.encode(Opcode.SESSION_OPEN, ask.pack(), dst=wire.card_mac, src=wire.host_mac,
                                 ethertype=ETHERTYPE_CONTROL, session=session, sequence=sequence, suite=self.suite,
                                 key=channel.send_key if key is None else key)
