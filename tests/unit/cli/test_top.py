"""The live view: rates and events from one look to the next, lines that fit, a terminal that is left as it was."""

from __future__ import annotations

import io
import json
import os
import pty
import termios
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from safhost.cli import top as top_module
from safhost.cli.top import Keys
from safhost.cli.top_model import ENDED_SHOWN_S, EVENTS_KEPT, Look, Meter, View
from safhost.cli.top_view import plain_lines, render
from safhost.errors import DaemonError, DeadlineExceeded, SchedulingError

Call = Callable[..., Any]
SIZES = [(80, 24), (200, 60)]
WALL_S = 1_790_000_000.0


def card(number: int, at_s: float = 0.0, **info: Any) -> dict[str, Any]:
    return {"name": f"c{number}", "serial": f"VC{number:04d}", "interface": "saf0", "state": "available", "why": "",
            "image": "ab" * 32, "image_name": "ptrans", "units": 2, "draining": False, "boot_nonce": "0",
            "ddr_bytes": 8 << 30, "ddr_used_bytes": 3 << 20,
            "counters": {"units": int(10 * number * at_s), "written_bytes": int(4e6 * at_s),
                         "read_bytes": int(2e6 * at_s), "retries": int(at_s)}, **info}


def job(number: int, at_s: float = 0.0, **info: Any) -> dict[str, Any]:
    return {"job": f"j{number}", "name": "", "state": "running", "kernel": "ptrans", "priority": 0, "weight": 1.0,
            "total": 4000, "done": int(100 * at_s), "failed": 0, "running": 6, "pending": 58,
            "seconds": at_s, "rate_units_s": 50.0, "cards": ["c1", "c2"], "client": "", "why": "", "noted": 0, **info}


def look(at_s: float, cards: int = 2, jobs: int = 1, **more: Any) -> Look:
    link = {"name": "saf0", "up": True, "mtu": 1500, "rx_drops": 0, "tx_frames": int(65e3 * at_s),
            "rx_frames": int(33e3 * at_s)}
    return replace(Look(at_s, WALL_S + at_s, {"interfaces": [link]}, tuple(card(n, at_s) for n in range(1, cards + 1)),
                        tuple(job(n, at_s) for n in range(1, jobs + 1))), **more)


def events(view: View) -> list[str]:
    return [text for _, text in view.events[len(view.events) - view.fresh:]]


# -- rates -------------------------------------------------------------------------------------------------


def test_first_look_has_no_rates_and_no_events() -> None:
    view = Meter("lab").take(look(5))
    assert [c.units_s for c in view.cards] == [0.0, 0.0]
    assert view.jobs[0].units_s == 50.0  # the daemon's own, until ours is known
    assert view.events == []
    assert (view.running, view.waiting) == (4, 3494)


def test_rates_are_differences_over_the_time_between_looks() -> None:
    meter = Meter("lab")
    meter.take(look(10))
    view = meter.take(look(12))
    assert [c.units_s for c in view.cards] == [10.0, 20.0]
    assert (view.cards[0].out_bytes_s, view.cards[0].in_bytes_s) == (4e6, 2e6)
    link = view.links[0]
    assert (link.tx_frames_s, link.rx_frames_s, link.out_bytes_s, link.retries_s) == (65e3, 33e3, 8e6, 2.0)
    assert (view.jobs[0].units_s, view.jobs[0].left_s, view.jobs[0].share) == (100.0, 28.0, 1.0)
    assert view.units_s == 100.0


def test_rates_forget_what_is_older_than_the_window() -> None:
    meter = Meter("lab")
    for at in range(10):
        view = meter.take(look(at))
    assert view.jobs[0].units_s == 100.0
    stalled = look(9).jobs
    for at in range(10, 14):
        view = meter.take(replace(look(at), jobs=stalled))
    assert view.jobs[0].units_s == 0.0
    assert view.jobs[0].left_s is None


def test_counters_that_begin_anew_give_no_negative_rate() -> None:
    meter = Meter("lab")
    meter.take(look(100))
    view = meter.take(replace(look(0), at_s=101.0))
    assert all(c.units_s == 0.0 for c in view.cards)
    assert meter.take(replace(look(1), at_s=102.0)).cards[0].units_s == 10.0


