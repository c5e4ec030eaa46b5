"""What the tests of saf_crypto share: drivers of hash clients and leaf jobs, and the bytes the probe's memory holds."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from safhost.wire import digest
from safhost.wire.generated import PERSON_FRAME_TAG

CTL, TX, GUARD = range(3)
CLOCK_HZ = 156_250_000
STORE_BASE = 0x1_F800_0000
CARD_KEY = bytes(range(0xA0, 0xC0))
REQUEST_BITS, JOB_BITS = 92, 1 + 34 + 21 + 32 + 1 + 34
GIVE_UP_CYCLES = 400_000


def memory_bytes(addr: int, length: int) -> bytes:
    """What the probe's memory holds from ``addr`` on, below STORE_BASE."""
    first = addr >> 3
    with np.errstate(over="ignore"):
        words = np.arange(first, (addr + length + 15) >> 3, dtype=np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
        words ^= words >> np.uint64(29)
        words *= np.uint64(0xBF58_476D_1CE4_E5B9)
        words ^= words >> np.uint64(32)
    return words.astype(">u8").tobytes()[addr - 8 * first:][:length]


@dataclass(frozen=True, slots=True)
class Request:
    """A hash request and its message."""

    data: bytes
    key: int | None = None
    """Key slot; None: not keyed."""
    person: bytes = PERSON_FRAME_TAG
    digest_bytes: int = 16
    store: int | None = None

    def bits(self) -> int:
        person = int.from_bytes(self.person.ljust(8, b"\0"), "big")
        return _pack(((self.key is not None, 1), (self.key or 0, 3), (person, 64), (len(self.data), 14),
                      (self.digest_bytes, 6), (self.store is not None, 1), (self.store or 0, 3)))

    def expected(self, key: bytes) -> bytes:
        return hashlib.blake2s(self.data, key=key if self.key is not None else b"", person=self.person,
                               digest_size=self.digest_bytes).digest()


@dataclass(frozen=True, slots=True)
class Job:
    """A leaf, or a root over stored leaf digests."""

    addr: int
    length: int
    node: int = 0
    last: bool = False
    root: bool = False
    store: int = STORE_BASE

    def bits(self) -> int:
        return _pack(((self.root, 1), (self.addr, 34), (self.length, 21), (self.node, 32), (self.last, 1),
                      (self.store, 34)))

    def expected(self) -> bytes:
        return digest.leaf_digest(memory_bytes(self.addr, self.length), self.node, self.last)


def _pack(fields: tuple[tuple[int, int], ...]) -> int:
    value = 0
    for field, width in fields:
        assert 0 <= field < 1 << width
        value = value << width | int(field)
    return value


class _Packed:
    """A packed array of which every client drives its own element."""

    def __init__(self, signal, width: int) -> None:
        self._signal, self._width, self._value = signal, width, 0
        signal.value = 0

    def put(self, index: int, value: int) -> None:
        shift = index * self._width
        mask = (1 << self._width) - 1 << shift
        self._value = self._value & ~mask | value << shift
        self._signal.value = self._value


def _bit(signal, index: int) -> bool:
    return bool(signal.value.to_unsigned() >> index & 1)


class Bench:
    """The probe under test."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.rng = random.Random(cocotb.RANDOM_SEED)
        self.cycle = 0
        self._valid = _Packed(dut.hash_valid_i, 1)
        self._request = _Packed(dut.hash_req_i, REQUEST_BITS)
        self._dvalid = _Packed(dut.hash_dvalid_i, 1)
        self._data = _Packed(dut.hash_data_i, 64)
        self._dlast = _Packed(dut.hash_dlast_i, 1)
        self._job_valid = _Packed(dut.job_valid_i, 1)
        self._job = _Packed(dut.job_i, JOB_BITS)

    async def start(self, latency: int = 40, gap: int = 0) -> None:
        """Clock, settings, reset."""
        self.dut.card_key_i.value = int.from_bytes(CARD_KEY, "big")
        self.set_memory(latency, gap)
        self.dut.rst_ni.value = 1
        await Timer(1, unit="ns")
        self.dut.rst_ni.value = 0  # an edge: what is not reset by one starts at random
        await Timer(1, unit="ns")
        Clock(self.dut.clk_i, 6400, unit="ps").start()
        await self.cycles(3)
        self.dut.rst_ni.value = 1
        await self.cycles(1)
        cocotb.start_soon(self._count())

    async def reset(self) -> None:
        """Reset in the middle of whatever is under way; the clients forget too."""
        self.dut.rst_ni.value = 0
        for packed in (self._valid, self._dvalid, self._job_valid):
            for client in range(2 if packed is self._job_valid else 3):
                packed.put(client, 0)
        await self.cycles(2)
        self.dut.rst_ni.value = 1
        await self.cycles(1)

    def set_memory(self, latency: int, gap: int) -> None:
        self.dut.latency_i.value = latency
        self.dut.gap_i.value = gap

    async def _count(self) -> None:
        while True:
            await RisingEdge(self.dut.clk_i)
            self.cycle += 1

    async def cycles(self, count: int) -> None:
        for _ in range(count):
            await RisingEdge(self.dut.clk_i)

    async def _until(self, signal, index: int) -> int:
        """Wait for the clock edge at which bit ``index`` is high; how many edges that took."""
        for passed in range(1, GIVE_UP_CYCLES):
            await RisingEdge(self.dut.clk_i)
            if _bit(signal, index):
                return passed
        raise AssertionError(f"{signal._name}[{index}] stayed low")

    async def hash(self, client: int, request: Request, gap: float = 0.0) -> tuple[bytes, int]:
        """Digest, and cycles from the request's acceptance to it. ``gap``: how often a beat waits. What lies behind the
        message in its last beat is junk, as with frames whose padding comes along."""
        dut, done = self.dut, []

        async def result() -> None:
            passed = await self._until(dut.hash_done_o, client)
            done.append((dut.hash_digest_o.value.to_unsigned(), passed))

        self._request.put(client, request.bits())
        self._valid.put(client, 1)
        await self._until(dut.hash_ready_o, client)
        waiting = cocotb.start_soon(result())
        self._valid.put(client, 0)
        self._request.put(client, self.rng.getrandbits(REQUEST_BITS))
        for at in range(0, len(request.data), 8):
            while gap and self.rng.random() < gap:
                self._dvalid.put(client, 0)
                await self.cycles(1)
            beat = request.data[at:at + 8]
            self._data.put(client, int.from_bytes(beat + self.rng.randbytes(8 - len(beat)), "big"))
            self._dlast.put(client, at + 8 >= len(request.data))
            self._dvalid.put(client, 1)
            await self._until(dut.hash_dready_o, client)
        self._dvalid.put(client, 0)
        await waiting
        value, passed = done[0]
        return value.to_bytes(32, "big")[:request.digest_bytes], passed

    async def give(self, client: int, job: Job) -> None:
        """Hand a job over."""
        self._job.put(client, job.bits())
        self._job_valid.put(client, 1)
        await self._until(self.dut.job_ready_o, client)
        self._job_valid.put(client, 0)
        self._job.put(client, self.rng.getrandbits(JOB_BITS))

    async def collect(self, client: int, count: int) -> list[bytes]:
        """The next ``count`` digests of a client's jobs."""
        found = []
        for _ in range(count):
            await self._until(self.dut.job_done_o, client)
            found.append(self.dut.job_digest_o.value.to_unsigned().to_bytes(32, "big"))
        return found

    async def jobs(self, client: int, jobs: list[Job]) -> list[bytes]:
        """Digests of jobs, given as fast as they are taken."""
        results = cocotb.start_soon(self.collect(client, len(jobs)))
        for job in jobs:
            await self.give(client, job)
        return await results

    def check(self) -> None:
        """Nothing was read or written that nobody asked for."""
        assert self.dut.bad_o.value.to_unsigned() == 0
