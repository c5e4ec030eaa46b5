"""Jobs of a number of cards at most: which ones, who replaces one that goes, and what others make of the rest."""

from __future__ import annotations

import pytest
from core_jobs_rig import IMAGE, OTHER, JobRun

from safhost.core import events as ev

SERVES = {"fed": False, "lasting": True, "keep_going": True}


def limit(run):
    return set(run.host.cluster.scheduler.jobs[run.request].limit.keys)


def on_image(sim, image):
    return {key for key in sim.cards if sim.view(key).image_digest == image.digest}


def stop(*runs):
    for run in runs:
        run.end()
        run.right()


@pytest.mark.parametrize("most", [1, 2, 4, 9])
def test_job_works_on_so_many_cards_and_programs_no_more(jobs, most):
    sim = jobs(cards=4, kernel_ns=20_000_000)
    run = JobRun(sim, OTHER, 100, max_cards=most)  # cards run another image
    run.right()
    assert len(run.by_card()) == min(most, 4)
    assert len(on_image(sim, OTHER)) == min(most, 4)


def test_cards_that_run_the_image_and_are_not_needed_stay_idle(jobs):
    sim = jobs(cards=4, kernel_ns=20_000_000)
    assert len(on_image(sim, IMAGE)) == 4
    run = JobRun(sim, IMAGE, 40, max_cards=2)
    run.right()
    assert len(run.by_card()) == 2


@pytest.mark.parametrize("how", ["silent", "drained"])
def test_card_that_goes_is_replaced_by_another(jobs, how):
    sim = jobs(cards=4, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 0, fed=False, max_cards=2)
    run.add(20)
    run.until(6)
    first = limit(run)
    assert len(first) == 2
    gone = min(first)
    if how == "silent":
        sim.unplug(gone)
    else:
        sim.start(ev.DrainCard(0, gone, True))
    run.add(200)
    run.end()
    run.right()
    others = set(run.by_card()) - first
    assert len(others) == 1  # one for one
    assert [n.text for n in run.notes if n.kind == "card_left" and n.card == gone] == [
        "is silent" if how == "silent" else "is being drained"]


def test_card_that_comes_is_taken_while_there_are_fewer(jobs):
    sim = jobs(cards=1, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 0, fed=False, max_cards=2)
    run.add(60)
    run.until(2)
    for _ in range(2):
        sim.add_card()
    run.end()
    run.right()
    assert len(run.by_card()) == 2


def test_jobs_of_one_name_work_on_the_same_cards_and_others_on_others(jobs):
    sim = jobs(cards=4, kernel_ns=20_000_000)
    workers = [JobRun(sim, IMAGE, 0, fed=False, max_cards=2, name="m") for _ in range(3)]
    other = JobRun(sim, IMAGE, 0, fed=False, max_cards=2, name="n")
    for run in (*workers, other):
        run.add(30)
    for run in (*workers, other):
        run.until(20)
    assert all(limit(run) == limit(workers[0]) for run in workers)
    assert len(limit(workers[0])) == 2
    assert not limit(other) & limit(workers[0])
    stop(*workers, other)


def test_busy_job_grows_to_its_limit_and_leaves_the_rest_to_others(jobs):
    sim = jobs(cards=4, kernel_ns=100_000_000)
    idle = JobRun(sim, IMAGE, 8, min_cards=0, **SERVES)
    idle.until(8)
    assert len(on_image(sim, IMAGE)) == 4
    busy = JobRun(sim, OTHER, 200, max_cards=3, **SERVES)
    sim.run_for(3)
    assert len(on_image(sim, OTHER)) == 3
    assert {(n.text, n.info["lost"]) for n in idle.notes if n.kind == "card_left"} == {("goes to another job", False)}
    stop(idle, busy)


def test_floor_and_limit_together_keep_as_many_cards(jobs):
    sim = jobs(cards=4, kernel_ns=100_000_000)
    fixed = JobRun(sim, IMAGE, 4, min_cards=2, max_cards=2, **SERVES)
    fixed.until(4)
    busy = JobRun(sim, OTHER, 300, **SERVES)
    sim.run_for(3)
    assert (len(on_image(sim, IMAGE)), len(on_image(sim, OTHER))) == (2, 2)
    sim.unplug(min(limit(fixed)))
    sim.run_for(6)
    assert len(on_image(sim, IMAGE) & limit(fixed)) == 2  # one of the busy job's takes its place
    stop(fixed, busy)


def test_card_taken_back_is_told_apart_from_one_that_was_lost(jobs):
    sim = jobs(cards=2, kernel_ns=50_000_000)
    idle = JobRun(sim, IMAGE, 4, **SERVES)
    idle.until(4)
    busy = JobRun(sim, OTHER, 100, **SERVES)
    sim.run_for(2)
    idle.add(2)
    sim.run_for(3)
    assert "is back from another job" in {n.text for n in idle.notes if n.kind == "card_back"}
    assert not any(n.info["lost"] for n in idle.notes if n.kind == "card_left")
    stop(idle, busy)