def test_share_goes_by_units_under_way_and_order_by_priority() -> None:
    jobs = (job(1, running=2), job(2, running=6, priority=3), job(10, running=0, state="held"))
    lines = Meter("lab").take(replace(look(0), jobs=jobs)).jobs
    assert [(line.info["job"], line.share) for line in lines] == [("j2", 0.75), ("j1", 0.25), ("j10", 0.0)]


# -- events ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("info", "said"), [
    ({"state": "lost", "why": "silent for 10 s"}, "c2 available → lost: silent for 10 s"),
    ({"draining": True}, "c2 available → draining"),
    ({"draining": True, "units": 0}, "c2 available → drained"),
    ({"boot_nonce": "1"}, "c2 was started anew"),
    ({"image": "cd" * 32, "image_name": "vadd"}, "c2 runs vadd"),
])
def test_change_of_a_card_is_an_event(info: dict[str, Any], said: str) -> None:
    meter = Meter("lab")
    meter.take(look(1))
    assert events(meter.take(replace(look(2), cards=(card(1, 2), card(2, 2, **info))))) == [said]
    assert events(meter.take(replace(look(3), cards=(card(1, 3), card(2, 3, **info))))) == []


def test_new_card_link_down_and_drops_are_events() -> None:
    meter = Meter("lab")
    meter.take(look(1))
    now = look(2, cards=3)
    link = dict(now.info["interfaces"][0], up=False, rx_drops=7)
    view = meter.take(replace(now, info={"interfaces": [link]}))
    assert events(view) == ["c3 is new: available", "saf0 is down", "saf0: 7 frames dropped, this machine is too busy"]


def test_jobs_beginning_and_end_are_events_and_an_ended_one_stays_for_a_while() -> None:
    meter = Meter("lab")
    meter.take(look(1, jobs=0))
    assert events(meter.take(look(2, jobs=1))) == ["j1 ptrans running, 4000 units"]
    assert meter.gone_jobs([]) == ["j1"]
    ended = job(1, 3, state="done", done=4000, failed=2, seconds=61.0)
    view = meter.take(replace(look(3, jobs=0), ended=(ended,)))
    assert events(view) == ["j1 ptrans: 2 units failed", "j1 ptrans done, 4000/4000 units after 1 min 01 s"]
    assert [line.info["state"] for line in view.jobs] == ["done"]
    assert meter.gone_jobs([]) == []
    assert meter.take(look(3 + ENDED_SHOWN_S + 1, jobs=0)).jobs == []


def test_held_job_does_not_say_so_twice() -> None:
    meter = Meter("lab")
    meter.take(look(1))
    held = job(1, 2, state="held", why="held", seconds=6.2)
    assert events(meter.take(replace(look(2), jobs=(held,)))) == ["j1 ptrans held, 200/4000 units after 6.2 s"]


def test_notes_are_asked_for_where_there_are_new_ones() -> None:
    meter = Meter("lab")
    first = [job(1, noted=5), job(2)]
    assert meter.noted_jobs(first) == []
    meter.take(replace(look(1), jobs=tuple(first)))
    now = [job(1, noted=7), job(2)]
    assert meter.noted_jobs(now) == ["j1"]
    info = {"notes": [{"kind": "card_lost", "card": "c9", "text": f"n{i}"} for i in range(6)]}
    notes = meter.unseen_notes("j1", info, 7)
    assert [note["text"] for _, note in notes] == ["n4", "n5"]
    assert events(meter.take(replace(look(2), jobs=tuple(now), notes=tuple(notes)))) == ["j1 c9: n4", "j1 c9: n5"]


def test_events_are_bounded() -> None:
    meter = Meter("lab")
    for at in range(2 * EVENTS_KEPT):
        view = meter.take(replace(look(at), cards=(card(1, at, state="lost" if at % 2 else "available"),)))
    assert len(view.events) == EVENTS_KEPT
    assert len(events(view)) == 1


# -- rendering ---------------------------------------------------------------------------------------------


def crowd(count: int, jobs: int) -> View:
    """A cluster with a bit of everything, on its second look."""
    meter = Meter("lab")
    meter.take(look(1, count, jobs))
    now = look(2, count, jobs)
    cards = list(now.cards)
    for i in range(4, count, 9):
        cards[i] = card(i + 1, 2, state="lost", why="silent for 10 s", units=0)
    for i in range(2, count, 11):
        cards[i] = card(i + 1, 2, draining=True)
    many = tuple(replace_job(j) for j in now.jobs)
    return meter.take(replace(now, cards=tuple(cards), jobs=many))


