"""Jobs on the lab's cards: pulled and plugged at random, priorities, drained, cancelled, and all that can be wrong."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_home import lab_at

from safhost import Unit, paths
from safhost.client import Cluster, connect
from safhost.errors import ConfigError, JobError, SchedulingError
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.plan.image import Image, build_image

pytestmark = pytest.mark.lab
NAME = "jobs"
FLOATS = 4000
SIX = "c[1-6]"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    folder = tmp_path_factory.mktemp("images")
    return {name: build_image(paths.kernels_dir() / name, folder / f"{name}.saf", 300_000)
            for name in ("vadd", "ptrans")}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One lab of six cards for all cases; each leaves it as it was."""
    with lab_at(tmp_path_factory.mktemp("state"), LabSpec(name=NAME, cards=6, topology="chassis", mtu=9000)):
        yield


@pytest.fixture
def cluster(lab: None, images: dict[str, Image]) -> Iterator[Cluster]:
    with connect(NAME) as found:
        until(lambda: len(cards := found.cards()[:6]) == 6 and all(c.state == "available" for c in cards))
        found.undrain(SIX)
        found.program(images["vadd"], SIX)
        yield found
        assert found.jobs() == []


def until(what: Callable[[], Any], deadline_s: float = 40.0) -> Any:
    """Ask until the answer is true; the deadline only bounds a failure."""
    end = time.monotonic() + deadline_s
    while not (found := what()):
        assert time.monotonic() < end, "waited for too long"
        threading.Event().wait(0.01)
    return found


def data(rows: int, seed: int = 0, floats: int = FLOATS) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).random((rows, floats), np.float32)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("times", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_every_result_is_right_while_cards_are_pulled(cluster: Cluster, images: dict[str, Image], times: int) -> None:
    seed = int(os.environ.get("SAFHOST_TEST_SEED", "4"))
    print(f"SAFHOST_TEST_SEED={seed}")
    rng = random.Random(seed)
    a = data(64, floats=30_000)
    stop = threading.Event()
    names = [f"c{i}" for i in range(1, 7)]
    pulls = 0
    errors: list[BaseException] = []

    def generate() -> Iterator[Unit]:
        units = 0
        while not stop.is_set():
            size = (30_000, 500, 8_000)[units % 3]  # so that cards go while they are written to, compute, are read
            yield Unit(a[units % 64][:size], a[units * 7 % 64][:size])
            units += 1

    def pull_and_plug() -> None:
        nonlocal pulls
        away: list[str] = []
        try:
            for _ in range(times):
                threading.Event().wait(rng.random() * 0.4)
                while away and (len(away) >= 4 or rng.random() < 0.5):
                    manager.request(NAME, "plug", cards=[away.pop(rng.randrange(len(away)))])
                away.append(rng.choice([n for n in names if n not in away]))
                manager.request(NAME, "unplug", cards=[away[-1]])
                pulls += 1
        except BaseException as err:  # told by the test's own thread
            errors.append(err)
        finally:
            manager.request(NAME, "plug", cards=names)
            stop.set()
    job = cluster.submit("vadd", generate(), image=images["vadd"])
    chaos = threading.Thread(target=pull_and_plug)
    chaos.start()
    landed = set()
    try:
        for done in cluster.as_completed(job, timeout=200):
            i = done.index
            assert done.error is None
            assert i not in landed
            landed.add(i)
            expected = a[i % 64] + a[i * 7 % 64]
            assert (done.value == expected[:len(done.value)]).all(), i
            assert len(done.value) == (30_000, 500, 8_000)[i % 3]
    finally:
        stop.set()
        chaos.join(200)
    assert not errors
    assert pulls == times
    job.result(60)
    assert landed == set(range(len(landed)))
    assert len(landed) == job.progress()[0] > 200
    print(len(landed), "units;", job.stats["moved"], "moved;", job.stats["speculated"], "speculated")


def test_higher_priority_goes_first_and_both_are_right(cluster: Cluster) -> None:
    a = data(300)
    low, high = np.zeros_like(a), np.zeros((100, FLOATS), np.float32)
    first = cluster.submit("vadd", ((r, r) for r in a), out=low, name="low")
    until(lambda: first.progress()[0] > 0)
    second = cluster.submit("vadd", ((r, r) for r in a[:100]), out=high, name="high", priority=5)
    assert {j["name"] for j in cluster.jobs()} == {"low", "high"}
    second.result(60)
    left = 300 - first.progress()[0]
    assert left > 0, "the low one was served first"
    first.result(60)
    assert (low == 2 * a).all()
    assert (high == 2 * a[:100]).all()


def test_jobs_of_two_images_share_the_cards(cluster: Cluster, images: dict[str, Image]) -> None:
    a = data(200)
    sums = np.zeros_like(a)
    tiles = np.random.default_rng(2).random((60, 64, 64), np.float32)
    moved = np.zeros_like(tiles)
    one = cluster.submit("vadd", ((r, r) for r in a), out=sums, image=images["vadd"])
    two = cluster.submit("ptrans", ((t, t) for t in tiles), out=moved, image=images["ptrans"])
    one.result(90)
    two.result(90)
    assert (sums == 2 * a).all()
    assert (moved == tiles + tiles.transpose(0, 2, 1)).all()


def test_job_of_two_cards_at_most_leaves_the_others_alone(cluster: Cluster, images: dict[str, Image]) -> None:
    a = data(60)
    job = cluster.submit("vadd", ((r, r) for r in a), image=images["vadd"], max_cards=2)
    assert (np.stack(job.result(60)) == 2 * a).all()
    assert len(job.stats["cards"]) <= 2, job.stats


def test_cancelled_job_leaves_the_cluster_usable(cluster: Cluster) -> None:
    a = data(4)
    endless = cluster.submit("vadd", iter(lambda: (a[0], a[1]), None))
    until(lambda: endless.progress()[0] > 3)
    assert endless.cancel()
    error = endless.exception(30)
    assert isinstance(error, JobError)
    assert "was cancelled" in error.message
    assert error.state == "cancelled"
    assert endless.cancelled()
    assert not endless.cancel()
    assert cluster.job_info(endless.id)["state"] == "cancelled"
    assert (cluster.map("vadd", [(a[0], a[1])])[0] == a[0] + a[1]).all()


def test_drained_job_ends_when_what_runs_is_done_and_can_go_on(cluster: Cluster, tmp_path: Path) -> None:
    a = data(600, floats=500)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, a.shape)
    job = cluster.submit("vadd", ((r, r) for r in a), out=out)
    until(lambda: job.progress()[0] > 20)
    job.drain()
    error = job.exception(30)
    assert error is not None
    assert error.state == "drained"
    done = job.progress()[0]
    assert 20 < done < 600
    again = cluster.submit("vadd", ((r, r) for r in a), out=out, resume=job.id)
    assert again.progress()[0] == done
    assert again.result(60) is out
    assert (out == 2 * a).all()


