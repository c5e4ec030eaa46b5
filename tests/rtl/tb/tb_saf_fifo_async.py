"""cocotb part of saf_fifo_async: two unrelated clocks, idle, back-pressure, full, and reset in the middle."""

from __future__ import annotations

import os
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Combine, RisingEdge, Timer

WR_PS, RD_PS = (int(os.environ.get(name, "6400")) for name in ("WR_PS", "RD_PS"))


async def start(dut):
    dut.wr_rst_ni.value = 0
    dut.rd_rst_ni.value = 0
    await Timer(1, "ns")  # before the first edge: nothing runs from random contents
    Clock(dut.wr_clk_i, WR_PS, unit="ps").start()
    Clock(dut.rd_clk_i, RD_PS, unit="ps").start()
    await reset(dut)


async def reset(dut):
    dut.wr_valid_i.value = 0
    dut.rd_ready_i.value = 0
    dut.wr_rst_ni.value = 0
    dut.rd_rst_ni.value = 0
    for _ in range(3):
        await Combine(RisingEdge(dut.wr_clk_i), RisingEdge(dut.rd_clk_i))
    dut.wr_rst_ni.value = 1
    dut.rd_rst_ni.value = 1
    await RisingEdge(dut.wr_clk_i)


async def write(dut, rng, words, p, held):
    for _ in range(words):
        while rng.random() >= p:
            await RisingEdge(dut.wr_clk_i)
        word = rng.getrandbits(dut.Width.value.to_unsigned())
        dut.wr_valid_i.value = 1
        dut.wr_data_i.value = word
        while True:
            await RisingEdge(dut.wr_clk_i)
            if int(dut.wr_ready_o.value):
                break
        held.append(word)
        assert len(held) <= dut.Depth.value.to_unsigned() + 2
        dut.wr_valid_i.value = 0


async def read(dut, rng, words, p, held):
    """Returns edges of the read clock that it took."""
    edges = 0
    while words:
        ready = int(rng.random() < p)
        dut.rd_ready_i.value = ready
        await RisingEdge(dut.rd_clk_i)
        edges += 1
        assert edges < 20_000
        if ready and int(dut.rd_valid_o.value):
            assert held, "a word that nobody wrote"
            assert dut.rd_data_o.value.to_unsigned() == held.popleft()
            words -= 1
    dut.rd_ready_i.value = 0
    return edges


@cocotb.test()
async def random_traffic_keeps_order(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    for p_write, p_read in ((1, 1), (1, 0.2), (0.2, 1), (0.6, 0.6)):
        held = deque()
        writer = cocotb.start_soon(write(dut, rng, 150, p_write, held))
        await read(dut, random.Random(rng.random()), 150, p_read, held)
        await writer
        assert not held


@cocotb.test()
async def nobody_reads_fills_it_and_loses_nothing(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    depth = dut.Depth.value.to_unsigned()
    held = deque()
    writer = cocotb.start_soon(write(dut, rng, 2 * depth, 1, held))
    for _ in range(4 * depth * max(1, RD_PS // WR_PS + 1)):
        await RisingEdge(dut.wr_clk_i)
    assert depth <= len(held) <= depth + 1
    assert int(dut.wr_ready_o.value) == 0
    await read(dut, rng, 2 * depth, 1, held)
    await writer


@cocotb.test()
async def reset_of_both_sides_empties_it(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    for words in (1, 5, 3):
        await write(dut, rng, min(words, dut.Depth.value.to_unsigned()), 1, deque())
        await reset(dut)
        assert int(dut.rd_valid_o.value) == 0
        held = deque()
        writer = cocotb.start_soon(write(dut, rng, 10, 1, held))
        await read(dut, rng, 10, 1, held)
        await writer
