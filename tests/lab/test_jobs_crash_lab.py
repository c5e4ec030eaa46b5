"""The daemon killed at random moments while a job runs: the job goes on by itself, nothing finished is run again."""

from __future__ import annotations

import os
import random
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

from safhost import paths
from safhost.client import Cluster, connect
from safhost.core import journal as jn
from safhost.errors import JobError
from safhost.jobs import Job
from safhost.lab import manager
from safhost.lab.state import LabSpec
from safhost.plan.image import Image, build_image

pytestmark = pytest.mark.lab
NAME = "jcrash"
FLOATS = 2000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path))
    for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path
    manager.down(NAME)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build_image(paths.kernels_dir() / "vadd", tmp_path_factory.mktemp("image") / "vadd.saf")


def until(what: Callable[[], Any], deadline_s: float = 40.0) -> Any:
    """Ask until the answer is true; the deadline only bounds a failure."""
    end = time.monotonic() + deadline_s
    while not (found := what()):
        assert time.monotonic() < end, "waited for too long"
        threading.Event().wait(0.005)
    return found


def up(image: Image, cards: int = 3) -> Cluster:
    manager.up(LabSpec(name=NAME, cards=cards, topology="chassis", mtu=9000), timeout_s=40)
    cluster = connect(NAME)
    until(lambda: len(found := cluster.cards()) == cards and all(c.state == "available" for c in found))
    cluster.program(image)
    return cluster


def daemon_pid() -> int:
    status = manager.request(NAME, "status")["daemon"]
    return int(status["pid"] or 0) if status["state"] == "ready" else 0


def finished(job: str) -> jn.JobState:
    """What the job's journal says."""
    return jn.replay((paths.cluster_state_dir(NAME) / "jobs" / f"{job}.journal").read_bytes())


class Watch:
    """What a job sends to the service: each unit, and after which restart."""

    def __init__(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[int] = []
        start = job._link.start

        def watched(op: str, params: dict[str, Any], *rest: Any) -> bool:
            if op == "job_units":
                self.sent += [u[0] for u in params["units"]]
            return start(op, params, *rest)
        monkeypatch.setattr(job._link, "start", watched)


def crash(image: Image, kills: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units without end until ``kills`` daemons were killed, then to the end."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    cluster = up(image)
    a = np.random.default_rng(seed).random((64, FLOATS), np.float32)
    more = threading.Event()
    more.set()
    units = 0
    out = np.zeros((200_000, FLOATS), np.float32)  # pages come as they are touched

    def generate() -> Iterator[tuple[Any, Any]]:
        nonlocal units
        while more.is_set() and units < len(out):
            yield a[units % 64], a[(units + 7) % 64]
            units += 1
    kernel = cluster.kernel("vadd")
    before = sum(_commands())
    job = cluster.submit(kernel, generate(), out=out)
    watch = Watch(job, monkeypatch)
    recorded = 0
    for _ in range(kills):
        pid = until(daemon_pid)
        done = job.progress()[0]
        until(lambda done=done: job.progress()[0] > done or job.done())
        threading.Event().wait(rng.random() * 0.15)
        assert not job.done(), job.exception()
        mark = len(watch.sent)
        os.kill(pid, signal.SIGKILL)
        state = finished(job.id)  # nobody writes there until the next one reads it
        recorded = state.done.count
        for hold in (True, False):  # the next one at once, instead of after a pause that grows
            manager.request(NAME, "daemon", hold=hold)
        until(lambda pid=pid: daemon_pid() not in (0, pid))
        until(lambda mark=mark: len(watch.sent) > mark or job.done())
        again = [i for i in watch.sent[mark:] if i in state.done]
        assert not again, f"finished units were sent again: {again}"
    more.clear()
    assert job.result(60) is out
    assert recorded <= units
    for i in range(units):
        assert (out[i] == a[i % 64] + a[(i + 7) % 64]).all(), i
    assert not out[units:units + 100].any()
    state = finished(job.id)
    assert state.ended == "done"
    assert state.done.pairs() == [(0, units - 1)]
    assert cluster_jobs() == [("j1", "done", units)]
    assert sum(_commands()) - before >= units
    cluster.close()


def _commands() -> list[int]:
    return [c["counters"].get("commands", 0) if "counters" in c else 0
            for c in manager.status(NAME, cards=True)["card_list"]]


def cluster_jobs() -> list[tuple[str, str, int]]:
    with connect(NAME) as other:
        return [(j["job"], j["state"], j["done"]) for j in other.jobs(all=True)]


def test_job_outlives_six_daemons(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    crash(image, 6, 1, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_job_outlives_a_hundred_daemons(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    crash(image, 100, random.randrange(1 << 32), monkeypatch)


_LOCAL = """
import sys
import numpy as np
import safhost
with safhost.connect("x", interfaces="saf0") as cluster:
    a = np.random.default_rng(1).random((40, 3000), np.float32)
    out = np.zeros_like(a)
    cluster.map("vadd", ((r, r) for r in a), out=out, image=sys.argv[1])
    endless = cluster.submit("vadd", iter(lambda: (a[0], a[0]), None))
    next(cluster.as_completed(endless))
    endless.cancel()
    endless.wait(30)
    print((out == 2 * a).all(), [j["state"] for j in cluster.jobs(all=True)])
"""


def test_jobs_in_a_cluster_without_a_daemon(image: Image) -> None:
    manager.up(LabSpec(name=NAME, cards=2, topology="chassis", mtu=9000, daemon=False), timeout_s=40)
    (paths.state_dir() / "config.yaml").write_text("clusters: {x: {suite: 0}}\n")
    command = manager.exec_command(NAME, [sys.executable, "-W", "error", "-c", _LOCAL, str(image.path)])
    done = subprocess.run(command, check=False, text=True, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True ['done', 'cancelled']\n", "")


def test_client_that_went_away_is_followed_by_another(image: Image, tmp_path: Path) -> None:
    cluster = up(image, 2)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, (400, FLOATS))
    a = np.random.default_rng(3).random((400, FLOATS), np.float32)
    gate = threading.Event()

    def first() -> Iterator[tuple[Any, Any]]:
        for i in range(400):
            if i == 200:
                gate.wait(30)
            yield a[i], a[i]
    job = cluster.submit("vadd", first(), out=out)
    until(lambda: job.progress()[0] == 200)
    cluster.close()
    gate.set()
    with pytest.raises(JobError, match="closed"):
        job.result(30)
    out[:200] = -1  # as they are: nobody runs them again
    with connect(NAME) as other:
        until(lambda: other.jobs(all=True)[0]["state"] == "abandoned")
        assert other.jobs() == []
        with pytest.raises(Exception, match="there is no job"):
            other.submit(other.kernel("vadd"), [], out=out, resume="j99")
        again = other.submit("vadd", ((a[i], a[i]) for i in range(400)), out=out, resume=job.id)
        assert again.id == job.id
        again.result(60)
        assert again.progress() == (400, 400)
        assert [(j["job"], j["state"], j["done"]) for j in other.jobs(all=True)] == [(job.id, "done", 400)]
    assert (out[:200] == -1).all()
    assert (out[200:] == 2 * a[200:]).all()
