"""PTRANS on labs: results right with every distribution, while cards come and go, and on a link with a rate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_home import home_at

from safhost.bench.ptrans import hotplug, measure
from safhost.bench.ptrans.problem import Problem
from safhost.bench.ptrans.setting import LabOptions, Setting, existing, own_lab
from safhost.errors import ConfigError
from safhost.lab import manager
from safhost.lab.state import LabSpec, known_labs

pytestmark = pytest.mark.lab
SCALE = 200.0
"""A tile of 256 takes 6 ms: long enough that a busy machine keeps the model's order, short enough for a test."""


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with home_at(tmp_path_factory.mktemp("ptrans")) as folder:
        yield folder
        assert known_labs() == [], "a benchmark left its lab behind"


@pytest.fixture(scope="module")
def setting(home: Path) -> Iterator[Setting]:
    assert home.is_dir()
    with own_lab(LabOptions(cards=4, time_scale=SCALE, link_rate=50_000_000, mtu=9000), lambda _text: None) as made:
        yield made


@pytest.mark.parametrize("distribution", ["elastic", "diag", "pq"])
def test_rows_are_right_with_every_distribution(setting: Setting, distribution: str) -> None:
    options = measure.Options(cards=(1, 4), n=1024, block=128, distribution=distribution,
                              repetitions=2 if distribution == "elastic" else 1)
    result = measure.run(setting, options)
    assert result["validated"] is True
    assert [row["cards"] for row in result["rows"]] == [1, 4]
    one, four = result["rows"]
    # the model's time is the least a card may take, the link's rate the least the transfers may
    kernels_s = setting.timing.ddr_ns(3 * 1024 * 1024 * 4) / 1e9  # type: ignore[union-attr]
    assert one["calc_s"] >= 0.99 * kernels_s
    assert four["calc_s"] >= 0.99 * kernels_s / 4
    assert one["total_s"] >= 0.95 * one["roofline_parts"]["link_s"]
    assert "modelled, 200 times slower" in result["figures"]


def test_weak_scaling_without_kept_matrices_is_right(setting: Setting) -> None:
    result = measure.run(setting, measure.Options(cards=(1, 4), weak=True, n=512, block=128, tile=2, store="generated"))
    assert [row["n"] for row in result["rows"]] == [512, 1024]
    assert result["validated"] is True


def test_matrices_in_files_are_right(setting: Setting, tmp_path: Path) -> None:
    result = measure.run(setting, measure.Options(cards=(4,), n=512, block=128, folder=str(tmp_path)))
    assert result["validated"] is True
    assert (tmp_path / "C.npy").stat().st_size > 512 * 512 * 4


def test_cards_come_and_go_and_the_result_is_right(home: Path) -> None:
    assert home.is_dir()
    options = LabOptions(cards=2, time_scale=8000.0, pr_scale=1.0, mtu=9000, spare=2)
    with own_lab(options, lambda _text: None) as made:
        changes = hotplug.parse_changes(["+2@10%", "-1@80%"])
        # long enough that it pays to program cards that come when a tenth is done
        result = hotplug.run(made, Problem(1536, 128), changes, store="memory", baseline=False)
    assert result["validated"] is True
    assert [len(event["which"]) for event in result["events"]] == [2, 1]
    worked = [card for card in result["joined"] if card["since_link_up_s"] is not None]
    assert worked
    assert all(card["since_link_up_s"] > made.pr_s for card in worked)
    assert sum(card["units"] for card in result["cards_used"].values()) >= 144
    assert (result["baseline_s"], result["over_ideal"]) == (None, None)
    assert result["ideal_share"] == pytest.approx(0.1 + 0.7 / 2 + 0.2 * 2 / 3)


def test_command_prints_the_document_and_leaves_no_lab(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "safhost.cli", "--json", "bench", "ptrans", "--cards", "1,2", "--n", "512",
               "--block", "128", "--link-rate", "400Mbit", "--out", str(tmp_path / "plots")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["validated"] is True
    assert document["parameters"]["link"]["source"] == "the lab's link rate"
    assert json.loads((tmp_path / "plots" / "ptrans-strong.json").read_text())["rows"] == document["rows"]
    assert (tmp_path / "plots" / "ptrans-strong.png").stat().st_size > 10_000


def test_cluster_that_is_there_is_used_and_stays(home: Path) -> None:
    assert home.is_dir()
    manager.up(LabSpec(name="there", cards=2, timing="arria10", time_scale=SCALE, link_rate=100_000_000))
    try:
        with existing("there", 0, None, lambda _text: None) as made:
            assert made.rate.bytes_s == 100_000_000
            assert made.timing_label.startswith("arria10 (modelled, 200")
            assert measure.run(made, measure.Options(cards=(2,), n=512, block=128))["validated"] is True
            with pytest.raises(ConfigError, match="4 cards are not there: 2"):
                measure.run(made, measure.Options(cards=(4,), n=512, block=128))
        assert manager.status("there")["state"] == "up"
    finally:
        manager.down("there")