def test_held_job_waits_and_goes_on(cluster: Cluster) -> None:
    a = data(500, floats=500)
    out = np.zeros_like(a)
    job = cluster.submit("vadd", ((r, r) for r in a), out=out)
    until(lambda: job.progress()[0] > 5)
    job.change(hold=True, priority=3)
    until(lambda: job.info()["running"] == 0)
    row = job.info()
    assert (row["state"], row["priority"]) == ("held", 3)
    job.change(hold=False)
    job.result(60)
    assert (out == 2 * a).all()


def test_drained_card_gets_no_units_until_it_is_let_back(cluster: Cluster) -> None:
    a = data(600, floats=500)
    out = np.zeros_like(a)
    job = cluster.submit("vadd", ((r, r) for r in a), out=out)
    until(lambda: job.progress()[0] > 20)
    assert cluster.drain(["c1", "c2"]) == ["c1", "c2"]
    states = {c.name: (c.info["draining"], c.info["units"]) for c in cluster.cards()}
    assert states["c1"] == states["c2"] == (True, 0)
    before = job.info()["cards"]
    job.result(60)
    after = cluster.job_info(job.id)["cards"]
    assert after["c1"]["units"] == before["c1"]["units"]
    assert sum(c["units"] for c in after.values()) == 600
    assert sorted(cluster.undrain(SIX)) == ["c1", "c2", "c3", "c4", "c5", "c6"]
    assert (out == 2 * a).all()


# -- what can be wrong -------------------------------------------------------------------------------------


def test_generator_that_raises_is_named_and_the_cluster_goes_on(cluster: Cluster) -> None:
    a = data(2)

    def bad() -> Iterator[tuple[Any, Any]]:
        for _ in range(5):
            yield a[0], a[1]
        raise ValueError("no more paper")
    with pytest.raises(JobError, match="generator of units raised ValueError after 5 units: no more paper") as told:
        cluster.map("vadd", bad())
    assert isinstance(told.value.__cause__, ValueError)
    assert told.value.done <= 5
    assert (cluster.map("vadd", [(a[0], a[1])])[0] == a[0] + a[1]).all()


@pytest.mark.parametrize(("make", "says"), [
    (lambda a: [(a[0], a[1]), (a[0], a[1][:7])], "unit 1: vadd: B has 7 in dimension 0"),
    (lambda a: [(a[0], a[1]), (a[0], a[1].astype(np.float64))], "unit 1: vadd: B has dtype float64"),
    (lambda a: [(a[0], a[1]), Unit(a[0], a[1], into=9)], r"unit 1: out\[9\] is not there"),
    (lambda a: [(a[0], a[1]), Unit(a[0], a[1], into=slice(0, 2))], r"unit 1: its result has shape"),
    (lambda a: [(a[0][:5], a[1][:5])], r"unit 0: its result has shape \(5,\), out\[0\] has shape"),
], ids=["shape", "dtype", "outside", "slice", "result"])
def test_unit_that_does_not_fit_is_named_before_it_runs(cluster: Cluster, make: Any, says: str) -> None:
    a = data(2)
    with pytest.raises(JobError, match=says) as told:
        cluster.map("vadd", make(a), out=np.zeros((2, FLOATS), np.float32))
    (index, card, error), = told.value.failures
    assert (index, card) == (int(says[5]), "")
    assert isinstance(error, ConfigError)


