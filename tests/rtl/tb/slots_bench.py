"""What stands around saf_slots in its tests: a role on the kernel bus, the reader that pushes, and the virtual card's
command unit, which gets the same commands.
"""

from __future__ import annotations

import random
from struct import Struct
from types import SimpleNamespace

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly
from role_bench import ET_RESULT, ROLE, SESSION, Bench, pack

from safhost.lab.card_command import CommandUnit
from safhost.lab.card_faults import Faults
from safhost.lab.card_types import RoleJob
from safhost.lab.card_watch import CardWatch
from safhost.lab.pr import Role
from safhost.lab.rtl_role import rom_words
from safhost.plan.kernelspec import KernelPackage
from safhost.wire.digest import tree_root
from safhost.wire.generated import ANSWERS, Done, Opcode, Run, SlotInfo

ROLE_BYTES = 0x1_C000_0000
NS = 1_000
INVOCATION = Struct("<14I")


def buffer(name, shape):
    return {"name": name, "kind": "buffer", "dtype": "uint32", "direction": "inout", "shape": [shape]}


def scalar(name, dtype):
    return {"name": name, "kind": "scalar", "dtype": dtype}


KERNELS = [
    {"name": "increment", "global": ["n"], "args": [buffer("X", "n"), scalar("n", "uint32")]},
    {"name": "spin", "global": [1], "args": [buffer("X", 1), scalar("count", "uint64")]},
    {"name": "three", "global": [1], "args": [buffer("A", 1), scalar("f", "float32"), buffer("B", 1), buffer("C", 1)]},
    {"name": "none", "single_work_item": True},
    # more arguments than a slot's own record holds, a buffer behind the first 64 words
    {"name": "large", "single_work_item": True,
     "args": [*(scalar(f"s{i}", "uint64") for i in range(100)), buffer("X", 1), *(scalar(f"b{i}", "uint8")
                                                                                for i in range(5))]},
]
LARGE = 4


def role(kernels=None):
    """A role with ``kernels`` of `KERNELS`."""
    package = KernelPackage.from_dict({"name": "test", "kernels": KERNELS if kernels is None else kernels})
    return Role("key", {}, b"", tuple(package.kernels.values()))


class KernelBus:
    """Avalon agent: ROM, CRA windows, kernels that run until they are ended; faults by attribute."""

    def __init__(self, dut):
        self.dut = dut
        self.clear()
        cocotb.start_soon(self._run())

    def clear(self):
        self.rom, self.windows, self.segment = [], {}, 0
        self.running, self.done, self.starts = set(), set(), []
        self.hang, self.silent, self.use_irq, self.stall, self.latency = False, False, True, 0.3, 4
        self.resets, self.accesses = 0, 0

    def window(self, kernel):
        return self.windows.setdefault(kernel, bytearray(4096))

    def end(self, kernel):
        """A kernel ends by itself."""
        self.running.remove(kernel)
        self.done.add(kernel)

    def _read(self, address):
        if address >= 0x2000:
            at = (address - 0x2000) // 8
            return int(self.rom[at]) if at < len(self.rom) else 0
        if address >= 0x1000:
            kernel = self.segment >> 12
            word = self.window(kernel)[address - 0x1000:address - 0xFF8]
            if address == 0x1000:
                csr = 3 << 16 | (kernel in self.done) << 1 | (kernel in self.running) * (3 << 14)
                word = csr.to_bytes(4, "little") + word[4:]
            return int.from_bytes(word, "little")
        return {0: 0xA0C7, 0x20: self.segment}.get(address, 0)

    def _write(self, address, data, enable):
        bytes_ = data.to_bytes(8, "little")
        if address == 0x20:
            self.segment = data & 0xFFFFFFFF
        elif 0x1000 <= address < 0x2000:
            kernel = self.segment >> 12
            for i in range(8):
                if enable >> i & 1:
                    self.window(kernel)[address - 0x1000 + i] = bytes_[i]
            if address == 0x1000 and enable & 1:
                self.done.discard(kernel)
                if data & 1:
                    assert kernel not in self.running, "a kernel that runs was started"
                    self.running.add(kernel)
                    self.starts.append((kernel, bytes(self.window(kernel))))

    async def _run(self):
        dut = self.dut
        reads = []
        clock = 0
        while True:
            await FallingEdge(dut.krn_clk_i)
            clock += 1
            if dut.krn_reset_o.value:
                self.resets += not getattr(self, "_in_reset", False)
                self._in_reset = True
                self.running.clear()
                self.done.clear()
                self.hang = self.silent = False
                reads.clear()
            else:
                self._in_reset = False
            dut.krn_waitrequest_i.value = self.hang or random.random() < self.stall
            dut.krn_irq_i.value = self.use_irq and bool(self.done)
            due = bool(reads) and reads[0][0] <= clock
            dut.krn_readdatavalid_i.value = due
            dut.krn_readdata_i.value = reads.pop(0)[1] if due else 0
            await ReadOnly()
            read, write = bool(dut.krn_read_o.value), bool(dut.krn_write_o.value)
            assert not (read and write)
            if (read or write) and not dut.krn_waitrequest_i.value:
                self.accesses += 1
                address = int(dut.krn_address_o.value)
                assert address % 8 == 0
                if read and not self.silent:
                    reads.append((clock + random.randint(1, self.latency), self._read(address)))
                elif write:
                    self._write(address, int(dut.krn_writedata_o.value), int(dut.krn_byteenable_o.value))


