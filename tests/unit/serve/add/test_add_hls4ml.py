"""Networks of any types and modes, out of projects that hls4ml wrote: against its C simulation, and as kernels against
the reference; projects that are damaged or have what is not supported."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hls4ml_projects import Simulation, activation, dense, normalize, write_project

from safhost.errors import ConfigError
from safhost.serve.add.common import AddOptions
from safhost.serve.add.fixed import ApFixed
from safhost.serve.add.hls4ml import read, read_project
from safhost.serve.add.network import ACTIVATIONS, Activation, Dense, Network, Normalize
from safhost.serve.add.network_model import make_network_model

MODES = [("TRN", "WRAP"), ("TRN", "WRAP"), ("TRN", "SAT"), ("RND", "SAT"), ("RND_CONV", "WRAP")]


def random_type(rng, wide):
    if not wide:
        width = rng.randint(4, 16)
        return ApFixed(width, rng.randint(1, 8), True) if rng.random() < 0.7 else ApFixed(min(width, 15), 5, False)
    rounding, overflow = rng.choice(MODES)
    width = rng.randint(6, 24)
    return ApFixed(width, rng.randint(2, width - 2), rng.random() < 0.8, rounding, overflow)


def random_network(seed, wide):
    """Layers of random kinds, sizes and types."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)

    def raw(kind, *shape):
        return numbers.integers(kind.low, kind.high + 1, shape)
    first = kind = random_type(rng, wide)
    size, layers = rng.randint(1, 40), []
    for k in range(rng.randint(2, 5)):
        result = random_type(rng, wide)
        weight, bias, accum = (random_type(rng, wide) for _ in range(3))
        what = rng.choice(["dense", "dense", "normalize", "activation"])
        if what == "dense":
            n_out = rng.randint(1, 20)
            layers.append(Dense(f"d{k}", kind, result, weight, bias, accum, raw(weight, size, n_out), raw(bias, n_out)))
            size = n_out
        elif what == "normalize":
            layers.append(Normalize(f"n{k}", kind, result, weight, bias, raw(weight, size), raw(bias, size)))
        else:
            layers.append(Activation(f"a{k}", rng.choice(ACTIVATIONS), size, kind, result))
        kind = result
    return Network("random", first, tuple(layers))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_kernel_of_a_random_network_equals_the_reference(run_kernel, seed, wide):
    network = random_network(seed, wide)
    made = make_network_model(network, AddOptions("net"))
    source = made.files["net.cl"]
    assert ("short16" in source) != ("long16" in source)
    row_in, row_out = (made.mapping[k][0]["row"] for k in ("inputs", "outputs"))
    dtype = np.int16 if network.input_type.container_bits == 16 else np.int32
    raw = np.random.default_rng(seed).integers(network.input_type.low, network.input_type.high + 1, (70, network.n_in))
    given = np.full((70, row_in), 77, dtype)  # lanes that do not count
    given[:, :network.n_in] = raw
    weights = [made.weights["W"]] if made.weights["W"].size else []
    expected = network.run(raw)
    for option in ("", "-DSAF_FPGA"):
        out = run_kernel(made.files, given, *weights, option=option)["Y"]
        assert out.shape == (70, row_out)
        assert np.array_equal(out[:, :network.n_out], expected), (seed, option, network)
        assert not out[:, network.n_out:].any()


def mixed_layers(kind="relu6"):
    rng = np.random.default_rng(11)
    return [normalize("bn", rng.uniform(0.5, 2, 6), rng.normal(0, 1, 6)),
            dense("first", rng.normal(0, 1, (6, 8)), rng.normal(0, 1, 8)), activation("act", kind),
            dense("second", rng.normal(0, 1, (8, 4)), rng.normal(0, 1, 4)), activation("last", "relu")]


MIXED = {
    "x": {"Precision": {"result": "ap_fixed<14,5,AP_RND,AP_SAT>"}},
    "bn": {"Precision": {"scale": "ap_fixed<12,3>", "bias": "ap_fixed<9,4>",
                         "result": "ap_fixed<18,7,AP_RND_CONV,AP_SAT>"}},
    "first": {"Precision": {"weight": "ap_fixed<7,2>", "bias": "ap_fixed<10,3>",
                            "accum": "ap_fixed<20,7,AP_RND,AP_SAT>", "result": "ap_fixed<15,6,AP_TRN,AP_SAT>"}},
    "act": {"Precision": {"result": "ap_ufixed<9,4,AP_RND,AP_SAT>"}},
    "second": {"Precision": {"weight": "ap_fixed<11,3>", "bias": "ap_fixed<8,3>", "accum": "ap_fixed<24,9>",
                             "result": "ap_fixed<16,7,AP_RND>"}},
    "last": {"Precision": {"result": "ap_fixed<8,4>"}}}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed") / "project"
    return folder, write_project(folder, 6, mixed_layers(), names=MIXED)


def test_types_of_a_project_are_those_that_were_asked_for(mixed):
    network = read_project(mixed[0])
    assert [type(layer).__name__ for layer in network.layers] == \
        ["Normalize", "Dense", "Activation", "Dense", "Activation"]
    assert str(network.input_type) == MIXED["x"]["Precision"]["result"]
    for layer in network.layers:
        assert str(layer.result_type).startswith(MIXED[layer.name]["Precision"]["result"][:-1])
    assert str(network.layers[1].accum_type) == MIXED["first"]["Precision"]["accum"]
    assert network.layers[3].weight_type == ApFixed(11, 3)


