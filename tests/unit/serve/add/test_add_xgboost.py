"""Trees that xgboost saved: predictions of a card against xgboost's own, bit for bit; files that cannot be read."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import xgboost
import yaml

from safhost.errors import ConfigError
from safhost.plan.kernelspec import KernelPackage
from safhost.serve.add.common import AddOptions, write_model
from safhost.serve.add.trees import MAX_DEPTH
from safhost.serve.add.xgboost import OBJECTIVES, make_tree_model, read, read_booster
from safhost.serve.transforms import apply_transform, sigmoid

FOLDER = Path(__file__).resolve().parents[4] / "kernels" / "xgboost"


def train(file, objective="binary:logistic", rounds=12, features=9, holes=False, seed=1, **settings):
    """Train on noise with a rule in it and save; returns booster and rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 3, (800, features)).astype(np.float32)
    if holes:
        rows[rng.random(rows.shape) < 0.2] = np.nan
    score = np.nansum(rows[:, :3], 1) + 2 * (np.nan_to_num(rows[:, 3], nan=4) > 1)
    target = np.digitize(score, [-2, 2]) if objective.startswith("multi") else score
    if "log" in objective:
        target = (score > rng.normal(0, 2, len(score))).astype(int)
    chosen = {"max_depth": 3, "tree_method": "hist", "max_bin": 16, "nthread": 1, "objective": objective} | settings
    booster = xgboost.train(chosen, xgboost.DMatrix(rows, target), rounds)
    booster.save_model(file)
    return booster, rows


def card_margins(run_kernel, ensemble, rows, option="", constants=False):
    made = make_tree_model(ensemble, "", AddOptions("forest", constants=constants))
    files = dict(made.files)
    if option:  # kernel.yaml has options of its own
        files["kernel.yaml"] = files["kernel.yaml"].replace("options: [", f"options: [{option}, ")
    weights = [] if constants else [made.weights["N"], made.weights["L"]]
    return run_kernel(files, ensemble.pack(ensemble.bins(rows)), *weights)["Y"]


@pytest.mark.parametrize(("objective", "more", "bits"), [
    ("binary:logistic", {}, 4), ("reg:squarederror", {"base_score": 0.3}, 4), ("binary:logitraw", {"max_depth": 1}, 4),
    ("reg:logistic", {"max_bin": 200, "max_depth": 5, "rounds": 30}, 8), ("multi:softprob", {"num_class": 3}, 4),
    ("reg:squarederror", {"num_parallel_tree": 3, "subsample": 0.5, "grow_policy": "lossguide", "max_leaves": 5}, 4)])
def test_card_equals_xgboost_bit_for_bit(tmp_path, run_kernel, objective, more, bits):
    booster, rows = train(tmp_path / "m.json", objective, **more)
    expected = booster.predict(xgboost.DMatrix(rows), output_margin=True).reshape(len(rows), -1)
    ensemble, transform = read_booster(tmp_path / "m.json")
    assert ensemble.bits == bits
    assert transform == OBJECTIVES[objective]
    assert np.array_equal(ensemble.margins(ensemble.bins(rows)), expected)
    assert np.array_equal(card_margins(run_kernel, ensemble, rows), expected)
    if transform:
        shown = booster.predict(xgboost.DMatrix(rows)).reshape(len(rows), -1)
        np.testing.assert_array_max_ulp(apply_transform(transform, expected), shown, 2)


def test_values_on_a_threshold_go_where_xgboost_sends_them(tmp_path, run_kernel):
    booster, rows = train(tmp_path / "m.json")
    ensemble, _ = read_booster(tmp_path / "m.json")
    rng = random.Random(4)
    for row in rows:
        for k, edges in enumerate(ensemble.edges):
            near = np.float32(rng.choice(edges[np.isfinite(edges)].tolist() or [0.0]))
            row[k] = rng.choice([near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))])
    expected = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    assert np.array_equal(card_margins(run_kernel, ensemble, rows)[:, 0], expected)


def test_missing_values_take_the_way_that_training_chose(tmp_path, run_kernel):
    booster, rows = train(tmp_path / "m.json", "reg:squarederror", holes=True, max_bin=14)
    expected = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    ensemble, _ = read_booster(tmp_path / "m.json", missing=True)
    assert ensemble.bits == 4
    assert np.any(ensemble.last == 14) and np.any(ensemble.last == 15)  # noqa: PT018 - both ways occur
    assert np.array_equal(card_margins(run_kernel, ensemble, rows)[:, 0], expected)


