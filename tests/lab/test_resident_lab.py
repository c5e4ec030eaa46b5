"""Data that all units use on the lab's cards: sent once, cards pulled and plugged meanwhile; copies of a kernel."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from lab_home import lab_at

from safhost import Fill, Unit, paths
from safhost.client import Cluster, connect
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.plan.image import Image, build_image

pytestmark = pytest.mark.lab
NAME = "resident"
FLOATS = 500_000
BLOCK_BYTES = 8960  # at an MTU of 9000
WAIT_S = 60


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """vadd, twice in one image."""
    folder = tmp_path_factory.mktemp("vadd")
    for file in (paths.kernels_dir() / "vadd").iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    text = (folder / "kernel.yaml").read_text()
    (folder / "kernel.yaml").write_text(text.replace("  - name: vadd\n", "  - name: vadd\n    compute_units: 2\n", 1))
    return build_image(folder, folder / "vadd.saf")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with lab_at(tmp_path_factory.mktemp("state"), LabSpec(name=NAME, cards=3, topology="chassis", mtu=9000)):
        yield


@pytest.fixture
def cluster(lab: None) -> Iterator[Cluster]:
    with connect(NAME) as found:
        until(lambda: len(cards := found.cards()) == 3 and all(c.state == "available" for c in cards))
        yield found
    with connect(NAME) as again:  # its daemon may be another one by now
        assert again.jobs() == []


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end, "waited for too long"
        threading.Event().wait(0.005)


def test_weights_go_out_once_and_follow_cards_that_come(cluster: Cluster, image: Image) -> None:
    weights = np.random.default_rng(1).random(FLOATS, np.float32)
    requests: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    wrong: list[int] = []
    done: Counter[str] = Counter()
    failed: list[Any] = []
    loads: list[dict[str, Any]] = []

    def units() -> Iterator[Unit]:
        while (value := requests.get()) is not None:
            yield Unit(Fill(FLOATS, np.float32, lambda view, v=value: view.fill(v)), tag=value)

    def land(index: int, views: tuple[np.ndarray[Any, Any], ...], info: Any) -> None:
        if not np.array_equal(views[0], weights + np.float32(info.tag)):
            wrong.append(info.tag)
        done[info.card] += 1

    def note(said: dict[str, Any]) -> None:
        if said["kind"] == "resident":
            loads.append({"card": said["card"], **said["info"]})
    cluster.program(image)
    job = cluster.submit("vadd", units(), image=image, ephemeral=True, keep_going=True, resident={"B": weights},
                         land=land, land_failed=lambda *what: failed.append(what), on_note=note)
    until(lambda: job.cards() == ["c1", "c2", "c3"])
    until(lambda: len(loads) >= 3)  # notes come behind it
    assert [(x["card"], x["cards"], x["frames"]) for x in loads] == [
        (card, 3, -(-weights.nbytes // BLOCK_BYTES)) for card in ("c1", "c2", "c3")]  # one broadcast to all three
    sent = 0

    def more(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            requests.put(sent)
            sent += 1
    more(30)
    until(lambda: sum(done.values()) >= 12 and len(done) == 3)
    manager.request(NAME, "unplug", cards=["c2"])
    more(30)
    until(lambda: job.cards() == ["c1", "c3"])
    until(lambda: next(c.state for c in cluster.cards() if c.name == "c2") == "lost")
    manager.request(NAME, "plug", cards=["c2"])
    until(lambda: job.cards() == ["c1", "c2", "c3"])
    before = done["c2"]
    more(60)
    requests.put(None)
    assert job.wait(WAIT_S)
    assert sum(done.values()) == sent == 120
    assert not wrong
    assert not failed
    assert done["c2"] > before
    again = loads[3:]
    assert [x["card"] for x in again] == ["c2"]  # the two others kept theirs


def test_copies_of_a_kernel_give_the_same_results(cluster: Cluster, image: Image) -> None:
    weights = np.random.default_rng(2).random(3000, np.float32)
    rows = np.random.default_rng(3).random((200, 3000), np.float32)
    cluster.program(image)
    for used in (1, 2):
        got = cluster.map("vadd", ((row,) for row in rows), image=image, resident={"B": weights}, compute_units=used)
        assert all(np.array_equal(g, row + weights) for g, row in zip(got, rows, strict=True))
    assert np.array_equal(cluster.kernel("vadd_1")(rows[0], rows[1]), rows[0] + rows[1])


def test_daemon_that_is_restarted_has_the_weights_written_again(cluster: Cluster, image: Image) -> None:
    weights = np.random.default_rng(4).random(FLOATS, np.float32)
    landed: dict[int, bool] = {}
    requests: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def units() -> Iterator[Unit]:
        while (value := requests.get()) is not None:
            yield Unit(Fill(FLOATS, np.float32, lambda view, v=value: view.fill(v)), tag=value)

    def land(index: int, views: tuple[np.ndarray[Any, Any], ...], info: Any) -> None:
        landed[info.tag] = np.array_equal(views[0], weights + np.float32(info.tag))
    job = cluster.submit("vadd", units(), image=image, ephemeral=True, keep_going=True, resident={"B": weights},
                         land=land)
    until(lambda: len(job.cards()) == 3)
    for value in range(20):
        requests.put(value)
    until(lambda: len(landed) >= 5)
    manager.request(NAME, "daemon", hold=True)
    until(lambda: job.cards() == [])
    manager.request(NAME, "daemon", hold=False)
    for value in range(20, 40):
        requests.put(value)
    requests.put(None)
    assert job.wait(WAIT_S)
    assert sorted(landed) == list(range(40))
    assert all(landed.values())
