"""Adds ONNX models: int8 (QDQ, as onnxruntime's quantiser writes them), or float32 with calibration data.

The kernel is kernels/resnet50, the same image for every such model: what differs are resident arrays, so cards change
between these models without being programmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safhost.errors import ConfigError
from safhost.paths import kernels_dir
from safhost.serve.add.common import AddOptions, MadeModel, ModelTensor
from safhost.serve.add.convnet import Built
from safhost.serve.add.convnet_clocks import CLOCK_MHZ, program_clocks
from safhost.serve.add.onnx_lower import Lowered, Lowering
from safhost.serve.add.onnx_quantise import load_samples, quantise_graph
from safhost.serve.add.onnx_read import Graph, read_onnx
from safhost.units import format_bytes

KERNEL = "resnet50"

BATCH_BYTES = 256 << 20
"""A batch's images, results and scratch stay below this on a card of 8 GiB, so that several are under way."""


def read(path: Path, options: AddOptions) -> MadeModel:
    """Read and compile a model. Raises :class:`ConfigError` naming file and node."""
    return make_onnx_model(read_onnx(path), options)


def make_onnx_model(graph: Graph, options: AddOptions,
                    labels: Mapping[str, tuple[str, ...]] | None = None) -> MadeModel:
    """The model of a graph; a float one is quantised first, which takes ``options.calibrate``. ``labels`` of classes
    by output."""
    notes = []
    if not is_quantised(graph):
        if not options.calibrate:
            raise ConfigError(f"{graph.source} is a float model: the engine computes with int8",
                              "give samples of its input with --calibrate data.npz, or quantise it with onnxruntime")
        samples = load_samples(options.calibrate, graph)
        graph = quantise_graph(graph, samples)
        notes.append(f"quantised to int8 after {len(samples)} samples")
    lowered = Lowering(graph).run()
    built = lowered.program.build()
    files = {name: (kernels_dir() / KERNEL / name).read_text(encoding="utf-8")
             for name in ("kernel.yaml", f"{KERNEL}.cl")}
    image_bytes = built.x_bytes + 4 * built.y_values + built.scratch_bytes
    batch = max(1, min(options.max_batch_size, BATCH_BYTES // image_bytes))
    notes.append(f"{len(built.layers)} layers, {built.macs / 1e6:,.1f} million multiplications, "
                 f"{format_bytes(built.weights.nbytes)} of weights, {format_bytes(built.scratch_bytes)} of scratch; "
                 f"modelled {program_clocks(built.layers) / CLOCK_MHZ / 1000:.3g} ms an image; batches up to {batch}")
    return MadeModel(
        inputs=(ModelTensor(graph.input, {"float32": "FP32", "int8": "INT8", "uint8": "UINT8"}[graph.input_type],
                            graph.shape),),
        outputs=tuple(ModelTensor(o.name, "FP32", o.shape or (1,), (labels or {}).get(o.name, ()))
                      for o in lowered.outputs),
        files=files, mapping=mapping_of(graph, lowered, built), max_batch_size=batch, notes=tuple(notes),
        weights={"program": built.program, "weights": built.weights, "params": built.params})


def is_quantised(graph: Graph) -> bool:
    """Whether activations are quantised in it."""
    return any(node.op == "QuantizeLinear" for node in graph.nodes) or graph.input_type != "float32"


def mapping_of(graph: Graph, lowered: Lowered, built: Built) -> dict[str, Any]:
    """Content of mapping.yaml."""
    scale, zero = {"float32": (lowered.scale, lowered.zero), "int8": (1.0, 0), "uint8": (1.0, -128)}[graph.input_type]
    outputs = []
    for output in lowered.outputs:
        entry: dict[str, Any] = {"tensor": output.name, "argument": "Y", "type": "float32", "row": built.y_values}
        if output.start:
            entry["offset"] = output.start
        if output.transform:
            entry["transform"] = output.transform
        outputs.append(entry)
    return {"kernel": KERNEL,
            "inputs": [{"tensor": graph.input, "argument": "X", "row": built.x_bytes, "round": "even", "nan": "error",
                        "overflow": "saturate", "type": {"scale": scale, "zero_point": zero, "dtype": "int8"}}],
            "outputs": outputs,
            "scalars": {"x_bytes": built.x_bytes, "y_values": built.y_values,
                        "scratch_bytes": built.scratch_bytes, "cycles": program_clocks(built.layers)},
            "resident": ["program", "weights", "params"]}
