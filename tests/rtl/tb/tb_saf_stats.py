"""cocotb part of saf_stats: events of every cycle, bursts on every input, against plain counting; the register file."""

from __future__ import annotations

import random
from collections import Counter

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from shell_types import pack

from safhost.wire import generated
from safhost.wire.generated import DropReason

SETTLE = 120  # cycles until all that waits is counted, generously
WORDS = {"tx": generated.REGISTER_TX_FRAMES, "block": generated.REGISTER_DATA_BLOCKS,
         "command": generated.REGISTER_COMMANDS, "rx": generated.REGISTER_RX_FRAMES}


class Bench:
    def __init__(self, dut) -> None:
        self.dut, self.rng, self.counts = dut, random.Random(cocotb.RANDOM_SEED), Counter()
        self.ports = len(dut.drop_valid_i)

    async def start(self):
        dut, rng = self.dut, self.rng
        self.role = {"card_state": rng.getrandbits(8), "pr_status": rng.getrandbits(8), "epoch": rng.getrandbits(32)}
        self.compat = rng.getrandbits(32)
        dut.cfg_i.value = pack("cfg_t", {"pr_compat_id": self.compat})
        dut.role_i.value = pack("role_view_t", self.role)
        self.plain = {"time_us": rng.getrandbits(64), "pr_count": rng.getrandbits(32),
                      "session_count": rng.getrandbits(32)}
        for name, value in self.plain.items():
            getattr(dut, f"{name}_i").value = value
        self.quiet()
        dut.reg_addr_i.value = 0
        dut.rst_ni.value = 0
        await Timer(1, "ns")  # before the first edge: nothing runs from random contents
        Clock(dut.clk_i, 6400, unit="ps").start()
        await self.reset()

    async def reset(self):
        self.dut.rst_ni.value = 0
        await RisingEdge(self.dut.clk_i)
        await RisingEdge(self.dut.clk_i)
        self.counts.clear()
        self.dut.rst_ni.value = 1

    def quiet(self):
        self.dut.drop_valid_i.value = 0
        for name in ("rx", "tx", "block", "command"):
            getattr(self.dut, f"{name}_count_i").value = 0

    async def events(self, cycles, p, reasons, p_first=None):
        """Events on every input with probability ``p``, drop port 0 with ``p_first``."""
        dut, rng = self.dut, self.rng
        for _ in range(cycles):
            valid = packed = 0
            for port in range(self.ports):
                reason = rng.choice(reasons)
                fire = rng.random() < (p_first if p_first is not None and port == 0 else p)
                valid |= fire << port
                packed |= reason << 5 * port
                self.counts[reason] += fire
            dut.drop_valid_i.value, dut.drop_reason_i.value = valid, packed
            for name in ("rx", "tx", "block", "command"):
                fire = rng.random() < p
                getattr(dut, f"{name}_count_i").value = int(fire)
                self.counts[name] += fire
            await RisingEdge(dut.clk_i)
        self.quiet()

    async def register(self, word):
        self.dut.reg_addr_i.value = word
        for _ in range(3):
            await RisingEdge(self.dut.clk_i)
        return self.dut.reg_data_o.value.to_unsigned()

    async def settle(self):
        """The RAM is cleared after reset; no event waits."""
        for _ in range(SETTLE):
            await RisingEdge(self.dut.clk_i)

    async def check(self):
        dut = self.dut
        await self.settle()
        expected = {generated.REGISTER_PROTOCOL_VERSION: 1, generated.REGISTER_SHELL_VERSION: 0x01000000,
                    generated.REGISTER_PR_COMPAT_ID: self.compat,
                    generated.REGISTER_CARD_STATE: self.role["card_state"],
                    generated.REGISTER_PR_STATUS: self.role["pr_status"],
                    generated.REGISTER_ROLE_EPOCH: self.role["epoch"],
                    generated.REGISTER_SESSION_COUNT: self.plain["session_count"],
                    generated.REGISTER_UPTIME_US: self.plain["time_us"],
                    generated.REGISTER_PR_COUNT: self.plain["pr_count"]}
        expected |= {word: self.counts[name] for name, word in WORDS.items()}
        expected |= {generated.REGISTER_DROP_BASE + 8 * r: self.counts[r] for r in DropReason}
        for word in range(generated.REGISTER_END // 8):
            assert await self.register(word) == expected.get(8 * word, 0), f"register {8 * word:#x}"
        assert dut.rx_frames_o.value.to_unsigned() == self.counts["rx"]
        lost = sum(self.counts[r] for r in DropReason if r is not DropReason.DUPLICATE_BLOCK)
        assert dut.rx_dropped_o.value.to_unsigned() == lost


@cocotb.test()
async def events_of_every_cycle_are_all_counted(dut):
    bench = Bench(dut)
    await bench.start()
    await bench.settle()
    for p, first, cycles, reasons in (
            (0.0, 1.0, 200, [DropReason.VLAN]), (1.0, 1.0, 14, list(DropReason)), (0.05, 0.5, 400, list(DropReason)),
            (1.0, 1.0, 14, [DropReason.DUPLICATE_BLOCK]), (0.1, 0.1, 300, [DropReason.TRUNCATED, DropReason.VLAN]),
            (0.02, 1.0, 100, [DropReason.DUPLICATE_BLOCK, DropReason.BAD_PARAMETER])):
        await bench.events(cycles, p, reasons, first)
        await bench.check()


@cocotb.test()
async def registers_right_after_reset_are_zero(dut):
    bench = Bench(dut)
    await bench.start()
    await bench.settle()
    await bench.events(14, 0.9, list(DropReason))
    for _ in range(3):
        await bench.reset()
        for _ in range(bench.rng.randrange(30)):
            word = bench.rng.choice((9, 10, 11, *range(32, 53)))
            assert await bench.register(word) == 0
        await bench.events(bench.rng.randrange(10), 0.9, list(DropReason))
        await bench.check()


@cocotb.test()
async def events_right_after_reset_are_counted(dut):
    bench = Bench(dut)
    await bench.start()
    for _ in range(3):
        await bench.events(28, 0.1, list(DropReason), 0.15)
        await bench.check()
        await bench.reset()


@cocotb.test()
async def counters_never_go_back_while_read(dut):
    bench = Bench(dut)
    await bench.start()
    await bench.settle()
    traffic = cocotb.start_soon(bench.events(600, 0.05, [DropReason.TRUNCATED], 0.5))
    last = 0
    while not traffic.done():
        now = await bench.register(32)
        assert last <= now <= bench.counts[DropReason.TRUNCATED]
        assert bench.counts[DropReason.TRUNCATED] - now <= 16 * bench.ports
        last = now
    await bench.check()
