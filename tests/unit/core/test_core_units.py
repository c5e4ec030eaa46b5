"""Work units: dispatch, cards that come and go, DDR that is given back, ends that say why."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.core import card as st
from safhost.core import events as ev
from safhost.errors import CommandFailed, SchedulingError
from safhost.sim import Impairment, make_image
from safhost.wire.generated import Status

SUITES = [0, 1]
IMAGE = make_image(30_000)
OTHER = make_image(30_000, "other")


@pytest.fixture
def programmed(simulate):
    def make(seed=1, impairment=None, image=IMAGE, **options):
        sim = simulate(seed, **options)
        assert sim.run_until(sim.program(image)).error is None
        for key in sim.cards:
            sim.impair(key, impairment or Impairment())
        return sim

    return make


def submit(sim, count, n=64, kernel="ptrans", image=IMAGE, **options):
    """(request, result, what it has to be) of that many units with different inputs."""
    rng = np.random.default_rng(5)
    out = []
    for _ in range(count):
        shape = (n, n) if kernel == "ptrans" else (n,)
        a, b = (rng.random(shape, dtype=np.float32) for _ in range(2))
        request, result = sim.unit(image, kernel, a, b, **options)
        out.append((request, result, b + a.T))
    return out


def finish(sim, units, timeout_s=60):
    for request, result, want in units:
        ended = sim.run_until(request, timeout_s=timeout_s)
        assert ended.error is None, ended.error
        assert (result == want).all()
    for key in sim.cards:
        if key in sim.host.cluster.sessions.by_key:
            assert sim.view(key).ddr.used_bytes == 0, key
            assert not sim.view(key).units, key


@pytest.mark.parametrize("suite", SUITES)
def test_units_spread_over_the_cards_and_are_right(programmed, suite):
    sim = programmed(suite=suite, cards=4)
    units = submit(sim, 24)
    finish(sim, units)
    used = [sim.host.ended[r].result["card"] for r, _, _ in units]
    assert {used.count(k) for k in sim.cards} <= {4, 5, 6, 7, 8}
    times = sim.host.ended[units[0][0]].result
    assert times["attempts"] == 1
    assert times["kernel_ns"] == 50_000
    assert min(times["write_ns"], times["run_ns"]) > 0
    assert times["read_ns"] == 0  # pushed


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("seed", [101, 102])
def test_units_under_everything_a_network_does_are_right(programmed, seed, suite):
    faults = Impairment(loss=0.1, duplicate=0.1, reorder=0.2, reorder_ns=5_000_000, corrupt=0.01)
    sim = programmed(seed, faults, suite=suite, cards=3)
    units = submit(sim, 9)
    finish(sim, units, timeout_s=120)
    assert sum(node.executed["ptrans"] for node in sim.cards.values()) == 9


def test_unit_runs_in_order_on_one_card_with_at_most_two_at_once(programmed):
    sim = programmed()
    units = submit(sim, 6)
    assert len(sim.view("c01").units) == 2
    finish(sim, units)
    ends = [r for r in sim.host.ended if r in {u[0] for u in units}]
    assert ends == [u[0] for u in units]


def test_inputs_survive_a_try_that_fails_after_its_outputs_were_read(programmed):
    """An inout buffer: what the first card computed must not become the second one's input."""
    sim = programmed(cards=2, kernel_ns=1_000_000, rate_bytes_s=100_000_000,
                     core={"read_chunk_bytes": 64 << 10, "read_window_bytes": 64 << 10})
    x = np.arange(200_000, dtype=np.float32)
    request, result = sim.unit(IMAGE, "increment", x)
    unit = sim.host.cluster.requests[request]
    sim.run_while(lambda: not (unit.attempt and unit.attempt._reads and unit.attempt._reads[0].done_bytes), 5, "a read")
    first = unit.attempt.card.key
    sim.crash(first)
    ended = sim.run_until(request, timeout_s=20)
    assert ended.error is None
    assert ended.result["attempts"] == 2
    assert ended.result["card"] != first
    assert (result == x + 1).all()


@pytest.mark.parametrize("suite", SUITES)
def test_units_of_a_silent_card_go_to_another_before_its_lease_ends(programmed, suite):
    sim = programmed(suite=suite, cards=3, kernel_ns=20_000_000)
    units = submit(sim, 30)
    sim.run_for(0.03)
    sim.unplug("c02")
    ended = [sim.run_until(r, timeout_s=6) for r, _, _ in units]
    assert all(e.error is None for e in ended)
    assert sim.now_ns < 5e9  # not after a lease
    assert all((result == want).all() for _, result, want in units)
    assert sim.view("c02").state == st.SUSPECT
    sim.plug("c02")
    sim.settle(timeout_s=10)
    sim.run_for(2)
    assert sim.view("c02").ddr.used_bytes == 0
    finish(sim, submit(sim, 6))
    assert sim.cards["c02"].executed["ptrans"] >= 2


