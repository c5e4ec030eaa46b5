"""Jobs under everything that goes wrong: cards lost and found, stragglers, races for a unit's memory."""

from __future__ import annotations

import random

import pytest
from core_jobs_rig import IMAGE, OTHER, JobRun

from safhost.core import events as ev
from safhost.errors import SchedulingError
from safhost.sim import Impairment


@pytest.mark.parametrize("how", ["crash", "reboot", "unplug"])
def test_units_of_a_card_that_goes_away_are_done_by_others(jobs, how):
    sim = jobs(cards=3, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 60, speculate=False)
    run.until(9)
    getattr(sim, how)("c02")
    result = run.right()
    assert result["moved"] >= 1
    assert run.kinds()["card_lost"] == 1
    assert max(u.attempts for u in run.units.values()) == 2
    if how == "unplug":
        sim.plug("c02")
        sim.settle(timeout_s=20)
        sim.run_for(5)


def test_card_that_comes_back_works_again(jobs):
    sim = jobs(cards=2, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 400)
    run.until(9)
    sim.reboot("c02")
    run.right()
    assert run.by_card()["c02"] > 50
    assert run.kinds()["reprogrammed"] == 1


def test_job_outlives_all_its_cards(jobs):
    sim = jobs(cards=2, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 40)
    run.until(5)
    for key in sim.cards:
        sim.crash(key, restart_ms=3_000)
    run.right()
    assert run.kinds()["reprogrammed"] == 2


def test_job_without_image_ends_when_no_card_is_left_for_a_minute(jobs):
    sim = jobs(cards=1, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 40, with_image=False)
    run.until(5)
    sim.crash("c01")
    ended = run.wait(timeout_s=120)
    assert isinstance(ended.error, SchedulingError)
    assert "no card could work on it for 60 s" in str(ended.error)
    assert ended.result["units"] == len(run.units) >= 5


@pytest.mark.parametrize("kernel", ["ptrans", "vadd"])
def test_straggler_is_tried_elsewhere_and_the_first_counts(jobs, kernel):
    sim = jobs(cards=3, kernel_ns=5_000_000)
    sim.cards["c02"].kernel_ns = 2_000_000_000
    run = JobRun(sim, IMAGE, 30, kernel, n=64)
    if kernel == "vadd":
        run.wanted = {i: None for i in ()}
    ended = run.sim.run_until(run.request, timeout_s=30)
    assert ended.error is None
    assert ended.result["speculated"] >= 1
    assert ended.result["seconds"] < 1
    assert sum(s["speculative"] for s in ended.result["cards"].values()) >= 1
    assert run.kinds()["speculated"] == ended.result["speculated"]
    content = {i: m.tobytes() for i, m in run.memories.items()}
    sim.run_for(5)  # the slow card ends what nobody waits for
    assert content == {i: m.tobytes() for i, m in run.memories.items()}
    assert sim.view("c02").ddr.used_bytes == 0


