"""cocotb part of saf_bulk's tests: against the virtual card's DataUnit and Transfer."""

from __future__ import annotations

import os

import cocotb
import numpy as np
from bulk_bench import (
    BROADCAST,
    GROUP,
    HOST,
    OTHER,
    SESSION,
    Bench,
    data_frame,
)

from safhost.lab.card_receive import Transfer
from safhost.wire.generated import (
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    ETHERTYPE_RESULT,
    DropReason,
)

KEY = bytes.fromhex(os.environ.get("BULK_KEY", "5a" * 32))
MIN_FRAME = 60


def block_of(t: Transfer, index: int) -> int:
    """Bytes of a block."""
    return t.last_bytes if index == t.blocks - 1 else t.block_bytes


def right_frame(b: Bench, t: Transfer, index: int, **fields) -> bytes:
    """A frame as the host would send it, padded to the smallest frame as a NIC would."""
    raw = data_frame(t.id, index, b.rng.randbytes(block_of(t, index)), ethertype=t.ethertype, **fields)
    return raw + bytes(max(0, MIN_FRAME - len(raw)))


def any_frame(b: Bench, transfers: list[Transfer]) -> bytes:
    """A right frame or one with some of its fields wrong."""
    rng = b.rng
    t = rng.choice(transfers)
    index = rng.randrange(t.blocks)
    size = block_of(t, index)
    fields: dict = {"ethertype": t.ethertype}
    obj = t.id
    if t.guarded or rng.random() < 0.05:
        fields["key"] = rng.choice((b.key, b.key, b.key, b"other"))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        wrong = rng.randrange(9)
        if wrong == 0:
            fields["src"] = rng.choice((OTHER, HOST))
        elif wrong == 1:
            fields["dst"] = BROADCAST
        elif wrong == 2:
            fields["ethertype"] = rng.choice((ETHERTYPE_IMAGE, ETHERTYPE_INPUT, ETHERTYPE_RESULT,
                                              ETHERTYPE_IMAGE_ANSWER, ETHERTYPE_INPUT_ANSWER))
        elif wrong == 3:
            fields["session"] = rng.choice((0, GROUP, SESSION ^ 1, SESSION))
        elif wrong == 4:
            index = rng.choice((t.blocks, t.blocks + 1, t.blocks - 1, 0xFFFFFFFF, index | 1 << 17, index | 1 << 18))
        elif wrong == 5:
            obj = rng.choice((0, obj ^ 1, obj ^ 1 << 31))
        elif wrong == 6:
            size = rng.choice((0, 1, size + 1, max(0, size - 1), t.block_bytes, t.last_bytes))
        elif wrong == 7:
            fields["key"] = rng.choice((b.key, b"x"))
        else:
            fields.pop("key", None)
    raw = data_frame(obj, index, rng.randbytes(size), **fields)
    return raw + rng.randbytes(max(0, MIN_FRAME - len(raw)))


