"""Activations that hls4ml looks up in tables: sigmoid, tanh, softplus, softsign, softmax (nnet_activation.h).

Tables are filled here as its C++ fills them: in float, with the C library's functions, then converted to the table's
type. They depend on types and sizes alone.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from safhost.errors import ConfigError
from safhost.serve.add.fixed import ApFixed, Raw
from safhost.serve.add.network_layer import OneForOne

F = np.float32


def _libm(name: str, value: float) -> float:
    """A function of the C library on float: its last bit may decide on which side of a step an entry falls."""
    function = getattr(ctypes.CDLL(None), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return float(function(value))


def _sigmoid(x: float) -> float:
    return 1.0 / float(F(1) + F(_libm("expf", -x)))


def _softplus(x: float) -> float:
    return math.log(_libm("expf", x) + 1.0)


CURVES: dict[str, tuple[Callable[[float], float], int]] = {
    "sigmoid": (_sigmoid, 16), "tanh": (math.tanh, 8), "softplus": (_softplus, 16),
    "softsign": (lambda x: x / (abs(x) + 1.0), 16)}
"""Functions by name, and the span of arguments that their tables cover, half of it below zero."""


@dataclass(frozen=True, slots=True)
class Table(OneForOne):
    """``table`` raw of ``result_type``, over ``span`` from -span / 2 on."""

    name: str
    kind: str
    n_in: int
    data_type: ApFixed
    result_type: ApFixed
    table: Raw
    span: int

    def run(self, rows: Raw) -> Raw:
        size, fraction = len(self.table), self.data_type.fraction
        up, down = size * 2 ** max(0, -fraction), self.span * 2 ** max(0, fraction)
        toward_zero = np.sign(rows) * (np.abs(rows) * up // down)
        found: Raw = self.table[np.clip(toward_zero + size // 2, 0, size - 1)]
        return found


def make_table(name: str, kind: str, n_in: int, data: ApFixed, result: ApFixed, table_type: ApFixed,
               size: int) -> Table:
    """The table of one of :data:`CURVES` with ``size`` entries."""
    curve, span = CURVES[kind]
    arguments = [float(F(span * (i - size / 2) / size)) for i in range(size)]
    values = table_type.from_float(np.array([F(curve(x)) for x in arguments], np.float64))
    return Table(name, kind, n_in, data, result, result.cast(values, table_type.fraction), span)


@dataclass(frozen=True, slots=True)
class Softmax(OneForOne):
    """Over all values of a row. ``powers`` raw of ``accum_type`` by the highest bits of a value of ``key_type`` (the
    distance from the largest value where ``stable``, else the value itself); ``inverses`` raw of ``inverse_type`` by
    the highest bits of the sum, which is first brought to ``sum_type``."""

    name: str
    n_in: int
    data_type: ApFixed
    result_type: ApFixed
    key_type: ApFixed
    accum_type: ApFixed
    sum_type: ApFixed
    inverse_type: ApFixed
    powers: Raw
    inverses: Raw
    stable: bool

    @property
    def products(self) -> int:
        return self.n_in

    def run(self, rows: Raw) -> Raw:
        keys = self.key_type.cast(rows.max(1, keepdims=True) - rows, self.data_type.fraction) if self.stable else rows
        powers = self.powers[_top_bits(keys, self.key_type, len(self.powers))]
        total = np.zeros(len(rows), np.int64)
        for i in range(self.n_in):
            total = self.accum_type.fit(total + powers[:, i])
        total = self.sum_type.cast(total, self.accum_type.fraction)
        share = self.inverses[_top_bits(total, self.sum_type, len(self.inverses))]
        return self.result_type.cast(powers * share[:, None], self.accum_type.fraction + self.inverse_type.fraction)


def make_softmax(name: str, n_in: int, data: ApFixed, result: ApFixed, key: ApFixed,
                 types: tuple[ApFixed, ApFixed, ApFixed, ApFixed], sizes: tuple[int, int], scale: float,
                 stable: bool) -> Softmax:
    """Fill the tables of ``sizes`` entries (exponentials, inverses). ``types``: of exponentials, of their sums, of what
    a sum is brought to, of inverses. Raises ConfigError for sizes that no bits make."""
    exp, accum, total, inverse = types
    for size, kind in zip(sizes, (key, total), strict=True):
        if size & (size - 1) or not 1 < size <= 1 << kind.width:
            raise ConfigError(f"a table of {size} entries for {kind}", "powers of two up to the values of its type")
    arguments = key.to_float(_entries(key, sizes[0])).astype(F) * F(scale)
    values = [_libm("expf", -float(x) if stable else float(x)) for x in arguments]
    powers = accum.cast(exp.from_float(np.clip(values, -2.0**60, 2.0**60)), exp.fraction)
    sums = total.to_float(_entries(total, sizes[1]))
    inverses = inverse.from_float(np.array([F(1 / F(s)) if s else 2.0**60 for s in sums], np.float64))
    return Softmax(name, n_in, data, result, key, accum, total, inverse, powers, inverses, stable)


def _entries(kind: ApFixed, size: int) -> Raw:
    """The raw values that have the highest bits 0, 1, … and zeros below."""
    raw = np.arange(size, dtype=np.int64) << kind.width - (size.bit_length() - 1)
    return np.where(raw > kind.high, raw - (1 << kind.width), raw)


def _top_bits(raw: Raw, kind: ApFixed, size: int) -> Raw:
    return raw >> kind.width - (size.bit_length() - 1) & size - 1