def test_no_speculation_when_it_is_not_wanted(jobs):
    sim = jobs(cards=3, kernel_ns=5_000_000)
    sim.cards["c02"].kernel_ns = 500_000_000
    run = JobRun(sim, IMAGE, 30, speculate=False)
    assert run.right()["speculated"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_race_of_two_attempts_has_one_end_and_stable_memory(jobs, seed):
    """Second attempts begin at any time; both read, one into the unit's memory."""
    rng = random.Random(seed)
    sim = jobs(seed, cards=3, kernel_ns=3_000_000, rate_bytes_s=50_000_000,
               core={"read_chunk_bytes": 16 << 10, "read_window_bytes": 64 << 10})
    run = JobRun(sim, IMAGE, 12, n=100, speculate=False, depth=2)
    job = sim.host.cluster.scheduler.jobs[run.request]
    cards = [sim.view(key) for key in sim.cards]
    extras = 0
    while run.request not in sim.host.ended:
        sim.run_for(rng.random() * 0.004)
        for unit in list(job.running):
            card = rng.choice(cards)
            if len(unit.live) == 1 and unit.live[0].card is not card and rng.random() < 0.4:
                base = card.ddr.allocate(unit.event.room)
                if base is not None:
                    job.begin(unit, card, base, sim.now_ns, extra=True)
                    sim.host.tick()
                    extras += 1
        sim.validate()
        assert sim.now_ns < 30e9
    assert extras > 3
    run.right()


@pytest.mark.parametrize("seed", range(4))
def test_every_unit_ends_once_whatever_happens(jobs, seed):
    rng = random.Random(seed)
    faults = Impairment(loss=0.03, duplicate=0.05, reorder=0.1, reorder_ns=2_000_000)
    sim = jobs(100 + seed, cards=4, kernel_ns=10_000_000, impairment=faults)
    runs = [JobRun(sim, IMAGE, 150, n=48, unit_deadline_ms=2_000),
            JobRun(sim, rng.choice([IMAGE, OTHER]), 100, priority=rng.choice([0, 1]), unit_deadline_ms=2_000)]
    keys = list(sim.cards)
    while any(r.request not in sim.host.ended for r in runs):
        sim.run_for(rng.random() * 0.4)
        key, what = rng.choice(keys), rng.randrange(6)
        if what == 0:
            sim.crash(key, restart_ms=rng.choice([50, 500]))
        elif what == 1:
            sim.reboot(key)
        elif what == 2:
            sim.unplug(key)
            sim.at(sim.now_ns + rng.randrange(1, 3_000_000_000), lambda key=key: sim.plug(key))
        elif what == 3 and key in sim.host.cluster.sessions.by_key:
            sim.start(ev.DrainCard(0, key, rng.random() < 0.5))
        elif what == 4:
            sim.inject(key, "hang_kernel")
        elif len(sim.cards) < 7:
            sim.add_card()
        for run in runs:
            run.check()
        sim.validate()
        assert sim.now_ns < 900e9
        if sim.now_ns > 20e9:
            break
    for key in list(sim.cards):
        if not sim.port(key).plugged:
            sim.plug(key)
        sim.inject(key, "hang_kernel", times=0)
        if key in sim.host.cluster.sessions.by_key:
            sim.start(ev.DrainCard(0, key, False))
    for run in runs:
        run.right(timeout_s=900)
    sim.run_for(40)


def test_units_run_again_and_again_on_resident_data(jobs):
    sim = jobs(cards=2, kernel_ns=1_000_000)
    run = JobRun(sim, IMAGE, 6, repeat=5)
    run.right()
    assert all(u.kernel_ns == 5_000_000 for u in run.units.values())
    assert sum(node.executed["ptrans"] for node in sim.cards.values()) == 30


def test_phased_job_loads_runs_and_reads_in_steps(jobs):
    sim = jobs(cards=2, kernel_ns=5_000_000)
    run = JobRun(sim, IMAGE, 24, phased=True, repeat=2)
    result = run.right()
    assert [n.info["phase"] for n in run.notes if n.kind == "phase"] == ["loaded", "ran", "read"]
    assert min(result["phases"].values()) > 0
    assert result["phases"]["run_s"] >= 0.01
    assert set(run.by_card().values()) == {12}


def test_phased_job_survives_a_card_that_goes_away(jobs):
    sim = jobs(cards=3, kernel_ns=50_000_000)
    run = JobRun(sim, IMAGE, 12, phased=True)
    sim.run_while(lambda: not run.kinds()["phase"], 5, "the units to be loaded")
    sim.run_for(0.02)
    sim.crash("c02")
    run.right()
    assert set(run.by_card()) == {"c01", "c03"}


def test_phased_job_that_does_not_fit_says_so(jobs):
    sim = jobs(cards=2, card={"ddr_bytes": 1 << 20})
    run = JobRun(sim, IMAGE, 30, n=128, phased=True)
    ended = run.wait(timeout_s=10)
    assert isinstance(ended.error, SchedulingError)
    assert "of 30 units fit" in str(ended.error)
    JobRun(sim, IMAGE, 4).right()


def test_bound_unit_of_a_card_the_job_may_not_use_runs_elsewhere(jobs):
    sim = jobs(cards=2)
    run = JobRun(sim, IMAGE, 4, cards=dict.fromkeys(range(4), "c02"), only=("c01",))
    run.right()
    assert set(run.by_card()) == {"c01"}


def test_kernel_that_hangs_and_was_done_elsewhere_does_not_hold_its_card_for_long(jobs):
    """The deadline of a unit is five minutes; a kernel that lost its race by far is not waited for so long."""
    sim = jobs(cards=3, kernel_ns=5_000_000)
    sim.inject("c02", "hang_kernel")
    run = JobRun(sim, IMAGE, 30)
    assert run.right()["speculated"] == 1
    assert sim.view("c02").units
    sim.run_for(7)
    assert not sim.view("c02").units
    assert sim.view("c02").last_kill == 1
