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
from safhost.serve.add.fixed import ApFixed, parse_type
from safhost.serve.add.hls4ml import read, read_project
from safhost.serve.add.network import ACTIVATIONS, Activation, Dense, Network, Normalize
from safhost.serve.add.network_model import make_network_model
from safhost.serve.add.network_tables import CURVES, make_softmax, make_table

MODES = [("TRN", "WRAP"), ("TRN", "WRAP"), ("TRN", "SAT"), ("RND", "SAT"), ("RND_CONV", "WRAP")]


def random_type(rng, wide, most=24):
    if not wide:
        width = rng.randint(4, 16)
        return ApFixed(width, rng.randint(1, 8), True) if rng.random() < 0.7 else ApFixed(min(width, 15), 5, False)
    rounding, overflow = rng.choice(MODES)
    width = rng.choice([rng.randint(6, 24), most])
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
        weight, bias, accum = random_type(rng, wide), random_type(rng, wide), random_type(rng, wide, 40)
        what = rng.choice(["dense", "dense", "normalize", "activation", "table", "softmax"][:4 + 2 * wide])
        if what == "dense":
            n_out = rng.randint(1, 20)
            layers.append(Dense(f"d{k}", kind, result, weight, bias, accum, raw(weight, size, n_out), raw(bias, n_out)))
            size = n_out
        elif what == "normalize":
            layers.append(Normalize(f"n{k}", kind, result, weight, bias, raw(weight, size), raw(bias, size)))
        elif what == "table":
            entries = 1 << rng.randint(4, 9)
            layers.append(make_table(f"t{k}", rng.choice(list(CURVES)), size, kind, result, weight, entries))
        elif what == "softmax":
            key, sizes = (kind, bias)[rng.random() < 0.5], (1 << rng.randint(3, 6), 1 << rng.randint(3, 6))
            types = weight, random_type(rng, wide), weight, bias
            layers.append(make_softmax(f"s{k}", size, kind, result, key, types, sizes, 1.0, key is not kind))
        else:
            layers.append(Activation(f"a{k}", rng.choice(ACTIVATIONS), size, kind, result))
        kind = result
    return Network("random", first, tuple(layers))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 30))])
def test_kernel_of_a_random_network_equals_the_reference(run_kernel, seed, wide):
    network = random_network(seed, wide)
    made = make_network_model(network, AddOptions("net"))
    row_in, row_out = (made.mapping[k][0]["row"] for k in ("inputs", "outputs"))
    dtype = f"int{network.input_type.container_bits}"
    raw = np.random.default_rng(seed).integers(network.input_type.low, network.input_type.high + 1, (70, network.n_in))
    given = np.full((70, row_in), 77, dtype)  # lanes that do not count
    given[:, :network.n_in] = raw
    weights = list(made.weights.values())
    expected = network.run(raw)
    for option in ("", "-DSAF_FPGA"):
        out = run_kernel(made.files, given, *weights, option=option)["Y"]
        assert out.shape == (70, row_out)
        assert np.array_equal(out[:, :network.n_out], expected), (seed, option, network)
        assert not out[:, network.n_out:].any()


@pytest.mark.parametrize("text", ["ap_fixed<9,5,AP_RND,AP_SAT>", "ap_fixed<9,5,AP_RND_CONV,AP_WRAP>", "ap_fixed<7,4>",
                                  "ap_ufixed<9,5,AP_RND_CONV,AP_SAT>", "ap_fixed<40,7,AP_TRN,AP_SAT>",
                                  "ap_ufixed<6,2>"])
def test_every_value_is_rounded_and_limited_on_the_card_as_in_the_reference(run_kernel, text):
    data = ApFixed(12, 6)
    network = Network("cast", data, (Activation("cast", "linear", 1, data, parse_type(text)),))
    raw = np.arange(data.low, data.high + 1, dtype=np.int16)[:, None]
    files = make_network_model(network, AddOptions("net")).files
    assert np.array_equal(run_kernel(files, raw)["Y"], network.run(raw))


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


