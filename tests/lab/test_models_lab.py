"""Model directories on virtual cards: their images programmed, their weights sent once, batches through a job, and
requests of clients through an engine."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xgboost

from safhost import Unit, paths
from safhost.client import Cluster, connect
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.plan.image import Image
from safhost.serve.add.common import AddOptions, write_model
from safhost.serve.add.network_model import make_network_model
from safhost.serve.add.xgboost import make_tree_model
from safhost.serve.engine import Engine
from safhost.serve.transforms import sigmoid
from safhost.serve.types import Reply, Request, Tensor

pytestmark = pytest.mark.lab
NAME = "models"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    patch = pytest.MonkeyPatch()
    patch.setenv("SAFHOST_STATE", str(tmp_path_factory.mktemp("state")))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        patch.delenv(variable, raising=False)
    manager.up(LabSpec(name=NAME, cards=2, topology="chassis", mtu=9000), timeout_s=40)
    with connect(NAME) as found:
        yield found
    manager.down(NAME)
    patch.undo()


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"lab_{name}", paths.kernels_dir() / name / "make_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def through_cards(cluster: Cluster, folder: Path, kernel: str, rows: np.ndarray[Any, Any], *resident: str) -> Any:
    """All rows as one job of batches of 1,000, on both cards."""
    image = Image.open(folder / "model.saf")
    with np.load(folder / "weights.npz") as weights:
        arrays = {name: weights[name] for name in resident}
    units = [Unit(rows[at:at + 1000]) for at in range(0, len(rows), 1000)]
    return np.concatenate(cluster.map(kernel, units, image=image, resident=arrays))


def test_facile_on_cards_equals_its_reference(cluster: Cluster, tmp_path: Path) -> None:
    facile = script("facile")
    network = facile.network_of(facile.train(2, 2_000))
    folder = write_model(tmp_path, "facile", make_network_model(network, AddOptions("facile")))
    raw = network.input_type.from_float(facile.make_pulses(5_500, 3)[0])
    rows = np.zeros((len(raw), 32), np.int16)
    rows[:, :18] = raw
    assert np.array_equal(through_cards(cluster, folder, "facile", rows, "W"), network.run(raw))


def test_trees_on_cards_equal_xgboost(cluster: Cluster, tmp_path: Path) -> None:
    purchases = script("xgboost")
    booster = purchases.train(visits=3_000)
    ensemble, transform = purchases.ensemble_of(booster)
    folder = write_model(tmp_path, "xgboost", make_tree_model(ensemble, transform, AddOptions("xgboost")))
    features = purchases.make_visits(5_500, 3)[0]
    found = through_cards(cluster, folder, "xgboost", ensemble.pack(ensemble.bins(features)), "N", "L")
    assert np.array_equal(found[:, 0], booster.predict(xgboost.DMatrix(features), output_margin=True))


def ask(engine: Engine, model: str, rows: Any) -> Reply:
    came, replies = threading.Event(), list[Reply]()

    def on_reply(reply: Reply) -> None:
        replies.append(reply)
        came.set()

    tensor = Tensor("INPUT", "FP32", np.ascontiguousarray(rows, np.float32))
    engine.infer(Request(model, "", [tensor], on_reply, time.monotonic_ns()))
    assert came.wait(60)
    return replies[0]


def test_both_models_serve_floats_at_once_each_on_a_card(cluster: Cluster, tmp_path: Path) -> None:
    facile, purchases = script("facile"), script("xgboost")
    network = facile.network_of(facile.train(2, 2_000))
    booster = purchases.train(visits=3_000)
    ensemble, transform = purchases.ensemble_of(booster)
    write_model(tmp_path / "models", "facile", make_network_model(network, AddOptions("facile")))
    write_model(tmp_path / "models", "shop", make_tree_model(ensemble, transform, AddOptions("shop")))
    pulses = facile.make_pulses(2_000, 3)[0].astype(np.float32)
    visits = purchases.make_visits(2_000, 3)[0]
    energies = network.predict(pulses)
    chances = sigmoid(booster.predict(xgboost.DMatrix(visits), output_margin=True))
    engine = Engine(tmp_path / "models", cluster=NAME)
    try:
        end = time.monotonic() + 40
        while not (engine.model_ready("facile") and engine.model_ready("shop")):
            assert time.monotonic() < end, engine.index()
            threading.Event().wait(0.02)
        for rows in (1, 17, 2_000):
            for model, inputs, expected in (("facile", pulses, energies), ("shop", visits, chances[:, None])):
                reply = ask(engine, model, inputs[:rows])
                assert reply.error is None, reply.error
                assert np.array_equal(reply.outputs[0].array, expected[:rows].astype(np.float32)), (model, rows)
        pulses[1, 4] = np.nan
        reply = ask(engine, "facile", pulses[:2])
        assert reply.error is not None
        assert "NaN" in reply.error.message
    finally:
        engine.stop(5.0)
