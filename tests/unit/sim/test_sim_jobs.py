"""Jobs in the simulation: clients, the journal on a disk that tears, and crashes at every boundary of it."""

from __future__ import annotations

import numpy as np
import pytest
from sim_jobs_rig import IMAGE, OTHER, World

from safhost.core import events as ev
from safhost.core.journal import DONE, TAKEN, encode_units, replay
from safhost.sim.disk import SimDisk
from safhost.sim.images import run_role, tag_of
from safhost.sim.job_units import TAGS, JobPlan, make_unit


@pytest.fixture
def world():
    made = []
    yield lambda *args, **options: made.append(World(*args, **options)) or made[-1]
    for one in made:
        one.sim.close()


def test_a_unit_is_what_its_number_says_and_its_reference_is_what_the_role_computes():
    plan = JobPlan(IMAGE, 4, floats=(5, 40), repeat=3)
    unit, expected = make_unit(plan, 2, 3, seed=9)
    again, _ = make_unit(plan, 2, 3, seed=9)
    assert np.array_equal(unit.memory, again.memory)
    assert tag_of(IMAGE.kernel("stamp")[0], unit.arguments) == 2 * TAGS + 3
    assert tag_of(IMAGE.kernel("vadd")[0], unit.arguments) is None
    assert expected.wrong()
    ddr = np.zeros(unit.room, np.uint8)
    for offset, length, _, _ in unit.inputs:
        ddr[offset:offset + length] = unit.memory[offset:offset + length]
    before = [unit.memory[offset:offset + length].copy() for offset, length, _, _ in unit.inputs]
    for _ in range(3):
        run_role(IMAGE.package.to_dict(), "stamp", unit.arguments, ddr)
    for offset, length, at in unit.outputs:
        unit.memory[at:at + length] = ddr[offset:offset + length]
    assert expected.wrong() == ""
    for (offset, length, _, _), was in zip(unit.inputs, before, strict=True):
        assert np.array_equal(unit.memory[offset:offset + length], was)


def test_file_on_the_disk_grows_and_is_cut():
    disk = SimDisk()
    disk.append("a", b"one")
    disk.append("a", b"two")
    disk.cut("a", 4)
    assert disk.read("a") == b"onet"
    assert disk.writes == 3


def test_crash_inside_an_append_leaves_a_part_of_it(world):
    kept = set()
    for seed in range(12):
        w = world(cards=1, seed=seed)
        host, whole = w.sim.host, []
        data = encode_units(DONE, [1, 5])
        host.crash_in_append(1)
        host.call(lambda host=host: host.append("j", encode_units(TAKEN, [0]), lambda: None))
        assert host.alive
        host.call(lambda host=host, data=data, whole=whole: host.append("j", data, lambda: whole.append(True)))
        assert host.stopped
        raw = host.disk.read("j")
        first = len(encode_units(TAKEN, [0]))
        assert raw[first:] == data[:len(raw) - first]
        assert bool(whole) == (len(raw) == first + len(data))
        kept.add(len(raw) - first)
    assert len(kept) > 3


def test_job_is_done_and_its_journal_says_so(world):
    w = world()
    user = w.job(units=9)
    assert w.end(user) == "done"
    w.rest()
    state = replay(w.sim.host.disk.read(user.journal))
    assert (state.ended, state.done.count, set(state.taken) <= set(range(9))) == ("done", 9, True)
    assert sorted(index for index, _ in user.delivered) == list(range(9))


def test_two_jobs_of_two_images_are_done_by_two_cards(world):
    w = world()
    one, two = w.job(units=12), w.job(units=12, image=OTHER, priority=1)
    assert (w.end(one), w.end(two)) == ("done", "done")
    w.rest()


@pytest.mark.parametrize("memory", ["keep", "poison", "forget"])
def test_memory_of_units_that_ended_is_the_clients(world, memory):
    w = world()
    user = w.job(units=8, memory=memory, window=2)
    assert w.end(user) == "done"
    w.rest()
    assert (len(user.over) == 0) == (memory == "forget")


def test_host_that_dies_at_any_boundary_of_a_job_goes_on_with_it(world):
    """Every boundary from the job's first to its last, once."""
    w = world()
    before = w.sim.host.boundaries
    user = w.job(units=3)
    assert w.end(user) == "done"
    count = w.sim.host.boundaries - before
    assert count > 20
    for at in range(count):
        w = world(seed=at % 3)
        w.sim.host.crash_after(at, down_ns=1_000_000)
        user = w.job(units=3)
        assert w.end(user) == "done", at
        assert len(user.taken) == 3
        for invariant in w.by_name.values():
            invariant.check()


def test_host_that_dies_inside_any_append_goes_on_with_the_job(world):
    for at in range(9):
        w = world(seed=at)
        w.sim.host.crash_in_append(at, down_ns=1_000_000)
        user = w.job(units=5)
        assert w.end(user) == "done", at
        w.rest()


def test_client_that_dies_loses_what_it_did_not_take(world):
    w = world(kernel_ns=20_000_000)
    user = w.job(units=10)
    w.sim.run_while(lambda: len(user.taken) < 4, 10.0, "results")
    user.die()
    assert user.taken == user.landed
    assert w.end(user) == "done"
    assert len(user.taken) == 10
    w.rest()


def test_cancelled_job_goes_on_when_its_client_wants(world):
    w = world(kernel_ns=20_000_000)
    user = w.job(units=10)
    w.sim.run_while(lambda: len(user.taken) < 3, 10.0, "results")
    user.cancel()
    assert w.end(user) == "cancelled"
    done = set(user.taken)
    user.again()
    assert w.end(user) == "done"
    assert done <= user.taken == set(range(10))
    w.rest()


def test_held_job_starts_nothing_until_it_is_let_go(world):
    w = world(kernel_ns=20_000_000)
    user = w.job(units=20)
    w.sim.run_while(lambda: len(user.taken) < 2, 10.0, "results")
    user.hold(True)
    w.sim.run_for(2.0)
    held = len(user.taken)
    w.sim.run_for(5.0)
    assert len(user.taken) == held < 20
    user.hold(False)
    assert w.end(user) == "done"


def test_drained_card_is_left_alone_and_known_to_the_book(world):
    w = world(kernel_ns=20_000_000)
    user = w.job(units=30)
    w.sim.run_while(lambda: len(user.taken) < 2, 10.0, "results")
    drained = w.sim.start(ev.DrainCard(0, "c01", True))
    assert w.jobs.drains == {(w.sim.host, "c01"): None}
    assert w.sim.run_until(drained, 10.0).error is None
    assert w.jobs.drains[w.sim.host, "c01"] is not None
    ran = w.sim.cards["c01"].executed["stamp"]
    assert w.end(user) == "done"
    assert w.sim.cards["c01"].executed["stamp"] == ran
    w.sim.start(ev.DrainCard(0, "c01", False))
    assert w.jobs.drains == {}
