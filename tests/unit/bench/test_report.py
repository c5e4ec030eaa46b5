"""Summaries, goals and percentiles that all benchmarks share."""

from __future__ import annotations

import pytest

from safhost.bench.report import Goal, document, machine_facts, percentile_ns, ratio, summarize


def test_summarize_odd_number_gives_median_extremes_and_spread() -> None:
    found = summarize([2.0, 1.0, 4.0])
    assert found == {"values": [2.0, 1.0, 4.0], "median": 2.0, "min": 1.0, "max": 4.0, "spread": 1.5}


def test_summarize_zero_median_has_no_spread() -> None:
    assert summarize([0.0, 0.0])["spread"] == 0.0


def test_ratio_of_nothing_is_none() -> None:
    assert ratio(1.0, 0.0) is None
    assert ratio(10.0, 4.0) == 2.5


@pytest.mark.parametrize(("figure", "sense", "reached"), [
    (5.0, "at least", True), (4.99, "at least", False), (5.0, "at most", True), (5.01, "at most", False),
    (None, "at most", None)])
def test_goal_compares_in_its_sense(figure: float | None, sense: str, reached: bool | None) -> None:
    goal = Goal("what", figure, 5.0, sense, "times")  # type: ignore[arg-type]  # parametrized text
    assert goal.reached is reached
    assert goal.to_dict()["reached"] is reached
    assert goal.row()[3] == {True: "ok", False: "missed", None: ""}[reached]


def test_percentile_takes_the_same_element_as_the_c_program() -> None:
    values = list(range(1000))
    assert percentile_ns(values, 0.5) == 500  # took[rounds / 2]
    assert percentile_ns(values, 0.99) == 989  # took[rounds - 1 - rounds / 100]
    assert percentile_ns([7], 0.99) == 7


def test_document_says_measured_and_names_the_machine() -> None:
    found = document("x", {"a": 1}, [Goal("g", 1.0, 2.0, "at most")], part=3)
    assert found["figures"] == "measured"
    assert found["goals"][0]["reached"] is True
    assert {"cpu", "cpus", "kernel", "python", "safhost"} <= found["machine"].keys()
    assert machine_facts()["memory_bytes"] > 0
