"""Large messages without copies: a message of protobuf is the concatenation of its fields, in any order of its parts.

So the tensors' bytes are left where they came, and protobuf parses the rest; an answer is what protobuf makes of the
rest, with the bytes behind it. See protobuf.dev, "Encoding": last one wins, embedded messages merge, repeated append.
"""

from __future__ import annotations

from collections.abc import Sequence

RAW_INPUT = 7 << 3 | 2  # ModelInferRequest.raw_input_contents
RAW_OUTPUT = 6 << 3 | 2  # ModelInferResponse.raw_output_contents
INFER_RESPONSE = 2 << 3 | 2  # ModelStreamInferResponse.infer_response
_NAME, _VERSION, _ID = 1 << 3 | 2, 2 << 3 | 2, 3 << 3 | 2  # ModelInferRequest.model_name, model_version, id
WORTH_BYTES = 1 << 14
"""Smaller messages are parsed as a whole: copying them costs less than looking for their parts."""


def split(data: bytes) -> tuple[bytes, list[memoryview]]:
    """A ModelInferRequest without its raw inputs, and these. What is malformed is left for protobuf to refuse."""
    view = memoryview(data)
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    at, begin, end = 0, 0, len(data)
    while at < end:
        start = at
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(data, at)
            if at + size > end:
                return data, []
            if tag == RAW_INPUT:
                raw.append(view[at:at + size])
                if begin < start:
                    rest.append(view[begin:start])
                begin = at + size
            at += size
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return data, []
    if at != end:
        return data, []
    rest.append(view[begin:])
    return b"".join(rest), raw


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next thing is; past the end when the number has no end."""
    value = shift = 0
    for index in range(at, min(at + 10, len(data))):
        byte = data[index]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, index + 1
        shift += 7
    return 0, len(data) + 1


def id_in(data: bytes) -> tuple[int, int, str] | None:
    """Where the id of a ModelInferRequest begins, with its tag, and ends, and the id. None when it has none, or none
    where protobuf's own writers put it, behind the model's name and version, or one of these is longer than 127 bytes,
    or when the id is no text, which is for protobuf to refuse."""
    at = 0
    try:
        for tag in (_NAME, _VERSION):
            if data[at] == tag:
                if data[at + 1] > 127:
                    return None
                at += 2 + data[at + 1]
        if data[at] == _ID and data[at + 1] < 128:
            end = at + 2 + data[at + 1]
            return at, end, data[at + 2:end].decode()
    except (IndexError, UnicodeDecodeError):  # it is shorter than that; it is no text
        return None
    return None


def length(value: int) -> bytes:
    """``value`` as a varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def with_raw(head: bytes, raw: Sequence[memoryview | bytes]) -> list[memoryview | bytes]:
    """The parts of a ModelInferResponse that is ``head`` with raw outputs."""
    parts: list[memoryview | bytes] = [head]
    for data in raw:
        parts.append(_RAW_OUTPUT + length(len(data)))
        parts.append(data)
    return parts


def in_stream(parts: Sequence[memoryview | bytes]) -> list[memoryview | bytes]:
    """The parts of a ModelStreamInferResponse around those of a ModelInferResponse."""
    return [around(sum(len(part) for part in parts)), *parts]


def around(size: int) -> bytes:
    """What comes before a ModelInferResponse of ``size`` bytes in a ModelStreamInferResponse."""
    return _INFER_RESPONSE + length(size)


_RAW_OUTPUT = bytes([RAW_OUTPUT])
_INFER_RESPONSE = bytes([INFER_RESPONSE])

__all__ = ["WORTH_BYTES", "around", "id_in", "in_stream", "length", "split", "with_raw"]
