"""Everything around saf_bulk: frame queue, hash engine, DDR side, and the virtual card's own code as the reference."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from types import SimpleNamespace

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from safhost.lab.card_data import DataUnit
from safhost.lab.card_receive import Transfer
from safhost.lab.card_verify import LeafCache
from safhost.wire import auth
from safhost.wire.codec import HEADER, Codec, split_batch
from safhost.wire.generated import (
    ETHERTYPE_IMAGE,
    ETHERTYPE_IMAGE_ANSWER,
    ETHERTYPE_INPUT,
    ETHERTYPE_INPUT_ANSWER,
    ETHERTYPE_RESULT,
    FLAG_GUARDED,
    HEADER_BYTES,
    DropReason,
    Opcode,
    TransferKind,
    TransferState,
    XferOpen,
)

HOST, CARD, OTHER = bytes.fromhex("02aa00000001"), bytes.fromhex("020000000042"), bytes.fromhex("02bb00000007")
BROADCAST = b"\xff" * 6
SESSION, GROUP, BANK = 0x51E55107, 0x6A0B0C0D, 1
ETYPES = {ETHERTYPE_IMAGE: 1, ETHERTYPE_IMAGE_ANSWER: 2, ETHERTYPE_INPUT: 3, ETHERTYPE_INPUT_ANSWER: 4,
          ETHERTYPE_RESULT: 6}
LIMIT_CYCLES = 200_000


def packed(*fields: tuple[int, int]) -> int:
    """Value of a packed struct: (value, bits) in the order of declaration."""
    word = 0
    for value, bits in fields:
        assert 0 <= value < 1 << bits
        word = word << bits | value
    return word


def data_frame(obj: int, index: int, block: bytes, *, src: bytes = HOST, dst: bytes = CARD,
               ethertype: int = ETHERTYPE_INPUT, session: int = SESSION, key: bytes | None = None,
               length: int | None = None) -> bytes:
    """A DATA frame, GUARDED when there is a ``key`` (empty under suite 0)."""
    size = len(block) if length is None else length
    flags = FLAG_GUARDED if key is not None else 0
    head = HEADER.pack(dst, src, ethertype, 0x10, Opcode.DATA, session, size, flags, obj, index, 0)[:32]
    tag = bytes(8) if key is None else auth.guard_tag(key, head[14:], block)
    return head + tag + block


class Reference:
    """A DataUnit with transfers and a session of the test's making."""

    def __init__(self, key: bytes) -> None:
        self.contexts: list[Transfer | None] = [None] * 4
        self.drops: list[DropReason] = []
        self.strangers: list[bytes] = []
        self.counts = [0] * len(DropReason)
        session = SimpleNamespace(id=SESSION, host=HOST, channel=SimpleNamespace(receive_key=key))
        self.shell = SimpleNamespace(
            session=session, codec=Codec(), mac=CARD, faults=SimpleNamespace(ddr_rate=0), drops=self.counts,
            drop=self._drop, data_blocks=0, config=SimpleNamespace(timing=None),
            transfers=SimpleNamespace(in_context=self._in_context),
            sessions=SimpleNamespace(on_stranger=lambda src, _: self.strangers.append(src)))
        self.session = session
        self.unit = DataUnit(self.shell, LeafCache())

    def feed(self, raw: bytes) -> None:
        """One frame, padded or not."""
        frames = np.frombuffer(raw, np.uint8)[None, :]
        _, groups, early = split_batch(frames, np.array([len(raw)]))
        assert len(groups) == 1
        assert not early
        before = list(self.counts)
        self.unit.on_data(groups[0], 0)
        self.drops += [DropReason(i) for i, n in enumerate(self.counts) if n > before[i]]

    def _drop(self, reason: DropReason, frames: int) -> None:
        self.counts[reason] += frames

    def _in_context(self, obj: int) -> Transfer | None:
        return next((t for t in self.contexts if t is not None and t.id == obj), None)