def replace_job(info: dict[str, Any]) -> dict[str, Any]:
    number = int(info["job"][1:])
    return info | {"name": f"nightly-{number}" * (number % 3), "total": None if number % 4 == 0 else 4000,
                   "why": "the disk is full" if number % 5 == 0 else "", "weight": 1 + number % 2}


def drawn(view: View, width: int, height: int) -> list[str]:
    """What a terminal of that size would show."""
    screen = Console(width=width, height=height, file=io.StringIO(), record=True, force_terminal=True, markup=False)
    for line in render(view, width, height):
        screen.print(line)
    return screen.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [*SIZES, (40, 10), (132, 43)])
@pytest.mark.parametrize(("cards", "jobs"), [(0, 0), (1, 1), (20, 2), (100, 7), (1000, 40)])
def test_view_fits_the_terminal(width: int, height: int, cards: int, jobs: int) -> None:
    lines = drawn(crowd(cards, jobs), width, height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width
    assert "cluster lab" in lines[0]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [1, 20, 100])
def test_every_card_is_seen_up_to_a_hundred(width: int, height: int, count: int) -> None:
    text = "\n".join(drawn(crowd(count, 3), width, height)).replace("\n", " ")
    words = set(text.replace("●", " ").split())
    assert {f"c{n}" for n in range(1, count + 1)} <= words
    assert "j1" in words
    assert "events" in words or count == 1


def test_cards_that_do_not_fit_leave_those_that_need_a_look() -> None:
    lines = drawn(crowd(1000, 2), 80, 24)
    text = " ".join(lines)
    lost = [f"✗ c{n}" for n in range(5, 1001, 9)]
    assert sum(mark in text for mark in lost) > 60
    assert "more: `safhost cards`" in text


def test_small_cluster_shows_a_row_a_card_with_job_rates_and_why() -> None:
    lines = drawn(crowd(20, 2), 200, 60)
    row = next(line for line in lines if line.startswith("c2 "))
    for part in ("available", "ptrans", "j1,j2", "20", "4 MB/s", "2 MB/s", "3.15 MB", "8.59 GB"):
        assert part in row
    assert "silent for 10 s" in next(line for line in lines if line.startswith("c5 "))


def test_names_from_outside_cannot_command_the_terminal() -> None:
    meter = Meter("lab")
    evil = "x\x1b[2J"
    meter.take(look(1))
    view = meter.take(replace(look(2), cards=(card(1, why=evil, state="lost", image_name=evil),),
                              jobs=(job(1, name=evil, why=evil),)))
    assert not any("\x1b" in line for line in [*drawn(view, 120, 40), *plain_lines(view)])


def test_lost_daemon_keeps_the_last_view_and_says_how_old_it_is() -> None:
    meter = Meter("lab")
    assert meter.lost(1.0, WALL_S, "no daemon").banner == "no daemon"
    meter.take(look(1))
    view = meter.lost(31.0, WALL_S, "no daemon")
    assert view.banner == "no daemon; as it was 30 s ago"
    assert len(view.cards) == 2
    assert view.fresh == 0
    assert "no daemon" in "\n".join(drawn(view, 80, 24))


def test_plain_lines_are_events_totals_and_jobs() -> None:
    lines = plain_lines(crowd(20, 2))
    assert sum("→ lost" in line for line in lines) == 1
    assert any("20 cards: 17 available, 2 draining, 1 lost, 38 units under way, 7588 waiting, 200 units/s" in line
               for line in lines)
    assert any("j1 nightly-1 running, 200/4000 units, 100 units/s, 38 s left" in line for line in lines)


# -- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A daemon with three cards and a job; ``left`` looks until Ctrl-C; errors in ``raises`` are raised one by one."""
    state: dict[str, Any] = {"left": 3, "raises": [], "asked": [], "jobs": [job(1, 1)]}

    def call(op: str, params: dict[str, Any], timeout_s: float = 300.0) -> dict[str, Any]:
        assert timeout_s < 10
        state["asked"].append(op)
        if op == "info":
            error = state["raises"].pop(0) if state["raises"] else None
            if error is not None:
                raise error
            return dict(look(1).info)
        if op == "cards":
            return {"cards": [card.info for card in cluster.fakes]}
        if op == "job_info":
            if params == {"job": "j7"}:
                raise SchedulingError("there is no job 'j7'", "")
            return {"job": job(1, 2, state="done", done=4000)}
        return {"jobs": state["jobs"]}

    def sleep(_seconds: float) -> None:
        state["left"] -= 1
        if state["left"] <= 0:
            raise KeyboardInterrupt
    cluster.call = call
    monkeypatch.setattr(top_module.time, "sleep", sleep)
    return state


