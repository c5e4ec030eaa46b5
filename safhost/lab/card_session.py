"""Discovery and sessions of a virtual card: HELLO, SOLICIT, SESSION_OPEN, lease.

HELLO is sent (a) on the first frame after link-up; when that frame is a SOLICIT, the answer to it serves as
this HELLO; (b) as answer to SOLICIT, at a random time within what it asks for; (c) every second while no session
is open; (d) to whoever sends a frame of a session that is not in force. (b) and (d) share one rate limit.

An owner is known from its first SESSION_OPEN until another owner's or a reboot. When no session is open (closed
or lease expired), the same generation may come back with a new nonce; while one is open, only the very OPEN
that opened it is answered again, from store.
"""

from __future__ import annotations

from safhost.lab.card_shell import Session, Shell
from safhost.wire.auth import SessionKeys, derive_keys, hello_tag
from safhost.wire.channel import Channel
from safhost.wire.codec import BROADCAST_BYTES, Frame, tag_valid
from safhost.wire.generated import (
    COMMAND_SLOTS,
    DDR_CONTEXTS,
    DDR_MAX_BLOCKS,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_RESULT,
    IMAGE_MAX_BLOCKS,
    PRODUCT_ID,
    VENDOR_ID,
    Alive,
    Answer,
    DropReason,
    Hello,
    Keepalive,
    Opcode,
    Opened,
    SessionOpen,
    Solicit,
    Status,
)

SHELL_VERSION = 0x01_00_0000  # major u8, minor u8, patch u16
PR_WIDTH_BITS = 32  # Intel 683834: widest data port
PR_CLOCK_MHZ = 100  # Intel 683834: highest clock
CAPABILITY_PUSH, CAPABILITY_GROUP, CAPABILITY_EMULATED = 1, 2, 8
OPTION_TAKEOVER = 1
FLAG_KEPT = 1
MIN_HOST_MTU = 1500
MAX_LEASE_MS = 600_000  # a longer lease is shortened to this; OPENED says what was granted
_MS = 1_000_000


