from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safhost.errors import ConfigError
from safhost.serve.bins import Bins
from safhost.serve.quantise import Fixed, Plain, Policy, Scaled, Unfit, parse_fixed

FLOATS = st.one_of(st.floats(width=32), st.floats(-40, 40, width=32),
                   st.integers(-80000, 80000).map(lambda i: i / 2048))


def rounded(value: Fraction, how: str) -> int:
    """Exactly, one number at a time."""
    floor = math.floor(value)
    if how == "truncate":
        return floor
    if how == "nearest":
        return math.floor(value + Fraction(1, 2))
    return round(value)  # of a Fraction: halves to even


def expected(value: float, scale: Fraction, low: int, high: int, policy: Policy) -> int | None:
    """What the policy says; None for an error."""
    if math.isnan(value):
        return None if policy.nan == "error" else 0
    if math.isinf(value):
        return None if policy.overflow != "saturate" else high if value > 0 else low
    number = rounded(Fraction(value) * scale, policy.round)
    if low <= number <= high:
        return number
    if policy.overflow == "error":
        return None
    if policy.overflow == "saturate":
        return min(max(number, low), high)
    return (number - low) % (high - low + 1) + low


@settings(max_examples=300, deadline=None)
@given(values=st.lists(FLOATS, min_size=1, max_size=12), width=st.integers(1, 32), extra=st.integers(0, 12),
       signed=st.booleans(), rounding=st.sampled_from(["nearest", "even", "truncate"]),
       overflow=st.sampled_from(["saturate", "wrap", "error"]), nan=st.sampled_from(["error", "zero"]),
       kind=st.sampled_from(["f2", "f4", "f8"]))
@example([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], 8, 0, True, "nearest", "error", "error", "f4")
@example([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], 8, 0, True, "even", "error", "error", "f8")
@example([383.0, 384.0, -129.0, -128.0], 8, 0, True, "even", "wrap", "error", "f4")
@example([0.49999997], 16, 16, True, "nearest", "wrap", "error", "f4")
@example([8388609.0, -8388609.0], 32, 0, True, "nearest", "wrap", "error", "f4")
@example([3.4e38, -3.4e38, 1e30], 16, 10, True, "nearest", "wrap", "error", "f8")
def test_fixed_equals_exact_arithmetic(values: list[float], width: int, extra: int, signed: bool, rounding: str,
                                       overflow: str, nan: str, kind: str) -> None:
    integer = width - extra
    dtype = np.dtype(f"i{next(b for b in (1, 2, 4, 8) if b * 8 >= width)}") if signed else \
        np.dtype(f"u{next(b for b in (1, 2, 4, 8) if b * 8 >= width)}")
    policy = Policy(rounding, overflow, nan)
    codec = Fixed(width, integer, signed, dtype, policy)
    with np.errstate(over="ignore"):
        source = np.array([values], kind)
    want = [expected(float(v), Fraction(2) ** extra, codec.low, codec.high, policy) for v in source[0]]
    into = np.full((1, len(values) + 2), 77, dtype)
    if None in want:
        with pytest.raises(Unfit):
            codec.encode(source, into)
        return
    codec.encode(source, into)
    assert into.tolist() == [[*want, 0, 0]]
    back = codec.decode(into, len(values), np.dtype(np.float64))
    assert back.tolist() == [[w / 2.0 ** extra for w in want]]


@settings(max_examples=200, deadline=None)
@given(values=st.lists(FLOATS, min_size=1, max_size=12), scale=st.floats(2**-10, 4, width=32),
       zero=st.integers(-128, 127), overflow=st.sampled_from(["saturate", "error"]))
def test_scaled_equals_onnx_arithmetic(values: list[float], scale: float, zero: int, overflow: str) -> None:
    policy = Policy("even", overflow, "zero")
    codec = Scaled(scale, zero, np.dtype(np.int8), policy)
    source = np.array([values], np.float32)
    with np.errstate(over="ignore"):
        divided = [float(np.float32(v) / np.float32(scale)) for v in source[0]]
    want = []
    for given_value, value in zip(source[0], divided, strict=True):
        if math.isinf(value) and math.isfinite(given_value):  # the quotient itself is beyond float32
            number = None if overflow == "error" else (127 if value > 0 else -128) - zero
        else:
            number = expected(value, Fraction(1), -128 - zero, 127 - zero, policy)
        want.append(None if number is None else number + zero)
    into = np.zeros((1, len(values)), np.int8)
    if None in want:
        with pytest.raises(Unfit):
            codec.encode(source, into)
        return
    codec.encode(source, into)
    assert into.tolist() == [want]
    back = codec.decode(into, len(values), np.dtype(np.float32))
    assert back.tolist() == [[float(np.float32(w - zero) * np.float32(scale)) for w in want if w is not None]]


def test_encode_of_many_rows_equals_that_of_each() -> None:
    random = np.random.default_rng(11)
    source = (random.standard_normal((9000, 18)) * 20).astype(np.float32)  # several pieces, some values out of range
    for overflow in ("saturate", "wrap"):
        codec = Fixed(16, 6, True, np.dtype(np.uint16), Policy("truncate", overflow))
        whole = np.full((9000, 32), 5, np.uint16)
        codec.encode(source, whole)
        for row in (0, 1, 3639, 3640, 3641, 8999):
            one = np.empty((1, 32), np.uint16)
            codec.encode(source[row:row + 1], one)
            assert np.array_equal(one[0], whole[row])
        assert not whole[:, 18:].any()


