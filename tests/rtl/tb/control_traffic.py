"""Frames for saf_control's tests: from proper ones to forged ones."""

from __future__ import annotations

from safhost.units import Mac
from safhost.wire import auth
from safhost.wire.codec import BROADCAST_BYTES, padded
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    OPCODES,
    Group,
    GroupMember,
    Keepalive,
    Opcode,
    SessionClose,
    SessionOpen,
    Solicit,
)

CARD = Mac(0x02AA00000001)
HOSTS = (bytes.fromhex("020000000010"), bytes.fromhex("020000000020"))
STRANGER = bytes.fromhex("0200000000ee")
KEY = bytes(range(1, 33))
GIB = 1 << 30
MS = 1000  # in µs
COMMANDS = ((Opcode.RUN, ETHERTYPE_CONTROL), (Opcode.KILL, ETHERTYPE_CONTROL), (Opcode.XFER_OPEN, ETHERTYPE_INPUT),
            (Opcode.XFER_OPEN, ETHERTYPE_IMAGE), (Opcode.POLL, ETHERTYPE_INPUT), (Opcode.CLOSE, ETHERTYPE_IMAGE),
            (Opcode.INVALIDATE, ETHERTYPE_INPUT), (Opcode.ABORT, ETHERTYPE_IMAGE), (Opcode.COMMIT, ETHERTYPE_IMAGE),
            (Opcode.READ, ETHERTYPE_INPUT))


class Host:
    """One that opens sessions: knows what it asked for last."""

    def __init__(self, mac, owner):
        self.mac, self.owner = mac, owner
        self.generation = 5
        self.nonce = bytes(16)
        self.sequence = 0
        self.keys = None


