"""A host and an object for one simulated card, without a network: what its speed is measured with and trained on.

``python -m safhost.lab.rtl_load LIBRARY`` gives a card of that library a little of everything it does: a compiler that
watches it knows then what is worth its while.
"""

from __future__ import annotations

import hashlib
import select
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import CardError
from safhost.lab.card_types import CardConfig, ControlOut
from safhost.lab.rtl_card import RtlCard
from safhost.lab.rtl_frames import data_frames, open_payload, session_of, solicit
from safhost.units import Mac
from safhost.wire.channel import Channel
from safhost.wire.codec import BROADCAST_BYTES, Codec, DataEncoder, Frame
from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    ETHERNET_HEADER_BYTES,
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    OPCODES,
    Close,
    Opcode,
    Opened,
    Poll,
    Read,
    Status,
    TransferKind,
    Verdict,
    XferOpen,
)

CARD_MAC, HOST_MAC = Mac(0x025AF0_000001), bytes(Mac(0x025AF0_0000FE))
KEY = hashlib.blake2s(b"safhost load").digest()
GROUP = 1
LEASE_MS = 60_000
QUEUE_FRAMES = 1024
"""Frames given at once; so many more are added whenever half of them are gone."""

STEP_CYCLES = 4096
ANSWER_CYCLES = 2_000_000
ANSWER_S = 120.0
TRAINING_BYTES = 400_000


@dataclass(frozen=True, slots=True)
class Load:
    """What became of one object. ``received_s``: until its last frame was taken in, ``verified_s``: until the card had
    its digest; both from the first frame on, with the cycles of the core clock in them. ``cpu_s``: of this process,
    until verified."""

    frames: int
    frame_bytes: int
    received_s: float
    received_cycles: int
    verified_s: float
    verified_cycles: int
    cpu_s: float
    verified: bool


