"""Functions of one value: on the engine they are tables of 256 entries, here they are numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.add.onnx_read import Graph, Node

Floats = NDArray[np.float32]


def _sigmoid(x: Floats, _: dict[str, Any]) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -80, 80))), np.float32)


def _erf(x: Floats, _: dict[str, Any]) -> Floats:
    return np.array([math.erf(v) for v in x.reshape(-1)], np.float32).reshape(x.shape)


FUNCTIONS: dict[str, Callable[[Floats, dict[str, Any]], Floats]] = {
    "Relu": lambda x, a: np.maximum(x, 0),
    "LeakyRelu": lambda x, a: np.where(x >= 0, x, np.float32(a.get("alpha", 0.01)) * x),
    "Elu": lambda x, a: np.where(x >= 0, x, np.float32(a.get("alpha", 1)) * np.expm1(np.minimum(x, 0))),
    "Selu": lambda x, a: np.float32(a.get("gamma", 1.05070098)) * np.where(
        x >= 0, x, np.float32(a.get("alpha", 1.67326324)) * np.expm1(np.minimum(x, 0))),
    "Sigmoid": _sigmoid,
    "Tanh": lambda x, a: np.tanh(x),
    "Softplus": lambda x, a: np.logaddexp(x, 0),
    "Softsign": lambda x, a: x / (1 + np.abs(x)),
    "HardSigmoid": lambda x, a: np.clip(np.float32(a.get("alpha", 0.2)) * x + np.float32(a.get("beta", 0.5)), 0, 1),
    "HardSwish": lambda x, a: x * np.clip(x / 6 + np.float32(0.5), 0, 1),
    "Erf": _erf,
    "Abs": lambda x, a: np.abs(x),
    "Neg": lambda x, a: -x,
    "Exp": lambda x, a: np.exp(x),
    "Clip": lambda x, a: np.clip(x, a["min"], a["max"]),
}
"""By ONNX's name, with attributes of the node; definitions are those of ONNX's operator documentation."""

MONOTONE_LIMITS = ("Relu", "Clip")


def function_of(graph: Graph, node: Node) -> Callable[[Floats], Floats]:
    """The node's function of float32."""
    attributes = dict(node.attributes)
    if node.op == "Clip":
        attributes["min"], attributes["max"] = limits_of(graph, node)
    function = FUNCTIONS[node.op]

    def apply(x: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return np.asarray(function(np.asarray(x, np.float32), attributes), np.float32)
    return apply


def limits_of(graph: Graph, node: Node) -> tuple[float, float]:
    """(low, high) of Relu and Clip; infinite for all others."""
    if node.op == "Relu":
        return 0.0, math.inf
    if node.op != "Clip":
        return -math.inf, math.inf
    limits = []
    for at, (name, default) in enumerate((("min", -math.inf), ("max", math.inf)), 1):
        constant = graph.constant(node, at)
        if constant is None and at < len(node.inputs) and node.inputs[at]:
            raise node.error(f"its {name} is not constant", "export it with a constant one")
        limits.append(default if constant is None else float(constant.reshape(-1)[0]))
    return limits[0], limits[1]
