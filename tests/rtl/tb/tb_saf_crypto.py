"""saf_crypto against hashlib: hash clients, keys, leaf jobs, all together."""

from __future__ import annotations

import cocotb
from crypto_bench import CARD_KEY, CLOCK_HZ, CTL, GUARD, STORE_BASE, TX, Bench, Job, Request, memory_bytes

from safhost.wire import auth, digest
from safhost.wire.generated import (
    PERSON_FRAME_TAG,
    PERSON_GUARD_TAG,
    PERSON_HELLO_TAG,
    PERSON_SESSION_KEY_C2H,
    PERSON_SESSION_KEY_H2C,
)

LENGTHS = (*range(18), 55, 56, 57, *range(62, 74), 96, 112, 119, 120, 121, *range(126, 131), 191, 192, 193, 256, 300)
LEAF_LENGTHS = (*range(1, 18), 63, 64, 65, 71, 72, 73, 127, 128, 129, 1000, 1024)
KINDS = ((None, PERSON_FRAME_TAG, 16), (0, PERSON_FRAME_TAG, 16), (None, PERSON_GUARD_TAG, 8), (0, PERSON_GUARD_TAG, 8),
         (0, PERSON_HELLO_TAG, 4), (0, PERSON_HELLO_TAG, 8), (0, PERSON_HELLO_TAG, 16), (0, PERSON_FRAME_TAG, 8),
         (0, PERSON_SESSION_KEY_H2C, 32), (None, b"", 32))
H2C, C2H = 0b100, 0b101


async def expect_hash(bench: Bench, client: int, request: Request, key: bytes = CARD_KEY, gap: float = 0.0) -> int:
    found, cycles = await bench.hash(client, request, gap)
    assert found == request.expected(key), f"client {client}: {len(request.data)} bytes, {request.person!r}"
    return cycles


async def expect_jobs(bench: Bench, client: int, jobs: list[Job]) -> None:
    found = await bench.jobs(client, jobs)
    for job, result in zip(jobs, found, strict=True):
        assert result == job.expected(), f"client {client}: {job}"


@cocotb.test()
async def hash_all_lengths_and_kinds(dut):
    bench = Bench(dut)
    await bench.start()

    async def client(number: int, gap: float) -> None:
        for length in LENGTHS:
            for key, person, size in bench.rng.sample(KINDS, 2):
                await expect_hash(bench, number, Request(bench.rng.randbytes(length), key, person, size), gap=gap)

    tasks = [cocotb.start_soon(client(c, gap)) for c, gap in ((CTL, 0.0), (TX, 0.3), (GUARD, 0.1))]
    for task in tasks:
        await task


@cocotb.test()
async def hash_each_kind_at_borders(dut):
    bench = Bench(dut)
    await bench.start()
    for client in (CTL, GUARD):
        for key, person, size in KINDS:
            for length in (0, 1, 8, 63, 64, 65, 128):
                await expect_hash(bench, client, Request(bench.rng.randbytes(length), key, person, size))


@cocotb.test()
async def hash_longest_message(dut):
    bench = Bench(dut)
    await bench.start()
    longest = ((CTL, 9016, PERSON_FRAME_TAG, 16), (GUARD, 16383, PERSON_GUARD_TAG, 8))
    tasks = [cocotb.start_soon(expect_hash(bench, client, Request(bench.rng.randbytes(length), 0, person, size)))
             for client, length, person, size in longest]
    for task in tasks:
        await task


@cocotb.test()
async def keys_are_derived_used_and_replaced(dut):
    bench = Bench(dut)
    await bench.start()
    for _ in range(3):
        over = bench.rng.randbytes(60)
        keys = {}
        for slot, person in ((H2C, PERSON_SESSION_KEY_H2C), (C2H, PERSON_SESSION_KEY_C2H)):
            request = Request(over, 0, person, 32, store=slot)
            keys[slot], _ = await bench.hash(CTL, request)
            assert keys[slot] == request.expected(CARD_KEY)
        frame, block = bench.rng.randbytes(96), bench.rng.randbytes(1472 + 18)
        for _ in range(2):  # the second time behind the key block that is known
            found, _ = await bench.hash(CTL, Request(frame, H2C))
            assert found == auth.frame_tag(keys[H2C], frame)
            found, _ = await bench.hash(TX, Request(frame, C2H))
            assert found == auth.frame_tag(keys[C2H], frame)
            found, _ = await bench.hash(GUARD, Request(block, H2C, PERSON_GUARD_TAG, 8))
            assert found == auth.guard_tag(keys[H2C], block[:18], block[18:])
            found, _ = await bench.hash(CTL, Request(frame))
            assert found == Request(frame).expected(b"")
            await expect_hash(bench, CTL, Request(frame, 0))


