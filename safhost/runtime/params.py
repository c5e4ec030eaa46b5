"""Parameters of requests, taken one by one: whatever a client sends is the right kind and in range, or named.

All raise LocalProtocolError, which says which parameter and what it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safhost.errors import LocalProtocolError

Params = Mapping[str, Any]
U16, U32, U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
MAX_SECONDS = 30 * 86400.0
_HINT = "client and daemon differ in version? restart the daemon"


def bad(name: str, value: object, wanted: str) -> LocalProtocolError:
    """The error of a parameter that is not what it has to be."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return LocalProtocolError(f"bad parameter {name}: {shown} is not {wanted}", _HINT)


def given(p: Params, name: str) -> Any:
    """A parameter that must be there."""
    if name not in p:
        raise LocalProtocolError(f"bad parameters: {name} is missing", _HINT)
    return p[name]


def integer(p: Params, name: str, high: int, low: int = 0, default: int | None = None) -> int:
    """A whole number from ``low`` to ``high``."""
    value = given(p, name) if default is None else p.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise bad(name, value, f"a whole number from {low} to {high}")
    return value


def flag(p: Params, name: str, default: bool) -> bool:
    value = p.get(name, default)
    if type(value) is not bool:
        raise bad(name, value, "true or false")
    return value


def text(p: Params, name: str) -> str:
    value = given(p, name)
    if not isinstance(value, str) or not value:
        raise bad(name, value, "a text")
    return value


def nanoseconds(p: Params, name: str, default_s: float, high_s: float = MAX_SECONDS) -> int:
    """A time given in seconds."""
    value = p.get(name, default_s)
    if type(value) not in (int, float) or not 0 <= value <= high_s:  # which no NaN is
        raise bad(name, value, f"a time from 0 to {high_s:g} s")
    return int(value * 1e9)


def hex_bytes(p: Params, name: str, default: str | None = None, length: int | None = None,
              most: int | None = None) -> bytes:
    """Bytes as hexadecimal digits; ``length`` of them, or at most ``most``."""
    value = given(p, name) if default is None else p.get(name, default)
    try:
        found = bytes.fromhex(value)
    except (TypeError, ValueError):
        raise bad(name, value, "hexadecimal") from None
    if length is not None and len(found) != length:
        raise bad(name, value, f"{length} bytes in hexadecimal")
    if most is not None and len(found) > most:
        raise LocalProtocolError(f"{name} has {len(found)} bytes, a command has room for {most}",
                                 "pass large values in a buffer")
    return found


def selector(p: Params, name: str = "cards") -> str | list[str] | None:
    """Cards as people name them; None for all."""
    value = p.get(name)
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise bad(name, value, "a selector, or a list of them")
    return value


def work_sizes(p: Params, name: str, default: int) -> tuple[int, int, int]:
    """Up to three work sizes, filled up with ``default``."""
    value = p.get(name)
    if value is None:
        return default, default, default
    if not isinstance(value, list) or len(value) > 3 or any(type(v) is not int or not 0 <= v <= U32 for v in value):
        raise bad(name, value, "up to three work sizes")
    items = value + [default] * (3 - len(value))
    return items[0], items[1], items[2]


def ranges(p: Params, name: str, within_bytes: int) -> list[tuple[int, int]]:
    """(offset, length) pairs inside ``within_bytes``."""
    value = given(p, name)
    if not isinstance(value, list):
        raise bad(name, value, "a list of ranges")
    found = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2 or any(type(v) is not int for v in item):
            raise bad(name, item, "an offset and a length")
        offset, length = item
        if offset < 0 or length < 1 or offset + length > within_bytes:
            raise bad(name, item, f"inside the unit's {within_bytes} bytes of memory")
        found.append((offset, length))
    return found


def relocations(p: Params, arguments: bytes, within_bytes: int) -> tuple[int, ...]:
    """Offsets of 64-bit pointers in ``arguments``; each points into ``within_bytes``."""
    value = given(p, "relocations")
    if not isinstance(value, list):
        raise bad("relocations", value, "a list of offsets")
    for at in value:
        if type(at) is not int or not 0 <= at <= len(arguments) - 8:
            raise bad("relocations", at, f"the offset of a pointer in {len(arguments)} bytes of arguments")
        if int.from_bytes(arguments[at:at + 8], "little") > within_bytes:
            raise bad("relocations", at, f"the offset of a pointer into the unit's {within_bytes} bytes of memory")
    return tuple(value)


def number(p: Params, name: str, default: float, low: float, high: float) -> float:
    """A number from ``low`` to ``high``."""
    value = p.get(name, default)
    if type(value) not in (int, float) or not low <= value <= high:
        raise bad(name, value, f"a number from {low:g} to {high:g}")
    return float(value)


def index_ranges(p: Params, name: str, high: int) -> list[tuple[int, int]]:
    """Ranges first … last (both inclusive) of whole numbers up to ``high``."""
    value = given(p, name)
    if not isinstance(value, list):
        raise bad(name, value, "a list of ranges")
    found = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2 or any(type(v) is not int for v in item) \
                or not 0 <= item[0] <= item[1] <= high:
            raise bad(name, item, "first and last of a range")
        found.append((item[0], item[1]))
    return found
