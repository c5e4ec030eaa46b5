"""cocotb part of saf_ddr's tests."""

from __future__ import annotations

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly, RisingEdge
from ddr_driver import Bench, pattern

ROLE_BYTES = 7 << 30
SCRATCH = 0x1_F820_0000


def lengths(bench: Bench) -> list[int]:
    """All lengths mod 8, around beats, rows and bursts, and some blocks."""
    rng = bench.rng
    out = [*list(range(1, 25)), 63, 64, 65, 127, 128, 511, 512, 513, 520, 1472, 2000]
    out += [rng.randrange(1, 1500) for _ in range(20)]
    rng.shuffle(out)
    return out


@cocotb.test()
async def writes_any_alignment(dut):
    bench = Bench(dut)
    await bench.reset()
    for n, writer in enumerate(bench.writers):
        writer.idle = (0.0, 0.3, 0.7)[n]
        address = n * 0x40000 + bench.rng.randrange(512) + (SCRATCH if n == 1 else 0)
        for count in lengths(bench)[:30 if n else 60]:
            data = bench.bytes(count)
            writer.put(address, data)
            bench.note(address, data)
            address += count + bench.rng.choice((0, 0, 1, 3, 7, 64, 100))
    total = [len(w.todo) for w in bench.writers]
    await bench.run(lambda: [w.done for w in bench.writers] == total)
    for base in (0, SCRATCH + 0x40000, 0x80000):
        inside = [a for a in bench.memory if base <= a < base + 0x40000]
        start, end = min(inside) - 64 & ~63, max(inside) + 128
        start = max(start, 0)
        assert await bench.peek(start, end - start) == bench.expected(start, end - start)


@cocotb.test()
async def reads_any_alignment(dut):
    """Four clients at once, with different back-pressure."""
    bench = Bench(dut)
    await bench.reset()
    asked: list[list[tuple[int, int]]] = [[], [], [], []]
    for n, reader in enumerate(bench.readers):
        reader.stall = (0.0, 0.3, 0.6, 0.1)[n]
        for count in lengths(bench)[:40]:
            address = bench.rng.randrange(1 << 33)
            asked[n].append((address, count))
            reader.ask(address, count)
    await bench.run(lambda: all(r.idle for r in bench.readers))
    for reader, commands in zip(bench.readers, asked, strict=True):
        assert reader.got == [pattern(*command) for command in commands]


@cocotb.test()
async def read_after_done_sees_the_write(dut):
    bench = Bench(dut)
    await bench.reset()
    writer, reader = bench.writers[2], bench.readers[2]
    await bench.scrubber_ready()
    rows = 1  # the scrubber's word of zeros
    for count in lengths(bench):
        address = 0x10000 + bench.rng.randrange(4096)
        data = bench.bytes(count)
        bench.note(address, data)
        rows += (address + count - 1) // 64 - address // 64 + 1
        await bench.write_through(writer, address, data)
        assert int(dut.words_written_o.value) == rows, "done before the controller took all rows"
        assert await bench.read_through(reader, address, count) == bench.expected(address, count)


