"""Writes to DDR and reads from it: pieces, contexts, loss, corruption, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.core import events as ev
from safhost.errors import CardError, CardLost, DeadlineExceeded, PartialError, RemoteProtocolError, SafError
from safhost.lab.timing import ARRIA10
from safhost.sim import Impairment, make_image
from safhost.sim.nodes import LINK
from safhost.wire.codec import Codec
from safhost.wire.generated import (
    DDR_CONTEXTS,
    ETHERTYPE_RESULT,
    REGISTER_PR_COMPAT_ID,
    Opcode,
    ReadDone,
    ReadSpace,
    TransferState,
    XferOpen,
)

SUITES = [0, 1]


def noise(size_bytes, seed=1):
    return np.random.default_rng(seed).integers(0, 256, size_bytes, dtype=np.uint8)


def read(sim, key, address, size_bytes, space=ReadSpace.DDR, **options):
    out = np.zeros(size_bytes, np.uint8)
    return sim.start(ev.StartRead(0, key, space, address, out, **options)), out


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("size_bytes", [1, 63, 64, 1471, 1472, 1473, 65536, 100_001])
def test_write_of_any_length_arrives_and_reads_back(simulate, size_bytes, suite):
    sim = simulate(suite=suite)
    data = noise(size_bytes)
    ended = sim.run_until(sim.write(data, 4096))
    assert ended.error is None
    assert ended.result["cards"]["c01"]["state"] == "written"
    ddr = sim.cards["c01"].ddr
    assert (ddr[4096:4096 + size_bytes] == data).all()
    assert not ddr[4096 + size_bytes:4096 + size_bytes + 4096].any()
    request, out = read(sim, "c01", 4096, size_bytes)
    assert sim.run_until(request).error is None
    assert (out == data).all()


def test_write_at_jumbo_frames_uses_large_blocks(simulate):
    sim = simulate(mtu=9000)
    data = noise(200_000)
    ended = sim.run_until(sim.write(data, 0))
    assert ended.result["frames_sent"] == -(-200_000 // 8960)
    request, out = read(sim, "c01", 0, 200_000)
    assert sim.run_until(request).error is None
    assert (out == data).all()


def test_cards_of_mixed_mtu_are_served_at_the_smallest(simulate):
    sim = simulate(cards=1, mtu=9000)
    sim.add_card(mtu=1500)
    sim.settle()
    data = noise(100_000)
    assert sim.run_until(sim.write(data, 0)).error is None
    assert all((node.ddr[:100_000] == data).all() for node in sim.cards.values())


def test_more_reads_at_once_than_a_card_keeps_are_asked_again(simulate):
    """It answers busy to those that it has no place for."""
    sim = simulate(card={"timing": ARRIA10.scaled(1000)})  # it begins with each after a tenth of a millisecond
    data = noise(100 * 3000)
    assert sim.run_until(sim.write(data, 0)).error is None
    reads = [read(sim, "c01", at, 3000) for at in range(0, len(data), 3000)]
    for number, (request, out) in enumerate(reads):
        assert sim.run_until(request).error is None
        assert (out == data[3000 * number:3000 * (number + 1)]).all()


def test_slow_card_does_not_fill_the_window_of_all_reads(simulate):
    """What is asked for of a card that is slow by its own word is a share of a second of its rate, or one piece."""
    sim = simulate(cards=0, core={"read_window_bytes": 400_000, "read_chunk_bytes": 100_000})
    for rate in (300_000, 600_000, 1_250_000_000):
        sim.add_card(receive_rate=rate)
    sim.settle()
    reads = [read(sim, key, 0, 900_000) for key in ("c01", "c02", "c03")]
    assert [len(sim.view(key).reads) for key in ("c01", "c02", "c03")] == [1, 2, 1]
    assert sim.run_until(reads[2][0]).error is None
    assert all(sim.run_until(request).error is None for request, _ in reads[:2])


def test_slow_card_that_falls_silent_for_a_while_is_waited_for(simulate):
    """Any other one is left behind after two polls."""
    sim = simulate(cards=1)
    sim.add_card(receive_rate=2_000_000, window_blocks=200)
    sim.settle()
    request = sim.write(noise(6_000_000), 0)
    sim.run_for(0.3)
    sim.inject("c02", "mute")
    sim.run_for(1.5)
    (transfer,) = sim.host.cluster.transfers.active.values()
    sim.inject("c02", "clear")
    assert not transfer.by_card["c02"].behind
    ended = sim.run_until(request)
    assert ended.error is None
    assert ended.result["frames_sent"] == -(-6_000_000 // 1472)


def test_slow_card_is_not_asked_again_while_others_wait_before(simulate):
    sim = simulate(card={"receive_rate": 2_000_000})
    sim.inject("c01", "mute")
    out = np.zeros(1 << 20, np.uint8)
    sim.start(ev.StartRead(0, "c01", ReadSpace.DDR, 0, out))
    sim.run_for(3.5)  # a piece of 512 KiB may take sixteen times 0.26 s
    assert "retries" not in {k for k, v in sim.view("c01").counters.items() if v}


@pytest.mark.parametrize("suite", SUITES)
def test_write_larger_than_a_context_goes_in_pieces(simulate, suite):
    """96 MB of blocks is one context's limit; small pieces show the same at less cost."""
    sim = simulate(suite=suite, cards=2, impairment=Impairment(loss=0.02))
    opens = []
    sim.network.taps.append(lambda port, raw: opens.append(XferOpen.unpack(raw[40:])) if raw[15] == Opcode.XFER_OPEN
                            else None)
    data = noise(600_000)
    ended = sim.run_until(sim.write(data, 8192, prefer_bytes=64 * 1024))
    assert ended.error is None
    assert all((node.ddr[8192:8192 + data.size] == data).all() for node in sim.cards.values())
    assert len({o.base for o in opens}) == 10