def test_kernel_that_never_ends_fails_by_its_deadline_and_others_go_on(cluster: Cluster) -> None:
    a = data(6)
    manager.request(NAME, "fault", cards=[SIX], fault="hang_kernel")
    with pytest.raises(JobError, match=r"unit 0\b") as told:
        cluster.map("vadd", [(a[0], a[1])], unit_deadline_s=0.3, retries=2)
    assert told.value.failures
    assert told.value.failures[0][1] in ("c1", "c2", "c3", "c4", "c5", "c6")
    until(lambda: all(c.state == "available" for c in cluster.cards()))
    manager.request(NAME, "fault", cards=[SIX], fault="clear")
    got = cluster.map("vadd", [(r, r) for r in a], unit_deadline_s=20.0, retries=7)
    assert all((g == 2 * r).all() for g, r in zip(got, a, strict=True))


def test_image_that_fails_on_some_cards_runs_on_the_others(cluster: Cluster, images: dict[str, Image]) -> None:
    manager.request(NAME, "fault", cards=["c1", "c2"], fault="pr_error", parameters={"times": 100})
    try:
        tiles = np.random.default_rng(5).random((60, 64, 64), np.float32)
        notes: list[dict[str, Any]] = []
        job = cluster.submit("ptrans", ((t, t) for t in tiles), image=images["ptrans"], on_note=notes.append)
        got = job.result(90)
        assert all((g == t + t.T).all() for g, t in zip(got, tiles, strict=True))
        assert not {"c1", "c2"} & set(job.stats["cards"]) or all(
            job.stats["cards"][c]["units"] == 0 for c in ("c1", "c2") if c in job.stats["cards"])
        assert {n["card"] for n in notes if n["kind"] == "card_failed"} <= {"c1", "c2"}
    finally:
        manager.request(NAME, "fault", cards=["c1", "c2"], fault="clear")


def test_card_that_is_new_works_within_the_job(cluster: Cluster, images: dict[str, Image]) -> None:
    a = data(1)[0]
    notes: list[dict[str, Any]] = []
    job = cluster.submit("vadd", iter(lambda: (a, a), None), out=None, image=images["vadd"], on_note=notes.append)
    until(lambda: job.progress()[0] > 5)
    manager.request(NAME, "plug", new=1)
    until(lambda: any(n["kind"] == "card_working" and n["card"] == "c7" for n in notes))
    until(lambda: job.info()["cards"].get("c7", {}).get("units", 0) > 0)
    job.cancel()
    assert job.wait(30)
    manager.request(NAME, "unplug", cards=["c7"])


def test_journal_that_cannot_be_written_holds_the_job_until_it_can(cluster: Cluster) -> None:
    a = data(800, floats=200)
    out = np.zeros_like(a)
    notes: list[str] = []
    job = cluster.submit("vadd", ((r, r) for r in a), out=out, on_note=lambda n: notes.append(n["kind"]))
    until(lambda: job.progress()[0] > 10)
    pid = int(manager.request(NAME, "status")["daemon"]["pid"])
    size = (paths.cluster_state_dir(NAME) / "jobs" / f"{job.id}.journal").stat().st_size
    old = resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        until(lambda: "disk_full" in notes)
        row = cluster.job_info(job.id)
        assert row["state"] == "held"
        assert "journal" in row["why"]
        assert len(cluster.cards()) >= 6
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, old)
    job.result(60)
    assert "disk_back" in notes
    assert (out == 2 * a).all()
    assert cluster.job_info(job.id)["done"] == 800


def test_job_that_cannot_begin_says_so_at_once(cluster: Cluster, images: dict[str, Image]) -> None:
    with pytest.raises(SchedulingError, match="no card runs a kernel 'nosuch'"):
        cluster.submit("nosuch", [])
    with pytest.raises(ConfigError, match="no card is called 'c99'"):
        cluster.submit("vadd", [], cards="c99")
    with pytest.raises(ConfigError, match="cannot be resumed without out"):
        cluster.submit("vadd", [], resume="j1")
    with pytest.raises(ConfigError, match="window is 0"):
        cluster.submit("vadd", [], window=0)
    assert cluster.map("vadd", []) == []


_INTERRUPTED = """
import sys, numpy as np, safhost
a = np.ones(100, np.float32)
with safhost.connect(sys.argv[1]) as cluster:
    print("ready", flush=True)
    try:
        cluster.map("vadd", iter(lambda: (a, a), None), out=np.zeros((10**7, 100), np.float32), name="endless")
    except KeyboardInterrupt:
        rows = [j for j in cluster.jobs(all=True) if j["name"] == "endless"]
        print(rows[-1]["state"], (cluster.map("vadd", [(a, a)])[0] == 2).all())
"""


def test_interrupt_cancels_the_job(cluster: Cluster) -> None:
    with subprocess.Popen([sys.executable, "-W", "error", "-c", _INTERRUPTED, NAME], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        until(lambda: any(j["name"] == "endless" and j["done"] > 5 for j in cluster.jobs()))
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=40)
    assert said == "cancelled True\n", errors
    assert errors == ""
