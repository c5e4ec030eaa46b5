"""Links in memory for tests and simulations: a hub that switches by destination MAC.

Deterministic: frames arrive in the order they were sent, in the same call, or are dropped for a reason that
is counted. A batch of bulk frames stays one array from sender to receivers.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import LinkError
from safhost.link.base import FrameBatch, FrameLike, LinkDown
from safhost.link.blocks import check_blocks, gather_blocks
from safhost.units import Mac
from safhost.wire.generated import ETHERNET_HEADER_BYTES

DEFAULT_CAPACITY_FRAMES = 65_536


class MemoryHub:
    """A switch without learning: known unicast to its owner, unknown unicast to promiscuous links, else all.

    A frame longer than a receiver's MTU is dropped there without a word to the sender, as on a bridge.
    """

    def __init__(self) -> None:
        self._links: list[MemoryLink] = []
        self._by_mac: dict[int, MemoryLink] = {}

    def attach(self, mac: Mac, mtu: int = 1500, *, name: str = "", ethertypes: Iterable[int] | None = None,
               promiscuous: bool = False, capacity_frames: int = DEFAULT_CAPACITY_FRAMES,
               send_limit_frames: int | None = None) -> MemoryLink:
        """A new port; raises LinkError when the address is taken.

        ``ethertypes``: receive only these (None: all). ``capacity_frames``: receive queue, drops beyond.
        ``send_limit_frames``: most frames a call takes, to try short sends.
        """
        if mac.value in self._by_mac:
            raise LinkError(f"{mac} is attached already", "give each port an address of its own")
        link = MemoryLink(self, mac, mtu, name or f"mem{len(self._links)}", ethertypes=ethertypes,
                          promiscuous=promiscuous, capacity_frames=capacity_frames,
                          send_limit_frames=send_limit_frames)
        self._links.append(link)
        self._by_mac[mac.value] = link
        return link

    def detach(self, link: MemoryLink) -> None:
        """Called by `MemoryLink.close`."""
        if self._by_mac.get(link.mac.value) is link:
            del self._by_mac[link.mac.value]
            self._links.remove(link)

    def deliver(self, sender: MemoryLink, frames: NDArray[np.uint8], lengths: NDArray[np.int64]) -> None:
        """Switch frames that nobody writes to any more; runs of one destination stay together."""
        frames.flags.writeable = False
        lengths.flags.writeable = False
        destinations = frames[:, :6]
        changes = np.flatnonzero((destinations[1:] != destinations[:-1]).any(axis=1)) + 1
        bounds = [0, *changes.tolist(), len(frames)]
        for start, end in itertools.pairwise(bounds):
            destination = Mac.from_bytes(destinations[start].tobytes())
            for link in self._targets(sender, destination):
                link.enqueue(frames[start:end], lengths[start:end])

    def _targets(self, sender: MemoryLink, destination: Mac) -> list[MemoryLink]:
        if destination.is_multicast:
            return [link for link in self._links if link is not sender]
        owner = self._by_mac.get(destination.value)
        if owner is not None:
            return [owner] if owner is not sender else []
        return [link for link in self._links if link.promiscuous and link is not sender]


class MemoryLink:
    """One port of a `MemoryHub` (the `Link` protocol)."""

    def __init__(self, hub: MemoryHub, mac: Mac, mtu: int, name: str, *,
                 ethertypes: Iterable[int] | None, promiscuous: bool, capacity_frames: int,
                 send_limit_frames: int | None) -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.promiscuous = promiscuous
        self._hub: MemoryHub | None = hub
        self._ethertypes = None if ethertypes is None else np.array(sorted(set(ethertypes)), np.uint16)
        self._capacity = capacity_frames
        self._send_limit = send_limit_frames
        self._queue: deque[tuple[NDArray[np.uint8], NDArray[np.int64]]] = deque()
        self._waiting = 0
        self._is_up = True
        self._want_write = False
        self._event_fd: int | None = None
        self._signalled = False
        self._counts = dict.fromkeys(("rx_frames", "rx_drops", "rx_oversize", "rx_filtered", "tx_frames",
                                      "tx_busy", "tx_errors"), 0)

    def fileno(self) -> int:
        """An eventfd, made on first use: a simulation without an event loop needs no descriptor."""
        if self._event_fd is None:
            self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._signal()
        return self._event_fd

    def fileno_tx(self) -> int:
        """The same descriptor: an eventfd is always writable, as this link is."""
        return self.fileno()

    def receive(self, max_frames: int = 1024) -> FrameBatch | None:
        if not self._queue:
            return None
        frames, lengths = self._queue.popleft()
        if len(lengths) > max_frames:
            self._queue.appendleft((frames[max_frames:], lengths[max_frames:]))
            frames, lengths = frames[:max_frames], lengths[:max_frames]
        self._waiting -= len(lengths)
        self._counts["rx_frames"] += len(lengths)
        self._signal()
        return FrameBatch(frames, lengths)

    def send_frames(self, frames: Sequence[FrameLike]) -> int:
        n = self._admit(len(frames))
        if not n:
            return 0
        lengths = np.array([len(f) for f in frames[:n]], np.int64)
        self._check_length(int(lengths.max()))
        rows = np.zeros((n, max(ETHERNET_HEADER_BYTES, int(lengths.max()))), np.uint8)
        for i in range(n):
            rows[i, :lengths[i]] = np.frombuffer(frames[i], np.uint8)
        return self._deliver(rows, lengths)

    def send_blocks(self, headers: NDArray[np.uint8], payload: NDArray[np.uint8], offsets: NDArray[Any],
                    length_bytes: int, last_length_bytes: int | None = None) -> int:
        positions, last = check_blocks(headers, payload, offsets, length_bytes, last_length_bytes)
        n = self._admit(len(headers))
        if not n:
            return 0
        self._check_length(headers.shape[1] + length_bytes)
        if n < len(headers):
            last = length_bytes
        return self._deliver(*gather_blocks(headers[:n], payload, positions[:n], length_bytes, last))

    def _admit(self, frames: int) -> int:
        if self._hub is None or not self._is_up:
            self._counts["tx_errors"] += 1
            raise LinkDown(f"link {self.name} is {'down' if self._hub else 'closed'}", "bring it up again")
        n = frames if self._send_limit is None else min(frames, self._send_limit)
        self._want_write = n < frames
        self._counts["tx_busy"] += self._want_write
        return n

    def _check_length(self, longest_bytes: int) -> None:
        if longest_bytes > self.mtu + ETHERNET_HEADER_BYTES:
            self._counts["tx_errors"] += 1
            raise LinkError(f"{self.name}: a frame of {longest_bytes} bytes exceeds MTU {self.mtu}",
                            "raise the MTU on the whole path, or use smaller blocks")

    def _deliver(self, frames: NDArray[np.uint8], lengths: NDArray[np.int64]) -> int:
        self._counts["tx_frames"] += len(frames)
        if self._hub is not None:
            self._hub.deliver(self, frames, lengths)
        return len(frames)

    def enqueue(self, frames: NDArray[np.uint8], lengths: NDArray[np.int64]) -> None:
        """Called by the hub with frames that nobody writes to any more."""
        if not self._is_up:
            return
        keep = lengths <= self.mtu + ETHERNET_HEADER_BYTES
        self._counts["rx_oversize"] += int(len(keep) - keep.sum())
        if self._ethertypes is not None:
            found = frames[:, 12].astype(np.uint16) << 8 | frames[:, 13]
            wanted = np.isin(found, self._ethertypes)
            self._counts["rx_filtered"] += int((keep & ~wanted).sum())
            keep &= wanted
        if not keep.all():
            frames, lengths = frames[keep], lengths[keep]
        room = self._capacity - self._waiting
        self._counts["rx_drops"] += max(0, len(lengths) - room)
        if room < len(lengths):
            frames, lengths = frames[:room], lengths[:room]
        if len(lengths):
            self._queue.append((frames, lengths))
            self._waiting += len(lengths)
            self._signal()

    def _signal(self) -> None:
        if self._event_fd is None or bool(self._queue) == self._signalled:
            return
        self._signalled = bool(self._queue)
        if self._signalled:
            os.eventfd_write(self._event_fd, 1)
        else:
            os.eventfd_read(self._event_fd)

    def set_up(self, is_up: bool) -> None:
        """Pull the cable or plug it in: while down nothing arrives and sends raise LinkDown."""
        self._is_up = is_up

    def want_write(self) -> bool:
        return self._want_write

    def counters(self) -> dict[str, int]:
        return dict(self._counts)

    def close(self) -> None:
        if self._hub is not None:
            self._hub.detach(self)
            self._hub = None
        self._queue.clear()
        self._waiting = 0
        if self._event_fd is not None:
            os.close(self._event_fd)
            self._event_fd = None
            self._signalled = False
