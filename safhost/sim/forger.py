"""An attacker on the switch: hears every frame, has no key, and sends what it likes under any address.

It replays, changes and invents frames, by seed. What it replays to a port that port has received before: a frame that
its receiver never got is no replay but a late delivery. All that it does a cluster of suite 1 must shrug off; under
suite 0 it may do as it pleases.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from safhost.errors import ConfigError
from safhost.sim.nodes import SimCard
from safhost.sim.observe import Observer
from safhost.wire.codec import BROADCAST_BYTES, HEADER, padded
from safhost.wire.generated import (
    ETHERTYPE_DISCOVERY,
    HEADER_BYTES,
    OPCODES,
    PROTOCOL_VERSION,
    SUITE_BLAKE2S,
    SUITE_NONE,
    TAG_BYTES,
    Hello,
    Opcode,
    Opened,
    SessionOpen,
    Solicit,
)

if TYPE_CHECKING:
    from safhost.sim.faults import Frames, Lengths
    from safhost.sim.network import Port
    from safhost.sim.simulation import Simulation

FORGER_MAC = 0x025A00AD0000.to_bytes(6, "big")
RECENT = 512  # latest frames it remembers,
OLD = 512  # and as many of all times, of earlier sessions and boots too
BLOCKS = 64  # DATA frames
OPENS = 64  # SESSION_OPENs to each card,
CHALLENGES = 16  # and what it wanted them to echo
ROWS_A_BATCH = 2  # of each batch it keeps
FLOOD = 20  # SOLICITs at once at most
MAX_DELAY_NS = 200_000
_NUMBERS = (0, 1, 2, 3, 7, 8, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


_OPEN_BYTES = OPCODES[Opcode.SESSION_OPEN].size


class Captured(NamedTuple):
    """A control frame and the port that received it."""

    port: Port
    raw: bytes


class Forger(Observer):
    """Attacks ``rate_hz`` times a second on average, from now until `stop`. ``kinds``: which of `KINDS`, all when
    empty; ``sent`` counts frames by kind."""

    def __init__(self, sim: Simulation, rate_hz: float, kinds: tuple[str, ...] = (), name: str = "forger") -> None:
        self.sim = sim
        self.rng = random.Random(f"{sim.seed}/{name}")
        self.sent: Counter[str] = Counter()
        self._gap_ns = 1_000_000_000 / rate_hz
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ConfigError(f"no attack {unknown[0]!r}", f"known: {', '.join(KINDS)}")
        self._kinds = list(kinds or KINDS)
        self._recent: deque[Captured] = deque(maxlen=RECENT)
        self._old: list[Captured] = []
        self._seen = 0
        self._hellos: dict[bytes, bytes] = {}
        self._opens: dict[bytes, deque[Captured]] = {}
        self._challenges: dict[bytes, deque[int]] = {}
        self._blocks: deque[bytes] = deque(maxlen=BLOCKS)
        self._running = True
        sim.hooks.add(self)
        self._wait()

    def stop(self) -> None:
        """No more attacks; what is under way still arrives."""
        self._running = False
        self.sim.hooks.remove(self)

    # -- listening

    def on_delivered(self, port: Port, raw: bytes) -> None:
        node = port.node
        if node is None or (isinstance(node, SimCard) and (node.card.is_dead or node.card.faults.dead_link)):
            return  # nobody took it
        if len(raw) < HEADER_BYTES:
            return
        if raw[15] == Opcode.HELLO and len(raw) >= HEADER_BYTES + OPCODES[Opcode.HELLO].size:
            self._hellos[raw[6:12]] = raw
        captured = Captured(port, raw)
        self._learn(captured)
        self._recent.append(captured)
        self._seen += 1
        if len(self._old) < OLD:
            self._old.append(captured)
        elif (at := self.rng.randrange(self._seen)) < OLD:
            self._old[at] = captured

    def _learn(self, captured: Captured) -> None:
        """What a card wants SESSION_OPEN to echo, and the SESSION_OPENs that it got."""
        raw = captured.raw
        opcode, body = raw[15], raw[HEADER_BYTES:]
        if opcode == Opcode.SESSION_OPEN and isinstance(captured.port.node, SimCard) and len(body) >= _OPEN_BYTES:
            self._opens.setdefault(raw[:6], deque(maxlen=OPENS)).append(captured)
        elif opcode in (Opcode.HELLO, Opcode.OPENED) and len(body) >= OPCODES[opcode].size:
            said = (Hello if opcode == Opcode.HELLO else Opened).unpack(body[:OPCODES[opcode].size])
            known = self._challenges.setdefault(raw[6:12], deque(maxlen=CHALLENGES))
            if not known or known[-1] != said.challenge:
                known.append(said.challenge)

    def on_batch(self, port: Port, frames: Frames, lengths: Lengths) -> None:
        for _ in range(ROWS_A_BATCH):
            row = self.rng.randrange(len(frames))
            self._blocks.append(frames[row, :lengths[row]].tobytes())

    # -- attacking

    def _wait(self) -> None:
        self.sim.at(self.sim.now_ns + round(self.rng.expovariate(1) * self._gap_ns) + 1, self._attack)

    def _attack(self) -> None:
        if not self._running:
            return
        kind = self.rng.choice(self._kinds)
        KINDS[kind](self)
        self._wait()

    def _send(self, kind: str, raw: bytes, to: Port | None = None) -> None:
        self.sent[kind] += 1
        self.sim.network.send_forged(raw, self.rng.randint(1_000, MAX_DELAY_NS), to)

    def _capture(self) -> Captured | None:
        store = self._old if self.rng.random() < 0.4 else self._recent
        return self.rng.choice(store) if store else None

    def _replay(self) -> None:
        """A frame again as it was, once or several times; sometimes a whole stretch of them."""
        found = self._capture()
        if found is None:
            return
        if self.rng.random() < 0.2:
            start = self.rng.randrange(len(self._recent))
            for captured in list(self._recent)[start:start + self.rng.randint(1, 12)]:
                self._send("replay", captured.raw, captured.port)
        for _ in range(self.rng.choice((1, 1, 1, 3))):
            self._send("replay", found.raw, found.port)

    def _mutate(self) -> None:
        """A frame with some bits changed, perhaps from another address, perhaps to another node."""
        found = self._capture()
        if found is None:
            return
        raw = bytearray(found.raw)
        for _ in range(self.rng.randint(1, 4)):
            raw[self.rng.randrange(14, len(raw))] ^= 1 << self.rng.randrange(8)
        if self.rng.random() < 0.3:
            raw[6:12] = self._address()
        if self.rng.random() < 0.2:
            raw[:6] = self._address()
        # a GROUP's other members are sealed by themselves: to who never got it, it would be a late delivery
        self._send("mutate", bytes(raw), found.port if found.raw[15] == Opcode.GROUP else None)

    def _invent(self) -> None:
        """A frame of any opcode with fields that could be, from card to host or the other way."""
        opcode = self.rng.choice(list(OPCODES))
        info = OPCODES[opcode]
        cards, hosts = self._cards(), self._hosts()
        card, host = self.rng.choice(cards), self.rng.choice(hosts)
        src, dst = (host, card) if info.way == "h2c" or (info.way == "both" and self.rng.random() < 0.5) \
            else (card, host)
        if self.rng.random() < 0.1:
            src, dst = dst, src
        if self.rng.random() < 0.2:
            src = FORGER_MAC
        if opcode == Opcode.GROUP or self.rng.random() < 0.05:
            dst = BROADCAST_BYTES
        self._send("invent", self._frame(opcode, dst, src, self._payload(opcode)))

    def _answer(self) -> None:
        """What a card could have answered to a question just heard, before or after the card does."""
        asked = [c for c in list(self._recent)[-64:] if isinstance(c.port.node, SimCard)]
        if not asked:
            return
        raw = self.rng.choice(asked).raw
        dst, src, _, version_suite, opcode, session, _, _, obj, index, sequence = HEADER.unpack_from(raw)
        opcode |= 0x80
        info = OPCODES.get(opcode)
        if info is None or dst == BROADCAST_BYTES:
            return
        near = [c.raw for c in self._recent if c.raw[15] == opcode and c.raw[6:12] == dst]
        payload = self._payload(opcode)
        if near and self.rng.random() < 0.7:
            # as the card said last time, of other things
            last = near[-1]
            said = bytearray(last[HEADER_BYTES:HEADER_BYTES + int.from_bytes(last[20:22], "big")])
            if said and self.rng.random() < 0.5:
                said[self.rng.randrange(len(said))] = self.rng.choice((0, 1, 2, 0xFF))
            payload = bytes(said)
            sequence = HEADER.unpack_from(last)[10] + self.rng.choice((0, 1, 2, 1000))
        elif self.rng.random() < 0.5:
            payload = bytes(len(payload))  # status ok and zeros
        self._send("answer", self._frame(opcode, src, dst, payload, version_suite & 15, session, obj, index, sequence))

    def _poison(self) -> None:
        """A block of a live transfer with other bytes, or under another number, as if from the host."""
        if not self._blocks:
            return
        raw = bytearray(self.rng.choice(self._blocks))
        if self.rng.random() < 0.3:
            index = max(0, int.from_bytes(raw[28:32], "big") + self.rng.randint(-3, 3))
            raw[28:32] = index.to_bytes(4, "big")
        elif self.rng.random() < 0.2:
            raw[23] ^= self.rng.choice((1, 2, 4, 8))
        if len(raw) > HEADER_BYTES:
            for _ in range(self.rng.choice((0, 1, 8))):
                raw[self.rng.randrange(HEADER_BYTES, len(raw))] ^= self.rng.randrange(1, 256)
        if self.rng.random() < 0.1:
            raw[6:12] = self._address()
        self._send("poison", bytes(raw))

    def _hello(self) -> None:
        """A card announces itself that is not there, or another boot of one that is."""
        if not self._hellos:
            return
        src = self.rng.choice(list(self._hellos))
        raw = self._hellos[src]
        hello = Hello.unpack(raw[HEADER_BYTES:HEADER_BYTES + OPCODES[Opcode.HELLO].size])
        what = self.rng.choice(("boot", "place", "stale", "state", "invented"))
        if what == "boot":
            hello = hello._replace(boot_nonce=self.rng.randbytes(16), challenge=self.rng.choice(_NUMBERS))
        elif what == "place":  # its serial, at our address
            src = FORGER_MAC
            hello = hello._replace(mac0=src)
        elif what == "state":
            hello = hello._replace(session_open=0, challenge=self.rng.choice((0, self._foretold(src))),
                                   image_digest=self.rng.randbytes(32), mtu=self.rng.choice((90, 1500, 9000)),
                                   receive_rate=self.rng.choice((1, hello.receive_rate)), suite=self.rng.randrange(2))
        elif what == "invented":
            src = FORGER_MAC[:5] + bytes([self.rng.randrange(4)])
            hello = hello._replace(mac0=src, serial=b"forged".ljust(16, b"\0"), boot_nonce=self.rng.randbytes(16))
        dst = self.rng.choice([BROADCAST_BYTES, *self._hosts()])
        self._send("hello", self._frame(Opcode.HELLO, dst, src, hello.pack(), hello.suite, 0, 0, 0, 0))

    def _claim(self) -> None:
        """Makes hosts sign SESSION_OPENs for challenges to come, and brings them when they may have come."""
        cards = [mac for mac in self._hellos if mac in self._challenges]
        if not cards:
            return
        src = self.rng.choice(cards)
        opens = self._opens.get(src)
        if opens and self.rng.random() < 0.5:
            wanted = [c for c in opens if _echoed(c) == self._challenges[src][-1]]
            found = self.rng.choice(wanted or list(opens))
            self._send("claim", found.raw, found.port)
            return
        raw = self._hellos[src]
        hello = Hello.unpack(raw[HEADER_BYTES:HEADER_BYTES + OPCODES[Opcode.HELLO].size])
        hello = hello._replace(session_open=0, challenge=self._foretold(src))
        dst = self.rng.choice([BROADCAST_BYTES, *self._hosts()])
        self._send("claim", self._frame(Opcode.HELLO, dst, src, hello.pack(), hello.suite, 0, 0, 0, 0))

    def _foretold(self, card: bytes) -> int:
        """What ``card`` may want next, by what it wanted before: a number close by, the same step again, an old one."""
        known = list(self._challenges.get(card, ())) or [0]
        step = known[-1] - known[-2] if len(known) > 1 else 1
        guess = self.rng.choice((known[-1] + 1, known[-1] + 2, known[-1] + 3, known[-1] + step, self.rng.choice(known)))
        return guess & 0xFFFFFFFF

    def _solicit(self) -> None:
        """Many questions who is there, from as many askers."""
        for _ in range(FLOOD if self.rng.random() < 0.05 else 1):
            payload = Solicit(self.rng.choice((0, 10, 0xFFFF)), 0, self.rng.getrandbits(32)).pack()
            dst = BROADCAST_BYTES if self.rng.random() < 0.7 else self.rng.choice(self._cards())
            src = self._address() if self.rng.random() < 0.3 else b"\x02" + self.rng.randbytes(5)
            self._send("solicit", self._frame(Opcode.SOLICIT, dst, src, payload, SUITE_NONE, 0, 0, 0, 0))

    # -- making frames

    def _cards(self) -> list[bytes]:
        return [node.port.mac for node in self.sim.cards.values()] or [FORGER_MAC]

    def _hosts(self) -> list[bytes]:
        return [host.mac for host in self.sim.hosts]

    def _address(self) -> bytes:
        return self.rng.choice([FORGER_MAC, *self._cards(), *self._hosts()])

    def _payload(self, opcode: int) -> bytes:
        info = OPCODES[opcode]
        size = info.size + (self.rng.choice((0, 8, 64, 200)) if info.tail else 0)
        return bytes(size) if self.rng.random() < 0.3 else self.rng.randbytes(size)

    def _frame(self, opcode: int, dst: bytes, src: bytes, payload: bytes, suite: int | None = None,
               session: int | None = None, obj: int | None = None, index: int | None = None,
               sequence: int | None = None) -> bytes:
        """A frame that parses; what is None is chosen among what could be, the tag is anything."""
        rng, info = self.rng, OPCODES[opcode]
        ethertype = rng.choice(sorted(info.ethertypes)) if info.ethertypes else ETHERTYPE_DISCOVERY
        if suite is None:
            suite = SUITE_BLAKE2S if rng.random() < 0.8 else SUITE_NONE
        if opcode == Opcode.DATA:
            suite = SUITE_NONE
        fields: tuple[int, ...] = (0,) * 11
        if self._recent:
            fields = HEADER.unpack_from(rng.choice(self._recent).raw)
        session = fields[5] if session is None else session
        obj = (fields[8] if rng.random() < 0.5 else rng.choice(_NUMBERS)) if obj is None else obj
        index = (fields[9] if rng.random() < 0.5 else rng.choice(_NUMBERS)) if index is None else index
        if sequence is None:
            sequence = rng.choice((0, 1, fields[10], fields[10] + 1, fields[10] + 100, (1 << 64) - 1))
        frame = HEADER.pack(dst, src, ethertype, PROTOCOL_VERSION << 4 | suite, opcode, session, len(payload),
                            rng.choice((0, 0, 0, 1, 2)), obj & 0xFFFFFFFF, index & 0xFFFFFFFF,
                            sequence & (1 << 64) - 1) + payload
        frame += bytes(padded(len(payload)) - len(payload))
        if suite and info.tagged:
            frame += rng.randbytes(TAG_BYTES)
        return frame


def _echoed(captured: Captured) -> int:
    """The challenge in a SESSION_OPEN."""
    return SessionOpen.unpack(captured.raw[HEADER_BYTES:HEADER_BYTES + _OPEN_BYTES]).challenge


KINDS: dict[str, Callable[[Forger], None]] = {
    "replay": Forger._replay, "mutate": Forger._mutate, "invent": Forger._invent, "answer": Forger._answer,
    "poison": Forger._poison, "hello": Forger._hello, "claim": Forger._claim, "solicit": Forger._solicit}
"""What it can do, by name."""
