"""saf_control and the virtual card side by side: both get the same frames, and what comes out is compared."""

from __future__ import annotations

import os
from types import SimpleNamespace

from control_bench import Bench
from control_traffic import CARD, HOSTS, KEY, Host

from safhost.lab.card import CardConfig, VirtualCard
from safhost.wire.codec import BROADCAST_BYTES, Codec
from safhost.wire.generated import (
    DropReason,
    Opcode,
    Status,
)

GIB = 1 << 30


def of_suite():
    return KEY if int(os.environ.get("CONTROL_SUITE", "1")) else None


def card_config(mtu=1500):
    return CardConfig(serial="SAF-RTL-0042", mac=CARD, mtu=mtu, card_key=of_suite(), ddr_bytes=7 * GIB,
                      image_slot_bytes=224 << 20, receive_rate=1_250_000_000, window_blocks=4096)


class Pair:
    """saf_control and the virtual card, side by side."""

    def __init__(self, dut, rng, *, stalls=True, mtu=1500):
        self.rng, self.codec, self.config = rng, Codec(), card_config(mtu)
        self.suite = self.config.suite
        self.bench = Bench(dut, self.config, self.codec, rng, stalls=stalls)
        self.said = set()
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
        bench = self.bench
        for _ in range(12):
            await bench.step()
        self.card = card = VirtualCard(self.config, self.codec, self.rng.randbytes)
        shell, sessions = card._shell, card._sessions
        self.shell, self.sessions = shell, sessions
        shell.boot_nonce = bench.peek("u_discovery", "nonce_q").to_bytes(16, "big")
        sessions._session_base = bench.peek("u_session", "base_q")
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

    async def burst(self, time_us, raws):
        """Several proper frames at once."""
        await self.at(time_us)
        self.before()
        for raw in raws:
            self.bench.offer(raw, self.codec.parse(raw, "h2c", self.config.mtu + 14))
        await self.bench.settle()
        for raw in raws:
            self.card.handle_control(raw, time_us * 1000)
        self.card.tick(time_us * 1000)
        self.compare("burst")

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
        self.sessions._random = lambda span_ns: self._drawn(span_ns, link)
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

    def _drawn(self, span_ns, link):
        """What saf_discovery drew, checked to be within the span."""
        if not link and not self.bench.peek("u_discovery", "armed_q"):
            return 0
        drawn_ns = self.bench.peek("u_discovery", "drawn_q") * 1000
        assert 0 <= drawn_ns < max(span_ns, 1000), (drawn_ns, span_ns)
        return drawn_ns

    def compare(self, what, dropped_by_rx=None):
        bench, shell = self.bench, self.shell
        # both sides saw the same role and tables all along
        drops = sorted(DropReason(n) for n in bench.drops)
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
