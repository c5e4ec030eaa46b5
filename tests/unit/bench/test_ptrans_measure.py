"""PTRANS rows, goals, changes of cards and plots, with a cluster that computes at once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from safhost.bench.ptrans import hotplug, measure, pictures
from safhost.bench.ptrans.hotplug import Change, ideal_share, parse_changes
from safhost.bench.ptrans.problem import Problem
from safhost.bench.ptrans.roofline import LinkRate
from safhost.bench.ptrans.setting import Setting, check_dtype
from safhost.cli import main
from safhost.errors import ConfigError, JobError

NAMES = [f"c{i}" for i in range(1, 21)]


class FakeJob:
    """A job that is over when it is made."""

    def __init__(self, results: list[Any], stats: dict[str, Any]) -> None:
        self.results, self.stats = results, stats

    def wait(self, _timeout: float) -> bool:
        return True

    def result(self) -> None:
        return None

    def cancel(self) -> bool:
        return False


class FakeCluster:
    """Computes C = B + A.T in the call; a kernel takes a second, cards take turns."""

    def __init__(self, spoil: int = -1) -> None:
        self.spoil = spoil
        self.jobs: list[dict[str, Any]] = []
        self.owners: list[str] = []

    def submit(self, kernel: str, units: Iterator[Any], *, out: Any, cards: Any = None, **options: Any) -> FakeJob:
        assert kernel == "ptrans"
        self.jobs.append(options | {"cards": cards})
        names = cards or NAMES
        free = itertools.cycle(names)
        results, used = [], dict.fromkeys(names, 0)
        for index, unit in enumerate(units):
            a, b = unit.arrays
            value = b + a.T
            if index == self.spoil:
                value[0, 0] += np.float32(1)
            if out is not None:
                out[unit.into] = value
            card = unit.card or next(free)
            self.owners.append(card)
            used[card] += 1
            results.append(SimpleNamespace(index=index, value=None if out is not None else value, error=None, card=card,
                                           ended_ns=index * 10**9))
        assert len(results) == options["total"]
        repeat = options.get("repeat", 1)
        most = max(used.values())
        return FakeJob(results, {"cards": {n: {"units": u, "kernel_ns": u * 10**9} for n, u in used.items()},
                                 "phases": {"load_s": 1.0, "run_s": float(most * repeat), "read_s": 1.0},
                                 "moved": 0, "speculated": 0})

    def as_completed(self, job: FakeJob) -> Iterator[Any]:
        return iter(job.results)


def setting(cluster: FakeCluster | None = None) -> Setting:
    image = SimpleNamespace(payload_bytes=97_400_000)
    return Setting(cluster or FakeCluster(), image, list(NAMES), 1500, LinkRate(125e6, "given"))  # type: ignore[arg-type]


OPTIONS: dict[str, Any] = {"cards": (1, 4, 20), "n": 160, "block": 16}


def test_strong_scaling_keeps_n_and_counts_as_hpcc() -> None:
    result = measure.run(setting(), measure.Options(**OPTIONS))
    assert [row["n"] for row in result["rows"]] == [160] * 3
    assert [row["calc_s"] for row in result["rows"]] == [100.0, 25.0, 5.0]
    assert [row["efficiency_calc"] for row in result["rows"]] == [1.0, 1.0, 1.0]
    assert all(row["validated"] and 0 < row["max_error"] < 1.2e-5 for row in result["rows"])
    row = result["rows"][1]
    assert row["calc_flops"] == pytest.approx(160 * 160 / 25)
    assert row["calc_memory_bytes_s"] == pytest.approx(3 * 160 * 160 * 4 / 25)
    assert {"cards", "total_s", "calc_s", "efficiency_total", "efficiency_calc", "roofline", "max_error",
            "validated"} <= row.keys()
    assert result["validated"] is True


def test_weak_scaling_grows_with_the_root_and_rates_by_elements() -> None:
    options = measure.Options(**OPTIONS | {"n": 48, "weak": True})
    result = measure.run(setting(), options)
    assert [row["n"] for row in result["rows"]] == [48, 96, 208]
    # 13 x 13 tiles on 20 cards: 9 of the fullest card instead of 8.45
    assert result["rows"][2]["efficiency_calc"] == pytest.approx(169 / 20 / 9, abs=1e-4)


def test_repetitions_are_told_apart_and_divided_by_their_number() -> None:
    cluster = FakeCluster()
    result = measure.run(setting(cluster), measure.Options(**OPTIONS | {"repetitions": 5}))
    assert [row["resident_s"] for row in result["rows"]] == [100.0, 25.0, 5.0]
    assert [(job.get("phased", False), job.get("repeat", 1)) for job in cluster.jobs[1:4]] == [
        (False, 1), (True, 1), (True, 5)]
    assert len(result["goals"]) == 4


def test_wrong_element_is_found_and_the_result_is_not_valid() -> None:
    result = measure.run(setting(FakeCluster(spoil=7)), measure.Options(**OPTIONS))
    assert result["validated"] is False
    assert result["rows"][0]["max_error"] == pytest.approx(1, abs=0.01)


def test_tiles_that_are_not_kept_are_checked_as_they_come() -> None:
    good = measure.run(setting(), measure.Options(**OPTIONS | {"store": "generated"}))
    assert good["validated"] is True
    assert good["rows"][0]["max_error"] > 0
    bad = measure.run(setting(FakeCluster(spoil=3)), measure.Options(**OPTIONS | {"store": "generated"}))
    assert bad["validated"] is False


@pytest.mark.parametrize("store", ["memory", "generated"])
def test_calculation_goes_in_parts_when_memory_cannot_hold_all(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setattr(measure, "free_memory_bytes", lambda: 4 * 45 * 6 * 4 * 16 * 16)
    assert measure.parts_of(Problem(160, 16), 20) == [range(0, 40), range(40, 80), range(80, 100)]
    assert [len(part) for part in measure.parts_of(Problem(160, 16), 50)] == [50, 50]
    cluster = FakeCluster()
    options = measure.Options(cards=(20,), n=160, block=16, store=store, distribution="diag")
    result = measure.run(setting(cluster), options)
    assert result["rows"][0]["phased_jobs"] == 3
    assert result["validated"] is True
    assert [job["window"] for job in cluster.jobs if job.get("phased")] == [40, 40, 20]
    wrong = measure.run(setting(FakeCluster(spoil=39)), measure.Options(cards=(20,), n=160, block=16, store=store))
    assert wrong["validated"] is False


def test_distribution_names_the_card_of_each_tile() -> None:
    cluster = FakeCluster()
    measure.run(setting(cluster), measure.Options(cards=(20,), n=320, block=16, distribution="pq"))
    warm_up = 25
    assert {cluster.owners[warm_up:].count(name) for name in NAMES} == {40}


@pytest.mark.parametrize(("changes", "match"), [
    ({"cards": ()}, "cards"), ({"cards": (4, 2)}, "cards"), ({"cards": (0,)}, "cards"),
    ({"repetitions": 0}, "measure nothing"), ({"distribution": "pq", "n": 160}, "grid of 4 x 5"),
    ({"n": 321}, "not made of blocks"),
])
def test_impossible_options_are_refused_before_anything_runs(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        measure.Options(**OPTIONS | changes)


def test_more_cards_than_there_are_is_an_error() -> None:
    with pytest.raises(ConfigError, match="24 cards are not there: 20"):
        measure.run(setting(), measure.Options(cards=(24,), n=64, block=16))


def test_unit_that_failed_ends_the_run_with_its_reason() -> None:
    cluster = FakeCluster()

    def failing(job: FakeJob) -> Iterator[Any]:
        job.results[0].error = JobError("unit 0 failed", "")
        return iter(job.results)

    cluster.as_completed = failing  # type: ignore[method-assign]
    with pytest.raises(JobError, match="unit 0 failed"):
        measure.run(setting(cluster), measure.Options(**OPTIONS | {"store": "generated"}))


# -- changes of cards

def test_changes_are_read_and_ordered() -> None:
    assert parse_changes(["+4@40%", "-1@70.5%"]) == (Change(4, 0.4), Change(-1, 0.705))
    for wrong in ("4@40%", "+4", "+0@40%", "+4@0%", "+4@100%", "-1@x%"):
        with pytest.raises(ConfigError, match="no change"):
            parse_changes([wrong])
    with pytest.raises(ConfigError, match="order"):
        parse_changes(["+4@70%", "-1@40%"])


def test_ideal_is_that_of_the_paper() -> None:
    assert ideal_share(4, parse_changes(["+4@40%"])) == pytest.approx(0.7)
    assert ideal_share(4, parse_changes(["+4@40%", "-1@70%"])) == pytest.approx(0.4 + 0.3 / 2 + 0.3 * 4 / 7)
    with pytest.raises(ConfigError, match="no card"):
        ideal_share(1, [Change(-1, 0.5)])


def test_changes_outside_a_lab_are_refused() -> None:
    with pytest.raises(ConfigError, match="lab alone"):
        hotplug.run(setting(), Problem(64, 16), parse_changes(["+4@40%"]))


def test_rates_are_by_whole_units() -> None:
    ended = [(at * 10**9, "c1") for at in range(10)] + [(at * 10**9, "c2") for at in range(0, 10, 2)]
    assert hotplug._rates(ended, ["c1", "c2", "c3"], int(2.5e9), int(6.5e9)) == [1.0, 0.5]


# -- plots

def document(**changes: Any) -> dict[str, Any]:
    return measure.run(setting(), measure.Options(**OPTIONS | {"n": 64, "repetitions": 2} | changes))


@pytest.mark.parametrize("weak", [False, True])
def test_plots_are_written_as_svg_and_png(tmp_path: Path, weak: bool) -> None:
    paths = pictures.draw_scaling(document(weak=weak), tmp_path)
    assert [p.name for p in paths] == [f"ptrans-{'weak' if weak else 'strong'}.{kind}" for kind in ("svg", "png")]
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert paths[1].read_bytes().startswith(b"\x89PNG")


def test_hotplug_plot_marks_the_changes(tmp_path: Path) -> None:
    result = {"progress": {"at_s": [0, 4, 7.1], "tiles": [0, 4, 10]}, "tiles": 10, "cards": 4, "baseline_s": 10.0,
              "events": [{"cards": 4, "at_s": 4.0, "asked_share": 0.4}],
              "figures": "measured", "parameters": {"link": {"text": "1 Gbit/s", "source": "given"}}}
    assert all(path.stat().st_size > 1000 for path in pictures.draw_hotplug(result, tmp_path))
    assert pictures._ideal(result) == ([0.0, 4.0, 7.0], [0.0, 40.0, 100.0])


def test_progress_keeps_beginning_and_end() -> None:
    ended = [(10**9 * i, "c1") for i in range(1, 1001)]
    curve = hotplug._progress(ended, 0)
    assert (curve["at_s"][0], curve["tiles"][0]) == (0, 0)
    assert (curve["at_s"][-1], curve["tiles"][-1]) == (1000, 1000)
    assert len(curve["at_s"]) == hotplug.PROGRESS_STEPS + 1
    assert hotplug._progress([], 0) == {"at_s": [0.0], "tiles": [0.0]}
    assert sum(hotplug._rate(ended, 0)["tiles_s"]) / hotplug.RATE_STEPS == pytest.approx(1, rel=0.05)


# -- command

@pytest.mark.parametrize(("arguments", "match"), [
    (["--dtype", "float64"], "computes float32, not float64"), (["--cards", "1,x"], "give numbers"),
    (["--cards", "2,1"], "give rising numbers"), (["--n", "1000"], "use --n 1024"),
    (["--distribution", "pq", "--n", "16384", "--block", "512"], "multiple of"),
    (["+4@40%"], "follow --hotplug"), (["--tiel", "3"], "left over"), (["--hotplug", "+4"], "write \\+4@40%"),
])
def test_wrong_arguments_are_refused_with_what_to_do(arguments: list[str], match: str,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "ptrans", *arguments])
    assert re.search(match, capsys.readouterr().err)


def test_other_element_types_are_refused() -> None:
    check_dtype("float32")
    with pytest.raises(ConfigError, match="float64"):
        check_dtype("float64")