@cocotb.test()
async def writes_at_line_rate(dut):
    """Blocks as they come from back-to-back frames, at every alignment, against refreshes."""
    bench = Bench(dut)
    await bench.reset()
    await bench.scrubber_ready()
    writer = bench.writers[0]
    for block in (8, 24, 64, 128, 1472, 8960):
        frames = max(3, 6000 // block)
        start, before = bench.cycle, writer.done
        for _ in range(frames):
            writer.put(bench.rng.randrange(1 << 30), bytes(block))
        await bench.run(lambda end=before + frames: writer.sent == end)
        wire_bytes = (max(60, block + 40) + 24) * frames
        assert bench.cycle - start <= wire_bytes / 8 + 10, f"blocks of {block}: {bench.cycle - start} cycles"
        dut._log.info(f"blocks of {block}: {bench.cycle - start} of {wire_bytes / 8:.0f} cycles")
        await bench.run(lambda end=before + frames: writer.done == end)


@cocotb.test()
async def feeds_the_pr_controller_without_bubbles(dut):
    """400 MB/s on client 3 beside writes at line rate, two hash lanes and frames."""
    bench = Bench(dut)
    await bench.reset()
    await bench.scrubber_ready()
    feed = bench.readers[3]
    feed.period = 3.125
    for n in (0, 1):
        bench.readers[n].period = 6.25
        bench.readers[n].ask(n << 20 | 5, 1 << 16)
    bench.readers[2].ask(3 << 20 | 3, 1 << 20)
    for _ in range(40):
        bench.writers[0].put(bench.rng.randrange(1 << 30), bytes(1472))
    count = 24000
    feed.ask(0x1_C000_0001, count)
    await bench.run(lambda: feed.idle)
    cycles = feed.last_cycle - feed.first_cycle
    dut._log.info(f"{count} bytes in {cycles} cycles, {feed.bubbles} bubbles; frames {bench.readers[2].beats} beats")
    assert cycles <= count / 8 * 3.125 * 1.02
    assert feed.got == [pattern(0x1_C000_0001, count)]


@cocotb.test()
async def one_reader_gets_a_beat_a_cycle(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.scrubber_ready()
    reader = bench.readers[2]
    start = bench.cycle
    reader.ask(0x1234567, 16384)
    await bench.run(lambda: reader.idle)
    cycles = reader.last_cycle - reader.first_cycle + 1
    dut._log.info(f"16384 bytes in {cycles} cycles, the first after {reader.first_cycle - start}")
    assert cycles <= 2048 * 1.02
    assert reader.first_cycle - start <= 60
    assert reader.got == [pattern(0x1234567, 16384)]


@cocotb.test()
async def abort_drops_what_is_left(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.scrubber_ready()
    for at in (0, 1, 5, 17, 100, 249):
        for n, reader in enumerate(bench.readers):
            reader.stall = 0.2
            reader.abort_at = at if n != 1 else None
            reader.ask(0x1000 * n + at, 2000)
            reader.ask(0x9000 * n + at, 77)
        await bench.run(lambda: all(r.idle for r in bench.readers))
        for n, reader in enumerate(bench.readers):
            expected = [pattern(0x9000 * n + at, 77)]
            if n == 1:
                expected = [pattern(0x1000 * n + at, 2000), *expected]
            assert reader.got == expected, (n, at)
            reader.got.clear()
    assert [r.aborted for r in bench.readers] == [6, 0, 6, 6]


@cocotb.test()
async def reset_in_the_middle(dut):
    """Whatever was under way: afterwards everything works."""
    bench = Bench(dut)
    await bench.reset()
    for _ in range(3):
        for n, writer in enumerate(bench.writers):
            for _ in range(20):
                writer.put(n << 20 | bench.rng.randrange(4096), bench.bytes(300))
        for n, reader in enumerate(bench.readers):
            reader.ask(8 << 20 | n, 30000)
        await bench.run_for(bench.rng.randrange(100, 500))
        await FallingEdge(dut.clk_i)
        bench.forget()
        await bench.reset()
        writer, reader, data = bench.writers[1], bench.readers[1], bench.bytes(777)
        await bench.write_through(writer, 0x2345, data)
        assert await bench.read_through(reader, 0x2345, 777) == data


class Role:
    """The role's port, in the ddr clock."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.read: list[int] = []
        self.faults = 0
        cocotb.start_soon(self._collect())
        cocotb.start_soon(self._count_faults())

    async def _collect(self) -> None:
        while True:
            await RisingEdge(self.dut.ddr_clk_i)
            if self.dut.role_rvalid_o.value == 1:
                self.read.append(int(self.dut.role_rdata_o.value))

    async def _count_faults(self) -> None:
        while True:
            await RisingEdge(self.dut.clk_i)
            self.faults += int(self.dut.role_fault_o.value)

    async def access(self, address: int, data: int | None = None, enable: int = (1 << 64) - 1,
                     limit: int = 20000) -> bool:
        """One access; False when it was not accepted within ``limit`` cycles."""
        dut = self.dut
        await RisingEdge(dut.ddr_clk_i)
        dut.role_valid_i.value = 1
        dut.role_write_i.value = int(data is not None)
        dut.role_addr_i.value = address
        dut.role_data_i.value = data or 0
        dut.role_be_i.value = enable
        taken = False
        for _ in range(limit):
            await RisingEdge(dut.ddr_clk_i)
            if dut.role_ready_o.value == 1:
                taken = True
                break
        dut.role_valid_i.value = 0
        return taken

    async def answers(self, count: int) -> list[int]:
        for _ in range(2000):
            if len(self.read) >= count:
                break
            await RisingEdge(self.dut.ddr_clk_i)
        return self.read


@cocotb.test()
async def role_is_kept_inside(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.scrubber_ready()
    role = Role(dut)
    word = int.from_bytes(bench.bytes(64), "little")
    last = ROLE_BYTES - 64
    assert await role.access(last, word)
    assert await role.access(last, 0, 1 << 63 | 1)
    assert role.faults == 0
    await ClockCycles(dut.ddr_clk_i, 4)
    outside = [ROLE_BYTES, SCRATCH, (1 << 34) - 64, ROLE_BYTES + (1 << 32)]
    for address in outside:
        written = int(dut.words_written_o.value)
        assert await role.access(address, word)
        await ClockCycles(dut.ddr_clk_i, 100)
        assert int(dut.words_written_o.value) == written
    assert role.faults == len(outside)
    for address in (last, *outside, last):
        assert await role.access(address)
    expected = word & ~(0xFF << 504 | 0xFF)
    assert await role.answers(6) == [expected, 0, 0, 0, 0, expected]
    await ClockCycles(dut.clk_i, 20)
    assert role.faults > len(outside)


@cocotb.test()
async def role_block_lets_nothing_in(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.scrubber_ready()
    role = Role(dut)
    for n in range(20):
        assert await role.access(64 * n)
    dut.role_block_i.value = 1
    for _ in range(500):
        await RisingEdge(dut.clk_i)
        if dut.role_idle_o.value == 1:
            break
    await ReadOnly()
    assert len(role.read) == 20
    assert dut.role_idle_o.value == 1
    await RisingEdge(dut.clk_i)
    assert not await role.access(0, limit=300)
    assert not await role.access(0, 1, limit=300)
    dut.role_block_i.value = 0
    await ClockCycles(dut.clk_i, 10)
    assert dut.role_idle_o.value == 0
    assert await role.access(0)
    await role.answers(21)
    assert len(role.read) == 21


async def scrub(dut) -> None:
    """Start one and wait for its end."""
    dut.scrub_start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.scrub_start_i.value = 0
    await RisingEdge(dut.clk_i)
    assert dut.scrub_busy_o.value == 1
    await scrub_end(dut)


async def scrub_end(dut) -> None:
    for _ in range(4000):
        await ClockCycles(dut.clk_i, 40)
        if dut.scrub_busy_o.value == 0:
            return
    raise AssertionError("the scrub does not end")


@cocotb.test()
async def scrub_zeroes_what_was_written(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.scrubber_ready()
    role = Role(dut)
    writer = bench.writers[0]
    data = bench.bytes(300)
    edge = (5 << 20) - 100  # two regions; folded into the small map, scratch is another
    for address in (edge, SCRATCH + 64):
        writer.put(address, data)
    await bench.run(lambda: writer.done == 2)
    assert await role.access(63 << 20, 1)
    await ClockCycles(dut.ddr_clk_i, 4)
    written = int(dut.words_written_o.value)
    await scrub(dut)
    assert int(dut.words_written_o.value) - written == 3 * 16384
    assert not any(await bench.peek(edge, 300))
    assert not any(await bench.peek(63 << 20, 64))
    assert await bench.peek(SCRATCH + 64, 300) == data
    written = int(dut.words_written_o.value)
    await scrub(dut)
    assert int(dut.words_written_o.value) == written


@cocotb.test()
async def scrub_twice_and_what_comes_meanwhile(dut):
    """A write under a scrub is zeroed by the same scrub; a second start waits its turn."""
    bench = Bench(dut)
    await bench.reset()
    await bench.scrubber_ready()
    writer = bench.writers[0]
    writer.put((1 << 20) + 7, b"\xff" * 100)
    await bench.run(lambda: writer.done == 1)
    dut.scrub_start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.scrub_start_i.value = 0
    await ClockCycles(dut.clk_i, 2000)
    writer.put(64, b"\xee" * 100)
    await bench.run(lambda: writer.done == 2)
    assert dut.scrub_busy_o.value == 1
    await scrub_end(dut)
    assert not any(await bench.peek(0, 256))
    assert not any(await bench.peek(1 << 20, 256))
    await bench.write_through(writer, 64, b"\xdd" * 100)
    dut.scrub_start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.scrub_start_i.value = 0
    await ClockCycles(dut.clk_i, 50)
    await scrub(dut)
    assert not any(await bench.peek(0, 256))