class SessionUnit:
    """Who owns the card, and telling the network that it is there."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.boot()

    def boot(self) -> None:
        """State after power-up or reboot."""
        self.owner: int | None = None
        self.generation = 0
        self.host_nonce = bytes(16)
        self.lease_ms = 0
        self.lease_until_ns = 0
        self._opened = b""
        self._session_base = int.from_bytes(self._shell.entropy(4), "big")
        self.await_first_frame = False
        self._hello_ns: int | None = None
        self._solicited: tuple[int, bytes] | None = None
        self._answered_ns: int | None = None

    def link_up(self, now_ns: int) -> None:
        """The cable is in: say HELLO on the first frame, and from a random time within a second on, every second."""
        self.await_first_frame = True
        self._hello_ns = now_ns + self._random(self._shell.config.hello_ms * _MS)

    def link_down(self) -> None:
        """The cable is out: nothing waits to be said."""
        self.await_first_frame = False
        self._hello_ns = None
        self._solicited = None

    def first_frame(self, is_solicit: bool, now_ns: int) -> None:
        """The first frame after link-up was seen (SAF III-A's trigger)."""
        self.await_first_frame = False
        if not is_solicit:
            self._say_hello(BROADCAST_BYTES, now_ns)

    def on_solicit(self, frame: Frame, now_ns: int) -> None:
        """Answer at a random time within ``spread_ms``, unless answers went out too recently."""
        shell = self._shell
        if self._solicited is not None:
            # a second asker while an answer is due: it goes to all; more of the same asker are dropped
            due_ns, target = self._solicited
            if target == frame.src:
                shell.drop(DropReason.RATE_LIMITED)
            else:
                self._solicited = (due_ns, BROADCAST_BYTES)
            return
        if not self._may_answer(now_ns):
            shell.drop(DropReason.RATE_LIMITED)
            return
        spread_ns = Solicit.unpack(frame.payload).spread_ms * _MS
        self._solicited = (now_ns + self._random(spread_ns), frame.src)
        self._tick_solicit(now_ns)

    def on_stranger(self, src: bytes, now_ns: int) -> None:
        """Somebody believes in a session that is not in force: tell him who we are now, not too often."""
        if self._may_answer(now_ns) and not src[0] & 1:
            self._answered_ns = now_ns
            self._say_hello(src, now_ns)

    def on_open(self, frame: Frame, now_ns: int) -> None:
        """SESSION_OPEN: boot nonce, tag, repetition, challenge, fields, owner, in this order."""
        shell = self._shell
        ask = SessionOpen.unpack(frame.payload)
        if frame.session:
            shell.drop(DropReason.WRONG_SESSION)
            return
        if ask.boot_nonce != shell.boot_nonce:
            shell.drop(DropReason.WRONG_SESSION)
            self.on_stranger(frame.src, now_ns)
            return
        keys = self._keys(frame, ask)
        if keys is not None and not tag_valid(frame, keys.h2c):
            shell.drop(DropReason.BAD_TAG)
            return
        if keys is not None and not frame.sequence:
            shell.drop(DropReason.REPLAYED)
            return
        if self._is_repeated(frame, ask):
            session = shell.session
            assert session is not None
            if keys is not None:
                if not session.channel.window.fresh(frame.sequence):
                    shell.drop(DropReason.REPLAYED)
                    return
                session.channel.window.commit(frame.sequence)
            self.renew(now_ns)
            shell.send(session.channel.seal(Opcode.OPENED, self._opened, ETHERTYPE_RESULT, frame.object,
                                            frame.index))
            return
        status = self._judge(ask, now_ns)
        if status is Status.OK:
            self._open(frame, ask, keys, now_ns)
        else:
            if status is not Status.BAD_CHALLENGE:
                shell.renew_challenge()  # or a stranger could repeat this very OPEN when it would be accepted
            channel = self._channel(frame, keys)
            refusal = self._content(ask, status, 0, now_ns).pack()
            shell.send(channel.seal(Opcode.OPENED, refusal, ETHERTYPE_RESULT, frame.object, frame.index))

    def on_close(self, frame: Frame, now_ns: int) -> None:
        """SESSION_CLOSE: the lease is free; what the owner had stays until another one opens."""
        self._shell.answer(frame, Answer(status=Status.OK).pack())
        self._end(now_ns)

    def on_keepalive(self, frame: Frame, now_ns: int) -> None:
        """KEEPALIVE: renew the lease, tell how things are."""
        shell = self._shell
        wanted = Keepalive.unpack(frame.payload).lease_ms
        if wanted:
            self.lease_ms = min(wanted, MAX_LEASE_MS)
        self.renew(now_ns)
        shell.answer(frame, Alive(
            status=Status.OK, card_state=shell.card_state, pr_status=shell.pr_status, role_epoch=shell.role_epoch,
            lease_left_ms=self.lease_left_ms(now_ns), slots_running=shell.commands.running_mask(),
            rx_frames=shell.rx_frames, rx_dropped=shell.rx_dropped()).pack())

    def renew(self, now_ns: int) -> None:
        """A valid frame of the session came."""
        self.lease_until_ns = now_ns + self.lease_ms * _MS

    def lease_left_ms(self, now_ns: int) -> int:
        """What is left of the lease; 0 when no session is open."""
        return max(0, self.lease_until_ns - now_ns) // _MS if self._shell.session is not None else 0

    def expire(self, now_ns: int) -> None:
        """End a session whose lease ran out."""
        if self._shell.session is not None and now_ns >= self.lease_until_ns:
            self._end(now_ns)

    def tick(self, now_ns: int) -> None:
        """Lease and HELLO timers."""
        self.expire(now_ns)
        self._tick_solicit(now_ns)
        if self._hello_ns is not None and now_ns >= self._hello_ns and self._shell.session is None:
            self._say_hello(BROADCAST_BYTES, now_ns)
            self._hello_ns = now_ns + self._shell.config.hello_ms * _MS

    def next_wakeup_ns(self) -> int | None:
        """When `tick` has something to do."""
        due = self._hello_ns if self._shell.session is None else self.lease_until_ns
        if self._solicited is not None and (due is None or self._solicited[0] < due):
            due = self._solicited[0]
        return due

    def paper_trigger(self) -> bool:
        """Take the first-frame trigger for a profile with a discovery frame of its own."""
        hit, self.await_first_frame = self.await_first_frame, False
        return hit

    def _end(self, now_ns: int) -> None:
        self._shell.session = None
        self._shell.watch.session_ended(self._shell.boot_nonce, self.owner or 0)
        self._shell.reads.reset()
        self._opened = b""
        self._hello_ns = now_ns if self._shell.link_is_up else None

    def _keys(self, frame: Frame, ask: SessionOpen) -> SessionKeys | None:
        key = self._shell.config.card_key
        if key is None:
            return None
        return derive_keys(key, ask.boot_nonce, ask.host_nonce, ask.owner, ask.generation, frame.src,
                           self._shell.mac)

    def _is_repeated(self, frame: Frame, ask: SessionOpen) -> bool:
        session = self._shell.session
        return (session is not None and session.host == frame.src and ask.owner == self.owner
                and ask.generation == self.generation and ask.host_nonce == self.host_nonce)

    def _judge(self, ask: SessionOpen, now_ns: int) -> Status:
        if ask.challenge != self._shell.challenge:
            return Status.BAD_CHALLENGE
        if ask.host_mtu and ask.host_mtu < MIN_HOST_MTU:
            return Status.BAD_PARAMETER
        if self.owner is None:
            return Status.OK
        is_open = self._shell.session is not None and now_ns < self.lease_until_ns
        if ask.owner == self.owner:
            newer = ask.generation > self.generation or (ask.generation == self.generation and not is_open)
            return Status.OK if newer else Status.STALE_GENERATION
        return Status.BUSY if is_open and not ask.options & OPTION_TAKEOVER else Status.OK

    def _open(self, frame: Frame, ask: SessionOpen, keys: SessionKeys | None, now_ns: int) -> None:
        shell = self._shell
        kept = self.owner == ask.owner
        if not kept and self.owner is not None:
            shell.session = None  # killed commands answer to nobody: their owner is gone
            shell.scrub()
            shell.role_epoch += 1
        shell.reads.reset()
        shell.session_count += 1
        shell.renew_challenge()
        channel = self._channel(frame, keys)
        if keys is not None:
            channel.window.commit(frame.sequence)
        channel.session = self._session_id()
        shell.session = Session(channel, ask.host_mtu or MIN_HOST_MTU)
        self.owner, self.generation, self.host_nonce = ask.owner, ask.generation, ask.host_nonce
        shell.watch.session_opened(shell.boot_nonce, ask.owner, ask.generation, channel.session)
        self.lease_ms = min(ask.lease_ms or shell.config.lease_ms, MAX_LEASE_MS)
        self.renew(now_ns)
        self._hello_ns = None
        self._opened = self._content(ask, Status.OK, FLAG_KEPT if kept else 0, now_ns)._replace(
            hello_tag=hello_tag(channel.send_key, self._hello(now_ns).pack())).pack()
        shell.send(channel.seal(Opcode.OPENED, self._opened, ETHERTYPE_RESULT, frame.object, frame.index))
        shell.reach("opened")

    def _channel(self, frame: Frame, keys: SessionKeys | None) -> Channel:
        # answers to OPENs under one key count on from the OPEN's own number, so that no two of them share one
        channel = Channel.for_card(self._shell.codec, self._shell.mac, frame.src, keys)
        channel.sequence = max(0, min(frame.sequence, (1 << 63)) - 1)
        return channel

    def _session_id(self) -> int:
        """Unique for 65,536 sessions since boot; 0 means none."""
        return 0x80000000 | (self._session_base & 0x7FFF) << 16 | self._shell.session_count & 0xFFFF

    def _content(self, ask: SessionOpen, status: Status, flags: int, now_ns: int) -> Opened:
        shell = self._shell
        opened = Opened(
            status=status, flags=flags, session=shell.session.id if shell.session and status is Status.OK else 0,
            boot_nonce=shell.boot_nonce, host_nonce=ask.host_nonce, owner=self.owner or 0,
            generation=self.generation, lease_left_ms=self.lease_left_ms(now_ns), challenge=shell.challenge,
            role_epoch=shell.role_epoch, card_state=shell.card_state, pr_status=shell.pr_status,
            image_digest=shell.image_digest, forgotten=shell.scrubs & 0xFFFF)
        if status is Status.BUSY:  # what another owner left here is not the asker's concern
            return opened
        return opened._replace(
            last_transfer=shell.transfers.last_id, last_commit=shell.commits.last_id,
            last_kill=shell.commands.last_kill, slots=shell.commands.slot_infos(),
            images=shell.transfers.image_infos(), transfers=shell.transfers.transfer_infos())

    def _may_answer(self, now_ns: int) -> bool:
        guard_ns = self._shell.config.solicit_guard_ms * _MS
        return self._answered_ns is None or now_ns - self._answered_ns >= guard_ns

    def _tick_solicit(self, now_ns: int) -> None:
        if self._solicited is not None and now_ns >= self._solicited[0]:
            target, self._solicited = self._solicited[1], None
            self._answered_ns = now_ns
            self._say_hello(target, now_ns)

    def _random(self, span_ns: int) -> int:
        return int.from_bytes(self._shell.entropy(4), "big") * span_ns >> 32

    def _say_hello(self, dst: bytes, now_ns: int) -> None:
        shell = self._shell
        shell.send(shell.codec.encode(Opcode.HELLO, self._hello(now_ns).pack(), dst=dst, src=shell.mac,
                                      ethertype=ETHERTYPE_DISCOVERY))

    def _hello(self, now_ns: int) -> Hello:
        shell, config = self._shell, self._shell.config
        uptime_ms = max(0, now_ns - shell.booted_ns) // _MS
        return Hello(
            serial=config.serial.encode().ljust(16, b"\0"), mac0=shell.mac, mac1=bytes(config.second_mac),
            vendor_id=VENDOR_ID, product_id=PRODUCT_ID, boot_nonce=shell.boot_nonce, shell_version=SHELL_VERSION,
            pr_compat_id=config.pr_compat_id, mtu=config.mtu, suite=config.suite, ddr_contexts=DDR_CONTEXTS,
            image_max_blocks=IMAGE_MAX_BLOCKS, ddr_max_blocks=DDR_MAX_BLOCKS, image_slots=config.image_slots,
            command_slots=COMMAND_SLOTS, pr_width_bits=PR_WIDTH_BITS, pr_clock_mhz=PR_CLOCK_MHZ,
            ddr_bytes=config.ddr_bytes, image_slot_bytes=config.image_slot_bytes,
            receive_rate=config.receive_rate, window_blocks=config.window_blocks,
            capabilities=CAPABILITY_PUSH | CAPABILITY_GROUP | CAPABILITY_EMULATED, card_state=shell.card_state,
            pr_status=shell.pr_status, session_open=shell.session is not None, role_epoch=shell.role_epoch,
            challenge=shell.challenge, uptime_ms=uptime_ms & 0xFFFFFFFF, image_digest=shell.image_digest)
