"""Clients of a cluster that lives in a thread of the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from runtime_rig import LiveRig, assert_closed, make_image, open_fds  # found by the line above

from safhost.client import Cluster  # as above
from safhost.plan.image import Image  # as above


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveRig]:
    """Two virtual cards behind a Unix socket; no descriptor may be left at the end."""
    before = open_fds()
    rig = LiveRig(tmp_path, 2)
    yield rig
    rig.close()
    assert_closed(before)


@pytest.fixture
def connect(live: LiveRig) -> Iterator[Callable[[], Cluster]]:
    made: list[Cluster] = []

    def make() -> Cluster:
        made.append(Cluster("test", live.transport))
        return made[-1]
    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(connect: Callable[[], Cluster]) -> Cluster:
    return connect()


@pytest.fixture(scope="session")
def vadd(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return make_image(tmp_path_factory.mktemp("vadd"))


@pytest.fixture(scope="session")
def ptrans(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return make_image(tmp_path_factory.mktemp("ptrans"), "ptrans")
