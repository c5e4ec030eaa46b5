"""Networks from ONNX on a virtual card: two of them, one image, floats of clients through an engine."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from safhost import paths
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.serve.add import AddOptions, add_model
from safhost.serve.add.onnx_lower import Lowering
from safhost.serve.add.onnx_quantise import quantise_graph
from safhost.serve.add.onnx_read import graph_of
from safhost.serve.engine import Engine
from safhost.serve.transforms import apply_transform
from safhost.serve.types import Reply, Request, Tensor

pytestmark = pytest.mark.lab
NAME = "onnx"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path / "state"))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        monkeypatch.delenv(variable, raising=False)
    manager.up(LabSpec(name=NAME, cards=1, topology="chassis", mtu=9000), timeout_s=40)
    yield NAME
    manager.down(NAME)


def script(name: str) -> ModuleType:
    file = paths.kernels_dir() / "resnet50" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"lab_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(engine: Engine, model: str, images: np.ndarray) -> Reply:
    came, replies = threading.Event(), list[Reply]()

    def on_reply(reply: Reply) -> None:
        replies.append(reply)
        came.set()

    engine.infer(Request(model, "", [Tensor("image", "FP32", images)], on_reply, time.monotonic_ns()))
    assert came.wait(60)
    return replies[0]


def test_two_networks_of_one_image_are_served_by_one_card(cluster: str, tmp_path: Path) -> None:
    local = script("local_engine").LocalEngine()
    models, wanted, images = tmp_path / "models", {}, {}
    for name, made, samples in (("michel", *michel()), ("calo", *calorimeter())):
        onnx.save(made, tmp_path / f"{name}.onnx")
        np.savez(tmp_path / f"{name}.npz", image=samples[:16])
        add_model(models, tmp_path / f"{name}.onnx", AddOptions(name, calibrate=str(tmp_path / f"{name}.npz")))
        lowered = Lowering(quantise_graph(graph_of(made, name), [s[None] for s in samples[:16]])).run()
        found = local.infer(lowered, lowered.program.build(), samples)
        images[name], wanted[name] = samples, {
            o.name: apply_transform(o.transform, part) if o.transform else part for o in lowered.outputs
            for part in [found[:, o.start:o.start + int(np.prod(o.shape))]]}
    local.close()
    engine = Engine(models, cluster=cluster)
    try:
        end = time.monotonic() + 40
        while not all(engine.model_ready(name) for name in wanted):
            assert time.monotonic() < end, engine.index()
            threading.Event().wait(0.02)
        for rows in (1, 5, 24):
            for name, outputs in wanted.items():
                reply = ask(engine, name, images[name][:rows])
                assert reply.error is None, reply.error
                assert {o.name for o in reply.outputs} == set(outputs)
                for output in reply.outputs:
                    assert np.array_equal(output.array, outputs[output.name][:rows]), (name, output.name, rows)
    finally:
        engine.stop(5.0)


def michel() -> tuple[onnx.ModelProto, np.ndarray]:
    module = script("examples/michel")
    return module.make(patches=128).model(), module.make_patches(24, 5)[0]


def calorimeter() -> tuple[onnx.ModelProto, np.ndarray]:
    module = script("examples/calorimeter")
    return module.make(showers=128).model(), module.make_showers(24, 5)[0]
