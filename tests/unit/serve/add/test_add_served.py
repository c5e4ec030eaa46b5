"""Model directories as a server reads them: from a client's floats to what a card is sent, and back."""

import numpy as np
import pytest

from safhost.serve.add.common import AddOptions, write_model
from safhost.serve.add.network_model import make_network_model
from safhost.serve.add.xgboost import make_tree_model
from safhost.serve.config import parse_config
from safhost.serve.contract import Contract
from safhost.serve.mapping import load_mapping
from safhost.serve.quantise import Unfit


def served(folder):
    config = parse_config((folder.parent / "config.pbtxt").read_text(), "config.pbtxt", folder.parent.name)
    return load_mapping(folder, folder.name, config.default_model_filename, Contract(config))


def encode(mapping, rows):
    place, = mapping.inputs
    lane, = place.lanes
    shape = mapping.sizes(len(rows)).shapes["X"]
    into = np.zeros(shape, place.spec.dtype)
    lane.codec.encode(rows, into)
    return into


def decode(mapping, out):
    lane, = mapping.outputs[0].lanes
    return lane.codec.decode(out, lane.elements, np.dtype(np.float32)), lane.transform


def test_facile_takes_pulses_and_gives_energies(make_script, tmp_path, run_image):
    script = make_script("facile")
    network = script.network_of(script.train(3, 3_000))
    folder = write_model(tmp_path, "facile", make_network_model(network, AddOptions("facile")))
    mapping = served(folder)
    rows = script.make_pulses(300, 1)[0].astype(np.float32)
    raw = encode(mapping, rows)
    assert raw.shape == (300, 32)
    assert np.array_equal(raw[:, :18], network.input_type.from_float(rows))
    shown, transform = decode(mapping, run_image(folder / "model.saf", raw, *mapping.resident.values())["Y"])
    assert transform == ""
    assert np.array_equal(shown, network.predict(rows))
    rows[7, 3] = 1e9
    assert encode(mapping, rows)[7, 3] == network.input_type.high  # saturates, does not wrap
    rows[7, 3] = np.nan
    with pytest.raises(Unfit, match="NaN"):
        encode(mapping, rows)


@pytest.mark.parametrize("raw", [False, True])
def test_purchases_take_features_or_packed_bins(make_script, tmp_path, run_image, raw):
    script = make_script("xgboost")
    booster = script.train(visits=2_000, trees=20)
    ensemble, transform = script.ensemble_of(booster)
    made = make_tree_model(ensemble, transform, AddOptions("purchase", raw=raw))
    folder = write_model(tmp_path, "purchase", made)
    mapping = served(folder)
    features = script.make_visits(300, 5)[0]
    packed = ensemble.pack(ensemble.bins(features))
    assert np.array_equal(encode(mapping, packed if raw else features), packed)
    shown, transform = decode(mapping, run_image(folder / "model.saf", packed, *mapping.resident.values())["Y"])
    assert transform == "sigmoid"
    assert np.array_equal(shown, ensemble.margins(ensemble.bins(features)))


def test_missing_values_reach_the_card_as_the_highest_bin(make_script, tmp_path):
    script = make_script("xgboost")
    ensemble, transform = script.ensemble_of(script.train(visits=2_000, trees=5, bins=12), missing=True)
    folder = write_model(tmp_path, "m", make_tree_model(ensemble, transform, AddOptions("m", nan="missing")))
    rows = script.make_visits(50, 5)[0]
    rows[::2, 4] = np.nan
    rows[1::2, 5] = np.inf
    bins = ensemble.bins(rows)
    assert set(bins[::2, 4]) == {15}
    assert 15 not in bins[:, 5]
    assert np.array_equal(encode(served(folder), rows), ensemble.pack(bins))
