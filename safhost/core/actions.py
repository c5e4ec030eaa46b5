"""What the core asks its runtime to do. Imperative; carried out in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safhost.errors import SafError


class BlockEncoder(Protocol):
    """Makes the headers of a batch of blocks; see :meth:`safhost.wire.codec.DataEncoder.encode`."""

    def encode(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64], int, int]: ...


@dataclass(slots=True)
class SendFrames:
    """Control (and GUARDED) frames, in order."""

    link: str
    frames: list[bytes]


@dataclass(slots=True)
class SendBlocks:
    """A batch of one object's blocks; the runtime answers with BlocksTaken before the next one comes."""

    link: str
    transfer: int
    encoder: BlockEncoder
    payload: NDArray[np.uint8]
    indices: NDArray[np.int64]


@dataclass(slots=True)
class RequestProgressed:
    request: int
    info: dict[str, Any]


@dataclass(slots=True)
class RequestEnded:
    """``error`` None: done. ``result`` may be there beside an error (partial results)."""

    request: int
    result: dict[str, Any] = field(default_factory=dict)
    error: SafError | None = None


@dataclass(slots=True)
class CardChanged:
    """A card appeared or changed state."""

    card: str
    state: str
    why: str


@dataclass(slots=True)
class KeepGeneration:
    """Persist this generation before the next frame is sent."""

    generation: int


@dataclass(slots=True)
class UnitEnded:
    """A unit of a job ended, told exactly once; with ``error`` None its outputs are in its memory, which nothing
    writes to from then on.

    ``card``: key of the one that did it (or failed it last), ``attempts``: on how many it was begun. Times in ns:
    waited for a card, inputs travelled, kernel as seen from here (``kernel_ns`` as the card measured it), outputs
    travelled; ``ended_ns`` is the core's clock.
    """

    request: int
    index: int
    card: str
    error: SafError | None
    attempts: int
    kernel_ns: int
    write_ns: int
    run_ns: int
    read_ns: int
    queued_ns: int
    ended_ns: int


@dataclass(slots=True)
class JobNoted:
    """Something a person who watches the job wants to know. ``kind``: card_joining, card_working, card_lost,
    card_failed, card_excluded, card_left, card_back, speculated, unit_moved, drained, reprogrammed, resident, phase."""

    request: int
    kind: str
    card: str
    text: str
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class JobCards:
    """The cards (keys) that can take units of the job now: told when they change, from none on."""

    request: int
    cards: tuple[str, ...]


Action = (SendFrames | SendBlocks | RequestProgressed | RequestEnded | CardChanged | KeepGeneration | UnitEnded
          | JobNoted | JobCards)