def test_unfit_names_the_row() -> None:
    source = np.zeros((9000, 18), np.float32)
    into = np.zeros((9000, 18), np.int16)
    for value, policy, said in ((np.nan, Policy(), "NaN"), (np.inf, Policy(overflow="wrap"), "infinity"),
                                (40.0, Policy(overflow="error"), "40.0 does not fit ap_fixed<16,6>")):
        source[8123, 4] = value
        with pytest.raises(Unfit, match=said) as unfit:
            Fixed(16, 6, True, np.dtype(np.int16), policy).encode(source, into)
        assert unfit.value.row == 8123


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1 << 32), bits=st.sampled_from([1, 2, 4, 8]), features=st.integers(1, 9),
       rows=st.integers(1, 3), share=st.floats(0, 1))
def test_bins_equal_counting_of_edges(seed: int, bits: int, features: int, rows: int, share: float) -> None:
    random = np.random.default_rng(seed)
    count = max(1, round(share * ((1 << bits) - 1)))
    edges = np.sort(random.integers(-20, 20, (features, count)).astype(np.float32), axis=1)
    source = random.integers(-20, 20, (rows, features)).astype(np.float32)
    codec = Bins(edges, bits, np.dtype(np.uint8), Policy())
    into = np.full((rows, codec.lanes(features) + 1), 9, np.uint8)
    codec.encode(source, into)
    for row in range(rows):
        packed = int.from_bytes(into[row].tobytes(), "little")
        want = sum(sum(bool(source[row, f] >= e) for e in edges[f]) << (bits * f) for f in range(features))
        assert packed == want
    assert np.array_equal(codec.decode(into, features, np.dtype(np.int32)),
                          (source[:, :, None] >= edges).sum(axis=2))


def test_bins_that_are_numbers_already_are_checked() -> None:
    codec = Bins(None, 4, np.dtype(np.uint8), Policy())
    into = np.empty((1, 2), np.uint8)
    codec.encode(np.array([[1, 2, 15]], np.uint8), into)
    assert into.tolist() == [[0x21, 0x0F]]
    for wrong in (16, -1, 1.5, np.nan):
        with pytest.raises(Unfit):
            codec.encode(np.array([[1, 2, wrong]], np.float32), into)
    with pytest.raises(Unfit):
        Bins(np.zeros((3, 2), np.float32), 4, np.dtype(np.uint8), Policy()).encode(
            np.array([[1, 2, np.nan]], np.float32), into)


def test_plain_keeps_numbers_and_checks_ranges() -> None:
    into = np.full((2, 4), 9, np.int8)
    Plain(np.dtype(np.int8)).encode(np.array([[1, -128], [5, 127]], np.int32), into)
    assert into.tolist() == [[1, -128, 0, 0], [5, 127, 0, 0]]
    with pytest.raises(Unfit, match="128 does not fit int8"):
        Plain(np.dtype(np.int8)).encode(np.array([[0, 0], [128, 1]], np.int32), into)


def test_types_that_cannot_be_are_refused() -> None:
    assert parse_fixed("ap_ufixed<12, -3>") == (12, -3, False)
    assert parse_fixed("float32") is None
    policy = Policy()
    for make in (lambda: Fixed(33, 5, True, np.dtype(np.int64), policy),
                 lambda: Fixed(8, 9, True, np.dtype("i1"), policy),
                 lambda: Fixed(16, 6, True, np.dtype("i1"), policy),
                 lambda: Fixed(16, 6, True, np.dtype("f4"), policy),
                 lambda: Fixed(16, 6, False, np.dtype("i2"), policy), lambda: Scaled(0, 0, np.dtype("i1"), policy),
                 lambda: Scaled(1, 200, np.dtype("i1"), policy), lambda: Bins(None, 3, np.dtype("u1"), policy),
                 lambda: Bins(np.zeros((4, 16), "f4"), 4, np.dtype("u1"), policy),
                 lambda: Bins(np.array([[2, 1]], "f4"), 4, np.dtype("u1"), policy)):
        with pytest.raises(ConfigError):
            make()


def test_bins_of_many_rows_equal_those_of_each() -> None:
    random = np.random.default_rng(5)
    edges = np.sort(random.standard_normal((112, 15)).astype(np.float32), axis=1)
    source = random.standard_normal((1000, 112)).astype(np.float32)
    codec = Bins(edges, 4, np.dtype(np.uint8), Policy())
    into, one = np.empty((1000, 56), np.uint8), np.empty((1, 56), np.uint8)
    codec.encode(source, into)
    for row in (0, 291, 292, 293, 999):
        codec.encode(source[row:row + 1], one)
        assert np.array_equal(one[0], into[row])
    assert np.array_equal(codec.decode(into, 112, np.dtype(np.int64)), (source[:, :, None] >= edges).sum(axis=2))