def test_top_json_is_a_document_a_look(lab: Call, daemon: dict[str, Any]) -> None:
    result = lab("top", "--json")
    documents = [json.loads(line) for line in result.lines]
    assert result.code == 130
    assert len(documents) == 3
    assert documents[0]["cluster"] == "lab"
    assert [c["name"] for c in documents[0]["cards"]] == ["c1", "c2", "c3"]
    assert documents[0]["jobs"][0]["job"] == "j1"
    assert daemon["asked"] == ["info", "cards", "jobs"] * 3


def test_top_once_is_one_view_with_rates(lab: Call, daemon: dict[str, Any]) -> None:
    assert lab("top", "--once", "--json").json["links"][0]["name"] == "saf0"
    daemon["left"] = 5
    result = lab("top", "--once")
    assert result.code == 0
    assert "3 cards: 3 available" in result.lines[0]


def test_top_in_a_pipe_prints_lines_and_how_jobs_ended(lab: Call, daemon: dict[str, Any],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    daemon["jobs"] = [job(1, 1), job(7, 1)]
    sleep = top_module.time.sleep

    def end_jobs(seconds: float) -> None:
        daemon["jobs"] = []
        sleep(seconds)
    monkeypatch.setattr(top_module.time, "sleep", end_jobs)
    result = lab("top")
    assert result.code == 130
    assert "j1 ptrans done, 4000/4000 units" in result.out
    assert "\x1b" not in result.out


def test_top_without_a_daemon_at_its_start_is_an_error(lab: Call, cluster: Any) -> None:
    cluster.raises = DaemonError("no daemon answers at /run/x", "start it")
    assert lab("top").code == 5


def test_top_outlives_a_daemon_that_does_not_answer(lab: Call, daemon: dict[str, Any],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    daemon["raises"] = [None, DeadlineExceeded("info: no answer within 5 s", "")]
    monkeypatch.setattr(top_module, "running_clusters", lambda: ["lab"])
    banners = [json.loads(line)["banner"] for line in lab("top", "--json").lines]
    assert [banner[:38] for banner in banners] == ["", "no daemon: info: no answer within 5 s;", ""]


def test_top_outlives_its_daemon_and_finds_the_next(lab: Call, cluster: Any, daemon: dict[str, Any],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    daemon["left"], daemon["raises"] = 4, [None, DaemonError("the daemon went away", "")]
    running: list[str] = []
    monkeypatch.setattr(top_module, "running_clusters", lambda: running)

    def sleep(seconds: float, inner: Callable[[float], None] = top_module.time.sleep) -> None:
        inner(seconds)
        if daemon["left"] == 1:
            running.append("lab")
    monkeypatch.setattr(top_module.time, "sleep", sleep)
    result = lab("top", "--json")
    banners = [json.loads(line)["banner"] for line in result.lines]
    assert banners[0] == ""
    assert banners[1].startswith("no daemon: the daemon went away; as it was")
    assert banners[2].startswith("no daemon: none answers for cluster lab")
    assert banners[3] == ""
    assert sum(call[0] == "connect" for call in cluster.calls) == 2


def test_keys_come_one_by_one_and_the_terminal_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "r") as stdin, os.fdopen(leader, "wb", buffering=0) as keyboard:
        monkeypatch.setattr("sys.stdin", stdin)
        before = termios.tcgetattr(stdin.fileno())
        with Keys() as keys:
            during = termios.tcgetattr(stdin.fileno())
            assert not during[3] & (termios.ICANON | termios.ECHO)
            assert during[3] & termios.ISIG  # Ctrl-C still means what it does
            assert keys.pressed(0.0) == ""
            keyboard.write(b"xq")
            assert [keys.pressed(5.0), keys.pressed(5.0)] == ["x", "q"]
        assert termios.tcgetattr(stdin.fileno()) == before


def test_keys_without_a_terminal_only_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr(top_module.time, "sleep", slept.append)
    with Keys() as keys:
        assert keys.pressed(0.5) == ""
    assert slept == [0.5]