@pytest.mark.parametrize(("option", "constants"), [("-DSAF_FPGA", False), ("", True), ("-DSAF_FPGA", True)])
def test_every_form_of_the_kernel_gives_the_same(tmp_path, run_kernel, option, constants):
    booster, rows = train(tmp_path / "m.json", "multi:softprob", num_class=3, rounds=5, features=5)
    ensemble, _ = read_booster(tmp_path / "m.json")
    expected = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    for n in (1, 17, 40):
        assert np.array_equal(card_margins(run_kernel, ensemble, rows[:n], option, constants), expected[:n])


def test_a_model_without_a_split_gives_its_base(tmp_path, run_kernel):
    booster, rows = train(tmp_path / "m.json", gamma=1e9, rounds=2)
    ensemble, _ = read_booster(tmp_path / "m.json")
    expected = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    assert np.array_equal(card_margins(run_kernel, ensemble, rows)[:, 0], expected)


def test_purchases_on_the_card_of_the_folder_equal_xgboost(make_script, tmp_path, run_image, run_kernel):
    script = make_script("xgboost")
    booster = script.train(visits=6_000)
    ensemble, transform = script.ensemble_of(booster)
    assert (ensemble.trees, ensemble.depth, ensemble.features) == (100, 3, 112)
    assert (ensemble.bits, ensemble.row_bytes) == (4, 56)
    features, bought, truth = script.make_visits(3_000, 7)
    expected = booster.predict(xgboost.DMatrix(features), output_margin=True)
    assert 0.72 < script.area(expected, bought) < script.area(truth, bought)
    folder = write_model(tmp_path, "purchase", make_tree_model(ensemble, transform, AddOptions("purchase")))
    packed = ensemble.pack(ensemble.bins(features))
    with np.load(folder / "weights.npz") as weights:
        assert np.array_equal(run_image(folder / "model.saf", packed, weights["N"], weights["L"])["Y"][:, 0], expected)
        # the folder's own kernel.yaml, of which people build real images
        files = {name: (FOLDER / name).read_text() for name in ("kernel.yaml", "xgboost.cl")}
        assert np.array_equal(run_kernel(files, packed, weights["N"], weights["L"])["Y"][:, 0], expected)
        assert np.array_equal(weights["edges"], ensemble.edges)
    mapping = yaml.safe_load((folder / "mapping.yaml").read_text())
    assert mapping["inputs"] == [{"tensor": "INPUT", "argument": "X", "row": 56, "nan": "error",
                                  "type": {"edges": "edges", "bits": 4}}]
    assert mapping["outputs"][0]["transform"] == "sigmoid"
    described = KernelPackage.load(FOLDER).kernels["xgboost"].to_dict()["model"]
    assert described["cycles"] == yaml.safe_load(
        make_tree_model(ensemble, "", AddOptions("xgboost")).files["kernel.yaml"])["kernels"][0]["model"]["cycles"]


def test_raw_models_take_packed_bins(tmp_path):
    train(tmp_path / "m.json")
    made = read(tmp_path / "m.json", AddOptions("forest", raw=True))
    assert (made.inputs[0].datatype, made.inputs[0].dims) == ("UINT8", (8,))
    assert made.mapping["inputs"] == [{"tensor": "INPUT", "argument": "X", "row": 8, "type": "uint8"}]


def test_sigmoid_of_extremes_is_a_probability():
    shown = sigmoid(np.array([-1e30, -100.0, 0.0, 100.0, np.inf]))
    assert shown.tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-38)


def damaged(file, change):
    top = json.loads(file.read_text())
    change(top["learner"], top["learner"]["gradient_booster"]["model"]["trees"])
    file.write_text(json.dumps(top))


def put(node, key, value):
    def change(_learner, trees):
        trees[2][node][key] = value
    return change


def put_learner(*keys, value):
    def change(learner, _trees):
        for key in keys[:-1]:
            learner = learner[key]
        learner[keys[-1]] = value
    return change


