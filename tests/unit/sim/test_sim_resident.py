"""Storms over jobs whose data lies on the cards: it is right wherever a unit runs, and what spoils it is found."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.planting import Planting, planted
from safhost.sim.campaign import Plan, run_campaign
from safhost.sim.images import make_image
from safhost.sim.job_units import JobPlan, make_unit, resident_base, resident_of
from safhost.sim.storm import run_seed

BUGS = [
    (3, Planting("units-before-their-data", "safhost.core.resident", "Resident.ready",
                 "place is not None and place.state == READY", "place is not None and place.base >= 0",
                 "a unit runs while its data is on the way")),
    (5, Planting("evicted-under-its-units", "safhost.core.resident", "Residents.evict",
                 "place.state == READY and job.digest != card.image_digest", "place.state == READY",
                 "data goes that units are about to use")),
    (15, Planting("survives-a-reboot", "safhost.core.resident", "Residents.card_lost",
                  "resident.places.pop(card.key, None)", "resident.places.get(card.key)",
                  "a card that lost its memory is taken to have the data")),
]
"""With a seed that finds each, as long as frames go as they do now; else one behind it does."""
MANY = 60


def holds(seeds: range) -> None:
    summary = run_campaign(Plan(seeds, 6, "resident", jobs=2))
    assert summary.left == 0
    assert [(f.seed, f.invariant, f.message) for f in summary.failures] == []


@pytest.mark.timeout(300)
def test_data_on_cards_is_right_in_storms() -> None:
    holds(range(1, 9))


@pytest.mark.slow
@pytest.mark.timeout(14400)
def test_data_on_cards_is_right_in_thousands_of_storms() -> None:
    holds(range(1000, 4000))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "bug"), BUGS, ids=[bug.name for _, bug in BUGS])
def test_bug_is_found(seed: int, bug: Planting) -> None:
    with planted(bug):
        assert any(run_seed(at, 6, "resident").failed for at in range(seed, seed + MANY)), bug.breaks


def test_units_read_from_their_jobs_data_and_no_other() -> None:
    plan = JobPlan(make_image(16_000), 9, resident_bytes=50_000)
    data = resident_of(50_000, 2, 7)
    assert not np.array_equal(data.payload, resident_of(50_000, 3, 7).payload)
    assert sum(length for _, length, _, _ in data.pieces) == len(data.payload) == 50_000
    for index in range(9):
        unit, _ = make_unit(plan, 2, index, 7)
        assert len(unit.resident) == 1
        assert resident_base(plan, 2, index, 7, unit.arguments) == 0
