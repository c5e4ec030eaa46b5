"""A repository to fill, an engine over it, and requests."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost.plan.image import Image, build_image
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.layout import decode_arguments
from safhost.serve.engine import Engine
from safhost.serve.types import DATATYPES, Reply, Request, Tensor

IDENTITY = """
backend: "identity"
max_batch_size: 8
input { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] }
"""


def add_model(folder: Path, name: str, text: str = IDENTITY, versions: tuple[int, ...] = (1,)) -> Path:
    for version in versions:
        (folder / name / str(version)).mkdir(parents=True, exist_ok=True)
    (folder / name / "config.pbtxt").write_text(text)
    return folder / name


@pytest.fixture
def engines() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(*args: Any, **options: Any) -> Engine:
        made.append(Engine(*args, **options))
        return made[-1]
    yield make
    for engine in made:
        engine.stop(5.0)


class Asked:
    """Replies of requests; ``ask`` sends one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.replies: list[Reply] = []
        self._came = threading.Condition()

    def ask(self, model: str, rows: int = 1, *, version: str = "", tensor: Tensor | None = None,
            **options: Any) -> None:
        if tensor is None:
            tensor = Tensor("IN", "FP32", np.arange(rows * 4, dtype=DATATYPES["FP32"]).reshape(rows, 4))
        self.engine.infer(Request(model, version, [tensor], self._on_reply, time.monotonic_ns(), **options))

    def one(self, model: str, rows: int = 1, **options: Any) -> Reply:
        """Ask, and wait for the reply."""
        before = len(self.replies)
        self.ask(model, rows, **options)
        return self.wait(before + 1)[-1]

    def wait(self, count: int) -> list[Reply]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.replies) >= count, 20.0), f"{len(self.replies)} of {count}"
        return self.replies

    def _on_reply(self, reply: Reply) -> None:
        with self._came:
            self.replies.append(reply)
            self._came.notify_all()


KERNEL = """
name: twice
version: "1"
sources: [twice.cl]
kernels:
  - name: twice
    args:
      - {name: X, kind: buffer, dtype: int16, shape: [n, 8], direction: in}
      - {name: W, kind: buffer, dtype: int16, shape: [8], direction: in}
      - {name: Y, kind: buffer, dtype: int16, shape: [n, 8], direction: out}
      - {name: n, kind: scalar, dtype: uint32}
    global: [n]
"""
"""Y = 2 X + W, in whole numbers."""

CONFIG = """
backend: "saf"
max_batch_size: 64
input { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] }
"""

MAPPING = """
kernel: twice
inputs:
  - {tensor: IN, argument: X, type: "ap_fixed<16,8>", round: truncate}
outputs:
  - {tensor: OUT, argument: Y, type: "ap_fixed<16,8>"}
scalars: {n: batch}
resident: [W]
"""


def make_kernel(folder: Path, text: str = KERNEL) -> Image:
    (folder / "kernel.yaml").write_text(text)
    (folder / "twice.cl").write_text("// computed by the test\n")
    return build_image(folder, folder / "twice.saf")


def compute(job: Any, card: Any) -> None:
    """What a card does with the kernel."""
    spec = KernelPackage.from_dict(dict(job.manifest)).kernels[job.kernel]
    found = decode_arguments(spec, job.block, job.role_bytes, job.global_size)
    view = {n: card.memory.role.view(b.address, b.length_bytes).view(np.int16) for n, b in found.buffers.items()}
    view["Y"][:] = (2 * view["X"].reshape(-1, 8) + view["W"]).reshape(-1)


def add_card_model(folder: Path, name: str, image: Image, config: str = CONFIG, mapping: str = MAPPING,
                   weights: dict[str, Any] | None = None, versions: tuple[int, ...] = (1,)) -> Path:
    add_model(folder, name, config, versions)
    for version in versions:
        inside = folder / name / str(version)
        shutil.copy(image.path, inside / "model.saf")
        (inside / "mapping.yaml").write_text(mapping)
        np.savez(inside / "weights.npz", **({"W": np.arange(8, dtype=np.int16)} if weights is None else weights))
    return folder / name


def rows_of(count: int, seed: int = 1) -> Any:
    return (np.random.default_rng(seed).integers(-4000, 4000, (count, 4)) / 256).astype(np.float32)


def answer_to(rows: Any) -> Any:
    """What the model of MAPPING gives."""
    return 2 * rows + np.arange(4, dtype=np.float32) / 256
