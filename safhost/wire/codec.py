"""Frames to fields and back: control frames one at a time, DATA frames a batch at a time.

Control frames are few, so they are bytes and named tuples. DATA frames are many, so nothing here makes a
Python object per DATA frame: a batch is a ``(n, stride)`` uint8 array over ring memory, its fields are numpy
columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.errors import LocalProtocolError
from safhost.wire import auth
from safhost.wire.generated import (
    ETHERTYPES,
    FLAG_GUARDED,
    FLAG_LAST,
    HEADER_BYTES,
    OPCODES,
    PROTOCOL_VERSION,
    SUITE_BLAKE2S,
    SUITE_NONE,
    TAG_BYTES,
    DropReason,
    Opcode,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

HEADER = Struct(">6s6sHBBIHHIIQ")
BROADCAST_BYTES = b"\xff" * 6
MIN_FRAME_BYTES = 60  # IEEE 802.3-2018 4.2.3.3 without FCS: NICs pad up to this, veth does not
_DATA = int(Opcode.DATA)


class Frame(NamedTuple):
    """A control frame taken apart. ``raw``: all of it, for the tag; ``ethertype``: the canonical one."""

    dst: bytes
    src: bytes
    ethertype: int
    suite: int
    opcode: int
    session: int
    length: int
    flags: int
    object: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, never used here
    sequence: int
    payload: bytes
    raw: bytes


def padded(length: int) -> int:
    """``length`` rounded up to a whole 64-bit beat."""
    return (length + 7) & ~7


class Codec:
    """Encodes and parses frames of one set of EtherTypes.

    ``ethertypes`` maps the names of saf.yaml to the values used on this network; by default the paper's. All
    other code sees the canonical values only.
    """

    def __init__(self, ethertypes: Mapping[str, int] | None = None) -> None:
        used = dict(ETHERTYPES) | dict(ethertypes or {})
        if len(set(used.values())) != len(used):
            raise LocalProtocolError("two of the EtherTypes are equal", "give seven different values")
        self._out = {ETHERTYPES[name]: value for name, value in used.items()}
        self._in = {value: ETHERTYPES[name] for name, value in used.items()}

    def outgoing(self, ethertype: int) -> int:
        """EtherType on this network of a canonical one."""
        return self._out[ethertype]

    def canonical(self, ethertype: int) -> int:
        """Canonical EtherType of one seen on this network; 0 when it is not ours."""
        return self._in.get(ethertype, 0)

    def encode(self, opcode: int, payload: bytes, *, dst: bytes, src: bytes, ethertype: int, session: int = 0,
               object: int = 0, index: int = 0, sequence: int = 0, flags: int = 0, suite: int = SUITE_NONE,
               key: bytes = b"") -> bytes:
        """One whole control frame; under suite 1 with its tag, where the opcode is a tagged one."""
        length = len(payload)
        frame = HEADER.pack(dst, src, self._out[ethertype], PROTOCOL_VERSION << 4 | suite, opcode, session,
                            length, flags, object, index, sequence) + payload
        if length & 7:
            frame += bytes(padded(length) - length)
        if suite and OPCODES[opcode].tagged:
            frame += auth.frame_tag(key, frame)
        return frame

    def parse(self, raw: bytes, way: str, max_bytes: int = 65535) -> Frame | DropReason:
        """Take one received control frame apart, or say why it is dropped. ``way``: ``h2c`` or ``c2h``.

        Checks everything that needs no state: sizes, version, suite, opcode, EtherType, direction, the length
        field. The tag is not checked here.
        """
        size = len(raw)
        if size < HEADER_BYTES:
            return DropReason.TRUNCATED
        if size > max_bytes:
            return DropReason.OVERSIZED
        (dst, src, ethertype, version_suite, opcode, session, length, flags, obj, index,
         seq) = HEADER.unpack_from(raw)
        if version_suite >> 4 != PROTOCOL_VERSION:
            return DropReason.BAD_VERSION
        suite = version_suite & 15
        if suite > SUITE_BLAKE2S:
            return DropReason.BAD_SUITE
        info = OPCODES.get(opcode)
        if info is None or opcode == _DATA:
            return DropReason.UNKNOWN_OPCODE
        if info.way != way:
            return DropReason.WRONG_DIRECTION
        canonical = self._in.get(ethertype)
        if canonical not in info.ethertypes:
            return DropReason.WRONG_ETHERTYPE
        if length < info.size or (length != info.size and not info.tail):
            return DropReason.LYING_LENGTH
        end = HEADER_BYTES + padded(length) + (TAG_BYTES if suite and info.tagged else 0)
        if size < end:
            return DropReason.TRUNCATED
        if size > end and size > MIN_FRAME_BYTES:
            return DropReason.LYING_LENGTH
        return Frame(dst, src, canonical, suite, opcode, session, length, flags, obj, index, seq,
                     raw[HEADER_BYTES:HEADER_BYTES + length], raw)


def tag_valid(frame: Frame, key: bytes) -> bool:
    """Whether the frame's tag verifies under ``key`` (frames of a tagged opcode, suite 1)."""
    end = HEADER_BYTES + padded(frame.length)
    return auth.equal(auth.frame_tag(key, frame.raw[:end]), frame.raw[end:end + TAG_BYTES])


