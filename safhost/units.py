"""Small value types and unit parsing shared by every layer. Imports nothing of ours but errors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from safhost.errors import ConfigError

_SIZE = re.compile(r"^\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)
_RATE = re.compile(r"^\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(bits?|b)(?:/s|ps)?\s*$", re.IGNORECASE)
_TIME = re.compile(r"^\s*([0-9]*\.?[0-9]+)\s*(ns|us|µs|ms|s|m|h)?\s*$")
_PREFIX = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_TIME_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000,
            "h": 3_600_000_000_000}


@dataclass(frozen=True, slots=True, order=True)
class Mac:
    """A 48-bit IEEE 802 address; ``value`` is the address as an integer, first octet most significant."""

    value: int

    @classmethod
    def parse(cls, text: str) -> Mac:
        digits = re.sub(r"[:\-.]", "", text.strip())
        if not re.fullmatch(r"[0-9a-fA-F]{12}", digits):
            raise ConfigError(f"{text!r} is not a MAC address", "write it as 02:00:5a:00:00:01")
        return cls(int(digits, 16))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Mac:
        return cls(int.from_bytes(data[:6], "big"))

    def __bytes__(self) -> bytes:
        return self.value.to_bytes(6, "big")

    def __str__(self) -> str:
        h = f"{self.value:012x}"
        return ":".join(h[i:i + 2] for i in range(0, 12, 2))

    @property
    def is_multicast(self) -> bool:
        """Group bit (IEEE 802-2014 8.2.2): broadcast and multicast destinations."""
        return bool(self.value >> 40 & 1)


BROADCAST = Mac(0xFFFFFFFFFFFF)


def parse_bytes(text: str | int) -> int:
    """``97.4MB`` → 97400000, ``8GiB`` → 8589934592. Decimal prefixes are SI, ``i`` ones binary."""
    if isinstance(text, int):
        return text
    m = _SIZE.match(text)
    if not m:
        raise ConfigError(f"{text!r} is not a size", "write it as 97.4MB or 8GiB")
    number, prefix, binary = float(m[1]), m[2].lower(), bool(m[3])
    base = 1024.0 if binary else 1000.0
    return round(number * base ** _PREFIX[prefix])


def parse_rate(text: str | int) -> int:
    """Bytes per second: ``1Gbit`` (bits, as links are called) → 125000000, ``50MB`` → 50000000; int as it is."""
    if isinstance(text, int):
        return text
    m = _RATE.match(text)
    if not m:
        raise ConfigError(f"{text!r} is not a rate", "write it as 1Gbit, 100Mbit/s or 50MB/s")
    bits = float(m[1]) * 1000.0 ** _PREFIX[m[2].lower()] * (1 if m[3].lower().startswith("bit") else 8)
    return round(bits / 8)


def format_rate(bytes_per_s: float) -> str:
    """In bits, as links are called: ``1 Gbit/s``."""
    bits = bytes_per_s * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"):
        if bits < 1000 or unit == "Tbit/s":
            return f"{bits:.3g} {unit}"
        bits /= 1000
    raise AssertionError("unreachable")


def parse_ns(text: str | float) -> int:
    """``250ms`` → 250000000; a bare number is seconds."""
    if isinstance(text, int | float):
        return round(text * 1e9)
    m = _TIME.match(text)
    if not m:
        raise ConfigError(f"{text!r} is not a duration", "write it as 250ms or 10s")
    return round(float(m[1]) * _TIME_NS[m[2] or "s"])


def format_bytes(n: float) -> str:
    """Decimal units, three significant figures: ``97.4 MB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(n) < 1000 or unit == "TB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.3g} {unit}"
        n /= 1000
    raise AssertionError("unreachable")


def format_ns(ns: float) -> str:
    """``1.23 ms`` style; three significant figures."""
    for limit, div, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if abs(ns) < limit:
            return f"{ns / div:.3g} {unit}"
    return f"{ns / 1e9:.3g} s"
