"""The host of the virtual card's tests at a card simulated from RTL, which may answer more than one thing in a call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit/lab"))

import card_host
import rtl_stepped
from card_host import CODEC, KEY, MS, Host, rows_of

from safhost.lab.card_types import CardConfig, ControlOut
from safhost.wire.codec import BROADCAST_BYTES, Frame
from safhost.wire.generated import ETHERTYPE_DISCOVERY, OPCODES, Committed, Hello, Opcode, Solicit, Status

MAX_TICKS = 400


class RtlHost(Host):
    """``later``: frames that were not asked for yet."""

    def __init__(self, card: Any, **options: Any) -> None:
        super().__init__(card, **options)
        self.later: list[Frame] = []

    def hello(self) -> Hello:
        """SOLICIT and take the HELLO; a periodic one may have come just before."""
        self.now += 100 * MS
        self.card.handle_control(CODEC.encode(Opcode.SOLICIT, Solicit().pack(), dst=BROADCAST_BYTES, src=self.mac,
                                              ethertype=ETHERTYPE_DISCOVERY), self.now)
        hellos = [f for f in self.raw_output() if f.opcode == Opcode.HELLO]
        assert 1 <= len(hellos) <= 2
        return Hello.unpack(hellos[-1].payload)

    def raw_output(self) -> list[Frame]:
        """As of `Host`; single DATA frames come as control frames do."""
        frames = []
        for out in self.card.take_output():
            if not isinstance(out, ControlOut):
                self.data += rows_of(out)
            elif out.raw[15] == Opcode.DATA:
                self.data.append(out.raw)
            else:
                frame = CODEC.parse(out.raw, "c2h", self.card.config.mtu + 14)
                assert isinstance(frame, Frame), frame
                frames.append(frame)
        return frames

    def output(self) -> list[Frame]:
        kept, self.later = self.later, []
        return kept + super().output()

    def only_answer(self, opcode: int, obj: int, index: int) -> Any:
        frames = self.output()
        assert frames, f"no answer to opcode {opcode:#x}"
        self.later = frames[1:]
        frame = frames[0]
        assert (frame.opcode, frame.object, frame.index) == (opcode | 0x80, obj, index), frames
        return OPCODES[frame.opcode].payload.unpack(frame.payload)

    def await_frame(self, opcode: int) -> Any:
        """The payload of the next frame of that kind, letting time pass."""
        for _ in range(MAX_TICKS):
            for frame in self.output():
                if frame.opcode == opcode:
                    return OPCODES[opcode].payload.unpack(frame.payload)
            self.now += MS
            self.card.tick(self.now)
        raise AssertionError(f"no frame of opcode {opcode:#x} within {MAX_TICKS} ms")

    def commit_to_end(self, digest: bytes, commit: int, **fields: Any) -> Committed:
        """COMMIT and its final answer."""
        answer: Any = self.commit(digest, commit, **fields)
        while answer.status == Status.RUNNING:
            answer = self.await_frame(Opcode.COMMITTED)
        return answer


def connected(suite: int, variant: str = "one-clock", **options: Any) -> RtlHost:
    """A card with an open session."""
    config = CardConfig(serial="VC0001", mac=card_host.CARD_MAC, card_key=KEY if suite else None,
                        ddr_bytes=rtl_stepped.ROLE_BYTES)
    host = RtlHost(rtl_stepped.make_rtl_card(config, variant=variant), **options)
    assert host.open().status == Status.OK
    return host
