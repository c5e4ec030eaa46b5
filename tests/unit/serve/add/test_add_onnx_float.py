"""Float networks: quantised after training with samples, compiled, run; and models added from files."""

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from engine_bench import EngineBench, quantised_input
from onnx_nets import Net, random_net, run_onnxruntime

from safhost.cli import cli
from safhost.errors import ConfigError
from safhost.plan.image import Image
from safhost.serve.add import AddOptions, add_model
from safhost.serve.add.onnx_float import model_of, run_float
from safhost.serve.add.onnx_lower import Lowering
from safhost.serve.add.onnx_quantise import load_samples, quantise_graph
from safhost.serve.add.onnx_read import graph_of
from safhost.serve.add.onnx_simplify import simplify


@pytest.fixture(scope="module")
def engine():
    bench = EngineBench()
    yield bench
    bench.close()


def quantised(model, samples):
    return quantise_graph(graph_of(model, "net"), [s[None] for s in samples])


def samples_of(net, count=8):
    return np.random.default_rng(77).standard_normal((count, *net.shape)).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 8, 10])
def test_quantised_after_training_equals_onnxruntime_and_is_near_the_float_network(engine, tmp_path, seed):
    net, model = random_net(seed)
    x = samples_of(net)
    graph = quantised(model, x)
    lowered = Lowering(graph).run()
    ours = engine.run(lowered.program.build(), quantised_input(lowered, x))
    onnx.save(model_of(graph), tmp_path / "quantised.onnx")
    onnx.save(model, tmp_path / "float.onnx")
    theirs, _ = run_onnxruntime(tmp_path / "quantised.onnx", x, tmp_path)
    exact, _ = run_onnxruntime(tmp_path / "float.onnx", x, tmp_path)
    # the last sums leave as float32: onnxruntime forms that one product in another order
    assert np.abs(ours - theirs).max() <= 1e-6 * max(1, np.abs(theirs).max())
    assert np.abs(ours - exact).max() <= 0.1 * np.ptp(exact)