def test_write_beyond_the_blocks_of_one_context_is_cut_to_it(simulate):
    sim = simulate(suite=0, card={"ddr_bytes": 128 << 20})
    data = np.zeros(65536 * 1472 + 5000, np.uint8)
    data[::4099] = 7
    ended = sim.run_until(sim.write(data, 0))
    assert ended.error is None
    assert ended.result["frames_sent"] == 65536 + 4
    assert np.array_equal(sim.cards["c01"].ddr[:data.size], data)


@pytest.mark.parametrize("suite", SUITES)
def test_many_writes_at_once_use_no_more_contexts_than_there_are(simulate, suite):
    sim = simulate(seed=3, suite=suite, cards=2, impairment=Impairment(loss=0.05))
    most = 0
    parts = [noise(40_000, i) for i in range(12)]
    requests = [sim.write(part, i * 65536, ("c01",) if i % 3 == 0 else ()) for i, part in enumerate(parts)]

    def running():
        nonlocal most
        for node in sim.cards.values():
            live = [t for t in node.card.snapshot()["transfers"] if t["state"] in ("receiving", "verifying")]
            most = max(most, len(live))
        return any(r not in sim.host.ended for r in requests)

    sim.run_while(running, 60, "twelve writes")
    assert all(sim.host.ended[r].error is None for r in requests)
    assert most == DDR_CONTEXTS
    for i, part in enumerate(parts):
        for key in ("c01",) if i % 3 == 0 else sim.cards:
            assert (sim.cards[key].ddr[i * 65536:i * 65536 + part.size] == part).all(), (i, key)


def test_write_that_comes_to_the_head_of_a_queue_starts_at_once(simulate):
    """One card's contexts are taken; a write to both cards waits for it, and one to the other card behind that."""
    sim = simulate(cards=2, rate_bytes_s=20_000_000)
    requests = [sim.write(noise(100_000, i), i << 18, ("c01",)) for i in range(3)]
    requests += [sim.write(noise(400_000, 5), 5 << 18), sim.write(noise(10_000, 6), 8 << 18, ("c02",))]

    def running():
        sim.validate()  # nothing waits for nothing, at any time
        return any(r not in sim.host.ended for r in requests)

    sim.run_while(running, 30, "five writes")
    assert all(sim.host.ended[r].error is None for r in requests)
    assert list(sim.host.ended)[-1] == requests[3]


