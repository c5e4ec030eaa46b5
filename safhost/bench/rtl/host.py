"""A card simulated from the shell's RTL with a small host of its own, cycle by cycle.

The host is made of `safhost.wire` alone. Frames go to the card at line rate: eight bytes a core cycle, and 24 bytes a
frame for preamble, FCS and gap (IEEE 802.3-2018 4.4.2). Frame sizes are those without FCS, as tools show them. A time
between frames runs from the clock edge that takes the last beat of one to the edge that takes the last beat of the
other, at the shell's MAC interface; the models put one register before it, which is counted.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.errors import CardError
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_card import RtlMemory
from safhost.lab.rtl_frames import data_frames, open_payload, session_of, solicit
from safhost.lab.rtl_sim import CLOCKS_PS, EventKind, Identity, Simulation, View
from safhost.units import Mac
from safhost.wire.channel import Channel
from safhost.wire.codec import BROADCAST_BYTES, MIN_FRAME_BYTES, Codec, DataEncoder, Frame
from safhost.wire.generated import (
    ANSWERS,
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    OPCODES,
    Hello,
    Opcode,
    Opened,
    PrStatus,
    Status,
    TransferKind,
    XferOpen,
)

CARD_MAC, HOST_MAC = Mac(0x025AF0_000001), Mac(0x025AF0_0000FE)
CARD_KEY = hashlib.blake2s(b"safhost bench rtl").digest()
PR_COMPAT_ID = 0x385A0001
QUEUE_BYTES = 64 << 20
LEASE_MS = 600_000
LINE_OVERHEAD_BYTES = 24
LINE_BYTES_PER_CYCLE = 8
CYCLE_NS = CLOCKS_PS[0] / 1000

BOOT_CYCLES = 12_000
"""Longer than saf_ddr takes behind reset to clear its map of dirty regions, 7,168 DDR clocks; DDR waits until then."""

MAX_ANSWER_CYCLES = 2_000_000
PR_END_CLOCKS = 4097
"""saf_pr_model.sv: the model calls an image over when no word came for so many PR clocks; not the shell's time."""


class Timed(NamedTuple):
    """A frame of the card, the cycles since the last beat that the card got, and its own beats."""

    frame: Frame
    cycles: int
    beats: int


def line_cycles(sizes_bytes: Sequence[int] | NDArray[Any]) -> float:
    """Core cycles that frames of these sizes take on a 10 Gb/s line."""
    sizes = np.maximum(np.asarray(sizes_bytes, np.int64), MIN_FRAME_BYTES)
    return float((sizes + LINE_OVERHEAD_BYTES).sum()) / LINE_BYTES_PER_CYCLE


