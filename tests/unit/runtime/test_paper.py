"""The paper's plain protocol, host and virtual cards together: what works, and what loss does to it."""

from __future__ import annotations

import numpy as np
import pytest
from runtime_rig import Connection, Rig, fails, make_image, shared
from test_service import unit_of

from safhost.core import events as ev
from safhost.core.paper_requests import MAX_ARGUMENT_BYTES
from safhost.errors import CardError, CardLost, DeadlineExceeded, PartialError, PrFailed, SafError, SchedulingError
from safhost.plan.image import Image
from safhost.runtime.messages import SharedMemory
from safhost.wire.generated import ETHERTYPES, DropReason

IMAGE, INPUT, RESULT = ((ETHERTYPES[n]).to_bytes(2, "big") for n in ("image", "input", "result"))


@pytest.fixture
def paper(make_rig):
    return lambda cards=2, **options: make_rig(cards, profile="paper", **options)


@pytest.fixture(scope="module")
def ptrans(tmp_path_factory) -> Image:
    return make_image(tmp_path_factory.mktemp("ptrans"), "ptrans")


def lose(ethertype: bytes, numbers: set[int] | None = None):
    """Loses frames of that kind, all or those of these numbers; with its own count."""
    seen = [0]

    def predicate(raw: bytes) -> bool:
        if raw[12:14] != ethertype:
            return False
        seen[0] += 1
        return numbers is None or seen[0] - 1 in numbers
    return predicate


def run_unit(rig: Rig, image: Image, n: int = 500, **more) -> dict:
    a = np.random.default_rng(n).random(n, np.float32)
    memory, plan, params = unit_of(image, a, 3 * a)
    try:
        result = rig.ask("unit", memory, **(params | more))
        (read,) = plan.reads
        assert (memory.array[read.address:read.address + read.length_bytes].view(np.float32) == a + 3 * a).all()
    finally:
        memory.close()
    return result


# -- discovery ---------------------------------------------------------------------------------------------


def test_cards_announce_themselves_once_and_are_used_as_they_stand(paper):
    rig = paper(3)
    cards = rig.ask("cards")["cards"]
    assert [(c["name"], c["serial"], c["mac"], c["state"], c["session"]) for c in cards] == [
        (f"c{i}", "", f"02:5a:f0:00:00:0{i}", "available", False) for i in (1, 2, 3)]
    assert rig.ask("info")["profile"] == "paper"
    assert len(rig.ask("discover", seconds=0.1)["cards"]) == 3


def test_card_that_comes_later_is_found(paper):
    rig = paper(1)
    rig.add_card(5)
    rig.ask("discover", seconds=0.1)
    assert len(rig.ask("cards")["cards"]) == 2


def test_foreign_discovery_frames_are_counted(paper):
    rig = paper(1)
    forged = b"\xff" * 6 + b"\x02\0\0\0\0\x77" + b"\x80\xef" + b"\x02\0\0\0\0\x78" + bytes(40)
    rig.ports[0].link.send_frames([forged])
    rig.pump()
    assert rig.core.drops == {DropReason.WRONG_SOURCE: 1}


# -- program -----------------------------------------------------------------------------------------------