class DataEncoder:
    """Headers of one object's DATA frames, a batch at a time, for scatter-gather sending.

    ``block_bytes`` is a multiple of 64; every block but the last has it. Values are canonical except
    ``ethertype``, which goes on the wire as given.
    """

    def __init__(self, *, dst: bytes, src: bytes, ethertype: int, session: int, object: int,
                 length_bytes: int, block_bytes: int, max_batch: int = 512) -> None:
        self.blocks = -(-length_bytes // block_bytes)
        self.block_bytes = block_bytes
        self.last_bytes = length_bytes - (self.blocks - 1) * block_bytes
        self.max_batch = min(max_batch, self.blocks)
        self._fields = (dst, src, ethertype, PROTOCOL_VERSION << 4, _DATA, session)
        self._object = object
        header = HEADER.pack(*self._fields, block_bytes, 0, object, 0, 0)
        self._headers = np.empty((self.max_batch, HEADER_BYTES), np.uint8)
        self._headers[:] = np.frombuffer(header, np.uint8)
        self._index = self._headers[:, 28:32].view(">u4")[:, 0]
        self._last = np.frombuffer(
            HEADER.pack(*self._fields, self.last_bytes, FLAG_LAST, object, self.blocks - 1, 0), np.uint8)

    def encode(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64], int, int]:
        """Headers for ascending block numbers: (headers (n, 40) uint8, byte offsets (n,) int64 in the object,
        block bytes, bytes of the batch's final block). Valid until the next call."""
        n = len(indices)
        headers = self._headers[:n]
        self._index[:n] = indices
        last_bytes = self.block_bytes
        if n and int(indices[-1]) == self.blocks - 1:
            # a copy, so that the template rows stay those of full blocks
            headers = headers.copy()
            headers[-1] = self._last
            last_bytes = self.last_bytes
        return headers, indices * self.block_bytes, self.block_bytes, last_bytes

    def encode_guarded(self, index: int, block: Buffer, key: bytes) -> bytes:
        """One GUARDED frame (repair only)."""
        flags = FLAG_GUARDED | (FLAG_LAST if index == self.blocks - 1 else 0)
        view = memoryview(block).cast("B")
        head = HEADER.pack(*self._fields, len(view), flags, self._object, index, 0)[:32]
        return head + auth.guard_tag(key, head[14:32], view) + bytes(view)


class DataGroup(NamedTuple):
    """DATA frames of one batch that share source, EtherType, session and object.

    ``frames`` (n, stride) uint8 are the ring's rows; ``index`` (n,) int64 block numbers; ``length`` (n,)
    int64 block bytes as the header says, already within what was captured; ``guarded`` (n,) bool, or None if
    none is.
    """

    src: bytes
    ethertype: int
    session: int
    object: int
    frames: NDArray[np.uint8]
    index: NDArray[np.int64]  # type: ignore[assignment]  # shadows tuple.index, never used here
    length: NDArray[np.int64]
    guarded: NDArray[np.bool_] | None


def split_batch(frames: NDArray[np.uint8], lengths: NDArray[np.integer],
                ) -> tuple[list[bytes], list[DataGroup], list[DropReason]]:
    """Split received frames into control frames (copied to bytes), groups of DATA frames (views), and the
    reasons of DATA frames dropped here (one entry a dropped frame). Order within each kind is kept."""
    n = len(frames)
    if n == 1 and frames[0, 15] != _DATA:  # the path a lone command or answer takes
        return [frames[0, :lengths[0]].tobytes()], [], []
    is_data = (frames[:, 15] == _DATA) & (lengths >= HEADER_BYTES)
    of_one_kind = bool(is_data.all())
    if of_one_kind:
        group = _one_run(frames, lengths)
        if group is not None:
            return [], [group], []
    if n * frames.shape[1] >= 2 * _RUN_BYTES:
        bounds = _runs(frames)
        if n * frames.shape[1] >= _RUN_BYTES * (len(bounds) - 1):
            return _split_runs(frames, lengths, is_data, bounds)
    if of_one_kind:
        return [], *_group_data(frames, lengths)
    controls = [frames[i, :lengths[i]].tobytes() for i in np.flatnonzero(~is_data)]
    rows = np.flatnonzero(is_data)
    if not len(rows):
        return controls, [], []
    if rows[-1] - rows[0] + 1 == len(rows):
        sel = slice(int(rows[0]), int(rows[-1]) + 1)
        return controls, *_group_data(frames[sel], lengths[sel])
    return controls, *_group_data(frames[rows], lengths[rows])


_RUN_BYTES = 256 << 10
"""Frames of several senders are cut into runs where these are longer than that on average: handling one group more
costs as much as gathering so many bytes, which is what is done with shorter ones."""


