"""Units for one card alone: they wait for its image and for room in it."""

from __future__ import annotations

from core_jobs_rig import IMAGE, OTHER, JobRun


def test_card_is_programmed_for_a_unit_that_only_it_may_do(jobs):
    sim = jobs(cards=2)
    assert sim.run_until(sim.program(OTHER, ("c02",))).error is None
    run = JobRun(sim, IMAGE, 6, cards={5: "c02"})
    run.right(timeout_s=20)
    assert run.units[5].card == "c02"


def test_unit_stays_with_its_card_while_there_is_no_room_in_it(jobs):
    sim = jobs(cards=2, kernel_ns=5_000_000, card={"ddr_bytes": 64 << 10})
    run = JobRun(sim, IMAGE, 20, cards=dict.fromkeys(range(20), "c02"), depth=8)
    run.right()
    assert run.by_card() == {"c02": 20}


def test_two_jobs_with_units_for_each_others_cards_are_done(jobs):
    sim = jobs(cards=2)
    assert sim.run_until(sim.program(OTHER, ("c02",))).error is None
    runs = [JobRun(sim, image, 1, cards={0: card}, fed=False, seed=n)
            for n, (image, card) in enumerate([(IMAGE, "c02"), (OTHER, "c01")])]
    for run in runs:
        run.until(1)
        run.end()
        run.right(timeout_s=20)
