"""Drives ddr_bench: write and read clients as plain objects stepped once a core cycle, and a look into the memory."""

from __future__ import annotations

import os
import random
from collections import deque

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

WRITERS, READERS = 3, 4
CORE_PS = 6400
MASK34 = (1 << 34) - 1


def pattern_word(word: int) -> bytes:
    """What saf_model_ddr gives for a word never written, with Pattern."""
    return b"".join((((word * 16 + i + 1) * 0x9E3779B1) & 0xFFFFFFFF).to_bytes(4, "little") for i in range(16))


def pattern(address: int, count: int) -> bytes:
    """Bytes of such memory."""
    first, last = address // 64, (address + count - 1) // 64
    whole = b"".join(map(pattern_word, range(first, last + 1)))
    return whole[address % 64:address % 64 + count]


class Writer:
    """One write client: objects in, acknowledgements counted."""

    def __init__(self, idle: float = 0.0) -> None:
        self.todo: deque[tuple[int, bytes]] = deque()
        self.sent = self.done = 0
        self.idle = idle
        self._beats: list[int] = []
        self._at = 0
        self._object = (0, b"")
        self.valid = False

    def put(self, address: int, data: bytes) -> None:
        self.todo.append((address, data))

    def step(self, ready: bool, done: bool, rng: random.Random) -> tuple[int, int, int, int, int]:
        """(valid, address, bytes, data, last) of the next cycle."""
        self.done += done
        if self.valid and ready:
            self._at += 1
            self.valid = False
            if self._at == len(self._beats):
                self.sent += 1
                self._beats = []
        if not self._beats and self.todo:
            self._object = self.todo.popleft()
            data = self._object[1]
            junk = bytes(rng.getrandbits(8) for _ in range(-len(data) % 8))
            padded = data + junk
            self._beats = [int.from_bytes(padded[i:i + 8], "big") for i in range(0, len(padded), 8)]
            self._at = 0
        if self._beats and not self.valid:
            self.valid = rng.random() >= self.idle
        if not self.valid:
            return 0, 0, 0, 0, 0
        return 1, self._object[0], len(self._object[1]), self._beats[self._at], int(self._at == len(self._beats) - 1)


class Reader:
    """One read client: commands in, bytes out."""

    def __init__(self, stall: float = 0.0) -> None:
        self.todo: deque[tuple[int, int]] = deque()
        self.stall = stall
        self.period = 0.0  # cycles between beats taken; 0: as `stall` says
        self.got: list[bytes] = []
        self.errors: list[str] = []
        self.first_cycle = self.last_cycle = 0
        self.bubbles = 0
        self.beats = 0
        self.abort_at: int | None = None  # beats after which the command is dropped
        self.aborted = 0
        self._command: tuple[int, int] | None = None
        self._expected = 0
        self._data = bytearray()
        self._asking = self.ready = self._abort = False
        self._due = 0.0

    def ask(self, address: int, count: int) -> None:
        self.todo.append((address, count))

    @property
    def idle(self) -> bool:
        return not self.todo and self._command is None

    def step(self, cycle: int, rd_ready: bool, valid: bool, data: int, last: bool,
             rng: random.Random) -> tuple[int, int, int, int, int]:
        """(valid, address, bytes, ready for data, abort) of the next cycle."""
        if self._asking and rd_ready:
            self._asking = False
        if self._abort:
            self._abort = False
            if self._command is not None:
                self._command = None
                self.aborted += 1
        elif valid and self._command is None:
            self.errors.append(f"cycle {cycle}: a beat without a command")
        elif self._command is not None and self.ready:
            if valid:
                self._take(cycle, data, last)
            elif self.beats:
                self.bubbles += 1
        if self._command is None and self.todo and not self._asking:
            self._command = self.todo.popleft()
            self._asking = True
            self._data = bytearray()
            self.beats = 0
            self._due = 0.0
        if self._command is not None and self.abort_at is not None and not self._asking and self.beats >= self.abort_at:
            self._abort = True
            self.abort_at = None
        if self.period:
            self.ready = cycle >= self._due
        else:
            self.ready = rng.random() >= self.stall
        if self._abort:
            self.ready = False
        address, count = self._command if self._asking and self._command else (0, 0)
        return int(self._asking), address, count, int(self.ready), int(self._abort)

    def _take(self, cycle: int, data: int, last: bool) -> None:
        assert self._command is not None
        if not self.beats:
            self.first_cycle = cycle
            self._due = float(cycle)
        self._due += self.period
        self.beats += 1
        self._data += data.to_bytes(8, "big")
        count = self._command[1]
        if last != (len(self._data) >= count):
            self.errors.append(f"last is {last} after {len(self._data)} of {count} bytes")
        if len(self._data) >= count:
            if any(self._data[count:]):
                self.errors.append("the last beat is not padded with zeros")
            self.got.append(bytes(self._data[:count]))
            self.last_cycle = cycle
            self._command = None


