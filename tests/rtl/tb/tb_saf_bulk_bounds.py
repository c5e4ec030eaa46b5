"""cocotb part of saf_bulk_bounds's test: edges of contexts, any address, contexts never opened."""

from __future__ import annotations

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

TOP = 1 << 34


@cocotb.test()
async def only_what_lies_inside_is_ok(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    for name in ("rst_ni", "set_i", "set_ctx_i", "set_base_i", "set_limit_i", "rd_en_i", "rd_ctx_i", "addr_i",
                 "bytes_i"):
        getattr(dut, name).value = 0
    cocotb.start_soon(Clock(dut.clk_i, 6400, unit="ps").start())
    for round_ in range(3):
        known: dict[int, tuple[int, int]] = {}
        await FallingEdge(dut.clk_i)
        dut.rst_ni.value = 0
        for _ in range(2):
            await FallingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        seen = {True: 0, False: 0}
        for n in range(600):
            await FallingEdge(dut.clk_i)
            dut.set_i.value = dut.rd_en_i.value = 0
            ctx = rng.randrange(4)
            if n > 20 and rng.random() < 0.1:
                base = rng.choice((0, rng.randrange(TOP), TOP - 100))
                # a limit below the base, as an address that wraps would leave: then nothing is inside
                limit = rng.choice((min(TOP - 1, base + rng.randrange(20_000)), rng.randrange(TOP)))
                known[ctx] = base, limit
                dut.set_i.value, dut.set_ctx_i.value = 1, ctx
                dut.set_base_i.value, dut.set_limit_i.value = base, limit
                await FallingEdge(dut.clk_i)
                dut.set_i.value = 0
            dut.rd_en_i.value, dut.rd_ctx_i.value = 1, ctx
            await FallingEdge(dut.clk_i)
            dut.rd_en_i.value, dut.rd_ctx_i.value = 0, rng.randrange(4)
            base, limit = known.get(ctx, (0, TOP - 1))
            size = rng.choice((0, 1, 64, rng.randrange(1 << 14)))
            around = rng.choice((base, limit - size, limit, base + rng.randrange(max(1, abs(limit - base)))))
            addr = (around + rng.choice((-1, 0, 0, 1))) % TOP
            dut.addr_i.value, dut.bytes_i.value = addr, size
            await ReadOnly()
            inside = ctx in known and size > 0 and base <= addr and addr + size <= limit
            assert int(dut.ok_o.value) == inside, f"{addr:#x} + {size} in {base:#x} to {limit:#x}, round {round_}"
            seen[inside] += 1
        assert min(seen.values()) > 50
