"""What a tensor of an ONNX graph is while it is compiled: a view of int8 values, or an operation that waits for its
quantisation.

A `View` keeps, for each logical element, its position in the activation (channel-major), so that reshapes and
transposes move nothing: `Gemm` sorts its weights after it, the input and the outputs are read and written by strides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.add.convnet_parts import Activation
from safhost.serve.add.onnx_read import Graph, Node

Index = NDArray[np.int64]
Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class QuantisedConstant:
    """A constant and what its integers mean: (q − zero) · scale; ``scale`` one value or one a slice of ``axis``."""

    q: NDArray[Any]
    scale: NDArray[np.float32]
    zero: NDArray[Any]
    axis: int

    @property
    def value(self) -> NDArray[np.float32]:
        shape = [1] * self.q.ndim
        if self.scale.size > 1:
            shape[self.axis] = -1
        scale, zero = self.scale.reshape(shape), self.zero.astype(np.int64).reshape(shape)
        return np.asarray((self.q.astype(np.int64) - zero).astype(np.float32) * scale, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Values of an activation, or of the graph's input when ``data`` is None. ``quantised``: as integers, else as the
    floats that they mean. ``pads`` (top, left, bottom, right) of zeros are around it. ``scale`` (step, zero, raw) is
    the input's, once it is quantised: it is loaded where a layer takes it, in the layout that it has there."""

    data: Activation | None
    index: Index
    quantised: bool = False
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    scale: tuple[np.float32, int, int] | None = None


@dataclass(eq=False)
class Deferred:
    """Float results of a node that nothing has quantised yet, between ``low`` and ``high``.

    ``emit`` makes them int8 in an activation of this size; ``emit_float`` puts them into Y, where that is possible.
    ``function`` instead of both: of each value of ``source``.
    """

    node: Node
    size: tuple[int, int, int]
    index: Index
    emit: Callable[[Activation, tuple[float, float]], None] | None = None
    emit_float: Callable[[int, tuple[float, float]], None] | None = None
    source: Activation | None = None
    function: Function | None = None
    low: float = -np.inf
    high: float = np.inf
    raw: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Transformed:
    """What the host does with an output before the client gets it."""

    transform: str
    of: View | Deferred


Value = View | Deferred | QuantisedConstant | Transformed


def fresh_index(size: tuple[int, int, int], rank: int) -> Index:
    """Index of an activation that is logically [1, C, H, W], [1, C, L] or [1, C]."""
    channels, height, width = size
    shape = {4: (1, channels, height, width), 3: (1, channels, width), 2: (1, channels)}[rank]
    return np.arange(channels * height * width, dtype=np.int64).reshape(shape)


def as_channels(node: Node, view: View) -> Activation:
    """The activation that a view is, or the channels of it. Raises :class:`ConfigError` when it is neither."""
    data, index = view.data, view.index
    if data is None:
        raise node.error("its input is not quantised", "quantise the model's input too, or give --calibrate")
    height, width = (data.height, data.width)
    flat = index.reshape(-1)
    channels = index.shape[1] if index.ndim > 1 else 0
    spatial = {4: (height, width), 3: (width,), 2: ()}.get(index.ndim)
    if spatial is not None and index.shape[2:] == spatial and (index.ndim == 4 or height * width == 1
                                                               or (index.ndim == 3 and height == 1)):
        skip, rest = divmod(int(flat[0]), height * width)
        if rest == 0 and np.array_equal(flat, np.arange(flat[0], flat[0] + flat.size)):
            return data if channels == data.channels else data.part(skip, channels)
    raise node.error(f"its input of shape {[*index.shape]} does not lie as channels of pixels",
                     "only what Gemm or an output reads may be reshaped or transposed")


