"""Networks that misbehave: seeded loss, bursts, duplicates, reordering, corruption, delay, rate, partition.

`ImpairedPath` is one direction of one port; it works on batches of frames as numpy arrays, on a port of a real
interface (the lab) or inside `Fabric`, a switch in memory under virtual time (simulations). Each frame uses up
the same count of random numbers whatever happens to it and however frames are batched, so one seed gives one
outcome, bit for bit (reordering alone looks at what was sent together).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.units import Mac
from safhost.wire.generated import ETHERNET_HEADER_BYTES

Frames = NDArray[np.uint8]
Lengths = NDArray[Any]
_DRAWS = 5  # random numbers a frame uses up: loss, duplicate, reorder, corrupt, where
NS_PER_S = 1_000_000_000
WIRE_OVERHEAD_BYTES = 24
"""Preamble 8, frame check sequence 4, gap 12 (IEEE 802.3-2018): what a frame takes on the wire besides itself."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What goes wrong on a path; all of it off by default. Raises ConfigError for an impossible value.

    ``loss``, ``duplicate``, ``corrupt``: shares of frames, 0 to 1. ``burst``: mean length in frames of a run of
    lost frames (Gilbert-Elliott with a lossless good state and a bad state that loses all; 1 or less: losses
    are independent). ``reorder``: a frame may arrive up to that many frames late. ``delay_ns``: each frame
    arrives that much later. ``rate``: bytes per second of the path, 0 for no limit. ``cut``: partitioned, nothing
    gets through. Corruption flips one bit after the frame check sequence was right, so only digests and tags see it.
    """

    loss: float = 0.0
    burst: float = 1.0
    duplicate: float = 0.0
    reorder: int = 0
    delay_ns: int = 0
    corrupt: float = 0.0
    rate: int = 0
    cut: bool = False

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "corrupt"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}", "a share of frames, 0 to 1")
        if self.burst > 1 and self.loss >= 1:
            raise ConfigError("bursts of loss 1 never end", "use cut for a partition")
        for name in ("reorder", "delay_ns", "rate"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", "give 0 or more")

    @property
    def harmless(self) -> bool:
        """Frames pass as they are."""
        return not (self.loss or self.duplicate or self.reorder or self.delay_ns or self.corrupt or self.rate
                    or self.cut)


class ImpairedPath:
    """One direction of one port. ``seed`` and ``stream`` name the random numbers it uses."""

    def __init__(self, impairment: Impairment, seed: int, stream: int = 0) -> None:
        self._random = np.random.Generator(np.random.Philox(key=np.array([seed & (1 << 64) - 1, stream], np.uint64)))
        self.lost_frames = self.duplicated_frames = self.corrupted_frames = self.reordered_frames = 0
        self._in_burst = False
        self._busy_ns = 0
        self._late: list[tuple[int, int, Frames, Lengths]] = []
        self._count = 0
        self.change(impairment)

    def change(self, impairment: Impairment) -> None:
        """Other impairments from the next frame on; the random numbers go on where they were."""
        self.impairment = impairment

    def select(self, n: int) -> NDArray[np.int64]:
        """What becomes of n frames sent now: their numbers in order of arrival, without the lost, with repeats.

        For bulk frames that are sent by number (``headers[i], offsets[i]``); corruption, delay and rate need
        the bytes and are left to `apply`.
        """
        order, _ = self._select(n)
        return order

    def apply(self, frames: Frames, lengths: Lengths, now_ns: int) -> tuple[Frames, Lengths]:
        """Frames that arrive now of those sent now; delayed ones come out of `due`.

        A harmless path returns the arrays given. Otherwise they are copies.
        """
        imp = self.impairment
        if imp.harmless or not len(lengths):
            return frames, lengths
        order, draws = self._select(len(lengths))
        out, sizes = frames[order], np.asarray(lengths)[order]
        hit = np.flatnonzero(draws[order, 3] < imp.corrupt) if imp.corrupt else ()
        for row in hit:
            # addresses and EtherType stay: a switch or NIC would drop or send elsewhere what has those spoilt
            span = max(1, int(sizes[row]) - ETHERNET_HEADER_BYTES) * 8
            bit = int(draws[order[row], 4] * span)
            at = min(ETHERNET_HEADER_BYTES + bit // 8, out.shape[1] - 1)
            out[row, at] ^= 1 << bit % 8
        self.corrupted_frames += len(hit)
        if not imp.delay_ns and not imp.rate:
            return out, sizes
        self._hold(out, sizes, now_ns)
        return self._empty(frames, lengths)

    def due(self, now_ns: int) -> list[tuple[Frames, Lengths]]:
        """Delayed batches whose time has come, in order."""
        out = []
        while self._late and self._late[0][0] <= now_ns:
            _, _, frames, lengths = heapq.heappop(self._late)
            out.append((frames, lengths))
        return out

    def next_wakeup_ns(self) -> int | None:
        """When `due` has something."""
        return self._late[0][0] if self._late else None

    def _select(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        imp = self.impairment
        draws = self._random.random((n, _DRAWS))
        if imp.cut:
            self.lost_frames += n
            return np.zeros(0, np.int64), draws
        lost = self._losses(draws[:, 0])
        order = np.flatnonzero(~lost)
        self.lost_frames += n - len(order)
        if imp.duplicate:
            twice = draws[order, 1] < imp.duplicate
            self.duplicated_frames += int(np.count_nonzero(twice))
            order = np.repeat(order, 1 + twice.astype(np.int64))
        if imp.reorder and len(order) > 1:
            # a frame moves back by up to `reorder` places; equal keys keep their order
            keys = np.arange(len(order)) + np.floor(draws[order, 2] * (imp.reorder + 1)).astype(np.int64)
            moved = np.argsort(keys, kind="stable")
            self.reordered_frames += int(np.count_nonzero(moved != np.arange(len(order))))
            order = order[moved]
        return order, draws

    def _losses(self, draws: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) bool, true where a frame is lost; keeps the state of the burst model between calls."""
        imp = self.impairment
        if not imp.loss:
            return np.zeros(len(draws), np.bool_)
        if imp.burst <= 1:
            return draws < imp.loss
        # good → bad with p, bad → bad with q; one draw decides both, so most draws fix the state whatever it was
        q = 1 - 1 / imp.burst
        p = min(1.0, imp.loss / (imp.burst * (1 - imp.loss)))
        bad = draws < min(p, q)
        good = draws >= max(p, q)
        toggles = ~(bad | good) if p > q else np.zeros(len(draws), np.bool_)
        fixed = np.where(bad | good, np.arange(len(draws)), -1)
        latest = np.maximum.accumulate(fixed)
        start = np.where(latest >= 0, bad[latest], self._in_burst)
        flips = np.cumsum(toggles, dtype=np.int64)
        odd: NDArray[np.bool_] = (flips - np.where(latest >= 0, flips[latest], 0)) % 2 == 1
        lost: NDArray[np.bool_] = np.logical_xor(start, odd)
        if len(lost):
            self._in_burst = bool(lost[-1])
        return lost

    def _hold(self, frames: Frames, lengths: Lengths, now_ns: int) -> None:
        """Queue frames for later; under a rate, frame by frame as their last bit leaves."""
        imp = self.impairment
        if not len(lengths):
            return
        if not imp.rate:
            self._push(now_ns + imp.delay_ns, frames, lengths)
            return
        sizes = np.asarray(lengths, np.int64) + WIRE_OVERHEAD_BYTES
        ends = max(now_ns, self._busy_ns) + np.cumsum(sizes) * NS_PER_S // imp.rate
        self._busy_ns = int(ends[-1])
        for row, end in enumerate(ends.tolist()):
            self._push(end + imp.delay_ns, frames[row:row + 1], lengths[row:row + 1])

    def _push(self, at_ns: int, frames: Frames, lengths: Lengths) -> None:
        self._count += 1
        heapq.heappush(self._late, (at_ns, self._count, frames, lengths))

    @staticmethod
    def _empty(frames: Frames, lengths: Lengths) -> tuple[Frames, Lengths]:
        return frames[:0], np.asarray(lengths)[:0]


