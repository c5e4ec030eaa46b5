"""Jobs: every unit once and right, shares of jobs, holding, draining, units at fault, cards at fault."""

from __future__ import annotations

import numpy as np
import pytest
from core_jobs_rig import IMAGE, JobRun

from safhost.core import events as ev
from safhost.errors import SchedulingError


@pytest.mark.parametrize("suite", [0, 1])
def test_units_spread_over_the_cards_and_are_right(jobs, suite):
    sim = jobs(suite=suite, cards=4, kernel_ns=2_000_000)
    run = JobRun(sim, IMAGE, 40)
    result = run.right()
    assert set(run.by_card()) == set(sim.cards)
    assert min(run.by_card().values()) >= 8
    assert result["cards"].keys() == set(sim.cards)
    assert result["moved"] == result["speculated"] == result["failed"] == 0
    unit = run.units[0]
    assert unit.kernel_ns == 2_000_000
    assert unit.run_ns >= unit.kernel_ns
    assert unit.attempts == 1
    assert unit.write_ns > 0
    assert unit.read_ns == 0  # its result came with the end of its command


def test_first_units_go_to_empty_cards(jobs):
    sim = jobs(cards=4, kernel_ns=50_000_000)
    run = JobRun(sim, IMAGE, 4)
    assert [len(sim.view(key).units) for key in sim.cards] == [1, 1, 1, 1]
    run.right()


def test_units_that_come_in_drops_are_right(jobs):
    sim = jobs(cards=3)
    run = JobRun(sim, IMAGE, 0, fed=False)
    for _ in range(12):
        run.add(2)
        sim.run_for(0.0007)
    assert run.request not in sim.host.ended
    run.end()
    run.right()


def test_job_without_units_ends_when_no_more_come(jobs):
    run = JobRun(jobs(), IMAGE, 0)
    assert run.right()["units"] == 0


def test_short_kernels_are_kept_deeper_than_long_ones(jobs):
    sim = jobs(cards=1, kernel_ns=1_000)
    short = JobRun(sim, IMAGE, 60)
    short.right()
    sim.cards["c01"].kernel_ns = 50_000_000
    long = JobRun(sim, IMAGE, 10)
    result = long.right()
    assert sim.host.ended[short.request].result["cards"]["c01"]["depth"] > 2
    assert result["cards"]["c01"]["depth"] == 2


def test_depth_that_is_asked_for_is_kept(jobs):
    sim = jobs(cards=1, kernel_ns=5_000_000)
    run = JobRun(sim, IMAGE, 12, depth=3)
    most = 0
    while run.request not in sim.host.ended:
        sim.step()
        most = max(most, len(sim.view("c01").units))
    assert most == 3
    run.right()


def test_higher_priority_goes_first(jobs):
    sim = jobs(cards=2, kernel_ns=2_000_000)
    low = JobRun(sim, IMAGE, 30)
    low.until(4)
    high = JobRun(sim, IMAGE, 10, priority=5)
    sim.run_until(high.request)
    assert len(low.units) <= 4 + 8
    high.right()
    low.right()


def test_weights_are_shares(jobs):
    sim = jobs(cards=2, kernel_ns=2_000_000)
    heavy = JobRun(sim, IMAGE, 120, weight=3.0)
    light = JobRun(sim, IMAGE, 120, weight=1.0)
    heavy.until(90)
    assert 24 <= len(light.units) <= 36
    heavy.right()
    light.right()


def test_job_that_comes_late_neither_starves_nor_takes_all(jobs):
    sim = jobs(cards=2, kernel_ns=2_000_000)
    first = JobRun(sim, IMAGE, 200)
    first.until(100)
    late = JobRun(sim, IMAGE, 40)
    late.until(30)
    assert 20 <= len(first.units) - 100 <= 40
    late.right()
    first.right()


def test_single_units_and_jobs_share(jobs):
    sim = jobs(cards=1, kernel_ns=1_000_000)
    run = JobRun(sim, IMAGE, 60)
    run.until(10)
    request, result = sim.unit(IMAGE, "increment", np.zeros(100, np.float32))
    assert sim.run_until(request, timeout_s=0.1).error is None
    assert (result == 1).all()
    assert len(run.units) < 40
    run.right()


