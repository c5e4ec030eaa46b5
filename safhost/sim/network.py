"""The network of a simulation: one switch, ports with seeded faults, all in virtual time.

Bulk frames stay numpy batches on the way, so that a transfer to twenty cards costs a few array operations a
batch and card.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import ETHERNET_HEADER_BYTES

Frames = NDArray[np.uint8]
Lengths = NDArray[np.int64]

GAP_BYTES = 24  # IEEE 802.3-2018 4.4.2: preamble, FCS and inter-frame gap
BATCH_NS = 5_000_000  # frames that leave within so much of each other arrive together; saves time, costs precision
SPOILED_FROM = 14  # the first byte a fault may change: addresses and EtherType decide where a frame goes


@dataclass(frozen=True, slots=True)
class Impairment:
    """Faults of one port, in each direction by itself. Probabilities are per frame.

    ``reorder``: the share of frames that come up to ``reorder_ns`` late. ``corrupt`` changes one byte of a DATA
    frame behind the FCS check, ``corrupt_control`` one of a control frame.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_ns: int = 200_000
    corrupt: float = 0.0
    corrupt_control: float = 0.0
    delay_ns: int = 3_000


class Clock(Protocol):
    """What the network needs of its simulation."""

    now_ns: int

    def at(self, time_ns: int, action: Callable[[], None]) -> None: ...


class Port:
    """One plug. ``receive_control(raw)`` and ``receive_batch(frames, lengths)`` take what arrives.

    ``mtu``: longer frames to it are dropped without a word, as by a switch whose ports differ (bulk batches are
    not looked at: their transfer never opens).
    """

    def __init__(self, name: str, mac: bytes, rate_bytes_s: int, impairment: Impairment,
                 receive_control: Callable[[bytes], None],
                 receive_batch: Callable[[Frames, Lengths], None]) -> None:
        self.name = name
        self.mac = mac
        self.rate_bytes_s = rate_bytes_s
        self.impairment = impairment
        self.receive_control = receive_control
        self.receive_batch = receive_batch
        self.plugged = True
        self.mtu = 65535
        self.free_ns = 0
        self.cut_ns = 0
        self.lives = 0
        self.frames_sent = 0
        self.frames_lost = 0

    def cut(self, now_ns: int) -> None:
        """Power is gone or the cable is out: what has not left yet never leaves."""
        self.cut_ns = self.free_ns = now_ns
        self.lives += 1

    def occupy(self, n_bytes: int, now_ns: int) -> int:
        """Take the wire for that many bytes; when the last one has left."""
        self.free_ns = max(self.free_ns, now_ns) + n_bytes * 1_000_000_000 // self.rate_bytes_s
        return self.free_ns


