"""ONNX operators with arithmetic, each as layers of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.add.convnet_parts import Activation, Op, Window
from safhost.serve.add.onnx_read import Node
from safhost.serve.add.onnx_values import (
    Deferred,
    QuantisedConstant,
    Value,
    View,
    as_channels,
    dequantised_bytes,
    fresh_index,
    quantise,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from safhost.serve.add.onnx_lower import Lowering

Limits = tuple[float, float]


def _spatial(node: Node, name: str, count: int, default: int) -> list[int]:
    """An attribute with one number (vectors) or two (images), as two."""
    values = [int(v) for v in node.attributes.get(name) or [default] * count]
    if len(values) != count:
        raise node.error(f"{name} has {len(values)} numbers", f"expected {count}")
    return ([0 if default == 0 else 1] if count == 1 else []) + values


def window_of(node: Node, kernel: tuple[int, ...], size: tuple[int, int]) -> Window:
    """Kernel, strides, pads and dilations of a node over an input of ``size``."""
    count = len(kernel)
    if count not in (1, 2):
        raise node.error(f"its kernel has {count} dimensions", "one or two are supported")
    full = (1, *kernel) if count == 1 else kernel
    strides, dilations = _spatial(node, "strides", count, 1), _spatial(node, "dilations", count, 1)
    pads = [int(v) for v in node.attributes.get("pads") or [0] * 2 * count]
    if count == 1:
        pads = [0, pads[0], 0, pads[1]]
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(2):
            reach = dilations[axis] * (full[axis] - 1) + 1
            need = max(0, (-(-size[axis] // strides[axis]) - 1) * strides[axis] + reach - size[axis])
            small, large = need // 2, need - need // 2
            pads[axis], pads[axis + 2] = (small, large) if auto == "SAME_UPPER" else (large, small)
    if min(pads) < 0:
        raise node.error("it has negative pads", "slice the input instead")
    window = Window((full[0], full[1]), (strides[0], strides[1]), (pads[0], pads[1], pads[2], pads[3]),
                    (dilations[0], dilations[1]), bool(node.attributes.get("ceil_mode", 0)))
    if min(window.out(*size)) < 1:
        raise node.error(f"its window {full} is larger than its input {size}", "check pads and dilations")
    return window


def _signed(node: Node, constant: QuantisedConstant, channels_axis: int) -> tuple[NDArray[np.int8], int,
                                                                                  NDArray[np.float32]]:
    """Weights as int8, their zero point, and a scale for each output channel."""
    if constant.q.dtype not in (np.int8, np.uint8):
        raise node.error(f"its weights are {constant.q.dtype}", "int8 and uint8 are supported")
    raw = 128 if constant.q.dtype == np.uint8 else 0
    q = (constant.q.astype(np.int16) - raw).astype(np.int8)
    zeros = np.unique(constant.zero.astype(np.int64)) - raw
    if zeros.size != 1:
        raise node.error("its weights have several zero points", "quantise weights symmetrically")
    channels = q.shape[channels_axis]
    if constant.scale.size > 1 and constant.axis != channels_axis:
        raise node.error(f"its weights have a scale for each slice of axis {constant.axis}",
                         "per tensor or per output channel are supported")
    return q, int(zeros[0]), np.broadcast_to(constant.scale, channels).astype(np.float32)


def _bias(node: Node, bias: QuantisedConstant | NDArray[Any] | None, given: bool, scale: NDArray[np.float32]) \
        -> NDArray[np.int64]:
    """Bias in units of the sums' scale. A quantised one is meant so by ONNX; a float one is rounded to it."""
    if bias is None:
        if given:
            raise node.error("its bias is computed by the model", "export it with a constant one")
        return np.zeros(len(scale), np.int64)
    if isinstance(bias, QuantisedConstant):
        if bias.q.dtype == np.int32 and np.allclose(bias.scale, scale, rtol=1e-4):
            return np.broadcast_to(bias.q.reshape(-1), len(scale)).astype(np.int64)
        bias = bias.value
    return np.rint(np.broadcast_to(bias.reshape(-1).astype(np.float64), len(scale)) / scale).astype(np.int64)


