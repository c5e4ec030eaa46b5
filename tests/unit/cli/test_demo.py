"""The working half of the demo: tiles, checking, cards that come and go; and what the command reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from safhost.cli import demo
from safhost.cli.demo_job import ERROR_BOUND, HotPlug, JobState, largest_error, make_matrices, run_tiles, tiles
from safhost.errors import CardError, CardLost


@pytest.mark.parametrize(("n", "side"), [(64, 16), (100, 32), (7, 7), (5, 8)])
def test_tiles_cover_each_element_once(n: int, side: int) -> None:
    seen = np.zeros((n, n), int)
    for rows, cols in tiles(n, side):
        seen[rows, cols] += 1
    assert np.all(seen == 1)


def test_matrices_are_the_same_each_time_and_within_range() -> None:
    a, b = make_matrices(50)
    again, _ = make_matrices(50)
    assert np.array_equal(a, again)
    assert not np.array_equal(a, b)
    assert a.dtype == np.float32
    assert 90 < np.abs(a).max() <= 100


def submit_to(pool: ThreadPoolExecutor) -> Callable[..., Future[Any]]:
    count = 0

    def submit(a: Any, b: Any) -> Future[Any]:
        nonlocal count
        count += 1
        future = pool.submit(lambda: b + a.T)
        future.saf_info = {"card": f"c{count % 3}", "attempts": 1 + (count == 2), "kernel_ns": 10}  # type: ignore[attr-defined]
        return future

    return submit


def test_run_tiles_gives_the_sum_and_counts_units() -> None:
    a, b = make_matrices(100)
    state = JobState(16)
    changes: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        c = run_tiles(submit_to(pool), a, b, 32, 3, state, lambda s: changes.append(s.done))
    assert np.array_equal(c, b + a.T)
    assert largest_error(a, b, c, 33) == 0.0
    assert (state.done, state.repeated, state.kernel_ns) == (16, 1, 160)
    assert sum(state.by_card.values()) == 16
    assert changes[-1] == 16


def test_largest_error_finds_one_wrong_element() -> None:
    a, b = make_matrices(70)
    c = b + a.T
    c[66, 3] += 1.0
    assert largest_error(a, b, c, 32) == pytest.approx(1.0, abs=1e-4)
    assert largest_error(a, b, c, 32) > ERROR_BOUND


def test_run_tiles_failing_unit_raises_and_cancels_the_rest() -> None:
    a, b = make_matrices(64)
    made: list[Future[Any]] = []

    def submit(_a: Any, _b: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if not made:
            future.set_exception(CardLost("all cards are gone"))
        made.append(future)
        return future

    with pytest.raises(CardLost):
        run_tiles(submit, a, b, 16, 4, JobState(16), lambda _s: None)
    assert len(made) == 4
    assert all(future.cancelled() for future in made[1:])


class Cluster:
    """New cards announce themselves when `appear` is called."""

    def __init__(self) -> None:
        self.on_event: Callable[[dict[str, Any]], None] | None = None
        self.programmed: list[str] = []
        self.ended = False

    def cards(self) -> list[Any]:
        assert self.on_event is not None
        for serial in ("N1", "N2"):
            self.on_event({"card": {"serial": serial, "state": "available"}})
        return []

    def subscribe(self, on_event: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        self.on_event = on_event

        def end() -> None:
            self.ended = True

        return end

    def program(self, image: Any, cards: list[str]) -> None:
        self.programmed += cards


def hot_plug(cluster: Any, pulled: list[str]) -> HotPlug:
    return HotPlug(cluster, "image", plug=lambda count: ["N1", "N2"][:count], unplug=pulled.append, plug_count=2,
                   unplug_count=1)


def test_hot_plug_programs_new_cards_and_pulls_one_once() -> None:
    cluster, pulled = Cluster(), []
    plugging = hot_plug(cluster, pulled)
    state = JobState(10)
    state.started_s = time.monotonic()
    for state.done in range(11):
        plugging.on_change(state, ["A", "B", "C"])
    plugging.finish()
    assert cluster.programmed == ["N1", "N2"]
    assert cluster.ended
    assert pulled == ["C"]
    assert plugging.join_seconds is not None
    assert [event.split("  ")[-1] for event in state.events][:1] == ["plugged in N1, N2"]


def test_hot_plug_failure_comes_out_of_finish() -> None:
    cluster = Cluster()

    def refuse(image: Any, cards: list[str]) -> None:
        raise CardError("PR_ERROR", "see the log", "N1")

    cluster.program = refuse  # type: ignore[method-assign]  # this card does not take the image
    plugging = hot_plug(cluster, [])
    plugging.on_change(JobState(10, done=5), ["A", "B"])
    with pytest.raises(CardError, match="PR_ERROR"):
        plugging.finish()


REPORT = {
    "cluster": "demo", "cards": 20, "topology": "bridge", "mtu": 1500, "lab_seconds": 2.0, "total_seconds": 30.0,
    "discover": {"cards": 20, "usable": 20, "window_seconds": 0.5},
    "program": {"bytes": 97_400_000, "cards": 20, "staged_seconds": 2.0, "seconds": 2.5, "frames_sent": 66_169,
                "blocks_resent": 0, "delivered_bytes_s": 974e6},
    "ptrans": {"n": 8192, "units": 256, "seconds": 5.0, "by_card": {"c1": 256}, "moved_bytes_s": 1.6e8,
               "plugged": ["c21", "c22"], "join_seconds": 1.5, "units_of_plugged": 20, "pulled": ["c20"],
               "repeated": 2, "ok": True, "max_error": 0.0, "error_bound": ERROR_BOUND},
}


def test_summary_in_a_pipe_has_a_line_a_figure(capsys: pytest.CaptureFixture[str]) -> None:
    demo._summary(REPORT)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cluster demo: measured on this machine, with virtual cards"
    assert any(line.startswith("image staged") and "66169 frames, 0 blocks again" in line for line in lines)
    assert any("c21, c22: did 20 tiles" in line for line in lines)
    assert any(line.startswith("result") and " ok " in line for line in lines)


def test_job_view_in_a_pipe_prints_events_and_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    state = JobState(4)
    with demo.JobView("PTRANS", 1000) as view:
        view.update(state)
        state.done, state.seconds = 4, 2.0
        state.by_card.update(["c1", "c2"])
        state.events.append("  0.1 s  pulled c3")
        view.update(state)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("PTRANS: 0 of 4 tiles (0 %)")
    assert lines[1].strip() == "0.1 s  pulled c3"
    assert lines[2] == "PTRANS: 4 of 4 tiles (100 %), 2 kB/s in and out, 2 cards at work"
