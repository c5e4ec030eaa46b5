"""Kernel commands: at most once whatever the network repeats, eight at a time, deadlines, KILL."""

from __future__ import annotations

import re

import numpy as np
import pytest

from safhost.core import events as ev
from safhost.errors import CardError, CardLost, CommandFailed, DeadlineExceeded, PartialError
from safhost.sim import Impairment, make_image
from safhost.wire.generated import COMMAND_SLOTS, Opcode, Status

SUITES = [0, 1]
IMAGE = make_image(30_000)
EMPTY_KERNEL = 0xFFFF


def block(*addresses, n=8):
    """Argument block: buffers, then the element count."""
    return b"".join(a.to_bytes(8, "little") for a in addresses) + n.to_bytes(8, "little")


VADD = block(0, 4096, 8192)


@pytest.fixture
def programmed(simulate):
    def make(seed=1, impairment=None, **options):
        sim = simulate(seed, **options)
        assert sim.run_until(sim.program(IMAGE)).error is None
        for key in sim.cards:
            sim.impair(key, impairment or Impairment())
        return sim

    return make


@pytest.mark.parametrize("suite", SUITES)
def test_run_executes_the_delivered_kernel(programmed, suite):
    sim = programmed(suite=suite, cards=2)
    a, b = np.arange(8, dtype=np.float32), np.full(8, 3, np.float32)
    sim.run_until(sim.write(a, 0))
    sim.run_until(sim.write(b, 4096))
    ended = sim.run_until(sim.run(IMAGE, "vadd", VADD))
    assert ended.error is None
    for key, node in sim.cards.items():
        assert (node.ddr[8192:8192 + 32].view(np.float32) == a + b).all()
        assert ended.result["cards"][key]["kernel_ns"] == 50_000


@pytest.mark.parametrize("suite", SUITES)
def test_command_runs_once_under_loss_duplication_and_reordering(programmed, suite):
    faults = Impairment(loss=0.3, duplicate=0.5, reorder=0.5, reorder_ns=60_000_000)
    for seed in range(70, 74):
        sim = programmed(seed, faults, suite=suite, cards=2, kernel_ns=5_000_000)
        for node in sim.cards.values():
            node.ddr[:32].view(np.float32)[:] = 0
        for i in range(1, 16):
            ended = sim.run_until(sim.run(IMAGE, "increment", block(0)), timeout_s=60)
            assert ended.error is None, (seed, i, ended.error)
            for node in sim.cards.values():
                assert node.executed["increment"] == i
                assert (node.ddr[:32].view(np.float32) == i).all()


@pytest.mark.parametrize("suite", SUITES)
def test_concurrent_commands_run_once_each_under_loss(programmed, suite):
    faults = Impairment(loss=0.2, duplicate=0.3, reorder=0.3, reorder_ns=40_000_000)
    sim = programmed(81, faults, suite=suite, kernel_ns=3_000_000)
    requests = [sim.run(IMAGE, "increment", block(4096 * i)) for i in range(40)]
    for request in requests:
        assert sim.run_until(request, timeout_s=60).error is None
    node = sim.cards["c01"]
    assert node.executed["increment"] == 40
    for i in range(40):
        assert (node.ddr[4096 * i:4096 * i + 32].view(np.float32) == 1).all()


def test_more_commands_than_slots_wait_for_one(programmed):
    sim = programmed(kernel_ns=10_000_000)
    requests = [sim.run(IMAGE, "vadd", VADD) for _ in range(2 * COMMAND_SLOTS + 3)]
    sim.run_for(0.005)
    assert len(sim.cards["c01"].card.snapshot()["slots"]) == COMMAND_SLOTS
    assert all(s["state"] == "running" for s in sim.cards["c01"].card.snapshot()["slots"])
    assert len(sim.view("c01").run_waiting) == COMMAND_SLOTS + 3
    started_ns = sim.now_ns
    for request in requests:
        assert sim.run_until(request, timeout_s=10).error is None
    assert sim.now_ns - started_ns < 50_000_000  # each starts when a slot comes free
    assert sim.cards["c01"].executed["vadd"] == len(requests)


