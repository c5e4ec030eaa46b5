"""Numbers of clients to numbers of cards and back: fixed point and scaled integers. Vectorised. Bins: `bins`.

A codec encodes rows of a tensor straight into the memory from which they travel, and decodes what a card wrote. In the
usual case, no value out of range, encoding is a multiplication, a rounding, a minimum, a maximum and a cast over pieces
that stay in the cache; only pieces with such values are looked at again.

- Fixed point is that of AP types (AMD UG1399, "Arbitrary precision fixed-point data types"): ``ap_fixed<W,I>`` has W
  bits, I of them before the point; truncate is AP_TRN, nearest AP_RND (halves go up), even AP_RND_CONV; wrap is
  AP_WRAP, saturate AP_SAT. The integer of W bits lies sign-extended in the argument's type.
- Scaled integers are those of ONNX's QuantizeLinear: round(x / scale) + zero_point, halves to even, in float32.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError

ROUNDS = ("nearest", "even", "truncate")
OVERFLOWS = ("saturate", "wrap", "error")
NANS = ("error", "zero", "highest")
MAX_FIXED_BITS = 32
MAX_FRACTION_BITS = 64
PIECE = 1 << 16  # elements that are worked on at once: their floats fit a second-level cache
_FIXED = re.compile(r"ap_(u?)fixed\s*<\s*(\d+)\s*,\s*(-?\d+)\s*>\Z")

Array = NDArray[Any]
Scale = Callable[[Array, Array], None]  # scales a piece into an array of floats


class Unfit(Exception):
    """A value that the declared policy does not let pass. ``row`` of the tensor, and why."""

    def __init__(self, row: int, why: str) -> None:
        super().__init__(why)
        self.row = row
        self.why = why


class Policy(NamedTuple):
    """What happens to values that do not fit. Infinities saturate; with wrap they are errors: they have no low bits."""

    round: str = "nearest"
    overflow: str = "saturate"
    nan: str = "error"


class Codec(Protocol):
    """Between rows of a tensor and lanes of an argument."""

    def lanes(self, elements: int) -> int:
        """Lanes that a row of ``elements`` takes at least."""

    def encode(self, source: Array, into: Array) -> None:
        """(rows, elements) into (rows, lanes), all of it: lanes beyond the elements become zero. Raises Unfit."""

    def decode(self, source: Array, elements: int, dtype: np.dtype[Any]) -> Array:
        """(rows, lanes) as a new array (rows, elements) of ``dtype``."""


class Plain:
    """The same numbers; another type only where it holds every value (checked)."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def lanes(self, elements: int) -> int:
        return elements

    def encode(self, source: Array, into: Array) -> None:
        width = source.shape[1]
        if width != into.shape[1]:
            into.fill(0)
            into = into[:, :width]
        if self.dtype.kind in "iu" and source.dtype != self.dtype and source.dtype.kind in "iu" and source.size:
            _check_range(source, self.dtype)
        np.copyto(into, source, casting="unsafe")

    def decode(self, source: Array, elements: int, dtype: np.dtype[Any]) -> Array:
        return source[:, :elements].astype(dtype)