def beats(size_bytes: int) -> int:
    """Beats of a frame of that size."""
    return -(-max(size_bytes, MIN_FRAME_BYTES) // LINE_BYTES_PER_CYCLE)


class BenchCard:
    """One plugged-in card and its host. ``cycles``: core cycles since both began; ``core_per_pr``: of them in one clock
    of the PR controller.

    ``variant``: of `build_card_library`. ``suite``: 0, or 1 for tagged frames. Close it after use. Raises ConfigError
    when the RTL cannot be built.
    """

    def __init__(self, variant: str, suite: int = 0, mtu: int = 9000, seed: int = 1) -> None:
        library = build_card_library(variant)
        self.suite, self.mtu = suite, mtu
        self.core_per_pr = 1.0 if variant == "one-clock" else CLOCKS_PS[2] / CLOCKS_PS[0]
        self.memory = RtlMemory("bench-rtl")
        identity = Identity(b"BENCH".ljust(16, b"\0"), bytes(CARD_MAC), bytes(Mac(CARD_MAC.value + 1)),
                            CARD_KEY if suite else None, mtu, 1_250_000_000, 4096, PR_COMPAT_ID)
        self.simulation = Simulation(library, identity, self.memory.role, self.memory.upper, seed=seed,
                                     queue_bytes=QUEUE_BYTES)
        self.codec = Codec()
        self.channel = Channel.for_host(self.codec, bytes(HOST_MAC), bytes(CARD_MAC), None)
        self.cycles = 0
        self.image: bytes = b""
        self.pr_start = self.pr_judged = 0
        self._raw: deque[bytes] = deque()
        self._ids: dict[str, int] = {}
        self.simulation.link(True)

    def close(self) -> None:
        """Give the model and its memory back."""
        self.simulation.close()
        self.memory.close()

    # -- time

    def step(self, cycles: int) -> None:
        """Let the clock run; what the PR model wants is answered, and frames are kept."""
        self.cycles += self.simulation.step(cycles)
        while (event := self.simulation.next_event()) is not None:
            if event.kind is EventKind.PR_START:
                self.pr_start = self.cycles
            elif event.kind is EventKind.PR_JUDGE:
                self.pr_judged = self.cycles
                same = self.simulation.image()[:len(self.image)].tobytes() == self.image
                self.simulation.role_rom(np.zeros(1, np.uint64))
                self.simulation.verdict(PrStatus.SUCCESS if same else PrStatus.CRC_ERROR)

    def settle(self) -> None:
        """Run until nothing happens, and forget what was said meanwhile."""
        self.cycles += self.simulation.step(MAX_ANSWER_CYCLES, until_idle=1024)
        self.frames()
        self._raw.clear()

    def look(self) -> View:
        """The card's counters."""
        return self.simulation.look()

    # -- frames

    def push(self, frames: NDArray[np.uint8], sizes: NDArray[Any]) -> None:
        """Put frames on the line, behind those that wait there. Raises CardError when the model's queue is full."""
        if self.simulation.push(frames, sizes) != len(sizes):
            raise CardError(f"{len(sizes)} frames are more than the simulation's queue holds", "send fewer at once")

    def push_raw(self, raw: bytes) -> None:
        """As `push`, one frame."""
        self.push(np.frombuffer(raw, np.uint8)[None], np.array([len(raw)]))

    def frames(self) -> int:
        """Take what the card has sent; returns how many frames it was."""
        got, lengths = self.simulation.pull()
        self._raw.extend(row[:n].tobytes() for row, n in zip(got, lengths.tolist(), strict=True))
        return len(lengths)

    def await_raw(self, opcode: int, step: int = 1, limit: int = MAX_ANSWER_CYCLES) -> bytes:
        """The card's next frame of that opcode; others are dropped. ``step``: cycles between two looks.

        Raises CardError when none comes.
        """
        end = self.cycles + limit
        while True:
            while self._raw:
                raw = self._raw.popleft()
                if raw[15] == opcode:
                    return raw
            if self.cycles >= end:
                raise CardError(f"no {OPCODES[opcode].name} came within {limit} cycles",
                                "the shell hangs, or dropped the request")
            self.step(step)
            self.frames()

    def parse(self, raw: bytes) -> Frame:
        """A control frame of the card, checked as a host does. Raises CardError."""
        frame = self.codec.parse(raw, "c2h", self.mtu + 14)
        if not isinstance(frame, Frame):
            raise CardError(f"the card sent a frame that is not right: {frame.name.lower()}", "the shell is wrong")
        if frame.opcode != Opcode.HELLO and (wrong := self.channel.check(frame)) is not None:
            raise CardError(f"the card sent a frame that is not to be believed: {wrong.name.lower()}",
                            "the shell is wrong")
        return frame

    def timed(self, raw: bytes, opcode: int, step: int = 1) -> Timed:
        """Send ``raw`` over the quiet line and take the answer; the time is exact to ``step`` cycles."""
        begin = self.cycles
        self.push_raw(raw)
        self.step(beats(len(raw)))
        answer = self.await_raw(opcode, step)
        return Timed(self.parse(answer), self.cycles - begin - beats(len(raw)), beats(len(answer)))

    # -- the protocol

    def seal(self, opcode: int, payload: Any, object: int = 0, index: int = 0, ethertype: int = ETHERTYPE_CONTROL,
             ) -> bytes:
        """The session's next frame; ``payload``: bytes, or one of saf.yaml's."""
        body = payload if isinstance(payload, bytes) else payload.pack()
        return self.channel.seal(opcode, body, ethertype, object, index)

    def ask(self, opcode: int, payload: Any, object: int = 0, index: int = 0, ethertype: int = ETHERTYPE_CONTROL,
            step: int = 1) -> Timed:
        """A request and its answer."""
        return self.timed(self.seal(opcode, payload, object, index, ethertype), ANSWERS[opcode], step)

    def body(self, timed: Timed) -> Any:
        """The payload of an answer. Raises CardError for a status that is neither ok nor running."""
        body = OPCODES[timed.frame.opcode].payload.unpack(timed.frame.payload)
        if body.status not in (Status.OK, Status.RUNNING):
            raise CardError(f"{OPCODES[timed.frame.opcode].name} says {Status(body.status).name.lower()}",
                            "the benchmark asked for something that this shell does not do")
        return body

    def solicit(self) -> bytes:
        """A SOLICIT to all cards."""
        return solicit(self.codec, bytes(HOST_MAC))

    def open(self) -> Timed:
        """Open a session, some time after reset; the answer to SESSION_OPEN."""
        self.step(BOOT_CYCLES)
        self.settle()
        hello = Hello.unpack(self.timed(self.solicit(), Opcode.HELLO).frame.payload)
        self.channel, ask = session_of(self.codec, hello, CARD_KEY if self.suite else None, bytes(HOST_MAC), LEASE_MS)
        answer = self.ask(Opcode.SESSION_OPEN, ask)
        opened: Opened = self.body(answer)
        self.channel.session = opened.session
        return answer

    def new_id(self, kind: str) -> int:
        """Ids rise."""
        self._ids[kind] = self._ids.get(kind, 0) + 1
        return self._ids[kind]

    def open_xfer(self, kind: TransferKind, length_bytes: int, block_bytes: int, digest: bytes, base: int = 0,
                  ) -> tuple[int, Timed]:
        """Announce an object: (transfer id, its READY)."""
        ask = XferOpen(kind=kind, block_bytes=block_bytes, base=base, length=length_bytes, digest=digest,
                       blocks=-(-length_bytes // block_bytes))
        transfer = self.new_id("transfer")
        answer = self.ask(Opcode.XFER_OPEN, open_payload(ask, self.suite), transfer, 0, self.carrier(kind))
        self.body(answer)
        return transfer, answer

    def carrier(self, kind: TransferKind) -> int:
        """EtherType of a transfer."""
        return ETHERTYPE_IMAGE if kind == TransferKind.IMAGE else ETHERTYPE_INPUT

    def data_frames(self, data: NDArray[np.uint8], transfer: int, kind: TransferKind, block_bytes: int,
                    filler_bytes: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """DATA frames of all blocks of an object, broadcast: (n, stride) uint8 and (n,) int64 sizes.

        ``filler_bytes`` follow each block, as padding would.
        """
        encoder = DataEncoder(dst=BROADCAST_BYTES, src=bytes(HOST_MAC), ethertype=self.carrier(kind),
                              session=self.channel.session, object=transfer, length_bytes=len(data),
                              block_bytes=block_bytes, max_batch=-(-len(data) // block_bytes))
        return data_frames(encoder, data, filler_bytes)