def test_image_and_writes_share_a_card_without_stale_ids(simulate):
    """A write that had to wait for a context starts after an image that was asked for later."""
    sim = simulate(rate_bytes_s=40_000_000)
    requests = [sim.write(noise(100_000, i), i * 131072) for i in range(7)]
    requests.append(sim.program(make_image(100_000)))
    for request in requests:
        assert sim.run_until(request, timeout_s=30).error is None


def test_one_dead_card_ends_its_writes_and_not_the_others(simulate):
    sim = simulate(cards=3, rate_bytes_s=40_000_000)
    requests = [sim.write(noise(200_000, i), i << 18) for i in range(6)]
    sim.run_for(0.004)
    sim.crash("c02")
    for request in requests:
        ended = sim.run_until(request, timeout_s=40)
        assert isinstance(ended.error, PartialError)
        assert sorted(ended.error.done) == ["c01", "c03"]
        assert list(ended.error.failed) == ["c02"]


def test_write_that_fails_in_one_piece_gives_the_others_up(simulate):
    sim = simulate(rate_bytes_s=20_000_000)
    node = sim.cards["c01"].card
    real = node._transfers._corrupt

    def spoil(transfer):
        node.inject("corrupt_ddr", transfer=transfer.id)
        real(transfer)

    node._transfers._corrupt = spoil
    ended = sim.run_until(sim.write(noise(900_000), 0, prefer_bytes=30_000))
    assert "does not verify" in str(ended.error)
    assert not sim.host.cluster.transfers.active
    assert not sim.view("c01").ddr_waiting
    sim.run_for(1)
    assert not [t for t in node.snapshot()["transfers"] if t["state"] == "receiving"]


def test_write_outside_ddr_is_refused_here(simulate):
    sim = simulate()
    before = sim.host.port.frames_sent
    ended = sim.run_until(sim.write(noise(100), (64 << 20) - 50))
    assert isinstance(ended.error, CardError)
    assert "do not fit" in str(ended.error)
    assert sim.host.port.frames_sent == before


def test_cancelled_write_frees_its_contexts(simulate):
    sim = simulate(rate_bytes_s=2_000_000)
    requests = [sim.write(noise(400_000), 0) for _ in range(5)]
    sim.run_for(0.3)
    for request in requests:
        sim.host.feed(ev.RequestCancelled(request))
    assert all("cancelled" in str(sim.host.ended[r].error) for r in requests)
    sim.run_for(2)
    states = [t["state"] for t in sim.cards["c01"].card.snapshot()["transfers"]]
    assert "receiving" not in states
    assert sim.run_until(sim.write(noise(20_000), 0), timeout_s=5).error is None


@pytest.mark.parametrize("suite", SUITES)
def test_restarted_host_aborts_transfers_of_its_earlier_life(simulate, suite):
    sim = simulate(suite=suite, rate_bytes_s=2_000_000)
    for i in range(3):
        sim.write(noise(500_000), i << 20)
    sim.run_for(0.3)
    sim.restart_host(generation=2)
    sim.settle()
    # all three contexts were taken; they are free for the new life
    assert sim.run_until(sim.write(noise(10_000), 0), timeout_s=10).error is None
    assert all(t["state"] in ("verified", "unused") for t in sim.cards["c01"].card.snapshot()["transfers"])


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
def test_read_under_loss_gets_every_byte(simulate, loss, suite):
    sim = simulate(seed=9, suite=suite)
    data = noise(700_000)
    sim.cards["c01"].ddr[:data.size] = data
    sim.impair("c01", Impairment(loss=loss, duplicate=0.1, reorder=0.2, reorder_ns=2_000_000))
    request, out = read(sim, "c01", 0, data.size)
    ended = sim.run_until(request, timeout_s=60)
    assert ended.error is None
    assert (out == data).all()


