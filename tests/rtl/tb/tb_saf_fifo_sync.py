"""cocotb part of saf_fifo_sync: against a deque, with idle, back-pressure, full, empty, and reset in the middle."""

from __future__ import annotations

import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer


async def start(dut):
    dut.rst_ni.value = 0
    await Timer(1, "ns")  # before the first edge: nothing runs from random contents
    Clock(dut.clk_i, 6400, unit="ps").start()
    await reset(dut)


async def reset(dut):
    dut.wr_valid_i.value = 0
    dut.rd_ready_i.value = 0
    dut.rst_ni.value = 0
    for _ in range(3):
        await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    await RisingEdge(dut.clk_i)


async def traffic(dut, rng, cycles, p_write, p_read, held):
    """Random traffic; ``held`` is what the FIFO should hold. Returns words that came out."""
    width, depth = dut.Width.value.to_unsigned(), dut.Depth.value.to_unsigned()
    valid = ready = 0
    word = taken = 0
    for _ in range(cycles):
        if not valid and rng.random() < p_write:
            valid, word = 1, rng.getrandbits(width)
        ready = int(rng.random() < p_read)
        dut.wr_valid_i.value = valid
        dut.wr_data_i.value = word
        dut.rd_ready_i.value = ready
        await RisingEdge(dut.clk_i)
        assert dut.count_o.value.to_unsigned() == len(held)
        can_write, can_read = int(dut.wr_ready_o.value), int(dut.rd_valid_o.value)
        assert can_write == (len(held) < depth)
        assert not can_read or held
        if can_read and ready:
            assert dut.rd_data_o.value.to_unsigned() == held.popleft()
            taken += 1
        if valid and can_write:
            held.append(word)
            valid = 0
    dut.wr_valid_i.value = 0
    dut.rd_ready_i.value = 0
    await RisingEdge(dut.clk_i)
    return taken


@cocotb.test()
async def random_traffic_keeps_order(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    held = deque()
    for p_write, p_read in ((1, 0), (0.2, 1), (1, 1), (1, 0.3), (0.5, 0.5), (0, 1)):
        await traffic(dut, rng, 60 + 2 * dut.Depth.value.to_unsigned(), p_write, p_read, held)
    assert not held


@cocotb.test()
async def full_rate_moves_a_word_a_cycle(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    assert await traffic(dut, rng, 200, 1, 1, deque()) >= 197


@cocotb.test()
async def reset_empties_it(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    for _ in range(4):
        await traffic(dut, rng, rng.randrange(1, 20), 1, 0.3, deque())
        await reset(dut)
        assert dut.count_o.value.to_unsigned() == 0
        assert int(dut.rd_valid_o.value) == 0
    await traffic(dut, rng, 40, 0.7, 0.7, deque())