def test_abandoned_kernel_keeps_its_memory_until_it_ended(programmed):
    sim = programmed(cards=2, kernel_ns=6_000_000_000)
    sim.cards["c02"].kernel_ns = 1_000_000
    units = submit(sim, 2)
    sim.run_for(0.01)
    sim.unplug("c01")
    for request, result, want in units:
        assert sim.run_until(request, timeout_s=10).error is None
        assert (result == want).all()
    sim.plug("c01")
    sim.run_for(0.4)
    card = sim.view("c01")
    assert card.state == st.AVAILABLE
    assert card.ddr.used_bytes > 0  # the kernel nobody waits for still writes there
    sim.run_for(6)
    assert card.ddr.used_bytes == 0
    assert not card.units


@pytest.mark.parametrize("suite", SUITES)
def test_unit_whose_card_reboots_runs_elsewhere(programmed, suite):
    sim = programmed(suite=suite, cards=2, kernel_ns=100_000_000)
    units = submit(sim, 4)
    sim.run_for(0.03)
    victims = [a.unit.request for a in sim.view("c01").units]
    assert victims
    sim.reboot("c01")
    finish(sim, units)
    assert {sim.host.ended[r].result["card"] for r in victims} == {"c02"}
    assert all(sim.host.ended[r].result["attempts"] == 2 for r in victims)


@pytest.mark.parametrize("state", ["opened", "receiving", "verified", "running", "done", "reading"])
def test_unit_survives_a_card_that_dies_in_any_state(programmed, state):
    sim = programmed(cards=2, kernel_ns=2_000_000)
    sim.crash("c01", state=state, restart_ms=200)
    finish(sim, submit(sim, 8))


def test_unit_for_chosen_cards_runs_there_only(programmed):
    sim = programmed(cards=3)
    units = submit(sim, 6, cards=("c03",))
    finish(sim, units)
    assert {sim.host.ended[r].result["card"] for r, _, _ in units} == {"c03"}


def test_chosen_card_that_is_silent_is_waited_for(programmed):
    sim = programmed(cards=2, kernel_ns=50_000_000)
    units = submit(sim, 2, cards=("c02",))
    sim.run_for(0.01)
    sim.unplug("c02")
    sim.run_for(3)
    assert all(r not in sim.host.ended for r, _, _ in units)
    sim.plug("c02")
    finish(sim, units, timeout_s=10)


def test_card_that_joins_takes_units_at_once(programmed):
    sim = programmed(cards=1, kernel_ns=20_000_000)
    units = submit(sim, 40)
    sim.run_for(0.05)
    sim.add_card()
    sim.settle()
    assert sim.run_until(sim.program(IMAGE, ("c02",))).error is None
    finish(sim, units)
    assert sim.cards["c02"].executed["ptrans"] > 10


def test_units_of_one_image_do_not_wait_for_those_of_another(programmed):
    sim = programmed(cards=2, kernel_ns=1_000_000_000)
    assert sim.run_until(sim.program(OTHER, ("c02",))).error is None
    slow = submit(sim, 6)
    sim.cards["c02"].kernel_ns = 1_000_000
    quick = submit(sim, 3, image=OTHER)
    for request, _, _ in quick:
        assert sim.run_until(request, timeout_s=0.5).error is None
    finish(sim, slow)


def test_unit_of_an_image_nobody_runs_is_refused(programmed):
    sim = programmed()
    (request, _, _), = submit(sim, 1, image=OTHER)
    assert isinstance(sim.host.ended[request].error, SchedulingError)
    assert "program it first" in str(sim.host.ended[request].error)


def test_unit_that_no_card_is_left_for_ends_after_a_minute(programmed):
    sim = programmed(kernel_ns=50_000_000)
    (request, _, _), = submit(sim, 1)
    sim.run_for(0.01)
    sim.crash("c01")
    ended = sim.run_until(request, timeout_s=90)
    assert isinstance(ended.error, SchedulingError)
    assert "no card ran image" in str(ended.error)
    assert "after 1 tries" in str(ended.error)


