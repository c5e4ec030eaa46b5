"""Data that every card of a job has once: one broadcast, cards that come later, room, ends."""

from __future__ import annotations

import random

import numpy as np
import pytest
from core_jobs_rig import IMAGE, OTHER, JobRun
from core_resident_rig import ResidentRun

from safhost.core import events as ev
from safhost.core.bulk import Transfer
from safhost.core.resident import Load
from safhost.errors import SchedulingError
from safhost.plan.ddr import DdrAllocator
from safhost.sim import Impairment


@pytest.fixture
def written(monkeypatch):
    """(keys of the cards, bytes) of each transfer of resident data, in order."""
    found: list[tuple[tuple[str, ...], int]] = []
    start = Transfer.start

    def noted(self, now_ns):
        if isinstance(self.owner, Load):
            found.append((tuple(sorted(m.card.key for m in self.members)), self.length))
        start(self, now_ns)
    monkeypatch.setattr(Transfer, "start", noted)
    return found


def place(run, key):
    return run.host.cluster.scheduler.jobs[run.request].resident.places.get(key)


def test_all_cards_get_it_by_one_broadcast_before_their_first_unit(jobs, written):
    sim = jobs(cards=3)
    run = ResidentRun(sim, 30)
    run.right()
    size = len(run.payload)
    assert [cards for cards, _ in written] == [("c01", "c02", "c03")] * 3  # pieces
    assert sum(length for _, length in written) == size
    assert sorted(run.loads()) == ["c01", "c02", "c03"]
    assert set(run.by_card()) == {"c01", "c02", "c03"}


def test_frames_of_a_broadcast_do_not_grow_with_the_cards(jobs):
    def frames(cards):
        sim = jobs(cards=cards)
        ended = []
        finish = Transfer._finish

        def noted(self, now_ns):
            if isinstance(self.owner, Load) and not self.ended:
                ended.append((self.frames_sent, self.blocks))
            finish(self, now_ns)
        Transfer._finish = noted
        try:
            ResidentRun(sim, cards).right()
        finally:
            Transfer._finish = finish
        return ended
    assert frames(1) == frames(4)
    assert all(sent == blocks for sent, blocks in frames(4))


@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_cards_programmed_for_the_job_and_those_that_come_later_get_it_too(jobs, written, loss):
    sim = jobs(3, image=None, cards=3, kernel_ns=20_000_000, impairment=Impairment(loss=loss, corrupt=loss / 10))
    run = ResidentRun(sim, 300 if loss else 120)
    run.until(20)
    assert written[0][0] == ("c01", "c02", "c03")
    before = len(written)
    sim.add_card()
    sim.add_card()
    run.right()
    if not loss:  # else one may be programmed so much later that it gets a broadcast of its own
        assert [cards for cards, _ in written[before:]] == [("c04", "c05")] * 3
    assert set(run.by_card()) == {f"c0{n}" for n in range(1, 6)}


def test_card_that_reboots_gets_it_anew(jobs, written):
    sim = jobs(cards=2, kernel_ns=20_000_000)
    run = ResidentRun(sim, 150)
    run.until(20)
    sim.crash("c01")
    sim.run_for(0.3)
    sim.reboot("c01")
    run.right()
    assert run.loads().count("c01") == 2
    assert run.loads().count("c02") == 1
    assert run.by_card()["c01"] > 20


def test_host_that_comes_back_writes_it_anew(jobs):
    sim = jobs(cards=2, kernel_ns=5_000_000)
    first = ResidentRun(sim, 30)
    first.until(10)
    host = sim.restart_host()
    sim.settle(host=host)
    again = ResidentRun(sim, 30, seed=9)
    again.right()
    assert sorted(again.loads()) == ["c01", "c02"]


def test_it_stays_on_a_card_while_another_image_runs_there(jobs, written):
    sim = jobs(cards=1, kernel_ns=2_000_000)
    run = ResidentRun(sim, 10, fed=False)
    run.until(10)
    writes = len(written)
    other = JobRun(sim, OTHER, 10, priority=1)
    other.until(5)
    assert sim.view("c01").image_digest == OTHER.digest
    assert place(run, "c01").state == "ready"
    other.right()
    run.add(10)
    run.end()
    run.right()
    assert len(written) == writes
    assert run.loads() == ["c01"]


