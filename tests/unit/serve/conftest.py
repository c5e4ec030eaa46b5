from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

import runtime_rig  # found by the line above
from front_kit import front, fronts, grpc_client, http_client
from serve_kit import compute, engines, make_kernel

from safhost.client import Cluster
from safhost.plan.image import Image

__all__ = ["engines", "front", "fronts", "grpc_client", "http_client"]


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[runtime_rig.LiveRig]:
    """Two virtual cards behind a Unix socket, to which engines connect; no descriptor may be left at the end."""
    before = runtime_rig.open_fds()
    monkeypatch.setattr(runtime_rig, "compute", compute)
    folder = tmp_path / "cluster"
    folder.mkdir()
    rig = runtime_rig.LiveRig(folder, 2)
    monkeypatch.setattr("safhost.serve.cards.connect", lambda name: Cluster("test", rig.transport))
    yield rig
    rig.close()
    runtime_rig.assert_closed(before)


@pytest.fixture(scope="session")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return make_kernel(tmp_path_factory.mktemp("twice"))