@cocotb.test()
async def keys_derive_from_stored_keys(dut):
    bench = Bench(dut)
    await bench.start()
    key = CARD_KEY
    for slot in (7, 6, 5, 4, 3, 2, 1, 7):
        request = Request(bench.rng.randbytes(24), 0, PERSON_SESSION_KEY_C2H, 32, store=slot)
        await expect_hash(bench, GUARD, request)
        await expect_hash(bench, GUARD, Request(b"guarded", slot, PERSON_GUARD_TAG, 8), request.expected(key))
        await expect_hash(bench, TX, Request(b"tagged", slot), request.expected(key))


@cocotb.test()
async def keys_replaced_while_in_use_are_not_kept(dut):
    bench = Bench(dut)
    await bench.start()
    for start in range(40, 130, 5):
        derive = Request(bench.rng.randbytes(60), 0, PERSON_SESSION_KEY_H2C, 32, store=H2C)
        task = cocotb.start_soon(expect_hash(bench, CTL, derive))
        await bench.cycles(start)
        request = Request(bench.rng.randbytes(90), H2C, PERSON_GUARD_TAG, 8)
        await bench.hash(GUARD, request)  # whose tag it is, old key's or new one's, is anyone's guess
        await task
        await expect_hash(bench, GUARD, request, derive.expected(CARD_KEY))


@cocotb.test()
async def tag_latency_of_two_blocks(dut):
    bench = Bench(dut)
    await bench.start()
    first = await expect_hash(bench, CTL, Request(bench.rng.randbytes(96), 0))
    again = [await expect_hash(bench, client, Request(bench.rng.randbytes(96), 0)) for client in (CTL, TX, CTL, TX)]
    short = await expect_hash(bench, CTL, Request(bench.rng.randbytes(64), 0))
    dut._log.info("cycles of a tag over 96 bytes: %d with a new key, then %s; over 64 bytes: %d", first, again, short)
    assert first <= 96 + 42 + 12
    assert max(again) <= 96
    assert short <= 54


@cocotb.test()
async def tag_goes_before_leaves(dut):
    bench = Bench(dut)
    await bench.start()
    await expect_hash(bench, CTL, Request(b"key", 0))
    leaves = [Job(0x1000 + 16384 * i, 16384, i, store=STORE_BASE + 32 * i) for i in range(2)]
    task = cocotb.start_soon(expect_jobs(bench, 0, leaves))
    await bench.cycles(300)
    worst = 0
    while not task.done():
        worst = max(worst, await expect_hash(bench, CTL, Request(bench.rng.randbytes(96), 0)))
        await bench.cycles(bench.rng.randrange(150))
    assert worst <= 96 + 42  # at most the rest of one block of a leaf


@cocotb.test()
async def guard_does_not_hold_up_tags(dut):
    bench = Bench(dut)
    await bench.start()
    await expect_hash(bench, TX, Request(b"key", 0))
    task = cocotb.start_soon(expect_hash(bench, GUARD, Request(bench.rng.randbytes(4000), 0, PERSON_GUARD_TAG, 8)))
    await bench.cycles(100)
    assert await expect_hash(bench, TX, Request(bench.rng.randbytes(96), 0)) <= 97
    assert not task.done()
    await task


@cocotb.test()
async def leaf_lengths(dut):
    bench = Bench(dut)
    await bench.start(latency=3)
    jobs = [Job(bench.rng.randrange(1 << 32), length, bench.rng.getrandbits(32), bool(i % 3 == 0),
                store=STORE_BASE + 32 * bench.rng.randrange(1024)) for i, length in enumerate(LEAF_LENGTHS)]
    await expect_jobs(bench, 0, jobs)
    assert dut.writes_o.value.to_unsigned() == len(jobs)
    bench.check()


@cocotb.test()
async def leaf_largest_and_throughput(dut):
    bench = Bench(dut)
    await bench.start(latency=60)
    lengths = (65536, 65536, 65536, 65535, 65529, 65536)
    jobs = [Job(0x4000_0003 + 65536 * i, n, i, i == len(lengths) - 1, store=STORE_BASE + 32 * i)
            for i, n in enumerate(lengths)]
    begun = bench.cycle
    await expect_jobs(bench, 0, jobs)
    rate = sum(lengths) * CLOCK_HZ / (bench.cycle - begun)
    dut._log.info("%d cycles for %d bytes: %.1f MB/s", bench.cycle - begun, sum(lengths), rate / 1e6)
    assert rate >= 460e6
    bench.check()


@cocotb.test()
async def root_over_stored_leaves(dut):
    bench = Bench(dut)
    await bench.start(latency=200, gap=60)
    for count in (1, 2, 3, 4, 5, 33):
        base, where = bench.rng.randrange(1 << 32), STORE_BASE + 32 * bench.rng.randrange(512)
        jobs = [Job(base + 64 * i, 64 if i < count - 1 else 7, i, i == count - 1, store=where + 32 * i)
                for i in range(count)]
        found = await bench.jobs(1, jobs)
        leaves = b"".join(job.expected() for job in jobs)
        assert b"".join(found) == leaves
        root = await bench.jobs(1, [Job(where, 32 * count, root=True)])
        assert root == [digest.root_digest(leaves)]
    bench.check()