def _check_range(source: Array, dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    if int(source.min()) < limits.min or int(source.max()) > limits.max:
        row, value = first_of(source, (source < limits.min) | (source > limits.max))
        raise Unfit(row, f"{value} does not fit {dtype.name}")


class Fixed:
    """``ap_fixed<W,I>``, or ``ap_ufixed<W,I>`` without a sign. Raises ConfigError when ``dtype`` is too narrow."""

    def __init__(self, width: int, integer: int, signed: bool, dtype: np.dtype[Any], policy: Policy) -> None:
        self.name = f"ap_{'' if signed else 'u'}fixed<{width},{integer}>"
        self.fraction = width - integer
        if not 1 <= width <= MAX_FIXED_BITS or not 0 <= self.fraction <= MAX_FRACTION_BITS:
            raise ConfigError(f"{self.name} is not supported", f"W from 1 to {MAX_FIXED_BITS}, I from W - "
                              f"{MAX_FRACTION_BITS} to W")
        if dtype.kind not in "iu" or dtype.itemsize * 8 < width:
            raise ConfigError(f"{self.name} does not fit an argument of {dtype.name}", "give it an integer type of at "
                              f"least {width} bits")
        if not signed and dtype.kind == "i" and dtype.itemsize * 8 == width:
            raise ConfigError(f"{self.name} does not fit an argument of {dtype.name}", f"u{dtype.name} holds it")
        self.width, self.signed, self.policy = width, signed, policy
        self.low = -(1 << (width - 1)) if signed else 0
        self.high = (1 << (width - 1)) - 1 if signed else (1 << width) - 1
        # what is stored is two's complement of the argument's width, whether it has a sign there or not
        self.dtype = np.dtype(f"{'i' if signed else 'u'}{dtype.itemsize}")
        self._rounding = _Rounding(policy.round, self.low, self.high, self.name, policy)

    def lanes(self, elements: int) -> int:
        return elements

    def encode(self, source: Array, into: Array) -> None:
        work = np.dtype(np.float32) if self.width <= 24 and source.dtype in (np.float32, np.float16) else \
            np.dtype(np.float64)
        factor = work.type(2.0 ** self.fraction)

        def scale(piece: Array, out: Array) -> None:
            np.multiply(piece, factor, out=out, dtype=work, casting="unsafe")
        self._rounding.encode(source, into.view(self.dtype), work, scale)

    def decode(self, source: Array, elements: int, dtype: np.dtype[Any]) -> Array:
        numbers = source.view(self.dtype)[:, :elements]
        out: Array = np.empty(numbers.shape, dtype)
        factor = 2.0 ** -self.fraction
        if dtype == np.float32 and self.dtype.itemsize <= 2:
            np.multiply(numbers, np.float32(factor), out=out)
        else:
            np.multiply(numbers, factor, out=out, casting="unsafe", dtype=np.float64)
        return out


class Scaled:
    """round(x / scale) + zero_point in ``dtype``, as ONNX's QuantizeLinear; back as its DequantizeLinear."""

    def __init__(self, scale: float, zero_point: int, dtype: np.dtype[Any], policy: Policy) -> None:
        if dtype.kind not in "iu" or dtype.itemsize > 4:
            raise ConfigError(f"scale and zero_point with an argument of {dtype.name}",
                              "they need an integer type of up to 32 bits")
        self.scale = np.float32(scale)
        if not (self.scale > 0 and np.isfinite(self.scale)):
            raise ConfigError(f"scale is {scale}", "give a positive number")
        limits = np.iinfo(dtype)
        if not limits.min <= zero_point <= limits.max:
            raise ConfigError(f"zero_point {zero_point} does not fit {dtype.name}")
        self.zero_point = zero_point
        self.dtype = dtype
        name = f"{dtype.name} of scale {scale:g} and zero point {zero_point}"
        self._rounding = _Rounding(policy.round, limits.min - zero_point, limits.max - zero_point, name, policy,
                                   zero_point)
        if policy.overflow == "wrap":
            raise ConfigError("overflow: wrap goes with ap_fixed only", "use saturate or error")

    def lanes(self, elements: int) -> int:
        return elements

    def encode(self, source: Array, into: Array) -> None:
        work = np.dtype(np.float32) if self.dtype.itemsize <= 2 else np.dtype(np.float64)

        def scale(piece: Array, out: Array) -> None:
            np.divide(piece, self.scale, out=out, dtype=np.float32, casting="unsafe")
        self._rounding.encode(source, into, work, scale)

    def decode(self, source: Array, elements: int, dtype: np.dtype[Any]) -> Array:
        numbers = source[:, :elements]
        if self.dtype.itemsize <= 2:
            out: Array = numbers.astype(np.float32)
            if self.zero_point:
                out -= np.float32(self.zero_point)
        else:
            out = (numbers.astype(np.int64) - self.zero_point).astype(np.float32)
        out *= self.scale
        return out.astype(dtype, copy=False)


class _Rounding:
    """From scaled floats to integers within limits, in pieces."""

    def __init__(self, rounding: str, low: int, high: int, name: str, policy: Policy, zero_point: int = 0) -> None:
        self._round = rounding
        self.low, self.high = low, high
        self.name = name
        self.policy = policy
        self.zero_point = zero_point

    def encode(self, source: Array, into: Array, work: np.dtype[Any], scale: Scale) -> None:
        rows, width = source.shape
        if width != into.shape[1]:
            into.fill(0)  # cheaper than the padding alone, which is strided
            into = into[:, :width]
        if not source.size:
            return
        step = max(1, PIECE // width)
        for at in range(0, rows, step):
            piece = source[at:at + step]
            self._piece(piece, into[at:at + step], work, scale, at)

    def _piece(self, piece: Array, into: Array, work: np.dtype[Any], scale: Scale, at: int) -> None:
        scaled, spare = _scratch(piece.shape, work)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            scale(piece, scaled)
            if self._round == "truncate":
                np.floor(scaled, out=scaled)
            elif self._round == "even":
                np.rint(scaled, out=scaled)
            else:
                floor = np.floor(scaled, out=spare)
                np.subtract(scaled, floor, out=scaled)
                np.add(floor, np.greater_equal(scaled, 0.5), out=scaled)  # a sum with 0.5 would itself be rounded
            least, most = scaled.min(), scaled.max()
            if not (least >= self.low and most <= self.high):  # NaN among them: neither holds
                self._out_of_range(piece, scaled, into, at)
                return
            if self.zero_point:
                scaled += work.type(self.zero_point)
            np.copyto(into, scaled, casting="unsafe")

    def _out_of_range(self, piece: Array, scaled: Array, into: Array, at: int) -> None:
        nan = np.isnan(piece)
        if nan.any():
            if self.policy.nan == "error":
                raise Unfit(at + first_of(piece, nan)[0], "it holds NaN")
            piece = np.where(nan, piece.dtype.type(0), piece)
            scaled[nan] = 0
        infinite = np.isinf(piece)
        beyond = (scaled < self.low) | (scaled > self.high)
        if self.policy.overflow == "error" and beyond.any():
            row, value = first_of(piece, beyond)
            raise Unfit(at + row, f"{value} does not fit {self.name}")
        if self.policy.overflow == "wrap" and infinite.any():
            raise Unfit(at + first_of(piece, infinite)[0], f"an infinity has no place in {self.name} that wraps")
        if self.policy.overflow == "wrap":
            self._wrap(scaled)
        else:
            np.clip(scaled, self.low, self.high, out=scaled)
        if self.zero_point:
            scaled += self.zero_point
        np.copyto(into, scaled, casting="unsafe")

    def _wrap(self, scaled: Array) -> None:
        """Keep the low bits, exactly: all of it is with powers of two, and no step has more bits than before."""
        modulus = scaled.dtype.type(2.0 ** (self.high - self.low).bit_length())
        scaled[np.isinf(scaled)] = 0  # finite, but so large that its low bits are zero
        scaled -= np.floor(scaled / modulus) * modulus
        np.subtract(scaled, modulus, out=scaled, where=scaled > self.high)


def parse_fixed(text: str) -> tuple[int, int, bool] | None:
    """(W, I, signed) of "ap_fixed<W,I>" or "ap_ufixed<W,I>"; None for anything else."""
    match = _FIXED.match(text.strip())
    return None if match is None else (int(match[2]), int(match[3]), not match[1])


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.one = np.empty(PIECE * 2, np.float32)
        self.two = np.empty(PIECE * 2, np.float32)


_local = _Scratch()


def _scratch(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    count = shape[0] * shape[1]
    if count > PIECE:  # one row that is longer
        return np.empty(shape, dtype), np.empty(shape, dtype)
    return tuple(part.view(dtype)[:count].reshape(shape) for part in (_local.one, _local.two))  # type: ignore[return-value]


def first_of(values: Array, mask: Array) -> tuple[int, Any]:
    """(row, value) of the first that ``mask`` marks."""
    at = int(np.argmax(mask.reshape(-1)))
    return at // values.shape[1], values.reshape(-1)[at].item()


__all__ = ["NANS", "OVERFLOWS", "ROUNDS", "Codec", "Fixed", "Plain", "Policy", "Scaled", "Unfit", "first_of",
           "parse_fixed"]