def test_it_makes_room_for_units_of_another_image(jobs, written):
    sim = jobs(cards=1, card={"ddr_bytes": 1 << 20})
    run = ResidentRun(sim, 5, pad=700_000 // 4096 * 4096, fed=False)
    run.until(5)
    writes = len(written)
    other = JobRun(sim, OTHER, 5, n=256, priority=1)  # 768 KiB a unit
    other.until(3)
    assert run.request in sim.host.cluster.scheduler.jobs
    assert place(run, "c01") is None
    other.right()
    run.add(5)
    run.end()
    run.right()
    assert len(written) == 2 * writes
    assert run.loads() == ["c01", "c01"]


def test_two_jobs_of_one_image_have_theirs_beside_each_other(jobs):
    sim = jobs(cards=2, card={"ddr_bytes": 1 << 20})
    runs = [ResidentRun(sim, 30, seed=s) for s in (1, 2)]
    for run in runs:
        run.right()
    assert all(set(run.by_card()) == {"c01", "c02"} for run in runs)


def test_second_job_waits_for_room_and_gets_it(jobs):
    sim = jobs(cards=1, card={"ddr_bytes": 1 << 20}, kernel_ns=2_000_000)
    first = ResidentRun(sim, 40, pad=4096 * 150, seed=1)
    first.until(2)
    second = ResidentRun(sim, 10, pad=4096 * 150, seed=2)
    first.right()
    second.right()
    texts = [n.text for n in second.notes if n.kind == "resident"]
    assert any("no room" in text for text in texts)
    assert sum("no room" in text for text in texts) == 1


def test_units_of_others_make_way_for_data_that_waits_for_their_room(jobs):
    sim = jobs(cards=1, card={"ddr_bytes": 1 << 20}, kernel_ns=2_000_000)
    busy = JobRun(sim, IMAGE, 200, n=160)  # 300 KiB a unit, three at once
    busy.until(5)
    run = ResidentRun(sim, 5, pad=4096 * 80)
    run.until(5)
    assert len(busy.units) < 150
    run.wait()
    busy.right()


@pytest.mark.parametrize("cards", [1, 3])
def test_data_that_no_card_can_hold_ends_the_job_at_once(jobs, cards):
    sim = jobs(cards=cards, card={"ddr_bytes": 1 << 20})
    run = ResidentRun(sim, 5, pad=4096 * 300)
    ended = run.wait()
    assert isinstance(ended.error, SchedulingError)
    assert "of resident data do not fit" in ended.error.message
    assert sim.now_ns < 60_000_000_000


def test_unit_that_does_not_fit_beside_the_data_is_a_clear_error(jobs):
    sim = jobs(cards=1, card={"ddr_bytes": 1 << 20})
    run = ResidentRun(sim, 0, pad=4096 * 150, n=32, fed=False)
    sim.run_for(1)
    run.add(1, room=600_000)
    run.end()
    ended = run.wait()
    assert isinstance(ended.error, SchedulingError)
    assert "beside" in ended.error.message
    assert "of resident data" in ended.error.message


def test_job_that_is_cancelled_while_its_data_travels_leaves_nothing(jobs):
    sim = jobs(cards=2, rate_bytes_s=2_000_000, core={"link_rate_bytes_s": 2_000_000})
    run = ResidentRun(sim, 5)
    sim.run_while(lambda: not place(run, "c01") or place(run, "c01").state != "loading", 5, "the data to travel")
    sim.run_for(0.02)
    sim.host.feed(ev.RequestCancelled(run.request))
    run.wait()
    assert not run.by_card()
    other = ResidentRun(sim, 5, seed=8)
    other.right()


def test_card_that_goes_while_its_data_travels_holds_up_nobody(jobs):
    sim = jobs(cards=3, rate_bytes_s=3_000_000, core={"link_rate_bytes_s": 3_000_000})
    run = ResidentRun(sim, 12)
    sim.run_while(lambda: not place(run, "c02") or place(run, "c02").state != "loading", 5, "the data to travel")
    sim.unplug("c02")
    run.right()
    assert set(run.by_card()) == {"c01", "c03"}
    sim.plug("c02")
    sim.run_for(3)


def test_cards_are_told_as_working_for_the_job_once_they_have_it(jobs, monkeypatch):
    sim = jobs(cards=2)
    told = []
    carry = sim.host._carry_out

    def noted(action):
        if type(action).__name__ == "JobCards":
            told.append((action.cards, len(run.loads())))
        carry(action)
    monkeypatch.setattr(sim.host, "_carry_out", noted)
    run = ResidentRun(sim, 0, fed=False)
    sim.run_for(1)
    assert told == [(("c01", "c02"), 2)]
    sim.host.feed(ev.DrainCard(901, "c01"))
    sim.run_for(0.1)
    assert told[-1][0] == ("c02",)
    sim.host.feed(ev.DrainCard(902, "c01", on=False))
    sim.run_for(0.1)
    assert told[-1][0] == ("c01", "c02")
    assert run.loads() == ["c01", "c02"]
    run.end()
    run.wait()


def test_allocator_gives_ranges_from_the_end_and_within_banks():
    ddr = DdrAllocator(16 * 4096)
    assert ddr.allocate(4096) == 0
    assert ddr.allocate(5000, top=True) == 14 * 4096
    assert ddr.allocate(4096, top=True) == 13 * 4096
    assert ddr.allocate(4096, bank=1, banks=2) == 8 * 4096
    assert ddr.allocate(6 * 4096, bank=1, banks=2) is None
    assert ddr.allocate(7 * 4096, bank=0, banks=2) == 4096
    assert ddr.allocate(1, bank=0, banks=2) is None
    with pytest.raises(SchedulingError, match="bank's"):
        ddr.allocate(9 * 4096, bank=0, banks=2)
    for at in (0, 14 * 4096, 13 * 4096, 8 * 4096, 4096):
        ddr.release(at)
    assert ddr.used_bytes == 0
    assert ddr.allocate(16 * 4096) == 0
    rng = np.random.default_rng(3)
    ddr, held = DdrAllocator(64 * 4096), {}
    for _ in range(2000):
        if held and rng.random() < 0.5:
            at = list(held)[int(rng.integers(len(held)))]
            del held[at]
            ddr.release(at)
            continue
        need = int(rng.integers(1, 9)) * 4096
        bank = int(rng.integers(4))
        at = ddr.allocate(need, top=bool(rng.integers(2)), bank=bank, banks=4)
        if at is not None:
            assert bank * 16 * 4096 <= at
            assert at + need <= (bank + 1) * 16 * 4096
            assert all(at + need <= a or a + n <= at for a, n in held.items())
            held[at] = need


@pytest.mark.parametrize("seed", range(4))
def test_results_are_right_whatever_happens_to_cards(jobs, seed):
    rng = random.Random(seed)
    sim = jobs(seed, cards=3, kernel_ns=10_000_000, impairment=Impairment(loss=0.01, duplicate=0.01, reorder=0.01),
               card={"ddr_bytes": 1 << 20})
    run = ResidentRun(sim, 90, seed=seed)
    other = JobRun(sim, OTHER, 30, n=200, priority=1, seed=seed)  # 480 KB a unit: others' data has to go for it
    away: list[str] = []
    for _ in range(12):
        sim.run_for(rng.random() * 0.3)
        if away and (len(away) == 2 or rng.random() < 0.5):
            key = away.pop(0)
            if sim.cards[key].card.is_dead:
                sim.reboot(key)
            else:
                sim.plug(key)
        else:
            key = rng.choice([k for k in sim.cards if k not in away])
            away.append(key)
            if rng.random() < 0.5:
                sim.crash(key)
            else:
                sim.unplug(key)
        sim.validate()
    for key in away:
        if sim.cards[key].card.is_dead:
            sim.reboot(key)
        else:
            sim.plug(key)
    other.right()
    run.right()
    sim.run_for(4)
