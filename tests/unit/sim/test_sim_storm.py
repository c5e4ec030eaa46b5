"""Storms: what they do, that a seed is a seed, and that hundreds of them find nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from safhost.errors import ConfigError, SafError
from safhost.planting import Planting, planted
from safhost.sim.campaign import Plan, run_campaign
from safhost.sim.profiles import DISTURBANCES, PROFILES
from safhost.sim.record import Fingerprint
from safhost.sim.storm import Storm, run_seed
from safhost.sim.weather import NETWORK

RAISING = Planting("raises", "safhost.core.session", "Sessions.on_alive", "alive = Alive.unpack(frame.payload)",
                   "raise ValueError('planted')", "ALIVE ends the host")
SILENT = Planting("silent", "safhost.core.session", "Sessions.open", "c.emit_frame(card, frame, now_ns)",
                  "card.last_sent_ns = now_ns", "no session is ever asked for")


def campaign(seeds, cards=8, profile="quick"):
    summary = run_campaign(Plan(seeds, cards, profile, jobs=2))
    assert summary.left == 0
    assert [(f.seed, f.invariant, f.message) for f in summary.failures] == []
    return summary


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", [range(1, 101), pytest.param(range(101, 201), marks=pytest.mark.slow)])
def test_a_hundred_seeds_hold(seeds):
    summary = campaign(seeds)
    assert summary.seeds == 100
    assert summary.requests > 1000


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_thousands_of_seeds_hold():
    campaign(range(10_000, 13_000), cards=20)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_large_storms_hold():
    campaign(range(1, 60), profile="full")


def test_same_seed_is_the_same_storm():
    def run(seed):
        fingerprint = Fingerprint()
        return run_seed(seed, 4, observers=(fingerprint,)).frames, fingerprint.digest()

    assert run(11) == run(11)
    assert run(11) != run(12)


SCRIPT = """
from safhost.sim.record import Fingerprint
from safhost.sim.storm import run_seed
for seed in (31, 32, 33, 34):
    fingerprint = Fingerprint()
    print(run_seed(seed, 6, observers=(fingerprint,)).frames, fingerprint.digest())
"""


def test_a_seed_is_the_same_storm_in_every_process():
    runs = [subprocess.run([sys.executable, "-c", SCRIPT], env=os.environ | {"PYTHONHASHSEED": number}, check=True,
                           capture_output=True, text=True).stdout for number in ("1", "2")]
    assert runs[0] == runs[1]
    assert len(set(runs[0].splitlines())) == 4


def test_storms_draw_every_kind_of_work_and_disturbance():
    asked, disturbed, ended_well, cards = Counter(), Counter(), Counter(), set()
    for seed in range(300, 345):
        storm = Storm(seed, 4)
        try:
            storm.run()
            asked.update(a.kind for a in storm.ledger.asked.values())
            ended_well.update(a.kind for a in storm.ledger.asked.values() if a.ended and a.ended.error is None)
            disturbed.update(storm.weather.counts)
            cards.add(len(storm.sim.cards))
        finally:
            storm.close()
    assert asked.keys() == {"program", "write", "read", "run", "empty", "unit", "kill", "release"}
    assert ended_well.keys() == asked.keys()
    assert disturbed.keys() == set(DISTURBANCES)
    assert {1, 2} <= cards
    assert set(NETWORK) < set(DISTURBANCES)


@pytest.mark.parametrize(("planting", "invariant"), [(RAISING, "no-exception"), (SILENT, "liveness")])
def test_what_the_storm_itself_looks_after_is_found(planting, invariant):
    with planted(planting):
        outcome = run_seed(4, 2)
    assert (outcome.failed, outcome.invariant) == (True, invariant)
    if invariant == "no-exception":
        assert "ValueError" in outcome.message


def test_storm_without_end_is_ended():
    outcome = run_seed(4, 2, wall_s=0.0)
    assert outcome.invariant == "bounded"
    assert "real time" in outcome.message


def test_bad_storms_are_refused():
    with pytest.raises(ConfigError, match="no profile 'stormy'"):
        Storm(1, 2, "stormy")
    with pytest.raises(SafError, match="0 cards"):
        Storm(1, 0)


def test_profiles_name_themselves():
    assert {name: profile.name for name, profile in PROFILES.items()} == {
        name: name for name in ("quick", "full", "resident")}
