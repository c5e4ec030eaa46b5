"""cocotb part of the crossings, in one wrapper (crossings_probe.sv), and of saf_timebase."""

from __future__ import annotations

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Combine, ReadOnly, RisingEdge, Timer

SRC_PS, DST_PS = (int(os.environ.get(name, "6400")) for name in ("SRC_PS", "DST_PS"))


async def start(dut):
    dut.level_i.value = 0
    dut.pulse_i.value = 0
    dut.src_rst_ni.value = 0
    dut.dst_rst_ni.value = 0
    await Timer(1, "ns")  # before the first edge: nothing runs from random contents
    Clock(dut.src_clk_i, SRC_PS, unit="ps").start()
    Clock(dut.dst_clk_i, DST_PS, unit="ps").start()
    for _ in range(3):
        await Combine(RisingEdge(dut.src_clk_i), RisingEdge(dut.dst_clk_i))
    dut.src_rst_ni.value = 1
    dut.dst_rst_ni.value = 1
    await RisingEdge(dut.src_clk_i)


class Watch:
    """Pulses seen in the destination's clock, and the values its counter had."""

    def __init__(self, dut):
        self.pulses, self.values = 0, [0]
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut):
        while True:
            await RisingEdge(dut.dst_clk_i)
            self.pulses += int(dut.pulse_o.value)
            value = dut.count_o.value.to_unsigned()
            if value != self.values[-1]:
                self.values.append(value)


@cocotb.test()
async def pulses_that_wait_for_busy_all_arrive(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    watch = Watch(dut)
    sent = 0
    for _ in range(600):
        fire = int(not int(dut.busy_o.value) and rng.random() < 0.5)
        dut.pulse_i.value = fire
        sent += fire
        await RisingEdge(dut.src_clk_i)
        dut.pulse_i.value = 0
        await RisingEdge(dut.src_clk_i)
    await Timer(20 * (SRC_PS + DST_PS), "ps")
    assert watch.pulses == sent > 10


@cocotb.test()
async def pulses_while_busy_merge_into_one_more(dut):
    await start(dut)
    watch = Watch(dut)
    dut.pulse_i.value = 1
    for _ in range(3):
        await RisingEdge(dut.src_clk_i)
    dut.pulse_i.value = 0
    await Timer(40 * (SRC_PS + DST_PS), "ps")
    assert watch.pulses == 2
    assert int(dut.busy_o.value) == 0


@cocotb.test()
async def counter_shows_only_values_it_had(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    watch = Watch(dut)
    sent = 0
    for _ in range(400):
        fire = int(rng.random() < 0.7)
        dut.pulse_i.value = fire
        sent += fire
        await RisingEdge(dut.src_clk_i)
    dut.pulse_i.value = 0
    await Timer(20 * (SRC_PS + DST_PS), "ps")
    width = len(dut.count_o)
    assert watch.values[-1] == sent % 2 ** width
    steps = [(b - a) % 2 ** width for a, b in zip(watch.values, watch.values[1:], strict=False)]
    most = DST_PS // SRC_PS + 1
    assert all(0 < s <= most for s in steps)


@cocotb.test()
async def level_follows_after_two_edges(dut):
    await start(dut)
    for level in (1, 0, 1):
        dut.level_i.value = level
        await Timer(1, "ps")
        await RisingEdge(dut.dst_clk_i)
        await RisingEdge(dut.dst_clk_i)
        await ReadOnly()
        assert int(dut.level_o.value) == level
        await RisingEdge(dut.dst_clk_i)


@cocotb.test()
async def reset_asserts_at_once_and_releases_on_the_clock(dut):
    await start(dut)
    for _ in range(4):
        await RisingEdge(dut.dst_clk_i)
    assert int(dut.rst_no.value) == 1
    await Timer(DST_PS // 3, "ps")
    dut.dst_rst_ni.value = 0
    await Timer(1, "ps")
    await ReadOnly()
    assert int(dut.rst_no.value) == 0
    await Timer(DST_PS // 3, "ps")
    dut.dst_rst_ni.value = 1
    await RisingEdge(dut.dst_clk_i)
    assert int(dut.rst_no.value) == 0
    await RisingEdge(dut.dst_clk_i)
    await ReadOnly()
    assert int(dut.rst_no.value) == 1