def convolution(low: Lowering, node: Node) -> Value:
    view, constant = low.view(node, 0), low.parameter(node, 1)
    if not isinstance(constant, QuantisedConstant):
        raise node.error("its weights are not quantised constants", "quantise statically, or give the float model")
    source = as_channels(node, view)
    q, zero, weight_scale = _signed(node, constant, 0)
    window = window_of(node, q.shape[2:], (source.height, source.width))
    if any(view.pads):
        pads = [a + b for a, b in zip(window.pads, view.pads, strict=True)]
        window = Window(window.kernel, window.strides, (pads[0], pads[1], pads[2], pads[3]), window.dilations)
    groups = int(node.attributes.get("group", 1))
    q = q.reshape(*q.shape[:2], *window.kernel)
    if q.shape[1] * groups != source.channels or q.shape[0] % groups:
        raise node.error(f"weights {[*constant.q.shape]} of {groups} groups do not fit {source.channels} channels")
    sums_scale = np.asarray(np.float32(source.scale) * weight_scale, np.float32)
    bias = _bias(node, low.parameter(node, 2), len(node.inputs) > 2 and bool(node.inputs[2]), sums_scale)
    height, width = window.out(source.height, source.width)
    size = (q.shape[0], height, width)

    def emit(target: Activation | int, limits: Limits) -> None:
        multiplier = sums_scale if isinstance(target, int) else (sums_scale / np.float32(target.scale))
        if groups == source.channels == q.shape[0] and groups > 1:
            low.program.depthwise(source, q, zero, bias, multiplier, window, target, limits=limits, label=node.label)
            return
        per_in, per_out = source.channels // groups, q.shape[0] // groups
        for group in range(groups):
            part = slice(group * per_out, (group + 1) * per_out)
            into: Activation | int = target if groups == 1 else (
                target + group * per_out * height * width if isinstance(target, int)
                else target.part(group * per_out, per_out))
            low.program.convolve(source if groups == 1 else source.part(group * per_in, per_in), q[part], zero,
                                 bias[part], multiplier[part], window, into, limits=limits, label=node.label)

    return Deferred(node, size, fresh_index(size, view.index.ndim), emit, emit, raw=source.raw)


def dense(low: Lowering, node: Node) -> Value:
    """Gemm and MatMul with constant weights: a convolution over the whole input."""
    view, constant = low.view(node, 0), low.parameter(node, 1)
    attributes = node.attributes
    if not isinstance(constant, QuantisedConstant) or constant.q.ndim != 2:
        raise node.error("its second operand is not a quantised constant matrix", "quantise weights too")
    if attributes.get("transA") or attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1:
        raise node.error("transA, alpha and beta are not supported", "fold them into the weights")
    if view.data is None or view.index.ndim != 2 or any(view.pads):
        raise node.error(f"its input has shape {[*view.index.shape]}", "flatten it to [batch, values], quantised")
    transposed = bool(attributes.get("transB", 0))
    q, zero, weight_scale = _signed(node, constant, 0 if transposed else 1)
    matrix = q if transposed else q.T
    source = view.data
    if matrix.shape[1] != view.index.shape[1]:
        raise node.error(f"weights of {matrix.shape[1]} values, input of {view.index.shape[1]}")
    rows = np.full((matrix.shape[0], source.channels * source.pixels), zero, np.int8)
    rows[:, view.index[0]] = matrix
    weights = rows.reshape(-1, source.channels, source.height, source.width)
    sums_scale = np.asarray(np.float32(source.scale) * weight_scale, np.float32)
    bias = _bias(node, low.parameter(node, 2), len(node.inputs) > 2 and bool(node.inputs[2]), sums_scale)
    size = (matrix.shape[0], 1, 1)

    def emit(target: Activation | int, limits: Limits) -> None:
        multiplier = sums_scale if isinstance(target, int) else (sums_scale / np.float32(target.scale))
        low.program.convolve(source, weights, zero, bias, multiplier, Window((source.height, source.width)), target,
                             limits=limits, label=node.label)

    return Deferred(node, size, fresh_index(size, 2), emit, emit, raw=source.raw)


