"""Networks that onnxruntime quantised, compiled and run on the engine: equal to onnxruntime, bit for bit."""

import numpy as np
import onnx
import pytest
from engine_bench import EngineBench, quantised_input
from onnx_nets import Net, quantise_by_onnxruntime, random_net, run_onnxruntime

from safhost.serve.add.common import AddOptions
from safhost.serve.add.onnx import make_onnx_model
from safhost.serve.add.onnx_lower import Lowering
from safhost.serve.add.onnx_read import read_onnx


@pytest.fixture(scope="module")
def engine():
    bench = EngineBench()
    yield bench
    bench.close()


def compare(engine, path, folder, x):
    """(ours, onnxruntime's, whether that ran in integers throughout, what was compiled)."""
    lowered = Lowering(read_onnx(path)).run()
    built = lowered.program.build()
    theirs, integers = run_onnxruntime(path, x, folder)
    return engine.run(built, quantised_input(lowered, x)), theirs, integers, lowered


KINDS = [{"activations": "uint8"}, {"activations": "int8", "per_channel": True},
         {"activations": "uint8", "weights": "uint8"}, {"activations": "uint8", "per_channel": True}]


@pytest.mark.parametrize("seed", range(16))
def test_random_networks_equal_onnxruntime(engine, tmp_path, seed):
    net, model = random_net(seed)
    samples = np.random.default_rng(seed + 1000).standard_normal((6, *net.shape)).astype(np.float32)
    path = quantise_by_onnxruntime(model, tmp_path, samples[:4], **KINDS[seed % 4])
    ours, theirs, integers, _ = compare(engine, path, tmp_path, samples)
    step = np.diff(np.unique(theirs)).min()
    if integers:
        assert np.array_equal(ours, theirs)
    else:  # it computes some layers of int8 activations in float32: there a value may round the other way
        assert np.abs(ours - theirs).max() <= 4.01 * step


@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_models_whose_input_is_integers_take_them_as_they_are(engine, tmp_path, activations):
    net, model = random_net(4)
    samples = np.random.default_rng(1).standard_normal((4, *net.shape)).astype(np.float32)
    quantised = onnx.load(quantise_by_onnxruntime(model, tmp_path, samples, activations=activations))
    first = next(n for n in quantised.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "x")
    for node in quantised.graph.node:
        node.input[:] = ["x" if name == first.output[0] else name for name in node.input]
    quantised.graph.node.remove(first)
    kind = np.dtype(activations)
    quantised.graph.input[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(kind)
    onnx.save(quantised, tmp_path / "integers.onnx")
    x = np.random.default_rng(2).integers(0, 256, (3, *net.shape)).astype(np.uint8).view(kind)
    made = make_onnx_model(read_onnx(tmp_path / "integers.onnx"), AddOptions("net"))
    lane = made.mapping["inputs"][0]["type"]
    assert (made.inputs[0].datatype, lane["scale"]) == (activations.upper(), 1.0)
    lowered = Lowering(read_onnx(tmp_path / "integers.onnx")).run()
    on_card = (x.astype(np.int16) + lane["zero_point"]).astype(np.int8)
    theirs, integers = run_onnxruntime(tmp_path / "integers.onnx", x, tmp_path)
    ours = engine.run(lowered.program.build(), on_card)
    assert np.abs(ours - theirs).max() <= (0 if integers else 4.01 * np.diff(np.unique(theirs)).min())


@pytest.mark.parametrize(("op", "attributes"), [
    ("AveragePool", {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "strides": [2, 1], "count_include_pad": 1}),
    ("AveragePool", {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "strides": [2, 1], "count_include_pad": 0}),
    ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", {"kernel_shape": [2, 3], "dilations": [2, 1]}),
    ("MaxPool", {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
])
def test_every_pixel_of_a_pool_equals_onnxruntime(engine, tmp_path, op, attributes):
    net = Net(8, (3, 11, 9))
    net.node(op, net.node("Relu", net.conv("x", 3, 20, 3)), **attributes)
    model = net.model(t2=[20, "h", "w"])
    samples = np.random.default_rng(1).standard_normal((4, *net.shape)).astype(np.float32)
    ours, theirs, integers, _ = compare(engine, quantise_by_onnxruntime(model, tmp_path, samples), tmp_path, samples)
    assert integers
    assert np.array_equal(ours, theirs)
