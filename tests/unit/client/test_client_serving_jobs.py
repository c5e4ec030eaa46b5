"""Jobs that serve: inputs filled in place, results landed as views, every unit told once, nothing recorded."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from runtime_rig import LiveRig

from safhost import Fill, Unit
from safhost.client import Cluster
from safhost.errors import ConfigError, SafError, SchedulingError
from safhost.plan.image import Image
from safhost.runtime.server import Server

WAIT_S = 30


@pytest.fixture
def ready(cluster: Cluster, vadd: Image) -> Cluster:
    cluster.program(vadd)
    return cluster


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end
        threading.Event().wait(0.002)


def hold(live: LiveRig, on: bool = True) -> None:
    def change() -> bool:
        for port in live.ports:
            jobs, port.held = port.held, [] if on else None
            for job in (jobs or []) if not on else []:
                port.finish(job)
        return True
    live.do(change)


class Serving:
    """A job fed from a queue, as a server has it. ``landed``: index → (tag, result, card), ``failed``: tag → error."""

    def __init__(self, cluster: Cluster, image: Image | None = None, **options: Any) -> None:
        self.queue: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self.landed: dict[Any, tuple[np.ndarray[Any, Any], str]] = {}
        self.failed: dict[Any, SafError] = {}
        self.cards: list[list[str]] = []
        self.job = cluster.submit("vadd", self._units(), image=image, land=self._land, land_failed=self._failed,
                                  on_cards=self.cards.append, **{"ephemeral": True, "keep_going": True} | options)

    def _units(self) -> Iterator[Unit]:
        while (unit := self.queue.get()) is not None:
            yield unit

    def _land(self, index: int, views: tuple[np.ndarray[Any, Any], ...], info: Any) -> None:
        assert len(views) == 1
        assert not views[0].flags.writeable
        assert info.tag not in self.landed
        assert info.tag not in self.failed
        assert info.index == index
        self.landed[info.tag] = views[0].copy(), info.card

    def _failed(self, index: int, error: SafError, info: Any) -> None:
        assert info.tag not in self.landed
        assert info.tag not in self.failed
        self.failed[info.tag] = error

    def put(self, tag: Any, a: Any, b: Any) -> None:
        self.queue.put(Unit(a, b, tag=tag))

    def end(self) -> None:
        self.queue.put(None)
        self.job.wait(WAIT_S)


def fill(value: float, n: int = 300) -> Fill:
    return Fill((n,), np.float32, lambda view: view.fill(value))


def test_units_filled_in_place_land_as_views_with_their_tags(ready):
    s = Serving(ready)
    for i in range(40):
        s.put(f"r{i}", fill(i), np.full(300, 2, np.float32))
    s.put("small", fill(1, 7), fill(2, 7))
    s.end()
    assert len(s.landed) == 41
    assert not s.failed
    for i in range(40):
        value, card = s.landed[f"r{i}"]
        assert (value == i + 2).all()
        assert card in ("c1", "c2")
    assert (s.landed["small"][0] == np.full(7, 3, np.float32)).all()
    assert s.job.exception(WAIT_S) is None
    assert s.job.result() is None
    assert s.job.progress()[0] == 41


def test_fill_is_called_once_in_the_thread_that_pulls_the_generator(ready):
    threads: list[str] = []

    def write(view: np.ndarray[Any, Any]) -> None:
        assert view.flags.c_contiguous
        assert view.flags.writeable
        threads.append(threading.current_thread().name)
        view[:] = 5
    s = Serving(ready)
    s.put(0, Fill(300, "float32", write), fill(1))
    s.end()
    assert threads == [f"saf-{s.job.id}-feed"]
    assert (s.landed[0][0] == 6).all()


def test_lone_unit_beside_others_under_way_is_on_a_card_at_once(ready, live):
    s = Serving(ready, depth=8)
    s.put("warm", fill(1), fill(1))
    until(lambda: "warm" in s.landed)
    hold(live)
    for i in range(5):
        s.put(i, fill(i), fill(1))
        until(lambda n=i + 1: live.do(lambda: sum(len(p.held or []) for p in live.ports)) == n)
    hold(live, False)
    s.end()
    assert len(s.landed) == 6


def test_finished_unit_is_told_while_others_are_under_way(ready, live):
    s = Serving(ready, depth=8)
    s.put("warm", fill(1), fill(1))
    until(lambda: "warm" in s.landed)
    hold(live)
    for i in range(16):
        s.put(i, fill(i), fill(1))
    until(lambda: live.do(lambda: sum(len(p.held or []) for p in live.ports)) == 16)

    def finish_one() -> bool:
        port = next(p for p in live.ports if p.held)
        port.finish(port.held.pop())
        return True
    live.do(finish_one)
    until(lambda: len(s.landed) == 2)
    hold(live, False)
    s.end()
    assert len(s.landed) == 17


def test_unit_that_does_not_fit_or_cannot_be_filled_fails_alone(ready):
    def broken(_view: np.ndarray[Any, Any]) -> None:
        raise ValueError("NaN")

    def refused(_view: np.ndarray[Any, Any]) -> None:
        raise ConfigError("too large", "smaller")
    s = Serving(ready)
    s.put("good", fill(1), fill(2))
    s.put("shape", fill(1, 3), fill(2, 4))
    s.put("fill", Fill(300, np.float32, broken), fill(2))
    s.put("ours", Fill(300, np.float32, refused), fill(2))
    s.put("type", Fill(300, np.int8, broken), fill(2))
    s.put("good too", fill(2), fill(2))
    s.end()
    assert set(s.landed) == {"good", "good too"}
    assert set(s.failed) == {"shape", "fill", "ours", "type"}
    assert isinstance(s.failed["fill"].__cause__, ValueError)
    assert "ValueError: NaN" in s.failed["fill"].message
    assert s.failed["ours"].message == "too large"
    assert s.job.exception(WAIT_S) is None


def test_without_land_a_fill_that_raises_ends_the_job(ready):
    def broken(_view: np.ndarray[Any, Any]) -> None:
        raise ValueError("NaN")
    job = ready.submit("vadd", [(fill(1), fill(2)), (Fill(300, np.float32, broken), fill(2))])
    error = job.exception(WAIT_S)
    assert error is not None
    assert "unit 1: its input could not be made: ValueError: NaN" in error.message


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_units_under_way_are_told_when_the_job_ends_before_them(ready, live, how):
    s = Serving(ready, window=6)
    hold(live)
    for i in range(10):
        s.put(i, fill(i), fill(1))
    until(lambda: live.do(lambda: sum(len(p.held or []) for p in live.ports)) >= 4)
    if how == "cancel":
        s.job.cancel()
    else:
        ready.close()
    until(lambda: len(s.failed) >= 6)  # the others never left the queue, but for the one that waited for room
    s.queue.put(None)
    until(lambda: len(s.failed) == 7)
    assert not s.landed
    assert all(isinstance(e, SafError) for e in s.failed.values())
    if how == "cancel":
        hold(live, False)


def test_ephemeral_job_writes_no_record_of_units(ready, live, tmp_path):
    s = Serving(ready)
    s.put(0, fill(1), fill(1))
    until(lambda: len(s.landed) == 1)
    (file,) = tmp_path.rglob(f"{s.job.id}.journal")
    size = file.stat().st_size
    for i in range(1, 200):
        s.put(i, fill(i), fill(1))
    until(lambda: len(s.landed) == 200)
    assert file.stat().st_size == size
    s.end()
    info = ready.job_info(s.job.id)
    assert (info["state"], info["done"], info["failed"]) == ("done", 200, 0)
    with pytest.raises(ConfigError, match="nothing of an ephemeral job is recorded"):
        ready.submit("vadd", [], out=np.zeros((1, 300), np.float32), resume=s.job.id)
    with pytest.raises(ConfigError, match="ephemeral job cannot be resumed"):
        ready.submit("vadd", [], out=np.zeros((1, 300), np.float32), resume=s.job.id, ephemeral=True)


def test_ephemeral_job_goes_on_when_the_daemon_comes_back(ready, live, vadd):
    s = Serving(ready, vadd, window=8)
    hold(live)
    for i in range(8):
        s.put(i, fill(i), fill(1))
    until(lambda: live.do(lambda: sum(len(p.held or []) for p in live.ports)) >= 4)
    live.die()
    until(lambda: s.job.cards() == [])
    live.do(lambda: setattr(live, "server", Server(live.engine, live.service, live.path)))
    hold(live, False)
    until(lambda: len(s.landed) == 8)
    until(lambda: s.job.cards() == ["c1", "c2"])
    s.put("after", fill(1), fill(2))
    s.end()
    assert not s.failed
    assert all((s.landed[i][0] == i + 1).all() for i in range(8))
    assert (s.landed["after"][0] == 3).all()


def test_cards_are_those_that_run_the_image_now(ready, live, vadd):
    s = Serving(ready, vadd)
    until(lambda: s.job.cards() == ["c1", "c2"])
    ready.drain("c1")
    until(lambda: s.job.cards() == ["c2"])
    ready.undrain("c1")
    until(lambda: s.job.cards() == ["c1", "c2"])
    live.do(live.ports[1].unplug)
    until(lambda: s.job.cards() == ["c1"])
    live.do(live.ports[1].plug)
    until(lambda: s.job.cards() == ["c1", "c2"])
    s.end()
    assert s.job.cards() == []
    until(lambda: s.cards[-1] == [])
    assert ["c2"] in s.cards
    assert ["c1"] in s.cards


def test_job_of_one_card_at_most_takes_another_when_that_is_lost(ready, live, vadd):
    with pytest.raises(SafError, match="bad parameter max_cards: 1"):
        Serving(ready, vadd, min_cards=2, max_cards=1)
    s, notes = Serving(ready, vadd, max_cards=1), []
    until(lambda: len(s.job.cards()) == 1)
    port = live.ports[s.job.cards()[0] == "c2"]
    first, other = s.job.cards()[0], "c1" if s.job.cards() == ["c2"] else "c2"
    live.do(port.unplug)
    until(lambda: s.job.cards() == [other])
    live.do(port.plug)
    for i in range(20):
        s.put(i, np.full(8, i, np.float32), np.ones(8, np.float32))
    until(lambda: len(s.landed) == 20)
    assert {card for _, card in s.landed.values()} == {other}
    assert s.job.cards() == [other]
    notes = [(n["kind"], n["card"], n["info"]) for n in s.job.notes if n["kind"] == "card_left"]
    assert notes == [("card_left", first, {"lost": True})]
    s.end()


def test_lasting_job_gives_up_units_no_card_can_take_and_goes_on(ready, live, vadd):
    s = Serving(ready, vadd, patience_s=0.3)
    s.put("before", fill(1), fill(1))
    until(lambda: "before" in s.landed)
    ready.drain(["c1", "c2"])
    s.put("stuck", fill(1), fill(1))
    until(lambda: "stuck" in s.failed)
    assert isinstance(s.failed["stuck"], SchedulingError)
    assert "no card could work on it" in s.failed["stuck"].message
    ready.undrain(["c1", "c2"])
    s.put("after", fill(1), fill(1))
    until(lambda: "after" in s.landed)
    s.end()


def test_results_go_one_way_only(ready):
    with pytest.raises(ConfigError, match="not to both"):
        ready.submit("vadd", [], out=np.zeros((1, 300), np.float32), land=lambda *_: None)
    with pytest.raises(ConfigError, match="functions"):
        ready.submit("vadd", [], land=3)
    s = Serving(ready)
    with pytest.raises(SchedulingError, match="land"):
        next(ready.as_completed(s.job))
    s.end()


def test_tags_come_back_from_jobs_of_other_kinds(ready):
    a = np.ones(300, np.float32)
    job = ready.submit("vadd", (Unit(a, a, tag=("t", i)) for i in range(3)))
    assert sorted(r.tag for r in ready.as_completed(job)) == [("t", 0), ("t", 1), ("t", 2)]


def test_land_that_raises_ends_the_job_and_the_others_are_told(ready, live):
    told: list[Any] = []

    def land(*_args: Any) -> None:
        raise RuntimeError("boom")
    job = ready.submit("vadd", (Unit(fill(1), fill(1), tag=i) for i in range(3)), ephemeral=True, land=land,
                       land_failed=lambda i, error, info: told.append(info.tag))
    error = job.exception(WAIT_S)
    assert error is not None
    assert "boom" in error.message


# -- resident data -------------------------------------------------------------------------------------------


def test_resident_array_is_sent_once_and_units_leave_it_out(ready, vadd, live):
    b = np.random.default_rng(2).random(300_000, np.float32)
    before = [p.data_frames for p in live.ports]
    rng = np.random.default_rng(3)
    a = rng.random((6, len(b)), np.float32)
    got = ready.map("vadd", ((row,) for row in a), image=vadd, resident={"B": b})
    assert all((g == row + b).all() for g, row in zip(got, a, strict=True))
    blocks = -(-b.nbytes // 1472)
    frames = [p.data_frames - n for p, n in zip(live.ports, before, strict=True)]
    assert sum(frames) <= (6 + 2) * (blocks + 64)  # each unit's input once, the resident one once to each card
    (other,) = ready.map("vadd", [Unit(B=a[0])], image=vadd, resident={"A": b})
    assert (other == a[0] + b).all()


def test_resident_job_goes_on_when_the_daemon_comes_back(ready, live, vadd):
    b = np.random.default_rng(2).random(30_000, np.float32)
    a = np.random.default_rng(3).random((8, len(b)), np.float32)
    s = Serving(ready, vadd, resident={"B": b})
    until(lambda: s.job.cards() == ["c1", "c2"])
    hold(live)
    for i in range(8):
        s.queue.put(Unit(a[i], tag=i))
    until(lambda: live.do(lambda: sum(len(p.held or []) for p in live.ports)) >= 4)
    live.die()
    until(lambda: s.job.cards() == [])
    live.do(lambda: setattr(live, "server", Server(live.engine, live.service, live.path)))
    hold(live, False)
    until(lambda: len(s.landed) == 8)
    s.end()
    assert all((s.landed[i][0] == a[i] + b).all() for i in range(8))


@pytest.mark.parametrize(("resident", "says"), [
    ({"C": np.zeros(3, np.float32)}, "no input buffer C"),
    ({"X": np.zeros(3, np.float32)}, "no input buffer X"),
    ({"B": np.zeros(3, np.float64)}, "B has dtype float64"),
    ({"B": np.zeros((3, 3), np.float32)}, "2 dimensions"),
    ({"B": np.zeros(0, np.float32)}, "is empty"),
    ({"B": [1.0]}, "B is list"),
])
def test_resident_data_that_cannot_be_is_refused_at_once(ready, vadd, resident, says):
    with pytest.raises(ConfigError, match=says):
        ready.submit("vadd", [], image=vadd, resident=resident)


def test_unit_that_brings_what_is_resident_is_at_fault(ready, vadd):
    b = np.ones(300, np.float32)
    s = Serving(ready, vadd, resident={"B": b})
    s.queue.put(Unit(b, B=b, tag="named"))
    s.queue.put(Unit(b, b, tag="placed"))
    s.queue.put(Unit(np.ones(4, np.float32), tag="other size"))
    s.queue.put(Unit(b, tag="good"))
    s.end()
    assert set(s.landed) == {"good"}
    assert set(s.failed) == {"named", "placed", "other size"}
    assert "B is resident" in s.failed["named"].message


def test_resident_data_larger_than_the_cards_ends_the_job_with_a_clear_error(ready, vadd):
    s = Serving(ready, vadd, resident={"B": np.zeros(20 << 20, np.float32)})  # 80 MiB, the cards have 64
    error = s.job.exception(WAIT_S)
    assert error is not None
    assert "of resident data do not fit the" in error.message
    s.queue.put(None)
