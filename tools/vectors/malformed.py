"""Frames dropped for what they are, whatever the receiver's state. Each is one change from a good one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safhost.wire import generated as g
from safhost.wire.codec import MIN_FRAME_BYTES
from tools.vectors.frames import CODEC, control_frame, data_frames
from tools.vectors.parties import sample

_DOC = ("Frames dropped without looking at any state. `way` is the direction the receiver expects, "
        "`max_bytes` the longest frame it takes, `drop` the reason counted. Each is one change away from a "
        "frame that is taken. `kind` says whether the opcode field is that of DATA.")
_MAX_BYTES = 1514


def patched(frame: bytes, at: int, new: bytes) -> bytes:
    """``frame`` with ``new`` put over the bytes from ``at`` on."""
    return frame[:at] + new + frame[at + len(new):]


def _control() -> Iterator[tuple[str, bytes, str, str]]:
    poll = control_frame(g.Opcode.POLL, g.Poll(0).pack(), 1, object=9, index=1)
    plain = control_frame(g.Opcode.POLL, g.Poll(0).pack(), 0, object=9, index=1)
    run = control_frame(g.Opcode.RUN, sample(g.Run, arguments=bytes(13)).pack(), 1, object=1, index=1)
    ready = control_frame(g.Opcode.READY, sample(g.Ready).pack(), 1, object=9)
    hello = control_frame(g.Opcode.HELLO, sample(g.Hello).pack(), 0)
    group = control_frame(g.Opcode.GROUP, g.Group(0x20, 0, 0, 0, b"").pack(), 0)
    yield "empty", b"", "h2c", "truncated"
    yield "ethernet_header_only", poll[:14], "h2c", "truncated"
    yield "header_short_by_one", poll[:39], "h2c", "truncated"
    yield "header_only", poll[:40], "h2c", "truncated"
    yield "payload_short_by_one", plain[:47], "h2c", "truncated"
    yield "tag_missing", poll[:-16], "h2c", "truncated"
    yield "tag_short_by_one", poll[:-1], "h2c", "truncated"
    yield "tail_padding_missing", patched(run[:-16], 14, b"\x10")[:-1], "h2c", "truncated"
    yield "oversized_by_one", run + bytes(_MAX_BYTES + 1 - len(run)), "h2c", "oversized"
    yield "oversized_by_hundreds", run + bytes(1900), "h2c", "oversized"
    yield "version_0", patched(poll, 14, b"\x01"), "h2c", "bad_version"
    yield "version_2", patched(poll, 14, b"\x21"), "h2c", "bad_version"
    yield "suite_2", patched(poll, 14, b"\x12"), "h2c", "bad_suite"
    yield "suite_15", patched(poll, 14, b"\x1f"), "h2c", "bad_suite"
    yield "opcode_0", patched(poll, 15, b"\0"), "h2c", "unknown_opcode"
    yield "opcode_ff", patched(poll, 15, b"\xff"), "h2c", "unknown_opcode"
    yield "opcode_of_another_ethertype", patched(poll, 12, b"\x80\xcc"), "h2c", "wrong_ethertype"
    yield "ethertype_not_ours", patched(poll, 12, b"\x08\x00"), "h2c", "wrong_ethertype"
    yield "answer_on_request_ethertype", patched(ready, 12, b"\x80\xaa"), "c2h", "wrong_ethertype"
    yield "answer_sent_to_card", ready, "h2c", "wrong_direction"
    yield "request_sent_to_host", poll, "c2h", "wrong_direction"
    yield "hello_sent_to_card", hello, "h2c", "wrong_direction"
    yield "length_zero", patched(poll, 20, b"\0\0"), "h2c", "lying_length"
    yield "length_short_by_one", patched(poll, 20, b"\0\x07"), "h2c", "lying_length"
    yield "length_long_by_one", patched(poll, 20, b"\0\x09"), "h2c", "lying_length"
    yield "length_past_the_end", patched(run, 20, b"\x04\0"), "h2c", "truncated"
    yield "length_largest", patched(run, 20, b"\xff\xff"), "h2c", "truncated"
    yield "length_below_fixed_part", patched(run, 20, b"\0\x37"), "h2c", "lying_length"
    yield "length_leaves_bytes_over", patched(run, 20, b"\0\x38"), "h2c", "lying_length"
    yield "bytes_behind_tag", run + b"\0", "h2c", "lying_length"
    yield "padded_past_minimum", poll + bytes(MIN_FRAME_BYTES + 5 - len(poll)), "h2c", "lying_length"
    yield "group_short_of_fixed_part", patched(group, 20, b"\0\x07"), "h2c", "lying_length"


def _data() -> Iterator[tuple[str, bytes, str, str]]:
    frames = {name: frame for name, _way, _key, frame in data_frames()}
    first = frames["data_first_block"]
    yield "data_header_only", first[:40], "h2c", "truncated"
    yield "data_short_by_one", first[:-1], "h2c", "truncated"
    yield "data_length_past_the_end", patched(first, 20, b"\xff\xff"), "h2c", "truncated"
    yield "data_version_0", patched(first, 14, b"\0"), "h2c", "bad_version"
    yield "data_version_15", patched(first, 14, b"\xf0"), "h2c", "bad_version"
    yield "data_suite_1", patched(first, 14, b"\x11"), "h2c", "bad_suite"
    yield "data_guarded_without_block", frames["data_guarded"][:40], "h2c", "truncated"


def build() -> dict[str, Any]:
    """Content of malformed.json."""
    entries = []
    for kind, cases in (("control", _control()), ("data", _data())):
        for name, frame, way, drop in cases:
            if kind == "control":
                found = CODEC.parse(frame, way, _MAX_BYTES)
                if not isinstance(found, g.DropReason) or found.name.lower() != drop:
                    raise ValueError(f"{name}: {found!r:.80} instead of {drop}")
            entries.append({"name": name, "kind": kind, "way": way, "max_bytes": _MAX_BYTES, "drop": drop,
                            "hex": frame.hex()})
    return {"doc": _DOC, "frames": entries}
