"""Cards that come while a job runs: programmed from what is on its way, given work within one unit."""

from __future__ import annotations

import numpy as np
import pytest
from core_jobs_rig import IMAGE, OTHER, JobRun

from safhost.sim import Impairment, make_image

LARGE = make_image(4_000_000, "large")
SLOW_LINK = {"rate_bytes_s": 20_000_000, "core": {"link_rate_bytes_s": 20_000_000}}


def working(run, key):
    """What was noted of a card's first unit."""
    return [n.info for n in run.notes if n.kind == "card_working" and n.card == key]


def transfers(sim):
    return [t for t in sim.host.cluster.transfers.active.values() if t.background]


def test_cards_without_the_image_are_programmed_by_one_broadcast(jobs):
    sim = jobs(image=None, cards=5)
    run = JobRun(sim, LARGE, 50)
    sim.run_while(lambda: not transfers(sim), 1, "staging")
    transfer, = transfers(sim)
    assert len(transfer.members) == 5
    run.right()
    assert set(run.by_card()) == set(sim.cards)
    assert run.kinds()["reprogrammed"] == 5


def test_card_that_comes_late_is_programmed_and_works_within_a_unit(jobs):
    sim = jobs(cards=2, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 100)
    run.until(10)
    sim.add_card()
    run.right()
    info, = working(run, "c03")
    assert info["since_link_up_s"] < 0.2
    assert info["stage_s"] > 0
    assert run.by_card()["c03"] > 15
    assert run.kinds()["card_joining"] == 1


def test_cards_that_come_within_a_moment_share_a_broadcast(jobs):
    sim = jobs(cards=1, kernel_ns=20_000_000)
    run = JobRun(sim, IMAGE, 100)
    run.until(5)
    for _ in range(4):
        sim.add_card()
        sim.run_for(0.005)
    sim.run_while(lambda: not transfers(sim), 1, "staging")
    transfer, = transfers(sim)
    assert len(transfer.members) == 4
    run.right()
    assert all(working(run, f"c0{n}") for n in range(2, 6))


@pytest.mark.parametrize("others", [1, 3])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_card_joins_the_transfer_that_is_on_its_way(jobs, others, loss):
    sim = jobs(11, image=None, cards=others, kernel_ns=30_000_000, impairment=Impairment(loss=loss), **SLOW_LINK)
    run = JobRun(sim, LARGE, 150)
    sim.run_while(lambda: not transfers(sim) or transfers(sim)[0].frames_sent < 900, 2, "a third of the image")
    transfer, = transfers(sim)
    sim.add_card()
    sim.run_while(lambda: len(transfer.members) == others, 1, "the card to join")
    frames = transfer.frames_sent
    assert frames < transfer.blocks
    run.right()
    new = f"c{others + 1:02d}"
    assert working(run, new)
    assert np.array_equal(sim.cards[new].card.memory.staging[transfer.by_card[new].slot].view(0, len(LARGE.payload)),
                          LARGE.payload)
    if not loss:
        assert transfer.frames_sent <= transfer.blocks + frames + 600  # what it missed, and no more


def test_card_that_reboots_while_it_is_staged_joins_again(jobs):
    sim = jobs(image=None, cards=3, kernel_ns=20_000_000, **SLOW_LINK)
    run = JobRun(sim, LARGE, 200)
    sim.run_while(lambda: not transfers(sim) or transfers(sim)[0].frames_sent < 1000, 2, "a part of the image")
    sim.reboot("c02")
    run.right()
    assert working(run, "c02")


def test_card_that_holds_the_image_is_only_committed(jobs):
    sim = jobs(cards=2)
    assert sim.run_until(sim.program(OTHER)).error is None
    run = JobRun(sim, IMAGE, 20)
    result = run.right()
    assert result["reprogrammed"] == 2
    assert all(working(run, key)[0]["stage_s"] == 0 for key in run.by_card())


def test_running_cards_go_on_while_another_one_is_staged(jobs):
    """Units ask and answer often, and must not stand behind the image each time."""
    image = make_image(12_000_000, "larger")
    sim = jobs(image=image, cards=2, kernel_ns=10_000_000, rate_bytes_s=100_000_000,
               core={"link_rate_bytes_s": 100_000_000})
    run = JobRun(sim, image, 400)
    run.until(100)
    sim.add_card()
    sim.run_while(lambda: not transfers(sim), 1, "staging")
    start, count = sim.now_ns, len(run.units)
    sim.run_while(lambda: bool(transfers(sim)), 5, "the end of staging")
    during = list(run.units.values())[count + 4:]
    assert max(u.run_ns + u.read_ns - u.kernel_ns for u in during) < 8e6  # two of the unit's questions
    assert max(u.write_ns for u in during) < 20e6
    assert (sim.now_ns - start) / 1e9 < 2 * 0.13  # of the link's time for the image
    run.right()


def test_card_that_fails_to_load_the_image_is_tried_again_and_left_out(jobs):
    sim = jobs(image=None, cards=3, kernel_ns=100_000_000)
    sim.inject("c02", "pr_error", times=3)
    run = JobRun(sim, IMAGE, 200)
    run.right()
    assert run.kinds()["card_failed"] == 3
    assert [n.card for n in run.notes if n.kind == "card_excluded"] == ["c02"]
    assert set(run.by_card()) == {"c01", "c03"}


def test_card_that_fails_once_works_in_the_end(jobs):
    sim = jobs(image=None, cards=2, kernel_ns=50_000_000)
    sim.inject("c02", "pr_error", times=1)
    run = JobRun(sim, IMAGE, 100)
    run.right()
    assert run.kinds()["card_failed"] == 1
    assert working(run, "c02")


def test_job_that_ends_leaves_cards_that_were_on_their_way_alone(jobs):
    sim = jobs(image=None, cards=1, **SLOW_LINK)
    assert sim.run_until(sim.program(LARGE)).error is None
    run = JobRun(sim, LARGE, 0, fed=False)
    run.add(1)
    sim.add_card()
    sim.run_while(lambda: not transfers(sim), 1, "staging")
    run.end()
    run.right()
    sim.run_for(0.5)
    assert not transfers(sim)
    assert not any(sim.view("c02").image_digest)
    assert not sim.view("c02").staging


def test_short_job_is_not_worth_another_card(jobs):
    sim = jobs(image=None, cards=2, kernel_ns=1_000_000)
    assert sim.run_until(sim.program(LARGE, ("c01",))).error is None
    warm = JobRun(sim, LARGE, 4, only=("c01",))
    warm.right()
    run = JobRun(sim, LARGE, 0, fed=False, only=())
    run.host.cluster.scheduler.jobs[run.request].unit_ns = 1e6
    run.add(6)
    run.end()
    run.right()
    assert set(run.by_card()) == {"c01"}
