"""Float ONNX graphs run with numpy, to see which ranges their tensors have; and graphs back as ONNX models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.serve.add.convnet_parts import Window
from safhost.serve.add.onnx_layers import window_of
from safhost.serve.add.onnx_read import Graph, Node, onnx_package

Floats = NDArray[np.float32]

IR_VERSION = 9
"""Of models we write: opset 13 to 20 go with it, and every runtime of the last years reads it."""


def model_of(graph: Graph, outputs: Iterable[str] = ()) -> Any:
    """The graph as a ModelProto; ``outputs`` besides its own."""
    onnx = onnx_package()
    helper, types = onnx.helper, onnx.TensorProto
    element = {"float32": types.FLOAT, "int8": types.INT8, "uint8": types.UINT8}[graph.input_type]
    used = {name for node in graph.nodes for name in node.inputs}
    values = [helper.make_tensor_value_info(name, types.FLOAT, None)
              for name in dict.fromkeys((*graph.outputs, *outputs))]
    nodes = [helper.make_node(n.op, n.inputs, n.outputs, name=n.name, **n.attributes) for n in graph.nodes]
    made = helper.make_graph(
        nodes, "network", [helper.make_tensor_value_info(graph.input, element, ["batch", *graph.shape])], values,
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in graph.constants.items() if k in used])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=IR_VERSION)
    return onnx.shape_inference.infer_shapes(model)  # outputs without a shape are no valid model


def run_float(graph: Graph, samples: Iterable[Floats], names: list[str],
              seen: Callable[[str, Floats], None]) -> None:
    """Run each sample [1, …] and show ``seen`` the tensors ``names``."""
    evaluator = _evaluator(graph, names)
    for sample in samples:
        try:
            results = evaluator.run(names, {graph.input: sample})
        except ConfigError:
            raise
        except Exception as error:  # whatever the reference code of an operator raises
            raise ConfigError(f"{graph.source} does not run: {error}", "check it with onnxruntime") from None
        for name, value in zip(names, results, strict=True):
            seen(name, np.asarray(value, np.float32))


def _evaluator(graph: Graph, names: list[str]) -> Any:
    onnx_package()
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class Conv(OpRun):
        def _run(self, x: Floats, w: Floats, b: Floats | None = None, **attributes: Any) -> tuple[Floats]:
            return (convolve(x, w, b, _node("Conv", attributes)),)

    class MaxPool(OpRun):
        def _run(self, x: Floats, **attributes: Any) -> tuple[Floats]:
            return (pool(x, _node("MaxPool", attributes)),)

    class AveragePool(OpRun):
        def _run(self, x: Floats, **attributes: Any) -> tuple[Floats]:
            return (pool(x, _node("AveragePool", attributes)),)

    # those of the package walk over pixels in Python
    return ReferenceEvaluator(model_of(graph, names), new_ops=[Conv, MaxPool, AveragePool])


def _node(op: str, attributes: dict[str, Any]) -> Node:
    return Node(op, "", [], ["result"], {k: v for k, v in attributes.items() if v is not None})


def _image(x: Floats) -> Floats:
    return x[:, :, None] if x.ndim == 3 else x


def _taps(x: Floats, window: Window, fill: float) -> tuple[list[Floats], tuple[int, int]]:
    """For each tap of the window the input that it sees, [n, c, height, width] of the output."""
    height, width = window.out(*x.shape[2:])
    need = [(height - 1) * window.strides[0] + window.dilations[0] * (window.kernel[0] - 1) + 1,
            (width - 1) * window.strides[1] + window.dilations[1] * (window.kernel[1] - 1) + 1]
    after = [max(0, need[axis] - x.shape[2 + axis] - window.pads[axis]) for axis in range(2)]
    padded = np.pad(x, ((0, 0), (0, 0), (window.pads[0], after[0]), (window.pads[1], after[1])), constant_values=fill)
    taps = []
    for ky in range(window.kernel[0]):
        for kx in range(window.kernel[1]):
            top, left = ky * window.dilations[0], kx * window.dilations[1]
            taps.append(padded[:, :, top:top + (height - 1) * window.strides[0] + 1:window.strides[0],
                               left:left + (width - 1) * window.strides[1] + 1:window.strides[1]])
    return taps, (height, width)


def convolve(x: Floats, w: Floats, b: Floats | None, node: Node) -> Floats:
    """ONNX's Conv."""
    rank, groups = x.ndim, int(node.attributes.get("group", 1))
    image = _image(x)
    window = window_of(node, w.shape[2:], (image.shape[2], image.shape[3]))
    filters = w.reshape(w.shape[0], w.shape[1], -1)
    taps, (height, width) = _taps(image, window, 0.0)
    out = np.zeros((len(x), w.shape[0], height * width), np.float32)
    if w.shape[1] == 1 and groups == w.shape[0]:
        for k, tap in enumerate(taps):
            out += filters[None, :, 0, k, None] * tap.reshape(len(x), groups, -1)
    else:
        matrix = np.ascontiguousarray(filters.transpose(0, 2, 1).reshape(w.shape[0], -1))
        for group in range(groups):
            inputs = slice(group * w.shape[1], (group + 1) * w.shape[1])
            results = slice(group * (w.shape[0] // groups), (group + 1) * (w.shape[0] // groups))
            for image_at in range(len(x)):  # one matrix product an image: all taps below each other
                seen = np.concatenate([tap[image_at, inputs].reshape(w.shape[1], -1) for tap in taps])
                np.matmul(matrix[results], seen, out=out[image_at, results])
    if b is not None:
        out += b[None, :, None]
    return out.reshape(len(x), w.shape[0], *((height, width) if rank == 4 else (width,)))


def pool(x: Floats, node: Node) -> Floats:
    """ONNX's MaxPool and AveragePool."""
    rank, image = x.ndim, _image(x)
    window = window_of(node, tuple(node.attributes["kernel_shape"]), (image.shape[2], image.shape[3]))
    largest = node.op == "MaxPool"
    taps, (height, width) = _taps(image, window, -np.inf if largest else 0.0)
    if largest:
        out: Floats = np.max(np.stack(taps), axis=0)
    else:
        inside, _ = _taps(np.ones_like(image[:1, :1]), window, 0.0)
        count = len(taps) if node.attributes.get("count_include_pad", 0) else np.sum(np.stack(inside), axis=0)
        out = np.asarray(np.sum(np.stack(taps), axis=0) / count, np.float32)
    return out.reshape(*x.shape[:2], *((height, width) if rank == 4 else (width,)))
