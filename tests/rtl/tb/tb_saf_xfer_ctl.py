"""cocotb part of saf_xfer_ctl's tests: against the virtual card's TransferUnit."""

from __future__ import annotations

import os

import cocotb
import numpy as np
from xfer_bench import LEAF_STRIDE, LEAVES, SLOT_BYTES, Bench, Said

from safhost.wire.digest import tree_root
from safhost.wire.generated import (
    LEAF_BYTES,
    Invalidate,
    Invalidated,
    Nack,
    Opcode,
    Poll,
    Ready,
    Status,
    TransferKind,
    TransferState,
    Verdict,
    XferOpen,
)

KEY = bytes(32) if os.environ.get("XFER_KEY") else None


class Host:
    """Objects on their way to the card."""

    def __init__(self, bench: Bench) -> None:
        self.b, self.rng = bench, bench.rng
        self.next_id = 1
        self.content: dict[int, bytes] = {}
        self.asks: dict[int, XferOpen] = {}
        self.repairs: dict[int, int] = {}

    def is_image(self, obj: int) -> bool:
        return self.asks[obj].kind == TransferKind.IMAGE

    async def open(self, length: int, block_bytes: int = 1472, *, slot: int | None = None, content: bytes | None = None,
                   obj: int | None = None, wrong: bool = False, **fields: int) -> int:
        """XFER_OPEN with right fields but for those named; returns the id."""
        if obj is None:
            obj, self.next_id = self.next_id, self.next_id + self.rng.randint(1, 3)
        content = self.rng.randbytes(length) if content is None else content
        digest = tree_root(content) if not wrong else self.rng.randbytes(32)
        ask = XferOpen(kind=TransferKind.DDR if slot is None else TransferKind.IMAGE, slot=slot or 0,
                       block_bytes=block_bytes, group=self.rng.getrandbits(32), base=64 * self.rng.randrange(1 << 20),
                       length=length, blocks=-(-length // block_bytes), digest=digest)
        frame_bytes = fields.pop("frame_bytes", None)
        image = bool(fields.pop("image", slot is not None))
        ask = ask._replace(**fields)
        full = max(40 + ask.block_bytes, 120 if self.b.key else 104)
        frame = self.b.frame(Opcode.XFER_OPEN, obj, 1, ask.pack(), image=image, frame_bytes=frame_bytes or full)
        self.content[obj], self.asks[obj], self.repairs[obj] = content, ask, 0
        self.ready = Ready.unpack((await self.b.ask(frame)).payload)
        return obj

    def send(self, obj: int, blocks: list[int] | range | None = None, spoil: int | None = None) -> None:
        """Blocks of an object, all of them without ``blocks``; one of them with other content."""
        ask = self.asks[obj]
        for i in range(ask.blocks) if blocks is None else blocks:
            data = self.content[obj][i * ask.block_bytes:(i + 1) * ask.block_bytes]
            self.b.deliver(obj, i, bytes(255 - x for x in data) if i == spoil else data)

    async def poll(self, obj: int, first: int = 0) -> Nack:
        said = await self.b.ask(self.b.frame(Opcode.POLL, obj, self.rng.getrandbits(32), Poll(first).pack(),
                                             image=obj in self.asks and self.is_image(obj)))
        return Nack.unpack(said.payload)

    async def close(self, obj: int) -> Verdict:
        said = await self.b.ask(self.b.frame(Opcode.CLOSE, obj, self.rng.getrandbits(32),
                                             image=obj in self.asks and self.is_image(obj)))
        return Verdict.unpack(said.payload)

    async def invalidate(self, obj: int, first: int, count: int, repair: int | None = None) -> Invalidated:
        if repair is None:
            repair = self.repairs[obj] = self.repairs[obj] + 1
        said = await self.b.ask(self.b.frame(Opcode.INVALIDATE, obj, repair, Invalidate(first, count).pack(),
                                             image=obj in self.asks and self.is_image(obj)))
        return Invalidated.unpack(said.payload)

    async def abort(self, obj: int) -> Status:
        said: Said = await self.b.ask(self.b.frame(Opcode.ABORT, obj, image=obj in self.asks and self.is_image(obj)))
        return Status(int.from_bytes(said.payload[:2], "big"))

    async def whole(self, length: int, block_bytes: int = 1472, **fields) -> int:
        """An object from XFER_OPEN to its verdict."""
        obj = await self.open(length, block_bytes, **fields)
        self.send(obj)
        await self.close(obj)
        return obj


async def begin(dut, mtu: int = 1500) -> tuple[Bench, Host]:
    bench = Bench(dut, KEY, mtu)
    await bench.start()
    return bench, Host(bench)


def rough(bench: Bench) -> None:
    """Back-pressure everywhere."""
    rng = bench.rng
    bench.p_msg, bench.p_job = rng.choice((1.0, 0.5, 0.1)), rng.choice((1.0, 0.3, 0.05))
    bench.leaf_cycles = rng.choice(((20, 60), (1, 2), (200, 600)))
    bench.land_cycles = rng.choice(((1, 8), (30, 90)))


@cocotb.test()
async def every_wrong_field_has_its_status(dut):
    b, h = await begin(dut)
    wrong: list[tuple[dict, Status]] = [
        ({"kind": 0}, Status.BAD_PARAMETER), ({"kind": 3}, Status.BAD_PARAMETER),
        ({"block_bytes": 0}, Status.BAD_BLOCK_SIZE), ({"block_bytes": 1470}, Status.BAD_BLOCK_SIZE),
        ({"block_bytes": 1536}, Status.BAD_BLOCK_SIZE), ({"block_bytes": 0xFFC0}, Status.BAD_BLOCK_SIZE),
        ({"frame_bytes": 1511}, Status.BAD_PARAMETER), ({"frame_bytes": 1513}, Status.BAD_PARAMETER),
        ({"frame_bytes": 104, "block_bytes": 128}, Status.BAD_PARAMETER),
        ({"image": 1}, Status.BAD_PARAMETER), ({"kind": 1}, Status.BAD_PARAMETER),
        ({"length": 0}, Status.BAD_PARAMETER), ({"length": 0, "blocks": 0}, Status.BAD_PARAMETER),
        ({"blocks": 6}, Status.BAD_PARAMETER), ({"blocks": 8}, Status.BAD_PARAMETER),
        ({"blocks": 0xFFFFFFFF}, Status.BAD_PARAMETER), ({"length": 1 << 46}, Status.BAD_PARAMETER),
        ({"length": (1 << 63) + 10_000}, Status.BAD_PARAMETER),
        ({"length": 65537 * 1472, "blocks": 65537}, Status.TOO_LARGE),
        ({"length": 0xFFFFFFFF * 1472, "blocks": 0xFFFFFFFF}, Status.TOO_LARGE),
        ({"base": (7 << 30) - 9_999}, Status.BAD_RANGE), ({"base": 7 << 30}, Status.BAD_RANGE),
        ({"base": (1 << 64) - 1}, Status.BAD_RANGE), ({"base": 1 << 34}, Status.BAD_RANGE),
        ({"slot": 9}, Status.OK), ({"base": (7 << 30) - 10_000}, Status.OK),
        ({"length": 65536 * 64, "block_bytes": 64, "blocks": 65536}, Status.OK),
        ({"slot": 0, "kind": 1, "image": 1, "length": 10_304, "blocks": 7}, Status.OK)]
    for fields, status in wrong:
        length = fields.pop("length", 10_000)
        obj = await opened(h, length, fields)
        assert h.ready.status == status, (fields, h.ready)
        if status is Status.OK:
            assert await h.abort(obj) is Status.OK
    image: list[tuple[dict, Status]] = [
        ({"slot": 4}, Status.BAD_SLOT), ({"slot": 255}, Status.BAD_SLOT),
        ({"length": SLOT_BYTES + 1, "blocks": -(-(SLOT_BYTES + 1) // 1472)}, Status.TOO_LARGE),
        ({"length": 131073 * 64, "block_bytes": 64, "blocks": 131073}, Status.TOO_LARGE),
        ({"image": 0}, Status.BAD_PARAMETER), ({"kind": 2}, Status.BAD_PARAMETER),
        ({"length": 131072 * 64, "block_bytes": 64, "blocks": 131072}, Status.OK),
        ({"base": (1 << 64) - 1}, Status.OK)]
    for fields, status in image:
        length = fields.pop("length", 10_000)
        obj = await opened(h, length, {"slot": 1, "kind": 1, "image": 1} | fields)
        assert h.ready.status == status, (fields, h.ready)
        if status is Status.OK:
            assert await h.abort(obj) is Status.OK
    # a slot that a COMMIT under way reads
    b.ref.active_slot = 2
    b.put(commit_active=1, commit_slot=2)
    await opened(h, 10_000, {"slot": 2, "kind": 1, "image": 1})
    assert h.ready.status == Status.BUSY
    await opened(h, 10_000, {"slot": 3, "kind": 1, "image": 1})
    assert h.ready.status == Status.OK


async def opened(h: Host, length: int, fields: dict) -> int:
    """XFER_OPEN of an object that is only announced."""
    fields = dict(fields)
    kind = fields.pop("kind", TransferKind.DDR)
    slot = fields.pop("slot", 0)
    block_bytes = fields.pop("block_bytes", 1472)
    ask = XferOpen(kind=kind, slot=slot, block_bytes=block_bytes, base=fields.pop("base", 4096), length=length,
                   blocks=fields.pop("blocks", -(-length // max(1, block_bytes)) & 0xFFFFFFFF),
                   digest=h.rng.randbytes(32))
    obj, h.next_id = h.next_id, h.next_id + 1
    image = bool(fields.pop("image", False))
    full = max(40 + block_bytes, 120 if h.b.key else 104)
    frame = h.b.frame(Opcode.XFER_OPEN, obj, 1, ask.pack(), image=image,
                      frame_bytes=min(0x3FFF, fields.pop("frame_bytes", full)))
    assert not fields
    h.asks[obj], h.repairs[obj] = ask, 0
    h.ready = Ready.unpack((await h.b.ask(frame)).payload)
    return obj


@cocotb.test()
async def every_length_is_verified(dut):
    b, h = await begin(dut)
    for length in (1, 7, 8, 63, 64, 65, 1471, 1472, 1473, LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1,
                   2 * LEAF_BYTES, 3 * LEAF_BYTES + 1, 5 * LEAF_BYTES - 1):
        rough(b)
        obj = await h.whole(length, 1472)
        want = b.ref.unit.leaf_bytes_of(obj)
        assert await b.leaf_query(obj) == want
        assert want[0] is Status.OK
    # small objects are answered with the outcome
    b.p_job, b.leaf_cycles = 1.0, (20, 60)
    obj = await h.open(100)
    h.send(obj)
    await b.present(b.frame(Opcode.CLOSE, obj))
    assert Verdict.unpack(b.said.popleft().payload).status == Status.OK


@cocotb.test()
async def wrong_content_is_found_and_repaired(dut):
    b, h = await begin(dut)
    rough(b)
    slot = b.rng.choice((None, 2))
    length = 9 * LEAF_BYTES + 5
    obj = await h.open(length, 1024, slot=slot)
    for i in range(0, h.asks[obj].blocks, 16):
        h.send(obj, range(i, min(i + 16, h.asks[obj].blocks)), spoil=300)
        await b.cycles(40)
    await b.cycles(2000)
    assert len(b.jobs_done) >= 9, "nothing was hashed before CLOSE"
    verdict = await h.close(obj)
    assert verdict.status == Status.DIGEST_MISMATCH
    assert (await b.leaf_query(obj))[0] is Status.OK
    before = len(b.jobs_done)
    assert (await h.invalidate(obj, 300, 1)).state == TransferState.RECEIVING
    assert (await h.invalidate(obj, 0, 100, h.repairs[obj])).status == Status.OK  # a repetition clears nothing
    assert (await h.invalidate(obj, 0, 100, h.repairs[obj] - 1)).status == Status.STALE
    assert (await b.leaf_query(obj))[0] is Status.BAD_STATE
    assert (await h.close(obj)).status == Status.BAD_STATE
    h.send(obj, [300])
    assert (await h.close(obj)).status == Status.OK
    again = b.jobs_done[before:]
    # what is in front of the leaf still holds
    assert [job["root"] for job in again] == [0] * (len(again) - 1) + [1]
    assert [job["node"] for job in again[:-1]] == [*range(300 * 1024 // LEAF_BYTES, -(-length // LEAF_BYTES))]
    assert (await h.invalidate(obj, 0, 1)).status == Status.BAD_STATE
    blocks = h.asks[obj].blocks
    for first, count in ((0, 0), (0, blocks + 1), (0xFFFFFFFF, 1), (1, 0xFFFFFFFF), (blocks, 1)):
        other = await h.open(length, 1024)
        assert (await h.invalidate(other, first, count)).status == Status.BAD_RANGE
        await h.abort(other)


@cocotb.test()
async def bitmaps_of_every_section(dut):
    b, h = await begin(dut)
    for blocks, last in ((1, 64), (63, 1), (64, 64), (8192, 64), (8193, 5), (2 * 8192 + 100, 64)):
        b.p_msg = b.rng.choice((1.0, 0.5))
        obj = await h.open(64 * (blocks - 1) + last, 64)
        t = b.ref.unit.in_context(obj)
        context = next(c for c in b.contexts if c and c.id == obj)
        for missing in (blocks, blocks // 2, 1):
            for i in b.rng.sample(range(blocks), blocks):
                if t.missing <= missing:
                    break
                if t.todo[i]:
                    b.deliver(obj, i)
            context.under_way.clear()
            for first in {0, 8192, 16384, 1, blocks, 1 << 31}:
                await h.poll(obj, first)
        await h.poll(obj + 1000)
        await h.poll(0)
        h.send(obj)
        context.under_way.clear()
        assert (await h.poll(obj)).missing == 0
        await h.abort(obj)


@cocotb.test()
async def contexts_and_the_memory_of_outcomes(dut):
    b, h = await begin(dut)
    first = [await h.open(5000) for _ in range(3)]
    await h.open(5000)
    assert h.ready.status == Status.BUSY
    image = await h.open(5000, slot=0)
    assert h.ready.status == Status.OK
    await h.open(5000, slot=1)
    assert h.ready.status == Status.BUSY
    assert await b.tables() == expected_tables(b)
    for obj in (first[2], first[0], image):
        h.send(obj)
        assert (await h.close(obj)).status == Status.OK
    await h.open(5000)  # takes the context of first[0], the oldest
    for obj in (*first, image):
        await h.poll(obj)
        await h.close(obj)
    assert await b.tables() == expected_tables(b)
    assert await h.abort(first[1]) is Status.OK
    assert await h.abort(first[1]) is Status.OK
    assert await h.abort(first[2]) is Status.OK  # verified: its outcome stays known
    assert await h.abort(h.next_id) is Status.UNKNOWN_TRANSFER
    assert await h.abort(0) is Status.UNKNOWN_TRANSFER
    assert (await h.close(first[1])).status == Status.UNKNOWN_TRANSFER
    assert (await h.close(first[2])).status == Status.OK
    assert await b.tables() == expected_tables(b)
    past = [await h.whole(b.rng.randint(1, 3000)) for _ in range(40)]
    for obj in (*first, image, *past):
        await h.poll(obj)
        await h.close(obj)
        await h.invalidate(obj, 0, 1, b.rng.choice((0, 1)))
        ask = h.asks[obj]
        await b.ask(b.frame(Opcode.XFER_OPEN, obj, 1, ask.pack(), image=h.is_image(obj), frame_bytes=1512))
        assert await b.leaf_query(obj) == b.ref.unit.leaf_bytes_of(obj)
    assert int(dut.last_transfer_o.value) == b.ref.unit.last_id


def expected_tables(b: Bench) -> bytes:
    """What the virtual card puts into OPENED."""
    unit = b.ref.unit
    return b"".join(info.pack() for info in (*unit.image_infos(), *unit.transfer_infos()))


@cocotb.test()
async def image_slots(dut):
    b, h = await begin(dut)
    contents = [b.rng.randbytes(n) for n in (3000, 70_000, 3000, 10)]
    digests = [tree_root(c) for c in contents]
    for slot in (0, 2, 3):
        await h.whole(len(contents[slot]), slot=slot, content=contents[slot])
        assert await b.tables() == expected_tables(b)
    assert await b.staged(digests[0]) == (0, 1, 3000)
    assert await b.staged(digests[2]) == (2, 1, 3000)
    assert await b.staged(digests[1]) is None
    assert await b.staged(bytes(32)) is None
    # used by a COMMIT
    b.put(used_valid=1, used_slot=2, used_epoch=0xDEADBEEF)
    b.ref.unit.slots[2].last_used = 0xDEADBEEF
    await b.cycle()
    b.put(used_valid=0)
    assert await b.tables() == expected_tables(b)
    # announced again: nothing to send, nothing hashed, still used
    before = len(b.jobs_done)
    obj = await h.open(3000, slot=2, content=contents[2])
    assert h.ready.state == TransferState.VERIFIED
    assert (await h.close(obj)).status == Status.OK
    assert await b.leaf_query(obj) == (Status.BAD_STATE, b"")
    assert len(b.jobs_done) == before
    assert await b.tables() == expected_tables(b)
    # the same digest in two slots: the verified one is found
    obj = await h.open(3000, slot=0, content=contents[2])
    assert await b.staged(digests[2]) == (2, 1, 3000)
    assert await b.staged(digests[0]) is None
    h.send(obj, [0])
    await h.abort(obj)
    obj = await h.open(3000, slot=2, content=contents[2], wrong=True)
    assert (await b.staged(b.ref.unit.slots[2].digest)) == (2, 0, 3000)
    assert await b.tables() == expected_tables(b)
    await h.abort(obj)
    assert await b.tables() == expected_tables(b)
    # same digest, another length
    await h.open(3001, slot=3, content=contents[3])
    assert h.ready.state == TransferState.RECEIVING


@cocotb.test()
async def leaf_jobs_overtaken_by_repair_and_abort(dut):
    b, h = await begin(dut)
    b.land_cycles = (1, 3)
    for turn in range(24):
        b.p_job, b.leaf_cycles = b.rng.choice((1.0, 0.1)), b.rng.choice(((2, 5), (80, 250)))
        length = b.rng.randint(1, 5 * LEAF_BYTES)
        obj = await h.open(length, 8 * 64 * b.rng.choice((1, 2)), slot=b.rng.choice((None, 1)))
        blocks = h.asks[obj].blocks
        h.send(obj, spoil=b.rng.randrange(blocks))
        b.contexts[next(i for i, c in enumerate(b.contexts) if c and c.id == obj)].under_way.clear()
        write_all(b, obj)
        await b.cycles(b.rng.randint(0, 600))
        if turn % 4 == 3:
            await h.abort(obj)
            continue
        if turn % 2:  # in the midst of the verification of what is wrong
            await b.present(b.frame(Opcode.CLOSE, obj, 5, image=h.is_image(obj)))
            b.ref.handle(b.frame(Opcode.CLOSE, obj, 5, image=h.is_image(obj)))
            b.leaf_cycles = (300, 400)
            for _ in range(b.rng.choice((0, 100, 5000))):
                if any(job["root"] for _, job, _ in b.jobs):
                    break
                await b.cycle()
            await b.cycles(b.rng.choice((0, 30)))
            b.said.clear()
            t = b.ref.unit.in_context(obj)
            if t.state is TransferState.VERIFIED:
                continue
            b.said.clear()
        for _ in range(b.rng.randint(1, 3)):
            first = b.rng.randrange(blocks)
            told = await repaired(b, h, obj, first, b.rng.randint(1, blocks - first))
            assert told.state == TransferState.RECEIVING
            await b.cycles(b.rng.randint(0, 300))
        assert (await h.invalidate(obj, 0, blocks)).missing == blocks
        b.said.clear()
        h.send(obj)
        assert (await h.close(obj)).status == Status.OK


async def repaired(b: Bench, h: Host, obj: int, first: int, count: int) -> Invalidated:
    """INVALIDATE; a VERDICT on its way before is let pass."""
    h.repairs[obj] += 1
    frame = b.frame(Opcode.INVALIDATE, obj, h.repairs[obj], Invalidate(first, count).pack(), image=h.is_image(obj))
    await b.present(frame)
    want = b.ref.handle(frame)
    while len(b.said) > 1:
        assert b.said.popleft().opcode == Opcode.VERDICT
    assert b.said.popleft() == want
    return Invalidated.unpack(want.payload)


def write_all(b: Bench, obj: int) -> None:
    """What was sent is in DDR at once."""
    context = next(c for c in b.contexts if c and c.id == obj)
    b.memory.write(context.base, b.ref.unit.in_context(obj).memory.tobytes())


@cocotb.test()
async def a_stream_without_a_pause_is_hashed_meanwhile(dut):
    b, h = await begin(dut)
    b.land_cycles = (60, 120)
    obj = await h.open(12 * LEAF_BYTES, 1024)
    blocks = h.asks[obj].blocks
    for i in range(blocks):
        h.send(obj, [i])
        await b.cycles(6)
    # never settled meanwhile, and yet leaves are done
    assert len(b.jobs_done) >= 10
    assert (await h.close(obj)).status == Status.OK


@cocotb.test()
async def earlier_data_is_waited_for(dut):
    b, h = await begin(dut)
    b.land_cycles = (300, 301)
    obj = await h.open(3000, 1472)
    h.send(obj, [0, 1])
    b.put(rx_pending=1)

    frame = b.frame(Opcode.CLOSE, obj)
    start = b.now
    task = cocotb.start_soon(b.present(frame))
    # the last block passes its check while CLOSE waits
    while b.now < start + 700:
        await cocotb.triggers.RisingEdge(dut.clk_i)
    h.send(obj, [2])
    b.put(rx_pending=0)
    await task
    assert Verdict.unpack(b.said.popleft().payload).status == Status.OK
    b.ref.handle(frame)
    # and not for ever
    other = await h.open(3000, 1472)
    b.put(rx_pending=1)
    start = b.now
    await h.poll(other)
    assert 4096 <= b.now - start < 5000
    b.put(rx_pending=0)


@cocotb.test()
async def a_new_owner_finds_nothing(dut):
    b, h = await begin(dut)
    for turn in range(4):
        rough(b)
        h.next_id = 1 if turn else h.next_id
        await h.whole(70_000, slot=turn % 4)
        obj = await h.open(3 * LEAF_BYTES)
        h.send(obj)
        if turn % 2:
            await b.settle()
            await b.present(b.frame(Opcode.CLOSE, obj, 5))
            b.said.clear()
        b.set_session(False)
        b.put(forget=1, session_end=1)
        await b.cycle()
        b.put(forget=0, session_end=0, scrub_busy=1)
        await b.cycle()
        assert int(dut.forget_busy_o.value)
        while int(dut.forget_busy_o.value):
            await b.cycle()
        assert not any(c and c.under_way for c in b.contexts), "blocks still on their way"
        assert int(dut.ctx_valid_o.value) == 0
        b.ref.unit.reset()
        b.set_session(True)
        await b.cycles(b.rng.choice((1, 500)))
        assert not b.said
        assert await b.tables() == expected_tables(b)
        assert int(dut.last_transfer_o.value) == 0
        assert (await h.poll(obj)).status == Status.UNKNOWN_TRANSFER
        b.put(scrub_busy=0)


@cocotb.test()
async def a_new_transfer_waits_for_the_scrub(dut):
    b, h = await begin(dut)
    b.put(scrub_busy=1)
    task = cocotb.start_soon(h.open(1000))
    while b.now < 500:
        await cocotb.triggers.RisingEdge(dut.clk_i)
        assert not int(dut.open_valid_o.value)
    b.put(scrub_busy=0)
    await task
    assert h.ready.status == Status.OK


@cocotb.test()
async def a_session_s_end_drops_the_verdict_that_was_due(dut):
    b, h = await begin(dut)
    b.leaf_cycles = (900, 1000)
    for after in (False, True):
        obj = await h.open(4 * LEAF_BYTES)
        h.send(obj)
        await b.settle()
        frame = b.frame(Opcode.CLOSE, obj, 9)
        await b.present(frame)
        assert Verdict.unpack(b.said.popleft().payload).status == Status.RUNNING
        b.ref.handle(frame)
        if after:  # concluded, but nothing can be sent yet
            b.p_msg = 0.0
            await b.cycles(6000)
        b.p_msg = 1.0
        b.set_session(False)
        b.put(session_end=1)
        await b.cycle()
        b.put(session_end=0)
        b.set_session(True)
        await b.cycles(8000)
        if not after:
            assert not b.said
        b.said.clear()
        assert (await h.close(obj)).status == Status.OK


@cocotb.test()
async def random_operations_as_the_virtual_card(dut):
    b, h = await begin(dut)
    whole = await h.open(2 * LEAF_BYTES)  # whatever chance does, one digest is made of others
    h.send(whole)
    await b.settle()
    await h.close(whole)
    live: list[int] = [whole]
    for _ in range(220):
        rough(b)
        obj = b.rng.choice(live[-6:]) if live and b.rng.random() < 0.95 else b.rng.randrange(h.next_id + 3)
        known = obj in h.asks
        blocks = h.asks[obj].blocks if known else 1
        match b.rng.randrange(12):
            case 0 | 1:
                length = b.rng.choice((1, 64, 3000, LEAF_BYTES, b.rng.randrange(1, 3 * LEAF_BYTES)))
                content = b.rng.choice((None, np.full(length, 7, np.uint8).tobytes()))
                live.append(await h.open(length, 64 * b.rng.choice((4, 8, 23)), slot=b.rng.choice((None, None, 0, 3)),
                                         content=content, wrong=b.rng.random() < 0.2))
            case 2 | 3 | 4 | 5 if known and h.content.get(obj):
                share = b.rng.choice((0.3, 0.9, 1.0, 1.0))
                h.send(obj, [i for i in range(blocks) if b.rng.random() < share])
                if b.rng.random() < 0.5:
                    await b.settle()
            case 6 | 7:
                await h.close(obj)
            case 8:
                await h.poll(obj, b.rng.choice((0, 0, 8192, 3)))
            case 9 if known:
                first = b.rng.randrange(blocks + 1)
                await h.invalidate(obj, first, b.rng.randint(0, blocks - first + 1),
                                   None if b.rng.random() < 0.8 else b.rng.randrange(3))
            case 10 if b.rng.random() < 0.4:
                await h.abort(obj)
            case _:
                t = b.ref.unit.in_context(obj)
                if t is None or t.state is not TransferState.VERIFYING:
                    assert await b.leaf_query(obj) == b.ref.unit.leaf_bytes_of(obj)
        if b.rng.random() < 0.1:
            assert await b.tables() == expected_tables(b)
        await b.cycles(b.rng.choice((0, 3, 200)))
    assert any(job["root"] for job in b.jobs_done)


@cocotb.test()
async def reset_in_the_midst_starts_anew(dut):
    b, h = await begin(dut)
    for _ in range(6):
        rough(b)
        h.next_id = 1
        obj = await h.open(3 * LEAF_BYTES)
        h.send(obj)
        task = cocotb.start_soon(b.present(b.frame(Opcode.CLOSE, obj)))
        for _ in range(b.rng.randint(1, 400)):
            await cocotb.triggers.RisingEdge(dut.clk_i)
        task.cancel()
        await b.reset()
        assert await b.tables() == expected_tables(b)
        h.next_id = 1
        await h.whole(70_000)


assert LEAVES % LEAF_STRIDE == 0
