"""``safhost sim``: options, what is said, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safhost.planting import Planting, planted

Call = Callable[..., Any]

RAISING = Planting("raises", "safhost.core.session", "Sessions.on_alive", "alive = Alive.unpack(frame.payload)",
                   "raise ValueError('planted')", "ALIVE ends the host")


def test_seed_that_holds(call: Call) -> None:
    result = call("sim", "--seed", "3", "--cards", "2")
    assert result.code == 0
    assert result.lines[0] == "1 seeds, 0 failed"
    assert "virtual seconds" in result.lines[1]


def test_seeds_as_json_lines(call: Call) -> None:
    result = call("sim", "--seeds", "2", "--first-seed", "7", "--cards", "2", "--jobs", "1", "--json")
    events = [json.loads(line) for line in result.lines]
    assert [(e["event"], e.get("seed")) for e in events] == [("seed", 7), ("seed", 8), ("summary", None)]
    assert events[-1]["failures"] == []
    assert result.code == 0


def test_failing_seed_is_told_with_the_command_that_repeats_it(call: Call, tmp_path: Path) -> None:
    with planted(RAISING):
        result = call("sim", "--seed", "4", "--cards", "2", "--out", str(tmp_path))
    assert result.code == 1
    assert result.lines[0].startswith("seed 4: no-exception: ValueError")
    assert result.lines[1].strip() == "again: safhost sim --seed 4 --cards 2 --profile quick"
    assert str(tmp_path / "seed-4" / "frames.pcap") in result.out
    assert f"recordings are in {tmp_path}" in result.err


def test_resumed_campaign_says_what_it_kept(call: Call, tmp_path: Path) -> None:
    options = ("sim", "--cards", "2", "--jobs", "1", "--out", str(tmp_path))
    assert call(*options, "--seeds", "1").code == 0
    result = call(*options, "--seeds", "2", "--resume")
    assert result.lines[0] == "2 seeds (1 of them kept from before), 0 failed"


def test_interrupted_campaign_ends_as_interrupted(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from safhost.cli import sim

    def interrupt(self: Any, outcome: Any, summary: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sim.Progress, "on_outcome", interrupt)
    result = call("sim", "--seeds", "3", "--cards", "2", "--jobs", "1")
    assert result.code == 130
    assert "1 seeds, 0 failed, 2 left" in result.out


@pytest.mark.parametrize("options", [("--seed", "1", "--seeds", "2"), ("--profile", "stormy"), ("--cards", "0"),
                                     ("--resume",)])
def test_calls_that_cannot_be_understood(call: Call, options: tuple[str, ...]) -> None:
    assert call("sim", *options).code == 2


def test_tables_are_commands_of_it(call: Call) -> None:
    result = call("sim", "--help")
    for name in ("survive", "baseline", "mutants"):
        assert name in result.out
        assert call("sim", name, "--help").code == 0
