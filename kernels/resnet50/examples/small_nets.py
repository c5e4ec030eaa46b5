"""Small networks for the examples: seeded convolutions, dense layers trained on what they give, written as ONNX.

The convolutions stay as they were drawn (declared random features); training the dense layers behind them takes
seconds with numpy. Any other framework's ONNX export takes the same way from here on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from safhost.serve.add.onnx_float import convolve, pool
from safhost.serve.add.onnx_read import Node

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """An output: ``values`` numbers; ``kind`` softmax, sigmoid or linear (squared error)."""

    name: str
    values: int
    kind: str


class SmallNet:
    """Convolutions with ReLU and max pooling, then dense layers with ReLU, then heads side by side."""

    def __init__(self, shape: tuple[int, int, int], filters: tuple[int, ...], dense: tuple[int, ...],
                 heads: tuple[Head, ...], seed: int) -> None:
        self.shape, self.heads, self.rng = shape, heads, np.random.default_rng(seed)
        self.convs: list[tuple[Floats, Floats]] = []
        channels = shape[0]
        for out in filters:
            w = self.rng.normal(0, (channels * 9) ** -0.5, (out, channels, 3, 3))
            self.convs.append((w.astype(np.float32), self.rng.normal(0, 0.05, out).astype(np.float32)))
            channels = out
        self.sizes = (self.features(np.zeros((1, *shape), np.float32)).shape[1], *dense,
                      sum(h.values for h in heads))
        self.dense: list[tuple[Floats, Floats]] = []

    def features(self, x: Floats) -> Floats:
        """What the convolutions give, flattened."""
        for w, b in self.convs:
            x = np.maximum(convolve(x, w, b, Node("Conv", "", [], ["y"], {"pads": [1] * 4})), 0)
            x = pool(x, Node("MaxPool", "", [], ["y"], {"kernel_shape": [2, 2], "strides": [2, 2]}))
        return x.reshape(len(x), -1)

    def train(self, x: Floats, wanted: Floats, epochs: int = 20) -> None:
        """Gradient descent with momentum on the dense layers. ``wanted`` [n, values of all heads]."""
        features = self.features(x)
        mean, spread = features.mean(0), features.std(0) + 0.05
        inputs = ((features - mean) / spread).astype(np.float32)
        layers = [[self.rng.normal(0, np.sqrt(2 / a), (a, b)).astype(np.float32), np.zeros(b, np.float32)]
                  for a, b in zip(self.sizes, self.sizes[1:], strict=False)]
        layers[-1][0] *= np.float32(0.1)
        speed = [[np.zeros_like(p) for p in layer] for layer in layers]
        steps = epochs * (len(x) // 64)
        for step in range(steps):
            rows = self.rng.integers(0, len(x), 64)
            values = [inputs[rows]]
            for k, (w, b) in enumerate(layers):
                out = values[-1] @ w + b
                values.append(np.maximum(out, 0) if k < len(layers) - 1 else out)
            back = (self.activate(values[-1]) - wanted[rows]) / np.float32(len(rows))
            rate = np.float32(0.03 * (1 - step / steps))
            for k in range(len(layers) - 1, -1, -1):
                slopes = values[k].T @ back + np.float32(1e-3) * layers[k][0], back.sum(0)
                back = (back @ layers[k][0].T) * (values[k] > 0)
                for which, slope in enumerate(slopes):
                    speed[k][which] *= np.float32(0.9)
                    speed[k][which] -= rate * slope
                    layers[k][which] += speed[k][which]
        first = layers[0][0] / spread[:, None]
        layers[0] = [first.astype(np.float32), (layers[0][1] - mean @ first).astype(np.float32)]
        self.dense = [(w, b) for w, b in layers]

    def predict(self, x: Floats) -> Floats:
        """All heads side by side, in float32."""
        values = self.features(x)
        for k, (w, b) in enumerate(self.dense):
            values = values @ w + b
            if k < len(self.dense) - 1:
                values = np.maximum(values, 0)
        return self.activate(values)

    def activate(self, scores: Floats) -> Floats:
        """What softmax and sigmoid make of the heads' scores."""
        out, at = scores.copy(), 0
        for head in self.heads:
            part = out[:, at:at + head.values]
            if head.kind == "softmax":
                part[:] = np.exp(part - part.max(1, keepdims=True))
                part /= part.sum(1, keepdims=True)
            elif head.kind == "sigmoid":
                part[:] = 1 / (1 + np.exp(-np.clip(part, -60, 60)))
            at += head.values
        return out

    def model(self) -> Any:
        """A ModelProto of float32, as a framework's export would be."""
        nodes: list[Any] = []
        constants: list[Any] = []

        def constant(array: Floats) -> str:
            constants.append(numpy_helper.from_array(np.ascontiguousarray(array), f"c{len(constants)}"))
            return str(constants[-1].name)

        def node(op: str, *inputs: str, to: str = "", **attributes: Any) -> str:
            nodes.append(helper.make_node(op, list(inputs), [to or f"{op.lower()}{len(nodes)}"],
                                          name=f"{op.lower()}{len(nodes)}", **attributes))
            return str(nodes[-1].output[0])

        x = "image"
        for w, b in self.convs:
            x = node("Relu", node("Conv", x, constant(w), constant(b), kernel_shape=[3, 3], pads=[1] * 4))
            x = node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = node("Flatten", x)
        for w, b in self.dense[:-1]:
            x = node("Relu", node("Gemm", x, constant(w), constant(b)))
        (w, b), at = self.dense[-1], 0
        for head in self.heads:
            part = slice(at, at + head.values)
            last = {"softmax": "Softmax", "sigmoid": "Sigmoid"}.get(head.kind, "Identity")
            node(last, node("Gemm", x, constant(w[:, part]), constant(b[part])), to=head.name)
            at += head.values
        outputs = [helper.make_tensor_value_info(h.name, TensorProto.FLOAT, ["batch", h.values]) for h in self.heads]
        graph = helper.make_graph(
            nodes, "net", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *self.shape])], outputs,
            constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
