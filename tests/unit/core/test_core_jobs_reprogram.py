"""Several images: cards go over when it pays, by priority and share, and not to and fro."""

from __future__ import annotations

import numpy as np
from core_jobs_rig import IMAGE, OTHER, JobRun

from safhost.core import events as ev
from safhost.sim import make_image


def on_image(sim, image):
    return sum(sim.view(key).image_digest == image.digest for key in sim.cards)


def switches(*runs):
    return sum(run.kinds()["reprogrammed"] for run in runs)


def test_two_jobs_of_different_images_get_halves(jobs):
    sim = jobs(cards=4, kernel_ns=200_000_000)
    first = JobRun(sim, IMAGE, 100)
    first.until(6)
    second = JobRun(sim, OTHER, 100)
    sim.run_for(0.9)
    assert on_image(sim, IMAGE) == on_image(sim, OTHER) == 2
    sim.run_for(0.9)
    assert switches(first, second) == 2
    first.right()
    second.right()


def test_weights_decide_who_has_how_many_cards(jobs):
    sim = jobs(cards=4, kernel_ns=200_000_000)
    heavy = JobRun(sim, IMAGE, 150, weight=3.0)
    light = JobRun(sim, OTHER, 50)
    sim.run_for(0.9)
    assert (on_image(sim, IMAGE), on_image(sim, OTHER)) == (3, 1)
    heavy.right()
    light.right()


def test_higher_priority_takes_all_cards_and_gives_them_back(jobs):
    sim = jobs(cards=3, kernel_ns=200_000_000)
    low = JobRun(sim, IMAGE, 80)
    low.until(6)
    high = JobRun(sim, OTHER, 50, priority=1)
    sim.run_for(0.9)
    assert on_image(sim, OTHER) == 3
    high.right()
    assert len(low.units) < 50
    low.right()
    assert on_image(sim, IMAGE) >= 2


def test_no_unit_is_lost_or_repeated_by_a_switch(jobs):
    sim = jobs(cards=3, kernel_ns=80_000_000)
    low = JobRun(sim, IMAGE, 80)
    high = JobRun(sim, OTHER, 40, priority=1)
    low.right()
    high.right()
    assert max(u.attempts for u in [*low.units.values(), *high.units.values()]) == 1


def test_small_job_of_another_image_waits_for_an_idle_card(jobs):
    """Equal priority, hardly any work: one card at most goes over, as it has none at all."""
    sim = jobs(cards=3, kernel_ns=80_000_000)
    first = JobRun(sim, IMAGE, 60)
    first.until(10)
    small = JobRun(sim, OTHER, 2)
    small.right()
    assert switches(small) <= 2
    first.right()


def test_more_images_than_cards_take_turns(jobs):
    third = make_image(30_000, "third")
    sim = jobs(cards=2, kernel_ns=80_000_000)
    runs = [JobRun(sim, image, 60) for image in (IMAGE, OTHER, third)]
    sim.run_for(3)
    assert all(len(run.units) > 5 for run in runs)
    for run in runs:
        run.right()
    assert switches(*runs) < 60


def test_idle_card_of_an_image_that_nobody_needs_goes_over(jobs):
    sim = jobs(cards=2, image=OTHER, kernel_ns=80_000_000)
    assert sim.run_until(sim.program(IMAGE, ("c01",))).error is None
    run = JobRun(sim, IMAGE, 80)
    run.right()
    assert run.by_card()["c02"] > 25


def test_card_a_user_works_with_is_not_taken(jobs):
    sim = jobs(cards=2, image=OTHER, kernel_ns=3_000_000_000)
    assert sim.run_until(sim.program(IMAGE, ("c01",))).error is None
    sim.cards["c01"].kernel_ns = 80_000_000
    busy, _ = sim.unit(OTHER, "increment", np.zeros(10, np.float32))
    run = JobRun(sim, IMAGE, 40)
    run.right()
    assert set(run.by_card()) == {"c01"}
    assert sim.run_until(busy).error is None


def test_drained_card_is_not_programmed(jobs):
    sim = jobs(cards=2, image=OTHER, kernel_ns=80_000_000)
    assert sim.run_until(sim.start(ev.DrainCard(0, "c02"))).error is None
    run = JobRun(sim, IMAGE, 30)
    run.right()
    assert set(run.by_card()) == {"c01"}
    assert sim.view("c02").image_digest == OTHER.digest


def test_held_job_keeps_no_card_from_others(jobs):
    sim = jobs(cards=2, kernel_ns=80_000_000)
    held = JobRun(sim, IMAGE, 60)
    held.until(10)
    held.change(hold=True)
    other = JobRun(sim, OTHER, 30)
    other.right()
    assert set(other.by_card()) == {"c01", "c02"}
    held.change(hold=False)
    held.right()
