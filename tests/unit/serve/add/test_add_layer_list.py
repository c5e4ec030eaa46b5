"""Lists of layers in YAML: the network that hls4ml makes of them, and files that say something wrong."""

import numpy as np
import pytest
from hls4ml_projects import activation, dense, write_project

from safhost.errors import ConfigError
from safhost.serve.add.common import AddOptions
from safhost.serve.add.hls4ml import read, read_project
from safhost.serve.add.layer_list import read_layer_list

TEXT = """\
precision: ap_fixed<16,6>
weights: weights.npz
input: {n: 4, precision: "ap_fixed<14,5>"}
layers:
  - {class_name: BatchNormalization, name: bn, gamma_data: g, beta_data: b, mean_data: m, variance_data: v}
  - {class_name: Dense, name: one, weight_data: w, bias_data: c,
     precision: {weight: "ap_fixed<8,2>", accum: "ap_fixed<24,10>"}}
  - {class_name: Activation, name: act, activation: relu, precision: {result: "ap_ufixed<10,4,AP_RND,AP_SAT>"}}
  - {class_name: Dense, name: two, weight_data: u}
  - {class_name: Activation, name: out, activation: sigmoid}
"""


@pytest.fixture
def arrays():
    rng = np.random.default_rng(3)
    return {"g": rng.uniform(0.5, 2, 4), "b": rng.normal(0, 1, 4), "m": rng.normal(0, 1, 4),
            "v": rng.uniform(0.5, 2, 4), "q": np.ones(5),
            "w": rng.normal(0, 1, (4, 5)), "c": rng.normal(0, 1, 5), "u": rng.normal(0, 1, (5, 2)).astype(np.float32)}


@pytest.fixture
def listed(tmp_path, arrays):
    def write(text=TEXT, **changed):
        np.savez(tmp_path / "weights.npz", **(arrays | changed))
        (tmp_path / "network.yaml").write_text(text)
        return tmp_path / "network.yaml"
    return write


def test_a_list_is_the_network_that_hls4ml_makes_of_it(listed, arrays, tmp_path):
    a = arrays
    layers = [{"class_name": "BatchNormalization", "name": "bn", "n_in": 4, "n_out": 4, "n_filt": -1, "use_gamma": True,
               "use_beta": True, "epsilon": 1e-3, "gamma_data": a["g"], "beta_data": a["b"], "mean_data": a["m"],
               "variance_data": a["v"]},
              dense("one", a["w"], a["c"]), activation("act", "relu"), dense("two", a["u"], np.zeros(2)),
              activation("out", "sigmoid")]
    names = {"x": {"Precision": {"result": "ap_fixed<14,5>"}},
             "one": {"Precision": {"weight": "ap_fixed<8,2>", "accum": "ap_fixed<24,10>"}},
             "act": {"Precision": {"result": "ap_ufixed<10,4,AP_RND,AP_SAT>"}}}
    write_project(tmp_path / "project", 4, layers, names=names)
    ours, theirs = read_layer_list(listed()), read_project(tmp_path / "project")
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        assert (mine.name, mine.data_type, mine.result_type) == (other.name, other.data_type, other.result_type)
    rows = np.random.default_rng(4).uniform(-20, 20, (500, 4))
    assert np.array_equal(ours.predict(rows), theirs.predict(rows))


def test_a_list_becomes_a_model(listed, run_kernel):
    made = read(listed(), AddOptions("net"))
    assert [t.dims for t in (*made.inputs, *made.outputs)] == [(4,), (2,)]
    raw = np.random.default_rng(1).integers(-8192, 8192, (40, 4)).astype(np.int16)
    assert np.array_equal(run_kernel(made.files, raw, made.weights["W"])["Y"], read_layer_list(listed()).run(raw))


@pytest.mark.parametrize(("old", "new", "said"), [
    ("class_name: Dense, name: two", "class_name: LSTM, name: two", r"yaml:9: layer two: LSTM is not supported"),
    ("activation: sigmoid", "activation: swish", r"yaml:10: activation is 'swish'"),
    ("weight_data: u", "weight_data: absent", r"yaml:9: layer two: the weights have no 'absent'"),
    ("weight_data: u", "weight_data: w", r"yaml:9: layer two: w has shape \[4, 5\], expected \[5, any\]"),
    ("weight_data: u", "weight_data: c", r"yaml:9: layer two: c has shape \[5\], expected \[5, any\]"),
    ("weight_data: u", "weight_data: u, colour: red", r"yaml:9: unknown key 'colour'"),
    ("precision: {result", "precision: {reslut", r"yaml:8: unknown key 'reslut'"),
    ("ap_fixed<8,2>", "ap_fixed<8>", r"yaml:7: 'ap_fixed<8>'"),
    ("precision: ap_fixed<16,6>\n", "", r"precision is missing"),
    ("input: {n: 4", "input: {n: 3", r"yaml:5: layer bn: g has shape \[4\], expected \[3\]"),
    ("input: {n: 4, precision: \"ap_fixed<14,5>\"}\n", "", "input is missing"),
    ("  - {class_name: Activation, name: act", "  - {class_name: BatchNormalization, name: x, gamma_data: q, "
     "beta_data: q, mean_data: q, variance_data: q}\n  - {class_name: Activation, name: act", "right behind Dense"),
    ("variance_data: v", "variance_data: v, epsilon: -9", "yaml:5: layer bn: variance and epsilon are not above zero"),
    ("weights.npz", "absent.npz", r"yaml:2: .*absent\.npz cannot be read")])
def test_what_is_wrong_in_a_list_is_named_with_its_line(listed, old, new, said):
    assert old in TEXT
    with pytest.raises(ConfigError, match=said):
        read_layer_list(listed(TEXT.replace(old, new, 1)))


def test_damaged_and_strange_weights_are_named(listed, tmp_path):
    with pytest.raises(ConfigError, match=r"yaml:9: layer two: u holds NaN"):
        read_layer_list(listed(u=np.full((5, 2), np.nan)))
    file = listed()
    weights = tmp_path / "weights.npz"
    whole = weights.read_bytes()
    for content in (b"", whole[:10], whole[:len(whole) // 2], b"text"):
        weights.write_bytes(content)
        with pytest.raises(ConfigError, match=r"yaml:2: .*weights\.npz cannot be read"):
            read_layer_list(file)