def test_program_all_by_one_broadcast(paper, tmp_path):
    rig = paper(3)
    image = make_image(tmp_path, pad=1_000_000)
    sent = rig.hosts[0].counters()["tx_frames"]
    memory = shared(image.payload)
    connection, number = rig.begin("program", memory, **rig.program_params(image))
    memory.close()
    rig.run(lambda: connection.answer(number))
    result = connection.answer(number)["result"]
    assert result["done"] == ["c1", "c2", "c3"]
    assert result["frames_sent"] == -(-1_000_000 // 1472)
    assert rig.hosts[0].counters()["tx_frames"] == sent + result["frames_sent"]
    assert [c["kernels"] for c in rig.ask("cards")["cards"]] == [["vadd"]] * 3
    events = connection.events(number)
    assert {n for e in events for n in e["cards"]} == {"c1", "c2", "c3"}
    assert events[-1]["sent_bytes"] == events[-1]["total_bytes"] == 1_000_000


def test_program_some_cards_leaves_the_others_alone(paper, vadd, ptrans):
    rig = paper(3)
    rig.program(ptrans)
    assert rig.program(vadd, ["c1", "c3"])["done"] == ["c1", "c3"]
    assert [p.card.snapshot()["kernels"] for p in rig.ports] == [["vadd"], ["ptrans"], ["vadd"]]
    assert [c["kernels"] for c in rig.ask("cards")["cards"]] == [["vadd"], ["ptrans"], ["vadd"]]


def test_program_without_broadcast_goes_one_by_one(paper, vadd):
    rig = paper(3)
    result = rig.program(vadd, broadcast=False)
    assert result["done"] == ["c1", "c2", "c3"]
    assert result["frames_sent"] == 3 * -(-vadd.payload_bytes // 1472)


def test_program_and_write_in_jumbo_frames(paper, tmp_path):
    rig = paper(2, mtu=9000)
    image = make_image(tmp_path, pad=3_000_000)
    assert rig.program(image)["frames_sent"] == -(-3_000_000 // 8960)
    data = np.random.default_rng(9).integers(0, 256, 3_000_000, np.uint8)
    memory = shared(data)
    rig.ask("write", memory, address=0)
    memory.close()
    assert all((p.card.memory.role.view(0, len(data)) == data).all() for p in rig.ports)
    run_unit(rig, image, 100_000)


def test_program_over_two_links(paper, vadd):
    rig = paper(4, links=2)
    assert sorted(rig.program(vadd)["done"]) == ["c1", "c2", "c3", "c4"]


def test_lost_frame_of_a_broadcast_names_the_card_and_the_others_are_fine(paper, tmp_path):
    rig = paper(3)
    image = make_image(tmp_path, pad=500_000)
    rig.ports[1].lose = lose(IMAGE, {100})
    with fails(PartialError, "2 of 3 cards programmed; c2: card c2: no PR confirmation within 5 s") as caught:
        rig.program(image)
    assert caught.value.done == ["c1", "c3"]
    assert list(caught.value.failed) == ["c2"]
    assert "loss" not in caught.value.hint
    assert "a frame was lost" in caught.value.hint
    rig.ports[1].lose = None
    assert rig.program(image)["done"] == ["c1", "c2", "c3"]


def test_lost_frame_to_the_only_card_is_a_deadline(paper, vadd):
    rig = paper(1)
    rig.ports[0].lose = lose(IMAGE)
    with fails(DeadlineExceeded, "card c1: no PR confirmation") as caught:
        rig.program(vadd)
    assert caught.value.exit_code == 7


def test_deadline_of_the_request_counts(paper, tmp_path):
    rig = paper(1)
    image = make_image(tmp_path, pad=4_000_000)
    rig.ports[0].lose = lose(IMAGE)
    began = rig.now_ns
    with fails(DeadlineExceeded, "card c1: no PR confirmation in time"):
        rig.program(image, deadline_s=0.5)
    assert rig.now_ns - began < 1e9
    with fails(DeadlineExceeded, "image frames sent in time"):
        rig.program(image, deadline_s=0.01)


def test_pr_error_is_the_cards(paper, vadd):
    rig = paper(2)
    rig.ports[0].card.inject("pr_error")
    with fails(PartialError, "1 of 2 cards programmed; c1: card c1: partial reconfiguration failed: pr_error"):
        rig.program(vadd)
    rig.ports[0].card.inject("pr_error")
    with fails(PrFailed, "card c1: partial reconfiguration failed: pr_error"):
        rig.program(vadd, "c1")
    assert [c["kernels"] for c in rig.ask("cards")["cards"]] == [[], ["vadd"]]


def test_what_the_paper_cannot_do_is_said(paper, vadd):
    rig = paper(1)
    with fails(SchedulingError, "cannot stage"):
        rig.program(vadd, commit=False)
    with fails(SchedulingError, "keeps no image"):
        rig.ask("recommit", digest=vadd.digest_root.hex())
    with fails(SchedulingError, "has no READ"):
        rig.ask("counters", card="c1")
    with fails(SchedulingError, "has no a command that is answered"):
        rig.ask("run")
    memory = SharedMemory.create(10)
    with fails(SchedulingError, "has no READ"):
        rig.ask("read", memory, card="c1", address=0)
    memory.close()
    assert rig.ask("release") == {}


# -- write -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 45, 46, 1472, 1473, 700_000])
def test_write_reaches_all_cards_exactly(paper, length):
    rig = paper(2)
    data = np.random.default_rng(length).integers(1, 256, length, np.uint8)
    memory = shared(data)
    assert rig.ask("write", memory, address=1 << 20)["done"] == ["c1", "c2"]
    memory.close()
    for port in rig.ports:
        assert (port.card.memory.role.view(1 << 20, length) == data).all()
        assert not port.card.memory.role.view(0, 1 << 20).any()


def test_write_to_one_card_does_not_reach_others(paper):
    rig = paper(2)
    memory = shared(np.full(5000, 7, np.uint8))
    rig.ask("write", memory, address=0, cards="c2")
    memory.close()
    assert not rig.ports[0].card.memory.role.view(0, 5000).any()
    assert rig.ports[1].card.memory.role.view(0, 5000).all()


def test_write_with_a_lost_frame_names_the_card_and_the_count(paper):
    rig = paper(2)
    rig.ports[0].lose = lose(INPUT, {3})
    memory = SharedMemory.create(20 * 1472)
    with fails(PartialError, "1 of 2 cards written; c1: card c1: 19 of 20 input frames acknowledged"):
        rig.ask("write", memory, address=0)
    memory.close()


def test_dead_card_does_not_hold_up_the_others(paper):
    rig = paper(3)
    rig.ports[2].lose = lose(INPUT)
    data = np.random.default_rng(1).integers(0, 256, 600 * 1472 + 5, np.uint8)
    memory = shared(data)
    with fails(PartialError, "2 of 3 cards written; c3: card c3: 0 of 601 input frames acknowledged"):
        rig.ask("write", memory, address=0)
    memory.close()
    for port in rig.ports[:2]:
        assert (port.card.memory.role.view(0, len(data)) == data).all()


def test_write_outside_a_cards_ddr_is_refused_by_it(paper):
    rig = paper(1)
    memory = SharedMemory.create(5000)
    with fails(CardError, "card c1: refused input data"):
        rig.ask("write", memory, address=64 << 20)
    memory.close()


# -- units -------------------------------------------------------------------------------------------------


def test_unit_computes_and_the_result_comes_back(paper, vadd):
    rig = paper(2)
    rig.program(vadd)
    for n in (1, 11, 500, 40_000):
        assert run_unit(rig, vadd, n)["card"] in ("c1", "c2")
    assert run_unit(rig, vadd, cards=["c2"])["card"] == "c2"


def test_unit_with_matrices(paper, ptrans):
    rig = paper(1)
    rig.program(ptrans)
    a = np.random.default_rng(1).random((64, 96), np.float32)
    b = np.random.default_rng(2).random((96, 64), np.float32)
    memory, plan, params = unit_of(ptrans, a, b)
    rig.ask("unit", memory, **params)
    (read,) = plan.reads
    out = memory.array[read.address:read.address + read.length_bytes].view(np.float32).reshape(96, 64)
    assert (out == b + a.T).all()
    memory.close()


def test_many_units_share_the_cards(paper, vadd):
    rig = paper(3)
    rig.program(vadd)
    connection = Connection()
    memory, _, params = unit_of(vadd, np.ones(100, np.float32), np.ones(100, np.float32))
    numbers = [rig.begin("unit", memory, connection, **params)[1] for _ in range(30)]
    rig.run(lambda: all(connection.answer(n) for n in numbers))
    assert {connection.answer(n)["result"]["card"] for n in numbers} == {"c1", "c2", "c3"}
    memory.close()


def test_lost_result_is_a_deadline_and_the_next_unit_is_right(paper, vadd):
    rig = paper(1)
    rig.program(vadd)
    rig.ports[0].link.set_up(True)
    rig.hosts[0].set_up(True)
    send = rig.ports[0].link.send_blocks
    dropped = []

    def short(headers, payload, offsets, block, last=None):
        dropped.append(1)
        if len(dropped) > 1:
            return send(headers, payload, offsets, block, last)
        return send(headers[1:], payload, offsets[1:], block, last)
    rig.ports[0].link.send_blocks = short
    with fails(DeadlineExceeded, "card c1: 2528 of 4000 result bytes came"):
        run_unit(rig, vadd, 1000)
    run_unit(rig, vadd, 1000)
    run_unit(rig, vadd, 700)


def test_late_result_of_a_unit_given_up_is_not_taken_for_another(paper, vadd):
    rig = paper(1)
    rig.program(vadd)
    port = rig.ports[0]
    port.held = []
    with fails(DeadlineExceeded, "0 of"):
        run_unit(rig, vadd, 300, deadline_ms=100)
    (late,) = port.held
    port.held = []
    a = np.random.default_rng(3).random(300, np.float32)
    memory, plan, params = unit_of(vadd, a, a)
    connection, number = rig.begin("unit", memory, **params)
    rig.run(lambda: port.held)
    port.card.role_finished(late.ticket, "ok", 1, "", rig.clock())
    for _ in range(10):
        rig.round()
    assert connection.answer(number) is None
    port.finish(port.held[0])
    port.held = None
    rig.run(lambda: connection.answer(number))
    (read,) = plan.reads
    assert (memory.array[read.address:read.address + read.length_bytes].view(np.float32) == a + a).all()
    memory.close()
    port.link.send_frames([bytes(rig.hosts[0].mac) + bytes(port.link.mac) + RESULT + bytes(100)])
    rig.pump()
    assert rig.core.drops[DropReason.NO_CONTEXT] >= 1


def test_lost_input_of_a_unit_is_a_deadline(paper, vadd):
    rig = paper(1)
    rig.program(vadd)
    rig.ports[0].lose = lose(INPUT, {0})
    with fails(DeadlineExceeded, "card c1: 0 of 1 input frames"):
        run_unit(rig, vadd, 10)
    rig.ports[0].lose = None
    run_unit(rig, vadd, 10)


def test_result_that_comes_while_inputs_travel_is_not_taken(paper, vadd):
    rig = paper(1)
    rig.program(vadd)
    port = rig.ports[0]
    port.lose = lose(INPUT)
    memory, _, params = unit_of(vadd, np.ones(10, np.float32), np.ones(10, np.float32))
    connection, number = rig.begin("unit", memory, **params)
    memory.close()
    rig.pump()
    port.link.send_frames([bytes(rig.hosts[0].mac) + bytes(port.link.mac) + RESULT + bytes(100)])
    for _ in range(5):
        rig.round()
    assert connection.answer(number) is None
    assert rig.core.drops == {DropReason.NO_CONTEXT: 1}
    rig.run(lambda: connection.answer(number))
    assert connection.answer(number)["error"]["type"] == "DeadlineExceeded"


def test_many_impossible_units_are_each_answered(paper, vadd):
    rig = paper(1)
    rig.program(vadd)
    rig.core.sessions.by_key["02:5a:f0:00:00:01"].ddr.size_bytes = 1 << 20
    small, _, params = unit_of(vadd, np.ones(64, np.float32), np.ones(64, np.float32))
    large = SharedMemory.create(2 << 20)
    connection = Connection()
    rig.ports[0].held = []
    rig.begin("unit", small, connection, **params)
    for _ in range(1500):
        rig.begin("unit", large, connection, **params)
    rig.run(lambda: rig.ports[0].held)
    held, rig.ports[0].held = rig.ports[0].held, None
    rig.ports[0].finish(held[0])
    rig.run(lambda: len(connection.messages) == 1501)
    small.close()
    large.close()


def test_unit_that_cannot_be_is_refused(paper, vadd):
    rig = paper(2)
    memory, _, params = unit_of(vadd, np.ones(4, np.float32), np.ones(4, np.float32))
    with fails(SchedulingError, "no card runs image"):
        rig.ask("unit", memory, **params)
    rig.program(vadd, "c1")
    with fails(SchedulingError, "no card runs image"):
        rig.ask("unit", memory, cards=["c2"], **params)
    with fails(SchedulingError, "no output"):
        rig.ask("unit", memory, **(params | {"outputs": []}))
    arguments = bytes(MAX_ARGUMENT_BYTES + 1)
    rig.core.handle(ev.StartUnit(1, vadd.digest_root, 0, memory.array, (), ((0, 4),), arguments, ()), rig.now_ns)
    assert not rig.core.requests
    memory.close()


def test_unit_larger_than_the_card_does_not_disturb_the_others(paper, vadd):
    rig = paper(1)
    rig.program(vadd)
    rig.core.sessions.by_key["02:5a:f0:00:00:01"].ddr.size_bytes = 1 << 20
    small, _, params = unit_of(vadd, np.ones(64, np.float32), np.ones(64, np.float32))
    large = SharedMemory.create(2 << 20)
    connection = Connection()
    numbers = []
    rig.ports[0].held = []
    for memory in (small, large, small, large, large, small):
        numbers.append(rig.begin("unit", memory, connection, **params)[1])
    rig.run(lambda: rig.ports[0].held)
    held, rig.ports[0].held = rig.ports[0].held, None
    rig.ports[0].finish(held[0])
    rig.run(lambda: all(connection.answer(n) for n in numbers))
    assert ["result" in connection.answer(n) for n in numbers] == [True, False, True, False, False, True]
    assert "do not fit" in connection.answer(numbers[1])["error"]["message"]
    small.close()
    large.close()


def test_kill_ends_a_hanging_kernel(paper, vadd):
    rig = paper(1)
    rig.program(vadd)
    rig.ports[0].card.inject("hang_kernel", times=1)
    memory, _, params = unit_of(vadd, np.ones(64, np.float32), np.ones(64, np.float32))
    connection, number = rig.begin("unit", memory, **params)
    memory.close()
    rig.sleep(1)
    assert connection.answer(number) is None
    rig.ask("kill", card="c1")
    assert connection.answer(number)["error"]["message"] == "the role was reset"
    run_unit(rig, vadd)
    rig.ask("kill", card="c1")


def test_card_does_one_thing_at_a_time(paper, vadd, tmp_path):
    rig = paper(2)
    rig.program(vadd)
    for port in rig.ports:
        port.held = []
    memory, _, params = unit_of(vadd, np.ones(64, np.float32), np.ones(64, np.float32))
    connection, number = rig.begin("unit", memory, cards=["c1"], **params)
    rig.run(lambda: rig.ports[0].held)
    with fails(CardError, "card c1: is busy"):
        rig.program(vadd)
    with fails(CardError, "card c1: is busy"):
        rig.ask("write", memory, address=0, cards=["c1"])
    assert rig.ask("write", memory, address=0, cards=["c2"])["done"] == ["c2"]
    rig.ports[0].finish(rig.ports[0].held[0])
    rig.run(lambda: connection.answer(number))
    memory.close()


# -- cards and interfaces that go --------------------------------------------------------------------------


def test_card_plugged_in_anew_ends_its_work_and_is_usable_again(paper, vadd, tmp_path):
    rig = paper(2)
    image = make_image(tmp_path, pad=2_000_000)
    memory = shared(image.payload)
    connection, number = rig.begin("program", memory, **rig.program_params(image))
    memory.close()
    rig.run(lambda: rig.core.transfers and next(iter(rig.core.transfers.values())).at > 300)
    rig.ports[1].unplug()
    rig.ports[1].plug()
    rig.run(lambda: connection.answer(number))
    error = connection.answer(number)["error"]
    assert error["done"] == ["c1"]
    assert "announced itself again" in error["failed"]["c2"]
    assert rig.program(vadd)["done"] == ["c1", "c2"]
    run_unit(rig, vadd, cards=["c2"])


def test_card_plugged_in_anew_while_it_runs_fails_the_unit(paper, vadd):
    rig = paper(1)
    rig.program(vadd)
    rig.ports[0].held = []
    memory, _, params = unit_of(vadd, np.ones(64, np.float32), np.ones(64, np.float32))
    connection, number = rig.begin("unit", memory, **params)
    memory.close()
    rig.run(lambda: rig.ports[0].held)
    rig.ports[0].held = None
    rig.ports[0].unplug()
    rig.ports[0].card.reboot(rig.now_ns)
    rig.ports[0].plug()
    rig.ask("discover", seconds=0.1)
    rig.run(lambda: connection.answer(number))
    assert connection.answer(number)["error"]["type"] == "CardLost"
    assert [c["kernels"] for c in rig.ask("cards")["cards"]] == [[]]


@pytest.mark.parametrize("what", ["program", "unit", "write"])
def test_interface_that_goes_down_ends_the_work_and_the_cards_stay_known(paper, vadd, tmp_path, what):
    rig = paper(2)
    rig.program(vadd)
    if what == "program":
        image = make_image(tmp_path, pad=2_000_000)
        memory, params = shared(image.payload), rig.program_params(image)
    elif what == "unit":
        memory, _, params = unit_of(vadd, np.ones(64, np.float32), np.ones(64, np.float32))
        for port in rig.ports:
            port.held = []
    else:
        memory, params = SharedMemory.create(2_000_000), {"address": 0}
    connection, number = rig.begin(what, memory, **params)
    memory.close()
    if what == "unit":
        rig.run(lambda: any(p.held for p in rig.ports))
    else:
        rig.run(lambda: rig.core.transfers and next(iter(rig.core.transfers.values())).at > 100)
    rig.hosts[0].set_up(False)
    rig.engine.link_down("h0")
    rig.run(lambda: connection.answer(number))
    assert "interface is down" in connection.answer(number)["error"]["message"]
    assert {c["state"] for c in rig.ask("cards")["cards"]} == {"suspect"}
    with pytest.raises(SafError):
        rig.program(vadd, "c1")
    for port in rig.ports:
        port.held = None
    rig.hosts[0].set_up(True)
    rig.engine.link_up("h0")
    rig.sleep(3)
    assert rig.program(vadd)["done"] == ["c1", "c2"]
    run_unit(rig, vadd)


@pytest.mark.parametrize("rounds", [0, 1, 2, 5, 30])
def test_client_that_vanishes_leaves_nothing(paper, vadd, tmp_path, rounds):
    rig = paper(3)
    rig.program(vadd)
    image = make_image(tmp_path, pad=900_000)
    connection = Connection()
    memory, _, params = unit_of(vadd, np.ones(9000, np.float32), np.ones(9000, np.float32))
    for _ in range(4):
        rig.begin("unit", memory, connection, cards=["c1"], **params)
    rig.begin("write", memory, connection, address=8 << 20, cards=["c2"])
    other = shared(image.payload)
    rig.begin("program", other, connection, cards=["c3"], **rig.program_params(image))
    other.close()
    memory.close()
    for _ in range(rounds):
        rig.pump()
    connection.gone = True
    connection.send = lambda message: None
    for job in rig.service.jobs_of(connection):
        rig.service.cancel(job)
    rig.check_empty()
    rig.sleep(3)
    assert rig.program(vadd)["done"] == ["c1", "c2", "c3"]
    for card in ("c1", "c2", "c3"):
        run_unit(rig, vadd, cards=[card])


def test_lost_cards_say_so_in_their_error_type(paper, vadd):
    rig = paper(1)
    card = rig.core.sessions.by_key["02:5a:f0:00:00:01"]
    memory = SharedMemory.create(2_000_000)
    connection, number = rig.begin("write", memory, address=0)
    memory.close()
    rig.run(lambda: card.sending is not None)
    rig.core._lost(card, "gone", rig.now_ns)
    rig.run(lambda: connection.answer(number))
    assert connection.answer(number)["error"]["type"] == CardLost.__name__


# -- garbage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_garbage_frames_raise_nothing_and_change_nothing(paper, vadd, seed):
    rig = paper(2)
    rig.program(vadd)
    rng = np.random.default_rng(seed)
    macs = [bytes(p.link.mac) for p in rig.ports] + [b"\x02\0\0\0\0\x99", b"\xff" * 6, bytes(6)]
    types = [t.to_bytes(2, "big") for t in ETHERTYPES.values()] + [b"\x08\x00"]
    for port in rig.ports:
        port.held = []
    memory, _, params = unit_of(vadd, np.ones(64, np.float32), np.ones(64, np.float32))
    connection = Connection()
    for _ in range(4):  # answers to nothing must not end what runs, nor what waits
        rig.begin("unit", memory, connection, **params)
    rig.run(lambda: all(p.held for p in rig.ports))
    memory.close()
    for _ in range(40):
        n = int(rng.integers(1, 12))
        frames = rng.integers(0, 256, (n, 1514), np.uint8)
        lengths = rng.choice([1, 13, 14, 15, 17, 18, 29, 30, 60, 61, 800, 1514], n)
        for row in range(n):
            kind = types[rng.integers(len(types))]
            if kind == RESULT and rng.random() < 0.9:
                kind = IMAGE  # a raw result of the right card cannot be told from a true one
            frames[row, 6:12] = np.frombuffer(macs[rng.integers(len(macs))], np.uint8)
            frames[row, 12:14] = np.frombuffer(kind, np.uint8)
            if kind == RESULT:
                frames[row, 6:12] = 9
        rig.engine.submit(ev.BatchReceived("h0", frames, lengths))
    assert sum(rig.core.drops.values()) > 50
    for port in rig.ports:
        held, port.held = port.held, None
        for job in held:
            port.finish(job)
    rig.run(lambda: not rig.service._jobs)
    assert all("result" in m for m in connection.messages)


@pytest.mark.parametrize("seed", range(6))
def test_garbage_to_the_cards_raises_nothing(paper, vadd, seed):
    rig = paper(2)
    rng = np.random.default_rng(seed)
    types = [t.to_bytes(2, "big") for t in ETHERTYPES.values()]
    for _ in range(60):
        size = int(rng.choice([14, 15, 17, 18, 22, 23, 60, 700, 1514]))
        raw = rng.integers(0, 256, size, np.uint8).tobytes()
        target = bytes(rig.ports[rng.integers(2)].link.mac)
        rig.hosts[0].send_frames([target + bytes(rig.hosts[0].mac) + types[rng.integers(len(types))] + raw[14:]])
        rig.pump()
    rig.sleep(3)
    assert rig.program(vadd)["done"] == ["c1", "c2"]
    run_unit(rig, vadd)
