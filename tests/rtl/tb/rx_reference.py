"""What saf_rx has to do with a frame, said by the reference: wire.codec and the order of checks of lab.card."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from shell_types import ETYPES

from safhost.wire import generated
from safhost.wire.codec import BROADCAST_BYTES, Codec, Frame, split_batch
from safhost.wire.generated import ETHERTYPES, HEADER_BYTES, OPCODES, DropReason, Opcode

OWN = bytes.fromhex("02aabbccdd01")
HOST = bytes.fromhex("021122334455")
USED = {"discovery": 0x9001, "image": 0x9002, "image_answer": 0x9003, "input": 0x9004, "input_answer": 0x9005,
        "control": 0x9006, "result": 0x9007}
"""EtherTypes that differ from saf.yaml's, so that the mapping is used."""

TPIDS = (0x8100, 0x88A8)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``kind``: ignored, foreign, drop, quiet, data or control; ``reason`` of a drop; ``frame`` of a control frame."""

    kind: str
    reason: DropReason | None = None
    frame: Frame | None = None
    seen: bool = False


class Reference:
    """Judges frames for a card with MTU ``mtu``."""

    def __init__(self, mtu: int) -> None:
        self.codec = Codec(USED)
        self.max_bytes = mtu + generated.ETHERNET_HEADER_BYTES

    def judge(self, raw: bytes) -> Verdict:
        if len(raw) < 14:
            return Verdict("ignored")
        etype = int.from_bytes(raw[12:14], "big")
        mine = raw[:6] in (OWN, BROADCAST_BYTES)
        if etype in TPIDS:
            if len(raw) < 18 or not self.codec.canonical(int.from_bytes(raw[16:18], "big")):
                return Verdict("ignored")
            return Verdict("drop", DropReason.VLAN) if mine else Verdict("foreign", seen=True)
        if not self.codec.canonical(etype):
            return Verdict("ignored")
        if not mine:
            return Verdict("foreign", seen=True)
        if len(raw) >= HEADER_BYTES and raw[15] == Opcode.DATA:
            return self._data(raw)
        frame = self.codec.parse(raw, "h2c", self.max_bytes)
        if isinstance(frame, DropReason):
            if frame is DropReason.WRONG_DIRECTION and raw[:6] == BROADCAST_BYTES and raw[15] == Opcode.HELLO:
                return Verdict("quiet", seen=True)
            return Verdict("drop", frame, seen=True)
        if frame.src[0] & 1:
            return Verdict("drop", DropReason.WRONG_SOURCE, seen=True)
        return Verdict("control", frame=frame)

    def _data(self, raw: bytes) -> Verdict:
        if len(raw) > self.max_bytes:
            return Verdict("drop", DropReason.OVERSIZED)
        controls, groups, drops = split_batch(np.frombuffer(raw, np.uint8)[None], np.array([len(raw)]))
        assert not controls
        if drops:
            return Verdict("drop", drops[0])
        assert len(groups) == 1
        return Verdict("data", seen=True)


class Maker:
    """Random frames: good ones of all opcodes, DATA, and mutations of them."""

    def __init__(self, rng: random.Random, mtu: int) -> None:
        self.rng, self.mtu = rng, mtu
        self.codec = Codec(USED)

    def control(self) -> bytes:
        rng = self.rng
        opcode = rng.choice([o for o in OPCODES if o != Opcode.DATA])
        info = OPCODES[opcode]
        size = info.size + (rng.choice((0, rng.randrange(1, 80), rng.randrange(300))) if info.tail else 0)
        raw = self.codec.encode(opcode, rng.randbytes(size), dst=rng.choice((OWN, OWN, BROADCAST_BYTES)), src=HOST,
                                ethertype=rng.choice(sorted(info.ethertypes)), session=rng.getrandbits(32),
                                object=rng.getrandbits(32), index=rng.getrandbits(32),
                                sequence=rng.getrandbits(64), flags=rng.getrandbits(16),
                                suite=rng.randrange(2), key=bytes(32))
        return self.padded(raw)

    def data(self, block: int | None = None) -> bytes:
        rng = self.rng
        if block is None:
            block = rng.choice((rng.randrange(64), rng.randrange(300), 20))
        head = rng.choice((OWN, BROADCAST_BYTES)) + HOST + rng.choice(list(USED.values())).to_bytes(2, "big")
        head += bytes((0x10, Opcode.DATA)) + rng.randbytes(4) + block.to_bytes(2, "big") + rng.randbytes(18)
        return self.padded(head + rng.randbytes(block))

    def padded(self, raw: bytes) -> bytes:
        """As a NIC pads, as veth does not, or with something that is not zero."""
        if len(raw) >= 60 or self.rng.random() < 0.3:
            return raw
        return raw + (bytes if self.rng.random() < 0.5 else self.rng.randbytes)(60 - len(raw))

    def any(self) -> bytes:
        rng = self.rng
        raw = bytearray(self.data() if rng.random() < 0.4 else self.control())
        kind = rng.randrange(16)
        if kind == 0:
            del raw[rng.randrange(1, len(raw) + 1):]
        elif kind == 1:
            raw += rng.randbytes(rng.choice((1, 2, 8, 30)))
        elif kind == 2:
            raw[rng.randrange(14, min(24, len(raw)))] = rng.getrandbits(8)
        elif kind == 3:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        elif kind == 4:
            raw[:6] = rng.choice((HOST, b"\x01\0\x5e\0\0\1", OWN[:5] + b"\x77", b"\xff" * 5 + b"\xfe"))
        elif kind == 5:
            tag = rng.choice((*TPIDS, 0x8101)).to_bytes(2, "big") + rng.randbytes(2)
            raw[12:12] = tag
            if rng.random() < 0.2:
                del raw[rng.randrange(13, 20):]
        elif kind == 6:
            raw[12:14] = rng.choice((0x0800, 0x80AA, *USED.values())).to_bytes(2, "big")
        elif kind == 7:
            raw[14] = rng.choice((0x10, 0x11, 0x12, 0x20, 0x01, 0x1F))
        elif kind == 8:
            raw[15] = rng.choice((*OPCODES, rng.getrandbits(8)))
        elif kind == 9:
            length = int.from_bytes(raw[20:22], "big") + rng.randrange(-9, 10)
            raw[20:22] = max(0, min(65535, length)).to_bytes(2, "big")
        elif kind == 10:
            raw[6] |= 1
        elif kind == 11 and len(raw) > 30:
            raw += bytes(max(0, self.mtu + 14 + rng.randrange(-9, 10) - len(raw)))
        return bytes(raw) or b"\0"


def number_of(etype: int) -> int:
    """etype_e of a canonical EtherType."""
    return next(i for i, name in enumerate(ETYPES) if ETHERTYPES[name] == etype)