def test_normalisation_and_constants_go_into_convolutions(tmp_path):
    net = Net(3, (3, 8, 8))
    x = net.node("Div", net.node("Sub", "x", net.weights(net.normal(3, 1, 1))), net.weights(np.float32(2.5)))
    x = net.conv(x, 3, 8, 3, bias=False)
    statistics = [net.weights(v) for v in (net.normal(8), net.normal(8), net.normal(8), np.abs(net.normal(8)) + 1)]
    x = net.node("Relu", net.node("BatchNormalization", x, *statistics))
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    x = net.node("Add", net.node("MatMul", x, net.weights(net.normal(8, 4))), net.weights(net.normal(4)))
    model = net.model(**{x: [4]})
    graph = simplify(graph_of(model, "net"))
    assert [n.op for n in graph.nodes] == ["Conv", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    onnx.save(model, tmp_path / "float.onnx")
    sample = samples_of(net, 1)
    theirs, _ = run_onnxruntime(tmp_path / "float.onnx", sample, tmp_path)
    seen = {}
    run_float(graph, [sample], [x], lambda name, value: seen.update({name: value}))
    assert np.allclose(seen[x], theirs, atol=1e-5)


def test_transposed_images_vectors_and_signals_are_read_by_strides(engine, tmp_path):
    for shape, build in (((6, 5, 3), image_of_channels_last), ((11,), perceptron), ((2, 30), signal)):
        net = Net(4, shape)
        model = build(net)
        x = samples_of(net)
        graph = quantised(model, x)
        lowered = Lowering(graph).run()
        ours = engine.run(lowered.program.build(), quantised_input(lowered, x))
        onnx.save(model_of(graph), tmp_path / "quantised.onnx")
        theirs, _ = run_onnxruntime(tmp_path / "quantised.onnx", x, tmp_path)
        assert np.allclose(ours, theirs, atol=1e-5)


def image_of_channels_last(net):
    x = net.node("Relu", net.conv(net.node("Transpose", "x", perm=[0, 3, 1, 2]), 3, 5, 3))
    return net.model(**{net.dense(net.node("Flatten", net.node("Transpose", x, perm=[0, 2, 3, 1])), 150, 4): [4]})


def perceptron(net):
    x = net.node("Tanh", net.dense("x", 11, 20))
    return net.model(**{net.dense(x, 20, 3): [3]})


def signal(net):
    x = net.node("Conv", "x", net.weights(net.normal(4, 2, 5)), kernel_shape=[5], pads=[2, 2], strides=[2])
    x = net.node("MaxPool", net.node("Relu", x), kernel_shape=[3], strides=[3])
    return net.model(**{net.dense(net.node("Reshape", x, net.weights(np.array([-1, 20]))), 20, 3): [3]})


def test_several_outputs_lie_side_by_side_and_transforms_are_the_hosts(engine):
    net = Net(5, (2, 8, 8))
    x = net.node("Flatten", net.node("GlobalAveragePool", net.node("Relu", net.conv("x", 2, 8, 3))))
    kind, michel = net.node("Softmax", net.dense(x, 8, 3), axis=1), net.node("Sigmoid", net.dense(x, 8, 1))
    model = net.model(**{kind: [3], michel: [1]})
    x = samples_of(net)
    graph = quantised(model, x)
    lowered = Lowering(graph).run()
    assert [(o.name, o.shape, o.start, o.transform) for o in lowered.outputs] == [
        (kind, (3,), 0, "softmax"), (michel, (1,), 3, "sigmoid")]
    assert engine.run(lowered.program.build(), quantised_input(lowered, x)).shape == (8, 4)


@pytest.fixture
def float_model(tmp_path):
    net = Net(6, (1, 12, 12))
    x = net.node("Flatten", net.node("MaxPool", net.node("Relu", net.conv("x", 1, 6, 3)), kernel_shape=[4, 4],
                                     strides=[4, 4]))
    model = net.model(**{net.node("Softmax", net.dense(x, 54, 4)): [4]})
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "samples.npz", x=samples_of(net))
    return tmp_path


def test_model_add_writes_a_model_of_resident_arrays(float_model):
    models = float_model / "models"
    result = CliRunner().invoke(cli, ["model", "add", "net", "--repository", str(models), "--from",
                                       str(float_model / "net.onnx"), "--calibrate", str(float_model / "samples.npz")])
    assert result.exit_code == 0, result.output
    folder = models / "net" / "1"
    with np.load(folder / "weights.npz") as weights:
        assert {name: weights[name].dtype.name for name in weights.files} == {
            "program": "int32", "weights": "int8", "params": "int32"}
    assert "dims: [ 1, 12, 12 ]" in (models / "net" / "config.pbtxt").read_text()
    assert Image.open(folder / "model.saf").kernels["resnet50"].model.clock_mhz == 300
    assert "modelled" in result.output


def test_float_model_without_samples_is_refused(float_model):
    with pytest.raises(ConfigError, match=r"float model.*--calibrate"):
        add_model(float_model / "models", float_model / "net.onnx", AddOptions("net"))


@pytest.mark.parametrize(("samples", "message"), [
    ({"y": np.zeros((2, 1, 5, 5))}, r"shape \(2, 1, 5, 5\), expected samples of shape \(1, 12, 12\)"),
    ({"a": np.zeros(3), "b": np.zeros(3)}, "the model's input is x"),
    ({"x": np.full((1, 1, 12, 12), np.nan)}, "NaN"),
    ({"x": np.zeros((0, 1, 12, 12))}, "expected samples"),
])
def test_samples_that_do_not_fit_are_refused(float_model, samples, message):
    np.savez(float_model / "bad.npz", **samples)
    graph = graph_of(onnx.load(float_model / "net.onnx"), "net")
    with pytest.raises(ConfigError, match=message):
        load_samples(float_model / "bad.npz", graph)


def test_file_of_samples_that_is_none_is_refused(float_model):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_samples(float_model / "net.onnx", graph_of(onnx.load(float_model / "net.onnx"), "net"))