@cocotb.test()
async def every_reason_in_its_order(dut):
    b = Bench(dut, KEY)
    await b.start()
    t = await b.open(1, 7, base=0x1000, block_bytes=64, length=64 * 5 + 3, group=GROUP)
    image = await b.open(0, 8, base=0x1_C000_0000, block_bytes=128, length=1000, receiving=False)
    b.send(right_frame(b, t, 0))
    b.send(right_frame(b, t, 0))
    b.send(right_frame(b, t, 5, session=GROUP, dst=BROADCAST))
    b.send(data_frame(7, 1, bytes(64), src=OTHER))
    b.send(data_frame(7, 1, bytes(64), ethertype=ETHERTYPE_RESULT))
    b.send(data_frame(7, 1, bytes(64), ethertype=ETHERTYPE_INPUT_ANSWER))
    b.send(data_frame(9, 1, bytes(64)))
    b.send(data_frame(9, 1, bytes(64), session=GROUP))
    b.send(data_frame(7, 1, bytes(64), session=GROUP ^ 1))
    b.send(data_frame(7, 1, bytes(64), ethertype=ETHERTYPE_IMAGE))
    b.send(right_frame(b, image, 0))
    b.send(data_frame(7, 6, bytes(64)))
    b.send(data_frame(7, 1, bytes(63)))
    b.send(data_frame(7, 2, bytes(64), key=b"wrong"))
    b.send(data_frame(7, 2, bytes(64), key=KEY))
    await b.check()
    assert b.drops == [
        DropReason.DUPLICATE_BLOCK, DropReason.WRONG_SOURCE, DropReason.WRONG_DIRECTION, DropReason.WRONG_ETHERTYPE,
        DropReason.NO_CONTEXT, DropReason.WRONG_SESSION, DropReason.WRONG_SESSION, DropReason.WRONG_ETHERTYPE,
        DropReason.NOT_RECEIVING, DropReason.INDEX_OUT_OF_RANGE, DropReason.BAD_BLOCK_LENGTH, DropReason.UNGUARDED]
    b.guard(t, True)
    b.send(right_frame(b, t, 3))
    b.send(right_frame(b, t, 3, key=KEY))
    b.send(right_frame(b, t, 3, key=KEY))
    await b.check()
    assert b.drops[-2:] == [DropReason.UNGUARDED, DropReason.DUPLICATE_BLOCK]
    b.set_session(False)
    b.send(right_frame(b, t, 1))
    b.send(right_frame(b, t, 1, dst=BROADCAST))
    await b.check()
    assert b.strangers == [HOST]
    assert b.drops[-1] == DropReason.WRONG_SESSION


@cocotb.test()
async def random_frames_as_the_virtual_card(dut):
    b = Bench(dut, KEY)
    await b.start()
    rng = b.rng
    base = 0x1_0000_0000
    for _ in range(4):
        b.p_write, b.p_hash, b.p_offer = (rng.choice((1.0, 0.7, 0.3)) for _ in range(3))
        transfers = []
        for ctx in range(4):
            block = 64 * rng.choice((1, 1, 2, 3))
            length = rng.randint(1, block * rng.choice((1, 3, 20, 90)))
            obj, group = rng.getrandbits(32), rng.choice((0, GROUP))
            transfers.append(await b.open(ctx, obj, base=base + rng.randrange(64), block_bytes=block, length=length,
                                          group=group, receiving=rng.random() < 0.9))
            base += 1 << 20
        for _ in range(3):
            for _ in range(60):
                b.send(any_frame(b, transfers))
            await b.check()
            t = rng.choice(transfers)
            first = rng.randrange(t.blocks)
            await b.forget(t, first, rng.randint(1, t.blocks - first))
            t = rng.choice(transfers)
            b.guard(t, rng.random() < 0.5)
            await b.cycles(2)
            b.set_session(rng.random() < 0.95)
        b.set_session(True)
        await b.check()
        for t in transfers:
            await b.check_bitmap(t)


@cocotb.test()
async def every_length_any_alignment(dut):
    b = Bench(dut, KEY)
    await b.start()
    for last in range(1, 73):
        b.p_write = 1.0 if last % 3 else 0.5
        length = 128 + last if last <= 64 else last
        block = 64 if last <= 64 else 128
        t = await b.open(1 + last % 3, last, base=0x2_0000_0000 + last * 0x1003, block_bytes=block, length=length)
        for index in b.rng.sample(range(t.blocks), t.blocks):
            b.send(right_frame(b, t, index, **({"key": KEY} if b.rng.random() < 0.7 else {})))
        await b.check()
        assert t.missing == 0


@cocotb.test()
async def large_blocks_leave_at_a_beat_a_cycle(dut):
    b = Bench(dut, KEY)
    await b.start()
    t = await b.open(0, 3, base=0x1_C000_0000, block_bytes=8960, length=8960 * 4 + 8955)
    await b.drain()
    at = b.now
    for index in range(5):  # back to back on the wire: header, block, FCS, preamble, gap
        at += (8960 + 64) // 8
        b.send(right_frame(b, t, index, **({"key": KEY} if index == 4 else {})), at)
    await b.check()
    assert b.most_waiting <= 2


