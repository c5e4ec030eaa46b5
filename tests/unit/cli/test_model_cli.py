"""``safhost model add``: what it says, what it leaves behind, and what it refuses."""

import json

import numpy as np
import pytest

from safhost.plan.image import Image
from safhost.serve.add import ADDERS


@pytest.fixture
def trees(tmp_path):
    """One tree of one split over two features, as xgboost saves it."""
    tree = {"tree_param": {"num_nodes": "3", "num_feature": "2", "size_leaf_vector": "1"}, "left_children": [1, -1, -1],
            "right_children": [2, -1, -1], "split_indices": [1, 0, 0], "split_conditions": [0.5, -1.0, 1.0],
            "default_left": [0, 0, 0], "split_type": [0, 0, 0]}
    top = {"learner": {"learner_model_param": {"num_feature": "2", "num_class": "0", "base_score": "0.25"},
                       "objective": {"name": "reg:squarederror"},
                       "gradient_booster": {"name": "gbtree", "model": {"trees": [tree], "tree_info": [0]}}}}
    file = tmp_path / "model.json"
    file.write_text(json.dumps(top))
    return file


def test_a_model_and_its_second_version_are_added(call, tmp_path, trees):
    repository = tmp_path / "models"
    result = call("model", "add", "shop", "--from", trees, "--repository", repository)
    assert result.code == 0, result.err
    assert result.out.splitlines() == ["1 trees of 1 levels over 2 features of 4 bits", str(repository / "shop" / "1")]
    folder = repository / "shop"
    assert sorted(p.name for p in folder.iterdir()) == ["1", "config.pbtxt"]
    assert sorted(p.name for p in (folder / "1").iterdir()) == ["mapping.yaml", "model.saf", "weights.npz"]
    with np.load(folder / "1" / "weights.npz") as weights:
        assert weights["L"].tolist() == [0.25, -1.0, 1.0]
        assert weights["edges"].tolist() == [[np.inf], [0.5]]
    config = (folder / "config.pbtxt").read_text()
    (folder / "config.pbtxt").write_text(config + "# mine\n")
    result = call("model", "add", "shop", "--from", trees, "--repository", repository, "--json")
    assert json.loads(result.out)["version"] == 2
    assert (folder / "config.pbtxt").read_text() == config + "# mine\n"
    result = call("model", "add", "shop", "--from", trees, "--repository", repository, "--version", "7")
    assert result.out.splitlines()[-1] == str(folder / "7")
    assert not [p for p in repository.iterdir() if p.name != "shop"]


def test_kernel_dir_gets_what_a_real_image_is_built_from(call, tmp_path, trees):
    kernel = tmp_path / "kernel"
    result = call("model", "add", "s-1", "--from", trees, "--repository", tmp_path / "m", "--kernel-dir", kernel,
                  "--constants")
    assert result.code == 0, result.err
    assert sorted(p.name for p in kernel.iterdir()) == ["kernel.yaml", "trees.h", "xgboost.cl"]
    result = call("image", "build", str(kernel), "-o", str(tmp_path / "k.saf"))
    assert "kernels s_1" in result.out


@pytest.mark.parametrize(("arguments", "said"), [
    (["--version", "1"], "has a version 1"), (["--version", "0"], "version 0 is not possible"),
    (["--raw"], "has other tensors than the new version"), (["--kind", "lightgbm"], "no kind of model 'lightgbm'")])
def test_what_does_not_fit_the_model_that_is_there_is_refused(call, tmp_path, trees, arguments, said):
    assert call("model", "add", "shop", "--from", trees, "--repository", tmp_path / "m").code == 0
    result = call("model", "add", "shop", "--from", trees, "--repository", tmp_path / "m", *arguments)
    assert result.code == 2
    assert said in result.err
    assert [p.name for p in (tmp_path / "m" / "shop").iterdir() if p.is_dir()] == ["1"]


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "a b", "x" * 129])
def test_names_that_cannot_be_folders_are_refused(call, tmp_path, trees, name):
    result = call("model", "add", name, "--from", trees, "--repository", tmp_path / "m")
    assert result.code == 2
    assert "cannot name a model" in result.err
    assert not (tmp_path / "m").exists()


def test_options_without_a_meaning_are_refused(call, tmp_path, trees):
    for option, value in (("--calibrate", [str(trees)]),):
        result = call("model", "add", "m", "--from", trees, "--repository", tmp_path / "m", option, *value)
        assert result.code == 2
        assert f"{option} has no meaning for a model that xgboost saved" in result.err
    (tmp_path / "project").mkdir()
    result = call("model", "add", "m", "--from", tmp_path / "project", "--repository", tmp_path / "m", "--missing")
    assert "--missing has no meaning for a project folder of hls4ml, or a list" in result.err


def test_copies_of_the_kernel_are_in_the_image(call, tmp_path, trees):
    result = call("model", "add", "m", "--from", trees, "--repository", tmp_path / "m", "--compute-units", 3)
    assert result.code == 0, result.err
    assert list(Image.open(tmp_path / "m" / "m" / "1" / "model.saf").kernels) == ["m", "m_1", "m_2"]


def test_files_that_nobody_takes_are_refused_with_what_can_be_added(call, tmp_path):
    strange = tmp_path / "model.pickle"
    strange.write_bytes(b"\x80")
    result = call("model", "add", "m", "--from", strange, "--repository", tmp_path / "m")
    assert result.code == 2
    assert all(f"{kind}: {adder.what}" in result.err for kind, adder in ADDERS.items())
    result = call("model", "add", "m", "--from", tmp_path / "absent.json", "--repository", tmp_path / "m")
    assert (result.code, "does not exist" in result.err) == (2, True)


def test_a_folder_that_is_no_model_is_left_alone(call, tmp_path, trees):
    (tmp_path / "m" / "shop" / "1").mkdir(parents=True)
    result = call("model", "add", "shop", "--from", trees, "--repository", tmp_path / "m")
    assert result.code == 2
    assert "has no config.pbtxt" in result.err


def test_a_repository_that_cannot_be_written_is_named(call, tmp_path, trees):
    (tmp_path / "m").write_text("a file")
    result = call("model", "add", "shop", "--from", trees, "--repository", tmp_path / "m")
    assert result.code == 2
    assert str(tmp_path / "m") in result.err
