"""A quantised ONNX graph (QDQ: QuantizeLinear and DequantizeLinear around float operators) to a program.

Nodes are taken in order. What an operator computes waits (`Deferred`) until a QuantizeLinear says in which scale it
is wanted; Relu and Clip in between become limits of the int8 result, which is the same since rounding is monotone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.serve.add.convnet import Program
from safhost.serve.add.convnet_parts import Activation
from safhost.serve.add.onnx_functions import FUNCTIONS, function_of, limits_of
from safhost.serve.add.onnx_read import Graph, Node, check_operators
from safhost.serve.add.onnx_values import (
    Deferred,
    QuantisedConstant,
    Transformed,
    Value,
    View,
    affine,
    deferred_after,
    dequantised_bytes,
    fresh_index,
    positions,
    quantise,
    reshaped,
)

MOVES = ("Identity", "Dropout", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
TRANSFORMS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Output:
    """An output of the graph: float32 values ``start`` and on of Y; ``transform`` is left to the host."""

    name: str
    shape: tuple[int, ...]
    start: int
    transform: str | None


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program and what its input and outputs mean. ``scale`` and ``zero`` are X's."""

    program: Program
    scale: float
    zero: int
    outputs: tuple[Output, ...]


class Lowering:
    """One graph being compiled. Operators with arithmetic are in `onnx_layers`, by ``LAYERS``."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        size = int(np.prod(graph.shape))
        self.program = Program(x_bytes=size)
        self.values: dict[str, Value] = {
            graph.input: View(None, np.arange(size, dtype=np.int64).reshape(1, *graph.shape),
                              graph.input_type != "float32")}
        self.input: Activation | None = None
        self._loads: dict[tuple[tuple[int, ...], bytes], Activation] = {}

    def run(self) -> Lowered:
        """Compile. Raises :class:`ConfigError` naming the node that cannot be."""
        from safhost.serve.add.onnx_layers import LAYERS

        check_operators(self.graph, {*MOVES, *FUNCTIONS, *LAYERS, "QuantizeLinear", "DequantizeLinear", "Softmax"})
        for node in self.graph.nodes:
            layer = LAYERS.get(node.op)
            if node.op == "QuantizeLinear":
                self._quantise(node)
            elif node.op == "DequantizeLinear":
                self._dequantise(node)
            elif node.op in MOVES:
                self._move(node)
            elif layer is not None:
                self.values[node.outputs[0]] = layer(self, node)
            else:
                self._function(node)
        outputs = tuple(self._output(name) for name in self.graph.outputs)
        if self.input is None:
            raise ConfigError(f"{self.graph.source}: no output depends on input {self.graph.input}",
                              "check what the model was exported from")
        return Lowered(self.program, float(self.input.scale), self.input.zero, outputs)

    def value(self, node: Node, at: int) -> Value:
        """Input ``at`` of a node: constants without quantisation are refused."""
        name = node.inputs[at]
        if name in self.values:
            return self.values[name]
        raise node.error(f"its input {name!r} is a constant that is not quantised",
                         "quantise weights too, or give the float model and --calibrate")

    def view(self, node: Node, at: int) -> View:
        """Input ``at`` as values of an activation that mean floats."""
        value = self.value(node, at)
        if isinstance(value, Deferred):
            raise node.error(f"its input, made by {value.node.label}, is not quantised",
                             "quantise it (QuantFormat.QDQ does), or give the float model and --calibrate")
        if not isinstance(value, View):
            raise node.error(f"its input {node.inputs[at]!r} is not computed from the model's input", "")
        return self.loaded(node, value)

    def loaded(self, node: Node, view: View) -> View:
        """The view, of an activation when it is the model's quantised input."""
        if view.data is not None or view.scale is None:
            return view
        key = view.index.shape, view.index.tobytes()
        data = self._loads.get(key)
        if data is None:
            data = self._loads[key] = self._load(node, view, *view.scale)
        return View(data, fresh_index((data.channels, data.height, data.width), view.index.ndim), view.quantised,
                    view.pads)

    def parameter(self, node: Node, at: int) -> QuantisedConstant | NDArray[Any] | None:
        """A constant input, quantised or plain; None when it is left out or computed."""
        plain = self.graph.constant(node, at)
        if plain is not None:
            return plain
        value = self.values.get(node.inputs[at]) if at < len(node.inputs) else None
        return value if isinstance(value, QuantisedConstant) else None

    def _scale(self, node: Node) -> tuple[NDArray[np.float32], NDArray[Any]]:
        scale, zero = self.graph.constant(node, 1), self.graph.constant(node, 2)
        if scale is None or (len(node.inputs) > 2 and node.inputs[2] and zero is None):
            raise node.error("its scale or zero point is not constant",
                             "quantise statically: dynamic quantisation does not run here")
        if node.attributes.get("block_size"):
            raise node.error("it quantises in blocks", "per tensor and per channel are supported")
        if zero is None:
            zero = np.zeros(scale.shape, np.uint8)
        return np.asarray(scale, np.float32), np.asarray(zero)

    def _activation_scale(self, node: Node) -> tuple[np.float32, int, int]:
        scale, zero = self._scale(node)
        if scale.size != 1 or zero.dtype not in (np.int8, np.uint8):
            raise node.error(f"{zero.dtype} with {scale.size} scales", "activations are int8 or uint8 with one scale")
        raw = 128 if zero.dtype == np.uint8 else 0
        step = np.float32(scale.reshape(-1)[0])
        if not np.isfinite(step) or step <= 0:
            raise node.error(f"its scale is {step}", "a scale is positive")
        return step, int(zero.reshape(-1)[0]) - raw, raw

    def _dequantise(self, node: Node) -> None:
        constant = self.graph.constant(node, 0)
        if constant is not None:
            scale, zero = self._scale(node)
            if zero.dtype != constant.dtype:
                zero = zero.astype(constant.dtype)
            self.values[node.outputs[0]] = QuantisedConstant(constant, scale.reshape(-1), zero.reshape(-1),
                                                             node.attributes.get("axis", 1) % max(1, constant.ndim))
            return
        value = self.value(node, 0)
        step, zero_point, raw = self._activation_scale(node)
        if isinstance(value, Transformed):
            self.values[node.outputs[0]] = value
            return
        if not isinstance(value, View) or not value.quantised:
            raise node.error("its input is not quantised", "")
        known = value.scale if value.data is None else (value.data.scale, value.data.zero, value.data.raw)
        if known is None:
            known = step, zero_point, raw  # the model's input is integers
        if known != (step, zero_point, raw):
            raise node.error("it has another scale than what it undoes", "export it again")
        self.values[node.outputs[0]] = View(value.data, value.index, False, value.pads,
                                            known if value.data is None else None)

    def _load(self, node: Node, view: View, step: np.float32, zero: int, raw: int) -> Activation:
        index = view.index
        shape = (*index.shape[1:], 1, 1)
        size = {4: shape[:3], 3: (shape[0], 1, shape[1]), 2: (shape[0], 1, 1)}.get(index.ndim)
        found = affine(index.reshape(size)) if size is not None else None
        if size is None or found is None:
            raise node.error(f"an input of shape {[*index.shape]} cannot be read", "images, rows or vectors can")
        target = Activation(size[0], size[1], size[2], step, zero, raw)
        if self.input is not None and (self.input.scale, self.input.zero) != (step, zero):
            raise node.error("the model's input is quantised twice, in different scales", "quantise it once")
        self.program.load(target, found[0], found[1], f"input {self.graph.input}")
        self.input = target
        return target

    def _quantise(self, node: Node) -> None:
        value = self.value(node, 0)
        step, zero, raw = self._activation_scale(node)
        name = node.outputs[0]
        if isinstance(value, Transformed):
            self.values[name] = value
        elif isinstance(value, View) and value.data is None and value.scale in (None, (step, zero, raw)):
            self.values[name] = View(None, value.index, True, value.pads, (step, zero, raw))
        elif isinstance(value, View):
            value = self.loaded(node, value)
            data = value.data
            assert data is not None
            if (data.scale, data.zero, data.raw) != (step, zero, raw):
                if data.raw != raw:
                    raise node.error("its input is of the other signedness", "use int8 or uint8 throughout")
                data = Activation(data.channels, data.height, data.width, step, zero, raw)
                assert value.data is not None
                self.program.table(value.data, quantise(dequantised_bytes(value.data), step, zero), data, node.label)
            self.values[name] = View(data, value.index, True, value.pads)
        elif isinstance(value, Deferred):
            target = Activation(*value.size, step, zero, raw)
            if value.function is not None:
                assert value.source is not None
                table = quantise(value.function(dequantised_bytes(value.source)), step, zero)
                self.program.table(value.source, table, target, value.node.label)
            else:
                assert value.emit is not None
                low, high = (int(quantise(np.array(v, np.float32), step, zero)) for v in (value.low, value.high))
                value.emit(target, (low, high))
            self.values[name] = View(target, value.index, True)
        else:
            raise node.error("it quantises a constant", "fold constants before")

    def _move(self, node: Node) -> None:
        value = self.value(node, 0)
        if isinstance(value, View | Deferred):
            index = reshaped(self.graph, node, value.index)
            assert index is not None
            if isinstance(value, View):
                if any(value.pads):
                    raise node.error("it moves padded values", "only a convolution may follow Pad")
                self.values[node.outputs[0]] = View(value.data, index, value.quantised, scale=value.scale)
            else:
                self.values[node.outputs[0]] = replace(value, index=index)
        elif isinstance(value, QuantisedConstant) and node.op == "Transpose":
            q = value.q.transpose(node.attributes.get("perm") or range(value.q.ndim)[::-1])
            perm = list(node.attributes.get("perm") or range(value.q.ndim)[::-1])
            self.values[node.outputs[0]] = QuantisedConstant(q, value.scale, value.zero, perm.index(value.axis))
        elif isinstance(value, Transformed):
            self.values[node.outputs[0]] = value
        else:
            raise node.error("it moves a quantised constant", "fold it before quantising")

    def _function(self, node: Node) -> None:
        """Softmax, and functions of one value."""
        value = self.value(node, 0)
        if not isinstance(value, View | Deferred):
            raise node.error("nothing can be computed from its input", "")
        if isinstance(value, View):
            value = self.loaded(node, value)
        last = self._is_last(node)
        if node.op == "Softmax":
            axis = node.attributes.get("axis", -1 if self.graph.opset >= 13 else 1) % value.index.ndim
            if not last or value.index.shape[axis] != value.index.size:
                raise node.error("it is not the last operator, over all values of an output",
                                 "softmax is left to the host; cut the model behind it")
            self.values[node.outputs[0]] = Transformed("softmax", value)
            return
        if isinstance(value, View):
            if value.data is None or value.quantised or any(value.pads):
                raise node.error("its input is not quantised", "quantise it, or give the float model and --calibrate")
            self.values[node.outputs[0]] = Deferred(
                node, (value.data.channels, value.data.height, value.data.width), value.index, source=value.data,
                function=function_of(self.graph, node))
        elif value.function is None and node.op in TRANSFORMS and last:
            self.values[node.outputs[0]] = Transformed(TRANSFORMS[node.op], value)
        elif value.function is not None:
            self.values[node.outputs[0]] = deferred_after(node, value, function_of(self.graph, node), 0, 0)
        else:
            low, high = limits_of(self.graph, node)
            self.values[node.outputs[0]] = deferred_after(node, value, None, low, high)

    def _is_last(self, node: Node) -> bool:
        """Whether only quantisation and reshaping follow."""
        names = list(node.outputs)
        for name in names:
            for user in self.graph.uses(name):
                if user.op not in ("QuantizeLinear", "DequantizeLinear", "Identity", "Reshape", "Flatten", "Squeeze"):
                    return False
                names.extend(user.outputs)
        return True

    def _output(self, name: str) -> Output:
        value: Value | None = self.values.get(name)
        source, transform = self.graph.source, None
        if isinstance(value, Transformed):
            transform, value = value.transform, value.of
        start = self.program.y_values
        if isinstance(value, View):
            value = self.loaded(Node("output", name, [], [name], {}), value)
        if isinstance(value, View) and value.data is not None:
            if value.quantised:
                raise ConfigError(f"{source}: output {name} is int8", "end the model with DequantizeLinear")
            value = Deferred(Node("", "", [], [], {}), (value.data.channels, value.data.height, value.data.width),
                             value.index, source=value.data, function=lambda x: x)
        if not isinstance(value, Deferred):
            raise ConfigError(f"{source}: output {name} is not computed from the model's input", "remove it")
        count = value.index.size
        if value.function is not None:
            assert value.source is not None
            grid = positions(value.index, value.size)
            found = None if grid is None else affine(grid)
            if found is None:
                raise ConfigError(f"{source}: output {name} does not lie in strides", "transpose it on the client")
            table = np.asarray(value.function(dequantised_bytes(value.source)), np.float32)
            self.program.store(value.source, table, start + found[0], found[1], f"output {name}")
        elif value.emit_float is not None and np.array_equal(value.index.reshape(-1), np.arange(count)):
            value.emit_float(start, (value.low, value.high))
        else:
            raise ConfigError(f"{source}: output {name}, made by {value.node.label}, is not quantised",
                              "quantise it (QuantFormat.QDQ does)")
        self.program.y_values += count
        return Output(name, value.index.shape[1:], start, transform)