class Bench:
    """Both clocks, reset, and the loop that steps all clients."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.rng = random.Random(int(os.environ.get("COCOTB_RANDOM_SEED", "1")))
        self.forget()
        self.memory: dict[int, int] = {}
        self.cycle = 0
        self.hook = None  # called each cycle
        ddr_ps = int(os.environ.get("DDR_PS", "5000"))
        Clock(dut.clk_i, CORE_PS, unit="ps").start()
        Clock(dut.ddr_clk_i, ddr_ps, unit="ps").start()

    def forget(self) -> None:
        """New clients."""
        self.writers = [Writer() for _ in range(WRITERS)]
        self.readers = [Reader() for _ in range(READERS)]

    async def reset(self) -> None:
        dut = self.dut
        for name in ("wr_valid_i", "rd_valid_i", "rd_dready_i", "rd_abort_i", "scrub_start_i", "role_valid_i",
                     "role_write_i", "role_block_i", "role_addr_i", "role_data_i", "role_be_i", "peek_addr_i",
                     "wr_addr_i", "wr_bytes_i", "wr_data_i", "wr_last_i", "rd_addr_i", "rd_bytes_i"):
            getattr(dut, name).value = 0
        dut.rst_ni.value = 0
        dut.ddr_rst_ni.value = 0
        await ClockCycles(dut.clk_i, 4)
        await RisingEdge(dut.ddr_clk_i)
        dut.ddr_rst_ni.value = 1
        await RisingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        await RisingEdge(dut.clk_i)

    def note(self, address: int, data: bytes) -> None:
        """The reference memory after a write."""
        for i, byte in enumerate(data):
            self.memory[address + i] = byte

    def expected(self, address: int, count: int) -> bytes:
        return bytes(self.memory.get(address + i, 0) for i in range(count))

    async def run(self, done, limit: int = 60000) -> None:
        """Step until ``done()``; AssertionError after ``limit`` cycles."""
        dut, rng = self.dut, self.rng
        for _ in range(limit):
            await RisingEdge(dut.clk_i)
            self.cycle += 1
            wr_ready, wr_done = int(dut.wr_ready_o.value), int(dut.wr_done_o.value)
            rd_ready, rd_valid, rd_last = (int(dut.rd_ready_o.value), int(dut.rd_dvalid_o.value),
                                           int(dut.rd_dlast_o.value))
            rd_data = int(dut.rd_data_o.value) if rd_valid else 0
            valid = address = count = data = last = 0
            for i, writer in enumerate(self.writers):
                v, a, n, d, e = writer.step(bool(wr_ready >> i & 1), bool(wr_done >> i & 1), rng)
                valid |= v << i
                address |= a << 34 * i
                count |= n << 16 * i
                data |= d << 64 * i
                last |= e << i
            dut.wr_valid_i.value = valid
            if valid:
                dut.wr_addr_i.value, dut.wr_bytes_i.value = address, count
                dut.wr_data_i.value, dut.wr_last_i.value = data, last
            valid = address = count = ready = abort = 0
            for i, reader in enumerate(self.readers):
                v, a, n, r, x = reader.step(self.cycle, bool(rd_ready >> i & 1), bool(rd_valid >> i & 1),
                                            rd_data >> 64 * i & (1 << 64) - 1, bool(rd_last >> i & 1), rng)
                valid |= v << i
                address |= a << 34 * i
                count |= n << 32 * i
                ready |= r << i
                abort |= x << i
            dut.rd_valid_i.value, dut.rd_dready_i.value, dut.rd_abort_i.value = valid, ready, abort
            if valid:
                dut.rd_addr_i.value, dut.rd_bytes_i.value = address, count
            if self.hook is not None:
                self.hook()
            errors = [e for r in self.readers for e in r.errors]
            assert not errors, errors[0]
            if done():
                return
        raise AssertionError(f"not done after {limit} cycles")

    async def run_for(self, cycles: int) -> None:
        """Step ``cycles`` times."""
        end = self.cycle + cycles
        await self.run(lambda: self.cycle >= end)

    async def write_through(self, writer: Writer, address: int, data: bytes) -> None:
        """Write one object and wait until it is in DDR."""
        end = writer.done + 1
        writer.put(address, data)
        await self.run(lambda: writer.done == end)

    async def read_through(self, reader: Reader, address: int, count: int) -> bytes:
        """Read one range."""
        reader.ask(address, count)
        await self.run(lambda: reader.idle)
        return reader.got[-1]

    async def peek(self, address: int, count: int) -> bytes:
        """Bytes of the model's memory."""
        dut = self.dut
        first, last = address // 64, (address + count - 1) // 64
        out = b""
        for word in range(first, last + 1):
            dut.peek_addr_i.value = word
            await RisingEdge(dut.ddr_clk_i)
            await RisingEdge(dut.ddr_clk_i)
            out += int(dut.peek_data_o.value).to_bytes(64, "little")
        return out[address % 64:address % 64 + count]

    async def scrubber_ready(self) -> None:
        """After a reset: until the dirty map is clear."""
        await ClockCycles(self.dut.ddr_clk_i, 64 + 20)

    def bytes(self, count: int) -> bytes:
        return self.rng.randbytes(count)
