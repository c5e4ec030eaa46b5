"""Float ONNX graphs to int8 after training: ranges from calibration samples, QuantizeLinear and DequantizeLinear
inserted where the engine wants int8.

Weights are symmetric, a scale an output channel. Activations are uint8 (which onnxruntime runs in integers throughout;
the engine takes 128 off) with one scale and a zero point, of the range that leaves the least squared error of the
values seen. The last Conv or Gemm before an output keeps its 32-bit sums: they leave as float32.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.serve.add.onnx_float import run_float
from safhost.serve.add.onnx_functions import FUNCTIONS
from safhost.serve.add.onnx_layers import LAYERS
from safhost.serve.add.onnx_lower import MOVES, TRANSFORMS
from safhost.serve.add.onnx_read import Graph, Node, check_operators
from safhost.serve.add.onnx_simplify import new_constant, simplify

Floats = NDArray[np.float32]

KEPT_VALUES = 20_000
"""Values of a tensor that are kept to choose its range; the same few of every sample."""

SHRINK = np.linspace(1.0, 0.5, 26)
"""Ranges that are tried, as parts of the whole one."""

TRANSPARENT = (*MOVES, "MaxPool", "Pad")
LINEAR = ("Conv", "Gemm")


def load_samples(path: str | Path, graph: Graph) -> list[Floats]:
    """Samples [1, …] of the graph's input from an .npz (under its name, or the only array) or .npy file."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "save it with np.savez or np.save") from None
    if isinstance(loaded, np.ndarray):
        array = loaded
    else:
        with loaded:
            names = loaded.files
            name = graph.input if graph.input in names else names[0] if len(names) == 1 else ""
            if not name:
                raise ConfigError(f"{path} has {', '.join(names) or 'nothing'}, the model's input is {graph.input}",
                                  "name the array so")
            try:
                array = loaded[name]
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise ConfigError(f"{path}: {name} cannot be read: {error}", "save it with np.savez") from None
    if array.ndim != len(graph.shape) + 1 or array.shape[1:] != graph.shape or not len(array) \
            or array.dtype.kind not in "iuf":
        raise ConfigError(f"{path}: {array.dtype} of shape {array.shape}, expected samples of shape {graph.shape}",
                          "the first dimension counts samples")
    if not np.isfinite(array).all():
        raise ConfigError(f"{path} has NaN or infinities", "leave such samples out")
    return [np.asarray(sample[None], np.float32) for sample in array]


def quantise_graph(graph: Graph, samples: list[Floats]) -> Graph:
    """The graph with QuantizeLinear and DequantizeLinear, to be lowered. Raises :class:`ConfigError`."""
    known = {*MOVES, *FUNCTIONS, *LAYERS, "Softmax"}
    check_operators(graph, {*known, "BatchNormalization"})
    if graph.opset < 13:
        raise ConfigError(f"{graph.source} is of opset {graph.opset}: scales a channel came with 13",
                          "convert it with onnx.version_converter")
    simplify(graph)
    check_operators(graph, known)
    for node in graph.nodes:
        if node.op == "Softmax" and not _ends(graph, node):
            raise node.error("it is not the last operator", "softmax is left to the host; cut the model behind it")
    quantised = _wanted(graph)
    ranges = _Ranges()
    run_float(graph, samples, quantised, ranges.see)
    return _Inserter(graph, {name: ranges.scale(name) for name in quantised}).run()


