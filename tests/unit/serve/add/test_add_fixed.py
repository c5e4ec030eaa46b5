"""Types as HLS writes them, against exact fractions."""

import random
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from safhost.errors import ConfigError
from safhost.serve.add.fixed import ApFixed, parse_type


def exact(value, kind):
    """``value`` (a Fraction) as C++ converts it to ``kind``, by the book (UG1399)."""
    scaled = value * Fraction(2) ** kind.fraction
    if kind.rounding == "TRN":
        raw = floor(scaled)
    elif kind.rounding == "RND":
        raw = floor(scaled + Fraction(1, 2))
    else:
        raw = round(scaled)
    if kind.overflow == "SAT":
        return max(kind.low, min(kind.high, raw))
    return (raw - kind.low) % (1 << kind.width) + kind.low


@pytest.mark.parametrize("seed", range(20))
def test_cast_equals_exact_arithmetic(seed):
    rng = random.Random(seed)
    kind = ApFixed(rng.randint(1, 24), rng.randint(-4, 20), rng.random() < 0.7, rng.choice(["TRN", "RND", "RND_CONV"]),
                   rng.choice(["WRAP", "SAT"]))
    for fraction in (kind.fraction - 3, kind.fraction, kind.fraction + 1, kind.fraction + 9):
        raws = [rng.randint(-1 << 30, 1 << 30) for _ in range(200)] + list(range(-600, 600))
        expected = [exact(Fraction(raw) / Fraction(2) ** fraction, kind) for raw in raws]
        assert kind.cast(np.array(raws), fraction).tolist() == expected, (seed, kind, fraction)


@pytest.mark.parametrize("seed", range(10))
def test_from_float_equals_exact_arithmetic(seed):
    rng = random.Random(seed)
    kind = ApFixed(16, 6, True, rng.choice(["TRN", "RND", "RND_CONV"]), rng.choice(["WRAP", "SAT"]))
    values = [rng.gauss(0, 30) for _ in range(300)] + [k / 2048 for k in range(-300, 300)]
    assert kind.from_float(np.array(values)).tolist() == [exact(Fraction(v), kind) for v in values], seed


@pytest.mark.parametrize(("text", "kind"), [
    ("ap_fixed<16,6>", ApFixed(16, 6)), ("ap_ufixed< 8 , 1 , AP_RND, AP_SAT, 0>", ApFixed(8, 1, False, "RND", "SAT")),
    ("fixed<16,6,TRN,WRAP,0>", ApFixed(16, 6)), ("ap_int<8>", ApFixed(8, 8)), ("ap_uint<1>", ApFixed(1, 1, False)),
    ("ap_fixed<18,-2,AP_RND_CONV>", ApFixed(18, -2, True, "RND_CONV"))])
def test_types_are_read_and_written(text, kind):
    assert parse_type(text) == kind
    assert parse_type(str(kind)) == kind


@pytest.mark.parametrize(("text", "said"), [
    ("float", "not a fixed-point type"), ("ap_fixed<16>", "to be numbers"), ("ap_fixed<a,b>", "have to be numbers"),
    ("ap_fixed<63,6>", "1 to 62 bits"), ("ap_ufixed<62,6>", "unsigned: 61"), ("ap_fixed<0,0>", "1 to 62 bits"),
    ("ap_fixed<16,6,AP_TRN_ZERO>", "modes are not supported"), ("ap_fixed<16,6,AP_RND,AP_SAT_SYM>", "modes"),
    ("ap_fixed<16,6,AP_RND,AP_WRAP,2>", "modes"), ("ap_fixed<16,90>", "1 to 62 bits")])
def test_types_that_are_not_understood_are_named(text, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_type(text)
    assert text in error.value.message


def test_nan_and_infinity_are_no_fixed_point_numbers():
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ConfigError, match="NaN or infinity"):
            ApFixed(16, 6).from_float(np.array([value]))
