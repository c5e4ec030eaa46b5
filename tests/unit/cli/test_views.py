"""Tables, JSON and progress: the same content on a terminal, in a pipe and for programs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from safhost.cli import demo, output, progress
from safhost.cli.demo_job import JobState
from safhost.cli.progress import TransferView
from safhost.units import Mac


def rendered(view: Any, width: int = 100) -> str:
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, width=width, height=40, markup=False).print(view)
    return stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_table_is_aligned_and_countable() -> None:
    lines = output.plain_table(("card", "n"), [["c1", "5"], ["c10", ""]], right=("n",))
    assert lines == ["card  n", "c1    5", "c10   -"]


def test_plain_table_counts_wide_characters() -> None:
    first, second, third = output.plain_table(("a", "b"), [["卡", "x"], ["abc", "y"]])
    assert (first, second, third) == ("a    b", "卡   x", "abc  y")


def test_clean_makes_control_characters_harmless() -> None:
    mark = "\N{REPLACEMENT CHARACTER}"
    assert output.clean("a\x1b[2Jb\nc\x00") == f"a{mark}[2Jb{mark}c{mark}"
    assert output.clean(None) == ""


def test_rich_table_shows_markup_as_it_is_and_colours_states() -> None:
    text = rendered(output.rich_table(("card", "state"), [["[red]x[/red]", "lost"]]))
    assert "[red]x[/red]" in text
    assert "\x1b[31mlost" in text


def test_table_on_a_terminal_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    output.table(("card", "state"), [["c1", "available"]], title="cluster lab")
    assert "cluster lab" in stream.getvalue()
    assert "─" in stream.getvalue()


def test_jsonable_knows_our_types() -> None:
    document = {"mac": Mac(1), "array": np.arange(2), "number": np.float32(0.5), "bytes": b"\x01", "path": Path("/x"),
                "set": {2, 1}}
    assert json.loads(json.dumps(document, default=output.jsonable)) == {
        "mac": "00:00:00:00:00:01", "array": [0, 1], "number": 0.5, "bytes": "01", "path": "/x", "set": [1, 2]}


def event(sent: int, phase: str = "send", count: int = 2, **state: Any) -> dict[str, Any]:
    card = {"state": "receiving", "missing": 0, "progress": sent / 100, **state}
    return {"phase": phase, "sent_bytes": sent, "total_bytes": 100, "rate": 5e8,
            "cards": {f"c{i}": dict(card) for i in range(1, count + 1)}}


def test_view_in_a_pipe_is_a_line_a_second_and_one_a_phase(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0
    with TransferView("x.saf", clock=lambda: now) as view:
        for sent in range(0, 100, 5):
            now += 100_000_000
            view.update(event(sent))
        view.update(event(100, "verify"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "x.saf: sending, 0 B of 100 B (0 %), 500 MB/s, 2 receiving"
    assert lines[2] == "x.saf: verifying on the cards, 100 B of 100 B (100 %), 500 MB/s, 2 receiving"


def test_view_on_a_terminal_draws_rows_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    now = 0
    with TransferView("x.saf", clock=lambda: now) as view:
        for sent in (10, 50):
            now += 200_000_000
            view.update(event(sent, missing=7))
        assert "\x1b" in stream.getvalue()
    text = rendered(view.render())
    assert "c1" in text
    assert "blocks missing" not in text
    view.update(event(50, "repair", missing=7))
    text = rendered(view.render())
    assert "7 blocks missing" in text
    assert "500 MB/s" in text


def test_view_measures_the_rate_where_events_have_none() -> None:
    now = 0
    view = TransferView("x.saf", clock=lambda: now)
    for step in range(6):
        now = step * 500_000_000
        view.update({"phase": "send", "sent_bytes": step * 50_000_000, "total_bytes": 500_000_000})
    assert view.rate == pytest.approx(1e8)
    view.update({"phase": "verify"})
    assert view.rate == 0.0


def test_view_orders_cards_as_people_count() -> None:
    view = TransferView("x.saf")
    view._event = {"phase": "send", "cards": {name: {"state": "receiving"} for name in ("c10", "c2", "c1")}}
    text = rendered(view.render())
    assert text.index("c1 ") < text.index("c2") < text.index("c10")


def test_view_of_many_cards_fits_and_shows_the_urgent_ones() -> None:
    view = TransferView("x.saf")
    state = event(50, count=200)
    state["cards"]["c150"]["state"] = "failed"
    view._event = state
    text = rendered(view.render(24))
    assert text.count("\n") <= 24
    assert "c150" in text
    assert "184 more; all: 199 receiving, 1 failed" in text


def test_view_under_json_is_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "is_json", lambda: True)
    with TransferView("x.saf") as view:
        view.update(event(5))
    assert capsys.readouterr().err == ""


def test_view_takes_incomplete_events() -> None:
    view = TransferView("x.saf")
    for part in ({}, {"phase": "hash"}, {"phase": "new-phase", "cards": {"c1": {}}}, {"total_bytes": 0}):
        view.update(part)
        assert rendered(view.render())


def test_job_view_on_a_terminal_shows_cards_and_events() -> None:
    state = JobState(10, done=4, seconds=1.0)
    state.by_card.update({"c1": 3, "c10": 1})
    state.events.append("  0.5 s  pulled c7")
    text = rendered(demo.JobView("PTRANS", 1000).render(state))
    assert "4 of 10 tiles (40 %)" in text
    assert "c10   1" in text
    assert "pulled c7" in text
