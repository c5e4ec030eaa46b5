"""What a check talks through: frames to and from one card, with time, and everything recorded.

`model_wire` leads to a card model in this process under a virtual clock: a second of waiting costs nothing. `link_wire`
leads through a network interface, by the real clock. Both can speak from several host addresses: ``other(mac)`` is the
same port with another one, for checks with two owners.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from safhost.conformance.images import kernel_ns, run_kernel
from safhost.errors import SafError
from safhost.lab.card import CardConfig, ControlOut, Output, RoleJob, VirtualCard
from safhost.lab.rtl_stepped import SteppedCard
from safhost.link.base import Link
from safhost.link.pcap import PcapWriter
from safhost.wire.codec import BROADCAST_BYTES, Codec
from safhost.wire.generated import ETHERNET_HEADER_BYTES, HEADER_BYTES, Opcode

MAX_RECORDED_BYTES = 256 << 20
"""Of one check; what came later is not in its pcap."""

Hook = Callable[[], None]


class Recording:
    """Frames of one check, both ways, with their times (ns since the epoch on a real link)."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.held_bytes = 0

    def add(self, time_ns: int, raw: bytes) -> None:
        if self.held_bytes < MAX_RECORDED_BYTES:
            self.held_bytes += len(raw)
            self.frames.append((time_ns, raw))

    def clear(self) -> None:
        self.frames.clear()
        self.held_bytes = 0

    def write_pcap(self, path: Path) -> None:
        """Keep what was recorded; raises LinkError when the file cannot be made."""
        writer = PcapWriter(path)
        for time_ns, raw in self.frames:
            writer.write_frame(time_ns, raw)
        writer.close()


class CardWire(Protocol):
    """A port to one card, as one host address sees it. MACs are 6 bytes, times nanoseconds."""

    @property
    def host_mac(self) -> bytes: ...

    @property
    def card_mac(self) -> bytes: ...

    @property
    def mtu(self) -> int: ...

    @property
    def codec(self) -> Codec: ...

    @property
    def recording(self) -> Recording: ...

    @property
    def reboot(self) -> Hook | None:
        """Reboots the card, or None when nobody can."""

    @property
    def replug(self) -> Hook | None:
        """Takes the card's link down and up again, or None."""

    def now_ns(self) -> int: ...

    def send(self, raw: bytes) -> None: ...

    def send_many(self, frames: Sequence[bytes]) -> None: ...

    def receive(self, timeout_ns: int) -> bytes | None:
        """The next frame from the card to this address or to all; None after ``timeout_ns``."""

    def other(self, mac: bytes) -> CardWire:
        """The same port with another host address."""

    def close(self) -> None: ...


