"""Boosted trees over binned features: their arrays as the kernel has them, and what they compute, with numpy.

A feature's bin is the number of its thresholds that are <= its value, so ``value < threshold[k]`` is the same as
``bin <= k``: binning by the thresholds a model has loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError

Bins = NDArray[np.uint8]
Floats = NDArray[np.float32]

MAX_DEPTH = 8
"""Levels of a tree. All nodes of a tree are compared at once, and there are 2**depth - 1."""

MAX_LEAVES = 1 << 18
"""Leaves of an ensemble, filled up to full trees: what a virtual card computes in reasonable time."""

ROW_ALIGN_BYTES = 8
"""Rows are whole 64-bit words."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree as trained: arrays by node, ``left`` < 0 for leaves; ``value`` is a leaf's value or a threshold.
    ``missing_left``: where a missing value goes."""

    feature: NDArray[np.int64]
    value: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]

    def depth(self) -> int:
        """Levels of splits. The arrays must form a tree."""
        level, deep = [0], 0
        while level := [child for node in level if self.left[node] >= 0
                        for child in (int(self.left[node]), int(self.right[node]))]:
            deep += 1
        return deep


@dataclass(frozen=True, slots=True)
class Ensemble:
    """All trees filled up to one depth. ``first``, ``last``, ``feature`` [classes, trees, 2**depth - 1]: a bin from
    first to last goes right. ``leaves`` [classes, trees, 2**depth], ``base`` [classes] float32. ``edges`` float32
    [features, edges], +inf beyond a feature's own."""

    bits: int
    depth: int
    feature: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    leaves: Floats
    base: Floats
    edges: Floats

    @property
    def classes(self) -> int:
        return len(self.base)

    @property
    def trees(self) -> int:
        """Trees of each class."""
        return int(self.leaves.shape[1])

    @property
    def features(self) -> int:
        return len(self.edges)

    @property
    def row_bytes(self) -> int:
        """Bytes of a packed row."""
        return -(-self.features * self.bits // (8 * ROW_ALIGN_BYTES)) * ROW_ALIGN_BYTES

    @property
    def nodes(self) -> NDArray[np.uint32]:
        """The kernel's words, flat: feature, first and last bin."""
        return (self.feature << 16 | self.first << 8 | self.last).astype(np.uint32).reshape(-1)

    @property
    def kernel_leaves(self) -> Floats:
        """The kernel's floats, flat: bases, then leaves."""
        return np.concatenate([self.base, self.leaves.reshape(-1)])

    def bins(self, rows: NDArray[np.floating]) -> Bins:
        """Bins [n, features] of float rows [n, features]; NaN gets the highest, 2**bits - 1."""
        rows = np.asarray(rows, np.float32)
        out = np.empty(rows.shape, np.uint8)
        for k, edges in enumerate(self.edges):
            out[:, k] = np.searchsorted(edges, rows[:, k], side="right")
        out[np.isnan(rows)] = 2**self.bits - 1
        return out

    def pack(self, bins: Bins) -> Bins:
        """Rows [n, row_bytes] as the kernel takes them."""
        out = np.zeros((len(bins), self.row_bytes), np.uint8)
        if self.bits == 8:
            out[:, :self.features] = bins
            return out
        out[:, :(self.features + 1) // 2] = bins[:, ::2]
        out[:, :self.features // 2] |= bins[:, 1::2] << 4
        return out

    def margins(self, bins: Bins) -> Floats:
        """Margins [n, classes] of bins [n, features]: float32 additions, base first, tree after tree."""
        rows = np.arange(len(bins))
        out = np.repeat(self.base[None], len(bins), 0)
        for c in range(self.classes):
            for t in range(self.trees):
                node = np.zeros(len(bins), np.int64)
                for _ in range(self.depth):
                    bin_ = bins[rows, self.feature[c, t, node]]
                    right = (bin_ >= self.first[c, t, node]) & (bin_ <= self.last[c, t, node])
                    node = 2 * node + 1 + right
                out[:, c] += self.leaves[c, t, node - (2**self.depth - 1)]
        return out


def make_ensemble(trees: list[Tree], groups: list[int], features: int, base: Floats, missing: bool,
                  source: str) -> Ensemble:
    """Bin the thresholds and fill trees up. ``groups``: each tree's class. ``missing``: NaN is a value missing, and
    takes the highest bin. Raises :class:`ConfigError` when trees are too deep or a feature has too many thresholds."""
    depths = [tree.depth() for tree in trees]
    depth = max([1, *depths])
    if depth > MAX_DEPTH:
        raise ConfigError(f"{source}: tree {depths.index(depth)} has {depth} levels, up to {MAX_DEPTH} are supported",
                          f"train with max_depth={MAX_DEPTH} or less")
    classes = len(base)
    order = [[t for t, group in zip(trees, groups, strict=True) if group == c] for c in range(classes)]
    count = max(1, *(len(of) for of in order))
    if classes * count << depth > MAX_LEAVES:
        raise ConfigError(f"{source}: {classes * count} trees of {depth} levels have {classes * count << depth} "
                          f"leaves, up to {MAX_LEAVES} are supported", "train fewer trees, or shallower ones")
    thresholds = _thresholds(trees, features)
    bits = _choose_bits(thresholds, missing, source)
    top = 2**bits - 1
    shape = (classes, count, 2**depth - 1)
    feature, first, last = np.zeros(shape, np.int64), np.full(shape, top, np.int64), np.full(shape, 0, np.int64)
    leaves = np.zeros((classes, count, 2**depth), np.float32)  # trees that are not there add nothing
    for c, of in enumerate(order):
        for t, tree in enumerate(of):
            _fill(tree, thresholds, top, missing, (feature[c, t], first[c, t], last[c, t], leaves[c, t]))
    edges = np.full((features, max(1, *(len(values) for values in thresholds))), np.inf, np.float32)
    for k, values in enumerate(thresholds):
        edges[k, :len(values)] = values
    return Ensemble(bits, depth, feature, first, last, leaves, base.astype(np.float32), edges)


def _thresholds(trees: list[Tree], features: int) -> list[Floats]:
    """The thresholds of each feature, ascending, each once."""
    split = [tree.left >= 0 for tree in trees]
    pairs = list(zip(trees, split, strict=True))
    feature = np.concatenate([np.zeros(0, np.int64), *(tree.feature[s] for tree, s in pairs)])
    value = np.concatenate([np.zeros(0, np.float32), *(tree.value[s] for tree, s in pairs)])
    return [np.unique(value[feature == k]) for k in range(features)]


def _choose_bits(thresholds: list[Floats], missing: bool, source: str) -> int:
    most = max((len(values) for values in thresholds), default=0)
    for bits in (4, 8):
        if most <= 2**bits - 1 - missing:
            return bits
    worst = max(range(len(thresholds)), key=lambda k: len(thresholds[k]))
    raise ConfigError(f"{source}: feature {worst} has {most} different thresholds, up to {255 - missing} are supported",
                      "train with tree_method='hist' and max_bin=16 (4 bits a feature), or at most 255 (8 bits)")


def _fill(tree: Tree, thresholds: list[Floats], top: int, missing: bool,
          out: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]) -> None:
    """Write one tree as a full one: below a leaf, all leaves have its value and splits do not matter."""
    feature, first, last, leaves = out
    stack = [(0, 0)]  # node of the tree, place in the heap
    while stack:
        node, place = stack.pop()
        if place >= len(feature):
            leaves[place - len(feature)] = tree.value[node]
        elif tree.left[node] < 0:
            stack += [(node, 2 * place + 1), (node, 2 * place + 2)]
        else:
            k = int(tree.feature[node])
            feature[place] = k
            first[place] = np.searchsorted(thresholds[k], tree.value[node]) + 1
            last[place] = top - (missing and bool(tree.missing_left[node]))
            stack += [(int(tree.left[node]), 2 * place + 1), (int(tree.right[node]), 2 * place + 2)]