class Traffic:
    """Random frames, from proper ones to forged ones."""

    def __init__(self, pair):
        self.pair, self.rng = pair, pair.rng
        self.suite = pair.suite

    def open(self, host, *, fresh=True, lease_ms=None, takeover=None, challenge=None, session=0, boot_nonce=None,
             host_mtu=None, sequence=None, bad_tag=False, suite=None, dst=None, etype=ETHERTYPE_CONTROL):
        """SESSION_OPEN; ``fresh``: with a new nonce."""
        rng, shell = self.rng, self.pair.shell
        if fresh:
            host.nonce = rng.randbytes(16)
        ask = SessionOpen(
            owner=host.owner, generation=host.generation, host_nonce=host.nonce,
            boot_nonce=shell.boot_nonce if boot_nonce is None else boot_nonce,
            challenge=shell.challenge if challenge is None else challenge,
            lease_ms=rng.choice((0, 500, 10_000, 700_000)) if lease_ms is None else lease_ms,
            options=rng.choice((0, 1, 2)) if takeover is None else int(takeover),
            host_mtu=rng.choice((0, 1500, 1501, 9000)) if host_mtu is None else host_mtu)
        host.sequence = min(host.sequence + 1, (1 << 64) - 1) if sequence is None else sequence
        suite = self.suite if suite is None else suite
        key = b""
        if self.pair.config.card_key is not None:
            key = auth.derive_keys(self.pair.config.card_key, ask.boot_nonce, ask.host_nonce, ask.owner, ask.generation,
                                   host.mac, bytes(CARD)).h2c
        elif suite:
            key = KEY
        raw = self.pair.codec.encode(
            Opcode.SESSION_OPEN, ask.pack(), dst=dst or bytes(CARD), src=host.mac, ethertype=etype, session=session,
            object=rng.getrandbits(32), index=rng.getrandbits(32), sequence=host.sequence, suite=suite, key=key)
        return self.flip(raw, 104, len(raw)) if bad_tag and suite else raw

    def flip(self, raw, first, last):
        """One bit another."""
        at = self.rng.randrange(first, last)
        return raw[:at] + bytes([raw[at] ^ 1 << self.rng.randrange(8)]) + raw[at + 1:]

    def sequence(self):
        """One of the session, mostly the next."""
        rng, window = self.rng, self.pair.shell.session.channel.window
        step = rng.choice((1, 1, 1, 1, 1, 2, rng.randrange(1, 63), 63, 64, 65, rng.randrange(1, 1 << 40), 0,
                           -rng.randrange(1, 80)))
        return max(0, min(window._top + step, (1 << 64) - 1))

    def payload(self, opcode):
        """Random bytes in the opcode's layout, with a tail where one may be."""
        info = OPCODES[opcode]
        tail = self.rng.choice((0, 1, 4, 7, 8, 9, self.rng.randrange(300))) if info.tail else 0
        return self.rng.randbytes(info.size + tail)

    def command(self, opcode, etype, **other):
        """A frame of the open session."""
        session = self.pair.shell.session
        fields = {"dst": bytes(CARD), "src": session.host, "session": session.id, "sequence": self.sequence(),
                  "suite": self.suite, "key": session.channel.receive_key or KEY, "flags": self.rng.getrandbits(16),
                  "object": self.rng.getrandbits(32), "index": self.rng.getrandbits(32)} | other
        payload = fields.pop("payload", None)
        return self.pair.codec.encode(opcode, self.payload(opcode) if payload is None else payload, ethertype=etype,
                                      **fields)

    def session_frame(self):
        """KEEPALIVE, SESSION_CLOSE or a command, sometimes spoilt."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.25:
            lease_ms = rng.choice((0, 0, 300, 20_000, 600_001))
            raw = self.command(Opcode.KEEPALIVE, ETHERTYPE_CONTROL, payload=Keepalive(lease_ms=lease_ms).pack())
        elif kind < 0.32:
            raw = self.command(Opcode.SESSION_CLOSE, ETHERTYPE_CONTROL, payload=SessionClose().pack())
        else:
            raw = self.command(*rng.choice(COMMANDS))
        spoil = rng.random()
        if spoil < 0.04:
            return self.flip(raw, 16, 20)  # session
        if spoil < 0.08:
            return raw[:6] + STRANGER + raw[12:]
        if spoil < 0.11:
            return BROADCAST_BYTES + raw[6:]
        if spoil < 0.14:
            return self.command(*rng.choice(COMMANDS), suite=1 - self.suite)
        if spoil < 0.22:
            return self.flip(raw, 22, len(raw))  # anything that only the tag protects
        return raw

    def group(self):
        """GROUP with or without the card's session among its members, sometimes spoilt."""
        rng, session = self.rng, self.pair.shell.session
        run = rng.random() < 0.6
        inner, etype = (Opcode.RUN, ETHERTYPE_CONTROL) if run else (Opcode.COMMIT, ETHERTYPE_IMAGE)
        spoil = rng.random()
        if spoil < 0.05:
            etype = ETHERTYPE_IMAGE if run else ETHERTYPE_CONTROL
        body = self.payload(inner) if run else rng.randbytes(OPCODES[Opcode.COMMIT].size)
        told = len(body)
        if 0.05 < spoil < 0.10:
            told += rng.choice((-8, -1, 1, 8))
        count = rng.choice((0, 1, 1, 2, 3, 7))
        mine = rng.randrange(count) if count and rng.random() < 0.9 else None
        opcode = inner if not 0.10 < spoil < 0.15 else rng.choice((Opcode.KILL, Opcode.READ, 0x77))
        head = Group(inner_opcode=opcode, count=count, body_bytes=told).pack() + body \
            + bytes(padded(len(body)) - len(body))
        length = len(head) + 40 * count
        wrong_length = 0.15 < spoil < 0.20
        if wrong_length:
            length += 8
        front = self.pair.codec.encode(
            Opcode.GROUP, head + bytes(length - len(head)), dst=rng.choice((BROADCAST_BYTES, bytes(CARD))),
            src=STRANGER if 0.20 < spoil < 0.24 else session.host if session else HOSTS[0], ethertype=etype,
            object=rng.getrandbits(32), suite=self.suite)[:40 + len(head)]
        members = []
        for n in range(count):
            own = session is not None and (n == mine or (mine is not None and n > mine and rng.random() < 0.2))
            member = GroupMember(session=session.id if own else rng.getrandbits(32), object=rng.getrandbits(32),
                                 index=rng.getrandbits(32), role_epoch=rng.getrandbits(32),
                                 sequence=self.sequence() if own else rng.getrandbits(64))
            raw = member.pack()
            if own and self.suite:
                raw = raw[:24] + auth.frame_tag(session.channel.receive_key, front + raw[:24])
            members.append(self.flip(raw, 4, 40) if own and 0.24 < spoil < 0.34 else raw)
        raw = front + b"".join(members) + bytes(8 if wrong_length else 0)
        return self.flip(raw, 56, len(front)) if 0.34 < spoil < 0.38 else raw

    def one_group(self, body, *, inner=Opcode.RUN, etype=ETHERTYPE_CONTROL, src=None, told=None, sequence=1,
                  junk=b"", others=1):
        """A GROUP with the card's session as last member, and otherwise as told. ``junk``: behind the body."""
        session = self.pair.shell.session
        head = Group(inner_opcode=inner, count=others + 1, body_bytes=len(body) if told is None else told).pack() \
            + body + (junk + bytes(8))[:-len(body) % 8]
        member = GroupMember(session=session.id, object=3, index=4, role_epoch=0x01020304, sequence=sequence)
        front = self.pair.codec.encode(
            Opcode.GROUP, head + bytes(40 * (others + 1)), dst=BROADCAST_BYTES, src=src or session.host,
            ethertype=etype, suite=self.suite)[:40 + len(head)]
        tag = auth.frame_tag(session.channel.receive_key, front + member.pack()[:24]) if self.suite else bytes(16)
        return front + GroupMember(session=session.id ^ 1).pack() * others + member.pack()[:24] + tag

    def padded_with(self, raw, length):
        """The same frame with ``length`` payload bytes, so that what follows them is padding that is not zero."""
        session = self.pair.shell.session
        end = len(raw) - 16 * self.suite
        raw = raw[:20] + length.to_bytes(2, "big") + raw[22:end]
        return raw + (auth.frame_tag(session.channel.receive_key, raw) if self.suite else b"")

    def any_open(self):
        """SESSION_OPEN of one of the hosts, in one of many ways."""
        rng, shell = self.rng, self.pair.shell
        host = rng.choice(self.pair.hosts)
        way = rng.random()
        host.generation += rng.choice((0, 0, 1, 1, 1 << 20))
        if host.sequence > 1 << 63:
            host.sequence = 1
        if way < 0.35:
            return self.open(host)
        if way < 0.50:
            return self.open(host, fresh=False, challenge=rng.choice((shell.challenge, 5)),
                             sequence=rng.choice((None, None, host.sequence, max(0, host.sequence - 70), 1 << 62)))
        if way < 0.56:
            host.generation = max(0, host.generation - rng.choice((1, 2)))
            return self.open(host)
        if way < 0.62:
            return self.open(host, challenge=rng.getrandbits(32))
        if way < 0.66:
            return self.open(host, host_mtu=rng.choice((1, 1499)))
        if way < 0.70:
            return self.open(host, session=rng.getrandbits(32))
        if way < 0.75:
            return self.open(host, boot_nonce=rng.randbytes(16))
        if way < 0.80:
            return self.open(host, bad_tag=True)
        if way < 0.86:
            return self.open(host, sequence=rng.choice((0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)))
        if way < 0.88:
            return self.open(host, suite=1 - self.suite)
        if way < 0.90:
            return self.open(host, dst=BROADCAST_BYTES)
        return self.open(host, takeover=True)

    def solicit(self, spread_ms=None):
        rng = self.rng
        spread_ms = rng.choice((0, 0, 1, 5, 40, 65_535)) if spread_ms is None else spread_ms
        return self.pair.codec.encode(
            Opcode.SOLICIT, Solicit(spread_ms=spread_ms, nonce=rng.getrandbits(32)).pack(),
            dst=rng.choice((BROADCAST_BYTES, bytes(CARD))), src=rng.choice((*HOSTS, STRANGER)),
            ethertype=ETHERTYPE_DISCOVERY, suite=rng.choice((0, 1)))
