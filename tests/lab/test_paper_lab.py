"""The measured parts of the report on real labs, as small as they can be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from safhost.bench.paper import figure6_lab, ptrans_runs
from safhost.bench.paper.options import Options
from safhost.bench.paper.store import Store
from safhost.lab import manager

pytestmark = pytest.mark.lab


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path / "state"))


def test_figure6_measures_each_number_of_cards_once(tmp_path: Path) -> None:
    said: list[str] = []
    options = Options(out=tmp_path, say=said.append)
    into = Store(tmp_path, reuse=False).open("fig6", {"some": "parameters"})
    figure6_lab.measure(into, [2], 1_000_000, 2, 1500, options)
    row = json.loads((tmp_path / "measured" / "fig6.json").read_text())["results"]["cards-2"]
    frames = -(-1_000_000 // 1472)
    for what in ("staged", "total"):
        assert len(row[what]["values"]) == 2
        assert min(row[what]["frames_sent"]) >= frames, "not each round moved the image"
    assert row["total"]["min"] >= 1_000_000 / 400e6, "faster than the PR controller that is modelled"
    figure6_lab.measure(into, [2], 1_000_000, 2, 1500, options)
    assert len(said) == 1
    assert manager.status(f"paper-{os.getpid()}")["state"] != "up"


def test_ptrans_runs_give_the_rows_that_are_shown(tmp_path: Path) -> None:
    said: list[str] = []
    document = ptrans_runs.run_command(
        ["bench", "ptrans", "--strong", "--cards", "2", "--n", "512", "--block", "256", "--timing", "none",
         "--link-rate", "1Gbit"], Options(out=tmp_path, say=said.append))
    assert document["validated"]
    (row,) = document["rows"]
    assert {"cards", "n", "total_s", "calc_s", "roofline", "roofline_s", "efficiency_total", "efficiency_calc",
            "late_kernels", "max_error", "validated"} <= set(row)
    assert ptrans_runs.link_of(document)[0] == "Host's link: "
    assert said
