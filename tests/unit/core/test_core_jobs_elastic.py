"""Jobs that never end, as servers have them: cards go where units wait, and come back when units come again."""

from __future__ import annotations

import pytest
from core_jobs_rig import IMAGE, OTHER, JobRun

from safhost.sim import make_image

THIRD = make_image(30_000, "third")
SERVES = {"fed": False, "lasting": True, "keep_going": True}


def on_image(sim, image):
    return sum(sim.view(key).image_digest == image.digest for key in sim.cards)


class Load:
    """Keeps ``depth`` units of a job outstanding while it is on."""

    def __init__(self, run, depth):
        self.run, self.depth, self.on = run, depth, True
        run.host.on_unit.append(self.unit_ended)
        run.add(depth)

    def unit_ended(self, ended):
        if self.on and ended.request == self.run.request:
            self.run.sim.at(self.run.sim.now_ns, self.more)

    def more(self):
        if self.on:
            self.run.add(1)


def stop(*runs):
    for run in runs:
        run.end()
        run.right()


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_idle_job_gives_its_cards_to_a_busy_one_and_gets_some_back_when_asked(jobs, keep):
    sim = jobs(cards=4, kernel_ns=100_000_000)
    idle = JobRun(sim, IMAGE, 8, min_cards=keep, **SERVES)
    idle.until(8)
    assert on_image(sim, IMAGE) == 4
    busy = JobRun(sim, OTHER, 0, **SERVES)
    load = Load(busy, 48)
    sim.run_for(2)
    assert on_image(sim, OTHER) == 4 - keep
    assert on_image(sim, IMAGE) == keep
    asked_ns = sim.now_ns
    idle.add(1)
    idle.until(9)
    waited_s = (sim.now_ns - asked_ns) / 1e9
    print(f"min_cards {keep}: answer after {waited_s:.3f} s")
    assert waited_s < (0.2 if keep else 1.0)
    assert idle.kinds()["reprogrammed"] == (0 if keep else 1)  # one unit is worth one card
    sim.run_for(3)
    assert on_image(sim, IMAGE) <= max(1, keep)
    load.on = False
    stop(idle, busy)


def test_two_busy_ones_share_and_the_one_that_rests_gives_way(jobs):
    sim = jobs(cards=4, kernel_ns=100_000_000)
    first, second = (JobRun(sim, image, 0, **SERVES) for image in (IMAGE, OTHER))
    loads = [Load(run, 48) for run in (first, second)]
    sim.run_for(4)
    assert (on_image(sim, IMAGE), on_image(sim, OTHER)) == (2, 2)
    loads[0].on = False
    sim.run_for(3)
    assert on_image(sim, OTHER) == 4
    loads[0].on = True
    first.add(48)
    sim.run_for(4)
    assert (on_image(sim, IMAGE), on_image(sim, OTHER)) == (2, 2)
    for load in loads:
        load.on = False
    stop(first, second)


def test_cards_stay_where_they_are_when_nobody_waits(jobs):
    sim = jobs(cards=3, kernel_ns=5_000_000)
    runs = [JobRun(sim, image, 0, min_cards=1, **SERVES) for image in (IMAGE, OTHER, THIRD)]
    sim.run_for(3)
    assert [on_image(sim, i) for i in (IMAGE, OTHER, THIRD)] == [1, 1, 1]
    before = sum(run.kinds()["reprogrammed"] for run in runs)
    for _ in range(20):
        for run in runs:
            run.add(1)
        sim.run_for(0.3)
    assert sum(run.kinds()["reprogrammed"] for run in runs) == before
    stop(*runs)


def test_more_jobs_than_cards_do_not_take_turns_while_nobody_waits(jobs):
    sim = jobs(cards=2, kernel_ns=5_000_000)
    runs = [JobRun(sim, image, 0, min_cards=1, **SERVES) for image in (IMAGE, OTHER, THIRD)]
    sim.run_for(3)
    before = sum(run.kinds()["reprogrammed"] for run in runs)
    sim.run_for(10)
    assert sum(run.kinds()["reprogrammed"] for run in runs) == before
    for run in runs:  # and each is served when it asks
        run.add(3)
    sim.run_for(10)
    assert all(len(run.units) == 3 for run in runs)
    stop(*runs)


def test_card_that_is_plugged_joins_a_job_that_rests(jobs):
    sim = jobs(cards=1)
    run = JobRun(sim, IMAGE, 2, **SERVES)
    run.until(2)
    sim.add_card()
    sim.run_for(2)
    assert on_image(sim, IMAGE) == 2
    stop(run)


def test_little_load_takes_no_card_from_a_busy_job_beyond_what_it_needs(jobs):
    sim = jobs(cards=4, kernel_ns=100_000_000)
    busy, light = JobRun(sim, IMAGE, 0, **SERVES), JobRun(sim, OTHER, 0, min_cards=1, **SERVES)
    load = Load(busy, 48)
    sim.run_for(2)
    most = 0
    for _ in range(100):
        light.add(1)
        sim.run_for(0.05)
        most = max(most, on_image(sim, OTHER))
    assert most == 1
    assert len(light.units) >= 97
    switches = light.kinds()["reprogrammed"] + busy.kinds()["reprogrammed"]
    assert switches <= 2
    load.on = False
    stop(busy, light)


@pytest.mark.parametrize("lasting", [True, False])
def test_units_of_a_job_that_serves_leave_a_silent_card_as_soon_as_it_is_suspect(jobs, lasting):
    sim = jobs(cards=3, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 30, speculate=False, **(SERVES if lasting else {"keep_going": True}))
    sim.run_for(0.03)
    sim.unplug("c02")
    out_ns = sim.now_ns
    run.until(30)
    waited_s = (sim.now_ns - out_ns) / 1e9
    print(f"the last unit ended {waited_s:.2f} s after the cable was pulled")
    assert waited_s < 1.6 if lasting else waited_s > 2.4
    stop(run)
