"""Packed structs of the RTL as Python dictionaries: layouts are read from the packages' sources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_RTL = Path(__file__).resolve().parents[3] / "shell_rtl/rtl"
_STRUCT = re.compile(r"typedef struct packed \{(.*?)\} (\w+);", re.S)
_FIELD = re.compile(r"(logic|etype_e)\s*((?:\[[^\]]+\]\s*)*)(\w+);")
_NAMES = {"FrameBytesBits": 14, "AddrBits": 34, "BlockBits": 18, "BeatBits": 11}

ETYPES = ("discovery", "image", "image_answer", "input", "input_answer", "control", "result")
"""Names of saf.yaml by number (etype_e); 7 is none."""


@cache
def layout(struct: str) -> tuple[tuple[str, int], ...]:
    """Fields of a struct of saf_shell_pkg and their widths, most significant first."""
    text = re.sub(r"//[^\n]*", "", (_RTL / "saf_shell_pkg.sv").read_text())
    body = next(body for body, name in _STRUCT.findall(text) if name == struct)
    return tuple((name, _width(kind, ranges)) for kind, ranges, name in _FIELD.findall(body))


def pack(struct: str, values: Mapping[str, int]) -> int:
    """The vector of a struct; fields that are not named are zero."""
    out = 0
    unknown = set(values) - {name for name, _ in layout(struct)}
    assert not unknown, f"{struct} has no {unknown}"
    for name, width in layout(struct):
        value = int(values.get(name, 0))
        assert 0 <= value < 1 << width, f"{struct}.{name} = {value} does not fit"
        out = out << width | value
    return out


def unpack(struct: str, vector: int) -> dict[str, int]:
    """The fields of a vector."""
    out = {}
    for name, width in reversed(layout(struct)):
        out[name] = vector & ((1 << width) - 1)
        vector >>= width
    return dict(reversed(out.items()))


def ethertypes(values: list[int]) -> int:
    """cfg_t's EtherTypes from a list by number."""
    return sum(value << 16 * i for i, value in enumerate(values))


def beats(raw: bytes) -> list[int]:
    """A frame as 64-bit beats, the last one zero-padded."""
    raw += bytes(-len(raw) % 8)
    return [int.from_bytes(raw[i:i + 8], "big") for i in range(0, len(raw), 8)]


def _width(kind: str, ranges: str) -> int:
    width = 3 if kind == "etype_e" else 1
    for high, low in re.findall(r"\[([^:\]]+):([^\]]+)\]", ranges):
        width *= _number(high) - _number(low) + 1
    return width


def _number(text: str) -> int:
    for name, value in _NAMES.items():
        text = text.replace(name, str(value))
    assert re.fullmatch(r"[\d+\- ]+", text), text
    return sum(int(part) for part in re.findall(r"[+-]?\d+", text.replace(" ", "")))