class LoadHost:
    """The owner of one card that it makes: plugged in, found, with an open session.

    ``runs``: the card simulates in real time in a thread of its own; else only while its host waits. Raises CardError
    when the card does not answer as it should.
    """

    def __init__(self, library: Path, *, runs: bool, suite: int = 1, mtu: int = 1500) -> None:
        config = CardConfig(serial="LOAD", mac=CARD_MAC, mtu=mtu, card_key=KEY if suite else None)
        self.card = RtlCard(config, library, np.random.Generator(np.random.PCG64(1)).bytes, runs=runs)
        self.block_bytes = config.block_max
        self._runs = runs
        self._codec = Codec()
        self._transfers = self._sent = 0
        self._channel: Channel | None = None
        self.card.link_up(0)
        self._open()

    def close(self) -> None:
        """End the card."""
        self.card.close()

    def send(self, data: bytes) -> Load:
        """One image by broadcast, as fast as the card takes it, verified."""
        self._transfers += 1
        ask = XferOpen(kind=TransferKind.IMAGE, block_bytes=self.block_bytes, group=GROUP, length=len(data),
                       blocks=-(-len(data) // self.block_bytes), digest=tree_root(memoryview(data)))
        ready = self._ask(Opcode.XFER_OPEN, open_payload(ask, self.card.config.suite), ETHERTYPE_IMAGE, self._transfers)
        if ready.status != Status.OK:
            raise CardError(f"the simulated card answers XFER_OPEN with status {ready.status}", "is it busy?")
        frames, lengths = self._frames(data)
        simulation = self.card.simulation
        first = simulation.look().cycles
        cpu_s, begin_s = time.process_time(), time.perf_counter()
        given = 0
        while given < len(lengths):
            given += simulation.push(frames[given:given + QUEUE_FRAMES], lengths[given:given + QUEUE_FRAMES])
            self._drain(QUEUE_FRAMES // 2 * frames.shape[1] if given < len(lengths) else 0)
        received_s, received = time.perf_counter() - begin_s, simulation.look().cycles
        while self._ask(Opcode.POLL, Poll().pack(), ETHERTYPE_IMAGE, self._transfers).status == Status.RUNNING:
            self._wait()
        self._send(Opcode.CLOSE, Close().pack(), ETHERTYPE_IMAGE, self._transfers)
        verdict: Verdict = self._payload(Opcode.VERDICT)
        while verdict.status == Status.RUNNING:
            verdict = self._payload(Opcode.VERDICT)
        verified_s, verified = time.perf_counter() - begin_s, simulation.look().cycles
        return Load(len(lengths), int(lengths.sum()), received_s, received - first, verified_s, verified - first,
                    time.process_time() - cpu_s, verdict.status == Status.OK)

    def read(self, length: int) -> None:
        """Let the card send what its role's memory holds."""
        self._send(Opcode.READ, Read(space=1, length=length, block_bytes=self.block_bytes).pack(), ETHERTYPE_INPUT, 1)
        self._payload(Opcode.READ_DONE)

    # -- inside

    def _open(self) -> None:
        self.card.handle_control(solicit(self._codec, HOST_MAC), 0)
        channel, ask = session_of(self._codec, self._payload(Opcode.HELLO), self.card.config.card_key, HOST_MAC,
                                  LEASE_MS)
        self.card.handle_control(channel.seal(Opcode.SESSION_OPEN, ask.pack(), ETHERTYPE_CONTROL), 0)
        opened: Opened = self._payload(Opcode.OPENED)
        if opened.status != Status.OK:
            raise CardError(f"the simulated card answers SESSION_OPEN with status {opened.status}", "is the RTL right?")
        channel.session = opened.session
        self._channel = channel

    def _frames(self, data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        encoder = DataEncoder(dst=BROADCAST_BYTES, src=HOST_MAC, ethertype=ETHERTYPE_IMAGE, session=GROUP,
                              object=self._transfers, length_bytes=len(data), block_bytes=self.block_bytes,
                              max_batch=-(-len(data) // self.block_bytes))
        return data_frames(encoder, np.frombuffer(data, np.uint8))

    def _ask(self, opcode: int, payload: bytes, ethertype: int, number: int) -> Any:
        self._send(opcode, payload, ethertype, number)
        return self._payload(opcode | 0x80)

    def _send(self, opcode: int, payload: bytes, ethertype: int, number: int) -> None:
        assert self._channel is not None
        self._sent += 1
        self.card.handle_control(self._channel.seal(opcode, payload, ethertype, number, self._sent & 0xFF), 0)

    def _payload(self, opcode: int) -> Any:
        """Payload of the next frame of that kind."""
        end_s, cycles = time.perf_counter() + ANSWER_S, 0
        while time.perf_counter() < end_s and cycles < ANSWER_CYCLES:
            for output in self.card.take_output():
                if not isinstance(output, ControlOut):
                    continue
                frame = self._codec.parse(output.raw, "c2h", self.card.config.mtu + ETHERNET_HEADER_BYTES)
                if isinstance(frame, Frame) and frame.opcode == opcode:
                    return OPCODES[opcode].payload.unpack(frame.payload)
            cycles += self._wait()
        raise CardError(f"the simulated card sends no frame of opcode {opcode:#x}", "is the RTL right?")

    def _drain(self, left_bytes: int) -> None:
        """Until no more than so much waits to be received."""
        while self.card.simulation.look().queued_bytes > left_bytes:
            self._wait()

    def _wait(self) -> int:
        if not self._runs:
            return self.card.simulation.step(STEP_CYCLES)
        select.select([self.card], [], [], 0.002)
        return 0


def main() -> None:
    """The training."""
    data = np.random.Generator(np.random.PCG64(1)).bytes(TRAINING_BYTES)
    for suite in (1, 0):
        host = LoadHost(Path(sys.argv[1]), runs=False, suite=suite)
        host.send(data)
        host.read(TRAINING_BYTES // 4)
        host.close()


if __name__ == "__main__":
    main()
