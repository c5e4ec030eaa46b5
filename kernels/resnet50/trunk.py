"""ResNet-50 with seeded random weights, as ONNX: a trunk that nobody trained.

Each convolution is drawn from a normal distribution and then scaled so that its results have mean 0 and variance 1 a
channel over a few images of the data: what batch normalisation would do, folded into weights and biases. So all 50
layers carry signal, and a trained network of the same shape runs through exactly the same instructions.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from safhost.serve.add.onnx_float import convolve, pool
from safhost.serve.add.onnx_read import Node

Floats = NDArray[np.float32]
BLOCKS = (3, 4, 6, 3)
WIDTH = 64


class Trunk:
    """Nodes and constants of a graph, and what its tensors are for the images it is scaled to."""

    def __init__(self, images: Floats, seed: int, blocks: tuple[int, ...] = BLOCKS, width: int = WIDTH) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.values: dict[str, Floats] = {"image": images}
        self.shape = images.shape[1:]
        x = self.node("Relu", self.conv("image", width, 7, 2))
        x = self.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        for stage, count in enumerate(blocks):
            inner, outer = width << stage, 4 * width << stage
            for block in range(count):
                # He et al. 2015 (v1): the first convolution of a stage has the stride
                stride = 2 if stage and not block else 1
                y = self.node("Relu", self.conv(x, inner, 1, stride))
                y = self.conv(self.node("Relu", self.conv(y, inner, 3, 1)), outer, 1, 1)
                if not block:
                    x = self.conv(x, outer, 1, stride)
                x = self.node("Relu", self.node("Add", y, x))
        self.features = self.node("Flatten", self.node("GlobalAveragePool", x))
        self.values.clear()

    def constant(self, array: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(array, f"c{len(self.constants)}"))
        return str(self.constants[-1].name)

    def conv(self, x: str, out: int, kernel: int, stride: int) -> str:
        """A convolution whose results are normal a channel."""
        channels = self.values[x].shape[1]
        w = self.rng.standard_normal((out, channels, kernel, kernel)).astype(np.float32)
        attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        y = convolve(self.values[x], w, None, Node("Conv", "", [], ["y"], attributes))
        mean, spread = y.mean(axis=(0, 2, 3)), y.std(axis=(0, 2, 3)) + 1e-6
        name = self.append("Conv", (x, self.constant(w / spread[:, None, None, None]), self.constant(-mean / spread)),
                           attributes)
        self.values[name] = (y - mean[:, None, None]) / spread[:, None, None]
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = self.append(op, inputs, attributes)
        first = self.values[inputs[0]]
        if op == "Relu":
            self.values[name] = np.maximum(first, 0)
        elif op == "Add":
            self.values[name] = first + self.values[inputs[1]]
        elif op == "MaxPool":
            self.values[name] = pool(first, Node(op, "", [], ["y"], attributes))
        elif op == "GlobalAveragePool":
            self.values[name] = first.mean(axis=(2, 3), keepdims=True)
        else:
            self.values[name] = first.reshape(len(first), -1)
        return name

    def append(self, op: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def model(self, head: tuple[tuple[Floats, Floats], ...] = ()) -> Any:
        """A ModelProto of the trunk and, behind it, dense layers (weights [in, out], biases) with ReLU in between and
        softmax at the end."""
        nodes, constants = deepcopy(self.nodes), list(self.constants)
        x, width = self.features, 0
        for k, (weights, bias) in enumerate(head):
            constants += [numpy_helper.from_array(weights, f"head{k}.w"), numpy_helper.from_array(bias, f"head{k}.b")]
            nodes.append(helper.make_node("Gemm", [x, f"head{k}.w", f"head{k}.b"], [f"dense{k}"], name=f"dense{k}"))
            x, width = f"dense{k}", weights.shape[1]
            if k < len(head) - 1:
                nodes.append(helper.make_node("Relu", [x], [f"relu_dense{k}"], name=f"relu_dense{k}"))
                x = f"relu_dense{k}"
        if head:
            nodes.append(helper.make_node("Softmax", [x], ["probabilities"], name="softmax"))
        else:
            nodes[-1].output[0] = "features"
        graph = helper.make_graph(
            nodes, "resnet50", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *self.shape])],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["batch", width or "values"])],
            constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
