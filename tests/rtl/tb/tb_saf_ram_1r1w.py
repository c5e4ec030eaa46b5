"""cocotb part of saf_ram_1r1w: against a dictionary; old data on a collision, data held without enable."""

from __future__ import annotations

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


@cocotb.test()
async def random_accesses_match(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    Clock(dut.clk_i, 6400, unit="ps").start()
    depth, width = dut.Depth.value.to_unsigned(), dut.Width.value.to_unsigned()
    memory, shown = {}, None
    for _ in range(20 * depth):
        write, at, word = int(rng.random() < 0.6), rng.randrange(depth), rng.getrandbits(width)
        known = sorted(memory)
        read = int(bool(known) and rng.random() < 0.7)
        where = at if read and at in memory and rng.random() < 0.5 else rng.choice(known) if known else 0
        dut.wr_en_i.value, dut.wr_addr_i.value, dut.wr_data_i.value = write, at, word
        dut.rd_en_i.value, dut.rd_addr_i.value = read, where
        await RisingEdge(dut.clk_i)
        if shown is not None:
            assert dut.rd_data_o.value.to_unsigned() == shown
        if read:
            shown = memory[where]
        if write:
            memory[at] = word
