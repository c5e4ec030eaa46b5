"""What the core is told. Past tense for things that happened, ``Start…`` for what a user asks.

Every request carries a ``request`` number of the runtime's choosing, which comes back in RequestProgressed and
RequestEnded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.wire.codec import DataGroup

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LinkCameUp:
    link: str
    mac: bytes
    mtu: int


@dataclass(frozen=True, slots=True)
class LinkWentDown:
    link: str


@dataclass(slots=True)
class FrameReceived:
    """One control frame; not frozen because one is made for every answer."""

    link: str
    raw: bytes


@dataclass(slots=True)
class BlocksReceived:
    link: str
    group: DataGroup


@dataclass(slots=True)
class BatchReceived:
    """Profile `paper`: frames as they came, (n, stride) uint8, and their lengths (n,)."""

    link: str
    frames: Bytes
    lengths: NDArray[Any]


@dataclass(slots=True)
class BlocksTaken:
    """How many frames of the last SendBlocks of ``transfer`` the link took; ``full``: it takes no more now."""

    transfer: int
    frames: int
    full: bool


@dataclass(frozen=True, slots=True)
class LinkWritable:
    link: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing happened but time."""


@dataclass(frozen=True, slots=True)
class KeysChanged:
    keys: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class StartSolicit:
    """Ask all cards on all links to announce themselves within ``spread_ms``."""

    spread_ms: int = 0


@dataclass(frozen=True, slots=True)
class SessionsWanted:
    """Until now cards were only listed (CoreConfig.auto_open False); open sessions from here on."""


@dataclass(frozen=True, slots=True)
class StartProgram:
    """Stage an image on ``cards`` (keys), then commit it when ``commit``.

    ``payload`` (n,) uint8, ``leaves`` its concatenated leaf digests, ``digest`` their root. ``force`` sends it even
    to cards that hold it. With ``staged_only`` there is no payload: cards that do not hold it fail.
    """

    request: int
    cards: tuple[str, ...]
    payload: Bytes
    leaves: bytes
    digest: bytes
    pr_compat_id: int
    commit: bool = True
    broadcast: bool = True
    force: bool = False
    deadline_ns: int = 120_000_000_000
    staged_only: bool = False


@dataclass(frozen=True, slots=True)
class StartWrite:
    """Write ``payload`` to ``address`` of every card; pieces are hashed by the runtime: (offset, length,
    leaves, root) each."""

    request: int
    cards: tuple[str, ...]
    address: int
    payload: Bytes
    pieces: tuple[tuple[int, int, bytes, bytes], ...]
    deadline_ns: int = 120_000_000_000


@dataclass(frozen=True, slots=True)
class StartRead:
    """Read into ``out`` (n,) uint8 from ``address`` of ``space``."""

    request: int
    card: str
    space: int
    address: int
    out: Bytes
    transfer: int = 0
    deadline_ns: int = 60_000_000_000


@dataclass(frozen=True, slots=True)
class StartRun:
    """Run one kernel with a ready argument block, on each of ``cards``, once."""

    request: int
    cards: tuple[str, ...]
    kernel: int
    arguments: bytes = b""
    global_size: tuple[int, int, int] = (1, 1, 1)
    local_size: tuple[int, int, int] = (0, 0, 0)
    work_dim: int = 1
    deadline_ms: int = 0
    group: bool = False


@dataclass(frozen=True, slots=True)
class StartUnit:
    """One work unit: inputs to DDR, kernel, outputs back. ``memory`` (n,) uint8 has the layout of the DDR range
    that the core allocates; ``inputs`` are (offset, length, leaves, root), ``outputs`` (offset, length),
    ``relocations`` offsets of 64-bit pointers in ``arguments`` that are relative to the range."""

    request: int
    digest: bytes
    kernel: int
    memory: Bytes
    inputs: tuple[tuple[int, int, bytes, bytes], ...]
    outputs: tuple[tuple[int, int], ...]
    arguments: bytes
    relocations: tuple[int, ...]
    global_size: tuple[int, int, int] = (1, 1, 1)
    local_size: tuple[int, int, int] = (0, 0, 0)
    work_dim: int = 1
    deadline_ms: int = 0
    cards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobImage:
    """What a card that does not have a job's image is programmed with. ``payload`` (n,) uint8, ``leaves`` its
    concatenated leaf digests."""

    payload: Bytes
    leaves: bytes
    pr_compat_id: int


