"""cocotb part of the runner's own test."""

from __future__ import annotations

import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge


async def start(dut):
    """Clock and reset; returns after the first cycle out of reset."""
    dut.up_i.value = 0
    dut.rst_ni.value = 0
    Clock(dut.clk_i, 6400, unit="ps").start()
    await ClockCycles(dut.clk_i, 3)
    dut.rst_ni.value = 1
    await RisingEdge(dut.clk_i)


@cocotb.test()
async def counts_cycles(dut):
    await start(dut)
    dut.up_i.value = 1
    await ClockCycles(dut.clk_i, 11)
    assert dut.count_o.value.to_unsigned() == int(os.environ.get("PROBE_EXPECTED", "10"))
    dut.rst_ni.value = 0
    await RisingEdge(dut.clk_i)
    await RisingEdge(dut.clk_i)
    assert dut.count_o.value.to_unsigned() == 0