Deliver = Callable[[Frames, Lengths, int], None]
"""``deliver(frames, lengths, now_ns)``: (n, stride) uint8 that nobody writes to any more, (n,) lengths."""


class Port:
    """One port of a `Fabric`: its two paths, as seen from whoever is attached."""

    def __init__(self, number: int, mac: Mac, mtu: int, deliver: Deliver, sending: ImpairedPath,
                 receiving: ImpairedPath) -> None:
        self.number = number
        self.mac = mac
        self.mtu = mtu
        self.deliver = deliver
        self.sending = sending
        self.receiving = receiving
        self.is_up = True
        self.oversize_frames = 0


class Fabric:
    """A switch in memory under virtual time. Nothing happens but in `send` and `advance`.

    Unicast goes to its port, broadcast to all others; unknown unicast is lost. ``latency_ns`` is the time from
    one port to another without impairment; it is at least 1, so that no answer overtakes its cause.
    """

    def __init__(self, seed: int = 0, latency_ns: int = 1_000) -> None:
        self.now_ns = 0
        self._seed = seed
        self._latency_ns = max(1, latency_ns)
        self._ports: list[Port] = []
        self._by_mac: dict[bytes, Port] = {}
        self._events: list[tuple[int, int, Port, Frames, Lengths]] = []
        self._count = 0

    def attach(self, mac: Mac, deliver: Deliver, mtu: int = 1500, sending: Impairment | None = None,
               receiving: Impairment | None = None) -> Port:
        """A new port. Raises ConfigError when the address is taken."""
        if bytes(mac) in self._by_mac:
            raise ConfigError(f"{mac} is attached already", "give each port an address of its own")
        number = len(self._ports)
        paths = [ImpairedPath(imp or Impairment(), self._seed, 2 * number + side)
                 for side, imp in enumerate((sending, receiving))]
        port = Port(number, mac, mtu, deliver, *paths)
        self._ports.append(port)
        self._by_mac[bytes(mac)] = port
        return port

    def send(self, port: Port, frames: Frames, lengths: Lengths) -> None:
        """Frames from whoever is attached to ``port``, at the fabric's present time. They are copied."""
        if port.is_up and len(lengths):
            self._switch(port, *port.sending.apply(np.array(frames), np.array(lengths), self.now_ns))

    def advance(self, now_ns: int) -> None:
        """Let virtual time reach ``now_ns``, delivering on the way in order of time, then of sending."""
        while (at := self.next_event_ns()) is not None and at <= now_ns:
            self.now_ns = max(self.now_ns, at)
            for port in self._ports:
                for frames, lengths in port.sending.due(self.now_ns):
                    self._switch(port, frames, lengths)
                for frames, lengths in port.receiving.due(self.now_ns):
                    self._hand_over(port, frames, lengths)
            while self._events and self._events[0][0] <= self.now_ns:
                _, _, port, frames, lengths = heapq.heappop(self._events)
                self._hand_over(port, *port.receiving.apply(frames, lengths, self.now_ns))
        self.now_ns = max(self.now_ns, now_ns)

    def next_event_ns(self) -> int | None:
        """When something arrives next."""
        times = [t for p in self._ports for t in (p.sending.next_wakeup_ns(), p.receiving.next_wakeup_ns())
                 if t is not None]
        if self._events:
            times.append(self._events[0][0])
        return min(times, default=None)

    def _switch(self, source: Port, frames: Frames, lengths: Lengths) -> None:
        if not len(lengths):
            return
        frames.flags.writeable = False
        heads = frames[:, :6]
        changes = np.flatnonzero((heads[1:] != heads[:-1]).any(axis=1)) + 1
        bounds = [0, *changes.tolist(), len(lengths)]
        for start, stop in pairwise(bounds):
            if heads[start, 0] & 1:
                targets = [p for p in self._ports if p is not source]
            else:
                owner = self._by_mac.get(heads[start].tobytes())
                targets = [owner] if owner is not None and owner is not source else []
            for port in targets:
                self._count += 1
                heapq.heappush(self._events, (self.now_ns + self._latency_ns, self._count, port,
                                              frames[start:stop], lengths[start:stop]))

    def _hand_over(self, port: Port, frames: Frames, lengths: Lengths) -> None:
        if not port.is_up or not len(lengths):
            return
        limit = port.mtu + ETHERNET_HEADER_BYTES
        if int(lengths.max()) > limit:
            # a mixed-MTU bridge port drops without a word to the sender
            fits = lengths <= limit
            port.oversize_frames += int(len(fits) - np.count_nonzero(fits))
            frames, lengths = frames[fits], lengths[fits]
        if len(lengths):
            port.deliver(frames, lengths, self.now_ns)
