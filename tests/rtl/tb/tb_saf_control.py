"""cocotb part of saf_control's tests: the same frames go to it and to the virtual card; all that comes out is compared."""

from __future__ import annotations

import os
import random
from types import SimpleNamespace

import cocotb
from control_bench import Bench

from safhost.lab.card import CardConfig, VirtualCard
from safhost.units import Mac
from safhost.wire import auth
from safhost.wire.codec import BROADCAST_BYTES, Codec, padded
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    OPCODES,
    CardState,
    Commit,
    DropReason,
    Group,
    GroupMember,
    Keepalive,
    Opcode,
    Opened,
    PrStatus,
    Run,
    SessionClose,
    SessionOpen,
    Solicit,
    Status,
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


def of_suite():
    return KEY if int(os.environ.get("CONTROL_SUITE", "1")) else None


def card_config(mtu=1500):
    return CardConfig(serial="SAF-RTL-0042", mac=CARD, mtu=mtu, card_key=of_suite(), ddr_bytes=7 * GIB,
                      image_slot_bytes=224 << 20, receive_rate=1_250_000_000, window_blocks=4096)


class Host:
    """One that opens sessions: knows what it asked for last."""

    def __init__(self, mac, owner):
        self.mac, self.owner = mac, owner
        self.generation = 5
        self.nonce = bytes(16)
        self.sequence = 0
        self.keys = None