@pytest.mark.slow
def test_mixed_types_and_modes_equal_hls4mls_simulation(mixed):
    rows = np.random.default_rng(2).uniform(-20, 20, (3_000, 6)).astype(np.float32)
    assert np.array_equal(read_project(mixed[0]).predict(rows), Simulation(mixed[1], 4).predict(rows))


@pytest.mark.slow
@pytest.mark.parametrize(("io_type", "strategy", "reuse"),
                         [("io_parallel", "Resource", 2), ("io_stream", "Latency", 1)])
def test_other_strategies_and_interfaces_equal_hls4mls_simulation(tmp_path, io_type, strategy, reuse):
    # hls4ml's relu6 does not compile with io_stream
    model = write_project(tmp_path / "p", 6, mixed_layers("relu"), io_type=io_type, strategy=strategy, reuse=reuse)
    rows = np.random.default_rng(2).uniform(-20, 20, (1_000, 6)).astype(np.float32)
    assert np.array_equal(read_project(tmp_path / "p").predict(rows), Simulation(model, 4).predict(rows))


def test_raw_models_take_and_give_integers(mixed):
    made = read(mixed[0], AddOptions("net", raw=True))
    assert [(t.datatype, t.dims) for t in (*made.inputs, *made.outputs)] == [("INT16", (8,)), ("INT16", (4,))]
    assert made.mapping["inputs"][0] == {"tensor": "INPUT", "argument": "X", "row": 8, "type": "int16"}


def test_operators_that_are_not_supported_are_named_with_file_and_line(tmp_path):
    layers = [*mixed_layers()[:2], {**activation("gate", "softsign")}]
    write_project(tmp_path / "p", 6, layers)
    with pytest.raises(ConfigError, match="layer gate: operator softsign is not supported") as error:
        read_project(tmp_path / "p")
    file, line = error.value.message.split(": layer")[0].rsplit(":", 1)
    assert "nnet::softsign" in Path(file).read_text().splitlines()[int(line) - 1]
    assert "dense" in error.value.hint


def edit(name, old, new):
    def change(folder):
        file = folder / "firmware" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
    return change


def cut(name, share):
    def change(folder):
        file = folder / "firmware" / name
        file.write_text(file.read_text()[:int(file.stat().st_size * share)])
    return change


@pytest.mark.parametrize(("change", "said"), [
    (cut("weights/w3.txt", 0.5), r"weights/w3\.txt has \d+ values, .*net\.cpp:\d+ needs 48"),
    (cut("weights/b2.txt", 0.0), r"weights/b2\.txt has 0 values"),
    (edit("weights/w3.txt", ",", ", x1,"), r"weights/w3\.txt: value 2 is 'x1', expected a number"),
    (edit("weights/w3.txt", ",", ", nan,"), r"weights/w3\.txt has 49 values"),
    (lambda folder: (folder / "firmware/weights/b5.txt").unlink(), r"cannot read .*b5\.txt"),
    (edit("defines.h", "ap_fixed<16,7,AP_RND,AP_WRAP,0>", "ap_float<16>"), r"net\.cpp:\d+: type \w+: 'ap_float<16>'"),
    (edit("parameters.h", "n_out = 8", "n_out = N_OUT"), r"parameters\.h: layer first: n_out is 'N_OUT'"),
    (edit("parameters.h", "accum_t;", "sum_t;"), r"parameters\.h: layer first: config3 has no accum_t"),
    (edit("parameters.h", "struct config3", "struct other3"), r"parameters\.h: layer first: no struct config3"),
    (edit("parameters.h", "nnet::DenseLatency", "nnet::DenseDistributed"), "DenseDistributed is not supported"),
    (edit("parameters.h", "n_filt = -1", "n_filt = 3"), "layer bn: normalisation by channels"),
    (edit("net.cpp", "(layer2_out, layer3_out", "(x, layer3_out"), "takes x, the layer before it gives layer2_out"),
    (lambda folder: (folder / "firmware/parameters.h").unlink(), "not an hls4ml project"),
    (lambda folder: (folder / "firmware/net.cpp").unlink(), r"no \.cpp with layers"),
    (cut("net.cpp", 0.55), r"net\.cpp: no layers|gives|needs")])
def test_a_damaged_project_is_refused_with_file_and_place(mixed, tmp_path, change, said):
    folder = tmp_path / "p"
    shutil.copytree(mixed[0] / "firmware", folder / "firmware", ignore=shutil.ignore_patterns("ap_types", "nnet_utils"))
    read_project(folder)
    change(folder)
    with pytest.raises(ConfigError, match=said):
        read_project(folder)


def test_layers_that_do_not_fit_each_other_are_named():
    kind = ApFixed(16, 6)
    layers = (Activation("a", "relu", 4, kind, kind), Activation("b", "relu", 5, kind, kind))
    with pytest.raises(ConfigError, match="layer b takes 5 values, what comes before it gives 4"):
        Network("n", kind, layers)
    with pytest.raises(ConfigError, match="layer a takes ap_fixed<16,6>, what comes before it gives ap_fixed<8,3>"):
        Network("n", ApFixed(8, 3), layers[:1])
    huge = ApFixed(32, 32), ApFixed(32, 0)
    zeros = np.zeros((1, 1), np.int64)
    with pytest.raises(ConfigError, match="layer d: its product needs"):
        Network("n", huge[0], (Dense("d", huge[0], huge[0], huge[0], huge[0], huge[1], zeros, zeros[0]),))