@cocotb.test()
async def jobs_do_not_wait_for_other_clients(dut):
    bench = Bench(dut)
    await bench.start(latency=5)
    long = cocotb.start_soon(expect_jobs(bench, 0, [Job(0x100, 4000, 0, True)]))
    await bench.cycles(100)
    await expect_jobs(bench, 1, [Job(0x2000, 64, 0, True, store=STORE_BASE + 32)])
    assert not long.done()
    await long


@cocotb.test()
async def root_largest(dut):
    bench = Bench(dut)
    await bench.start(latency=10)
    # what the memory holds stands for leaf digests
    found = await bench.jobs(0, [Job(0x77_0000, 524288, root=True)])
    assert found == [digest.root_digest(memory_bytes(0x77_0000, 524288))]


@cocotb.test()
async def jobs_are_reported_in_order(dut):
    bench = Bench(dut)
    await bench.start(latency=5)
    lengths = (3000, 1, 2000, 64, 1, 1, 900, 5)
    jobs = [[Job(0x10_0000 * (c + 1) + 4096 * i, n, i, store=STORE_BASE + 4096 * c + 32 * i)
             for i, n in enumerate(lengths[c:] + lengths[:c])] for c in range(2)]
    await expect_jobs(bench, 0, jobs[0])
    tasks = [cocotb.start_soon(expect_jobs(bench, c, jobs[c])) for c in range(2)]
    for task in tasks:
        await task
    bench.check()


async def random_requests(bench: Bench, client: int, count: int) -> None:
    rng = bench.rng
    for _ in range(count):
        data = rng.randbytes(rng.choice((rng.randrange(300), 64 * rng.randrange(5))))
        await expect_hash(bench, client, Request(data, *rng.choice(KINDS)), gap=rng.choice((0.0, 0.5)))
        await bench.cycles(rng.randrange(1, 100))


async def random_jobs(bench: Bench, client: int, count: int) -> None:
    rng = bench.rng
    await expect_jobs(bench, client, [
        Job(rng.randrange(1 << 32), rng.choice((rng.randrange(1, 200), rng.randrange(1, 3000))), i, i == count - 1,
            store=STORE_BASE + 4096 * client + 32 * i) for i in range(count)])


@cocotb.test()
async def all_at_once(dut):
    bench = Bench(dut)
    await bench.start()
    for latency, gap in ((2, 0), (20, 128), (100, 230)):
        bench.set_memory(latency, gap)
        tasks = [cocotb.start_soon(random_requests(bench, c, 10)) for c in range(3)]
        tasks += [cocotb.start_soon(random_jobs(bench, c, 8)) for c in range(2)]
        for task in tasks:
            await task
        bench.check()


@cocotb.test()
async def digests_are_read_between_block_starts(dut):
    bench = Bench(dut)
    await bench.start(latency=1)
    jobs = [Job(bench.rng.randrange(1 << 32), bench.rng.randrange(1, 70), i, store=STORE_BASE + 32 * i)
            for i in range(60)]
    task = cocotb.start_soon(expect_jobs(bench, 0, jobs))

    async def keep_busy(client: int) -> None:
        while not task.done():
            await expect_hash(bench, client, Request(bench.rng.randbytes(bench.rng.randrange(1, 65))), b"")

    for other in [cocotb.start_soon(keep_busy(client)) for client in (CTL, GUARD)]:
        await other
    stored = b"".join(job.expected() for job in jobs)
    assert await bench.jobs(1, [Job(STORE_BASE, len(stored), root=True)]) == [digest.root_digest(stored)]


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = Bench(dut)
    await bench.start(latency=20, gap=30)
    for _ in range(8):
        tasks = [cocotb.start_soon(bench.hash(c, Request(bench.rng.randbytes(400), 0, store=H2C))) for c in range(3)]
        tasks += [cocotb.start_soon(bench.jobs(c, [Job(64 * c, 500, i) for i in range(4)])) for c in range(2)]
        await bench.cycles(bench.rng.randrange(1, 700))
        for task in tasks:
            task.cancel()
        await bench.reset()
        await expect_hash(bench, CTL, Request(bench.rng.randbytes(100), 0))
        await expect_hash(bench, GUARD, Request(bench.rng.randbytes(100), 0, PERSON_GUARD_TAG, 8))
        await expect_hash(bench, TX, Request(b"", H2C), bytes(32))  # a slot that nothing was stored in since
        await expect_jobs(bench, 1, [Job(5, 130, 9, True), Job(6, 131, 10)])
        bench.check()