@cocotb.test()
async def line_rate_of_small_blocks_with_all_else_at_once(dut):
    """A block of 64 bytes every 16 cycles, while a bitmap is cleared, searched and read."""
    b = Bench(dut)
    await b.start()
    transfers = [await b.open(c, 20 + c, base=c << 24, block_bytes=64, length=64 * 700) for c in (1, 2, 3)]
    at, order = b.now, list(range(700))
    b.rng.shuffle(order)
    for n in range(300):
        t = transfers[n % 3]
        b.send(right_frame(b, t, n if t.context == 1 else order[n]), at + 16 * n)
    await b.open(0, 5, base=0x1_C000_0000, block_bytes=64, length=64 * 131072)
    assert b.incoming
    while b.incoming:
        await b.words(b.rng.randrange(4), b.rng.randrange(8), 20)
        b.bitmap.clear()
    assert b.most_waiting <= 2
    await b.check()
    for t in transfers:
        await b.check_bitmap(t, [0, 3, 10])


@cocotb.test()
async def line_rate_of_smallest_frames(dut):
    """60-byte frames every 10.5 cycles: dropped for every reason, duplicates, now and then a short last block."""
    b = Bench(dut)
    await b.start()
    transfers = [await b.open(c, 30 + c, base=c << 24, block_bytes=64, length=64 * 3000 + 20 - c) for c in range(4)]
    at = b.now
    for n in range(300):
        t = transfers[b.rng.randrange(4)]
        last = t.blocks - 1
        raw = right_frame(b, t, last) if n % 8 else b.rng.choice((
            data_frame(t.id, 1, bytes(20), ethertype=t.ethertype), data_frame(1, 0, bytes(20)),
            data_frame(t.id, 0, bytes(20), src=OTHER)))
        b.send(raw, at + 21 * n // 2)
    while b.incoming:
        await b.words(b.rng.randrange(4), 0, 30)
        b.bitmap.clear()
    assert b.most_waiting <= 2
    await b.check()


@cocotb.test()
async def lowest_is_found_across_the_bitmap(dut):
    b = Bench(dut)
    await b.start()
    rng = b.rng
    for ctx, blocks in ((0, 131072), (1, 65536), (2, 8193), (3, 8191), (1, 64), (2, 65), (3, 1), (0, 8192), (1, 16384)):
        length = 64 * (blocks - 1) + rng.randint(1, 64)
        t = await b.open(ctx, blocks, base=ctx << 24, block_bytes=64, length=length, complete=blocks > 100)
        await b.check()
        places = sorted({0, blocks - 1, rng.randrange(blocks), rng.randrange(blocks)} if blocks > 1 else {0})
        for place in places:
            count = rng.choice((1, blocks - place, rng.randint(1, min(200, blocks - place))))
            await b.forget(t, place, min(count, 700))
        await b.check()
        final = (blocks - 1) // 64
        near = {word for place in places for word in range(place // 64, min(place // 64 + 12, final))}
        await b.check_bitmap(t, [*sorted(near), final])
        chosen = [int(i) for i in t.todo.nonzero()[0]]
        if len(chosen) > 40:
            await b.forget(t, chosen[0], 1)
            chosen = chosen[:20] + chosen[-20:]
        for index in chosen:
            b.send(right_frame(b, t, index))
        await b.check()


@cocotb.test()
async def search_and_frames_meet(dut):
    """Blocks come while the lowest missing one is looked for: the last of all, one behind, one ahead of it."""
    b = Bench(dut)
    await b.start()
    t = await b.open(0, 1, base=0, block_bytes=64, length=64 * 15_000, complete=True)
    for others in ([14_999], [7_000, 14_999], [200, 13_000, 13_001], []):
        for index in (0, *others, 9_000):
            await b.forget(t, index, 1)
        await b.settled(0)
        for index in (0, *others):
            b.send(right_frame(b, t, index))
            await b.cycles(b.rng.randrange(60))
        await b.check()
        assert t.lowest == 9_000
        for index in (7_000, 12_000):
            await b.forget(t, index, 1)
        for index in (7_000, 9_000, 12_000):
            b.send(right_frame(b, t, index))
        await b.check()
        assert t.missing == 0
        assert (await b.query(0))[1] == 15_000


@cocotb.test()
async def settled_means_everything_is_in_ddr(dut):
    b = Bench(dut)
    await b.start()
    t = await b.open(1, 1, base=0, block_bytes=64, length=64 * 400)
    u = await b.open(2, 2, base=1 << 24, block_bytes=64, length=64 * 400)
    # so late that the fence runs out of numbers: blocks wait, none is lost
    b.done_delay = (7000, 7001)
    for index in range(300):
        b.send(right_frame(b, t if index < 280 else u, index))
    b.p_write = 0.9
    for _ in range(12):
        await b.cycles(500)
        _, _, _, _, settled = await b.query(1)
        inside = b.blocks > sum(a < 1 << 24 for a, _ in b.writes) or b.dones
        assert not (settled and inside)
    assert len(b.writes) == 255
    await b.drain()
    await b.check()
    # a closing transfer: rx falls in the middle of traffic; once it is settled nothing of it comes any more
    b.done_delay = (1, 300)
    for index in range(300, 340):
        b.incoming.append((b.now, right_frame(b, u, index)))
        b.incoming.append((b.now, right_frame(b, t, index)))
    await b.cycles(b.rng.randint(50, 400))
    b.receive(t, False)
    await b.settled(1)
    assert not any(addr < 1 << 24 for addr in b.on_their_way())
    mine = [a for a, _ in b.writes if a < 1 << 24]
    await b.drain()
    assert [a for a, _ in b.writes if a < 1 << 24] == mine
    assert len(mine) > 280
    assert b.drops[-1] == DropReason.NOT_RECEIVING


@cocotb.test()
async def lowest_never_runs_ahead_of_ddr(dut):
    b = Bench(dut)
    await b.start()
    b.done_delay = (20, 200)
    transfers = [await b.open(c, c, base=c << 24, block_bytes=64, length=64 * 400) for c in (1, 2)]
    orders = [list(range(400)), list(range(400))]
    for start in range(0, 400, 20):
        part = orders[1][start:start + 20]
        b.rng.shuffle(part)
        orders[1][start:start + 20] = part
    at = b.now
    for n in range(400):
        for k, t in enumerate(transfers):
            b.send(right_frame(b, t, orders[k][n]), at + 32 * n + 16 * k)
    seen = {1: [0], 2: [0]}
    landed = {t.context: np.zeros(401, np.bool_) for t in transfers}
    count = 0
    while b.incoming:
        for t in transfers:
            _, lowest, _, _, settled = await b.query(t.context)
            for addr, _ in b.writes[count:len(b.writes) - len(b.dones)]:
                landed[addr >> 24][(addr & 0xFFFFFF) // 64] = True
                count += 1
            true_lowest = int(landed[t.context].argmin())
            assert lowest <= true_lowest
            assert lowest == true_lowest or not settled
            seen[t.context].append(lowest)
    for t in transfers:
        # it keeps up while frames come
        assert sorted(seen[t.context]) == seen[t.context]
        assert len(set(seen[t.context])) > 20
        assert seen[t.context][-1] > 300
    await b.forget(transfers[0], 17, 3)
    assert (await b.query(1))[1] == 17
    await b.check()


@cocotb.test()
async def reset_in_the_middle_leaves_nothing(dut):
    b = Bench(dut, KEY)
    await b.start()
    rng = b.rng
    for n in range(12):
        b.p_write, b.p_hash = rng.choice((1.0, 0.5)), rng.choice((1.0, 0.5))
        ctx = rng.randrange(4)
        t = await b.open(ctx, n + 1, base=n << 20, block_bytes=128, length=128 * 90 + n)
        at = b.now
        for index in range(t.blocks):
            b.send(right_frame(b, t, index, **({"key": KEY} if rng.random() < 0.1 else {})), at)
        if n % 4 == 3:
            await b.check()
            assert t.missing == 0
            continue
        await b.cycles(rng.randint(5, 300))
        await b.reset()
        b.drops, b.ref.drops, b.blocks, b.ref.shell.data_blocks = [], [], 0, 0
        assert (await b.query(ctx))[4], "something is still under way"
