"""Float graphs with fewer kinds of operators: what is linear goes into the convolution or Gemm before it.

BatchNormalization and constants a channel (Mul, Add, Sub, Div) are folded, or become a depthwise convolution of one
tap where nothing before them takes them; MatMul with Add becomes Gemm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.add.onnx_read import Graph, Node

Floats = NDArray[np.float64]
ARITHMETIC = ("Mul", "Add", "Sub", "Div")


@dataclass(frozen=True, slots=True)
class Affine:
    """x · factor + offset, each one number a channel or one for all."""

    factor: Floats
    offset: Floats


def simplify(graph: Graph) -> Graph:
    """Change ``graph`` in place and return it."""
    ranks = {graph.input: len(graph.shape) + 1}
    channels: dict[str, int] = {graph.input: graph.shape[0]}
    makers: dict[str, Node] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        if node.op == "MatMul":
            _matmul_to_gemm(graph, node)
        data = next((i for i in node.inputs if i not in graph.constants), "")
        rank = ranks.get(data, 0)
        affine = _affine(graph, node, rank, channels.get(data, 0))
        before = makers.get(data)
        if affine is not None and before is not None and len(graph.uses(data)) == 1 and data not in graph.outputs \
                and _fold_into(graph, before, affine):
            before.outputs = list(node.outputs)
            makers[node.outputs[0]] = before
            ranks[node.outputs[0]], channels[node.outputs[0]] = rank, channels.get(data, 0)
            continue
        taken = node
        if affine is not None and rank in (3, 4) and channels.get(data):
            taken = _depthwise(graph, node, data, affine, channels[data], rank)
        kept.append(taken)
        for name in taken.outputs:
            makers[name] = taken
            ranks[name], channels[name] = _rank_after(graph, taken, rank), _channels_after(graph, taken, channels, data)
    graph.nodes = kept
    graph.changed()
    return graph


def _rank_after(graph: Graph, node: Node, rank: int) -> int:
    """Rank of a node's result where that is known; 0 for unknown, which keeps it from being folded."""
    if node.op in ("Flatten", "Gemm"):
        return 2
    if node.op == "Reshape":
        shape = graph.constant(node, 1)
        return 0 if shape is None else int(shape.size)
    if node.op in ("Squeeze", "Unsqueeze", "ReduceMean", "Transpose"):
        return 0
    return rank


def _channels_after(graph: Graph, node: Node, channels: dict[str, int], data: str) -> int:
    if node.op in ("Conv", "Gemm"):
        weights = graph.constant(node, 1)
        if weights is None:
            return 0
        return int(weights.shape[0 if node.op == "Conv" or node.attributes.get("transB") else 1])
    if node.op in ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"):
        return 0
    if node.op == "Concat":
        return sum(channels.get(i, 0) for i in node.inputs) if all(channels.get(i) for i in node.inputs) else 0
    return channels.get(data, 0)


def _matmul_to_gemm(graph: Graph, node: Node) -> None:
    weights = graph.constant(node, 1)
    if weights is not None and weights.ndim == 2:
        node.op = "Gemm"


def _affine(graph: Graph, node: Node, rank: int, channels: int) -> Affine | None:
    """What a node does if that is a factor and an offset a channel."""
    if node.op == "BatchNormalization":
        values = [graph.constant(node, at) for at in range(1, 5)]
        if any(v is None for v in values) or node.attributes.get("training_mode"):
            raise node.error("its statistics are not constant", "export the model for inference")
        scale, bias, mean, variance = (np.asarray(v, np.float64) for v in values)
        factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        return Affine(factor, bias - mean * factor)
    if node.op not in ARITHMETIC or len(node.inputs) != 2:
        return None
    at = 0 if node.inputs[0] in graph.constants else 1
    constant = graph.constant(node, at)
    if constant is None or (node.op == "Div" and at == 0):
        return None
    value = np.asarray(constant, np.float64)
    if value.size != 1:
        shape = (1,) * (rank - value.ndim) + value.shape
        if rank < 2 or len(shape) != rank or value.size != shape[1] or value.size != channels:
            return None
    flat = value.reshape(-1)
    one, zero = np.ones(1), np.zeros(1)
    if node.op == "Mul":
        return Affine(flat, zero)
    if node.op == "Div":
        return Affine(1 / flat, zero)
    if node.op == "Add":
        return Affine(one, flat)
    return Affine(one, -flat) if at == 1 else Affine(-one, flat)


def _fold_into(graph: Graph, node: Node, affine: Affine) -> bool:
    """Put an affine step into the weights of the Conv or Gemm before it."""
    weights = graph.constant(node, 1)
    if node.op not in ("Conv", "Gemm") or weights is None:
        return False
    axis = 0 if node.op == "Conv" or node.attributes.get("transB") else 1
    count = weights.shape[axis]
    bias = graph.constant(node, 2)
    if len(node.inputs) > 2 and node.inputs[2] and bias is None:
        return False
    scale = float(node.attributes.pop("alpha", 1.0)) if node.op == "Gemm" else 1.0
    bias_scale = float(node.attributes.pop("beta", 1.0)) if node.op == "Gemm" else 1.0
    factor = np.broadcast_to(affine.factor, count)
    old = np.zeros(count) if bias is None else np.broadcast_to(np.asarray(bias, np.float64).reshape(-1), count)
    shape = [1] * weights.ndim
    shape[axis] = count
    node.inputs = [node.inputs[0],
                   new_constant(graph, np.asarray(weights * scale * factor.reshape(shape), np.float32)),
                   new_constant(graph, np.asarray(old * bias_scale * factor + affine.offset, np.float32))]
    return True


def _depthwise(graph: Graph, node: Node, data: str, affine: Affine, channels: int, rank: int) -> Node:
    factor = np.broadcast_to(affine.factor, channels).astype(np.float32)
    offset = np.broadcast_to(affine.offset, channels).astype(np.float32)
    kernel = [1] * (rank - 2)
    weights = new_constant(graph, factor.reshape(channels, 1, *kernel))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "group": channels}
    return Node("Conv", node.name or node.outputs[0], [data, weights, new_constant(graph, offset)], list(node.outputs),
                attributes)


def new_constant(graph: Graph, value: NDArray[Any], hint: str = "c") -> str:
    """Name of a new constant."""
    at = len(graph.constants)
    while f"saf.{hint}.{at}" in graph.constants:
        at += 1
    graph.constants[f"saf.{hint}.{at}"] = value
    return f"saf.{hint}.{at}"
