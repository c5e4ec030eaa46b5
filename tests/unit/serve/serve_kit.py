"""A repository to fill, an engine over it, and requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