@pytest.mark.parametrize("suite", SUITES)
def test_read_with_corruption_never_gives_wrong_bytes(simulate, suite):
    sim = simulate(seed=10, suite=suite)
    data = noise(900_000)
    sim.cards["c01"].ddr[:data.size] = data
    sim.impair("c01", Impairment(corrupt=0.01, loss=0.01))
    request, out = read(sim, "c01", 0, data.size)
    ended = sim.run_until(request, timeout_s=60)
    assert ended.error is None
    assert (out == data).all()


def test_read_that_never_verifies_ends_with_an_error(simulate):
    sim = simulate()
    sim.impair("c01", Impairment(corrupt=1.0))
    request, _ = read(sim, "c01", 0, 200_000)
    ended = sim.run_until(request, timeout_s=60)
    assert isinstance(ended.error, SafError)
    assert isinstance(ended.error, RemoteProtocolError | DeadlineExceeded)


def test_reads_of_many_cards_stay_within_the_window(simulate):
    sim = simulate(cards=6, core={"read_window_bytes": 1 << 20, "read_chunk_bytes": 256 << 10})
    most = 0
    for node in sim.cards.values():
        node.ddr[:2 << 20] = noise(2 << 20, 5)
    pairs = [read(sim, key, 0, 2 << 20) for key in sim.cards]

    def running():
        nonlocal most
        most = max(most, sim.host.cluster.read_outstanding)
        return any(r not in sim.host.ended for r, _ in pairs)

    sim.run_while(running, 60, "six reads")
    assert 1 << 20 <= most <= (1 << 20) + (256 << 10)
    assert all(sim.host.ended[r].error is None and (out == noise(2 << 20, 5)).all() for r, out in pairs)
    assert sim.host.cluster.read_outstanding == 0


def reads_sent(sim):
    """A list that fills with the READs the host sends."""
    seen = []
    sim.network.taps.append(lambda port, raw: seen.append(raw) if raw[15] == Opcode.READ else None)
    return seen


def test_read_over_a_slow_path_is_asked_for_once(simulate):
    """What is asked for takes longer than an answer may usually take: that is no reason to ask again."""
    sim = simulate(rate_bytes_s=4_000_000)
    sim.cards["c01"].ddr[:2 << 20] = noise(2 << 20)
    seen = reads_sent(sim)
    request, out = read(sim, "c01", 0, 2 << 20)
    ended = sim.run_until(request)
    assert ended.error is None
    assert ended.result["seconds"] > 0.5
    assert len(seen) == 4
    assert (out == noise(2 << 20)).all()


def test_lost_read_behind_another_is_asked_for_again_in_time(simulate):
    sim = simulate(rate_bytes_s=2_000_000, core={"read_chunk_bytes": 1 << 20, "read_window_bytes": 64 << 20})
    first, _ = read(sim, "c01", 0, 8 << 20)
    sim.run_for(0.3)
    sim.host.port.impairment = Impairment(loss=1.0)
    second, _ = read(sim, "c01", 0, 1000)
    sim.run_for(0.001)
    sim.host.port.impairment = Impairment()
    seen = reads_sent(sim)
    sim.run_for(2.5)
    assert first not in sim.host.ended
    assert 9 in [int.from_bytes(raw[24:28], "big") for raw in seen]
    assert sim.run_until(second, timeout_s=10).error is None


def test_repeated_read_done_does_not_make_more_reads(simulate):
    sim = simulate(seed=12, suite=0)
    sim.cards["c01"].ddr[:500_000] = noise(500_000)
    sim.impair("c01", Impairment(loss=0.1, duplicate=0.9))
    seen = reads_sent(sim)
    request, out = read(sim, "c01", 0, 500_000)
    assert sim.run_until(request).error is None
    assert (out == noise(500_000)).all()
    assert len(seen) <= 6


