"""Small results come with the end of their command: without a question, and asked for when they did not come whole."""

from __future__ import annotations

from typing import Any

import pytest
from core_jobs_rig import IMAGE, JobRun

from safhost.core import reads, units
from safhost.sim import Impairment

SMALL, LARGE = 32, 100  # sides of matrices: 4 KiB are pushed, 40 kB are read


def count_asks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every READ from now on."""
    asked: list[int] = []
    ask = reads.Chunk.ask

    def counted(chunk: reads.Chunk, *given: Any) -> None:
        asked.append(len(chunk.out))
        ask(chunk, *given)
    monkeypatch.setattr(reads.Chunk, "ask", counted)
    return asked


@pytest.mark.parametrize("suite", [0, 1])
def test_small_results_are_not_asked_for(jobs: Any, monkeypatch: pytest.MonkeyPatch, suite: int) -> None:
    sim = jobs(suite=suite, cards=2)
    asked = count_asks(monkeypatch)
    run = JobRun(sim, IMAGE, 12, n=SMALL)
    run.right()
    assert asked == []
    assert all(unit.read_ns == 0 < unit.run_ns for unit in run.units.values())
    assert sim.host.cluster.read_outstanding == 0


def test_large_results_are_asked_for(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = jobs(cards=2)
    asked = count_asks(monkeypatch)
    JobRun(sim, IMAGE, 6, n=LARGE).right()
    assert LARGE * LARGE * 4 > units.PUSH_BYTES
    assert asked == [LARGE * LARGE * 4] * 6


@pytest.mark.parametrize("options", [{"repeat": 3}, {"phased": True}])
def test_kernels_that_run_again_or_wait_push_nothing(jobs: Any, monkeypatch: pytest.MonkeyPatch,
                                                     options: dict[str, Any]) -> None:
    sim = jobs(cards=2)
    asked = count_asks(monkeypatch)
    JobRun(sim, IMAGE, 6, n=SMALL, **options).right()
    assert len(asked) == 6


def test_card_that_cannot_push_is_asked(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "CAPABILITY_PUSH", 0)
    sim = jobs(cards=2)
    asked = count_asks(monkeypatch)
    JobRun(sim, IMAGE, 6, n=SMALL).right()
    assert len(asked) == 6


def test_pushed_blocks_that_are_wrong_are_read(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = jobs(cards=2)
    asked = count_asks(monkeypatch)
    root, calls = reads.tree_root, []

    def first_one_wrong(data: Any) -> bytes:
        calls.append(1)
        return root(data) if len(calls) > 1 else bytes(32)
    monkeypatch.setattr(reads, "tree_root", first_one_wrong)
    JobRun(sim, IMAGE, 6, n=SMALL).right()
    assert len(asked) == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_results_are_right_whatever_the_network_loses(jobs: Any, monkeypatch: pytest.MonkeyPatch, seed: int,
                                                      n: int) -> None:
    sim = jobs(seed, cards=3)
    asked = count_asks(monkeypatch)
    for key in sim.cards:
        sim.impair(key, Impairment(loss=0.15, duplicate=0.1))
    JobRun(sim, IMAGE, 24, n=n).right()
    assert asked  # some did not come whole
    assert sim.host.cluster.read_outstanding == 0
