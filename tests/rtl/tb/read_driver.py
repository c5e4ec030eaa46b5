"""Drives read_bench: mocks of everything saf_read talks to, and the virtual card's own ReadUnit as the reference."""

from __future__ import annotations

import hashlib
import os
import random
from collections import deque
from types import SimpleNamespace

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from ddr_driver import pattern

from safhost.lab.card_read import ReadUnit
from safhost.wire.codec import DataEncoder
from safhost.wire.digest import tree_root
from safhost.wire.generated import ETHERTYPE_RESULT, Read, Status

ROLE_BYTES = 7 << 30
SCRATCH = 0x1_F820_0000
LEAF_BASE = 0x1_F800_0000
HOST, MAC = bytes.fromhex("02aabbccddee"), bytes.fromhex("021122334455")
PERIOD_NS = 6.4


class Memory:
    """DDR: a pattern, and what was written over it."""

    def __init__(self) -> None:
        self.written: dict[int, int] = {}

    def read(self, address: int, count: int) -> bytes:
        data = bytearray(pattern(address, count))
        if address + count > ROLE_BYTES:
            for i in range(count):
                data[i] = self.written.get(address + i, data[i])
        return bytes(data)

    def write(self, address: int, data: bytes) -> None:
        assert address >= SCRATCH, "only scratch is written"
        for i, byte in enumerate(data):
            self.written[address + i] = byte