def binary(low: Lowering, node: Node) -> Value:
    """Add of two activations; Add, Sub, Mul, Div with one number; Add of a number a channel."""
    constants = [low.parameter(node, at) for at in (0, 1)]
    if constants[0] is None and constants[1] is None:
        if node.op != "Add":
            raise node.error("of two computed tensors only Add is supported", "")
        return _sum(low, node, low.view(node, 0), low.view(node, 1))
    at = 1 if constants[0] is None else 0
    constant, view = constants[at], low.view(node, 1 - at)
    value = np.asarray(constant.value if isinstance(constant, QuantisedConstant) else constant, np.float32)
    if value.size == 1:
        return _with_number(node, view, np.float32(value.reshape(-1)[0]), constant_first=at == 0)
    if node.op != "Add" or not isinstance(constant, QuantisedConstant):
        raise node.error(f"with constants of shape {[*value.shape]} it is not supported",
                         "fold it into a convolution before, or give the float model and --calibrate")
    data = as_channels(node, view)
    grid = np.broadcast_to(constant.q, view.index.shape).reshape(data.channels, -1)
    if (grid != grid[:, :1]).any() or constant.scale.size != 1:
        raise node.error("its constant differs between pixels", "a number a channel is supported")
    q, zero, scale = _signed(node, QuantisedConstant(grid[:, 0], constant.scale, constant.zero, 0), 0)
    size = (data.channels, data.height, data.width)

    def emit(target: Activation, limits: Limits) -> None:
        low.program.add(data, q, np.float32(scale[0]), zero, target, limits=limits, label=node.label)

    return Deferred(node, size, view.index, emit, raw=data.raw)


def _sum(low: Lowering, node: Node, first: View, second: View) -> Value:
    a, b = first.data, second.data
    if a is None or b is None or any(first.pads) or any(second.pads):
        raise node.error("its operands are not both quantised", "quantise them, or give the float model")
    size = (a.channels, a.height, a.width)
    if size != (b.channels, b.height, b.width) or not np.array_equal(first.index, second.index) or a.raw != b.raw:
        raise node.error(f"operands of shapes {[*first.index.shape]} and {[*second.index.shape]}",
                         "they have to be equal in shape and type")

    def emit(target: Activation, limits: Limits) -> None:
        low.program.add(a, b, np.float32(b.scale), b.zero, target, limits=limits, label=node.label)

    return Deferred(node, size, first.index, emit, raw=a.raw)


def _with_number(node: Node, view: View, number: np.float32, *, constant_first: bool) -> Value:
    if view.data is None or view.quantised or any(view.pads):
        raise node.error("its input is not quantised", "quantise it, or give the float model and --calibrate")
    op = node.op

    def function(x: NDArray[np.float32]) -> NDArray[np.float32]:
        left, right = (np.full_like(x, number), x) if constant_first else (x, np.full_like(x, number))
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            return {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op](left, right)

    data = view.data
    return Deferred(node, (data.channels, data.height, data.width), view.index, source=data, function=function)


def max_pool(low: Lowering, node: Node) -> Value:
    """Commutes with quantisation: done at once, in the scale of its input."""
    view = low.view(node, 0)
    source = as_channels(node, view)
    window = window_of(node, tuple(node.attributes["kernel_shape"]), (source.height, source.width))
    if any(view.pads) or len(node.outputs) > 1:
        raise node.error("Pad before it, or its indices, are not supported", "")
    height, width = window.out(source.height, source.width)
    target = Activation(source.channels, height, width, source.scale, source.zero, source.raw)
    low.program.pool(Op.MAX_POOL, source, target, window, label=node.label)
    return View(target, fresh_index((source.channels, height, width), view.index.ndim), view.quantised)


