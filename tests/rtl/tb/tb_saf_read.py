"""cocotb part of saf_read's tests."""

from __future__ import annotations

import cocotb
from cocotb.triggers import ClockCycles
from read_driver import LEAF_BASE, ROLE_BYTES, Bench

from safhost.wire.generated import Read, ReadDone, Status

DDR, SHELL, ROLE, LEAVES = 1, 2, 3, 4


@cocotb.test()
async def ddr_any_length_and_part(dut):
    bench = Bench(dut)
    await bench.reset()
    rng = bench.rng
    lengths = [*range(1, 20), 63, 64, 65, 1407, 1408, 1409, 5000, 66000]
    lengths += [rng.randrange(1, 9000) for _ in range(10)]
    for n, length in enumerate(lengths):
        block = rng.choice((64, 128, 1408, 8960)) if length < 3000 else rng.choice((1408, 8960))
        blocks = -(-length // block)
        first = rng.randrange(blocks) if n % 3 else 0
        count = rng.randrange(1, blocks - first + 1) if n % 2 else 0
        bench.ask(100 + n, n, address=rng.randrange(ROLE_BYTES - length), length=length, block_bytes=block,
                  first_block=first, count=count)
        await bench.run(lambda: len(bench.events) >= len(bench.reference.events) and not bench.asks)
    bench.check()


@cocotb.test()
async def refusals_as_the_virtual_card(dut):
    """Each field at and over its limits, then mixtures: the first check that fails gives the status."""
    bench = Bench(dut)
    bench.block_limit = 1472
    await bench.reset()
    rng = bench.rng
    good = {"address": 64, "length": 3000, "block_bytes": 1472}
    single = [{"block_bytes": b} for b in (0, 1, 63, 64, 96, 1472, 1473, 1536, 65472)]
    single += [{"length": n} for n in (0, 1, (1 << 20) + 1, 1 << 31, 0xFFFFFFFF)]
    single += [{"length": 2944, "first_block": f, "count": c} for f, c in ((1, 0), (1, 1), (2, 0), (0, 3), (1, 2))]
    single += [{"address": a} for a in (ROLE_BYTES - 3000, ROLE_BYTES - 2999, 1 << 34, (1 << 64) - 1, 1 << 40)]
    single += [{"space": s} for s in (0, 5, 255)]
    single += [{"first_block": f} for f in (2, 3, 1 << 14, 0xFFFFFFFF)]
    single += [{"count": c} for c in (1, 3, 4, 1 << 15, 0xFFFFFFFF)]
    single += [{"first_block": f, "count": c} for f, c in ((1, 2), (1, 3), (2, 1), (2, 2), (16383, 32767))]
    single += [{"space": SHELL, "address": a, "length": n} for a, n in ((0, 512), (0, 513), (511, 1), (512, 1), (8, 9))]
    single += [{"space": ROLE, "address": a, "length": n} for a, n in ((4000, 96), (4000, 97), (4096, 1), (0, 1))]
    single += [{"space": LEAVES, "transfer": t, "address": a, "length": n}
               for t, a, n in ((7, 0, 960), (7, 928, 32), (7, 928, 33), (7, 1 << 34, 32), (8, 0, 32), (9, 0, 32))]
    every = [{**good, **change} for change in single]
    every.append({**good, "length": 1 << 20, "count": 1})  # the largest
    every += [{**good, **rng.choice(single), **rng.choice(single), **rng.choice(single)} for _ in range(60)]
    every.append({**good, "space": ROLE, "address": 0, "length": 8})  # there is no role by then
    for n, fields in enumerate(every):
        if n == len(every) // 2:
            bench.has_role = False
            dut.has_role_i.value = 0
        bench.ask(n, 1000 + n, **fields)
        await bench.run(lambda: len(bench.events) >= len(bench.reference.events) and not bench.asks)
    bench.check()
    assert len({event[3][:2] for event in bench.events if event[0] == "done"}) >= 8


@cocotb.test()
async def registers_and_leaves_byte_by_byte(dut):
    bench = Bench(dut)
    await bench.reset()
    rng = bench.rng
    for n in range(14):
        space = (SHELL, ROLE, LEAVES)[n % 3]
        size = (512, 4096, 960)[n % 3]
        length = rng.randrange(1, min(size, 700))
        bench.ask(n, n, space=space, address=rng.randrange(size - length), length=length, block_bytes=64 * (1 + n % 3),
                  transfer=7)
    bench.ask(20, 20, space=ROLE, address=0, length=4096)
    await bench.run(lambda: len(bench.events) >= len(bench.reference.events) and not bench.asks)
    bench.check()


@cocotb.test()
async def queue_keeps_order_and_says_busy(dut):
    bench = Bench(dut, stall=0.0)
    await bench.reset()
    dut.scrub_busy_i.value = 1
    for n in range(32):
        bench.ask(n, n, address=n << 12, length=100 + n)
    await bench.run(lambda: not bench.asks)
    assert not bench.events
    for n in (32, 33):
        bench.ask(n, 2 * n, refer=False, address=0, length=77 + n)
    await bench.run(lambda: len(bench.events) == 2)
    for n, event in zip((32, 33), bench.events, strict=True):
        assert event == ("done", n, 2 * n, ReadDone(status=Status.BUSY, length=77 + n).pack())
    bench.events.clear()
    dut.scrub_busy_i.value = 0
    await bench.run(lambda: len(bench.events) >= len(bench.reference.events))
    bench.check()


@cocotb.test()
async def frames_keep_their_gap(dut):
    """Never before start + i × gap, and on time in the mean; a jump of time lets the late ones go at once."""
    bench = Bench(dut, stall=0.0)
    await bench.reset()
    gap_ns = 3200
    bench.ask(1, 1, refer=False, address=0, length=64 * 40, block_bytes=64, gap_ns=gap_ns)
    await bench.run(lambda: len(bench.frame_cycles) == 20)
    # the first waits for DDR
    second = bench.frame_cycles[1]
    assert second - bench.frame_cycles[0] <= gap_ns / 6.4
    for i, cycle in enumerate(bench.frame_cycles[1:]):
        assert -13 <= (cycle - second) * 6.4 - i * gap_ns <= 13, f"frame {i + 1}"
    bench.time_ns += 100 * gap_ns
    start = bench.cycle
    await bench.run(lambda: len(bench.frame_cycles) == 40)
    assert bench.cycle - start < 20 * 20
    await bench.run(lambda: bench.events[-1][0] == "done")


@cocotb.test()
async def push_sends_and_tells_the_root(dut):
    bench = Bench(dut)
    await bench.reset()
    for n, (address, count, block) in enumerate(((0x1003, 4000, 1408), (77, 1, 64), (1 << 30, 70000, 8960))):
        bench.push = {"push_read_i": 50 + n, "push_addr_i": address, "push_bytes_i": count, "push_block_i": block}
        bench.ask(n, n, address=64, length=100)
        await bench.run(lambda: bench.push is None and not bench.asks and bench.events[-1][0] == "done")
        assert bench.push_result == (-(-count // block), bench.root(address, count))
        pushed = [e[1] for e in bench.events if e[0] == "frame" and int.from_bytes(e[1][24:28], "big") == 50 + n]
        encoder_events = bench.reference.events
        before = len(encoder_events)
        payload = Read(space=DDR, block_bytes=block, gap_ns=0, address=address, length=count, first_block=0, count=0,
                       transfer=0).pack()
        bench.reference.read(50 + n, 0, payload)
        assert pushed == [e[1] for e in encoder_events[before:] if e[0] == "frame"]


@cocotb.test()
async def session_end_stops_at_once(dut):
    """The frame under way ends whole, no more follow, nothing is answered, and the next session's READ is served."""
    bench = Bench(dut)
    await bench.reset()
    rng = bench.rng
    for n in range(14):
        for k in range(3):
            bench.ask(n, k, refer=False, space=rng.choice((DDR, DDR, ROLE, LEAVES)), address=0, length=900,
                      block_bytes=128, transfer=7)
        stop = bench.cycle + rng.randrange(1, 900)
        await bench.run(lambda stop=stop: bench.cycle >= stop)
        bench.asks.clear()
        bench._drive["h_valid_i"] = 0
        dut.h_valid_i.value = 0
        # the control unit lets a handler finish: wait until it would be done
        await bench.run(lambda stop=stop: bench.cycle >= stop + 12)
        started_message = bool(bench._message)
        dut.session_end_i.value = 1
        dut.open_i.value = 0
        await bench.run(lambda: True)
        dut.session_end_i.value = 0
        events, end = len(bench.events), bench.cycle
        await bench.run(lambda end=end: bench.cycle >= end + 700)
        after = bench.events[events:]
        assert len([e for e in after if e[0] == "frame"]) <= 1
        assert len([e for e in after if e[0] == "done"]) <= int(started_message) + 1
        assert not bench._frame
        assert not bench._message
        dut.open_i.value = 1
        bench.events.clear()
        bench.reference.events.clear()
        bench.ask(500 + n, n, address=rng.randrange(1 << 30), length=200, block_bytes=64)
        await bench.run(lambda: len(bench.events) >= len(bench.reference.events))
        bench.check()
    assert bench.aborts


@cocotb.test()
async def push_without_session_is_counted(dut):
    bench = Bench(dut)
    await bench.reset()
    dut.open_i.value = 0
    bench.push = {"push_read_i": 5, "push_addr_i": 99, "push_bytes_i": 3000, "push_block_i": 128}
    await bench.run(lambda: bench.push is None)
    assert bench.push_result == (24, bench.root(99, 3000))
    assert not bench.events
    dut.open_i.value = 1
    await bench.run(lambda: bench.cycle % 50 == 0)
    bench.push = {"push_read_i": 5, "push_addr_i": 99, "push_bytes_i": 3000, "push_block_i": 128}
    await bench.run(lambda: len(bench.events) == 5)
    dut.session_end_i.value = 1
    dut.open_i.value = 0
    await bench.run(lambda: True)
    dut.session_end_i.value = 0
    await bench.run(lambda: bench.push is None)
    assert bench.push_result == (24, bench.root(99, 3000))
    assert len(bench.events) <= 7


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = Bench(dut)
    await bench.reset()
    for n in range(5):
        bench.ask(n, n, refer=False, space=(DDR, ROLE, SHELL)[n % 3], address=0, length=500, block_bytes=128)
        stop = bench.cycle + bench.rng.randrange(1, 400)
        await bench.run(lambda stop=stop: bench.cycle >= stop)
        bench.asks.clear()
        await bench.reset()
        bench.events.clear()
        bench.reference.events.clear()
        bench.ask(900 + n, n, address=LEAF_BASE // 64, length=300)
        await bench.run(lambda: len(bench.events) >= len(bench.reference.events))
        bench.check()
    await ClockCycles(dut.clk_i, 5)