def _runs(frames: NDArray[np.uint8]) -> list[int]:
    """Where runs of frames of one source, EtherType, version, opcode, session and object begin, and the end."""
    low, high = frames[:, 6:14].view(np.uint64)[:, 0], frames[:, 14:22].view(np.uint64)[:, 0]
    obj = frames[:, 24:28].view(np.uint32)[:, 0]
    differs = (low[1:] != low[:-1]) | (obj[1:] != obj[:-1]) | ((high[1:] ^ high[:-1]) & _SESSION_MASK != 0)
    return [0, *(np.flatnonzero(differs) + 1).tolist(), len(frames)]


def _split_runs(frames: NDArray[np.uint8], lengths: NDArray[np.integer], is_data: NDArray[np.bool_],
                bounds: list[int]) -> tuple[list[bytes], list[DataGroup], list[DropReason]]:
    """`split_batch` run by run: nothing of a DATA frame is copied, and a key may have several groups."""
    controls: list[bytes] = []
    groups: list[DataGroup] = []
    drops: list[DropReason] = []
    for start, stop in pairwise(bounds):
        data = is_data[start:stop]
        if data.all():
            found, dropped = _group_data(frames[start:stop], lengths[start:stop])
            groups += found
            drops += dropped
            continue
        controls += [frames[i, :lengths[i]].tobytes() for i in range(start, stop) if not is_data[i]]
        rows = np.flatnonzero(data) + start
        if len(rows):
            found, dropped = _group_data(frames[rows], lengths[rows])
            groups += found
            drops += dropped
    return controls, groups, drops


def _one_run(frames: NDArray[np.uint8], lengths: NDArray[np.integer]) -> DataGroup | None:
    """The group, where the frames are what a batch nearly always is: full blocks of one object, so that bytes 6 to 29
    (source to object, and the index but for its low half) are the same in all. One comparison does for all checks."""
    words = frames[:, 6:30].view(np.uint64)
    if (words == words[0]).all():
        head = HEADER.unpack(frames[0, :HEADER_BYTES].tobytes())
        _, src, ethertype, version, _, session, length, flags, obj, _, _ = head
        if version == PROTOCOL_VERSION << 4 and not flags & FLAG_GUARDED and lengths.min() >= length + HEADER_BYTES:
            index = frames[:, 28:32].view(">u4")[:, 0].astype(np.int64)
            return DataGroup(src, ethertype, session, obj, frames, index, np.full(len(frames), length), None)
    return None


def _group_data(frames: NDArray[np.uint8], lengths: NDArray[np.integer],
                ) -> tuple[list[DataGroup], list[DropReason]]:
    group = _one_run(frames, lengths)
    if group is not None:
        return [group], []
    drops: list[DropReason] = []
    block = frames[:, 20:22].view(">u2")[:, 0].astype(np.int64)
    ok = (frames[:, 14] == PROTOCOL_VERSION << 4) & (block + HEADER_BYTES <= lengths)
    if not ok.all():
        for i in np.flatnonzero(~ok):
            drops.append(DropReason.BAD_VERSION if frames[i, 14] >> 4 != PROTOCOL_VERSION else
                         DropReason.BAD_SUITE if frames[i, 14] & 15 else DropReason.TRUNCATED)
        frames, block = frames[ok], block[ok]
        if not len(frames):
            return [], drops
    groups = list(_same_key(frames, block))
    return groups, drops


def _same_key(frames: NDArray[np.uint8], block: NDArray[np.int64]) -> Iterator[DataGroup]:
    # bytes 6..13 source and EtherType; 14..19 version, opcode and session (20..21, the length, masked out)
    low = frames[:, 6:14].view(np.uint64)[:, 0]
    high = frames[:, 14:22].view(np.uint64)[:, 0]
    obj = frames[:, 24:28].view(np.uint32)[:, 0]
    index = frames[:, 28:32].view(">u4")[:, 0].astype(np.int64)
    guard = (frames[:, 23] & FLAG_GUARDED) != 0
    same = (low == low[0]) & (obj == obj[0]) & ((high ^ high[0]) & _SESSION_MASK == 0)
    if same.all():
        yield _make_group(frames, index, block, guard)
        return
    rest = np.arange(len(frames))
    while len(rest):
        r = rest[0]
        same = (low[rest] == low[r]) & (obj[rest] == obj[r]) & ((high[rest] ^ high[r]) & _SESSION_MASK == 0)
        rows = rest[same]
        yield _make_group(frames[rows], index[rows], block[rows], guard[rows])
        rest = rest[~same]


_SESSION_MASK = np.uint64(int.from_bytes(b"\xff" * 6 + b"\0\0", "little"))


def _make_group(frames: NDArray[np.uint8], index: NDArray[np.int64], block: NDArray[np.int64],
                guard: NDArray[np.bool_]) -> DataGroup:
    head = HEADER.unpack(frames[0, :HEADER_BYTES].tobytes())
    return DataGroup(head[1], head[2], head[5], head[8], frames, index, block, guard if guard.any() else None)
