"""ONNX files: read, checked, constants folded, brought to a batch of one. What is wrong is said by file and node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError

OLDEST_OPSET = 11
"""Before it, pads of pooling and axes of Squeeze and others meant other things."""

_NOT_FOLDED = {"DequantizeLinear"}  # how a weight was quantised is what the compiler needs


class OnnxMissing(ConfigError):
    """The package onnx is not installed."""


def onnx_package() -> Any:
    """The onnx package, or an error that says how to get it."""
    try:
        import onnx
        import onnx.reference
        import onnx.shape_inference
    except ImportError:
        raise OnnxMissing("reading ONNX models needs the package onnx", "pip install 'safhost[serve]'") from None
    return onnx


@dataclass(eq=False)
class Node:
    """An operator. ``attributes`` as Python values; ``label`` is how errors name it."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    domain: str = ""

    @property
    def label(self) -> str:
        return f"{self.op} {self.name!r}" if self.name else f"{self.op} that makes {self.outputs[0]!r}"

    def error(self, message: str, hint: str = "") -> ConfigError:
        return ConfigError(f"node {self.label}: {message}", hint)


@dataclass(eq=False)
class Graph:
    """A model of one input, at a batch of one: ``shape`` is the input's, without the batch."""

    source: str
    opset: int
    nodes: list[Node]
    constants: dict[str, NDArray[Any]]
    input: str
    input_type: str
    shape: tuple[int, ...]
    outputs: list[str]
    _uses: dict[str, list[Node]] = field(default_factory=dict)

    def uses(self, name: str) -> list[Node]:
        """Nodes that read a tensor."""
        if not self._uses:
            for node in self.nodes:
                for value in node.inputs:
                    self._uses.setdefault(value, []).append(node)
        return self._uses.get(name, [])

    def changed(self) -> None:
        """To be called when nodes were added or removed."""
        self._uses = {}

    def constant(self, node: Node, at: int) -> NDArray[Any] | None:
        """The constant that is input ``at`` of a node, None when it is absent or not constant."""
        return self.constants.get(node.inputs[at]) if at < len(node.inputs) and node.inputs[at] else None


def read_onnx(path: str | Path) -> Graph:
    """Read a model. Raises :class:`ConfigError` for what is broken, dynamic beyond its batch, or too old or new."""
    onnx = onnx_package()
    try:
        model = onnx.load(str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", "give the path of an .onnx file") from None
    except Exception as error:  # protobuf and onnx raise many kinds for a file that is no model
        raise ConfigError(f"{path} is not an ONNX model: {_first_line(error)}", "export it again") from None
    return graph_of(model, str(path))


def graph_of(model: Any, source: str) -> Graph:
    """The graph of a ModelProto; ``source`` names it in errors."""
    onnx = onnx_package()
    _check_opsets(onnx, model, source)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # onnx's ValidationError is not the only one that its checker raises
        raise ConfigError(f"{source} is not a valid ONNX model: {_first_line(error)}", "export it again") from None
    graph = model.graph
    constants = {init.name: onnx.numpy_helper.to_array(init) for init in graph.initializer}
    if graph.sparse_initializer:
        raise ConfigError(f"{source} has sparse weights", "export it with dense ones")
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise ConfigError(f"{source} has {len(inputs)} inputs ({names}), the engine takes one",
                          "put them into one tensor, or split the model")
    shape = _shape(source, inputs[0])
    inputs[0].type.tensor_type.shape.dim[0].dim_value = 1
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    element = onnx.helper.tensor_dtype_to_np_dtype(inputs[0].type.tensor_type.elem_type).name
    if element not in ("float32", "int8", "uint8"):
        raise ConfigError(f"{source}: input {inputs[0].name} is {element}", "the engine takes float32, int8 or uint8")
    nodes = [Node(n.op_type, n.name, list(n.input), list(n.output),
                  {a.name: _value(onnx, a) for a in n.attribute}, n.domain) for n in graph.node]
    result = Graph(source, opset, nodes, constants, inputs[0].name, element, shape, [o.name for o in graph.output])
    _fold(onnx, model, result)
    return result


def check_operators(graph: Graph, known: Mapping[str, object] | Iterable[str]) -> None:
    """Raise :class:`ConfigError` naming every node whose operator is not among ``known``."""
    names = set(known)
    missing = [node.label for node in graph.nodes if node.op not in names]
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise ConfigError(f"{graph.source}: not supported: {shown}", f"supported are {', '.join(sorted(names))}")


def _check_opsets(onnx: Any, model: Any, source: str) -> None:
    newest = onnx.defs.onnx_opset_version()
    found = {o.domain or "ai.onnx": o.version for o in model.opset_import}
    version = found.get("ai.onnx")
    if version is None:
        raise ConfigError(f"{source} names no version of ONNX's operators", "export it again")
    if not OLDEST_OPSET <= version <= newest:
        raise ConfigError(f"{source} is of opset {version}, supported are {OLDEST_OPSET} to {newest}",
                          "convert it with onnx.version_converter")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") and not (
                node.domain == "com.microsoft" and node.op_type in ("QuantizeLinear", "DequantizeLinear")):
            raise ConfigError(f"{source}: node {node.op_type} {node.name!r} is of domain {node.domain}",
                              "quantise with QuantFormat.QDQ, and export without custom operators")


