"""Fixed-point types as HLS tools write them, and exact arithmetic on them with numpy integers.

``ap_fixed<W, I, Q, O>`` has W bits, I of them before the point (the sign among them), quantisation mode Q and overflow
mode O (AMD UG1399, "Arbitrary Precision Fixed-Point Data Types"). A value is held as an int64 array of raw integers,
value = raw / 2**(W - I).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError

Raw = NDArray[np.int64]

MAX_WIDTH = 62
"""Widest type that is taken (61 bits unsigned): values are computed in signed integers of 64 bits."""

ROUNDINGS = ("TRN", "RND", "RND_CONV")
OVERFLOWS = ("WRAP", "SAT")

_TEXT = re.compile(r"(?:ap_)?(u?)(fixed|int)\s*<([^<>]*)>\Z")


@dataclass(frozen=True, slots=True)
class ApFixed:
    """One type. ``integer`` may be negative or exceed ``width``, as in HLS."""

    width: int
    integer: int
    signed: bool = True
    rounding: str = "TRN"
    overflow: str = "WRAP"

    @property
    def fraction(self) -> int:
        """Bits behind the point."""
        return self.width - self.integer

    @property
    def low(self) -> int:
        """Smallest raw value."""
        return -(1 << self.width - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest raw value."""
        return (1 << self.width - self.signed) - 1

    @property
    def is_plain(self) -> bool:
        """Truncates and wraps, as types do that name no modes: then sums may be taken in any order."""
        return (self.rounding, self.overflow) == ("TRN", "WRAP")

    @property
    def container_bits(self) -> int:
        """Bits of the smallest signed integer, of 16, 32 or 64 bits, that holds every value."""
        bits = self.width + (not self.signed)
        return 16 if bits <= 16 else 32 if bits <= 32 else 64

    def __str__(self) -> str:
        modes = "" if self.is_plain else f",AP_{self.rounding},AP_{self.overflow}"
        return f"ap_{'' if self.signed else 'u'}fixed<{self.width},{self.integer}{modes}>"

    def to_float(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Values of raw integers."""
        return np.asarray(raw, np.float64) / 2.0**self.fraction

    def from_float(self, values: NDArray[Any]) -> Raw:
        """Raw integers of ``values`` under this type's modes, as C++ converts a double. Raises ConfigError for NaN and
        infinities."""
        values = np.asarray(values, np.float64)
        if not np.isfinite(values).all():
            raise ConfigError(f"NaN or infinity cannot be an {self}", "check the weights")
        scaled = np.clip(values * 2.0**self.fraction, -2.0**62, 2.0**62)  # a scale by a power of two is exact
        if self.rounding == "TRN":
            rounded = np.floor(scaled)
        elif self.rounding == "RND":
            rounded = np.floor(scaled + 0.5)
        else:
            rounded = np.rint(scaled)
        return self.fit(rounded.astype(np.int64))

    def cast(self, raw: NDArray[Any], fraction: int) -> Raw:
        """Raw integers of this type from raw ones with ``fraction`` bits behind the point: round, then overflow."""
        raw = np.asarray(raw, np.int64)
        down = fraction - self.fraction
        if down <= 0:
            return self.fit(raw << np.int64(-down))
        if self.rounding == "RND":
            raw = raw + (1 << down - 1)
        elif self.rounding == "RND_CONV":
            raw = raw + ((1 << down - 1) - 1) + ((raw >> down) & 1)
        return self.fit(raw >> np.int64(down))

    def fit(self, raw: Raw) -> Raw:
        """Raw integers brought into range: wrapped, or clipped."""
        if self.overflow == "SAT":
            return np.clip(raw, self.low, self.high)
        modulus = np.int64(1) << self.width
        wrapped = raw & (modulus - 1)
        return np.where(wrapped > self.high, wrapped - modulus, wrapped)


def parse_type(text: str) -> ApFixed:
    """``ap_fixed<16,6>``, ``ap_ufixed<8,1,AP_RND,AP_SAT,0>``, ``ap_int<8>``, ``fixed<16,6,TRN,WRAP,0>``: with ``ap_``
    and ``AP_`` or without. Raises :class:`ConfigError` that says what is not understood."""
    match = _TEXT.fullmatch(text.strip())
    fields = [f.strip() for f in match[3].split(",")] if match else []
    hint = "such as ap_fixed<16,6> or ap_ufixed<8,1,AP_RND,AP_SAT>"
    if match is None or not 1 <= len(fields) <= 5 or (match[2] == "int" and len(fields) > 1):
        raise ConfigError(f"{text!r} is not a fixed-point type", hint)
    numbers = fields[:2] if match[2] == "fixed" else [fields[0], fields[0]]
    if len(numbers) < 2 or not all(re.fullmatch(r"-?\d{1,3}", n) for n in numbers):
        raise ConfigError(f"{text!r}: width and integer bits have to be numbers", hint)
    width, integer = int(numbers[0]), int(numbers[1])
    signed = match[1] == ""
    if not 1 <= width <= MAX_WIDTH - (not signed) or abs(width - integer) > MAX_WIDTH:
        raise ConfigError(f"{text!r}: types of 1 to {MAX_WIDTH} bits are supported (unsigned: {MAX_WIDTH - 1})",
                          "use a narrower type")
    modes = [f.removeprefix("AP_") for f in fields[2:4]]
    rounding = modes[0] if modes else "TRN"
    overflow = modes[1] if len(modes) > 1 else "WRAP"
    if rounding not in ROUNDINGS or overflow not in OVERFLOWS or fields[4:] not in ([], ["0"]):
        raise ConfigError(f"{text!r}: these modes are not supported",
                          f"AP_{', AP_'.join(ROUNDINGS)} and AP_{', AP_'.join(OVERFLOWS)} are")
    return ApFixed(width, integer, signed, rounding, overflow)