def test_run_on_many_cards_by_group_is_one_frame(programmed):
    sim = programmed(cards=6)
    seen = []
    sim.network.taps.append(lambda port, raw: seen.append(Opcode(raw[15])) if port.name == "host0" else None)
    ended = sim.run_until(sim.run(IMAGE, "vadd", VADD, group=True))
    assert ended.error is None
    assert seen.count(Opcode.GROUP) == 1
    assert Opcode.RUN not in seen
    assert [node.executed["vadd"] for node in sim.cards.values()] == [1] * 6


@pytest.mark.parametrize("suite", SUITES)
def test_group_of_more_than_one_frame_under_loss_runs_once_each(programmed, suite):
    faults = Impairment(loss=0.2, duplicate=0.2, reorder=0.2, reorder_ns=30_000_000)
    sim = programmed(83, faults, suite=suite, cards=40)
    ended = sim.run_until(sim.run(IMAGE, "increment", block(0), group=True), timeout_s=60)
    assert ended.error is None
    assert [node.executed["increment"] for node in sim.cards.values()] == [1] * 40


def test_empty_kernel_needs_no_role(simulate):
    sim = simulate()
    ended = sim.run_until(sim.start(ev.StartRun(0, ("c01",), EMPTY_KERNEL)))
    assert ended.error is None
    assert sim.cards["c01"].card.counters["commands"] == 1


@pytest.mark.parametrize(("kernel", "arguments", "status"), [
    (9, VADD, Status.UNKNOWN_KERNEL), (0, b"\0" * 8, Status.BAD_ARGUMENTS),
    (0, block(0, 4096, 1 << 40), Status.BAD_RANGE)])
def test_refused_command_says_why(programmed, kernel, arguments, status):
    sim = programmed()
    ended = sim.run_until(sim.start(ev.StartRun(0, ("c01",), kernel, arguments, (8, 1, 1))))
    assert isinstance(ended.error, CommandFailed)
    assert ended.error.status == status
    assert status.name.lower() in str(ended.error)
    assert ended.error.card == "c01"
    assert sim.run_until(sim.run(IMAGE, "vadd", VADD)).error is None


def test_run_without_a_role_says_so(simulate):
    sim = simulate()
    ended = sim.run_until(sim.run(IMAGE, "vadd", VADD))
    assert ended.error.status == Status.NO_ROLE
    assert "safhost program" in ended.error.hint


def test_run_on_cards_of_which_one_fails_is_partial(programmed):
    sim = programmed(cards=3)
    sim.inject("c02", "role_fault")
    ended = sim.run_until(sim.run(IMAGE, "vadd", VADD))
    assert isinstance(ended.error, PartialError)
    assert ended.error.done == ["c01", "c03"]
    assert "role_fault" in ended.error.failed["c02"]


def test_kernel_past_its_deadline_is_ended_by_the_card(programmed):
    sim = programmed()
    sim.inject("c01", "hang_kernel")
    ended = sim.run_until(sim.run(IMAGE, "vadd", VADD, deadline_ms=300), timeout_s=2)
    assert isinstance(ended.error, CommandFailed)
    assert ended.error.status == Status.DEADLINE
    assert sim.run_until(sim.run(IMAGE, "vadd", VADD)).error is None


def test_deadline_that_the_card_does_not_keep_is_kept_here_and_the_slot_stays_taken(programmed):
    sim = programmed(kernel_ns=6_000_000_000)
    sim.cards["c01"].card._commands.tick = lambda now_ns: None  # a shell that forgets deadlines
    sim.cards["c01"].card._commands.next_wakeup_ns = lambda: None
    request = sim.run(IMAGE, "vadd", VADD, deadline_ms=300)
    ended = sim.run_until(request, timeout_s=3)
    assert isinstance(ended.error, DeadlineExceeded)
    assert "within 300 ms" in str(ended.error)
    assert sim.view("c01").slots[0].busy
    sim.run_for(5)
    assert not sim.view("c01").slots[0].busy
    assert ended.result["cards"]["c01"]["state"] == "failed"  # what came later changes nothing


