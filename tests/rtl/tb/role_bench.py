"""What stands around saf_commit and saf_slots in their tests: a handler's frame, the way out, the session.

Inputs change at falling edges, and what the coming rising edge will take is read just after that.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, Timer
from control_bench import META, REQ, VIEW, pack, unpack

CLOCK_PS = 6400
MAX_CYCLES = 20_000
ROLE = (("card_state", 8), ("pr_status", 8), ("epoch", 32), ("image_digest", 256), ("has_role", 1))
SESSION = {"id": 0x1234, "host": 0x02AABBCCDDEE, "block_limit": 1472, "key_bank": 0}
ET_IMAGE_ANSWER, ET_RESULT = 2, 6


class Message(NamedTuple):
    """A whole message as saf_tx gets it."""

    meta: dict
    payload: bytes


class Bench:
    """Clock, reset, handler port, message port and the card's time, around one device."""

    def __init__(self, dut, **clocks):
        self.dut = dut
        self.messages: list[Message] = []
        self.time_us = 1_000
        self.stall = 0.0  # how often the way out is not ready
        self.hooks = []  # called at every falling edge of clk_i, before what the rising edge takes is read
        self.looks = []  # and after that
        Clock(dut.clk_i, CLOCK_PS, unit="ps").start()
        for name, period_ps in clocks.items():
            Clock(getattr(dut, name), period_ps, unit="ps").start(start_high=False)

    async def reset(self, *others):
        """Reset all domains; ``others``: their resets besides rst_ni."""
        dut = self.dut
        self._beats = []
        self.time_us = 1_000
        dut.req_i.value = dut.pay_i.value = dut.h_valid_i.value = dut.fr_data_i.value = 0
        dut.msg_ready_i.value = dut.forget_i.value = dut.session_end_i.value = 0
        self.session(True)
        for reset in ("rst_ni", *others):
            getattr(dut, reset).value = 0
        await self.cycles(20)
        for reset in ("rst_ni", *others):
            getattr(dut, reset).value = 1
        await self.cycles(10)
        self.messages.clear()

    def session(self, is_open, **changes):
        """The session from the next cycle on."""
        self.dut.session_i.value = pack(VIEW, open=is_open, **(SESSION | changes))

    async def cycle(self):
        """One cycle of clk_i; messages are taken on the way."""
        await FallingEdge(self.dut.clk_i)
        await self._same_phase()

    async def cycles(self, count):
        """``count`` cycles."""
        for _ in range(count):
            await self.cycle()

    async def until(self, condition, what, limit=MAX_CYCLES):
        """Cycles until ``condition()`` holds; says how many."""
        for count in range(limit):
            if condition():
                return count
            await self.cycle()
        raise AssertionError(f"{what}: not within {limit} cycles")

    async def pulse(self, name):
        """One cycle of input ``name``."""
        await FallingEdge(self.dut.clk_i)
        getattr(self.dut, name).value = 1
        await self._same_phase()
        await FallingEdge(self.dut.clk_i)
        getattr(self.dut, name).value = 0
        await self._same_phase()

    async def handle(self, opcode, obj, index, payload):
        """Give one control frame to the handler and wait until it is done; says how many cycles that took."""
        dut = self.dut
        padded = payload.ljust(max(64, -(-len(payload) // 8) * 8), b"\0")
        head = int.from_bytes(padded[:64], "big") & ~((1 << 8 * max(0, 64 - len(payload))) - 1)
        junk = random.randbytes(-len(payload) % 8)  # what lies behind the payload in the frame
        words = payload + junk
        await FallingEdge(dut.clk_i)
        dut.req_i.value = pack(REQ, src=SESSION["host"], bcast=0, etype=0, suite=0, opcode=opcode,
                               session=SESSION["id"], length=len(payload), flags=0, object=obj, index=index,
                               sequence=0, frame_bytes=40 + len(payload))
        dut.pay_i.value = head
        dut.h_valid_i.value = 1
        await self._same_phase()
        address = int(dut.fr_addr_o.value)
        for count in range(MAX_CYCLES):
            await FallingEdge(dut.clk_i)
            at = 8 * address
            dut.fr_data_i.value = int.from_bytes(words[at:at + 8].ljust(8, b"\0"), "big")
            if dut.h_done_o.value:
                dut.h_valid_i.value = 0
                await self._same_phase()
                return count
            await self._same_phase()
            address = int(dut.fr_addr_o.value)
        raise AssertionError("the handler is never done")

    async def _same_phase(self):
        """The rest of a cycle whose falling edge is now."""
        dut = self.dut
        dut.time_us_i.value = self.time_us
        dut.msg_ready_i.value = random.random() >= self.stall
        for hook in self.hooks:
            hook()
        await ReadOnly()
        for look in self.looks:
            look()
        self._take()
        await Timer(1, unit="ps")  # inputs may be written again

    def _take(self):
        dut = self.dut
        if not (dut.msg_valid_o.value and dut.msg_ready_i.value and dut.rst_ni.value):
            return
        self._beats.append(int(dut.msg_data_o.value))
        if dut.msg_last_o.value:
            meta = vars(unpack(META, int(dut.msg_meta_o.value)))
            payload = b"".join(b.to_bytes(8, "big") for b in self._beats)
            assert len(payload) == -(-meta["length"] // 8) * 8
            assert (meta["sealed"], meta["own_sequence"]) == (1, 0)
            self.messages.append(Message(meta, payload[:meta["length"]]))
            self._beats = []
