"""Planted bugs: each fits the source, and storms find them. The slow test hunts all of them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from safhost.cli.sim_tables import mutants as command
from safhost.errors import ConfigError
from safhost.planting import planted
from safhost.sim import mutants
from safhost.sim.mutants import MUTANTS, SEEDS, hunt, hunt_all, mutants_named, side_of
from safhost.sim.storm import INVARIANTS, STORM_CHECKS

FEW = 40  # seeds that the quickly found ones get here
QUICK = ("retry-not-sealed-anew", "generation-sent-before-kept", "generation-never-kept", "tag-not-checked",
         "replay-window-off", "hello-believed", "timer-forgotten", "read-window-leaks", "silence-ends-no-question",
         "waiting-write-forgotten", "open-without-tag", "challenge-not-checked", "challenge-is-a-counter",
         "boot-nonce-not-renewed",
         "scrubbed-for-its-own-host", "takeover-without-being-asked", "same-command-runs-again",
         "card-not-scrubbed-for-a-new-owner",
         "base-forgotten", "one-run-too-few", "hold-is-not-heard", "drained-card-takes-units")


FIRST = {"open-without-tag": 26, "silence-ends-no-question": 11}
"""Where to begin with those that hide for long."""


def test_there_are_enough_bugs_on_both_sides_and_no_two_of_a_name():
    sides = [side_of(mutant) for mutant in MUTANTS]
    assert sides.count("core") >= 38
    assert sides.count("card") >= 14
    assert len(MUTANTS) >= 56
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_bug_fits_the_source_and_leaves_nothing_behind(mutant):
    with planted(mutant):
        pass
    assert mutant.breaks


@pytest.mark.parametrize("name", QUICK)
def test_bug_is_found_within_few_seeds(name):
    found = hunt(name, FEW, FIRST.get(name, 1))
    assert found.found, f"{name}: {found}"
    assert found.invariant in {*(make.name for make in INVARIANTS), *STORM_CHECKS}


def test_seed_that_fails_without_the_bug_does_not_count(monkeypatch):
    monkeypatch.setattr(mutants, "_storm", lambda seed, profile: ("liveness", "always"))
    found = hunt("timer-forgotten", 3)
    assert not found.found
    assert found.invariant == ""


def test_bug_that_breaks_the_storm_itself_counts_as_an_exception(monkeypatch):
    def broken(*_):
        raise KeyError("c01")
    monkeypatch.setattr(mutants, "run_seed", broken)
    assert mutants._storm(1, "quick")[0] == "no-exception"


def test_unknown_bug_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError) as caught:
        mutants_named(["heisenbug"])
    assert "timer-forgotten" in caught.value.hint


def test_command_hunts_in_processes_of_its_own_and_prints_json():
    found = CliRunner().invoke(command, ["timer-forgotten", "boot-nonce-not-renewed", "--seeds", str(FEW), "--jobs",
                                         "2", "--json"])
    assert found.exit_code == 0, found.output
    bugs = json.loads(found.stdout)["bugs"]
    assert [(bug["name"], bug["side"], bug["found"]) for bug in bugs] == [
        ("timer-forgotten", "core", True), ("boot-nonce-not-renewed", "card", True)]


def test_command_fails_when_a_bug_is_not_found():
    found = CliRunner().invoke(command, ["open-abandoned-without-abort", "--seeds", "1", "--jobs", "1"])
    assert found.exit_code == 1
    assert "missed" in found.output


def test_command_lists_the_bugs():
    found = CliRunner().invoke(command, ["--list"])
    assert found.exit_code == 0
    assert all(mutant.name in found.output for mutant in MUTANTS)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_bug_is_found_within_a_thousand_seeds():
    assert [found.name for found in hunt_all(MUTANTS, SEEDS) if not found.found] == []