def test_unit_waits_for_a_card_that_comes_back_within_a_minute(programmed):
    sim = programmed(kernel_ns=50_000_000)
    units = submit(sim, 3)
    sim.run_for(0.01)
    sim.crash("c01", restart_ms=15_000)
    sim.run_for(20)
    sim.settle()
    assert all(r not in sim.host.ended for r, _, _ in units)
    assert sim.run_until(sim.program(IMAGE)).error is None
    finish(sim, units)


def test_unit_too_large_for_any_card_is_refused(simulate):
    sim = simulate(card={"ddr_bytes": 1 << 20})
    assert sim.run_until(sim.program(IMAGE)).error is None
    x = np.zeros(1 << 20, np.float32)
    request, _ = sim.unit(IMAGE, "increment", x)
    ended = sim.run_until(request)
    assert isinstance(ended.error, SchedulingError)
    assert "do not fit" in str(ended.error)


def test_units_larger_together_than_memory_wait_for_each_other(simulate):
    sim = simulate(card={"ddr_bytes": 1 << 20})
    assert sim.run_until(sim.program(IMAGE)).error is None
    pairs = [sim.unit(IMAGE, "increment", np.full(150_000, i, np.float32)) for i in range(4)]
    for i, (request, result) in enumerate(pairs):
        assert sim.run_until(request, timeout_s=10).error is None
        assert (result == i + 1).all()


def test_failing_kernel_ends_its_unit_with_the_cards_word(programmed):
    sim = programmed(cards=2)
    sim.inject("c01", "role_fault")
    sim.inject("c02", "role_fault")
    units = submit(sim, 2)
    errors = [sim.run_until(r).error for r, _, _ in units]
    assert all(isinstance(e, CommandFailed) and e.status == Status.ROLE_FAULT for e in errors)
    assert all(sim.view(k).ddr.used_bytes == 0 for k in sim.cards)


def test_killed_unit_runs_again(programmed):
    sim = programmed(kernel_ns=1_000_000)
    sim.inject("c01", "hang_kernel")
    units = submit(sim, 1)
    sim.run_for(0.5)
    assert sim.run_until(sim.start(ev.StartKill(0, "c01"))).error is None
    finish(sim, units)


def test_unit_that_is_killed_again_and_again_ends(programmed):
    sim = programmed(kernel_ns=1_000_000)
    sim.inject("c01", "hang_kernel", times=100)
    (request, _, _), = submit(sim, 1)
    for _ in range(12):
        sim.run_for(0.1)
        sim.run_until(sim.start(ev.StartKill(0, "c01")))
    ended = sim.run_until(request, timeout_s=5)
    assert isinstance(ended.error, SchedulingError)
    assert "8 times" in str(ended.error)


def test_unit_after_a_new_role_is_not_run_on_it(programmed):
    """Units in flight while the card is programmed anew: none computes on the wrong role."""
    sim = programmed(cards=2, kernel_ns=5_000_000)
    sim.cards["c02"].kernel_ns = 40_000_000  # so that the drain takes a while
    units = submit(sim, 3) + submit(sim, 1, n=400) + submit(sim, 60)  # the large one ends after its neighbour
    sim.run_for(0.012)
    program = sim.program(OTHER, ("c02",))
    finish(sim, units)
    assert sim.run_until(program).error is None
    assert sim.view("c02").image_digest == OTHER.digest
    assert {sim.host.ended[r].result["attempts"] for r, _, _ in units} == {1}  # none was placed there meanwhile


@pytest.mark.parametrize("when_s", [0.0, 0.00005, 0.002, 0.02])
def test_cancelled_unit_gives_its_memory_back(programmed, when_s):
    sim = programmed(kernel_ns=10_000_000, rate_bytes_s=20_000_000)
    units = submit(sim, 5)
    sim.run_for(when_s)
    left = [r for r, _, _ in units if r not in sim.host.ended]
    assert len(left) > 2
    for request in left:
        sim.host.feed(ev.RequestCancelled(request))
    assert all("cancelled" in str(sim.host.ended[r].error) for r in left)
    sim.run_for(3)
    assert sim.view("c01").ddr.used_bytes == 0
    assert not sim.host.cluster.unit_queue
    finish(sim, submit(sim, 2))


def test_unit_deadline_of_a_hung_kernel_is_reported(programmed):
    sim = programmed()
    sim.inject("c01", "hang_kernel")
    (request, _, _), = submit(sim, 1, deadline_ms=200)
    ended = sim.run_until(request, timeout_s=5)
    assert isinstance(ended.error, CommandFailed)
    assert ended.error.status == Status.DEADLINE
    sim.run_for(1)
    assert sim.view("c01").ddr.used_bytes == 0