class _Port:
    """What the addresses of one port share: one queue an address, one recording."""

    def __init__(self, card_mac: bytes, mtu: int, codec: Codec) -> None:
        self.card_mac = card_mac
        self.mtu = mtu
        self.codec = codec
        self.recording = Recording()
        self.queues: dict[bytes, deque[bytes]] = {}
        self.reboot: Hook | None = None
        self.replug: Hook | None = None

    def take_in(self, time_ns: int, raw: bytes) -> None:
        """A frame from the card: to whom it is addressed, of those that are here."""
        self.recording.add(time_ns, raw)
        for mac, queue in self.queues.items():
            if raw[:6] in (mac, BROADCAST_BYTES):
                queue.append(raw)

    def now_ns(self) -> int:
        raise NotImplementedError

    def put_out(self, frames: Sequence[bytes]) -> None:
        raise NotImplementedError

    def wait(self, until_ns: int) -> None:
        """Let something come in, or time pass until ``until_ns``."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class _Address:
    """One host address of a port (the `CardWire` protocol)."""

    def __init__(self, port: _Port, mac: bytes) -> None:
        self._port = port
        self._mac = mac
        port.queues.setdefault(mac, deque())

    @property
    def host_mac(self) -> bytes:
        return self._mac

    @property
    def card_mac(self) -> bytes:
        return self._port.card_mac

    @property
    def mtu(self) -> int:
        return self._port.mtu

    @property
    def codec(self) -> Codec:
        return self._port.codec

    @property
    def recording(self) -> Recording:
        return self._port.recording

    @property
    def reboot(self) -> Hook | None:
        return self._port.reboot

    @property
    def replug(self) -> Hook | None:
        return self._port.replug

    def now_ns(self) -> int:
        return self._port.now_ns()

    def send(self, raw: bytes) -> None:
        self._port.put_out([raw])

    def send_many(self, frames: Sequence[bytes]) -> None:
        self._port.put_out(frames)

    def receive(self, timeout_ns: int) -> bytes | None:
        queue = self._port.queues[self._mac]
        until_ns = self._port.now_ns() + timeout_ns
        while not queue:
            if self._port.now_ns() >= until_ns:
                return None
            self._port.wait(until_ns)
        return queue.popleft()

    def other(self, mac: bytes) -> CardWire:
        return _Address(self._port, mac)

    def close(self) -> None:
        self._port.close()


# -- a model

FRAME_NS = 1_000
"""Virtual time one frame takes on its way to the model."""

class ModelPort(_Port):
    """A card under a virtual clock: a card model, or ``card``, which has its interface. Its kernels run in this
    process, when their time is over."""

    def __init__(self, config: CardConfig, seed: int = 1, codec: Codec | None = None,
                 card: VirtualCard | SteppedCard | None = None) -> None:
        codec = codec or Codec()
        super().__init__(bytes(config.mac), config.mtu, codec)
        self.card = card or VirtualCard(config, codec, np.random.Generator(np.random.PCG64(seed)).bytes)
        self._now_ns = 1_000_000
        self._jobs: dict[int, tuple[int, RoleJob]] = {}
        self.card.link_up(self._now_ns)
        self.reboot, self.replug = self._reboot, self._replug

    def now_ns(self) -> int:
        return self._now_ns

    def put_out(self, frames: Sequence[bytes]) -> None:
        data: list[bytes] = []
        for raw in frames:
            self.recording.add(self._now_ns, raw)
            if len(raw) >= HEADER_BYTES and raw[15] == Opcode.DATA:
                data.append(raw)
                continue
            self._hand_over(data)
            self._now_ns += FRAME_NS
            self.card.handle_control(raw, self._now_ns)
            self._collect()
        self._hand_over(data)

    def wait(self, until_ns: int) -> None:
        wakeup_ns = min((end_ns for end_ns, _ in self._jobs.values()), default=until_ns)
        card_ns = self.card.next_wakeup_ns()
        if card_ns is not None:
            wakeup_ns = min(wakeup_ns, card_ns)
        if wakeup_ns >= until_ns:
            self._now_ns = until_ns
            self.card.tick(until_ns)
        else:
            self._now_ns = max(self._now_ns + FRAME_NS, wakeup_ns)
            self.card.tick(self._now_ns)
        self._collect()

    def close(self) -> None:
        self.card.close()

    def _hand_over(self, data: list[bytes]) -> None:
        if not data:
            return
        rows = np.zeros((len(data), max(64, *(len(f) for f in data))), np.uint8)
        for row, raw in zip(rows, data, strict=True):
            row[:len(raw)] = np.frombuffer(raw, np.uint8)
        self._now_ns += FRAME_NS * len(data)
        self.card.handle_batch(rows, np.array([len(f) for f in data], np.int64), self._now_ns)
        data.clear()
        self._collect()

    def _collect(self) -> None:
        for ticket in self.card.take_role_kills():
            self._jobs.pop(ticket, None)
        ddr = self.card.memory.role.array
        for job in self.card.take_role_jobs():
            if job.kernel:  # else it is only to be compiled
                self._jobs[job.ticket] = self._now_ns + kernel_ns(job, len(ddr)), job
        for ticket, (end_ns, job) in list(self._jobs.items()):
            if end_ns <= self._now_ns:
                del self._jobs[ticket]
                run_kernel(job, ddr)
                self.card.role_finished(ticket, "ok", max(1_000, kernel_ns(job, len(ddr))), "", self._now_ns)
        for out in self.card.take_output():
            for raw in _frames_of(out):
                self.take_in(self._now_ns, raw)
        if isinstance(self.card, SteppedCard):  # its work takes time of its own
            self._now_ns = max(self._now_ns, self.card.now_ns)

    def _reboot(self) -> None:
        self.card.reboot(self._now_ns)
        self._collect()

    def _replug(self) -> None:
        self.card.link_down(self._now_ns)
        self._collect()
        self._now_ns += 1_000_000
        self.card.link_up(self._now_ns)
        self._collect()


def _frames_of(out: Output) -> list[bytes]:
    if isinstance(out, ControlOut):
        return [out.raw]
    n, frames = len(out.headers), []
    for i in range(n):
        size = out.last_bytes if i == n - 1 else out.block_bytes
        start = int(out.offsets[i])
        frames.append(out.headers[i].tobytes() + out.payload[start:start + size].tobytes())
    return frames


def model_wire(config: CardConfig, seed: int = 1, host_mac: bytes = b"\x02\x5a\xf0\0\0\xfe") -> CardWire:
    """A fresh card model and the wire to it."""
    return _Address(ModelPort(config, seed), host_mac)


def rtl_wire(config: CardConfig, library: Path, seed: int = 1, host_mac: bytes = b"\x02\x5a\xf0\0\0\xfe") -> CardWire:
    """A fresh card simulated from the shell's RTL (``library``: of `lab.rtl_build.build_card_library`) and the wire to
    it."""
    card = SteppedCard(config, library, np.random.Generator(np.random.PCG64(seed)).bytes)
    return _Address(ModelPort(config, seed, card=card), host_mac)


# -- a real interface

_SEND_PAUSE_S = 0.001


class LinkPort(_Port):
    """A network interface. ``link`` must hand over frames for all addresses (promiscuous) and is closed with this."""

    def __init__(self, link: Link, card_mac: bytes, codec: Codec, reboot: Hook | None = None,
                 replug: Hook | None = None) -> None:
        super().__init__(card_mac, link.mtu, codec)
        self._link = link
        self._poll = select.poll()
        self._poll.register(link.fileno(), select.POLLIN)
        self.reboot, self.replug = reboot, replug

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def put_out(self, frames: Sequence[bytes]) -> None:
        sent, end_ns = 0, time.monotonic_ns() + 5_000_000_000
        while sent < len(frames):
            taken = self._link.send_frames(frames[sent:])
            stamp_ns = time.time_ns()
            for raw in frames[sent:sent + taken]:
                self.recording.add(stamp_ns, raw)
            sent += taken
            self._drain()
            if sent < len(frames):
                if time.monotonic_ns() > end_ns:
                    raise SafError(f"{self._link.name} takes no frames", "see `ip -s link`")
                time.sleep(_SEND_PAUSE_S)

    def wait(self, until_ns: int) -> None:
        left_ms = max(0, until_ns - time.monotonic_ns()) / 1e6
        if self._poll.poll(left_ms):
            self._drain()

    def close(self) -> None:
        self._link.close()

    def _drain(self) -> None:
        while (batch := self._link.receive()) is not None:
            stamp_ns = time.time_ns()
            for i, size in enumerate(batch.lengths.tolist()):
                raw = batch.frames[i, :size].tobytes()
                if size >= ETHERNET_HEADER_BYTES and raw[6:12] == self.card_mac:
                    self.take_in(stamp_ns, raw)
            batch.release()


def link_wire(link: Link, card_mac: bytes, codec: Codec | None = None, reboot: Hook | None = None,
              replug: Hook | None = None) -> CardWire:
    """The wire to the card ``card_mac`` on ``link``, whose own address is the host's."""
    return _Address(LinkPort(link, card_mac, codec or Codec(), reboot, replug), bytes(link.mac))