def test_held_job_starts_nothing_until_it_is_let_go_on(jobs):
    sim = jobs(cards=2, kernel_ns=1_000_000)
    run = JobRun(sim, IMAGE, 30)
    run.until(4)
    run.change(hold=True)
    sim.run_for(1)
    count = len(run.units)
    assert count < 12
    assert not any(card.units for card in sim.host.cluster.sessions.by_mac.values())
    assert sim.host.cluster.jobs_view(sim.now_ns)[0]["held"] is True
    run.change(hold=False)
    run.right()


def test_cancelled_job_gives_everything_back(jobs):
    sim = jobs(cards=2, kernel_ns=5_000_000)
    run = JobRun(sim, IMAGE, 30)
    run.until(3)
    sim.host.feed(ev.RequestCancelled(run.request))
    ended = sim.host.ended[run.request]
    assert "cancelled" in str(ended.error)
    sim.run_for(1)
    run.check()
    JobRun(sim, IMAGE, 4).right()


def test_drained_card_ends_its_units_and_takes_no_more(jobs):
    sim = jobs(cards=2, kernel_ns=2_000_000)
    run = JobRun(sim, IMAGE, 60)
    run.until(10)
    drain = sim.start(ev.DrainCard(0, "c02"))
    ended = sim.run_until(drain, timeout_s=1)
    assert ended.error is None
    assert not sim.view("c02").units
    assert sim.view("c02").describe(sim.now_ns)["draining"] is True
    before = run.by_card()["c02"]
    sim.run_for(0.02)
    assert run.by_card()["c02"] == before
    assert sim.run_until(sim.start(ev.DrainCard(0, "c02", False)), timeout_s=1).error is None
    run.right()
    assert run.by_card()["c02"] > before + 5
    assert sim.host.ended[run.request].result["moved"] == 0


def test_unit_bound_to_a_card_runs_there(jobs):
    sim = jobs(cards=3)
    run = JobRun(sim, IMAGE, 12, cards={i: f"c{i % 3 + 1:02d}" for i in range(12)})
    run.right()
    assert all(run.units[i].card == f"c{i % 3 + 1:02d}" for i in range(12))


@pytest.mark.parametrize("how", ["crash", "drain", "absent"])
def test_unit_bound_to_a_card_that_is_gone_runs_elsewhere(jobs, how):
    sim = jobs(cards=2, kernel_ns=5_000_000)
    bound = "c99" if how == "absent" else "c02"
    run = JobRun(sim, IMAGE, 12, cards=dict.fromkeys(range(12), bound))
    sim.run_for(0.012)
    if how == "crash":
        sim.crash("c02")
    elif how == "drain":
        sim.start(ev.DrainCard(0, "c02"))
    run.right()
    assert run.by_card()["c01"] >= 6


def test_chosen_cards_only(jobs):
    sim = jobs(cards=3)
    run = JobRun(sim, IMAGE, 12, only=("c03", "c01"))
    run.right()
    assert set(run.by_card()) == {"c01", "c03"}


def test_unit_larger_than_ddr_is_at_fault(jobs):
    sim = jobs(cards=2)
    run = JobRun(sim, IMAGE, 3, keep_going=True, fed=False)
    run.add(1, room=1 << 40)
    run.end()
    ended = run.wait()
    assert ended.error is None
    assert ended.result["failed"] == 1
    assert "do not fit" in str(run.units[3].error)
    assert sum(u.error is None for u in run.units.values()) == 3


def test_kernel_that_never_ends_is_killed_and_its_unit_goes_elsewhere(jobs):
    sim = jobs(cards=2, kernel_ns=1_000_000)
    sim.inject("c01", "hang_kernel")
    run = JobRun(sim, IMAGE, 20, unit_deadline_ms=200, speculate=False)
    result = run.right()
    assert result["moved"] >= 1
    assert any(n.kind == "unit_moved" and "c01" in n.card for n in run.notes)
    assert max(u.attempts for u in run.units.values()) == 2
    assert sim.view("c01").last_kill == 1


