"""Frames for two cards that have to do the same: what a host says in a session, and what goes wrong on the way.

Secrets and session ids differ from card to card, so a frame is a `Recipe`: a function of a `Side` that makes that
card's own frame. Mutations are chosen once and do the same to both: bits are inverted, fields get values that are no
secrets, lengths change; a frame may be tagged anew afterwards, so that it gets past the tag.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from safhost.conformance.images import CardImage, make_image
from safhost.wire.auth import SessionKeys, derive_keys, frame_tag
from safhost.wire.channel import Channel
from safhost.wire.codec import BROADCAST_BYTES, Codec, DataEncoder, padded
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_DISCOVERY,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    ETHERTYPE_RESULT,
    ETHERTYPES,
    FLAG_GUARDED,
    HEADER_BYTES,
    OPCODES,
    PR_COMPAT_ID,
    READ_MAX_BYTES,
    TAG_BYTES,
    Abort,
    Close,
    Commit,
    Group,
    GroupMember,
    Hello,
    Invalidate,
    Keepalive,
    Kill,
    Opcode,
    Poll,
    Read,
    Run,
    SessionClose,
    SessionOpen,
    Solicit,
    TransferKind,
    XferOpen,
)

CODEC = Codec()
VECTORS = Path(__file__).resolve().parents[2] / "protocols/vectors"
PARTY = json.loads((VECTORS / "frames.json").read_text(encoding="utf-8"))["parties"]["card0"]
"""Both cards are the one that the vectors were made for: these are frames to it as they stand."""

CARD_MAC, HOST_MAC = (bytes.fromhex(PARTY[name].replace(":", "")) for name in ("card_mac", "host_mac"))
CARD_KEY = bytes.fromhex(PARTY["card_key"])
BLOCKS_BYTES = (64, 128, 512, 1024, 1472)
AREA_BYTES = 4 << 20
"""Transfers and READs are in the first bytes of DDR, so that they meet."""

MAX_OBJECT_BYTES = 24_000
EMPTY_KERNEL = 0xFFFF
OPCODE_AT, LENGTH_AT, SEQUENCE_AT = 15, 20, 32


class Side:
    """What a host knows of one card: its HELLO, its session, and the SESSION_OPENs that may be answered."""

    def __init__(self, key: bytes | None) -> None:
        self.key = key
        self.hello: Hello | None = None
        self.challenge = 0
        self.channel = Channel.for_host(CODEC, HOST_MAC, CARD_MAC, None if key is None else SessionKeys(b"?" * 32,
                                                                                                       b"!" * 32))
        self.candidates: list[Channel] = []
        self.struck: tuple[bool, ...] = ()
        """Of the mistakes in the last frame that had some: whether each changed it. What is put over a secret may be
        there already, on one of two cards."""

    def prepare(self, source: bytes, ask: SessionOpen, sequence: int) -> Channel:
        """The channel that a SESSION_OPEN like this is sealed with."""
        keys = None if self.key is None else derive_keys(self.key, ask.boot_nonce, ask.host_nonce, ask.owner,
                                                         ask.generation, source, CARD_MAC)
        channel = Channel.for_host(CODEC, source, CARD_MAC, keys)
        channel.sequence = sequence
        self.candidates = [*self.candidates[-7:], channel]
        return channel

    def retag(self, raw: bytes) -> bytes:
        """The frame with a right tag, as far as it is one that has a place for it."""
        if len(raw) < HEADER_BYTES or not raw[OPCODE_AT - 1] & 15 or raw[OPCODE_AT] not in OPCODES:
            return raw
        info = OPCODES[raw[OPCODE_AT]]
        end = HEADER_BYTES + padded(int.from_bytes(raw[LENGTH_AT:LENGTH_AT + 2], "big"))
        if not info.tagged or len(raw) < end + TAG_BYTES:
            return raw
        key = self.channel.send_key
        if raw[OPCODE_AT] == Opcode.SESSION_OPEN and len(raw) >= HEADER_BYTES + info.size:
            ask = SessionOpen.unpack(raw[HEADER_BYTES:HEADER_BYTES + info.size])
            key = self.prepare(raw[6:12], ask, int.from_bytes(raw[SEQUENCE_AT:HEADER_BYTES], "big")).send_key
        return raw[:end] + frame_tag(key, raw[:end]) + raw[end + TAG_BYTES:]


Recipe = Callable[[Side], bytes]


class Transfer:
    """An object under way."""

    def __init__(self, number: int, ask: XferOpen, data: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self.number, self.ask, self.data = number, ask, data
        self.ethertype = ETHERTYPE_IMAGE if ask.kind == TransferKind.IMAGE else ETHERTYPE_INPUT


class Traffic:
    """A host's script; ``rng`` decides everything. ``role_epoch`` is for whoever reads answers to keep right."""

    def __init__(self, rng: random.Random, suite: int) -> None:
        self.rng, self.suite = rng, suite
        self.role_epoch = 0
        self.owner, self.generation, self.number = 1, 1, 0
        self.transfers: list[Transfer] = []
        self.commands = [0] * 8
        self._plan: list[Callable[[], list[Recipe]]] = []
        self.images = [make_image(version, PR_COMPAT_ID) for version in ("1", "2")]
        self.vectors = [bytes.fromhex(entry["hex"]) for name in ("frames", "malformed")
                        for entry in json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["frames"]]
        self.vectors += [bytes.fromhex(frame["hex"])
                         for entry in json.loads((VECTORS / "sequences.json").read_text(encoding="utf-8"))["sequences"]
                         for frame in entry["frames"]]

    # -- frames as they should be

    def sealed(self, opcode: int, payload: bytes, ethertype: int, obj: int = 0, index: int = 0) -> Recipe:
        """A control frame of the session."""
        def make(side: Side) -> bytes:
            return side.channel.seal(opcode, payload, ethertype, obj, index)
        return make

    def solicit(self) -> Recipe:
        """Answered at once."""
        raw = CODEC.encode(Opcode.SOLICIT, Solicit().pack(), dst=BROADCAST_BYTES, src=HOST_MAC, suite=self.suite,
                           ethertype=ETHERTYPE_DISCOVERY)
        return lambda _: raw

    def open(self, *, is_new: bool, **fields: Any) -> Recipe:
        """SESSION_OPEN that is accepted, but for what ``fields`` say."""
        if is_new:
            self.owner += 1
            self.generation = 1
            self.transfers.clear()
            self._plan.clear()
            self.commands = [0] * 8
        else:
            self.generation += 1
        owner, generation, nonce = self.owner, self.generation, self.rng.randbytes(16)

        def make(side: Side) -> bytes:
            assert side.hello is not None
            ask = SessionOpen(owner=owner, generation=generation, host_nonce=nonce, boot_nonce=side.hello.boot_nonce,
                              challenge=side.challenge, lease_ms=60_000, options=1, host_mtu=1500)._replace(**fields)
            channel = side.prepare(HOST_MAC, ask, 0)
            return channel.seal(Opcode.SESSION_OPEN, ask.pack(), ETHERTYPE_CONTROL)
        return make

    def new_transfer(self) -> Transfer:
        """An object that nobody was told of yet."""
        rng = self.rng
        if rng.random() < 0.15:
            image = rng.choice(self.images)
            data, block, base, kind = np.frombuffer(image.payload, np.uint8), 1472, 0, TransferKind.IMAGE
        else:
            block = rng.choice(BLOCKS_BYTES)
            length = rng.randint(1, min(MAX_OBJECT_BYTES, 100 * block))
            data = np.frombuffer(rng.randbytes(length), np.uint8)
            base, kind = rng.randrange(AREA_BYTES - length), TransferKind.DDR
        ask = XferOpen(kind=kind, slot=rng.randrange(3), block_bytes=block, base=base, length=len(data),
                       group=rng.choice((0, 0, 0xAB00_0001 + rng.randrange(1000))), blocks=-(-len(data) // block),
                       digest=tree_root(data.data) if rng.random() < 0.95 else bytes(32))
        transfer = Transfer(0, ask, data)
        self.transfers = [*self.transfers[-5:], transfer]
        return transfer

    def begin_transfer(self, transfer: Transfer | None = None) -> Recipe:
        """XFER_OPEN of an object: by default of a new one, or of one under way."""
        rng = self.rng
        if transfer is None:
            old = self.transfers and rng.random() < 0.5
            transfer = rng.choice(self.transfers) if old else self.new_transfer()
        if transfer.number == 0:
            self.number += 1
            transfer.number = self.number  # now: ids rise in the order of XFER_OPENs
        padding = max(0, transfer.ask.block_bytes - (TAG_BYTES if self.suite else 0) - 64)
        return self.sealed(Opcode.XFER_OPEN, transfer.ask.pack() + bytes(padding), transfer.ethertype, transfer.number)

    def blocks(self, transfer: Transfer | None = None, *, is_whole: bool = False) -> list[Recipe]:
        """DATA of an object: all of it, or some blocks."""
        rng = self.rng
        transfer = transfer or rng.choice(self.transfers[-2:])
        indices = list(range(transfer.ask.blocks))
        if not is_whole and rng.random() < 0.35:
            indices = sorted(rng.sample(indices, min(len(indices), rng.randint(1, 12))))
        dst = rng.choice((BROADCAST_BYTES, CARD_MAC))
        is_group = bool(transfer.ask.group) and rng.random() < 0.5
        if rng.random() < 0.1:  # one at a time: that is how they come, and what they cost is not what is looked at
            return [self._block(transfer, rng.choice(indices), CARD_MAC, is_group, guarded=True)]
        if rng.random() < 0.2:
            rng.shuffle(indices)
        return [self._block(transfer, index, dst, is_group) for index in indices]

    def _block(self, transfer: Transfer, index: int, dst: bytes, is_group: bool, *, guarded: bool = False) -> Recipe:
        ask = transfer.ask
        content = transfer.data[index * ask.block_bytes:(index + 1) * ask.block_bytes].tobytes()

        def make(side: Side) -> bytes:
            encoder = DataEncoder(dst=dst, src=HOST_MAC, ethertype=transfer.ethertype, object=transfer.number,
                                  session=ask.group if is_group else side.channel.session, length_bytes=ask.length,
                                  block_bytes=ask.block_bytes, max_batch=1)
            if guarded:
                return encoder.encode_guarded(index, content, side.channel.send_key)
            header: bytes = encoder.encode(np.array([index], np.int64))[0][0].tobytes()
            return header + content
        return make

    def about_transfer(self) -> Recipe:
        """POLL, CLOSE, INVALIDATE or ABORT of a transfer."""
        rng = self.rng
        transfer = rng.choice(self.transfers)
        opcode, payload = rng.choice((
            (Opcode.POLL, Poll(first_block=rng.choice((0, rng.randrange(200)))).pack()),
            (Opcode.CLOSE, Close().pack()), (Opcode.CLOSE, Close().pack()),
            (Opcode.INVALIDATE, Invalidate(first_block=rng.randrange(64), count=rng.randrange(64)).pack()),
            (Opcode.ABORT, Abort().pack())))
        return self.sealed(opcode, payload, transfer.ethertype, transfer.number + rng.choice((0, 0, 0, 0, 1)))

    def commit(self) -> Recipe:
        """COMMIT of one of the images, staged or not."""
        self.number += 1
        ask = Commit(digest=self.rng.choice(self.images).digest, role_epoch=self._epoch())
        return self.sealed(Opcode.COMMIT, ask.pack(), ETHERTYPE_IMAGE, self.number)

    def run(self) -> Recipe:
        """RUN of the empty kernel, or of one of the role's, with results pushed or not; or the last one again."""
        rng = self.rng
        slot = rng.randrange(8)
        self.commands[slot] += rng.random() < 0.9
        image: CardImage = self.images[0]
        kernel = rng.choice((EMPTY_KERNEL, 0, 0, rng.randrange(4)))
        count = rng.randint(1, 64)
        arguments = image.block("increment", 4 * rng.randrange(AREA_BYTES // 8), count) if kernel == 0 else b""
        push: dict[str, int] = {}
        if rng.random() < 0.3:
            push = {"flags": 1, "push_read": rng.randrange(100), "push_address": rng.randrange(AREA_BYTES // 2),
                    "push_bytes": rng.randint(1, 5000), "push_block": rng.choice(BLOCKS_BYTES)}
        ask = Run(role_epoch=self._epoch(), kernel=kernel, work_dim=1, global_x=count, arguments=arguments, **push)
        return self.sealed(Opcode.RUN, ask.pack(), ETHERTYPE_CONTROL, slot, self.commands[slot])

    def kill(self) -> Recipe:
        """KILL of the role."""
        self.number += 1
        return self.sealed(Opcode.KILL, Kill(role_epoch=self._epoch()).pack(), ETHERTYPE_CONTROL, 0, self.number)

    def read(self) -> Recipe:
        """READ of role DDR, or of leaf digests."""
        rng = self.rng
        self.number += 1
        length = rng.randint(1, 6000)
        ask = Read(space=1, block_bytes=rng.choice((*BLOCKS_BYTES, 100)), length=length,
                   address=rng.randrange(AREA_BYTES - length), first_block=rng.choice((0, 0, 1, 50)),
                   count=rng.choice((0, 0, 1, 3)))
        if self.transfers and rng.random() < 0.2:
            ask = ask._replace(space=4, length=32, address=0, transfer=rng.choice(self.transfers).number, first_block=0)
        return self.sealed(Opcode.READ, ask.pack(), ETHERTYPE_INPUT, self.number)

    def group(self) -> Recipe:
        """RUN or COMMIT for a group; this card is one of the members, or none."""
        rng = self.rng
        inner, ethertype = rng.choice(((Opcode.RUN, ETHERTYPE_CONTROL), (Opcode.COMMIT, ETHERTYPE_IMAGE)))
        slot, count, place = rng.randrange(8), rng.randint(1, 5), rng.choice((0, 1, 2, 9))
        self.commands[slot] += 1
        self.number += 1
        body = Run(kernel=EMPTY_KERNEL).pack() if inner == Opcode.RUN else Commit(digest=self.images[0].digest).pack()
        obj, index = (slot, self.commands[slot]) if inner == Opcode.RUN else (self.number, 0)
        epoch = self._epoch()

        def make(side: Side) -> bytes:
            channel = side.channel
            head = Group(inner_opcode=inner, count=count, body_bytes=len(body)).pack()
            frame = CODEC.encode(Opcode.GROUP, head + bytes(padded(len(body)) + 40 * count), dst=BROADCAST_BYTES,
                                 src=channel.own_mac, ethertype=ethertype, suite=channel.suite)
            prefix = frame[:HEADER_BYTES] + head + body.ljust(padded(len(body)), b"\0")
            members = b""
            for i in range(count):
                channel.sequence += 1
                session = channel.session if i == place else 0x1000 + i
                member = GroupMember(session=session, object=obj, index=index, role_epoch=epoch,
                                     sequence=channel.sequence).pack()[:24]
                tag = frame_tag(channel.send_key, prefix + member) if channel.suite else bytes(TAG_BYTES)
                members += member + tag
            return prefix + members
        return make

    def keepalive(self) -> Recipe:
        """KEEPALIVE."""
        return self.sealed(Opcode.KEEPALIVE, Keepalive().pack(), ETHERTYPE_CONTROL)

    def close(self) -> Recipe:
        """SESSION_CLOSE."""
        return self.sealed(Opcode.SESSION_CLOSE, SessionClose().pack(), ETHERTYPE_CONTROL)

    def vector(self) -> Recipe:
        """A frame of protocols/vectors, as it stands."""
        raw = self.rng.choice(self.vectors)
        return lambda _: raw

    def good(self) -> list[Recipe]:
        """What a host says next: a step of a whole transfer as a rule, else anything."""
        if not self._plan and self.rng.random() < 0.4:
            self._plan = self._whole_transfer()
        if self._plan and self.rng.random() < 0.8:
            return self._plan.pop(0)()
        return self.anything()

    def _whole_transfer(self) -> list[Callable[[], list[Recipe]]]:
        others = self.transfers[-4:]
        new = self.new_transfer()
        steps: list[Callable[[], list[Recipe]]] = []
        if others and self.rng.random() < 0.7:  # make room
            old = self.rng.choice(others)
            steps.append(lambda: [self.sealed(Opcode.ABORT, Abort().pack(), old.ethertype, old.number)])
        steps.append(lambda: [self.begin_transfer(new)])
        if self.rng.random() < 0.3:
            steps.append(lambda: self.blocks(new))
        steps += [lambda: self.blocks(new, is_whole=True),
                  lambda: [self.sealed(Opcode.CLOSE, Close().pack(), new.ethertype, new.number)],
                  lambda: [self.commit() if new.ask.kind == TransferKind.IMAGE else self.read()],
                  lambda: [self.run()]]
        return steps

    def anything(self) -> list[Recipe]:
        """Something a host might say at some time: one frame, or an object's blocks."""
        rng = self.rng
        if not self.transfers:
            return [self.begin_transfer()]
        kinds: list[tuple[int, Callable[[], Recipe]]] = [
            (10, self.begin_transfer), (14, self.about_transfer), (4, self.commit), (8, self.run), (1, self.kill),
            (7, self.read), (4, self.group), (4, self.keepalive), (3, self.solicit), (6, self.vector)]
        if rng.random() < 0.2:
            return self.blocks()
        return [rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()]

    def _epoch(self) -> int:
        return self.role_epoch if self.rng.random() < 0.9 else self.rng.randrange(4)

    # -- frames as they should not be

    def bad(self) -> Recipe:
        """A good frame with one to three mistakes in it, tagged anew or not."""
        rng = self.rng
        frame = rng.choice(self.anything())
        if rng.random() < 0.1:
            frame = self.open(is_new=rng.random() < 0.3, **({} if rng.random() < 0.5 else {"challenge": 1}))
        if rng.random() < 0.03:
            frame = self.close()
        mistakes = [self._mistake() for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        is_tagged_anew = rng.random() < 0.5

        def make(side: Side) -> bytes:
            raw, struck = frame(side), []
            for mistake in mistakes:
                before, raw = raw, mistake(raw)
                struck.append(raw != before)
            side.struck = tuple(struck)
            if is_tagged_anew:
                raw = side.retag(raw)
            return raw
        return make

    def _mistake(self) -> Callable[[bytes], bytes]:
        rng = self.rng
        kind = rng.randrange(10)
        if rng.random() < 0.02:
            tag = rng.choice((b"\x81\0", b"\x88\xa8")) + bytes(2)
            return lambda raw: raw[:12] + tag + raw[12:]  # of a VLAN
        if kind < 2:
            return _flip([(rng.random(), 1 << rng.randrange(8)) for _ in range(rng.choice((1, 1, 2)))])
        if kind < 5:  # a field of the header
            at, size, values = rng.choice(HEADER_FIELDS)
            return _put(at, rng.choice(values).to_bytes(size, "big"))
        if kind < 8:  # a field of the payload
            size = rng.choice((1, 2, 4, 8))
            bits = 8 * size
            value = rng.choice((0, 1, 2, 1 << bits - 1, (1 << bits) - 1, 1 << rng.randrange(bits),
                                rng.getrandbits(bits)))
            return _put(HEADER_BYTES + rng.randrange(64 // size) * size, value.to_bytes(size, "big"))
        if kind == 8:
            share = rng.random()
            return lambda raw: raw[:int(share * len(raw))]
        tail = bytes(rng.choice((1, 7, 8, 12, 16, 600, 1500)))
        return lambda raw: raw + tail


HEADER_FIELDS: list[tuple[int, int, tuple[int, ...]]] = [
    (0, 6, (int.from_bytes(BROADCAST_BYTES, "big"), int.from_bytes(CARD_MAC, "big"), 0x02005A000077, 0x01005E000001)),
    (6, 6, (0x02005A0000FD, 0x01005E000001, int.from_bytes(CARD_MAC, "big"), 0)),
    (12, 2, (*ETHERTYPES.values(), 0x0800, 0x8100, ETHERTYPE_RESULT)),
    (14, 1, (0x10, 0x11, 0x12, 0x1F, 0x00, 0x21, 0xF1)),
    (15, 1, (*(int(opcode) for opcode in Opcode), 0x00, 0x02, 0x13, 0x23, 0x35, 0x41, 0x51, 0x71, 0xF0, 0xFF)),
    (16, 4, (0, 1, 0xFFFF_FFFF, 0xAB00_0001)),
    (20, 2, (0, 1, 7, 8, 9, 16, 32, 48, 56, 63, 64, 65, 1456, 1472, 1474, 1500, 0xFFFF)),
    (22, 2, (0, FLAG_GUARDED, 2, 3, 4, 0x8000, 0xFFFF)),
    (24, 4, (0, 1, 2, 7, 8, 100)),  # a very large one makes all that comes after it stale; flipped bits try that
    (28, 4, (0, 1, 2, 7, 50, 131_071, 131_072, 0x8000_0000, 0xFFFF_FFFF)),
    (32, 8, (0, 1, 5, 1 << 40)),
]


def _flip(places: list[tuple[float, int]]) -> Callable[[bytes], bytes]:
    def apply(raw: bytes) -> bytes:
        out = bytearray(raw)
        for share, mask in places:
            if out:
                out[int(share * len(out))] ^= mask
        return bytes(out)
    return apply


def _put(at: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at] + value + raw[at + len(value):] if len(raw) >= at + len(value) else raw


def is_endless(raw: bytes) -> bool:
    """Whether a card that takes this frame is at it for long: nothing to learn from in a test of many frames."""
    if len(raw) < HEADER_BYTES + 8:
        return False
    info = OPCODES.get(raw[OPCODE_AT])
    payload = raw[HEADER_BYTES:]
    if info is None or len(payload) < info.size:
        return False
    if raw[OPCODE_AT] == Opcode.READ:
        ask = Read.unpack(payload[:info.size])
        return MAX_OBJECT_BYTES < ask.length <= READ_MAX_BYTES or ask.gap_ns > 1000
    if raw[OPCODE_AT] == Opcode.RUN:
        run = Run.unpack(payload[:info.size])
        return MAX_OBJECT_BYTES < run.push_bytes <= READ_MAX_BYTES or run.kernel == 1
    if raw[OPCODE_AT] == Opcode.SOLICIT:
        return Solicit.unpack(payload[:info.size]).spread_ms > 0  # a random time
    if raw[OPCODE_AT] == Opcode.KEEPALIVE:
        return 0 < Keepalive.unpack(payload[:info.size]).lease_ms < 10_000
    if raw[OPCODE_AT] == Opcode.SESSION_OPEN:
        return 0 < SessionOpen.unpack(payload[:info.size]).lease_ms < 10_000
    if raw[OPCODE_AT] == Opcode.COMMIT:
        return Commit.unpack(payload[:info.size]).feed_ms < 1000 and Commit.unpack(payload[:info.size]).feed_ms > 0
    return False
