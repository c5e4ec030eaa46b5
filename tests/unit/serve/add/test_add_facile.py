"""FACILE: what a card computes, bit for bit against hls4ml's C simulation; training; the model directory."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hls4ml_projects import Simulation, activation, dense, normalize, write_project

from safhost.serve.add.common import AddOptions, write_model
from safhost.serve.add.hls4ml import read_project
from safhost.serve.add.network import Dense, Normalize
from safhost.serve.add.network_model import make_network_model
from safhost.serve.config import parse_config

FOLDER = Path(__file__).resolve().parents[4] / "kernels" / "facile"


@pytest.fixture(scope="module")
def facile(make_script):
    script = make_script("facile")
    return script, script.network_of(script.train(6, 10_000))


@pytest.fixture(scope="module")
def simulation(facile, tmp_path_factory):
    """hls4ml's model of the same weights."""
    layers = []
    for layer in facile[1].layers:
        match layer:
            case Dense():
                layers.append(dense(layer.name, layer.weight_type.to_float(layer.weight),
                                    layer.bias_type.to_float(layer.bias)))
            case Normalize():
                layers.append(normalize(layer.name, layer.scale_type.to_float(layer.scale),
                                        layer.bias_type.to_float(layer.bias)))
            case _:
                layers.append(activation(layer.name, layer.kind))
    folder = tmp_path_factory.mktemp("hls4ml") / "facile"
    model = write_project(folder, 18, layers)
    return folder, Simulation(model, 1)


def rows_of(script, n):
    """Pulses, and rows over the whole range of the type, where sums wrap around."""
    wild = np.random.default_rng(5).uniform(-32, 31.99, (n // 2, 18))
    return np.vstack([script.make_pulses(n - n // 2, 3)[0], wild])


def test_reference_and_card_equal_hls4mls_simulation_bit_for_bit(facile, simulation, run_kernel):
    script, network = facile
    rows = rows_of(script, 2_001)
    expected = simulation[1].predict(rows)
    assert np.array_equal(network.predict(rows.astype(np.float32)), expected)
    made = make_network_model(network, AddOptions("facile"))
    assert "value" not in made.files["facile.cl"].split("*/")[1]  # 16 bits are enough, multipliers of 16 bits too
    raw = np.zeros((len(rows), 32), np.int16)
    raw[:, :18] = network.input_type.from_float(rows.astype(np.float32))
    for option in ("", "-DSAF_FPGA"):
        out = run_kernel(made.files, raw, made.weights["W"], option=option)["Y"]
        assert np.array_equal(network.output_type.to_float(out), expected), option
    assert len(np.unique(expected)) > 1_000
    for n in (1, 15, 16, 17):
        assert np.array_equal(run_kernel(made.files, raw[:n], made.weights["W"])["Y"], out[:n])


def test_the_project_that_hls4ml_wrote_gives_the_same_network(facile, simulation):
    found = read_project(simulation[0])
    assert [layer.n_out for layer in found.layers] == [layer.n_out for layer in facile[1].layers]
    assert np.array_equal(found.weights, facile[1].weights)
    assert found.input_type == found.output_type == facile[1].input_type


def test_weights_in_the_image_give_what_weights_as_data_give(facile, run_kernel):
    script, network = facile
    raw = np.zeros((100, 32), np.int16)
    raw[:, :18] = network.input_type.from_float(rows_of(script, 100))
    made = make_network_model(network, AddOptions("facile", constants=True))
    assert made.weights == {}
    assert made.mapping["resident"] == []
    assert np.array_equal(run_kernel(made.files, raw)["Y"], network.run(raw[:, :18]))


def test_kernel_folder_is_what_the_script_writes(make_script):
    for name, text in make_script("facile").write_kernel(FOLDER).items():
        assert (FOLDER / name).read_text() == text, "run kernels/facile/make_model.py --kernel"


def test_training_beats_two_samples_and_loses_nothing_in_fixed_point(facile):
    script, _ = facile
    trainer = script.train(20, 20_000)
    figures = script.report(trainer, script.network_of(trainer))
    assert figures["fixed_resolution"] < 0.9 * figures["simple_resolution"]
    assert figures["fixed_resolution"] < 1.05 * figures["float_resolution"]
    assert abs(figures["fixed_bias"]) < 2.0


def test_model_directory_holds_all_that_a_server_needs(facile, tmp_path, run_image):
    script, network = facile
    made = make_network_model(network, AddOptions("facile"))
    folder = write_model(tmp_path / "models", "facile", made)
    assert folder == tmp_path / "models" / "facile" / "1"
    config = parse_config((folder.parent / "config.pbtxt").read_text(), "config.pbtxt", "facile")
    assert (config.backend, config.max_batch_size) == ("saf", 16_000)
    assert config.HasField("dynamic_batching")
    assert [(t.name, list(t.dims)) for t in (*config.input, *config.output)] == [("INPUT", [18]), ("OUTPUT", [1])]
    mapping = yaml.safe_load((folder / "mapping.yaml").read_text())
    assert (mapping["resident"], mapping["scalars"]) == (["W"], {"n": "batch"})
    assert mapping["inputs"] == [{"tensor": "INPUT", "argument": "X", "type": "ap_fixed<16,6>", "row": 32,
                                  "overflow": "saturate", "round": "floor", "nan": "error"}]
    assert mapping["outputs"] == [{"tensor": "OUTPUT", "argument": "Y", "type": "ap_fixed<16,6>", "row": 1}]
    with np.load(folder / "weights.npz") as weights:
        raw = np.zeros((50, 32), np.int16)
        raw[:, :18] = network.input_type.from_float(script.make_pulses(50, 8)[0])
        out = run_image(folder / "model.saf", raw, weights["W"])["Y"]
    assert np.array_equal(out, network.run(raw[:, :18]))