def _wanted(graph: Graph) -> list[str]:
    """Tensors that become int8."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    names = [graph.input]
    for node in graph.nodes:
        name = node.outputs[0]
        users = graph.uses(name)
        fused = len(users) == 1 and users[0].op in ("Relu", "Clip") and name not in graph.outputs \
            and node.op not in FUNCTIONS and node.op not in TRANSPARENT
        if node.op in TRANSPARENT or node.op == "Softmax" or fused or _stays_float(graph, makers, node):
            continue
        names.append(name)
    return names


def _stays_float(graph: Graph, makers: dict[str, Node], node: Node) -> bool:
    """Whether a node is the last with weights (or limits behind them), or a transform left to the host."""
    return _source_is_linear(makers, node) and _ends(graph, node) and (
        node.op in (*LINEAR, "Relu", "Clip") or node.op in TRANSFORMS)


def _source_is_linear(makers: dict[str, Node], node: Node) -> bool:
    while node.op in (*MOVES, "Relu", "Clip", *TRANSFORMS) and node.inputs[0] in makers:
        node = makers[node.inputs[0]]
    return node.op in LINEAR


def _ends(graph: Graph, node: Node) -> bool:
    """Whether all that follows only moves, limits or transforms values on their way to an output."""
    users = graph.uses(node.outputs[0])
    allowed = (*MOVES, *TRANSFORMS, *(("Relu", "Clip") if node.op in LINEAR else ()))
    if node.outputs[0] in graph.outputs:
        return not users
    return bool(users) and all(user.op in allowed and _ends(graph, user) for user in users) and len(users) == 1


class _Ranges:
    """Values seen of each tensor: extremes of all, and a part of them."""

    def __init__(self) -> None:
        self._low: dict[str, float] = {}
        self._high: dict[str, float] = {}
        self._some: dict[str, list[Floats]] = {}

    def see(self, name: str, values: Floats) -> None:
        if not np.isfinite(values).all():
            raise ConfigError(f"tensor {name} becomes NaN or infinite with the calibration samples", "check both")
        self._low[name] = min(self._low.get(name, 0.0), float(values.min()))
        self._high[name] = max(self._high.get(name, 0.0), float(values.max()))
        kept = self._some.setdefault(name, [])
        step = max(1, values.size // 1000)
        if len(kept) * 1000 < KEPT_VALUES:
            kept.append(values.reshape(-1)[len(kept) % step::step].copy())

    def scale(self, name: str) -> tuple[np.float32, np.uint8]:
        """Scale and zero point of least squared error; zero has an exact place, as padding needs it."""
        values = np.concatenate(self._some[name])
        best: tuple[float, np.float32, np.uint8] | None = None
        for part in SHRINK:
            low, high = self._low[name] * part, self._high[name] * part
            scale = np.float32((high - low) / 255) if high > low else np.float32(1)
            if not scale > np.finfo(np.float32).tiny:
                scale = np.float32(1)
            zero = int(np.clip(np.rint(-low / scale), 0, 255))
            steps = np.clip(np.rint(values / scale) + zero, 0, 255) - zero
            error = float(np.square(steps * scale - values, dtype=np.float64).sum())
            if best is None or error < best[0]:
                best = error, scale, np.uint8(zero)
        assert best is not None
        return best[1], best[2]


class _Inserter:
    """Puts the pairs in. Names of outputs stay."""

    def __init__(self, graph: Graph, scales: dict[str, tuple[np.float32, np.uint8]]) -> None:
        self.graph, self.scales = graph, scales
        self.nodes: list[Node] = []
        self.now: dict[str, str] = {}
        """What a tensor's users read instead of it."""
        self._float: set[str] = set()
        """Results that are quantised behind a limit."""

    def run(self) -> Graph:
        graph = self.graph
        self._pair(graph.input)
        for node in graph.nodes:
            inputs = [self.now.get(name, name) for name in node.inputs]
            if node.op in LINEAR:
                inputs = self._weights(node, inputs)
            name = node.outputs[0]
            if node.op == "Relu" and name in self.scales and self.scales[name][1] == 0 and inputs[0] == node.inputs[0] \
                    and inputs[0] in self._float:
                self._pair(name, inputs[0])  # uint8 that begins at 0 has no negative values: the limit is there
                continue
            self.nodes.append(Node(node.op, node.name, inputs, [name], node.attributes))
            if name in self.scales:
                self._pair(name)
            elif node.op in LINEAR or node.op in ("Add", "AveragePool", "GlobalAveragePool"):
                self._float.add(name)
        graph.nodes = self.nodes
        graph.changed()
        return graph

    def _pair(self, name: str, source: str = "") -> None:
        """Quantise a tensor, or ``source`` instead of it."""
        scale, zero = self.scales[name]
        pair = [new_constant(self.graph, np.array(scale), "scale"), new_constant(self.graph, np.array(zero), "zero")]
        is_output = name in self.graph.outputs
        if is_output and not source:  # what follows bears the output's name
            source = f"{name}/float"
            self.nodes[-1].outputs = [source]
        source = source or name
        self.nodes.append(Node("QuantizeLinear", f"{name}/q", [source, *pair], [f"{name}/uint8"], {}))
        after = name if is_output else f"{name}/dq"
        self.nodes.append(Node("DequantizeLinear", f"{name}/dq", [f"{name}/uint8", *pair], [after], {}))
        self.now[name] = after

    def _weights(self, node: Node, inputs: list[str]) -> list[str]:
        """Input, weights and bias of a Conv or Gemm, the constants as DequantizeLinear of integers."""
        weights, bias = self.graph.constant(node, 1), self.graph.constant(node, 2)
        source = self._scale_of(inputs[0])
        if weights is None or source is None:
            raise node.error("its weights are not constant" if weights is None else "its input has no scale",
                             "export the model for inference")
        axis = 0 if node.op == "Conv" or node.attributes.get("transB") else 1
        weights = np.asarray(weights, np.float32) * np.float32(node.attributes.pop("alpha", 1.0))
        others = tuple(a for a in range(weights.ndim) if a != axis)
        largest = np.abs(weights).max(axis=others)
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
        shape = [1] * weights.ndim
        shape[axis] = -1
        q = np.clip(np.rint(weights / scale.reshape(shape)), -127, 127).astype(np.int8)
        made = [inputs[0], self._constant(node, q, scale, axis, "weights")]
        if bias is not None:
            sums = np.asarray(source * scale, np.float32)
            factor = float(node.attributes.pop("beta", 1.0))
            steps = np.rint(np.broadcast_to(bias.reshape(-1) * factor, len(sums)) / sums.astype(np.float64))
            limits = np.iinfo(np.int32)
            made.append(self._constant(node, np.clip(steps, limits.min, limits.max).astype(np.int32), sums, 0, "bias"))
        elif len(inputs) > 2 and inputs[2]:
            raise node.error("its bias is computed by the model", "export the model for inference")
        return made

    def _scale_of(self, name: str) -> np.float32 | None:
        """Scale of what a tensor holds, through what only moves values."""
        makers = {output: node for node in self.nodes for output in node.outputs}
        while name in makers:
            node = makers[name]
            if node.op == "DequantizeLinear":
                return np.float32(self.graph.constants[node.inputs[1]])
            if node.op not in TRANSPARENT:
                return None
            name = node.inputs[0]
        return None

    def _constant(self, node: Node, q: NDArray[Any], scale: Floats, axis: int, what: str) -> str:
        graph = self.graph
        name = f"{node.outputs[0]}/{what}"
        inputs = [new_constant(graph, q, what), new_constant(graph, scale, "scale"),
                  new_constant(graph, np.zeros(len(scale), q.dtype), "zero")]
        self.nodes.append(Node("DequantizeLinear", name, inputs, [name], {"axis": axis}))
        return name
