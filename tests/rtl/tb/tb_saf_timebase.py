"""cocotb part of saf_timebase: exact over many cycles, microseconds in step with nanoseconds."""

from __future__ import annotations

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


@cocotb.test()
async def time_is_cycles_times_period(dut):
    period_ps = dut.PeriodPs.value.to_unsigned()
    Clock(dut.clk_i, 6400, unit="ps").start()
    dut.rst_ni.value = 0
    await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    await RisingEdge(dut.clk_i)
    for cycle in range(3000):
        assert dut.time_ns_o.value.to_unsigned() == cycle * period_ps // 1000
        assert dut.time_us_o.value.to_unsigned() == cycle * period_ps // 1_000_000
        await RisingEdge(dut.clk_i)