def test_kernel_beside_one_that_hangs_is_not_to_blame(jobs):
    sim = jobs(cards=1, kernel_ns=1_000_000)
    run = JobRun(sim, IMAGE, 60, unit_deadline_ms=200, speculate=False, retries=1, keep_going=True)
    run.until(10)
    sim.inject("c01", "hang_kernel", times=2)  # the second stands for one that waits for the first
    ended = run.wait()
    assert ended.error is None
    assert (ended.result["units"], ended.result["failed"]) == (59, 1)


def test_unit_that_hangs_on_every_card_ends_the_job_and_says_so(jobs):
    sim = jobs(cards=4, kernel_ns=1_000_000)
    for key in sim.cards:
        sim.inject(key, "hang_kernel", times=100)
    run = JobRun(sim, IMAGE, 1, unit_deadline_ms=100)
    ended = run.wait(timeout_s=30)
    assert isinstance(ended.error, SchedulingError)
    assert "unit 0 failed 3 times (on card c0" in str(ended.error)
    assert "deadline" in str(ended.error)
    assert run.units[0].attempts == 3
    for key in sim.cards:
        sim.inject(key, "hang_kernel", times=0)


def test_job_that_keeps_going_tells_failed_units_and_does_the_rest(jobs):
    sim = jobs(cards=2, kernel_ns=1_000_000)
    run = JobRun(sim, IMAGE, 10, keep_going=True, fed=False)
    run.add(1, arguments=b"\0" * 8, relocations=())
    run.end()
    ended = run.wait()
    assert ended.error is None
    assert (ended.result["units"], ended.result["failed"]) == (10, 1)
    assert "unit 10" in str(run.units[10].error)
    assert run.units[10].attempts == 1


def test_failed_unit_ends_a_job_that_does_not_keep_going(jobs):
    sim = jobs(cards=2, kernel_ns=1_000_000)
    run = JobRun(sim, IMAGE, 0, fed=False)
    run.add(1, arguments=b"\0" * 8, relocations=())
    run.add(100)
    ended = run.wait()
    assert "unit 0" in str(ended.error)
    assert ended.result["failed"] == 1
    assert len(run.units) < 100


def test_card_that_fails_what_others_do_is_left_out(jobs):
    sim = jobs(cards=3, kernel_ns=1_000_000)
    sim.inject("c02", "role_fault", times=1000)
    run = JobRun(sim, IMAGE, 60)
    result = run.right()
    assert "excluded" in result["cards"]["c02"]
    assert result["cards"]["c02"]["failed"] <= 8
    assert run.kinds()["card_excluded"] == 1
    sim.inject("c02", "role_fault", times=0)


def test_only_card_may_try_again(jobs):
    sim = jobs(cards=1, kernel_ns=1_000_000)
    sim.inject("c01", "role_fault", times=2)
    run = JobRun(sim, IMAGE, 1)
    run.right()
    assert run.units[0].attempts == 3


@pytest.mark.parametrize("wrong", [{"unit_deadline_ms": 0}, {"weight": 0.0}, {"repeat": 0}, {"retries": 0}])
def test_senseless_jobs_are_refused(jobs, wrong):
    run = JobRun(jobs(), IMAGE, 1, **wrong)
    assert isinstance(sim_ended(run).error, SchedulingError)


def sim_ended(run):
    return run.sim.host.ended[run.request]


def test_single_unit_that_is_cancelled_while_another_runs_leaves_nothing_waiting(jobs):
    sim = jobs(kernel_ns=5_000_000)
    requests = [sim.unit(IMAGE, "increment", np.zeros(100, np.float32))[0] for _ in range(3)]
    sim.run_for(0.001)
    sim.host.feed(ev.RequestCancelled(requests[2]))
    sim.validate()
    assert all(sim.run_until(r).error is None for r in requests[:2])


def test_drained_card_stays_so_when_its_record_is_made_anew(jobs):
    sim = jobs(cards=2)
    assert sim.run_until(sim.start(ev.DrainCard(0, "c02"))).error is None
    sessions = sim.host.cluster.sessions
    sim.start(ev.StartClose(0, ("c02",)))
    sessions._forget(sim.view("c02"), sim.now_ns, "somebody else claims its serial")
    sim.start(ev.StartSolicit(0))
    sim.settle()
    assert sim.view("c02").describe(sim.now_ns)["draining"] is True
    run = JobRun(sim, IMAGE, 10)
    run.right()
    assert set(run.by_card()) == {"c01"}
