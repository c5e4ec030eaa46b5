"""The impaired wire of one card in the lab: what `fabric` does to frames, on a real interface.

Both directions have their own random numbers, named by the lab's seed and the card's number, so that a lab of
the same seed loses the same frames. A wire that harms nothing is not ``active`` and costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.lab.card_types import ControlOut, DataOut, Output
from safhost.lab.fabric import ImpairedPath, Impairment
from safhost.lab.state import Impairments
from safhost.link.blocks import gather_blocks
from safhost.wire.generated import HEADER_BYTES

Frames = NDArray[np.uint8]
Batch = tuple[Frames, NDArray[Any]]
_FOR_EVER_NS = 1 << 62


class Late(NamedTuple):
    """Delayed frames whose time has come, each way."""

    inbound: list[Batch]
    outbound: list[Output]


class Wire:
    """``impairments`` apply each way; ``seed`` and ``number`` (the card's) name the random numbers."""

    def __init__(self, impairments: Impairments, seed: int, number: int) -> None:
        what = _impairment(impairments)
        self._to_card = ImpairedPath(what, seed, 2 * number)
        self._to_host = ImpairedPath(what, seed, 2 * number + 1)
        self.impairments = impairments
        self.active = not what.harmless

    def change(self, impairments: Impairments) -> None:
        """Other impairments from the next frame on. Raises ConfigError for impossible ones."""
        what = _impairment(impairments)
        self._to_card.change(what)
        self._to_host.change(what)
        self.impairments = impairments
        self._refresh()

    def inbound(self, frames: Frames, lengths: NDArray[Any], now_ns: int) -> Batch:
        """Frames for the card: what arrives now of them (copies)."""
        return self._to_card.apply(frames, lengths, now_ns)

    def outbound(self, outputs: Iterable[Output], now_ns: int) -> list[Output]:
        """Frames from the card: what leaves now of them (copies)."""
        left: list[Output] = []
        for output in outputs:
            left += as_outputs(*self._to_host.apply(*as_frames(output), now_ns))
        return left

    def take_late(self, now_ns: int) -> Late:
        """Delayed frames that are due."""
        late = Late(self._to_card.due(now_ns),
                    [o for batch in self._to_host.due(now_ns) for o in as_outputs(*batch)])
        self._refresh()
        return late

    def next_wakeup_ns(self) -> int | None:
        """When `take_late` has something."""
        times = [t for t in (self._to_card.next_wakeup_ns(), self._to_host.next_wakeup_ns()) if t is not None]
        return min(times, default=None)

    def clear(self) -> None:
        """The cable is out: what was on its way is gone."""
        self.take_late(_FOR_EVER_NS)

    def counters(self) -> dict[str, int]:
        """Frames that met with something, both ways together."""
        return {name: getattr(self._to_card, name) + getattr(self._to_host, name)
                for name in ("lost_frames", "duplicated_frames", "corrupted_frames", "reordered_frames")}

    def _refresh(self) -> None:
        """Frames on their way keep a wire active after its impairments were taken off."""
        self.active = not self._to_card.impairment.harmless or self.next_wakeup_ns() is not None


def _impairment(impairments: Impairments) -> Impairment:
    return Impairment(**dataclasses.asdict(impairments))


def as_frames(output: Output) -> Batch:
    """An output as whole frames: ((n, stride) uint8, (n,) int64 lengths)."""
    if isinstance(output, ControlOut):
        row = np.frombuffer(output.raw, np.uint8)[None, :]
        return row, np.array([row.shape[1]], np.int64)
    return gather_blocks(output.headers, output.payload, output.offsets, output.block_bytes, output.last_bytes)


def as_outputs(frames: Frames, lengths: NDArray[Any]) -> list[Output]:
    """Whole frames as outputs: one for each run of equal lengths."""
    if not len(lengths):
        return []
    frames = np.ascontiguousarray(frames)
    flat, stride = frames.reshape(-1), frames.shape[1]
    edges = [0, *(np.flatnonzero(lengths[1:] != lengths[:-1]) + 1).tolist(), len(lengths)]
    found: list[Output] = []
    for first, last in pairwise(edges):
        length = int(lengths[first])
        if last - first == 1 or length <= HEADER_BYTES:
            found += [ControlOut(frames[row, :length].tobytes()) for row in range(first, last)]
            continue
        offsets = np.arange(first, last, dtype=np.int64) * stride + HEADER_BYTES
        block = length - HEADER_BYTES
        found.append(DataOut(frames[first:last, :HEADER_BYTES], flat, offsets, block, block))
    return found
