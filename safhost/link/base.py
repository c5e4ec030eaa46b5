"""What every Ethernet link offers: batches of frames in, control frames and bulk blocks out.

The host's daemon and the virtual cards use the same interface, so that a real interface (`packet`), a hub in
memory (`memory`) and a recording (`pcap`) can stand in for each other. Nothing here blocks: the owner waits
for ``fileno()`` to become readable, and after a short send for ``fileno_tx()`` to become writable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safhost.errors import LinkError
from safhost.units import Mac

FrameLike = bytes | bytearray | memoryview


class LinkDown(LinkError):
    """The interface is down or gone for now. Wait for `watch.LinkWatcher` to report it, then ``rebind()``."""


@dataclass(slots=True, eq=False)
class FrameBatch:
    """Frames taken from a link at once.

    ``frames``: (n, stride) uint8, one frame a row, destination MAC in column 0; bytes past the frame's length
    are undefined. ``lengths``: (n,) unsigned or signed integers, captured bytes of each frame. Both may be
    views of memory that the kernel fills again after `release`: copy what must outlive it.
    """

    frames: NDArray[np.uint8]
    lengths: NDArray[Any]

    def __len__(self) -> int:
        return len(self.lengths)

    def release(self) -> None:
        """Give the slots back to the kernel. May be called twice. Memory of our own needs no giving back."""


class Link(Protocol):
    """One Ethernet port. All lengths in bytes, without frame check sequence."""

    @property
    def name(self) -> str:
        """Interface name, for messages."""

    @property
    def mac(self) -> Mac:
        """The port's own address."""

    @property
    def mtu(self) -> int:
        """Largest payload after the 14 byte Ethernet header."""

    def fileno(self) -> int:
        """Descriptor that is readable while frames wait."""

    def fileno_tx(self) -> int:
        """Descriptor that becomes writable when a short send may be repeated."""

    def receive(self, max_frames: int = 1024) -> FrameBatch | None:
        """Up to ``max_frames`` waiting frames in order of arrival; None when nothing waits. Never blocks."""

    def send_frames(self, frames: Sequence[FrameLike]) -> int:
        """Send control frames in order; returns how many were taken (fewer when the queue is full).

        Raises LinkDown when the interface is down or gone, LinkError for a frame longer than the MTU allows.
        """

    def send_blocks(self, headers: NDArray[np.uint8], payload: NDArray[np.uint8], offsets: NDArray[Any],
                    length_bytes: int, last_length_bytes: int | None = None) -> int:
        """Send bulk frames; returns how many were taken, counted from the first.

        Frame i is ``headers[i]`` followed by ``payload[offsets[i]:offsets[i] + length_bytes]``; the last one
        of the call carries ``last_length_bytes`` when given. ``headers``: (n, width) uint8 with contiguous
        rows; ``payload``: 1-D contiguous uint8, may be read-only; ``offsets``: (n,) integers.
        Raises as `send_frames`, and LinkError when a block lies outside the payload.
        """

    def want_write(self) -> bool:
        """True after a short send, until a send was taken whole."""

    def counters(self) -> dict[str, int]:
        """Totals since the link was opened, by name (``rx_frames``, ``rx_drops``, ``tx_frames``, …)."""

    def close(self) -> None:
        """Stop receiving and give everything back. May be called twice."""
