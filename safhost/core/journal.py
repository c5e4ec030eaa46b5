"""What is written down of a job so that it outlives its daemon. Bytes only; the runtime owns the file.

A journal is records in a row: length u32, CRC32 u32 of kind and content, kind u8, content of ``length`` bytes, all
little endian. The
first record opens the job (JSON), then come the units that ended, then how the job ended (JSON). A crash tears
the last record at most: :func:`replay` stops in front of the first that is not whole, and ``good_bytes`` is where to
cut the file before anything is appended. A unit is finished when its DONE record has been written.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from safhost.core.ranges import Ranges

_HEAD = struct.Struct("<IIB")
_PAIR = struct.Struct("<QQ")
RECORD_MAX_BYTES = 64 << 20  # a length beyond this is damage, not a record
MAX_INDEX = 1 << 62  # of a unit
MAGIC = "safhost-job-1"


class Record(IntEnum):
    """Kinds of records. TAKEN: the client has the results where it wants them. FAILED: given up for good."""

    OPENED = 1
    DONE = 2
    TAKEN = 3
    FAILED = 4
    ENDED = 5
    REOPENED = 6  # an ended or interrupted job goes on


DONE, TAKEN, FAILED = Record.DONE, Record.TAKEN, Record.FAILED
_OF_UNITS = (DONE, TAKEN, FAILED)


@dataclass(slots=True)
class JobState:
    """What a journal says. ``ended``: the state it ended in, empty while it was under way; ``good_bytes``: length of
    the part that is whole."""

    spec: dict[str, Any] = field(default_factory=dict)
    done: Ranges = field(default_factory=Ranges)
    taken: Ranges = field(default_factory=Ranges)
    failed: Ranges = field(default_factory=Ranges)
    ended: str = ""
    text: str = ""
    good_bytes: int = 0

    @property
    def opened(self) -> bool:
        """Whether there is a job at all; else not even the first record is whole."""
        return bool(self.good_bytes)


def _record(kind: Record, content: bytes) -> bytes:
    return _HEAD.pack(len(content), zlib.crc32(content, zlib.crc32(bytes([kind]))), kind) + content


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def encode_opened(spec: dict[str, Any]) -> bytes:
    """First record: what the job is, as JSON takes it."""
    return _record(Record.OPENED, _json({"magic": MAGIC, "spec": spec}))


def encode_units(kind: Record, indices: Iterable[int] | Ranges) -> bytes:
    """Units that are DONE, TAKEN or FAILED. Empty bytes for no units. Raises ValueError for another kind."""
    if kind not in _OF_UNITS:
        raise ValueError(f"{kind!r} is not about units")
    ranges = indices if isinstance(indices, Ranges) else Ranges.of(indices)
    return _record(kind, b"".join(_PAIR.pack(*pair) for pair in ranges.pairs())) if len(ranges) else b""


def encode_ended(state: str, text: str = "") -> bytes:
    """The job is over: ``state`` (done, failed, cancelled, drained, abandoned …) and why."""
    return _record(Record.ENDED, _json({"state": state, "text": text}))


def encode_reopened() -> bytes:
    """A job that had ended goes on: units that had failed are tried again."""
    return _record(Record.REOPENED, b"")


def compact(state: JobState) -> bytes:
    """A whole new journal that says the same as the one ``state`` was read from."""
    out = [encode_opened(state.spec)]
    out.extend(encode_units(kind, ranges)
               for kind, ranges in zip(_OF_UNITS, (state.done, state.taken, state.failed), strict=True))
    if state.ended:
        out.append(encode_ended(state.ended, state.text))
    return b"".join(out)


def replay(raw: bytes) -> JobState:
    """Read a journal, however it was torn. Never raises for what is in ``raw``."""
    state = JobState()
    at = 0
    while len(raw) - at >= _HEAD.size:
        length, crc, kind = _HEAD.unpack_from(raw, at)
        end = at + _HEAD.size + length
        content = raw[at + _HEAD.size:end]
        if length > RECORD_MAX_BYTES or end > len(raw) or zlib.crc32(content, zlib.crc32(bytes([kind]))) != crc:
            break
        try:
            _apply(state, Record(kind), content)
        except (ValueError, KeyError, TypeError):
            break  # whole but not ours: nothing behind it means what we would take it for
        at = state.good_bytes = end
    return state


def _apply(state: JobState, kind: Record, content: bytes) -> None:
    """Raises ValueError, KeyError or TypeError for what no version of this wrote."""
    if (kind == Record.OPENED) == state.opened:
        raise ValueError("a journal begins with OPENED, and has one")
    if kind == Record.OPENED:
        opened = json.loads(content)
        if opened["magic"] != MAGIC or not isinstance(opened["spec"], dict):
            raise ValueError("another format")
        state.spec = opened["spec"]
    elif kind == Record.ENDED:
        ended = json.loads(content)
        state.ended, state.text = str(ended["state"]), str(ended["text"])
    elif kind == Record.REOPENED:
        state.ended = state.text = ""
        state.failed = Ranges()
    else:
        if len(content) % _PAIR.size:
            raise ValueError("half a pair")
        pairs = list(_PAIR.iter_unpack(content))
        if any(not 0 <= first <= last < MAX_INDEX for first, last in pairs):
            raise ValueError("no range")
        ranges = {DONE: state.done, TAKEN: state.taken, FAILED: state.failed}[kind]
        for first, last in pairs:
            ranges.add(first, last)


__all__ = ["DONE", "FAILED", "MAX_INDEX", "TAKEN", "JobState", "Record", "compact", "encode_ended", "encode_opened",
           "encode_reopened", "encode_units", "replay"]