def reshaped(graph: Graph, node: Node, index: Index) -> Index | None:
    """Index after an operator that only moves elements; None for all others."""
    op, attributes = node.op, node.attributes
    if op in ("Identity", "Dropout"):
        return index
    if op == "Reshape":
        target = _integers(graph, node, 1, "shape")
        sizes = [index.shape[i] if size == 0 and not attributes.get("allowzero") else size
                 for i, size in enumerate(target)]
        return _reshape(node, index, tuple(sizes))
    if op == "Flatten":
        axis = attributes.get("axis", 1) % (index.ndim + 1)
        return index.reshape(int(np.prod(index.shape[:axis])), -1)
    if op == "Transpose":
        return index.transpose(attributes.get("perm") or range(index.ndim)[::-1])
    if op in ("Squeeze", "Unsqueeze"):
        axes = attributes.get("axes")
        if axes is None and (op == "Unsqueeze" or len(node.inputs) > 1):
            axes = _integers(graph, node, 1, "axes")
        if op == "Unsqueeze":
            return np.expand_dims(index, tuple(axes or ()))
        return np.squeeze(index, tuple(axes) if axes is not None else None)
    return None


def deferred_after(node: Node, before: Deferred, function: Function | None, low: float, high: float) -> Deferred:
    """``before`` with an activation behind it: limits where it has no function of its own."""
    if before.function is not None:
        inner = before.function
        assert function is not None
        outer = function
        return replace(before, node=node, function=lambda x: outer(inner(x)))
    if not np.isfinite(low) and not np.isfinite(high):
        raise node.error(f"its input, made by {before.node.label}, is not quantised",
                         "quantise it (QuantFormat.QDQ does), or give the float model and --calibrate")
    return replace(before, low=float(np.clip(before.low, low, high)),
                            high=float(np.clip(before.high, low, high)))


def quantise(values: NDArray[np.float32], scale: np.float32, zero: int) -> NDArray[np.int8]:
    """ONNX's QuantizeLinear to int8: half to even, saturating."""
    with np.errstate(over="ignore"):
        steps = np.rint(np.asarray(values, np.float32) / scale)
    return np.asarray(np.clip(steps, -128 - zero, 127 - zero) + zero, np.int8)


def dequantised_bytes(data: Activation) -> NDArray[np.float32]:
    """What each of the 256 bytes means in an activation."""
    q = np.arange(256).astype(np.uint8).view(np.int8).astype(np.int32)
    return ((q - data.zero).astype(np.float32) * np.float32(data.scale)).astype(np.float32)


def affine(grid: Index) -> tuple[int, tuple[int, int, int]] | None:
    """(start, steps) of a grid [channels, height, width] of positions that strides can say; None for any other."""
    start = int(grid[0, 0, 0])
    steps = [int(np.moveaxis(grid, axis, 0)[1, 0, 0]) - start if grid.shape[axis] > 1 else 0 for axis in range(3)]
    c, y, x = np.ogrid[:grid.shape[0], :grid.shape[1], :grid.shape[2]]
    if not np.array_equal(grid, start + c * steps[0] + y * steps[1] + x * steps[2]):
        return None
    return start, (steps[0], steps[1], steps[2])


def positions(index: Index, size: tuple[int, int, int]) -> Index | None:
    """Where each element of an activation of ``size`` goes, when ``index`` says which element each place takes."""
    flat = index.reshape(-1)
    if flat.size != np.prod(size):
        return None
    where = np.empty_like(flat)
    where[flat] = np.arange(flat.size)
    return where.reshape(size)


def _integers(graph: Graph, node: Node, at: int, what: str) -> list[int]:
    constant = graph.constant(node, at)
    if constant is None:
        raise node.error(f"its {what} is computed by the model", "export it with a constant one")
    return [int(v) for v in np.asarray(constant).reshape(-1)]


def _reshape(node: Node, index: Index, sizes: tuple[int, ...]) -> Index:
    try:
        shaped = index.reshape(sizes)
    except ValueError:
        raise node.error(f"{[*index.shape]} does not become {[*sizes]}", "export it with a batch of 1 or an open one") \
            from None
    if shaped.ndim == 0 or shaped.shape[0] != 1:
        raise node.error(f"it moves the batch: {[*index.shape]} to {[*sizes]}", "keep the batch as first dimension")
    return shaped