def _shape(source: str, value: Any) -> tuple[int, ...]:
    if not value.type.tensor_type.HasField("shape") or not value.type.tensor_type.shape.dim:
        raise ConfigError(f"{source}: input {value.name} has no shape",
                          "export it with one; only the batch may be open")
    dims = value.type.tensor_type.shape.dim
    if dims[0].dim_value > 1:
        raise ConfigError(f"{source}: input {value.name} has a fixed batch of {dims[0].dim_value}",
                          "export it with a batch of 1 or an open one")
    for axis, dim in enumerate(dims):
        if axis and dim.dim_value < 1:
            raise ConfigError(f"{source}: dimension {axis} of input {value.name} is "
                              f"{dim.dim_param or 'open'}", "only the batch may be open: export it with fixed sizes")
    return tuple(dim.dim_value for dim in dims[1:])


def _value(onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value


def _fold(onnx: Any, model: Any, graph: Graph) -> None:
    """Evaluate nodes of constants (and of shapes, which a batch of one makes constant) and drop them."""
    shapes = _inferred_shapes(onnx, model)
    evaluator = onnx.reference.ReferenceEvaluator
    kept = []
    for node, proto in zip(graph.nodes, model.graph.node, strict=True):
        if node.op == "Shape" and (dims := shapes.get(node.inputs[0])):
            start, end = node.attributes.get("start", 0), node.attributes.get("end", len(dims))
            graph.constants[node.outputs[0]] = np.array(dims[start:end], np.int64)
        elif node.op not in _NOT_FOLDED and all(not i or i in graph.constants for i in node.inputs):
            try:
                values = evaluator(proto, opsets={"": graph.opset}).run(
                    None, {i: graph.constants[i] for i in node.inputs if i})
            except Exception as error:  # whatever an operator's reference code raises for bad constants
                raise node.error(f"cannot be evaluated: {_first_line(error)}") from None
            graph.constants.update(zip(node.outputs, values, strict=False))
        else:
            kept.append(node)
    graph.nodes = _needed(graph, kept)


def _needed(graph: Graph, nodes: list[Node]) -> list[Node]:
    """Nodes that lead to an output."""
    wanted, kept = set(graph.outputs), []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs)
    return kept[::-1]


def _inferred_shapes(onnx: Any, model: Any) -> dict[str, list[int]]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # shapes are then only missed where a node asks for one, and that node is named
        return {}
    shapes = {}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if all(dims):
            shapes[value.name] = dims
    return shapes


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