@pytest.mark.parametrize(("change", "said"), [
    (put("split_indices", 0, 77), r"trees\[2\]: node 0 splits by feature 77, the model has 9"),
    (put("left_children", 0, 0), r"trees\[2\]: node 0 has the child 0"),
    (put("left_children", 0, 400), r"trees\[2\]: node 0 has the child 400 of 15 nodes"),
    (put("right_children", 0, 1), r"trees\[2\]: node 1 is the child of two nodes"),
    (put("split_conditions", 3, None), r"trees\[2\]: split_conditions\[3\] is 'None', expected a number"),
    (put("split_conditions", 3, float("inf")), r"trees\[2\]: split_conditions\[3\] is inf"),
    (put("split_type", 1, 1), r"trees\[2\]: node 1 splits by category"),
    (put("tree_param", "num_nodes", "14"), r"trees\[2\]: left_children has 15 entries, expected 14"),
    (put("tree_param", "num_feature", "10"), r"trees\[2\].tree_param: num_feature is 10, the model has 9"),
    (put("tree_param", "size_leaf_vector", "3"), r"trees\[2\]: leaves with several values"),
    (put_learner("learner_model_param", "num_feature", value="4"), "the model has 4"),
    (put_learner("learner_model_param", "num_feature", value="many"), "num_feature is 'many', expected a number"),
    (put_learner("learner_model_param", "base_score", value="[0.1,0.2]"), "base_score is '0.1,0.2' for 1 classes"),
    (put_learner("learner_model_param", "base_score", value="1.5"), "expected a probability"),
    (put_learner("learner_model_param", "num_target", value="2"), "several targets"),
    (put_learner("objective", "name", value="rank:ndcg"), "objective rank:ndcg is not supported"),
    (put_learner("gradient_booster", "name", value="dart"), "booster dart is not supported"),
    (put_learner("gradient_booster", "model", "tree_info", value=[0]), "tree_info has 1 entries, expected 12"),
    (put_learner("gradient_booster", "model", "tree_info", value=[3] * 12), "tree_info has classes outside"),
    (put_learner("gradient_booster", "model", "trees", value=[3]), r"trees\[0\]: tree_param is missing"),
    (put_learner("gradient_booster", value=7), "learner: gradient_booster is '7', expected an object")])
def test_a_damaged_model_is_refused_with_file_and_place(tmp_path, change, said):
    file = tmp_path / "m.json"
    train(file)
    damaged(file, change)
    with pytest.raises(ConfigError, match=said) as error:
        read_booster(file)
    assert error.value.message.startswith(str(file))


def test_a_truncated_file_is_refused_with_line_and_column(tmp_path):
    file = tmp_path / "m.json"
    train(file)
    whole = file.read_text()
    for length in (0, 1, 50, len(whole) // 2, len(whole) - 1):
        file.write_text(whole[:length])
        with pytest.raises(ConfigError, match=r"m\.json:1:\d+: not JSON"):
            read_booster(file)


def test_other_files_of_xgboost_are_named(tmp_path):
    booster, _ = train(tmp_path / "m.json")
    booster.dump_model(tmp_path / "dump.json", dump_format="json")
    with pytest.raises(ConfigError, match="dump"):
        read_booster(tmp_path / "dump.json")
    booster.save_model(tmp_path / "m.ubj")
    with pytest.raises(ConfigError, match="binary formats are not supported"):
        read_booster(tmp_path / "m.ubj")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        read_booster(tmp_path / "deep.json")


def test_trees_that_are_too_deep_and_features_with_too_many_thresholds_are_named(tmp_path):
    train(tmp_path / "deep.json", max_depth=MAX_DEPTH + 1, rounds=3, max_bin=256, min_child_weight=0)
    with pytest.raises(ConfigError, match=rf"deep\.json: tree \d has {MAX_DEPTH + 1} levels, up to {MAX_DEPTH}"):
        read_booster(tmp_path / "deep.json")
    train(tmp_path / "fine.json", "reg:squarederror", features=1 + 3, max_bin=600, max_depth=8, rounds=40)
    with pytest.raises(ConfigError, match=r"fine\.json: feature \d has \d+ different thresholds") as error:
        read_booster(tmp_path / "fine.json")
    assert "max_bin" in error.value.hint
