"""Whole networks on the engine: ResNet-50 and the examples of a user's own models; the array of an FPGA."""

import numpy as np
import onnx
import pytest
from engine_bench import FOLDER, EngineBench, kernel_module, quantised_input
from onnx_nets import quantise_by_onnxruntime, random_net, run_onnxruntime

from safhost.bench.serve.modelled import RESNET_CYCLES
from safhost.serve.add.common import AddOptions, write_model
from safhost.serve.add.convnet_clocks import ARRAY_CHANNELS, ARRAY_DEPTH, ARRAY_PIXELS, CLOCK_MHZ, program_clocks
from safhost.serve.add.convnet_parts import FIELDS, Op
from safhost.serve.add.onnx import make_onnx_model
from safhost.serve.add.onnx_float import model_of
from safhost.serve.add.onnx_lower import Lowering
from safhost.serve.add.onnx_quantise import quantise_graph
from safhost.serve.add.onnx_read import graph_of, read_onnx
from safhost.serve.config import parse_config
from safhost.serve.contract import Contract
from safhost.serve.mapping import load_mapping


@pytest.fixture(scope="module")
def engine():
    bench = EngineBench()
    yield bench
    bench.close()


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER / "examples"))
    return kernel_module


def test_words_and_operations_are_those_of_the_kernel():
    text = (FOLDER / "resnet50.cl").read_text()
    for name, value in (("WORDS", 32), *((f"F_{n.upper()}", at) for at, n in enumerate(FIELDS, 1)),
                        *((f"OP_{op.name}", int(op)) for op in Op)):
        assert f"#define {name} {value}" in text


def test_array_of_the_fpga_computes_what_vectors_do(engine, tmp_path):
    array = EngineBench("-DSAF_ARRAY -DSAF_PIXELS=3 -DSAF_DEPTH=4")
    try:
        for seed in (1, 4):
            net, model = random_net(seed)
            x = np.random.default_rng(seed).standard_normal((2, *net.shape)).astype(np.float32)
            lowered = Lowering(read_onnx(quantise_by_onnxruntime(model, tmp_path, x))).run()
            built = lowered.program.build()
            assert np.array_equal(array.run(built, quantised_input(lowered, x)),
                                  engine.run(built, quantised_input(lowered, x)))
    finally:
        array.close()


def reduced_resnet(script, size=56, blocks=(1, 2, 1, 1), width=16, jets=4):
    jets_module, trunk = script("jets"), script("trunk")
    images = jets_module.enlarge(jets_module.make_jets(jets, 3)[0], size)
    made = trunk.Trunk(images[:2], 5, blocks, width)
    return images, quantise_graph(graph_of(made.model(), "resnet"), [i[None] for i in images[:2]])


def equals_onnxruntime(engine, graph, images, folder):
    lowered = Lowering(graph).run()
    ours = engine.run(lowered.program.build(), quantised_input(lowered, images))
    onnx.save(model_of(graph), folder / "trunk.onnx")
    theirs, integers = run_onnxruntime(folder / "trunk.onnx", images.astype(np.float32), folder, "image")
    assert integers
    assert ours.std() > 0
    assert np.array_equal(ours, theirs)
    return lowered


def test_reduced_resnet_equals_onnxruntime(engine, tmp_path, script):
    images, graph = reduced_resnet(script)
    equals_onnxruntime(engine, graph, images, tmp_path)


@pytest.mark.slow
def test_resnet50_equals_onnxruntime_and_takes_2_ms_on_the_declared_array(engine, tmp_path, script):
    images, graph = reduced_resnet(script, 224, (3, 4, 6, 3), 64, 2)
    lowered = equals_onnxruntime(engine, graph, images, tmp_path)
    layers = lowered.program.build().layers
    assert 1.8 < program_clocks(layers) / CLOCK_MHZ / 1000 < 2.2


@pytest.mark.slow
def test_tagger_takes_the_clocks_that_the_table_of_papers_names(script):
    jets_module, trunk = script("jets"), script("trunk")
    image = jets_module.enlarge(jets_module.make_jets(1, 3)[0], 224)
    rng = np.random.default_rng(3)
    head = tuple((rng.normal(size=(a, b)).astype(np.float32), np.zeros(b, np.float32)) for a, b in
                 ((2048, 1024), (1024, 2)))
    graph = quantise_graph(graph_of(trunk.Trunk(image, 5).model(head), "resnet50"), [image])
    assert program_clocks(Lowering(graph).run().program.build().layers) == RESNET_CYCLES


def test_clocks_are_never_fewer_than_multiplications_or_weights_allow(script):
    _, graph = reduced_resnet(script)
    built = Lowering(graph).run().program.build()
    clocks = program_clocks(built.layers)
    assert clocks > built.macs / (ARRAY_PIXELS * ARRAY_CHANNELS * ARRAY_DEPTH)
    assert clocks > built.weights.nbytes / 85


def test_top_tagger_is_served_as_its_mapping_says(engine, tmp_path, script):
    maker = script("make_model")
    graph, found = maker.make(jets=45, size=56, blocks=(1, 1), width=8, hidden=32)
    assert set(found["all of it in int8"]) == {"accuracy", "auc"}
    assert found["jet mass alone"]["auc"] > 0.8
    made = make_onnx_model(graph, AddOptions("top", max_batch_size=4), {"probabilities": ("qcd", "top")})
    folder = write_model(tmp_path, "top", made)
    config = parse_config((folder.parent / "config.pbtxt").read_text(), "config.pbtxt", "top")
    mapping = load_mapping(folder, "top/1", config.default_model_filename, Contract(config))
    place, = mapping.inputs
    images = np.random.default_rng(1).standard_normal((3, 3 * 56 * 56)).astype(np.float32)
    sizes = mapping.sizes(3)
    into = np.zeros(sizes.shapes["X"], np.int8)
    place.lanes[0].codec.encode(images, into)
    lowered = Lowering(graph).run()
    assert np.array_equal(into, quantised_input(lowered, images))
    binding = mapping.kernel.bind(X=into, **mapping.resident, **sizes.scalars)
    assert binding.shapes["Y"] == (3, 2)
    assert mapping.outputs[0].lanes[0].transform == "softmax"


def test_example_of_michel_electrons_keeps_its_accuracy_in_int8(engine, script):
    michel = script("examples/michel")
    net = michel.make(patches=200)
    x, wanted = michel.make_patches(80, 99)
    lowered = Lowering(quantise_graph(graph_of(net.model(), "michel"), [s[None] for s in x[:16]])).run()
    assert [(o.name, o.start, o.transform) for o in lowered.outputs] == [
        ("em_trk_none", 0, "softmax"), ("michel", 3, "sigmoid")]
    scores = engine.run(lowered.program.build(), quantised_input(lowered, x))
    ours = michel.figures(net.activate(scores), wanted)
    exact = michel.figures(net.predict(x), wanted)
    assert exact["em/track/none"] > 0.5
    assert all(ours[name] > exact[name] - 0.05 for name in exact)


def test_example_of_a_calorimeter_keeps_its_resolution_in_int8(engine, script):
    calo = script("examples/calorimeter")
    net = calo.make(showers=200)
    x, energy = calo.make_showers(100, 99)
    lowered = Lowering(quantise_graph(graph_of(net.model(), "calo"), [s[None] for s in x[:16]])).run()
    ours = engine.run(lowered.program.build(), quantised_input(lowered, x))[:, 0] * calo.UNIT_GEV
    exact = net.predict(x)[:, 0] * calo.UNIT_GEV
    assert calo.resolution(ours, energy) < 1.15 * calo.resolution(exact, energy) + 1