@dataclass(frozen=True, slots=True)
class JobResident:
    """What every card of a job has once: ``payload`` (n,) uint8, ``pieces`` of it (offset, length, leaves, root)."""

    payload: Bytes
    pieces: tuple[tuple[int, int, bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class StartJob:
    """A job: kernel ``kernel`` of the image with ``digest`` over units that come by AddUnits until EndUnits.

    ``priority``: higher first. ``weight``: its share among jobs of one priority. ``cards``: keys, all when empty.
    ``image`` None: only cards that run the image already. ``unit_deadline_ms`` of one run of the kernel, never 0.
    ``retries``: so many cards may fail a unit until the unit is at fault. ``keep_going``: units that failed for
    good are reported and the job goes on; else it ends. ``phased``: all units are loaded, then all run, then all
    are read. ``repeat``: kernel runs of each unit on the data it has. ``depth``: units a card at once, 0 when
    chosen from measured times. ``patience_ns``: units that no card could take for so long are given up, the job with
    them unless it is to keep going. ``min_cards``: so many are left to it while it has nothing to do. ``max_cards``: it
    works on so many at once at most, 0 for all; a card that goes silent is replaced by another, and jobs of one
    ``name`` and image, where they have one, work on the same cards. ``lasting``: the job goes on when no card is left
    for it, and only the units that wait are given up. ``resident``: data that each card has before it gets units.
    ``compute_units``: so many kernels from ``kernel`` on are copies of it and run units side by side, those of copy i
    in part i of the ``banks`` equal parts of DDR; ``depth`` is of each.
    """

    request: int
    digest: bytes
    kernel: int
    priority: int = 0
    weight: float = 1.0
    cards: tuple[str, ...] = ()
    image: JobImage | None = None
    unit_deadline_ms: int = 300_000
    retries: int = 3
    keep_going: bool = False
    speculate: bool = True
    phased: bool = False
    repeat: int = 1
    depth: int = 0
    patience_ns: int = 600_000_000_000
    min_cards: int = 0
    lasting: bool = False
    resident: JobResident | None = None
    compute_units: int = 1
    banks: int = 1
    max_cards: int = 0
    name: str = ""


@dataclass(slots=True)
class JobUnit:
    """One unit of a job; not frozen because a million are made.

    ``memory`` (n,) uint8 holds inputs and takes outputs; ``room`` bytes of DDR are allocated for the unit.
    ``inputs``: (offset in the DDR range and in ``memory``, length, leaves, root). ``outputs``: (offset in the
    DDR range, length, offset in ``memory``), never on top of an input's bytes in ``memory``. ``relocations``:
    offsets of 64-bit pointers in ``arguments`` that are relative to the range. ``card``: only this one (key),
    until it is gone. ``resident``: offsets of those that are relative to the job's resident data.
    """

    index: int
    memory: Bytes
    room: int
    inputs: tuple[tuple[int, int, bytes, bytes], ...]
    outputs: tuple[tuple[int, int, int], ...]
    arguments: bytes
    relocations: tuple[int, ...]
    global_size: tuple[int, int, int] = (1, 1, 1)
    local_size: tuple[int, int, int] = (0, 0, 0)
    work_dim: int = 1
    card: str = ""
    resident: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AddUnits:
    request: int
    units: tuple[JobUnit, ...]


@dataclass(frozen=True, slots=True)
class EndUnits:
    """No more units come: the job ends when all it has have ended."""

    request: int


@dataclass(frozen=True, slots=True)
class ChangeJob:
    """None leaves as it is. ``hold``: start no unit until it is let go on."""

    request: int
    priority: int | None = None
    weight: float | None = None
    hold: bool | None = None


@dataclass(frozen=True, slots=True)
class DrainCard:
    """Give ``card`` (key) no more units while ``on``; the request ends when it works on none."""

    request: int
    card: str
    on: bool = True


@dataclass(frozen=True, slots=True)
class StartKill:
    request: int
    card: str


@dataclass(frozen=True, slots=True)
class StartClose:
    """Give the lease of ``cards`` back (all when empty)."""

    request: int
    cards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestCancelled:
    request: int


Event = (BatchReceived | LinkCameUp | LinkWentDown | FrameReceived | BlocksReceived | BlocksTaken | LinkWritable
         | TimePassed | KeysChanged | StartSolicit | SessionsWanted | StartProgram | StartWrite | StartRead | StartRun
         | StartUnit | StartKill | StartClose | RequestCancelled | StartJob | AddUnits | EndUnits | ChangeJob
         | DrainCard)
