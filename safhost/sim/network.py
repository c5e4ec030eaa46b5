"""The network of a simulation: one switch, ports with seeded faults, partitions, all in virtual time.

Bulk frames stay numpy batches on the way, so that a transfer to twenty cards costs a few array operations a
batch and card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from safhost.sim.faults import Clock, Dice, Direction, Frames, Impairment, Lengths, Origin
from safhost.sim.observe import Hooks
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import ETHERNET_HEADER_BYTES

__all__ = ["BATCH_NS", "GAP_BYTES", "Clock", "Direction", "Frames", "Impairment", "Lengths", "Network", "Port",
           "materialise"]

GAP_BYTES = 24  # IEEE 802.3-2018 4.4.2: preamble, FCS and inter-frame gap
BATCH_NS = 5_000_000  # frames that leave within so much of each other arrive together; saves time, costs precision
SWITCH_BUFFER_BYTES = 1 << 20  # what a switch keeps for a port slower than what comes in for it; a choice of ours


class Port:
    """One plug. ``receive_control(raw)`` and ``receive_batch(frames, lengths)`` take what arrives.

    ``incoming`` and ``outgoing`` are the faults of its two directions; ``impairment`` reads that of the way out and
    sets both. ``mtu``: longer frames to it are dropped without a word, as by a switch whose ports differ (bulk
    batches are not looked at: their transfer never opens). ``node``: whose plug it is, for observers.
    ``downlink_bytes_s``: what the switch sends it at, from a buffer of ``buffer_bytes``; 0: as fast as it comes.
    """

    def __init__(self, name: str, mac: bytes, rate_bytes_s: int, impairment: Impairment,
                 receive_control: Callable[[bytes], None],
                 receive_batch: Callable[[Frames, Lengths], None], node: Any = None) -> None:
        self.name = name
        self._mac = mac
        self.moved: Callable[[], None] = lambda: None  # whom to tell of another address
        self.rate_bytes_s = rate_bytes_s
        self.receive_control = receive_control
        self.receive_batch = receive_batch
        self.node = node
        self.plugged = True
        self.mtu = 65535
        self.downlink_bytes_s = 0
        self.buffer_bytes = SWITCH_BUFFER_BYTES
        self.free_ns = 0
        self.cut_ns = 0
        self.lives = 0
        self.frames_sent = 0
        self.overflowed = 0
        self._downlink_free_ns = 0
        self._impairment = impairment
        self.outgoing: Direction
        self.incoming: Direction

    @property
    def mac(self) -> bytes:
        """Its address, 6 bytes."""
        return self._mac

    @mac.setter
    def mac(self, mac: bytes) -> None:
        self._mac = mac
        self.moved()

    @property
    def impairment(self) -> Impairment:
        """Faults of the way out."""
        return self.outgoing.impairment

    @impairment.setter
    def impairment(self, impairment: Impairment) -> None:
        """Give both directions these faults."""
        self.outgoing.impairment = self.incoming.impairment = impairment

    @property
    def frames_lost(self) -> int:
        """Frames that loss took, in both directions."""
        return self.incoming.lost + self.outgoing.lost

    def cut(self, now_ns: int) -> None:
        """Power is gone or the cable is out: what has not left yet never leaves."""
        self.cut_ns = self.free_ns = now_ns
        self.lives += 1

    def occupy(self, n_bytes: int, now_ns: int) -> int:
        """Take the wire for that many bytes; when the last one has left."""
        self.free_ns = max(self.free_ns, now_ns) + n_bytes * 1_000_000_000 // self.rate_bytes_s
        return self.free_ns

    def admit(self, n: int, n_bytes: int, since_ns: int, at_ns: int) -> tuple[int, int]:
        """Of ``n`` frames for this port, ``n_bytes`` together, that come in between ``since_ns`` and ``at_ns``: how
        many the switch has room for, and when the last of them is through its slower downlink."""
        rate = self.downlink_bytes_s
        backlog = max(0, self._downlink_free_ns - since_ns) * rate // 1_000_000_000
        drained = (at_ns - since_ns) * rate // 1_000_000_000
        each = max(1, n_bytes // n)
        taken = min(n, max(0, self.buffer_bytes + drained - backlog) // each)
        self._downlink_free_ns = max(self._downlink_free_ns, since_ns) + taken * each * 1_000_000_000 // rate
        self.overflowed += n - taken
        return taken, max(at_ns, self._downlink_free_ns)


class Network:
    """A switch: unicast to the port that has the address, broadcast to all others. ``rng`` decides all faults.

    ``taps`` see every frame before any fault: (sender's port, raw bytes of a control frame). ``dice.faults`` counts
    by kind what befell frames.
    """

    def __init__(self, clock: Clock, rng: np.random.Generator, hooks: Hooks | None = None) -> None:
        self._clock = clock
        self.dice = Dice(rng)
        self.hooks = hooks or Hooks()
        self.ports: list[Port] = []
        self.taps: list[Callable[[Port, bytes], None]] = []
        self._by_mac: dict[bytes, list[Port]] = {}
        self._parted: set[tuple[str, str]] = set()
        self.frames = 0

    def attach(self, port: Port) -> Port:
        port.outgoing = Direction(port._impairment, self._switch_control, self._switch_batch)
        port.incoming = Direction(
            port._impairment, lambda origin, raw, at_ns: self._clock.at(at_ns, _Delivery(self, origin, port, raw)),
            lambda origin, frames, lengths, at_ns: self._clock.at(
                at_ns, _Delivery(self, origin, port, b"", frames, lengths)))
        self.ports.append(port)
        port.moved = self._by_mac.clear
        self._by_mac.clear()
        return port

    # -- partitions

    def partition(self, side_a: Iterable[str], side_b: Iterable[str], both: bool = True) -> None:
        """Nothing passes from ports of ``side_a`` to those of ``side_b`` any more; with ``both``, nor back."""
        ones, others = list(side_a), list(side_b)
        self._parted.update((a, b) for a in ones for b in others)
        if both:
            self._parted.update((b, a) for a in ones for b in others)

    def heal(self) -> None:
        """End all partitions."""
        self._parted.clear()

    # -- sending

    def send_control(self, source: Port, raw: bytes) -> None:
        """One frame as bytes."""
        if not source.plugged:
            return
        source.frames_sent += 1
        self.frames += 1
        for tap in self.taps:
            tap(source, raw)
        for hook in self.hooks.sent:
            hook(source, raw)
        sent_ns = source.occupy(len(raw) + GAP_BYTES, self._clock.now_ns)
        source.outgoing.control(Origin(source, source.lives, sent_ns), raw, sent_ns, self.dice, self._clock)

    def send_batch(self, source: Port, frames: Frames, lengths: Lengths) -> None:
        """DATA frames with one destination, (n, stride) uint8, not to be changed afterwards."""
        if not source.plugged or not len(frames):
            return
        for hook in self.hooks.batch:
            hook(source, frames, lengths)
        step = max(1, BATCH_NS * source.rate_bytes_s // (frames.shape[1] * 1_000_000_000))
        for at in range(0, len(frames), step):
            part, sizes = frames[at:at + step], lengths[at:at + step]
            source.frames_sent += len(part)
            self.frames += len(part)
            sent_ns = source.occupy(int(sizes.sum()) + GAP_BYTES * len(part), self._clock.now_ns)
            source.outgoing.batch(Origin(source, source.lives, sent_ns), part, sizes, sent_ns, self.dice, self._clock)

    def send_forged(self, raw: bytes, delay_ns: int = 3_000, to: Port | None = None) -> None:
        """A frame of somebody at the switch who is none of its ports: no fault of the network befalls it. ``to``: to
        that port only."""
        for port in self.ports if to is None else [to]:
            if port.plugged and (raw[:6] == BROADCAST_BYTES or raw[:6] == port.mac):
                origin = Origin(port, port.lives, 0)
                self._clock.at(self._clock.now_ns + delay_ns, _Delivery(self, origin, port, raw, forged=True))

    def _receivers(self, source: Port, dst: bytes) -> list[Port]:
        if dst == BROADCAST_BYTES:
            found = [p for p in self.ports if p is not source and p.plugged]
        else:
            at = self._by_mac.get(dst)
            if at is None:
                at = [p for p in self.ports if p.mac == dst]
                if at:
                    self._by_mac[dst] = at
            found = at if len(at) == 1 and at[0].plugged and at[0] is not source else \
                [p for p in at if p is not source and p.plugged]
        if self._parted:
            kept = [p for p in found if (source.name, p.name) not in self._parted]
            self.dice.faults["partition"] += len(found) - len(kept)
            return kept
        return found

    def _switch_control(self, origin: Origin, raw: bytes, at_ns: int) -> None:
        for port in self._receivers(origin.port, raw[:6]):
            due_ns = at_ns
            if port.downlink_bytes_s:
                taken, due_ns = port.admit(1, len(raw) + GAP_BYTES, at_ns, at_ns)
                if not taken:
                    self.dice.faults["overflow"] += 1
                    continue
            port.incoming.control(origin, raw, due_ns, self.dice, self._clock)

    def _switch_batch(self, origin: Origin, frames: Frames, lengths: Lengths, at_ns: int) -> None:
        for port in self._receivers(origin.port, frames[0, :6].tobytes()):
            due_ns, n = at_ns, len(frames)
            if port.downlink_bytes_s:
                n_bytes = int(lengths.sum()) + GAP_BYTES * n
                spread_ns = n_bytes * 1_000_000_000 // origin.port.rate_bytes_s
                n, due_ns = port.admit(n, n_bytes, at_ns - spread_ns, at_ns)
                self.dice.faults["overflow"] += len(frames) - n
                if not n:
                    continue
            port.incoming.batch(origin, frames[:n], lengths[:n], due_ns, self.dice, self._clock)


class _Delivery:
    """A control frame (``raw``) or a batch on its way; an object rather than a closure, as there are many."""

    __slots__ = ("forged", "frames", "lengths", "network", "origin", "port", "raw")

    def __init__(self, network: Network, origin: Origin, port: Port, raw: bytes, frames: Frames | None = None,
                 lengths: Lengths | None = None, forged: bool = False) -> None:
        self.network = network
        self.origin = origin
        self.port = port
        self.raw = raw
        self.frames = frames
        self.lengths = lengths
        self.forged = forged

    def __call__(self) -> None:
        port, hooks = self.port, self.network.hooks
        if self.origin.never_left or not port.plugged or len(self.raw) > port.mtu + ETHERNET_HEADER_BYTES:
            return
        if self.forged:
            hooks.around_forged(port, self.raw)
        elif self.frames is None or self.lengths is None:
            port.receive_control(self.raw)
            for hook in hooks.delivered:
                hook(port, self.raw)
        else:
            port.receive_batch(self.frames, self.lengths)
            for tell in hooks.delivered_batch:
                tell(port, self.frames, self.lengths)


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
