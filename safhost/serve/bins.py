"""Features as bins: how many edges of a feature a value reaches, in a few bits, packed. As trees on quantised data are.

The first feature lies in the lowest bits of the first byte. An edge that equals the value is reached, so that a tree's
"x < threshold" is "bin <= index of the threshold". A NaN reaches no edge, or all of them with ``nan: highest``: trees
can take that bin for a missing value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.serve.quantise import Policy, Unfit, first_of

Array = NDArray[Any]
BIN_PIECE = 1 << 15  # values that are worked on at once
SEARCHED_EDGES = 64  # with more a search is faster than comparing with each


class Bins:
    """How many of a feature's ``edges`` (features, edges; ascending) a value reaches, ``bits`` a feature, packed.
    Without edges the values are bin numbers already."""

    def __init__(self, edges: Array | None, bits: int, dtype: np.dtype[Any], policy: Policy) -> None:
        if bits not in (1, 2, 4, 8):
            raise ConfigError(f"bits is {bits}", "bins of 1, 2, 4 or 8 bits can be packed")
        if dtype != np.uint8:
            raise ConfigError(f"bins go into an argument of uint8, not {dtype.name}")
        if edges is not None:
            if edges.ndim != 2 or edges.shape[1] >= 1 << bits or edges.dtype.kind != "f":
                raise ConfigError(f"edges have shape {list(edges.shape)} of {edges.dtype}", "they are floats of shape "
                                  f"[features, up to {(1 << bits) - 1}]")
            if np.isnan(edges).any() or (edges[:, 1:] < edges[:, :-1]).any():  # not np.diff: infinities
                raise ConfigError("edges of a feature do not ascend", "fill up unused ones with infinity")
        self._edges = None if edges is None else np.ascontiguousarray(edges)
        # each edge beside each value of a piece: comparing arrays of one shape is several times faster
        self._tiles: list[Array] = []
        if edges is not None and 0 < edges.shape[1] <= SEARCHED_EDGES:
            rows = max(1, BIN_PIECE // edges.shape[0])
            self._tiles = [np.tile(np.ascontiguousarray(e), (rows, 1)) for e in edges.T]
        self.features = None if edges is None else edges.shape[0]
        self.bits = bits
        self.policy = policy

    def lanes(self, elements: int) -> int:
        return -(-elements * self.bits // 8)

    def encode(self, source: Array, into: Array) -> None:
        rows, width = source.shape
        need = self.lanes(width)
        if need != into.shape[1]:
            into.fill(0)
        step = max(1, BIN_PIECE // max(1, width))
        for at in range(0, rows, step):
            bins = self._bins(source[at:at + step], at)
            self._pack(bins, into[at:at + step, :need])

    def _bins(self, piece: Array, at: int) -> Array:
        nan = np.isnan(piece) if piece.dtype.kind == "f" and np.isnan(piece.min()) else None
        if nan is not None and self.policy.nan == "error":
            raise Unfit(at + first_of(piece, nan)[0], "it holds NaN")
        bins = self._numbers(piece if nan is None else np.where(nan, 0, piece), at) if self._edges is None else \
            self._reached(piece)
        if nan is not None:
            bins[nan] = (1 << self.bits) - 1 if self.policy.nan == "highest" else 0
        return bins

    def _numbers(self, piece: Array, at: int) -> Array:
        wrong = (piece < 0) | (piece >= 1 << self.bits)
        if piece.dtype.kind == "f":
            wrong |= piece != np.floor(piece)
        if wrong.any():
            row, value = first_of(piece, wrong)
            raise Unfit(at + row, f"{value} is no bin of {self.bits} bits")
        return piece.astype(np.uint8)

    def _reached(self, piece: Array) -> Array:
        assert self._edges is not None
        bins = np.zeros(piece.shape, np.uint8)
        if self._tiles:
            reached = np.empty(piece.shape, np.bool_)
            for tile in self._tiles:
                np.greater_equal(piece, tile[:len(piece)], out=reached)
                bins += reached.view(np.uint8)
        else:
            for feature, edges in enumerate(self._edges):
                bins[:, feature] = np.searchsorted(edges, piece[:, feature], "right")
        return bins

    def _pack(self, bins: Array, into: Array) -> None:
        each = 8 // self.bits
        if bins.shape[1] % each:
            bins = np.pad(bins, ((0, 0), (0, -bins.shape[1] % each)))
        if self.bits == 4:  # the usual case: two bins are a word of which the low byte is wanted
            words = bins.view("<u2")
            np.copyto(into, words >> np.uint16(4) | words, casting="unsafe")
            return
        np.copyto(into, bins[:, ::each])
        for part in range(1, each):
            into |= bins[:, part::each] << np.uint8(part * self.bits)

    def decode(self, source: Array, elements: int, dtype: np.dtype[Any]) -> Array:
        each = 8 // self.bits
        shifts = np.arange(each, dtype=np.uint8) * np.uint8(self.bits)
        spread: Array = (source[:, :self.lanes(elements), None] >> shifts) & np.uint8((1 << self.bits) - 1)
        return spread.reshape(len(source), -1)[:, :elements].astype(dtype)


__all__ = ["Bins"]
