"""The bulk engine of the virtual card: contexts, DATA, NACK, verification, repair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from card_host import CARD_MAC, HOST_MAC, MS, Host, batch_of, connected, make_card

from safhost.lab.card_verify import LeafCache
from safhost.lab.timing import ARRIA10
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    ETHERTYPE_INPUT,
    ETHERTYPE_RESULT,
    LEAF_BYTES,
    Abort,
    Answer,
    Close,
    Invalidate,
    Invalidated,
    Nack,
    Opcode,
    Poll,
    Status,
    TransferKind,
    TransferState,
    Verdict,
)

IMAGE, DDR = TransferKind.IMAGE, TransferKind.DDR
RECEIVING, VERIFIED, BAD = TransferState.RECEIVING, TransferState.VERIFIED, TransferState.BAD


def some_bytes(n: int, seed: int = 3) -> Any:
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, n, np.uint8)


def poll(host: Host, transfer: int, first: int = 0, index: int = 1, ethertype: int = ETHERTYPE_INPUT) -> Nack:
    return host.ask(Opcode.POLL, Poll(first_block=first).pack(), ethertype, transfer, index)


def invalidate(host: Host, transfer: int, first: int, count: int, repair: int) -> Invalidated:
    return host.ask(Opcode.INVALIDATE, Invalidate(first_block=first, count=count).pack(), ETHERTYPE_INPUT,
                    transfer, repair)


def ddr_of(host: Host, base: int, length: int) -> bytes:
    return host.card.memory.role.view(base, length).tobytes()


@pytest.fixture(params=[0, 1], ids=["suite0", "suite1"])
def suite(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize(("length", "block", "mtu"), [(1, 64, 1500), (64, 64, 1500), (1472 * 5, 1472, 1500),
                                                      (1472 * 5 + 1, 1472, 1500), (300_000, 8960, 9000),
                                                      (65536 * 3, 1024, 1500), (65537, 1472, 1500)])
def test_write_whole_lands_and_verifies(suite: int, length: int, block: int, mtu: int) -> None:
    host = connected(suite, mtu=mtu)
    data = some_bytes(length)
    verdict = host.write(data, 1, base=4096, block=block)
    assert (verdict.status, verdict.state, verdict.missing) == (Status.OK, VERIFIED, 0)
    assert verdict.leaves == verdict.leaves_done == -(-length // LEAF_BYTES)
    assert ddr_of(host, 4096, length) == data.tobytes()
    assert ddr_of(host, 4096 + length, 64) == bytes(64)
    assert host.card.counters["data_blocks"] == -(-length // block)


@pytest.mark.parametrize("seed", range(6))
def test_data_in_any_order_with_loss_and_repeats_lands(seed: int) -> None:
    print("seed", seed)
    random = np.random.Generator(np.random.PCG64(seed))
    host = connected(window_blocks=100)
    data = some_bytes(1472 * 700 + 77, seed)
    ask = host.xfer(data, 1, base=100, group=9)
    ready = host.open_xfer(ask, 1)
    assert (ready.status, ready.state, ready.missing, ready.credit) == (Status.OK, RECEIVING, 701, 100)
    sent = 0
    missing = np.arange(701)
    for round_ in range(50):
        order = random.permutation(missing) if seed % 2 else missing
        order = np.concatenate([order, random.choice(order, 1 + len(order) // 5)])
        order = order[random.random(len(order)) > 0.3]
        for start in range(0, len(order), 256):
            frames = host.data_frames(data, ask, 1, order[start:start + 256], session=9)
            host.send_batch(frames)
            sent += len(frames)
        nack = poll(host, 1, index=round_)
        assert (nack.received, nack.credit) == (sent, sent + 100)
        bits = np.unpackbits(np.frombuffer(nack.bitmap, np.uint8), bitorder="little")[:nack.bits]
        assert nack.missing == int(bits.sum())
        missing = np.flatnonzero(bits)
        assert nack.lowest == (missing[0] if len(missing) else 701)
        if not len(missing):
            assert (nack.section_mask, nack.bits) == (0, 0)
            break
        assert (nack.section_mask, nack.bits) == (1, 701)
    else:
        raise AssertionError("never complete")
    assert host.close_xfer(1).status == Status.OK
    assert ddr_of(host, 100, len(data)) == data.tobytes()
    counters = host.card.counters
    assert counters["duplicate_block"] == sent - 701
    assert counters["data_blocks"] == 701


def test_poll_sections_and_errors() -> None:
    host = connected()
    data = bytes(64 * 20_000)
    ask = host.xfer(data, 1, block=64)
    host.open_xfer(ask, 1)
    keep = [i for i in range(20_000) if i not in (3, 8191, 16_384)]
    for start in range(0, len(keep), 4000):
        host.send_batch(host.data_frames(data, ask, 1, keep[start:start + 4000]))
    nack = poll(host, 1, 0)
    assert (nack.missing, nack.lowest, nack.section_mask, nack.bits) == (3, 3, 0b101, 8192)
    assert nack.bitmap[0] == 8
    assert nack.bitmap[-1] == 0x80
    assert len(nack.bitmap) == 1024
    assert poll(host, 1, 8192).bits == 0
    last = poll(host, 1, 16_384)
    assert (last.first_block, last.bits, len(last.bitmap), last.bitmap[0]) == (16_384, 3616, 452, 1)
    assert poll(host, 1, 100).status == Status.BAD_RANGE
    assert poll(host, 1, 24_576).status == Status.BAD_RANGE
    assert poll(host, 2).status == Status.UNKNOWN_TRANSFER
    verdict: Verdict = host.ask(Opcode.CLOSE, Close().pack(), ETHERTYPE_INPUT, 1)
    assert (verdict.status, verdict.state, verdict.missing) == (Status.BAD_STATE, RECEIVING, 3)
    assert host.ask(Opcode.CLOSE, Close().pack(), ETHERTYPE_INPUT, 9).status == Status.UNKNOWN_TRANSFER


@pytest.mark.parametrize(("fields", "status"), [
    ({"kind": 7}, Status.BAD_PARAMETER), ({"block_bytes": 100}, Status.BAD_BLOCK_SIZE),
    ({"block_bytes": 1536}, Status.BAD_BLOCK_SIZE), ({"block_bytes": 0}, Status.BAD_BLOCK_SIZE),
    ({"length": 0, "blocks": 0}, Status.BAD_PARAMETER), ({"blocks": 3}, Status.BAD_PARAMETER),
    ({"base": 64 << 20}, Status.BAD_RANGE), ({"base": (1 << 64) - 1}, Status.BAD_RANGE),
    ({"block_bytes": 64, "length": 64 * 65_537, "blocks": 65_537}, Status.TOO_LARGE),
    ({"kind": 1, "slot": 4}, Status.BAD_SLOT),
    ({"kind": 1, "length": (16 << 20) + 1, "blocks": 11_398}, Status.TOO_LARGE),
    ({"kind": 1, "block_bytes": 64, "length": 64 * 131_073, "blocks": 131_073}, Status.TOO_LARGE),
])
def test_xfer_open_bad_field_is_refused(fields: dict[str, int], status: Status, suite: int) -> None:
    host = connected(suite)
    ask = host.xfer(some_bytes(5000), 1)._replace(**fields)
    payload = host.xfer_payload(ask)
    ethertype = ETHERTYPE_IMAGE if ask.kind == IMAGE else ETHERTYPE_INPUT
    assert host.ask(Opcode.XFER_OPEN, payload, ethertype, 1).status == status
    assert host.card.snapshot()["transfers"] == []
    assert host.write(some_bytes(5000), 1).status == Status.OK


def test_xfer_open_must_be_as_long_as_a_block_and_on_its_ethertype(suite: int) -> None:
    host = connected(suite)
    ask = host.xfer(some_bytes(5000), 1)
    payload = host.xfer_payload(ask)
    assert host.ask(Opcode.XFER_OPEN, payload[:-8], ETHERTYPE_INPUT, 1).status == Status.BAD_PARAMETER
    assert host.ask(Opcode.XFER_OPEN, payload, ETHERTYPE_IMAGE, 1).status == Status.BAD_PARAMETER
    assert host.ask(Opcode.XFER_OPEN, payload, ETHERTYPE_INPUT, 1).status == Status.OK


def test_xfer_open_repeated_clears_nothing_and_old_ids_are_stale() -> None:
    host = connected()
    data = some_bytes(14_720)
    ask = host.xfer(data, 5)
    host.open_xfer(ask, 5)
    host.send_batch(host.data_frames(data, ask, 5, range(4)))
    again = host.open_xfer(ask, 5)
    assert (again.status, again.state, again.missing, again.received) == (Status.OK, RECEIVING, 6, 4)
    assert host.open_xfer(ask, 4).status == Status.STALE
    assert host.open_xfer(ask, 0).status == Status.STALE


def test_contexts_one_image_three_ddr() -> None:
    host = connected()
    data = some_bytes(3000)
    for transfer in (1, 2, 3):
        ready = host.open_xfer(host.xfer(data, transfer, base=transfer * 4096), transfer)
        assert (ready.status, ready.context) == (Status.OK, transfer)
    assert host.open_xfer(host.xfer(data, 4), 4).status == Status.BUSY
    assert host.open_xfer(host.xfer(data, 4, IMAGE), 4).context == 0
    assert host.open_xfer(host.xfer(data, 5, IMAGE, slot=1), 5).status == Status.BUSY
    ask = host.xfer(data, 2, base=2 * 4096)
    host.send_batch(host.data_frames(data, ask, 2))
    assert host.close_xfer(2).status == Status.OK
    assert host.open_xfer(host.xfer(data, 6), 6).context == 2
    assert host.close_xfer(2).status == Status.OK  # its outcome is still known
    assert poll(host, 2).state == VERIFIED
    answer: Answer = host.ask(Opcode.ABORT, Abort().pack(), ETHERTYPE_INPUT, 1)
    assert answer.status == Status.OK
    assert host.ask(Opcode.ABORT, Abort().pack(), ETHERTYPE_INPUT, 1).status == Status.OK
    assert host.ask(Opcode.ABORT, Abort().pack(), ETHERTYPE_INPUT, 77).status == Status.UNKNOWN_TRANSFER
    assert host.open_xfer(host.xfer(data, 7), 7).context == 1
    assert host.open_xfer(host.xfer(data, 1), 1).status == Status.STALE


def test_image_slot_known_digest_needs_no_transfer_and_new_one_unstages() -> None:
    host = connected()
    first, second = some_bytes(100_000, 1), some_bytes(90_000, 2)
    assert host.write(first, 1, IMAGE, slot=2).status == Status.OK
    ready = host.open_xfer(host.xfer(first, 2, IMAGE, slot=2), 2)
    assert (ready.status, ready.state, ready.missing) == (Status.OK, VERIFIED, 0)
    assert host.close_xfer(2, IMAGE).status == Status.OK
    assert host.open_xfer(host.xfer(first, 3, IMAGE, slot=1), 3).state == RECEIVING
    assert host.ask(Opcode.ABORT, Abort().pack(), ETHERTYPE_IMAGE, 3).status == Status.OK
    assert host.open_xfer(host.xfer(second, 4, IMAGE, slot=2), 4).state == RECEIVING
    states = {i["slot"]: i["state"] for i in host.card.snapshot()["images"]}
    assert states == {0: "unused", 1: "unused", 2: "receiving", 3: "unused"}


def test_data_drop_reasons_are_each_counted() -> None:
    host = connected()
    data = some_bytes(1472 * 10 + 100)
    ask = host.xfer(data, 1, group=77)
    host.open_xfer(ask, 1)
    assert host.channel is not None
    good = host.data_frames(data, ask, 1, range(3))

    def changed(offset: int, value: bytes, frame: bytes = good[0]) -> bytes:
        return frame[:offset] + value + frame[offset + len(value):]

    cases = [
        ("wrong_source", changed(6, b"\x02\0\0\0\0\x09")),
        ("wrong_session", changed(16, (host.channel.session + 1).to_bytes(4, "big"))),
        ("no_context", changed(24, b"\0\0\0\x07")),
        ("wrong_session", changed(16, b"\0\0\0\x05\0\0\0\0\0\0\0\x07")),
        ("index_out_of_range", changed(28, (11).to_bytes(4, "big"))),
        ("index_out_of_range", changed(28, b"\xff" * 4)),
        ("bad_block_length", changed(20, (1408).to_bytes(2, "big"))),
        ("bad_block_length", changed(28, (10).to_bytes(4, "big"))),
        ("wrong_ethertype", changed(12, ETHERTYPE_IMAGE.to_bytes(2, "big"))),
        ("wrong_ethertype", changed(12, ETHERTYPE_CONTROL.to_bytes(2, "big"))),
        ("wrong_direction", changed(12, ETHERTYPE_RESULT.to_bytes(2, "big"))),
        ("bad_version", changed(14, b"\x20")),
        ("bad_suite", changed(14, b"\x11")),
        ("truncated", good[0][:1000]),
        ("oversized", good[0] + bytes(100)),
        ("unguarded", changed(22, b"\0\x01")),
    ]
    for name, frame in cases:
        before = host.card.counters
        host.send_batch([frame])
        after = host.card.counters
        assert {k for k in after if after[k] != before[k]} - {"tx_frames"} == {name, "rx_frames"}, name
    host.send_batch([good[0], good[1], good[0], good[2]])
    assert host.card.counters["duplicate_block"] == 1
    assert host.card.counters["data_blocks"] == 3
    host.send_batch(host.data_frames(data, ask, 1))
    host.close_xfer(1)
    host.send_batch(good)
    assert host.card.counters["not_receiving"] == 3
    assert host.card.counters["vlan"] == 0
    assert ddr_of(host, 0, len(data)) == data.tobytes()


def test_first_of_two_same_blocks_in_one_batch_wins() -> None:
    host = connected()
    data = some_bytes(1472 * 3)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    forged = some_bytes(1472 * 3, 99)
    host.send_batch([*host.data_frames(data, ask, 1, [1]), *host.data_frames(forged, ask, 1, [1]),
                     *host.data_frames(data, ask, 1, [0, 2])])
    assert host.close_xfer(1).status == Status.OK
    assert host.card.counters["duplicate_block"] == 1


def test_poisoned_block_is_located_and_repaired_by_guarded_blocks(suite: int) -> None:
    host = connected(suite)
    data = some_bytes(LEAF_BYTES * 3 + 5)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    poison = data.copy()
    poison[LEAF_BYTES + 7] ^= 1
    host.send_batch(host.data_frames(poison, ask, 1))
    verdict = host.close_xfer(1)
    assert (verdict.status, verdict.state) == (Status.DIGEST_MISMATCH, BAD)
    assert verdict.digest != ask.digest
    done, leaves = host.read(1, space=4, transfer=1, length=32 * 4)
    assert done.status == Status.OK
    from safhost.wire.digest import leaf_digests
    right = leaf_digests(memoryview(data))
    assert [i for i in range(4) if leaves[32 * i:32 * i + 32] != right[32 * i:32 * i + 32]] == [1]
    first, stop = LEAF_BYTES // 1472, -(-2 * LEAF_BYTES // 1472)
    count = stop - first
    answer = invalidate(host, 1, first, count, 1)
    assert (answer.status, answer.state, answer.missing) == (Status.OK, RECEIVING, count)
    plain = host.data_frames(data, ask, 1, range(first, stop))
    host.send_batch(plain)
    assert host.card.counters["unguarded"] == count
    host.send_batch([host.guarded(data, ask, 1, first, key=b"x" * 32)])
    assert host.card.counters["unguarded"] == count + 1
    host.send_batch([host.guarded(data, ask, 1, first)])
    repeated = invalidate(host, 1, first, count, 1)
    assert (repeated.status, repeated.missing) == (Status.OK, count - 1)
    assert invalidate(host, 1, first, count, 0).status == Status.STALE
    host.send_batch([host.guarded(data, ask, 1, i) for i in range(first + 1, stop)])
    assert host.close_xfer(1).status == Status.OK
    assert ddr_of(host, 0, len(data)) == data.tobytes()
    assert invalidate(host, 1, 0, 1, 2).status == Status.BAD_STATE


def test_invalidate_errors() -> None:
    host = connected()
    ask = host.xfer(some_bytes(1472 * 4), 1)
    host.open_xfer(ask, 1)
    assert invalidate(host, 2, 0, 1, 1).status == Status.UNKNOWN_TRANSFER
    assert invalidate(host, 1, 0, 0, 1).status == Status.BAD_RANGE
    assert invalidate(host, 1, 3, 2, 1).status == Status.BAD_RANGE
    assert invalidate(host, 1, 0xFFFFFFFF, 0xFFFFFFFF, 1).status == Status.BAD_RANGE


def test_data_frame_given_alone_is_taken() -> None:
    host = connected()
    data = some_bytes(1472 * 2)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    before = host.card.counters
    host.card.handle_control(host.data_frames(data, ask, 1, [0])[0], host.now)
    host.card.handle_control(host.data_frames(data, ask, 1, [1])[0][:100], host.now)
    after = host.card.counters
    assert {k: after[k] - before[k] for k in after if after[k] != before[k]} == {
        "rx_frames": 2, "data_blocks": 1, "truncated": 1}
    invalidate(host, 1, 0, 2, 1)
    for i in range(2):
        host.card.handle_control(host.guarded(data, ask, 1, i), host.now)
    assert host.close_xfer(1).status == Status.OK


def test_guarded_last_short_block_is_taken() -> None:
    host = connected()
    data = some_bytes(1472 * 2 + 5)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    invalidate(host, 1, 0, 3, 1)
    host.send_batch([host.guarded(data, ask, 1, i) for i in (2, 0, 1)])
    assert host.close_xfer(1).status == Status.OK


def test_transfers_survive_a_new_generation_and_end_with_another_owner() -> None:
    host = connected()
    data = some_bytes(1472 * 10)
    ask = host.xfer(data, 3, group=50)
    host.open_xfer(ask, 3)
    host.send_batch(host.data_frames(data, ask, 3, range(5), session=50))
    newer = Host(host.card, generation=2, nonce=b"2" * 16)
    newer.now = host.now
    opened = newer.open()
    assert opened.last_transfer == 3
    assert (opened.transfers[0].transfer, opened.transfers[0].received, opened.transfers[0].blocks) == (3, 5, 10)
    newer.send_batch(newer.data_frames(data, ask, 3, range(5, 10), session=50))
    assert newer.close_xfer(3).status == Status.OK
    other = Host(host.card, owner=9, nonce=b"3" * 16)
    other.now = newer.now
    opened = other.open(takeover=True)
    assert (opened.last_transfer, opened.transfers[0].transfer) == (0, 0)
    assert ddr_of(host, 0, len(data)) == bytes(len(data))


def test_verdict_is_sent_once_more_unasked_when_hashing_ends() -> None:
    host = connected()
    data = some_bytes(LEAF_BYTES * 40)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    # the first block comes last, so that nothing could be hashed before
    frames = host.data_frames(data, ask, 1)
    host.send_batch([*frames[1:], frames[0]])
    verdict: Verdict = host.ask(Opcode.CLOSE, Close().pack(), ETHERTYPE_INPUT, 1, 4)
    assert (verdict.status, verdict.state) == (Status.RUNNING, TransferState.VERIFYING)
    assert 0 < verdict.leaves_done < 40
    assert verdict.digest == bytes(32)
    again: Verdict = host.ask(Opcode.CLOSE, Close().pack(), ETHERTYPE_INPUT, 1, 5)
    assert again.status == Status.RUNNING
    finals = []
    for _ in range(1000):
        if host.card.next_wakeup_ns() != 0:
            break
        host.card.tick(host.now)
        finals += host.output()
    (final,) = finals
    assert (final.opcode, final.object, final.index) == (Opcode.VERDICT, 1, 5)
    assert Verdict.unpack(final.payload).status == Status.OK


def test_leaf_cache_shares_only_equal_bytes_and_stays_bounded() -> None:
    cache = LeafCache(max_bytes=4 * LEAF_BYTES)
    data = some_bytes(LEAF_BYTES * 8 + 9)
    for seed in range(3):
        host = Host(make_card(seed=seed, cache=cache))
        host.open()
        assert host.write(data, 1, group=5).status == Status.OK
        assert cache.held_bytes <= 4 * LEAF_BYTES
    big = LeafCache()
    hosts = [Host(make_card(seed=s, cache=big)) for s in range(3)]
    for host in hosts:
        host.open()
    assert hosts[0].write(data, 1, group=5).status == Status.OK
    assert (big.hashed_leaves, big.shared_leaves) == (9, 0)
    assert hosts[1].write(data, 1, group=5).status == Status.OK
    assert (big.hashed_leaves, big.shared_leaves) == (9, 9)
    # one byte of DDR differs on the third card: that leaf is hashed, and the card finds out
    hosts[2].card.inject("corrupt_ddr", offset=3 * LEAF_BYTES + 1)
    assert hosts[2].write(data, 1, group=5).status == Status.DIGEST_MISMATCH
    assert big.hashed_leaves == 10


def test_leaf_cache_does_not_follow_a_card_that_overwrites_its_ddr() -> None:
    cache = LeafCache()
    data, other = some_bytes(LEAF_BYTES), some_bytes(LEAF_BYTES, 8)
    first, second = Host(make_card(seed=1, cache=cache)), Host(make_card(seed=2, cache=cache))
    first.open()
    second.open()
    assert first.write(data, 1, group=5).status == Status.OK
    assert first.write(other, 2).status == Status.OK
    ask = second.xfer(other, 1, group=5, digest=second.xfer(data, 1).digest)
    second.open_xfer(ask, 1)
    second.send_batch(second.data_frames(other, ask, 1))
    assert second.close_xfer(1).status == Status.DIGEST_MISMATCH


def test_timing_holds_the_verdict_back() -> None:
    host = connected(timing=ARRIA10)
    data = some_bytes(LEAF_BYTES * 20)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    host.send_batch(host.data_frames(data, ask, 1))
    start = host.now
    assert host.close_xfer(1).status == Status.OK
    assert host.now - start >= ARRIA10.hash_ns(LEAF_BYTES * 20) * 99 // 100


def test_slow_ddr_loses_what_the_window_cannot_hold() -> None:
    host = connected(window_blocks=64)
    host.card.inject("slow_ddr", rate="10MB")
    data = some_bytes(1472 * 200)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    host.send_batch(host.data_frames(data, ask, 1))
    assert host.card.counters["data_blocks"] == 64
    assert host.card.counters["ddr_overflow"] == 136
    host.now += 15 * MS
    host.send_batch(host.data_frames(data, ask, 1, range(64, 200)))
    assert host.card.counters["data_blocks"] == 128
    host.card.inject("clear")
    host.send_batch(host.data_frames(data, ask, 1))
    assert host.close_xfer(1).status == Status.OK


def test_received_counts_repeats_but_nothing_that_is_dropped() -> None:
    host = connected()
    data = some_bytes(1472 * 4)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    host.send_batch(host.data_frames(data, ask, 1, [0, 1, 1]))
    host.send_batch([host.guarded(data, ask, 1, 2, key=b"x" * 32)])
    assert host.ask(Opcode.INVALIDATE, Invalidate(first_block=0, count=1).pack(), ETHERTYPE_INPUT, 1, 1).status == 0
    host.send_batch(host.data_frames(data, ask, 1, [0, 3]))
    assert host.ask(Opcode.POLL, Poll().pack(), ETHERTYPE_INPUT, 1, 1).received == 3
    host.send_batch([host.guarded(data, ask, 1, 0)])
    assert host.ask(Opcode.POLL, Poll().pack(), ETHERTYPE_INPUT, 1, 2).received == 4


def test_unicast_data_after_reboot_gets_a_hello_but_broadcast_does_not() -> None:
    host = connected()
    data = some_bytes(1472)
    ask = host.xfer(data, 1)
    host.card.reboot(host.now)
    frame = host.data_frames(data, ask, 1)[0]
    host.now += 100 * MS
    host.send_batch([frame])
    assert [f.dst for f in host.raw_output()] == [BROADCAST_BYTES]  # the first frame after power-up
    host.send_batch([frame])
    assert host.raw_output() == []
    host.send_batch([bytes(CARD_MAC) + frame[6:]])
    assert [f.dst for f in host.raw_output()] == [HOST_MAC]
    assert host.card.counters["wrong_session"] == 3


def test_batch_of_mixed_frames_is_taken_as_it_came() -> None:
    host = connected()
    assert host.channel is not None
    data = some_bytes(1472 * 3)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    frames = host.data_frames(data, ask, 1)
    poll_frame = host.channel.seal(Opcode.POLL, Poll().pack(), ETHERTYPE_INPUT, 1, 1)
    host.card.handle_batch(*batch_of([frames[0], poll_frame, *frames[1:]], stride=2048), host.now)
    assert host.only_answer(Opcode.POLL, 1, 1).missing == 2
