"""Everything around saf_xfer_ctl: saf_bulk's control port, DDR, leaf jobs, and the virtual card's TransferUnit."""

from __future__ import annotations

import random
from collections import deque
from types import SimpleNamespace
from typing import NamedTuple

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from shell_types import beats, pack, unpack

from safhost.lab.card_transfer import TransferUnit
from safhost.lab.card_types import CardConfig
from safhost.lab.card_verify import LeafCache
from safhost.lab.ddr import CardMemory
from safhost.units import Mac
from safhost.wire.codec import Frame
from safhost.wire.digest import leaf_digest, root_digest
from safhost.wire.generated import (
    ANSWERS,
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    LEAF_BYTES,
    Opcode,
    Status,
    TransferState,
    Verdict,
)

HOST = bytes.fromhex("02aa00000001")
SESSION, WINDOW = 0x51E55107, 4096
ROLE_BYTES, SLOT_BYTES = 7 << 30, 224 << 20
STAGING, LEAVES, LEAF_STRIDE = ROLE_BYTES, 0x1_F800_0000, 0x8_0000
ETYPES = {ETHERTYPE_IMAGE: 1, ETHERTYPE_IMAGE_ANSWER: 2, ETHERTYPE_INPUT: 3, ETHERTYPE_INPUT_ANSWER: 4}
PAGE = 1 << 16
LIMIT_CYCLES = 60_000


class Said(NamedTuple):
    """A message: opcode, EtherType, object, index, payload."""

    opcode: int
    ethertype: int
    object: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, never used here
    payload: bytes


class Memory:
    """DDR by pages."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def write(self, address: int, data: bytes) -> None:
        while data:
            page, offset = divmod(address, PAGE)
            part = data[:PAGE - offset]
            self._pages.setdefault(page, bytearray(PAGE))[offset:offset + len(part)] = part
            address, data = address + len(part), data[len(part):]

    def read(self, address: int, size: int) -> bytes:
        out = b""
        while size:
            page, offset = divmod(address, PAGE)
            part = bytes(self._pages.get(page, bytes(PAGE))[offset:offset + size])
            out += part
            address, size = address + len(part), size - len(part)
        return out


class Context:
    """What saf_bulk knows of an open transfer."""

    def __init__(self, ask: dict[str, int]) -> None:
        self.id, self.base, self.block_bytes = ask["id"], ask["base"], ask["block_bytes"]
        self.blocks, self.last_bytes = ask["blocks"], ask["last_bytes"]
        self.todo = np.full(self.blocks, not ask["complete"])
        self.received = 0
        self.under_way: deque[tuple[int, int, bytes]] = deque()  # when it lands, address, bytes

    def answer(self) -> tuple[int, int, int, int, bool]:
        """missing, lowest (of what is in DDR), received, sections, settled."""
        missing = int(self.todo.sum())
        sections = sum(int(self.todo[s:s + 8192].any()) << s // 8192 for s in range(0, self.blocks, 8192))
        lowest = int(self.todo.argmax()) if missing else self.blocks
        lowest = min([lowest, *((address - self.base) // self.block_bytes for _, address, _ in self.under_way)])
        return missing, lowest, self.received, sections, not self.under_way


class Reference:
    """A TransferUnit in a shell of the test's making."""

    def __init__(self, key: bytes | None, mtu: int = 1500) -> None:
        config = CardConfig(serial="T", mac=Mac(0x020000000042), mtu=mtu, card_key=key, ddr_bytes=ROLE_BYTES,
                            image_slot_bytes=SLOT_BYTES, window_blocks=WINDOW)
        self.config = config
        self.said: list[Said] = []
        self.active_slot: int | None = None
        self.shell = SimpleNamespace(
            config=config, memory=CardMemory(ROLE_BYTES, 4, SLOT_BYTES), reach=lambda state: None,
            commits=SimpleNamespace(feeds_from=lambda slot: slot == self.active_slot),
            faults=SimpleNamespace(take_corruptions=lambda _: []), answer=self._answer,
            tell=lambda opcode, payload, ethertype, obj, index: self.said.append(
                Said(opcode, ethertype, obj, index, payload)))
        self.unit = TransferUnit(self.shell, LeafCache())

    def handle(self, frame: Frame) -> Said:
        """The answer to a frame; of CLOSE the outcome, when all is hashed."""
        unit = self.unit
        if frame.opcode == Opcode.XFER_OPEN:
            unit.on_open(frame, 0)
        elif frame.opcode == Opcode.CLOSE:
            unit.on_close(frame, 0)
        else:
            {Opcode.POLL: unit.on_poll, Opcode.INVALIDATE: unit.on_invalidate,
             Opcode.ABORT: unit.on_abort}[Opcode(frame.opcode)](frame)
        answer = self.said.pop()
        while unit.next_wakeup_ns() == 0:
            unit.tick(0)
        return self.said.pop() if self.said else answer

    def _answer(self, frame: Frame, payload: bytes) -> None:
        ethertype = {ETHERTYPE_IMAGE: ETHERTYPE_IMAGE_ANSWER, ETHERTYPE_INPUT: ETHERTYPE_INPUT_ANSWER}[frame.ethertype]
        self.said.append(Said(ANSWERS[frame.opcode], ethertype, frame.object, frame.index, payload))


