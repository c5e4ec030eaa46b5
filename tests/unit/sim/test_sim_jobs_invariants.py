"""Every invariant of jobs can fail: each is shown a planted bug, or a state that must not be."""

from __future__ import annotations

import random
import weakref

import numpy as np
import pytest
from sim_jobs_rig import IMAGE, World

from safhost.core import events as ev
from safhost.core.actions import RequestEnded, UnitEnded
from safhost.core.ranges import Ranges
from safhost.planting import Planting, planted
from safhost.sim.invariants import Violation
from safhost.sim.job_desk import job_state
from safhost.sim.job_units import JobPlan

SLOW_NS = 20_000_000


@pytest.fixture
def world():
    made = []
    yield lambda *args, **options: made.append(World(*args, **options)) or made[-1]
    for one in made:
        one.sim.close()


def bug(module, function, old, new):
    return Planting("bug", module, function, old, new, "what the invariant is for")


def fails(name, text=""):
    return pytest.raises(Violation, match=rf"^{name}: .*{text}")


def begun(w, taken=2, **options):
    user = w.job(**{"units": 20, **options})
    w.sim.run_while(lambda: len(user.taken) < taken, 10.0, "results")
    return user


def ended(user, index, error=None):
    return UnitEnded(user.request, index, "c01", error, 1, 0, 0, 0, 0, 0, 0)


def test_unit_that_ends_twice_or_was_never_given_is_found(world):
    w = world(kernel_ns=SLOW_NS)
    user = begun(w)
    invariant, done = w.by_name["one-end-per-unit"], min(user.taken)
    with fails("one-end-per-unit", "ended twice"):
        invariant.on_unit_ended(w.sim.host, ended(user, done))
    with fails("one-end-per-unit", "never given"):
        invariant.on_unit_ended(w.sim.host, ended(user, 4000))


def test_unit_that_ends_after_its_job_is_found(world):
    w = world()
    user = w.job(units=2)
    w.end(user)
    invariant = w.by_name["one-end-per-unit"]
    invariant._given[w.sim.host, user.request].add(2)
    with fails("one-end-per-unit", "after its job"):
        invariant.on_unit_ended(w.sim.host, ended(user, 2))


def test_job_that_ends_without_a_unit_is_found(world):
    w = world(kernel_ns=SLOW_NS)
    user = begun(w)
    with fails("one-end-per-unit", "ended well without"):
        w.by_name["one-end-per-unit"].on_request_ended(w.sim.host, RequestEnded(user.request, {}))


def test_job_that_counts_wrong_is_found(world):
    with planted(bug("safhost.core.jobs", "Job.attempt_done", "self.done += 1", "self.done += 2")):
        w = world()
        with fails("one-end-per-unit", "it was"):
            w.end(w.job(units=3))


def test_journal_that_forgets_or_invents_is_found(world):
    w = world(kernel_ns=SLOW_NS)
    user = begun(w)
    invariant, state = w.by_name["finished-stays-finished"], job_state(w.sim.host, user)
    invariant.on_job_open(w.sim.host, user, state)
    state.done.add(19)
    with fails("finished-stays-finished", "never written"):
        invariant.on_job_open(w.sim.host, user, state)
    state.done = Ranges()
    with fails("finished-stays-finished", "missing"):
        invariant.on_job_open(w.sim.host, user, state)
    state = job_state(w.sim.host, user)
    state.taken.add(19)
    with fails("finished-stays-finished", "its client took"):
        invariant.on_job_open(w.sim.host, user, state)


def test_command_for_a_unit_that_is_done_is_found(world):
    w = world(kernel_ns=SLOW_NS)
    user = begun(w, window=1)
    user.finished.update(range(20))
    with fails("finished-stays-finished", "which is done"):
        w.sim.run_for(1.0)


def test_wrong_result_and_one_that_nobody_asked_for_are_found(world):
    with planted(bug("safhost.sim.images", "run_role", "(buffers, scalars)", "(buffers, scalars | {'tag': 1})")):
        w = world()
        with fails("job-results", "differ from the reference"):
            w.end(w.job(units=1))
    w = world()
    user = w.job(units=1)
    with fails("job-results", "never gave it"):
        w.by_name["job-results"].on_job_result(user, 0, None)