class Reference:
    """What the virtual card's ReadUnit sends, as the bench's events."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.events: list[tuple] = []
        role = SimpleNamespace(view=lambda a, n: np.frombuffer(bench.memory.read(a, n), np.uint8))
        self.shell = SimpleNamespace(
            config=SimpleNamespace(timing=None, ddr_bytes=ROLE_BYTES), memory=SimpleNamespace(role=role),
            block_limit=lambda: bench.block_limit, reach=lambda _: None, block_encoder=self.encoder,
            send_blocks=self.send, answer=self.answer, tell=self.tell, role=True,
            commands=SimpleNamespace(registers=lambda: bench.role_registers),
            transfers=SimpleNamespace(leaf_bytes_of=self.leaves))
        self.unit = ReadUnit(self.shell)
        self.unit.shell_registers = lambda _: bench.shell_registers

    def encoder(self, read_id: int, length: int, block: int) -> DataEncoder:
        return DataEncoder(dst=HOST, src=MAC, ethertype=ETHERTYPE_RESULT, session=self.bench.session, object=read_id,
                           length_bytes=length, block_bytes=block, max_batch=max(1, -(-length // block)))

    def send(self, encoder: DataEncoder, data, first: int, stop: int) -> None:
        headers, offsets, block, last = encoder.encode(np.arange(first, stop, dtype=np.int64))
        for n, (header, offset) in enumerate(zip(headers, offsets, strict=True)):
            size = last if n == len(headers) - 1 else block
            self.events.append(("frame", header.tobytes() + data[offset:offset + size].tobytes()))

    def answer(self, frame, payload: bytes) -> None:
        self.events.append(("done", frame.object, frame.index, payload))

    def tell(self, _opcode, payload: bytes, _ethertype, obj: int, index: int) -> None:
        self.events.append(("done", obj, index, payload))

    def leaves(self, transfer: int) -> tuple[Status, bytes]:
        status, address, count = self.bench.transfers.get(transfer, (Status.UNKNOWN_TRANSFER, 0, 0))
        return status, self.bench.memory.read(address, count) if status is Status.OK else b""

    def read(self, obj: int, index: int, payload: bytes) -> None:
        self.shell.role = True if self.bench.has_role else None
        self.unit.on_read(SimpleNamespace(object=obj, index=index, payload=payload), 0)


class Bench:
    """saf_read and its mocks, stepped once a cycle."""

    def __init__(self, dut, stall: float = 0.2) -> None:
        self.dut, self.stall = dut, stall
        self.rng = random.Random(int(os.environ.get("COCOTB_RANDOM_SEED", "1")))
        self.memory = Memory()
        self.block_limit, self.session, self.has_role = 8960, 0x51E55101, True
        self.shell_registers = self.rng.randbytes(512)
        self.role_registers = self.rng.randbytes(4096)
        self.transfers = {7: (Status.OK, LEAF_BASE + 0x80000, 32 * 30), 8: (Status.BAD_STATE, 0, 0)}
        self.memory.written.update(enumerate(self.rng.randbytes(960), LEAF_BASE + 0x80000))
        self.events: list[tuple] = []
        self.frame_cycles: list[int] = []
        self.reference = Reference(self)
        self.cycle = 0
        self.time_ns = 0.0
        self.asks: deque[tuple[int, int, bytes]] = deque()
        self.push: dict | None = None
        self.push_result: tuple[int, bytes] | None = None
        self.aborts = 0
        self.forget()
        Clock(dut.clk_i, 6400, unit="ps").start()

    def forget(self) -> None:
        """What a reset makes everybody forget."""
        self._jobs: deque[tuple[int, bytes, int]] = deque()
        self._stream: deque[tuple[int, bool]] = deque()
        self._writes: deque[int] = deque()
        self._frame, self._message = bytearray(), bytearray()
        self._busy = 0
        self._reg = [0, 0]
        self._rolereg = self._leafq = 0
        self._drive: dict[str, int] = {}

    async def reset(self) -> None:
        dut = self.dut
        self.forget()
        for name in ("session_end_i", "scrub_busy_i", "h_valid_i", "msg_ready_i", "tf_ready_i", "rd_ready_i",
                     "rd_dvalid_i", "wr_ready_i", "wr_done_i", "job_ready_i", "job_done_i", "rolereg_done_i",
                     "leafq_done_i", "push_valid_i", "time_ns_i"):
            getattr(dut, name).value = 0
        dut.mac_i.value = int.from_bytes(MAC, "big")
        dut.host_i.value = int.from_bytes(HOST, "big")
        dut.ethertype_i.value = ETHERTYPE_RESULT
        dut.open_i.value, dut.session_i.value = 1, self.session
        dut.block_limit_i.value, dut.has_role_i.value = self.block_limit, int(self.has_role)
        dut.rst_ni.value = 0
        await ClockCycles(dut.clk_i, 3)
        dut.rst_ni.value = 1

    def ask(self, obj: int, index: int, refer: bool = True, **fields: int) -> None:
        """A READ for the handler, and for the reference."""
        values = {"space": 1, "block_bytes": 1408, "gap_ns": 0, "address": 0, "length": 1, "first_block": 0, "count": 0,
                  "transfer": 0, **fields}
        payload = Read(**values).pack()
        self.asks.append((obj, index, payload))
        if refer:
            self.reference.read(obj, index, payload)

    def _maybe(self) -> bool:
        return self.rng.random() >= self.stall

    async def run(self, done, limit: int = 60000) -> None:
        """Step until ``done()``."""
        for _ in range(limit):
            await RisingEdge(self.dut.clk_i)
            self.cycle += 1
            self.time_ns += PERIOD_NS
            self._step()
            if done():
                return
        raise AssertionError(f"not done after {limit} cycles, {len(self.events)} events")

    def _step(self) -> None:
        dut, drive, now = self.dut, self._drive, dict(self._drive)
        get = lambda name: int(getattr(dut, name).value)  # noqa: E731
        drive["time_ns_i"] = int(self.time_ns)
        # handler
        if now.get("h_valid_i") and get("h_done_o"):
            self.asks.popleft()
            drive["h_valid_i"] = 0
        elif self.asks:
            obj, index, payload = self.asks[0]
            drive.update(h_valid_i=1, object_i=obj, index_i=index, pay_i=int.from_bytes(payload, "big"))
        # frames and messages
        if now.get("tf_ready_i") and get("tf_valid_o"):
            last, count = get("tf_last_o"), get("tf_bytes_o")
            self._frame += get("tf_data_o").to_bytes(8, "big")[:count if last else 8]
            if last:
                self.events.append(("frame", bytes(self._frame)))
                self.frame_cycles.append(self.cycle)
                self._frame.clear()
        if now.get("msg_ready_i") and get("msg_valid_o"):
            self._message += get("msg_data_o").to_bytes(8, "big")
            if get("msg_last_o"):
                assert (get("msg_opcode_o"), get("msg_etype_o"), get("msg_sealed_o")) == (0xD0, 6, 1)
                assert get("msg_dst_o") == int.from_bytes(HOST, "big")
                assert get("msg_length_o") == 48
                assert get("msg_session_o") == self.session
                self.events.append(("done", get("msg_object_o"), get("msg_index_o"), bytes(self._message)))
                self._message.clear()
        drive["tf_ready_i"], drive["msg_ready_i"] = int(self._maybe()), int(self._maybe())
        self._step_reads(get, now)
        self._step_writes(get, now)
        self._step_jobs(get, now)
        self._step_registers(get)
        # push
        if self.push is not None:
            drive.update(push_valid_i=1, **self.push)
            if now.get("push_valid_i") and get("push_done_o"):
                self.push_result = (get("push_blocks_o"), get("push_digest_o").to_bytes(32, "big"))
                self.push = None
                drive["push_valid_i"] = 0
        for name, value in drive.items():
            if now.get(name) != value:
                getattr(dut, name).value = value

    def _step_reads(self, get, now) -> None:
        drive = self._drive
        if now.get("rd_dvalid_i") and get("rd_dready_o"):
            self._stream.popleft()
            drive["rd_dvalid_i"] = 0
        if now.get("rd_ready_i") and get("rd_valid_o"):
            data = self.memory.read(get("rd_addr_o"), get("rd_bytes_o"))
            data += bytes(-len(data) % 8)
            beats = [int.from_bytes(data[i:i + 8], "big") for i in range(0, len(data), 8)]
            self._stream.extend((beat, n == len(beats) - 1) for n, beat in enumerate(beats))
            self._busy = self.cycle + 20
        if get("rd_abort_o"):
            self._stream.clear()
            self.aborts += 1
            drive["rd_dvalid_i"] = 0
            self._busy = self.cycle + 30
        drive["rd_ready_i"] = int(not self._stream and self.cycle >= self._busy)
        if self._stream and not drive.get("rd_dvalid_i") and self.cycle >= self._busy and self._maybe():
            beat, last = self._stream[0]
            drive.update(rd_dvalid_i=1, rd_data_i=beat, rd_dlast_i=int(last))

    def _step_writes(self, get, now) -> None:
        drive = self._drive
        if now.get("wr_ready_i") and get("wr_valid_o"):
            assert get("wr_bytes_o") == 8
            assert get("wr_last_o") == 1
            self.memory.write(get("wr_addr_o"), get("wr_data_o").to_bytes(8, "big"))
            self._writes.append(self.cycle + 25)
        drive["wr_ready_i"] = int(self._maybe())
        drive["wr_done_i"] = int(bool(self._writes) and self._writes[0] <= self.cycle)
        if drive["wr_done_i"]:
            self._writes.popleft()

    def _step_jobs(self, get, now) -> None:
        drive = self._drive
        if now.get("job_ready_i") and get("job_valid_o"):
            root, data = get("job_root_o"), self.memory.read(get("job_addr_o"), get("job_bytes_o"))
            digest = hashlib.blake2s(data, fanout=0, depth=2, leaf_size=65536, node_offset=get("job_node_o"),
                                     node_depth=root, inner_size=32, last_node=bool(get("job_last_o"))).digest()
            self._jobs.append((self.cycle + 30 + len(data) // 64, digest, 0 if root else get("job_store_addr_o")))
        drive["job_done_i"] = 0
        if self._jobs and self._jobs[0][0] <= self.cycle:
            _, digest, address = self._jobs.popleft()
            if address:
                self.memory.write(address, digest)
            drive.update(job_done_i=1, job_digest_i=int.from_bytes(digest, "big"))
        elif self.rng.random() < 0.3:
            drive["job_digest_i"] = self.rng.getrandbits(256)  # somebody else's
        drive["job_ready_i"] = int(len(self._jobs) < 2 and self._maybe())

    def _step_registers(self, get) -> None:
        drive = self._drive
        drive["reg_data_i"] = self._reg[0]
        word = get("reg_addr_o")
        self._reg = [int.from_bytes(self.shell_registers[8 * word:8 * word + 8], "big")]
        self._rolereg = self._rolereg + 1 if get("rolereg_valid_o") and not drive.get("rolereg_done_i") else 0
        word = get("rolereg_addr_o")
        drive["rolereg_done_i"] = int(self._rolereg > 3 and self._maybe())
        drive["rolereg_data_i"] = (int.from_bytes(self.role_registers[8 * word:8 * word + 8], "big")
                                   if drive["rolereg_done_i"] else self.rng.getrandbits(64))
        self._leafq = self._leafq + 1 if get("leafq_valid_o") and not drive.get("leafq_done_i") else 0
        status, address, count = self.transfers.get(get("leafq_id_o"), (Status.UNKNOWN_TRANSFER, 0, 0))
        drive["leafq_done_i"] = int(self._leafq > 4)
        if drive["leafq_done_i"]:
            drive.update(leafq_status_i=int(status), leafq_addr_i=address, leafq_bytes_i=count)

    def check(self) -> None:
        """What came is what the reference sends."""
        expected, got = self.reference.events, self.events
        for n, (e, g) in enumerate(zip(expected, got, strict=False)):
            assert e == g, f"event {n} differs:\n{e[0]} {e[1:] if e[0] == 'done' else e[1][:64].hex()}\n" \
                           f"{g[0]} {g[1:] if g[0] == 'done' else g[1][:64].hex()}"
        assert len(expected) == len(got)

    def root(self, address: int, count: int) -> bytes:
        return tree_root(self.memory.read(address, count))