class Reference:
    """The virtual card's command unit with as much of a card around it as it needs."""

    def __init__(self):
        self.said: list[tuple[int, int, int, bytes]] = []
        self.ticket = 0
        view = SimpleNamespace(view=lambda _address, length: np.zeros(length, np.uint8))
        shell = SimpleNamespace(
            role_epoch=0, command_count=0, boot_nonce=b"", role=None, jobs=[], kills=[], watch=CardWatch(),
            faults=Faults(), config=SimpleNamespace(timing=None, ddr_bytes=ROLE_BYTES),
            sessions=SimpleNamespace(owner=1), commits=SimpleNamespace(active=False, drained=lambda _now: None),
            memory=SimpleNamespace(role=view), block_encoder=lambda *_: None, reach=lambda _state: None,
            block_limit=lambda: SESSION["block_limit"], role_job=self._job, is_open=True)
        shell.answer = lambda frame, payload: self.said.append(
            (ANSWERS[frame.opcode], frame.object, frame.index, payload))
        shell.tell = lambda opcode, payload, _ethertype, obj, index: shell.is_open and self.said.append(
            (opcode, obj, index, payload))
        self.shell, self.unit = shell, CommandUnit(shell)
        self.order: list[int] = []  # running slots, oldest first

    def _job(self, _role, **run):
        self.ticket += 1
        return RoleJob(self.ticket, "key", {}, b"", 0, ROLE_BYTES, **run)

    def handle(self, opcode, obj, index, payload, now_us):
        frame = SimpleNamespace(opcode=opcode, object=obj, index=index, payload=payload)
        (self.unit.on_run if opcode == Opcode.RUN else self.unit.on_kill)(frame, now_us * NS)
        running = self.unit.running_mask()
        self.order = [s for s in self.order if running >> s & 1]
        self.order += [s for s in range(8) if running >> s & 1 and s not in self.order]

    def tick(self, now_us):
        self.unit.tick(now_us * NS)
        self.order = [s for s in self.order if self.unit.running_mask() >> s & 1]

    def oldest(self, kernel):
        """The running slot whose turn it is on ``kernel``."""
        return next((s for s in self.order if self.unit.slots[s].ask.kernel == kernel), None)

    def end(self, kernel, status="ok"):
        slot = self.oldest(kernel)
        self.unit.role_finished(self.unit.slots[slot].ticket, status, 0, "", 0)
        self.order.remove(slot)