@pytest.fixture(scope="module")
def looked_up(tmp_path_factory):
    """Two projects with all that is looked up in tables, one for each kind of softmax."""
    rng = np.random.default_rng(12)
    made = {}
    for how in ("stable", "latency"):
        last = {"class_name": "Softmax", "name": "shares", "activation": "softmax", "implementation": how, "axis": -1}
        layers = [dense("one", rng.normal(0, 2, (4, 8)), rng.normal(0, 1, 8)), activation("s", "sigmoid"),
                  dense("two", rng.normal(0, 2, (8, 8)), rng.normal(0, 1, 8)), activation("t", "tanh"),
                  dense("three", rng.normal(0, 2, (8, 5)), rng.normal(0, 1, 5)), {**last, "n_in": 5}]
        folder = tmp_path_factory.mktemp("looked_up") / how
        made[how] = folder, write_project(folder, 4, layers, names={"one": {"Precision": {"accum": "ap_fixed<37,15>"}}})
    return made


def test_tables_on_the_card_equal_the_reference(looked_up, run_kernel):
    for folder, _ in looked_up.values():
        network = read_project(folder)
        assert network.layers[0].accum_type == ApFixed(37, 15)
        raw = np.random.default_rng(1).integers(-32768, 32768, (200, 4)).astype(np.int16)
        made = make_network_model(network, AddOptions("net"))
        expected = network.run(raw)
        assert len(np.unique(expected)) > 20
        assert np.array_equal(run_kernel(made.files, raw, made.weights["W"])["Y"][:, :5], expected)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stable", "latency"])
def test_tables_equal_hls4mls_simulation(looked_up, how):
    folder, model = looked_up[how]
    rows = np.random.default_rng(2).uniform(-6, 6, (4_000, 4)).astype(np.float32)
    assert np.array_equal(read_project(folder).predict(rows), Simulation(model, 5).predict(rows))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "softplus", "softsign", "relu1", "relu6", "linear"])
def test_every_argument_of_an_activation_gives_what_hls4ml_gives(tmp_path, kind):
    names = {"x": {"Precision": {"result": "ap_fixed<12,5>"}}, "a": {"Precision": {"result": "ap_fixed<14,3>"}}}
    layers = [dense("d", np.ones((1, 1)), np.zeros(1)), activation("a", kind)]
    model = write_project(tmp_path / "p", 1, layers, names=names)
    rows = (np.arange(-2048, 2048) / 128).astype(np.float32)[:, None]
    assert np.array_equal(read_project(tmp_path / "p").predict(rows), Simulation(model, 1).predict(rows))


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


def test_inputs_are_rounded_as_the_simulation_rounds_them(mixed):
    given, = read(mixed[0], AddOptions("net")).mapping["inputs"]
    assert (given["type"], given["round"], given["overflow"]) == ("ap_fixed<14,5>", "nearest", "saturate")


def test_the_configuration_names_its_project_whatever_tags_it_has(mixed):
    file = mixed[0] / "hls4ml_config.yml"
    assert read(file, AddOptions("net")).inputs[0].dims == (6,)
    file.write_text(file.read_text() + "KerasModel: !keras_model model.keras\n")
    assert read(file, AddOptions("net")).inputs[0].dims == (6,)


def test_raw_models_take_and_give_integers(mixed):
    made = read(mixed[0], AddOptions("net", raw=True))
    assert [(t.datatype, t.dims) for t in (*made.inputs, *made.outputs)] == [("INT16", (8,)), ("INT16", (4,))]
    assert made.mapping["inputs"][0] == {"tensor": "INPUT", "argument": "X", "row": 8, "type": "int16"}


def test_operators_that_are_not_supported_are_named_with_file_and_line(tmp_path):
    layers = [*mixed_layers()[:2], {**activation("gate", "selu")}]
    write_project(tmp_path / "p", 6, layers)
    with pytest.raises(ConfigError, match="layer gate: operator selu is not supported") as error:
        read_project(tmp_path / "p")
    file, line = error.value.message.split(": layer")[0].rsplit(":", 1)
    assert "nnet::selu" in Path(file).read_text().splitlines()[int(line) - 1]
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