def average_pool(low: Lowering, node: Node) -> Value:
    view = low.view(node, 0)
    source = as_channels(node, view)
    window = window_of(node, tuple(node.attributes["kernel_shape"]), (source.height, source.width))
    counts = bool(node.attributes.get("count_include_pad", 0))
    if any(view.pads) or (counts and window.ceil):
        raise node.error("Pad before it, or ceil_mode with count_include_pad, are not supported", "")
    height, width = window.out(source.height, source.width)

    def emit(target: Activation, limits: Limits) -> None:
        low.program.pool(Op.AVERAGE_POOL, source, target, window, count_pads=counts, limits=limits, label=node.label)

    size = (source.channels, height, width)
    return Deferred(node, size, fresh_index(size, view.index.ndim), emit, raw=source.raw)


def global_pool(low: Lowering, node: Node) -> Value:
    """GlobalAveragePool, and ReduceMean over all of the image."""
    view = low.view(node, 0)
    source = as_channels(node, view)
    size, rank = (source.channels, 1, 1), view.index.ndim
    if node.op == "ReduceMean":
        axes = node.attributes.get("axes")
        if axes is None and (constant := low.graph.constant(node, 1)) is not None:
            axes = constant.reshape(-1).tolist()
        if sorted(axis % rank for axis in axes or ()) != list(range(2, rank)):
            raise node.error(f"it is over axes {axes}", "the mean over height and width is supported")
        rank = rank if node.attributes.get("keepdims", 1) else 2

    def emit(target: Activation, limits: Limits) -> None:
        low.program.global_pool(source, target, limits=limits, label=node.label)

    return Deferred(node, size, fresh_index(size, rank), emit, raw=source.raw)


def concatenation(low: Lowering, node: Node) -> Value:
    views = [low.view(node, at) for at in range(len(node.inputs))]
    sources = [as_channels(node, view) for view in views]
    if node.attributes["axis"] % views[0].index.ndim != 1 or any(any(view.pads) for view in views):
        raise node.error(f"it is along axis {node.attributes['axis']}", "channels (axis 1) are supported")
    size = (sum(s.channels for s in sources), sources[0].height, sources[0].width)

    def emit(target: Activation, limits: Limits) -> None:
        skip = 0
        for source in sources:
            table = np.clip(quantise(dequantised_bytes(source), target.scale, target.zero), *limits).astype(np.int8)
            low.program.table(source, table, target.part(skip, source.channels), node.label)
            skip += source.channels

    return Deferred(node, size, fresh_index(size, views[0].index.ndim), emit, raw=sources[0].raw)


def pad(low: Lowering, node: Node) -> Value:
    """Zeros around an image: left to the convolution that follows."""
    view, amounts, fill = low.view(node, 0), low.graph.constant(node, 1), low.parameter(node, 2)
    number = fill.value if isinstance(fill, QuantisedConstant) else fill
    rank = view.index.ndim
    if amounts is None or amounts.size != 2 * rank or node.attributes.get("mode", "constant") != "constant" \
            or (number is not None and np.any(number != 0)) or rank not in (3, 4):
        raise node.error("only zeros around an image are supported", "")
    before, after = amounts[:rank].tolist(), amounts[rank:].tolist()
    if any(before[:2]) or any(after[:2]) or min(before + after) < 0:
        raise node.error("it pads the batch or channels, or cuts", "")
    if rank == 3:
        before, after = [*before[:2], 0, before[2]], [*after[:2], 0, after[2]]
    pads = [old + new for old, new in zip(view.pads, (*before[2:], *after[2:]), strict=True)]
    return View(view.data, view.index, view.quantised, (pads[0], pads[1], pads[2], pads[3]))


LAYERS: dict[str, Callable[[Lowering, Node], Value]] = {
    "Conv": convolution, "Gemm": dense, "MatMul": dense, "Add": binary, "Sub": binary, "Mul": binary, "Div": binary,
    "MaxPool": max_pool, "AveragePool": average_pool, "GlobalAveragePool": global_pool, "ReduceMean": global_pool,
    "Concat": concatenation, "Pad": pad}