class Bench:
    """Drives saf_bulk a cycle at a time; ``cycle()`` is the only place where time passes."""

    def __init__(self, dut, key: bytes = b"") -> None:
        self.dut = dut
        self.rng = random.Random(cocotb.RANDOM_SEED)
        self.key = key
        self.ref = Reference(key)
        self.p_write = self.p_hash = self.p_offer = 1.0
        self.done_delay = (1, 20)
        self.now = 0
        self.incoming: deque[tuple[int, bytes]] = deque()
        self.most_waiting = 0
        self.writes: list[tuple[int, int]] = []  # address, bytes
        self.memory: dict[int, np.ndarray] = {}  # by base, as in the reference
        self.drops: list[DropReason] = []
        self.strangers: list[bytes] = []
        self.blocks = 0
        self.bitmap: deque[int] = deque()
        self.rx = self.valid = self.guarded = 0
        self._puts: dict[str, int] = {}
        self._forget_state()

    def put(self, **inputs: int) -> None:
        """Inputs from the next cycle on."""
        self._puts.update({"rst_ni" if name == "rst_n" else f"{name}_i": value for name, value in inputs.items()})

    def _forget_state(self) -> None:
        self.fifo: deque[bytes] = deque()  # taken, not done
        self.offering = False
        self.read: int | None = None
        self.object: list[int] | None = None
        self.dones: deque[int] = deque()
        self.hash: SimpleNamespace | None = None
        self.digest = 0
        self.beats = 0

    async def start(self) -> None:
        """Clock, idle inputs, reset."""
        d = self.dut
        for name in ("df_valid_i", "df_desc_i", "df_rd_data_i", "hash_ready_i", "hash_dready_i", "hash_done_i",
                     "hash_digest_i", "wr_ready_i", "wr_done_i", "ctx_valid_i", "ctx_rx_i", "ctx_guarded_i",
                     "open_valid_i", "open_ctx_i", "open_id_i", "open_group_i", "open_etype_i", "open_base_i",
                     "open_block_bytes_i", "open_blocks_i", "open_last_bytes_i", "open_complete_i", "forget_valid_i",
                     "forget_ctx_i", "forget_first_i", "forget_count_i", "q_ctx_i", "bm_rd_valid_i", "bm_ctx_i",
                     "bm_word_i", "rst_ni"):
            getattr(d, name).value = 0
        d.cfg_i.value = packed((0, 128 + 96), (bool(self.key), 1), (0, 256 + 16 + 32 + 32 + 1 + 32 + 112))
        self.set_session(True)
        cocotb.start_soon(Clock(d.clk_i, 6400, unit="ps").start())
        await self.reset()

    async def reset(self) -> None:
        """Reset in the middle of whatever goes on; frames on their way are gone."""
        self._forget_state()
        self.incoming.clear()
        self.bitmap.clear()
        self.writes.clear()
        self.rx = self.valid = self.guarded = 0
        for t in [t for t in self.ref.contexts if t is not None]:
            self.ref.contexts[t.context] = None
        self.put(rst_n=0, open_valid=0, forget_valid=0, bm_rd_valid=0)
        await self.cycles(3)
        self.put(rst_n=1)

    def set_session(self, is_open: bool) -> None:
        """Session opens or is closed."""
        self.ref.shell.session = self.ref.session if is_open else None
        self.put(session=packed((is_open, 1), (SESSION, 32), (int.from_bytes(HOST, "big"), 48), (1472, 16), (BANK, 1)))

    # -- one cycle

    async def cycle(self) -> None:
        """Drive what comes into this cycle, then look at what goes out of it."""
        d, rng = self.dut, self.rng
        await FallingEdge(d.clk_i)
        self.now += 1
        for name, value in self._puts.items():
            getattr(d, name).value = value
        self._puts.clear()
        self._offer()
        if self.read is not None:
            frame = self.fifo[0] if self.fifo else b""
            beat = frame[8 * self.read:8 * self.read + 8]
            d.df_rd_data_i.value = int.from_bytes(beat + rng.randbytes(8 - len(beat)), "big")
            self.read = None
        d.ctx_valid_i.value, d.ctx_rx_i.value, d.ctx_guarded_i.value = self.valid, self.rx, self.guarded
        d.wr_ready_i.value = wr_ready = rng.random() < self.p_write
        done = bool(self.dones) and self.dones[0] <= self.now
        d.wr_done_i.value = done
        hashing = self._drive_hash()
        await ReadOnly()
        if not int(d.rst_ni.value):
            return
        if done:
            self.dones.popleft()
        self._watch_frames()
        self._watch_hash(hashing)
        if int(d.wr_valid_o.value) and wr_ready:
            self._write()
        if int(d.drop_valid_o.value):
            self.drops.append(DropReason(int(d.drop_reason_o.value)))
        if int(d.stranger_valid_o.value):
            self.strangers.append(int(d.stranger_mac_o.value).to_bytes(6, "big"))
        self.blocks += int(d.block_count_o.value)
        if int(d.bm_valid_o.value):
            self.bitmap.append(int(d.bm_data_o.value))

    async def cycles(self, count: int) -> None:
        """Some of them."""
        for _ in range(count):
            await self.cycle()

    def _offer(self) -> None:
        d = self.dut
        waiting = self.incoming and self.incoming[0][0] <= self.now
        if not self.offering and waiting and self.rng.random() < self.p_offer:
            raw = self.incoming[0][1]
            ethertype = int.from_bytes(raw[12:14], "big")
            head = HEADER.unpack(raw[:HEADER_BYTES])
            d.df_desc_i.value = packed(
                (int.from_bytes(raw[6:12], "big"), 48), (ETYPES[ethertype], 3), (raw[:6] == BROADCAST, 1),
                (head[5], 32), (head[6], 16), (raw[23] & 1, 1), (head[8], 32), (head[9], 32), (head[10], 64),
                (int.from_bytes(raw[14:22], "big"), 64), (int.from_bytes(raw[22:24], "big"), 16))
            self.offering = True
        d.df_valid_i.value = self.offering

    def _watch_frames(self) -> None:
        d = self.dut
        if int(d.df_rd_en_o.value):
            self.read = int(d.df_rd_addr_o.value)
        if int(d.df_done_o.value):
            assert self.read is None
            assert self.fifo
            self.fifo.popleft()
        if self.offering and int(d.df_ready_o.value):
            self.fifo.append(self.incoming.popleft()[1])
            self.offering = False
        waiting = sum(at <= self.now for at, _ in list(self.incoming)[:50])
        self.most_waiting = max(self.most_waiting, waiting)

    def _drive_hash(self) -> tuple[bool, bool]:
        d, rng = self.dut, self.rng
        ready = self.hash is None and rng.random() < self.p_hash
        taking = self.hash is not None and not self.hash.ended and rng.random() < self.p_hash
        d.hash_ready_i.value, d.hash_dready_i.value = ready, taking
        ended = self.hash is not None and self.hash.ended and self.hash.at <= self.now
        d.hash_done_i.value = ended
        if ended:
            ask = self.hash
            state = hashlib.blake2s(bytes(ask.data[:ask.bytes]), key=self.key if ask.keyed else b"",
                                    person=ask.person, digest_size=ask.digest_bytes)
            d.hash_digest_i.value = int.from_bytes(state.digest() + rng.randbytes(32 - ask.digest_bytes), "big")
            self.hash = None
        else:
            d.hash_digest_i.value = rng.getrandbits(256)
        return ready, taking

    def _watch_hash(self, hashing: tuple[bool, bool]) -> None:
        d = self.dut
        ready, taking = hashing
        if taking and int(d.hash_dvalid_o.value):
            ask = self.hash
            ask.data += int(d.hash_data_o.value).to_bytes(8, "big")
            assert int(d.hash_dlast_o.value) == (len(ask.data) >= ask.bytes)
            if len(ask.data) >= ask.bytes:
                ask.ended, ask.at = True, self.now + self.rng.randint(2, 40)
        if ready and int(d.hash_valid_o.value):
            value = int(d.hash_req_o.value)
            assert value & 15 == 0  # nothing stored
            assert value >> 88 & 7 == 0b100 | BANK << 1
            self.hash = SimpleNamespace(keyed=value >> 91, person=(value >> 24 & (1 << 64) - 1).to_bytes(8, "big"),
                                        bytes=value >> 10 & 0x3FFF, digest_bytes=value >> 4 & 63, data=bytearray(),
                                        ended=False, at=0)
            assert self.hash.keyed == bool(self.key)

    def _write(self) -> None:
        d = self.dut
        addr, size = int(d.wr_addr_o.value), int(d.wr_bytes_o.value)
        if self.beats == 0:
            self.object = [addr, size]
            self.data = bytearray()
        assert self.object == [addr, size]
        self.data += int(d.wr_data_o.value).to_bytes(8, "big")
        self.beats += 1
        last = self.beats == (size + 7) // 8
        assert int(d.wr_last_o.value) == last
        if not last:
            return
        self.beats = 0
        place = next((t for t in self.ref.contexts if t is not None and t.base <= addr
                      and addr + size <= t.base + t.length), None)
        assert place is not None, f"write of {size} bytes at {addr:#x} outside every context"
        self.memory[place.id][addr - place.base:addr - place.base + size] = np.frombuffer(self.data[:size], np.uint8)
        self.writes.append((addr, size))
        at = self.now + self.rng.randint(*self.done_delay)
        self.dones.append(max(at, self.dones[-1] + 1 if self.dones else 0))

    # -- what the transfer unit does

    async def open(self, ctx: int, obj: int, *, base: int, block_bytes: int, length: int, group: int = 0,
                   complete: bool = False, receiving: bool = True) -> Transfer:
        """Open a transfer in both; returns the reference's."""
        self._level("rx", ctx, False)
        blocks = -(-length // block_bytes)
        kind = TransferKind.DDR if ctx else TransferKind.IMAGE
        ask = XferOpen(kind=kind, block_bytes=block_bytes, group=group, base=base, length=length, blocks=blocks)
        t = Transfer(obj, ask, ctx, ETHERTYPE_INPUT if ctx else ETHERTYPE_IMAGE, np.zeros(length, np.uint8))
        self.memory[obj] = np.zeros(length, np.uint8)
        self.ref.contexts[ctx] = t
        if complete:
            t.mark_complete()
        t.state = TransferState.RECEIVING if receiving else TransferState.SEALED
        self.put(open_ctx=ctx, open_id=obj, open_group=group, open_etype=ETYPES[t.ethertype], open_base=base,
                 open_block_bytes=block_bytes, open_blocks=blocks, open_last_bytes=t.last_bytes, open_complete=complete)
        await self._job("open")
        self._level("valid", ctx, True)
        self._level("guarded", ctx, False)
        self._level("rx", ctx, receiving)
        return t

    async def forget(self, t: Transfer, first: int, count: int) -> None:
        """INVALIDATE's part, as the transfer unit does it: receive nothing, wait, forget, go on under guard or not."""
        was = self.rx
        self._level("rx", t.context, False)
        await self.settled(t.context)
        self.put(forget_ctx=t.context, forget_first=first, forget_count=count)
        await self._job("forget")
        t.forget(first, count)
        self.rx = was

    def guard(self, t: Transfer, on: bool) -> None:
        """Only guarded blocks from here on, or any again."""
        t.guarded = on
        self._level("guarded", t.context, on)

    def receive(self, t: Transfer, on: bool) -> None:
        """Lower or raise ctx_rx."""
        t.state = TransferState.RECEIVING if on else TransferState.SEALED
        self._level("rx", t.context, on)

    async def _job(self, name: str) -> None:
        done = getattr(self.dut, f"{name}_done_o")
        self.put(**{f"{name}_valid": 1})
        for _ in range(LIMIT_CYCLES):
            await self.cycle()
            if int(done.value):
                self.put(**{f"{name}_valid": 0})
                return
        raise AssertionError(f"{name} never ends")

    def _level(self, name: str, ctx: int, on: bool) -> None:
        bit = 1 << ctx
        setattr(self, name, getattr(self, name) | bit if on else getattr(self, name) & ~bit)

    async def query(self, ctx: int) -> tuple[int, int, int, int, bool]:
        """missing, lowest, received, sections, settled."""
        d = self.dut
        self.put(q_ctx=ctx)
        await self.cycles(3)
        return (int(d.q_missing_o.value), int(d.q_lowest_o.value), int(d.q_received_o.value),
                int(d.q_sections_o.value), bool(int(d.q_settled_o.value)))

    async def settled(self, ctx: int) -> tuple[int, int, int, int, bool]:
        """Wait for q_settled; returns the query's answer."""
        for _ in range(LIMIT_CYCLES):
            answer = await self.query(ctx)
            if answer[4]:
                return answer
        raise AssertionError(f"context {ctx} never settles")

    async def words(self, ctx: int, first: int, count: int) -> list[int]:
        """Bitmap words, one after another."""
        asked = 0
        while len(self.bitmap) < count:
            ask = asked == len(self.bitmap)
            self.put(bm_rd_valid=ask, bm_ctx=ctx, bm_word=first + len(self.bitmap))
            asked += ask
            await self.cycle()
        return [self.bitmap.popleft() for _ in range(count)]

    def on_their_way(self) -> list[int]:
        """Addresses of the blocks that were written but are not in DDR yet."""
        return [addr for addr, _ in self.writes[len(self.writes) - len(self.dones):]]

    # -- frames

    def send(self, raw: bytes, at: int | None = None) -> None:
        """A frame for both."""
        self.ref.feed(raw)
        self.incoming.append((self.now if at is None else at, raw))

    async def drain(self) -> None:
        """Until every frame is through and every block in DDR."""
        for _ in range(LIMIT_CYCLES):
            if not (self.incoming or self.fifo or self.dones or self.offering):
                break
            await self.cycle()
        else:
            raise AssertionError("frames are stuck")
        await self.cycles(2)

    async def check(self) -> None:
        """All that both sides know is the same."""
        await self.drain()
        assert self.drops == self.ref.drops
        assert self.blocks == self.ref.shell.data_blocks
        assert self.strangers == self.ref.strangers
        for t in [t for t in self.ref.contexts if t is not None]:
            missing, lowest, received, sections, _ = await self.settled(t.context)
            assert (missing, lowest) == (t.missing, t.lowest), f"context {t.context}"
            assert received == t.received & 0xFFFFFFFF
            assert sections == section_mask(t)
            assert np.array_equal(self.memory[t.id], t.memory)

    async def check_bitmap(self, t: Transfer, words: list[int] | None = None) -> None:
        """Bitmap words equal to the reference's: all, or those named."""
        bits = np.zeros(-(-t.blocks // 8192) * 8192, np.bool_)
        bits[:t.blocks] = t.todo
        want = np.packbits(bits, bitorder="little").view("<u8")
        if words is None:
            assert await self.words(t.context, 0, len(want)) == want.tolist()
        for word in words or ():
            assert await self.words(t.context, word, 1) == [int(want[word])], f"word {word}"


def section_mask(t: Transfer) -> int:
    """Sections with something missing, as POLL finds them."""
    return sum(int(t.todo[8192 * s:8192 * (s + 1)].any()) << s for s in range(-(-t.blocks // 8192)))