def test_memory_that_changes_after_the_end_is_found(world):
    w = world()
    user = w.job(units=2)
    w.end(user)
    user.over[1][0][0] ^= 1
    with fails("job-results", "memory of unit 1"):
        w.by_name["job-results"].at_rest()


def test_results_that_are_missing_are_found(world):
    w = world()
    user = w.job(units=2)
    w.end(user)
    user.taken.discard(1)
    with fails("job-results", "1 results"):
        w.by_name["job-results"].at_rest()


def test_unit_on_a_drained_card_is_found(world):
    with planted(bug("safhost.core.scheduler", "Scheduler.takes_units", "and not card.draining ", "")):
        w = world(kernel_ns=SLOW_NS, cards=1)
        user = w.job(units=30, window=1)
        w.sim.run_while(lambda: user.given or not user.taken, 10.0, "a moment without units")
        with fails("drained-is-empty"):
            w.jobs.drains[w.sim.host, "c01"] = w.sim.now_ns
            w.sim.run_for(1.0)


def test_held_job_that_goes_on_is_found(world):
    with planted(bug("safhost.core.scheduler", "Scheduler._give", "not job.held and ", "")):
        w = world(kernel_ns=SLOW_NS)
        user = begun(w)
        user.hold(True)
        with fails("jobs-obey", "held"):
            w.sim.run_for(1.0)


def test_card_that_a_job_may_not_use_is_found(world):
    w = world(kernel_ns=SLOW_NS)
    user = w.jobs.add(JobPlan(IMAGE, 4, cards=("c01",)), random.Random(7))
    with planted(bug("safhost.core.jobs", "Job.may_use", "if self.only and card.key not in self.only:", "if False:")), \
            fails("jobs-obey", "may not use"):
        w.end(user)


def test_phased_job_that_runs_before_all_is_there_is_found(world):
    with planted(bug("safhost.core.phases", "Phases.may_pass",
                     "if not job.phased or self.step >= step:", "if step:")):
        w = world(kernel_ns=SLOW_NS)
        with fails("jobs-obey", "phased"):
            w.end(w.job(units=6, phased=True, window=64, batch=1))


def test_unit_on_three_cards_is_found(world):
    w = world(kernel_ns=SLOW_NS)
    user = begun(w)
    card = next(c for c in w.sim.host.cluster.sessions.by_mac.values() if c.units)
    attempt = next(iter(card.units))

    class Twin:
        unit, abandoned = attempt.unit, False

    assert attempt.unit.request == user.request
    twins = [Twin(), Twin()]
    card.units.update(twins)
    with fails("jobs-obey", "cards at once"):
        w.check("jobs-obey")
    card.units.difference_update(twins)


def test_units_that_are_held_on_to_are_found(world):
    w = world()
    user = w.job(units=3, memory="forget")
    kept = []
    real = user._unit
    user._unit = lambda index: kept.append(real(index)) or kept[-1]
    w.end(user)
    w.sim.run_for(15)
    with fails("ended-units-are-forgotten", "still held"):
        w.by_name["ended-units-are-forgotten"].at_rest()
    kept.clear()
    w.by_name["ended-units-are-forgotten"].at_rest()


def test_too_many_units_that_are_held_on_to_are_found_while_the_job_goes_on(world):
    w = world(kernel_ns=SLOW_NS)
    user = begun(w, units=30, memory="forget")
    others = [np.zeros(1, np.uint8) for _ in range(200)]
    for index, memory in enumerate(others, 1000):
        user.memories[index] = weakref.ref(memory)
    with fails("ended-units-are-forgotten", "200 units|20[0-9] units"):
        w.check("ended-units-are-forgotten")


def test_drain_that_is_taken_back_is_no_drain(world):
    w = world()
    w.sim.run_until(w.sim.start(ev.DrainCard(0, "c01")))
    assert w.jobs.drains[w.sim.host, "c01"] is not None
    w.sim.run_until(w.sim.start(ev.DrainCard(0, "c01", False)))
    assert not w.jobs.drains
