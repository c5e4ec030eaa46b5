"""cocotb part of saf_replay's test: random sequence numbers beside the window of safhost.wire.auth."""

from __future__ import annotations

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from safhost.wire.auth import ReplayWindow

LAST = (1 << 64) - 1


@cocotb.test()
async def same_numbers_are_fresh(dut):
    rng = random.Random(random.getrandbits(32))
    Clock(dut.clk_i, 6400, unit="ps").start()

    async def cycle(**inputs):
        await FallingEdge(dut.clk_i)
        for name in ("rst_ni", "commit_i", "load_i", "empty_i"):
            getattr(dut, name).value = inputs.get(name, int(name == "rst_ni"))
        if "sequence" in inputs:
            dut.sequence_i.value = inputs["sequence"]
        await ReadOnly()

    await cycle(rst_ni=0, sequence=0)
    window = ReplayWindow()
    for n in range(600):
        top = window._top
        if n % 100 == 0:  # another session
            first = rng.choice((1, 70, 1 << 40, LAST - 100, rng.getrandbits(64)))
            empty = rng.random() < 0.3
            await cycle(load_i=1, empty_i=int(empty), sequence=first)
            await cycle(empty_i=int(empty))
            for _ in range(64):
                assert dut.busy_o.value
                await cycle(empty_i=int(empty))
            assert not dut.busy_o.value
            window = ReplayWindow()
            if not empty and first:
                window.commit(first)
        step = rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 64, rng.randrange(64), 62, 63, 64, 65, rng.getrandbits(40),
                           -rng.randrange(70), -63, -64, -65, -rng.getrandbits(40)))
        sequence = rng.choice((0, LAST, rng.getrandbits(64))) if rng.random() < 0.02 \
            else max(0, min(LAST, window._top + step))
        await cycle(sequence=sequence)
        if n % 5 == 0:  # the whole window
            for age in range(67):
                await cycle(sequence=max(0, top - age))
                await cycle()  # what is kept of that number comes a cycle later
                assert bool(dut.fresh_o.value) == window.fresh(max(0, top - age)), (n, top, age)
            await cycle(sequence=sequence)
        await cycle()
        assert bool(dut.fresh_o.value) == window.fresh(sequence), (n, top, sequence)
        if window.fresh(sequence) and rng.random() < 0.9:
            window.commit(sequence)
            await cycle(commit_i=1, sequence=sequence)
