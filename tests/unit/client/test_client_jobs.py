"""Jobs through the Python API against a served cluster: what goes in, where results land, ends of all kinds."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from runtime_rig import LiveRig, fails

from safhost import Unit
from safhost import joblink as joblink_module
from safhost.client import Cluster
from safhost.errors import ConfigError, DaemonError, DeadlineExceeded, ImageError, JobError, SchedulingError
from safhost.plan.image import Image
from safhost.runtime.server import Server

WAIT_S = 60


@pytest.fixture
def ready(cluster: Cluster, vadd: Image) -> Cluster:
    cluster.program(vadd)
    return cluster


def rows(n: int, floats: int = 300, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).random((n, floats), np.float32)


def hold(live: LiveRig, on: bool = True) -> None:
    """Kernels wait in the cards from here on, or run again."""
    def change() -> bool:
        for port in live.ports:
            jobs, port.held = port.held, [] if on else None
            for job in (jobs or []) if not on else []:
                port.finish(job)
        return True
    live.do(change)


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


# -- where units come from and results go --------------------------------------------------------------------


def test_map_returns_results_in_order(ready):
    a = rows(30)
    got = ready.map("vadd", [(r, r) for r in a])
    assert len(got) == 30
    assert all((g == 2 * r).all() for g, r in zip(got, a, strict=True))
    assert ready.map(ready.kernel("vadd"), (Unit(r, B=r) for r in a[:3]))[2].shape == (300,)
    assert ready.map(0, []) == []


def test_results_land_in_out_where_units_say(ready, tmp_path):
    a = rows(20)
    out = np.zeros_like(a)
    assert ready.map("vadd", ((r, r) for r in a), out=out) is out
    assert (out == 2 * a).all()
    file = np.lib.format.open_memmap(tmp_path / "c.npy", "w+", np.float32, (4, 5, 300))
    ready.map("vadd", (Unit(a[i], a[i], into=(i % 4, i // 4)) for i in range(20)), out=file)
    assert (np.load(tmp_path / "c.npy") == (2 * a).reshape(5, 4, 300).transpose(1, 0, 2)).all()
    flat = np.zeros(20 * 300, np.float32)
    ready.map("vadd", (Unit(a[i], a[i], into=slice(300 * i, 300 * i + 300)) for i in range(20)), out=flat)
    assert (flat == 2 * a.reshape(-1)).all()
    backwards = np.zeros((20, 300), np.float32)
    ready.map("vadd", (Unit(a[i], a[i], into=19 - i) for i in range(20)), out=backwards)
    assert (backwards == 2 * a[::-1]).all()
    some = np.zeros((300, 2), np.float32)
    ready.map("vadd", [Unit(a[0], a[1], into=(slice(None), 1))], out=some)
    assert (some[:, 1] == a[0] + a[1]).all()
    picked = np.zeros(600, np.float32)
    ready.map("vadd", [Unit(a[0], a[1], into=np.arange(0, 600, 2))], out=picked)
    assert (picked[::2] == a[0] + a[1]).all()
    single = np.zeros(3, np.float32)
    ready.map("vadd", [(a[i, :1], a[i, :1]) for i in range(3)], out=single)
    assert (single == 2 * a[:3, 0]).all()


def test_slices_need_not_lie_together(ready, ptrans, cluster):
    cluster.program(ptrans)
    m = np.random.default_rng(1).random((96, 96), np.float32)
    b = np.random.default_rng(2).random((96, 96), np.float32)
    c = np.zeros_like(m)

    def tiles() -> Iterator[Unit]:
        for i in range(0, 96, 32):
            for j in range(0, 96, 32):
                yield Unit(m[j:j + 32, i:i + 32], b[i:i + 32, j:j + 32],
                           into=(slice(i, i + 32), slice(j, j + 32)))
    cluster.map("ptrans", tiles(), out=c, total=9)
    assert (c == b + m.T).all()


def test_units_of_many_shapes_share_a_job(ready):
    sizes = [1, 700, 3, 20_000, 0, 700, 65_537, 2]
    units = [(np.full(n, i, np.float32), np.ones(n, np.float32)) for i, n in enumerate(sizes)]
    got = ready.map("vadd", units, window=3)
    assert [len(g) for g in got] == sizes
    assert all((g == i + 1).all() for i, g in enumerate(got))


def test_small_window_bounds_what_the_generator_is_asked_for(ready, live):
    pulled = 0

    def units() -> Iterator[tuple[Any, Any]]:
        nonlocal pulled
        for r in rows(50):
            pulled += 1
            yield r, r
    hold(live)
    job = ready.submit("vadd", units(), window=4)
    until(lambda: pulled == 5)  # the fifth waits for room
    until(lambda: job.info()["running"] > 0)
    assert pulled == 5
    assert job.progress() == (0, None)
    hold(live, False)
    assert len(job.result(WAIT_S)) == 50
    assert job.progress() == (50, 50)


@pytest.mark.parametrize(("out", "says"), [
    (np.zeros((3, 300), np.float64), "unit 0: its result is float32, out is float64"),
    (np.zeros((3, 200), np.float32), r"unit 0: its result has shape \(300,\), out\[0\] has shape \(200,\)"),
    (np.zeros((1, 300), np.float32), r"unit 1: out\[1\] is not there"),
])
def test_result_that_does_not_fit_is_an_error_before_it_runs(ready, out, says):
    a = rows(3)
    with pytest.raises(JobError, match=says) as told:
        ready.map("vadd", [(r, r) for r in a], out=out)
    assert isinstance(told.value.failures[0][2], ConfigError)
    assert told.value.job
    info = ready.job_info(told.value.job)
    assert info["state"] == "failed"
    assert told.value.failures[0][2].message in info["why"]
    assert len(ready.map("vadd", [(r, r) for r in a])) == 3


def test_out_that_cannot_be_is_refused_at_once(ready):
    fixed = np.zeros((1, 300), np.float32)
    fixed.flags.writeable = False
    for out, says in ((fixed, "cannot be written"), ([1, 2], "out has 2 arrays"), (5, "out is int"),
                      ((fixed, fixed), "out has 2 arrays")):
        with fails(ConfigError, says):
            ready.submit("vadd", [], out=out)


def test_kernel_and_image_that_do_not_belong_together(ready, vadd, ptrans):
    with fails(ImageError, "the image has no kernel 'vadd'"):
        ready.submit("vadd", [], image=ptrans)
    with fails(ConfigError, "is of another image"):
        ready.submit(ready.kernel("vadd"), [], image=ptrans)
    with fails(SchedulingError, "no card runs a kernel 'ptrans'"):
        ready.submit("ptrans", [])
    assert ready.map("vadd", [], image=vadd) == []


# -- as they come ------------------------------------------------------------------------------------------


def test_as_completed_hands_each_unit_out_once(ready):
    a = rows(60)
    one = ready.submit("vadd", ((r, r) for r in a), window=8)
    two = ready.submit("vadd", ((r, r) for r in a[:20]), out=np.zeros((20, 300), np.float32))
    seen = {one: set(), two: set()}
    for done in ready.as_completed([one, two], timeout=WAIT_S):
        assert done.index not in seen[done.job]
        seen[done.job].add(done.index)
        assert done.card in ("c1", "c2")
        assert done.attempts == 1
        if done.job is one:
            assert (done.value == 2 * a[done.index]).all()
        else:
            assert done.value is None
    assert (len(seen[one]), len(seen[two])) == (60, 20)
    assert one.result() == [None] * 60
    assert (two.result() == 2 * a[:20]).all()


def test_as_completed_after_the_end_gives_what_is_there(ready):
    a = rows(5)
    job = ready.submit("vadd", ((r, r) for r in a))
    job.result(WAIT_S)
    assert sorted(d.index for d in ready.as_completed(job)) == list(range(5))
    assert list(ready.as_completed([])) == []
    other = ready.submit("vadd", ((r, r) for r in a))
    for _ in ready.as_completed(other):
        break
    assert sum(r is not None for r in other.result(WAIT_S)) == 4  # one was handed out


def test_results_nobody_takes_hold_the_generator_back(ready):
    a = rows(1)[0]
    pulled = 0

    def units() -> Iterator[tuple[Any, Any]]:
        nonlocal pulled
        for _ in range(60):
            pulled += 1
            yield a, a
    job = ready.submit("vadd", units(), window=5)
    results = ready.as_completed(job, timeout=WAIT_S)
    next(results)
    until(lambda: pulled >= 6)
    threading.Event().wait(0.1)
    assert pulled < 30
    assert sum(1 for _ in results) == 59


def test_as_completed_raises_what_the_job_ended_with(ready):
    a = rows(2)

    def bad() -> Iterator[Any]:
        yield a[0], a[1]
        raise RuntimeError("enough")
    job = ready.submit("vadd", bad())
    with fails(JobError, "raised RuntimeError after 1 units: enough"):
        list(ready.as_completed(job, timeout=WAIT_S))
    endless = ready.submit("vadd", (), total=3)
    endless.result(WAIT_S)


# -- ends --------------------------------------------------------------------------------------------------


def test_cancelled_job_ends_and_its_generator_is_closed(ready, live):
    closed = threading.Event()

    def units() -> Iterator[tuple[Any, Any]]:
        a = rows(1)[0]
        try:
            while True:
                yield a, a
        finally:
            closed.set()
    hold(live)
    job = ready.submit("vadd", units(), name="endless")
    until(lambda: any(j["running"] for j in ready.jobs()))
    assert not job.done()
    with fails(DeadlineExceeded, f"job {job.id} is not over after 0.01 s"):
        job.result(0.01)
    assert job.cancel()
    with fails(JobError, f"job {job.id} was cancelled; 0 units are finished"):
        job.result(WAIT_S)
    assert closed.wait(WAIT_S)
    assert job.cancelled()
    hold(live, False)
    assert len(ready.map("vadd", [(rows(1)[0], rows(1)[0])])) == 1
    assert "endless" in {j["name"] for j in ready.jobs(all=True)}


def test_unit_that_fails_for_good_ends_the_job_or_is_passed_over(ready, live):
    a = rows(8)
    for port in live.ports:
        live.do(lambda port=port: port.card.inject("role_fault", times=3) or True)
    with pytest.raises(JobError, match=r"unit \d") as told:
        ready.map("vadd", [(r, r) for r in a], retries=1)
    (index, card, error), *_ = told.value.failures
    assert 0 <= index < 8
    assert card in ("c1", "c2")
    assert error.message
    for port in live.ports:
        live.do(lambda port=port: port.card.inject("clear") or True)
        live.do(lambda port=port: port.card.inject("role_fault", times=1) or True)
    out = np.zeros_like(a)
    job = ready.submit("vadd", [(r, r) for r in a], out=out, retries=1, keep_going=True)
    with pytest.raises(JobError, match=r"units failed, the first is unit \d") as rest:
        job.result(WAIT_S)
    bad = {index for index, _, _ in rest.value.failures}
    assert 1 <= len(bad) <= 2
    assert rest.value.done == 8 - len(bad)
    assert rest.value.result is out
    assert all((out[i] == 2 * a[i]).all() for i in range(8) if i not in bad)


def test_closed_cluster_ends_its_jobs(connect, vadd, live):
    cluster = connect()
    cluster.program(vadd)
    hold(live)
    a = rows(1)[0]
    job = cluster.submit("vadd", iter(lambda: (a, a), None))
    cluster.close()
    with fails(JobError, "closed before the job was over"):
        job.result(WAIT_S)
    hold(live, False)
    other = connect()
    until(lambda: other.jobs() == [])
    assert other.jobs(all=True)[-1]["state"] == "abandoned"


def test_notes_reach_the_user_and_one_that_raises_ends_the_job(ready, live):
    a = rows(1)[0]
    notes: list[dict[str, Any]] = []
    hold(live)
    job = ready.submit("vadd", iter(lambda: (a, a), None), on_note=notes.append, unit_deadline_s=0.05)
    until(lambda: notes)
    job.cancel()
    job.wait(WAIT_S)
    assert all(set(n) >= {"kind", "card", "text", "info"} for n in notes)

    def bad(_note: dict[str, Any]) -> None:
        raise ValueError("no")
    other = ready.submit("vadd", iter(lambda: (a, a), None), on_note=bad, unit_deadline_s=0.05)
    with fails(JobError, "results cannot be taken: ValueError: no"):
        other.result(WAIT_S)
    hold(live, False)


# -- the daemon goes away ----------------------------------------------------------------------------------


def test_job_goes_on_with_the_next_daemon(ready, live):
    a = rows(200)
    out = np.zeros_like(a)
    gate = threading.Event()

    def units() -> Iterator[tuple[Any, Any]]:
        for i, r in enumerate(a):
            if i == 100:
                gate.wait(WAIT_S)
            yield r, r
    job = ready.submit("vadd", units(), out=out)
    until(lambda: job.progress()[0] > 10)
    live.die()
    until(lambda: not job._connected)
    gate.set()
    with fails(SchedulingError, "waiting for its daemon"):
        job.info()

    def again() -> bool:
        live.server = Server(live.engine, live.service, live.path)
        return True
    live.do(again)
    assert job.result(WAIT_S) is out
    assert (out == 2 * a).all()
    with Cluster("test", live.transport) as other:
        assert [(j["job"], j["state"], j["done"]) for j in other.jobs(all=True)] == [(job.id, "done", 200)]


def test_job_whose_daemon_stays_away_says_how_to_go_on(ready, live, monkeypatch):
    monkeypatch.setattr(joblink_module, "RECONNECT_S", 0.2)
    hold(live)
    a = rows(1)[0]
    job = ready.submit("vadd", iter(lambda: (a, a), None))
    live.die()
    with pytest.raises(JobError, match="did not come back within") as told:
        job.result(WAIT_S)
    assert isinstance(told.value.__cause__, DaemonError)
    assert "resume" in told.value.hint
    hold(live, False)


def test_jobs_leave_no_threads_and_no_memory(ready, live):
    def mine() -> list[str]:  # those of the host's pools stay
        return [t.name for t in threading.enumerate() if t.name.startswith(("saf-j", "saf-keeper")) and t.name
                != "saf-journal_0"]
    before = len(mine())
    a = rows(40)
    for _ in range(3):
        ready.map("vadd", ((r, r) for r in a))
    until(lambda: len(mine()) <= before)
    gc.collect()
    assert not live.do(lambda: len(live.service.elastic.live))