class Network:
    """A switch: unicast to the port that has the address, broadcast to all others. ``rng`` decides all faults.

    ``taps`` see every frame before any fault: (sender's port, raw bytes of a control frame).
    """

    def __init__(self, clock: Clock, rng: np.random.Generator) -> None:
        self._clock = clock
        self._rng = rng
        self.ports: list[Port] = []
        self.taps: list[Callable[[Port, bytes], None]] = []

    def attach(self, port: Port) -> Port:
        self.ports.append(port)
        return port

    def send_control(self, source: Port, raw: bytes) -> None:
        """One frame as bytes."""
        if not source.plugged:
            return
        source.frames_sent += 1
        for tap in self.taps:
            tap(source, raw)
        sent_ns = source.occupy(len(raw) + GAP_BYTES, self._clock.now_ns)
        for copy, late_ns in self._copies(source.impairment, raw):
            for port in self._receivers(source, raw[:6]):
                for arriving, more_ns in self._copies(port.impairment, copy):
                    self._clock.at(sent_ns + late_ns + more_ns, _Delivery(source, sent_ns, port, arriving))

    def send_batch(self, source: Port, frames: Frames, lengths: Lengths) -> None:
        """DATA frames with one destination, (n, stride) uint8, not to be changed afterwards."""
        if not source.plugged or not len(frames):
            return
        step = max(1, BATCH_NS * source.rate_bytes_s // (frames.shape[1] * 1_000_000_000))
        for at in range(0, len(frames), step):
            self._send_step(source, frames[at:at + step], lengths[at:at + step])

    def _send_step(self, source: Port, frames: Frames, lengths: Lengths) -> None:
        source.frames_sent += len(frames)
        sent_ns = source.occupy(int(lengths.sum()) + GAP_BYTES * len(frames), self._clock.now_ns)
        dst = frames[0, :6].tobytes()
        for leaving, sizes, late_ns in self._batches(source, frames, lengths):
            for port in self._receivers(source, dst):
                for arriving, arriving_sizes, more_ns in self._batches(port, leaving, sizes):
                    self._clock.at(sent_ns + late_ns + more_ns,
                                   _Delivery(source, sent_ns, port, b"", arriving, arriving_sizes))

    def _receivers(self, source: Port, dst: bytes) -> list[Port]:
        if dst == BROADCAST_BYTES:
            return [p for p in self.ports if p is not source and p.plugged]
        return [p for p in self.ports if p.mac == dst and p is not source and p.plugged]

    def _copies(self, faults: Impairment, raw: bytes) -> list[tuple[bytes, int]]:
        """What becomes of one control frame at one port: copies and how late each is."""
        if not (faults.loss or faults.duplicate or faults.reorder or faults.corrupt_control):
            return [(raw, faults.delay_ns)]
        rng = self._rng
        count = 2 if faults.duplicate and rng.random() < faults.duplicate else 1
        out: list[tuple[bytes, int]] = []
        for _ in range(count):
            if faults.loss and rng.random() < faults.loss:
                continue
            late_ns = faults.delay_ns
            if faults.reorder and rng.random() < faults.reorder:
                late_ns += int(rng.integers(1, faults.reorder_ns + 1))
            if faults.corrupt_control and rng.random() < faults.corrupt_control:
                spoiled = bytearray(raw)
                spoiled[int(rng.integers(SPOILED_FROM, len(raw)))] ^= int(rng.integers(1, 256))
                out.append((bytes(spoiled), late_ns))
            else:
                out.append((raw, late_ns))
        return out

    def _batches(self, port: Port, frames: Frames, lengths: Lengths) -> list[tuple[Frames, Lengths, int]]:
        """What becomes of a batch at one port: batches and how late each is."""
        faults, rng, n = port.impairment, self._rng, len(frames)
        rows: NDArray[Any] | None = None
        if faults.loss:
            rows = np.flatnonzero(rng.random(n) >= faults.loss)
            port.frames_lost += n - len(rows)
        if faults.duplicate:
            rows = np.arange(n) if rows is None else rows
            rows = np.repeat(rows, 1 + (rng.random(len(rows)) < faults.duplicate))
        late: NDArray[Any] | None = None
        if faults.reorder:
            rows = np.arange(n) if rows is None else rows
            mask = rng.random(len(rows)) < faults.reorder
            rows, late = rows[~mask], rng.permutation(rows[mask])
        out = [(frames, lengths, faults.delay_ns)] if rows is None else [(frames[rows], lengths[rows], faults.delay_ns)]
        if late is not None and len(late):
            late_ns = faults.delay_ns + int(rng.integers(1, faults.reorder_ns + 1))
            out.append((frames[late], lengths[late], late_ns))
        if faults.corrupt:
            out = [(self._spoil(batch, faults.corrupt, batch is frames), sizes, at) for batch, sizes, at in out]
        return [entry for entry in out if len(entry[0])]

    def _spoil(self, frames: Frames, share: float, shared: bool) -> Frames:
        hit = np.flatnonzero(self._rng.random(len(frames)) < share)
        if not len(hit):
            return frames
        out = frames.copy() if shared else frames
        column = self._rng.integers(SPOILED_FROM, frames.shape[1], len(hit))
        out[hit, column] ^= self._rng.integers(1, 256, len(hit), dtype=np.uint8)
        return out


class _Delivery:
    """A control frame (``raw``) or a batch on its way; an object rather than a closure, as there are many."""

    __slots__ = ("frames", "lengths", "life", "port", "raw", "sent_ns", "source")

    def __init__(self, source: Port, sent_ns: int, port: Port, raw: bytes, frames: Frames | None = None,
                 lengths: Lengths | None = None) -> None:
        self.source = source
        self.life = source.lives
        self.sent_ns = sent_ns
        self.port = port
        self.raw = raw
        self.frames = frames
        self.lengths = lengths

    def __call__(self) -> None:
        never_left = self.life != self.source.lives and self.sent_ns > self.source.cut_ns
        if never_left or not self.port.plugged or len(self.raw) > self.port.mtu + ETHERNET_HEADER_BYTES:
            return
        if self.frames is None or self.lengths is None:
            self.port.receive_control(self.raw)
        else:
            self.port.receive_batch(self.frames, self.lengths)


def materialise(headers: Frames, payload: Frames, offsets: Lengths, block_bytes: int,
                last_bytes: int) -> tuple[Frames, Lengths]:
    """Whole frames of a scatter-gather batch, (n, header + block) uint8, and their lengths (n,) int64.

    Frame i is ``headers[i]`` and ``payload[offsets[i]:]`` of ``block_bytes``, the final one of ``last_bytes``.
    """
    n, head = headers.shape
    frames = np.zeros((n, head + block_bytes), np.uint8)
    frames[:, :head] = headers
    lengths = np.full(n, head + block_bytes, np.int64)
    whole = n
    if last_bytes != block_bytes:
        whole = n - 1
        at = int(offsets[-1])
        frames[-1, head:head + last_bytes] = payload[at:at + last_bytes]
        lengths[-1] = head + last_bytes
    if whole:
        first = int(offsets[0])
        if int(offsets[whole - 1]) - first == (whole - 1) * block_bytes:
            frames[:whole, head:] = payload[first:first + whole * block_bytes].reshape(whole, block_bytes)
        else:
            blocks = len(payload) // block_bytes
            index = offsets[:whole] // block_bytes
            frames[:whole, head:] = payload[:blocks * block_bytes].reshape(blocks, block_bytes)[index]
    return frames, lengths