class Slots(Bench):
    """saf_slots with everything around it."""

    def __init__(self, dut, krn_clock_ps=7_000):
        super().__init__(dut, krn_clk_i=krn_clock_ps)
        self.bus = KernelBus(dut)
        self.hooks.append(self._inputs)
        self.looks.append(self._outputs)

    async def start(self):
        dut = self.dut
        self.epoch, self.has_role, self.time_ns = 0, 0, 0
        self.pushes, self._push, self.push_delay, self.counted = [], None, 50, 0
        self.bus.clear()
        for name in ("commit_active_i", "freeze_i", "role_changed_i", "role_fault_i", "kill_all_i", "slot_addr_i",
                     "push_done_i", "push_blocks_i", "push_digest_i", "rolereg_valid_i", "rolereg_addr_i"):
            getattr(dut, name).value = 0
        self.show_role()
        await self.reset("krn_rst_ni")

    def show_role(self):
        self.dut.role_i.value = pack(ROLE, card_state=self.has_role, pr_status=5, epoch=self.epoch, image_digest=0,
                                     has_role=self.has_role)

    async def load(self, what):
        """Another role."""
        self.bus.rom = list(rom_words(what))
        self.epoch, self.has_role = self.epoch + 1, 1
        await FallingEdge(self.dut.clk_i)
        self.show_role()
        await self.pulse("role_changed_i")
        await self.cycles(250)  # its bus is reset

    @property
    def now_ns(self):
        return self.time_us * 1_000 + self.time_ns

    def _inputs(self):
        dut = self.dut
        self.time_ns += 6
        dut.time_ns_i.value = self.now_ns
        dut.push_done_i.value = 0
        if self._push is not None:
            self._push -= 1
            if self._push == 0:
                _, _, length, block = self.pushes[-1]
                dut.push_done_i.value = 1
                dut.push_blocks_i.value = -(-length // block)
                dut.push_digest_i.value = int.from_bytes(tree_root(bytes(length)), "big")

    def _outputs(self):
        dut = self.dut
        self.counted += int(dut.command_count_o.value)
        if dut.push_valid_o.value and self._push is None:
            self._push = self.push_delay
            self.pushes.append(tuple(int(getattr(dut, f"push_{n}_o").value)
                                     for n in ("read", "addr", "bytes", "block")))
        elif not dut.push_valid_o.value:
            self._push = None

    def said(self):
        """(opcode, object, index, payload) of all messages."""
        for message in self.messages:
            assert message.meta["etype"] == ET_RESULT
        return [(m.meta["opcode"], m.meta["object"], m.meta["index"], m.payload) for m in self.messages]

    async def run(self, slot, command, **fields):
        """RUN; says the DONE that answers it, or None."""
        before = len(self.messages)
        await self.handle(Opcode.RUN, slot, command, Run(**({"role_epoch": self.epoch} | fields)).pack())
        new = self.messages[before:]
        return Done.unpack(new[-1].payload) if new else None

    async def done(self, limit=4_000):
        """The next DONE that comes by itself: slot, command, content."""
        before = len(self.messages)
        await self.until(lambda: len(self.messages) > before, "DONE", limit)
        _, slot, command, payload = self.said()[before]
        return slot, command, Done.unpack(payload)

    async def slot_infos(self):
        """The slots as OPENED lists them."""
        out = []
        for slot in range(8):
            self.dut.slot_addr_i.value = slot
            await self.cycles(3)
            out.append(SlotInfo.unpack(int(self.dut.slot_data_o.value).to_bytes(8, "big")))
        return tuple(out)

    async def register(self, number):
        """u64 ``number`` of the role's window, as 8 bytes."""
        dut = self.dut
        got = []

        def look():
            if dut.rolereg_done_o.value and dut.rolereg_valid_i.value and not got:
                got.append(int(dut.rolereg_data_o.value).to_bytes(8, "big"))

        await FallingEdge(dut.clk_i)
        dut.rolereg_valid_i.value, dut.rolereg_addr_i.value = 1, number
        self.looks.append(look)
        await self._same_phase()
        await self.until(lambda: got, "role register", 2_000)
        await FallingEdge(dut.clk_i)
        dut.rolereg_valid_i.value = 0
        self.looks.remove(look)
        await self._same_phase()
        return got[0]


def invocation(ask):
    """The CRA window from +0x28 that launches ``ask``."""
    sizes, groups = (ask.global_x, ask.global_y, ask.global_z), (ask.local_x, ask.local_y, ask.local_z)
    counts = [g // w if w else 0 for g, w in zip(sizes, groups, strict=True)]
    product = (groups[0] or 1) * (groups[1] or 1) * (groups[2] or 1) & 0xFFFFFFFF
    return INVOCATION.pack(ask.work_dim, product, *sizes, *counts, *groups, 0, 0, 0) + ask.arguments


def without_time(said):
    """Messages with kernel_ns zero: how long a kernel took is not the same in the two worlds."""
    return [(o, s, c, p[:8] + bytes(8) + p[16:] if o == Opcode.DONE else p) for o, s, c, p in said]

