"""The host's end of a virtual card's wire, made by hand from wire.channel: what the card's tests drive it with."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from safhost.lab.card import CardConfig, ControlOut, DataOut, VirtualCard
from safhost.lab.card_verify import LeafCache
from safhost.units import Mac
from safhost.wire.auth import derive_keys, guard_tag
from safhost.wire.channel import Channel
from safhost.wire.codec import BROADCAST_BYTES, Codec, DataEncoder, Frame, padded
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    HEADER_BYTES,
    OPCODES,
    Close,
    Commit,
    Committed,
    Hello,
    Opcode,
    Opened,
    Read,
    Run,
    SessionOpen,
    Solicit,
    TransferKind,
    Verdict,
    XferOpen,
)

CODEC = Codec()
CARD_MAC = Mac.parse("02:5a:f0:00:00:01")
HOST_MAC = bytes(Mac.parse("02:5a:f0:00:00:fe"))
KEY = hashlib.blake2s(b"test key").digest()
MS = 1_000_000
S = 1_000_000_000


def entropy_of(seed: int) -> Any:
    """A seeded stream of bytes."""
    return np.random.Generator(np.random.PCG64(seed)).bytes


def make_card(suite: int = 1, seed: int = 1, cache: LeafCache | None = None, **config: Any) -> VirtualCard:
    """A small plugged-in card; its link came up at time 0."""
    settings: dict[str, Any] = {"serial": "VC0001", "mac": CARD_MAC, "card_key": KEY if suite else None,
                                "ddr_bytes": 64 << 20, "image_slot_bytes": 16 << 20}
    card = VirtualCard(CardConfig(**{**settings, **config}), CODEC, entropy_of(seed), cache)
    card.link_up(0)
    return card


def rows_of(out: DataOut) -> list[bytes]:
    """The frames of a bulk output."""
    n = len(out.headers)
    frames = []
    for i in range(n):
        size = out.last_bytes if i == n - 1 else out.block_bytes
        start = int(out.offsets[i])
        frames.append(out.headers[i].tobytes() + out.payload[start:start + size].tobytes())
    return frames


def batch_of(frames: list[bytes], stride: int = 0) -> tuple[Any, Any]:
    """Frames as a ring would show them: (n, stride) uint8 and lengths."""
    width = max(stride, 64, *(len(f) for f in frames))
    rows = np.full((len(frames), width), 0xEE, np.uint8)
    for i, frame in enumerate(frames):
        rows[i, :len(frame)] = np.frombuffer(frame, np.uint8)
    return rows, np.array([len(f) for f in frames], np.uint32)


class Host:
    """One owner talking to one card. ``now`` is the time of everything it sends."""

    def __init__(self, card: VirtualCard, owner: int = 7, generation: int = 1, mac: bytes = HOST_MAC,
                 nonce: bytes = b"n" * 16, key: bytes | None = None, mtu: int = 0) -> None:
        self.card = card
        self.mac = mac
        self.owner, self.generation, self.nonce = owner, generation, nonce
        self.key = key or card.config.card_key
        self.now = 0
        self.channel: Channel | None = None
        self.data: list[bytes] = []
        self.mtu = mtu or card.config.mtu

    def hello(self) -> Hello:
        """SOLICIT and take the HELLO."""
        self.now += 100 * MS
        self.card.handle_control(CODEC.encode(Opcode.SOLICIT, Solicit().pack(), dst=BROADCAST_BYTES, src=self.mac,
                                              ethertype=ETHERTYPE_DISCOVERY), self.now)
        hellos = [f for f in self.raw_output() if f.opcode == Opcode.HELLO]
        assert len(hellos) == 1
        return Hello.unpack(hellos[0].payload)

    def raw_output(self) -> list[Frame]:
        """Control frames the card sent, tags unchecked; DATA frames go to ``data``."""
        frames = []
        for out in self.card.take_output():
            if isinstance(out, ControlOut):
                frame = CODEC.parse(out.raw, "c2h", self.card.config.mtu + 14)
                assert isinstance(frame, Frame), frame
                frames.append(frame)
            else:
                self.data += rows_of(out)
        return frames

    def output(self) -> list[Frame]:
        """Control frames of the session, each with a valid tag and a fresh sequence."""
        assert self.channel is not None
        frames = self.raw_output()
        for frame in frames:
            if frame.opcode != Opcode.HELLO:
                assert self.channel.check(frame) is None
        return frames

    def prepare(self, hello: Hello) -> Channel:
        """A channel keyed for an OPEN after this HELLO."""
        keys = None if self.key is None else derive_keys(self.key, hello.boot_nonce, self.nonce, self.owner,
                                                         self.generation, self.mac, bytes(CARD_MAC))
        return Channel.for_host(CODEC, self.mac, bytes(self.card.config.mac), keys)

    def open(self, hello: Hello | None = None, takeover: bool = False, **fields: Any) -> Opened:
        """SESSION_OPEN; the answer's tag is checked."""
        hello = hello or self.hello()
        channel = self.prepare(hello)
        ask = SessionOpen(owner=self.owner, generation=self.generation, host_nonce=self.nonce,
                          boot_nonce=hello.boot_nonce, challenge=hello.challenge, lease_ms=10_000,
                          options=int(takeover), host_mtu=self.mtu)._replace(**fields)
        self.card.handle_control(channel.seal(Opcode.SESSION_OPEN, ask.pack(), ETHERTYPE_CONTROL), self.now)
        answers = [f for f in self.raw_output() if f.opcode == Opcode.OPENED]
        assert len(answers) == 1
        assert channel.check(answers[0]) is None
        opened = Opened.unpack(answers[0].payload)
        assert opened.host_nonce == self.nonce
        if opened.session:
            channel.session = opened.session
            self.channel = channel
        return opened

    def send(self, opcode: int, payload: bytes, ethertype: int, obj: int = 0, index: int = 0) -> None:
        """One sealed frame."""
        assert self.channel is not None
        self.card.handle_control(self.channel.seal(opcode, payload, ethertype, obj, index), self.now)

    def ask(self, opcode: int, payload: bytes, ethertype: int, obj: int = 0, index: int = 0) -> Any:
        """A request and the payload of its one answer, unpacked."""
        self.send(opcode, payload, ethertype, obj, index)
        return self.only_answer(opcode, obj, index)

    def only_answer(self, opcode: int, obj: int, index: int) -> Any:
        frames = self.output()
        assert len(frames) == 1, frames
        frame = frames[0]
        assert (frame.opcode, frame.object, frame.index) == (opcode | 0x80, obj, index)
        return OPCODES[frame.opcode].payload.unpack(frame.payload)

    # -- transfers

    def xfer_payload(self, ask: XferOpen) -> bytes:
        """XFER_OPEN's payload, padded so that the frame is as long as a full DATA frame."""
        tag = 16 if self.key else 0
        return ask.pack() + bytes(max(0, min(ask.block_bytes, self.card.config.block_max) - tag - 64))

    def xfer(self, data: Any, transfer: int, kind: TransferKind = TransferKind.DDR, base: int = 0, slot: int = 0,
             block: int = 1472, group: int = 0, **fields: Any) -> XferOpen:
        """The XFER_OPEN that announces ``data``."""
        length = len(data)
        return XferOpen(kind=kind, slot=slot, block_bytes=block, group=group, base=base, length=length,
                        blocks=-(-length // block), digest=tree_root(memoryview(data)))._replace(**fields)

    def open_xfer(self, ask: XferOpen, transfer: int) -> Any:
        return self.ask(Opcode.XFER_OPEN, self.xfer_payload(ask),
                        ETHERTYPE_IMAGE if ask.kind == TransferKind.IMAGE else ETHERTYPE_INPUT, transfer)

    def data_frames(self, data: Any, ask: XferOpen, transfer: int, indices: Any = None, dst: bytes = b"",
                    session: int | None = None, src: bytes = b"", ethertype: int = 0) -> list[bytes]:
        """DATA frames of those blocks (all by default)."""
        assert self.channel is not None
        types = {TransferKind.IMAGE: ETHERTYPE_IMAGE, TransferKind.DDR: ETHERTYPE_INPUT}
        encoder = DataEncoder(dst=dst or BROADCAST_BYTES, src=src or self.mac,
                              ethertype=ethertype or types[TransferKind(ask.kind)],
                              session=self.channel.session if session is None else session, object=transfer,
                              length_bytes=ask.length, block_bytes=ask.block_bytes, max_batch=1)
        view, frames = memoryview(data).cast("B"), []
        for i in range(encoder.blocks) if indices is None else indices:
            header, offsets, _, last = encoder.encode(np.array([i], np.int64))
            start = int(offsets[0])
            frames.append(header[0].tobytes() + bytes(view[start:start + last]))
        return frames

    def send_batch(self, frames: list[bytes]) -> None:
        if frames:
            self.card.handle_batch(*batch_of(frames), self.now)

    def guarded(self, data: Any, ask: XferOpen, transfer: int, index: int, key: bytes | None = None) -> bytes:
        """One GUARDED block."""
        assert self.channel is not None
        frame = bytearray(self.data_frames(data, ask, transfer, [index])[0])
        frame[23] |= 1
        frame[32:40] = guard_tag(self.channel.send_key if key is None else key, bytes(frame[14:32]),
                                 bytes(frame[HEADER_BYTES:]))
        return bytes(frame)

    def close_xfer(self, transfer: int, kind: TransferKind = TransferKind.DDR) -> Verdict:
        """CLOSE, tick until the final verdict."""
        ethertype = ETHERTYPE_IMAGE if kind == TransferKind.IMAGE else ETHERTYPE_INPUT
        verdict = self.ask(Opcode.CLOSE, Close().pack(), ethertype, transfer)
        for _ in range(10_000):
            wake = self.card.next_wakeup_ns()
            if verdict.status != 1:
                return verdict
            self.now = max(self.now, wake or 0)
            self.card.tick(self.now)
            finals = [f for f in self.output() if f.opcode == Opcode.VERDICT]
            if finals:
                verdict = Verdict.unpack(finals[0].payload)
        raise AssertionError("no verdict")

    def write(self, data: Any, transfer: int, kind: TransferKind = TransferKind.DDR, **fields: Any) -> Verdict:
        """A whole transfer without loss."""
        ask = self.xfer(data, transfer, kind, **fields)
        ready = self.open_xfer(ask, transfer)
        assert ready.status == 0, ready
        if ready.missing:
            self.send_batch(self.data_frames(data, ask, transfer))
        return self.close_xfer(transfer, kind)

    def commit(self, digest: bytes, commit: int, epoch: int = 0, **fields: Any) -> Committed:
        ask = Commit(digest=digest, role_epoch=epoch)._replace(**fields)
        return self.ask(Opcode.COMMIT, ask.pack(), ETHERTYPE_IMAGE, commit)

    def run(self, slot: int, command: int, **fields: Any) -> Any:
        ask = Run(kernel=0xFFFF)._replace(**fields)
        self.send(Opcode.RUN, ask.pack(), ETHERTYPE_CONTROL, slot, command)
        frames = self.output()
        assert len(frames) <= 1
        if not frames:
            return None
        assert (frames[0].opcode, frames[0].object, frames[0].index) == (Opcode.DONE, slot, command)
        return OPCODES[Opcode.DONE].payload.unpack(frames[0].payload)

    def read(self, read_id: int, **fields: Any) -> tuple[Any, bytes]:
        """READ without pacing: READ_DONE and the bytes."""
        ask = Read(space=1, block_bytes=1472)._replace(**fields)
        self.data = []
        done = self.ask(Opcode.READ, ask.pack(), ETHERTYPE_INPUT, read_id)
        return done, b"".join(f[HEADER_BYTES:] for f in self.data)


def connected(suite: int = 1, **config: Any) -> Host:
    """A card with an open session."""
    host = Host(make_card(suite, **config))
    assert host.open().status == 0
    return host


def group_frame(host: Host, inner: int, body: bytes, members: list[tuple[int, int, int, int]], ethertype: int,
                key: bytes | None = None) -> bytes:
    """GROUP with members (session, object, index, epoch), sealed with the host's channel for its own session."""
    from safhost.wire.auth import frame_tag
    from safhost.wire.generated import Group, GroupMember

    assert host.channel is not None
    content_length = padded(len(body)) + 40 * len(members)
    head = Group(inner_opcode=inner, count=len(members), body_bytes=len(body)).pack()
    frame = CODEC.encode(Opcode.GROUP, head + bytes(content_length), dst=BROADCAST_BYTES, src=host.mac,
                         ethertype=ethertype, suite=host.channel.suite)
    prefix = frame[:HEADER_BYTES] + head + body.ljust(padded(len(body)), b"\0")
    tail = b""
    for session, obj, index, epoch in members:
        host.channel.sequence += 1
        member = GroupMember(session=session, object=obj, index=index, role_epoch=epoch,
                             sequence=host.channel.sequence).pack()[:24]
        tag = frame_tag(key or host.channel.send_key, prefix + member) if host.channel.suite else bytes(16)
        tail += member + tag
    return prefix + tail