def test_read_done_of_an_earlier_question_asks_nothing_anew(simulate):
    sim = simulate(suite=0)
    sim.inject("c01", "mute")
    seen = reads_sent(sim)
    read(sim, "c01", 0, 10_000)
    card = sim.view("c01")
    done = Codec().encode(Opcode.READ_DONE, ReadDone(status=0, length=10_000, sent=7).pack(), dst=sim.host.mac,
                          src=card.mac, ethertype=ETHERTYPE_RESULT, session=card.channel.session, object=1, index=1)
    for _ in range(3):
        sim.host.feed(ev.FrameReceived(LINK, done))
    assert len(seen) == 2  # the question, and once again for what did not come


def test_read_of_nothing_ends_at_once(simulate):
    sim = simulate()
    request, _ = read(sim, "c01", 0, 0)
    assert sim.host.ended[request].error is None


def test_read_outside_ddr_says_the_cards_word(simulate):
    sim = simulate()
    request, _ = read(sim, "c01", 64 << 20, 4096)
    ended = sim.run_until(request)
    assert isinstance(ended.error, CardError)
    assert "bad_range" in str(ended.error)


def test_read_of_shell_registers_gives_their_values(simulate):
    sim = simulate()
    request, out = read(sim, "c01", REGISTER_PR_COMPAT_ID, 8, ReadSpace.SHELL_REGISTERS)
    assert sim.run_until(request).error is None
    assert int.from_bytes(out.tobytes(), "big") == sim.cards["c01"].card.config.pr_compat_id


def test_read_of_role_registers_gives_the_window(simulate):
    sim = simulate()
    assert sim.run_until(sim.program(make_image(30_000))).error is None
    request, out = read(sim, "c01", 0, 64, ReadSpace.ROLE_REGISTERS)
    assert sim.run_until(request).error is None
    assert int.from_bytes(out[2:4].tobytes(), "little") == 3  # CSR version


def test_reads_of_a_card_that_dies_end_including_those_that_wait(simulate):
    sim = simulate(cards=2, rate_bytes_s=20_000_000, core={"read_window_bytes": 1 << 20})
    pairs = [read(sim, "c02", 0, 4 << 20) for _ in range(5)]
    sim.run_for(0.01)
    sim.crash("c02")
    for request, _ in pairs:
        ended = sim.run_until(request, timeout_s=20)
        assert isinstance(ended.error, CardLost)
        assert "silent" in str(ended.error)
    request, _ = read(sim, "c01", 0, 100_000)
    assert sim.run_until(request).error is None


def test_read_deadline_says_what_it_waited_for(simulate):
    sim = simulate()
    sim.inject("c01", "mute")
    request, _ = read(sim, "c01", 0, 1000, deadline_ns=2_000_000_000)
    ended = sim.run_until(request, timeout_s=3)
    assert isinstance(ended.error, DeadlineExceeded)
    assert "READ had no answer" in str(ended.error)


def test_cancelled_read_takes_nothing_more(simulate):
    sim = simulate(rate_bytes_s=20_000_000)
    sim.cards["c01"].ddr[:4 << 20] = 1
    request, out = read(sim, "c01", 0, 4 << 20)
    sim.run_for(0.03)
    sim.host.feed(ev.RequestCancelled(request))
    got = int(out.sum())
    sim.run_for(1)
    assert 0 < got == int(out.sum()) < out.size


def test_slow_memory_is_paced_for_by_credit(simulate):
    sim = simulate(cards=2)
    sim.inject("c02", "slow_ddr", rate="100MB")
    data = noise(12_000_000)
    ended = sim.run_until(sim.write(data, 0), timeout_s=30)
    assert ended.error is None
    assert (sim.cards["c02"].ddr[:data.size] == data).all()


def test_transfers_are_unused_or_verified_at_the_end(simulate):
    sim = simulate(cards=2)
    sim.run_until(sim.write(noise(50_000), 0))
    for node in sim.cards.values():
        assert {t["state"] for t in node.card.snapshot()["transfers"]} == {TransferState.VERIFIED.name.lower()}
    assert not sim.host.cluster.transfers.active