class Bench:
    """Drives saf_xfer_ctl a cycle at a time; ``cycle()`` is the only place where time passes."""

    def __init__(self, dut, key: bytes | None = None, mtu: int = 1500) -> None:
        self.dut, self.key, self.mtu = dut, key, mtu
        self.rng = random.Random(cocotb.RANDOM_SEED)
        self.ref = Reference(key, mtu)
        self.memory = Memory()
        self.p_msg = self.p_job = 1.0
        self.leaf_cycles = (20, 60)
        self.land_cycles = (1, 8)
        self.jobs_done: list[dict[str, int]] = []
        self.now = 0
        self._puts: dict[str, int] = {}
        self._forget_state()

    def _forget_state(self) -> None:
        self.contexts: list[Context | None] = [None] * 4
        self.said: deque[Said] = deque()
        self.payload = b""
        self.q_asked = 0
        self.fr_next = 0
        self.q_next = (0, 0, 0, 0, True)
        self.work: tuple[str, int] | None = None  # open or forget, and when it is done
        self.words: deque[tuple[int, int, int]] = deque()
        self.jobs: deque[tuple[int, dict[str, int], bytes]] = deque()
        self.stores: list[tuple[int, int, bytes]] = []
        self.offered: dict[str, int] | None = None
        self.beats: list[int] = []
        self.stalled: tuple[int, ...] | None = None
        self.message: list[int] = []

    def put(self, **inputs: int) -> None:
        """Inputs from the next cycle on."""
        self._puts.update({"rst_ni" if name == "rst_n" else f"{name}_i": value for name, value in inputs.items()})

    async def start(self) -> None:
        """Clock, idle inputs, reset."""
        d = self.dut
        for name in ("session_end", "forget", "scrub_busy", "req", "pay", "h_valid", "fr_data", "msg_ready",
                     "open_done", "forget_done", "q_missing", "q_lowest", "q_received", "q_sections", "q_settled",
                     "rx_pending", "bm_valid", "bm_data", "job_ready", "job_done", "job_digest",
                     "commit_active", "commit_slot", "used_valid", "used_slot", "used_epoch", "img_valid",
                     "info_addr", "leafq_valid", "leafq_id"):
            getattr(d, f"{name}_i").value = 0
        d.rst_ni.value = 0
        d.cfg_i.value = pack("cfg_t", {"mtu": self.mtu, "key_valid": self.key is not None, "window_blocks": WINDOW})
        self.set_session(True)
        cocotb.start_soon(Clock(d.clk_i, 6400, unit="ps").start())
        await self.reset()

    async def reset(self) -> None:
        """Reset in the middle of whatever goes on."""
        self._forget_state()
        self.put(rst_n=0, h_valid=0, img_valid=0, leafq_valid=0)
        await self.cycles(3)
        self.ref.unit.reset()
        self.put(rst_n=1)
        await self.cycles(2)

    def set_session(self, is_open: bool) -> None:
        """Session opens or is closed."""
        self.put(session=pack("session_view_t", {"open": is_open, "id": SESSION, "host": int.from_bytes(HOST, "big")}))

    # -- one cycle

    async def cycle(self) -> None:
        """Drive what comes into this cycle, then look at what goes out of it."""
        d, rng = self.dut, self.rng
        await FallingEdge(d.clk_i)
        self.now += 1
        for name, value in self._puts.items():
            getattr(d, name).value = value
        self._puts.clear()
        missing, lowest, received, sections, settled = self.q_next
        d.q_missing_i.value, d.q_lowest_i.value, d.q_received_i.value = missing, lowest, received & 0xFFFFFFFF
        d.q_sections_i.value, d.q_settled_i.value = sections, settled
        context = self.contexts[self.q_asked]
        self.q_next = context.answer() if context else (0, 0, 0, 0, True)
        d.fr_data_i.value = self.fr_next
        self._land()
        d.msg_ready_i.value = taking = rng.random() < self.p_msg
        d.job_ready_i.value = giving = len(self.jobs) < 2 and rng.random() < self.p_job
        self._end_jobs()
        word = self.words.popleft() if self.words and self.words[0][0] <= self.now else None
        d.bm_valid_i.value = word is not None
        d.bm_data_i.value = rng.getrandbits(64) if word is None else self._word(word[1], word[2])
        done = self.work if self.work and self.work[1] <= self.now else None
        d.open_done_i.value = done is not None and done[0] == "open"
        d.forget_done_i.value = done is not None and done[0] == "forget"
        if done:
            self.work = None
            self._carry_out(done[0])
        await ReadOnly()
        self.q_asked = int(d.q_ctx_o.value)
        # during a lookup the frame is a COMMIT, and saf_commit reads it
        at = int(d.img_word_o.value if d.img_valid_i.value else d.fr_addr_o.value)
        self.fr_next = self.beats[at] if at < len(self.beats) else rng.getrandbits(64)
        if not int(d.rst_ni.value):
            return
        if int(d.bm_rd_valid_o.value):
            self.words.append((self.now + rng.randint(1, 6), int(d.bm_ctx_o.value), int(d.bm_word_o.value)))
        self._watch_work(done)
        self._watch_message(taking)
        self._watch_jobs(giving)

    async def cycles(self, count: int) -> None:
        """Some of them."""
        for _ in range(count):
            await self.cycle()

    def _word(self, ctx: int, word: int) -> int:
        context = self.contexts[ctx]
        assert context is not None
        part = context.todo[64 * word:64 * word + 64]
        return int(np.packbits(part, bitorder="little").tobytes().ljust(8, b"\0")[::-1].hex(), 16)

    def _land(self) -> None:
        for context in self.contexts:
            if context and context.under_way and context.under_way[0][0] <= self.now:
                _, address, data = context.under_way.popleft()
                self.memory.write(address, data)
                return

    def _watch_work(self, done: tuple[str, int] | None) -> None:
        d = self.dut
        wants = [name for name in ("open", "forget") if int(getattr(d, f"{name}_valid_o").value)]
        assert len(wants) < 2
        if wants and done is None and self.work is None:
            ctx = int(getattr(d, f"{wants[0]}_ctx_o").value)
            assert not int(d.ctx_rx_o.value) >> ctx & 1, "receiving while the bitmap is written"
            context = self.contexts[ctx]
            assert context is None or not context.under_way, "a block may land behind it"
            self.work = wants[0], self.now + self.rng.randint(1, 12)

    def _carry_out(self, name: str) -> None:
        d = self.dut
        if name == "open":
            names = ("id", "group", "etype", "base", "block_bytes", "blocks", "last_bytes", "complete")
            ask = {n: int(getattr(d, f"open_{n}_o").value) for n in names}
            self.contexts[int(d.open_ctx_o.value)] = Context(ask)
        else:
            context = self.contexts[int(d.forget_ctx_o.value)]
            first, count = int(d.forget_first_o.value), int(d.forget_count_o.value)
            assert context is not None
            assert first + count <= context.blocks
            context.todo[first:first + count] = True

    def _watch_message(self, taking: bool) -> None:
        d = self.dut
        valid = int(d.msg_valid_o.value)
        now = (int(d.msg_meta_o.value), int(d.msg_data_o.value), int(d.msg_last_o.value)) if valid else None
        assert self.stalled is None or now == self.stalled, "a stalled beat changed"
        self.stalled = now if valid and not taking else None
        if now is None or not taking:
            return
        assert not self.message or self.meta == now[0], "meta changed inside a message"
        self.meta = now[0]
        self.message.append(now[1])
        if now[2]:
            meta = unpack("msg_meta_t", now[0])
            assert len(self.message) == (meta["length"] + 7) // 8
            assert (meta["dst"], meta["session"], meta["sealed"], meta["own_sequence"]) == (
                int.from_bytes(HOST, "big"), SESSION, 1, 0)
            raw = b"".join(word.to_bytes(8, "big") for word in self.message)
            assert not any(raw[meta["length"]:])
            ethertype = {number: value for value, number in ETYPES.items()}[meta["etype"]]
            self.said.append(Said(meta["opcode"], ethertype, meta["object"], meta["index"], raw[:meta["length"]]))
            self.message = []

    # -- leaf jobs

    def _watch_jobs(self, giving: bool) -> None:
        d = self.dut
        if not int(d.job_valid_o.value):
            assert self.offered is None, "a job that waited is gone"
            return
        job = unpack("leaf_job_t", int(d.job_o.value))
        if self.offered is None:
            self._check_job(job)
        assert self.offered in (None, job)
        self.offered = job
        if giving:
            data = self.memory.read(job["addr"], job["bytes"])
            last = self.jobs[-1][0] if self.jobs else 0
            at = max(last + 1, self.now + self.rng.randint(*self.leaf_cycles))
            digest = root_digest(data) if job["root"] else leaf_digest(data, job["node"], bool(job["last"]))
            self.jobs.append((at, job, digest))
            if not job["root"]:  # two lanes: the later job's digest may be stored first
                self.stores.append((self.rng.randint(self.now + 1, at), job["store_addr"], digest))
            self.offered = None

    def _check_job(self, job: dict[str, int]) -> None:
        start, end = job["addr"], job["addr"] + job["bytes"]
        if job["root"]:
            ctx = (start - LEAVES) // LEAF_STRIDE
            context = self.contexts[ctx]
            assert context is not None
            length = (context.blocks - 1) * context.block_bytes + context.last_bytes
            assert (start, job["bytes"]) == (LEAVES + ctx * LEAF_STRIDE, 32 * -(-length // LEAF_BYTES))
            assert not context.todo.any()
            return
        ctx = (job["store_addr"] - LEAVES) // LEAF_STRIDE
        context = self.contexts[ctx]
        assert context is not None
        length = (context.blocks - 1) * context.block_bytes + context.last_bytes
        assert job["store_addr"] == LEAVES + ctx * LEAF_STRIDE + 32 * job["node"]
        assert start == context.base + LEAF_BYTES * job["node"]
        assert end == min(context.base + length, start + LEAF_BYTES)
        assert job["last"] == (end == context.base + length)
        first, stop = (start - context.base) // context.block_bytes, -(-(end - context.base) // context.block_bytes)
        assert not context.todo[first:stop].any(), "a leaf with missing blocks"
        for _, address, data in context.under_way:
            assert address >= end or address + len(data) <= start, "a leaf whose bytes are still on their way"

    def _end_jobs(self) -> None:
        d = self.dut
        for _, address, digest in [s for s in self.stores if s[0] <= self.now]:
            self.memory.write(address, digest)
        self.stores = [s for s in self.stores if s[0] > self.now]
        ended = bool(self.jobs) and self.jobs[0][0] <= self.now
        d.job_done_i.value = ended
        d.job_digest_i.value = self.rng.getrandbits(256)
        if ended:
            _, job, digest = self.jobs.popleft()
            d.job_digest_i.value = int.from_bytes(digest, "big")
            self.jobs_done.append(job)

    # -- what the host does

    def frame(self, opcode: Opcode, obj: int, index: int = 1, payload: bytes = b"", *, image: bool = False,
              frame_bytes: int | None = None) -> Frame:
        """A control frame of the session."""
        payload = payload or bytes(8)
        raw = bytes(frame_bytes or 40 + len(payload) + (16 if self.key else 0))
        return Frame(b"", HOST, ETHERTYPE_IMAGE if image else ETHERTYPE_INPUT, 0, opcode, SESSION, len(payload), 0, obj,
                     index, 0, payload, raw)

    async def present(self, frame: Frame) -> None:
        """Have the handler carry it out; returns when it says done."""
        self.beats = beats(frame.payload)
        self.put(h_valid=1, pay=int.from_bytes(frame.payload[:64].ljust(64, b"\0"), "big"),
                 req=pack("ctl_req_t", {
                     "src": int.from_bytes(HOST, "big"), "etype": ETYPES[frame.ethertype], "opcode": frame.opcode,
                     "session": SESSION, "length": frame.length, "object": frame.object, "index": frame.index,
                     "frame_bytes": len(frame.raw)}))
        for _ in range(LIMIT_CYCLES):
            await self.cycle()
            if int(self.dut.h_done_o.value):
                self.put(h_valid=0)
                return
        raise AssertionError(f"{Opcode(frame.opcode).name} is never done")

    async def ask(self, frame: Frame) -> Said:
        """Both get the frame; their answers are the same. Returns the final one (CLOSE: the outcome)."""
        assert not self.said, f"unexpected {self.said[0]}"
        await self.present(frame)
        assert self.said, "done before the answer"
        answer = self.said.popleft()
        want = self.ref.handle(frame)
        if frame.opcode == Opcode.CLOSE and Verdict.unpack(answer.payload).status == Status.RUNNING:
            progress = Verdict.unpack(answer.payload)
            assert (progress.state, progress.missing, progress.digest) == (TransferState.VERIFYING, 0, bytes(32))
            assert progress.leaves_done <= progress.leaves == Verdict.unpack(want.payload).leaves
            answer = await self.heard()
        if frame.opcode == Opcode.CLOSE:
            answer, want = without_progress(answer), without_progress(want)
        assert answer == want, f"{Opcode(frame.opcode).name}: {answer} instead of {want}"
        return answer

    async def heard(self) -> Said:
        """The next message."""
        for _ in range(LIMIT_CYCLES):
            if self.said:
                return self.said.popleft()
            await self.cycle()
        raise AssertionError("no message")

    def deliver(self, obj: int, index: int, data: bytes | None = None) -> None:
        """A block that saf_bulk lets pass if its context receives; ``data``: other bytes than random ones."""
        t = self.ref.unit.in_context(obj)
        ctx = next((i for i, c in enumerate(self.contexts) if c and c.id == obj), None)
        if t is None or ctx is None or t.state is not TransferState.RECEIVING:
            return
        context = self.contexts[ctx]
        assert context is not None
        assert int(self.dut.ctx_rx_o.value) >> ctx & 1, "not receiving"
        assert int(self.dut.ctx_valid_o.value) >> ctx & 1
        assert int(self.dut.ctx_guarded_o.value) >> ctx & 1 == t.guarded
        size = context.last_bytes if index == context.blocks - 1 else context.block_bytes
        t.received += 1
        context.received += 1
        if not t.todo[index]:
            return
        data = self.rng.randbytes(size) if data is None else data
        assert len(data) == size
        at = context.block_bytes * index
        t.memory[at:at + size] = np.frombuffer(data, np.uint8)
        t.todo[index] = False
        t._account(1, index, index + 1)
        context.todo[index] = False
        last = context.under_way[-1][0] if context.under_way else 0
        context.under_way.append((max(last, self.now + self.rng.randint(*self.land_cycles)), context.base + at, data))

    async def settle(self) -> None:
        """Until all blocks are in DDR."""
        for _ in range(LIMIT_CYCLES):
            if not any(c and c.under_way for c in self.contexts):
                return
            await self.cycle()

    async def tables(self) -> bytes:
        """OPENED's tables, at the pace of a message that stalls."""
        out = b""
        for address in range(32):
            self.put(info_addr=address)
            await self.cycles(3 + self.rng.choice((0, 0, 1, 5)))
            out += int(self.dut.info_data_o.value).to_bytes(8, "big")
        return out

    async def staged(self, digest: bytes) -> tuple[int, ...] | None:
        """COMMIT's lookup: slot, verified, length; None when it is not found."""
        d = self.dut
        self.beats = [int.from_bytes(digest[at:at + 8], "big") for at in range(0, 32, 8)]
        self.put(img_valid=1)
        for _ in range(LIMIT_CYCLES):
            await self.cycle()
            if int(d.img_done_o.value):
                self.put(img_valid=0)
                found = (int(d.img_slot_o.value), int(d.img_verified_o.value), int(d.img_length_o.value))
                answer = found if int(d.img_found_o.value) else None
                await self.cycle()
                return answer
        raise AssertionError("no end of the lookup")

    async def leaf_query(self, obj: int) -> tuple[Status, bytes]:
        """READ's question for leaf digests; the bytes that lie where the answer says."""
        d = self.dut
        self.put(leafq_valid=1, leafq_id=obj)
        for _ in range(LIMIT_CYCLES):
            await self.cycle()
            if int(d.leafq_done_o.value):
                self.put(leafq_valid=0)
                status = Status(int(d.leafq_status_o.value))
                place = int(d.leafq_addr_o.value), int(d.leafq_bytes_o.value)
                await self.cycle()
                return status, self.memory.read(*place) if status is Status.OK else b""
        raise AssertionError("no end of the query")


def without_progress(said: Said) -> Said:
    """A VERDICT; how many leaves were hashed while blocks are missing is left open by the protocol."""
    verdict = Verdict.unpack(said.payload)
    if verdict.state in (TransferState.VERIFIED, TransferState.BAD):
        return said
    return said._replace(payload=verdict._replace(leaves_done=0).pack())