class Pair:
    """saf_control and the virtual card, side by side."""

    def __init__(self, dut, rng, *, stalls=True, mtu=1500):
        self.rng, self.codec, self.config = rng, Codec(), card_config(mtu)
        self.suite = self.config.suite
        self.bench = Bench(dut, self.config, self.codec, rng, stalls=stalls)
        self.hosts = [Host(mac, rng.getrandbits(64)) for mac in HOSTS]

    async def start(self):
        await self.bench.start()
        await self._boot()

    async def reset(self):
        await self.bench.reset()
        self.card.close()
        await self._boot()

    async def _boot(self):
        self.opcode = None
        bench, self.said = self.bench, set()
        for _ in range(12):
            await bench.step()
        self.card = card = VirtualCard(self.config, self.codec, self.rng.randbytes)
        shell, sessions = card._shell, card._sessions
        self.shell, self.sessions = shell, sessions
        shell.boot_nonce = bench.peek("u_discovery", "nonce_q").to_bytes(16, "big")
        sessions._session_base = bench.peek("u_session", "walk_q")
        shell.challenge = bench.peek("u_session", "challenge_q")
        assert shell.challenge
        tables = bench.tables
        shell.commands = SimpleNamespace(reset=lambda: None, running_mask=lambda: bench.slots_running,
                                         slot_infos=lambda: tables.slots)
        shell.transfers = SimpleNamespace(reset=lambda: None, image_infos=lambda: tables.images,
                                          transfer_infos=lambda: tables.transfers)
        shell.commits = SimpleNamespace(reset=lambda: None)
        self.drops_before = [0] * len(DropReason)
        self.handled = []
        for opcode in list(card._handlers):
            if opcode not in (Opcode.SESSION_CLOSE, Opcode.KEEPALIVE):
                card._handlers[opcode] = lambda frame, now_ns: self.handled.append(frame)
        self.renewed = 0

        def renew_challenge():
            self.renewed += 1
            shell.challenge = bench.peek("u_session", "challenge_q")

        shell.renew_challenge = renew_challenge

    async def at(self, time_us, raw=None, *, seen=False, stranger=None, link=None):
        """Let it be ``time_us``, and let one thing happen; then compare all that came out."""
        bench, card, shell = self.bench, self.card, self.shell
        now_ns = time_us * 1000
        bench.time_us = time_us
        # time alone first: what is due by then comes before the frame
        self.before()
        await bench.settle()
        card.tick(now_ns)
        self.compare("time")
        bench.rx_frames, bench.rx_dropped = shell.rx_frames + 1, shell.rx_dropped()
        dropped_by_rx = None
        self.opcode = raw[15] if raw else None
        if raw is not None:
            frame = self.codec.parse(raw, "h2c", self.config.mtu + 14)
            if raw[:6] not in (bytes(CARD), BROADCAST_BYTES):
                dropped_by_rx = "foreign"
            elif isinstance(frame, DropReason):
                dropped_by_rx = frame
            elif frame.src[0] & 1:
                dropped_by_rx = DropReason.WRONG_SOURCE
            if dropped_by_rx is None:
                bench.offer(raw, frame)
            else:
                bench.seen = True
        bench.seen = bench.seen or seen
        bench.stranger = stranger
        if link is not None:
            bench.link = link
        self.before()
        await bench.settle()
        words = bench.tables.words
        shell.transfers.last_id, shell.commits.last_id = words["last_transfer"], words["last_commit"]
        shell.commands.last_kill = words["last_kill"]
        # chance plays the same on both sides
        self.sessions._random = lambda span_ns: self._drawn(span_ns, now_ns, link)
        if link is not None:
            (card.link_up if link else card.link_down)(now_ns)
            shell.booted_ns = 0
        if seen and self.sessions.await_first_frame:
            self.sessions.first_frame(False, now_ns)
        if stranger is not None:
            self.sessions.on_stranger(stranger.to_bytes(6, "big"), now_ns)
        if raw is not None:
            card.handle_control(raw, now_ns)
        card.tick(now_ns)
        self.compare("event", dropped_by_rx)

    def before(self):
        shell = self.shell
        self.epoch_before, self.challenge_before, self.renewed = shell.role_epoch, shell.challenge, 0
        self.drops_before = list(shell.drops)

    def _drawn(self, span_ns, now_ns, link):
        """What saf_discovery drew, checked to be within the span."""
        if link:
            due = self.bench.peek("u_discovery", "hello_at_q")
        elif self.bench.peek("u_discovery", "armed_q"):
            due = self.bench.peek("u_discovery", "answer_at_q")
        else:
            return 0
        drawn_ns = due * 1000 - now_ns
        assert 0 <= drawn_ns < max(span_ns, 1000), (drawn_ns, span_ns)
        return drawn_ns

    def compare(self, what, dropped_by_rx=None):
        bench, shell = self.bench, self.shell
        # both sides saw the same role and tables all along
        drops = [DropReason(n) for n in bench.drops]
        expected = self.drops_of_card()
        if isinstance(dropped_by_rx, DropReason):
            expected = [r for r in expected if r is not dropped_by_rx]
        assert drops == expected, (what, drops, expected)
        frames = [out.raw for out in self.card.take_output()]
        hellos = [f for f in frames if f[15] == Opcode.HELLO]
        if self.opcode in (Opcode.SESSION_OPEN, Opcode.SESSION_CLOSE):
            # HELLO on the first frame is built while that frame is carried out: it may show the card before or after
            bench.hellos, hellos = [[f[:144] + f[156:160] for f in some] for some in (bench.hellos, hellos)]
        assert len(bench.hellos) == len(hellos), (what, self.opcode, [f[:6].hex() for f in bench.hellos],
                                                  [f[:6].hex() for f in hellos])
        for got, want in zip(sorted(bench.hellos), sorted(hellos), strict=True):
            assert got == want, (what, difference(got, want))
        answers = [f for f in frames if f[15] != Opcode.HELLO]
        assert len(bench.sent) == len(answers), (what, self.opcode, bench.sent, answers)
        for got, want in zip(bench.sent, answers, strict=True):
            assert got == want, (what, Opcode(want[15]), difference(got, want))
        assert len(bench.handled) == len(self.handled), (what, self.opcode, bench.handled, self.handled)
        for (req, pay), frame in zip(bench.handled, self.handled, strict=True):
            assert (req.opcode, req.session, req.length, req.object, req.index, req.sequence) == \
                (frame.opcode, frame.session, frame.length, frame.object, frame.index, frame.sequence)
            assert req.src == int.from_bytes(frame.src, "big")
            assert pay == frame.payload[:64].ljust(64, b"\0"), (what, Opcode(req.opcode))
        self.said |= {(Opcode(f[15]), Status(int.from_bytes(f[40:42], "big")) if f[15] != Opcode.HELLO else None)
                      for f in frames}
        self.said |= {("handled", Opcode(f.opcode)) for f in self.handled} | {("drop", r) for r in drops}
        self.handled.clear()
        assert bench.peek("u_session", "challenge_q") == shell.challenge, what
        assert bool(self.renewed) == (shell.challenge != self.challenge_before), what
        view, session = bench.view(), shell.session
        assert view.open == (session is not None), what
        assert ("forget" in bench.pulses) == (shell.role_epoch != self.epoch_before), what
        if session is not None:
            assert (view.id, view.host.to_bytes(6, "big"), view.block_limit) == \
                (session.id, session.host, shell.block_limit()), what
            assert bench.sequence == session.channel.sequence
        assert bench.dut.session_count_o.value == shell.session_count
        bench.clear()

    def drops_of_card(self):
        return [r for r in DropReason for _ in range(self.shell.drops[r] - self.drops_before[r])]