def test_command_that_waits_for_a_slot_has_its_deadline(programmed):
    sim = programmed()
    sim.inject("c01", "hang_kernel", times=COMMAND_SLOTS)
    hung = [sim.run(IMAGE, "vadd", VADD) for _ in range(COMMAND_SLOTS)]
    ended = sim.run_until(sim.run(IMAGE, "vadd", VADD, deadline_ms=500), timeout_s=5)
    assert isinstance(ended.error, DeadlineExceeded)
    assert "no command slot came free" in str(ended.error)
    assert sim.run_until(sim.start(ev.StartKill(0, "c01"))).error is None
    for request in hung:
        assert sim.run_until(request, timeout_s=2).error.status == Status.KILLED


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_kill_ends_what_runs_and_the_card_works_on(programmed, loss):
    sim = programmed(90, Impairment(loss=loss, duplicate=loss), kernel_ns=1_000_000_000)
    sim.inject("c01", "hang_kernel", times=3)
    hung = [sim.run(IMAGE, "vadd", VADD) for _ in range(3)]
    sim.run_for(0.5)
    assert sim.run_until(sim.start(ev.StartKill(0, "c01")), timeout_s=10).error is None
    for request in hung:
        ended = sim.run_until(request, timeout_s=10)
        assert isinstance(ended.error, CommandFailed)
        assert ended.error.status == Status.KILLED
    assert sim.run_until(sim.run(IMAGE, "vadd", VADD), timeout_s=10).error is None
    assert sim.cards["c01"].executed == {"vadd": 1}


def test_kill_that_a_later_one_overtook_has_done_its_work(programmed):
    sim = programmed()
    sim.host.port.impairment = Impairment(loss=1.0)
    first = sim.start(ev.StartKill(0, "c01"))
    sim.host.port.impairment = Impairment()
    second = sim.start(ev.StartKill(0, "c01"))
    assert sim.run_until(second, timeout_s=2).error is None
    assert first not in sim.host.ended
    assert sim.run_until(first, timeout_s=2).error is None


def test_kill_without_an_answer_ends_by_its_deadline(programmed):
    sim = programmed()
    sim.inject("c01", "mute")
    ended = sim.run_until(sim.start(ev.StartKill(0, "c01")), timeout_s=8)
    assert isinstance(ended.error, DeadlineExceeded)
    assert int(re.search(r"KILL had no answer after (\d+) tries", str(ended.error))[1]) >= 48


def test_commands_of_a_card_that_dies_end_including_those_that_wait(programmed):
    sim = programmed(kernel_ns=60_000_000_000)
    requests = [sim.run(IMAGE, "vadd", VADD) for _ in range(COMMAND_SLOTS + 4)]
    sim.run_for(0.1)
    sim.crash("c01", restart_ms=100)
    for request in requests:
        ended = sim.run_until(request, timeout_s=5)
        assert isinstance(ended.error, CardLost), ended.error
        assert "rebooted" in str(ended.error)
    sim.settle(timeout_s=5)
    assert not any(slot.busy for slot in sim.view("c01").slots)
    assert sim.run_until(sim.program(IMAGE)).error is None
    sim.cards["c01"].kernel_ns = 1000
    assert sim.run_until(sim.run(IMAGE, "vadd", VADD), timeout_s=5).error is None


def test_cancelled_command_keeps_its_slot_until_it_ends(programmed):
    sim = programmed(kernel_ns=2_000_000_000)
    request = sim.run(IMAGE, "vadd", VADD)
    sim.run_for(0.1)
    sim.host.feed(ev.RequestCancelled(request))
    assert "cancelled" in str(sim.host.ended[request].error)
    assert sim.view("c01").slots[0].busy
    sim.run_for(3)
    assert not sim.view("c01").slots[0].busy
    assert sim.cards["c01"].executed["vadd"] == 1


def test_command_during_a_commit_waits_and_learns_of_the_new_role(programmed):
    sim = programmed(kernel_ns=400_000_000)
    first = sim.run(IMAGE, "vadd", VADD)
    sim.run_for(0.1)
    program = sim.program(make_image(30_000, "2"))  # drains: the kernel runs on
    sim.run_for(0.1)
    second = sim.run(IMAGE, "vadd", VADD)
    assert sim.run_until(first).error is None
    assert sim.run_until(program).error is None
    ended = sim.run_until(second, timeout_s=5)
    assert isinstance(ended.error, CommandFailed)
    assert ended.error.status == Status.BAD_EPOCH
    assert sim.cards["c01"].executed["vadd"] == 1


def test_request_to_a_card_nobody_knows_is_an_error(simulate):
    sim = simulate()
    for event in (ev.StartRun(0, ("zz",), 0), ev.StartKill(0, "zz"), ev.StartRun(0, (), 0)):
        ended = sim.run_until(sim.start(event))
        assert isinstance(ended.error, CardError)