def difference(got, want):
    """Bytes in which two frames differ."""
    return len(got), len(want), [(i, a, b) for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b][:12]


# ---- frames


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
            return raw[:14] + bytes([raw[14] ^ 1]) + raw[15:]  # the other suite: too long or too short as well
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
        head = Group(inner_opcode=opcode, count=count, body_bytes=told).pack() + body + bytes(padded(len(body)) - len(body))
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


# ---- tests


def seeded():
    return random.Random(random.getrandbits(32))  # cocotb seeded it with what the runner prints


async def begin(dut, **options):
    pair = Pair(dut, seeded(), **options)
    await pair.start()
    return pair, Traffic(pair)


def change_role(pair):
    """Another role, on both sides."""
    rng, role, shell = pair.rng, pair.bench.role, pair.shell
    state, status = rng.choice(list(CardState)), rng.choice(list(PrStatus))
    role.state = shell.card_state = state
    role.pr_status = shell.pr_status = status
    role.epoch = shell.role_epoch = rng.choice((0, 7, 0xFFFFFFFF - 9, rng.getrandbits(31)))
    role.digest = shell.image_digest = rng.randbytes(32)
    pair.bench.slots_running = rng.getrandbits(8)
    pair.bench.tables.refill()


@cocotb.test()
async def anything_that_arrives_is_answered_as_by_the_virtual_card(dut):
    pair, traffic = await begin(dut, mtu=1500)
    rng = pair.rng
    now = 1000
    await pair.at(now, link=1)
    for _ in range(int(os.environ.get("CONTROL_EVENTS", "260"))):
        now += rng.choice((0, 0, 1, 400, 5 * MS, 19_999, 20 * MS, 150 * MS, 1000 * MS, 1001 * MS))
        if rng.random() < 0.01:
            now += rng.choice((10_000 * MS, 3600_000 * MS))
        kind = rng.random()
        is_open = pair.shell.session is not None
        if kind < 0.02:
            await pair.reset()
            now = rng.choice((5, 1 << 33))
            await pair.at(now, link=1)
        elif kind < 0.06:
            await pair.at(now, link=0)
            now += rng.choice((0, 3, 2000 * MS))
            await pair.at(now, link=1)
        elif kind < 0.10:
            change_role(pair)
        elif kind < 0.14:
            await pair.at(now, seen=True)
        elif kind < 0.17 and not is_open:
            await pair.at(now, stranger=int.from_bytes(rng.choice((STRANGER, HOSTS[0], bytes(5) + b"\1",
                                                                   b"\1" + bytes(5))), "big"))
        elif kind < 0.28:
            await pair.at(now, traffic.solicit())
        elif kind < 0.36:
            await pair.at(now, traffic.group())
        elif kind < (0.46 if is_open else 0.85):
            await pair.at(now, traffic.any_open())
        elif is_open:
            await pair.at(now, traffic.session_frame())
        else:
            old = pair.codec.encode(*(Opcode.KEEPALIVE, bytes(8)), dst=bytes(CARD), src=HOSTS[0], session=9,
                                    ethertype=ETHERTYPE_CONTROL, suite=pair.suite, key=KEY)
            await pair.at(now, old)
    cocotb.log.info("%d kinds of outcome: %s", len(pair.said), sorted(map(str, pair.said)))
