"""cocotb part of saf_tx: frames equal the codec's, in the order taken, without gaps; line rate, link, reset."""

from __future__ import annotations

import hashlib
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from shell_types import ETYPES, beats, ethertypes, pack, unpack

from safhost.wire.codec import BROADCAST_BYTES, Codec
from safhost.wire.generated import ETHERTYPES, OPCODES, Opcode

OWN = bytes.fromhex("02aabbccdd01")
HOST = bytes.fromhex("021122334455")
SESSION = 0xA1B2C3D4
USED = {"discovery": 0x9001, "image": 0x9002, "image_answer": 0x9003, "input": 0x9004, "input_answer": 0x9005,
        "control": 0x9006, "result": 0x9007}
LIMIT = 100_000  # cycles no wait needs
ANSWERS = [o for o, info in OPCODES.items() if info.way == "c2h" and info.tagged]


class Bench:
    """Message ports, hash engine, data frames and MAC around the module."""

    def __init__(self, dut, suite=1, name="") -> None:
        self.dut, self.suite = dut, suite
        self.rng = random.Random(f"{cocotb.RANDOM_SEED} {name}")
        self.codec = Codec(USED)
        self.ports = len(dut.msg_valid_i)
        self.keys = [self.rng.randbytes(32) for _ in range(8)]
        self.bank = self.rng.getrandbits(1)
        self.sequence = -1  # the next one is 0
        self.queues = [deque() for _ in range(self.ports)]
        self.frames = deque()  # data frames to send
        self.expected = deque()  # frames on their way
        self.order = []  # ports, in the order in which messages were taken; -1: a data frame
        self.p_body, self.p_hash, self.p_mac = 1.0, 1.0, 1.0
        self.hash_cycles = (1, 60)
        self.mac_gap = False
        self.count = self.received = self.counted = 0
        self.link = True

    async def start(self):
        dut = self.dut
        for name in ("msg_valid", "msg_meta", "msg_data", "msg_last", "hash_ready", "hash_dready", "hash_done",
                     "hash_digest", "tf_valid", "tf_data", "tf_last", "tf_bytes", "mac_tx_ready", "seq_load",
                     "seq_load_value"):
            getattr(dut, f"{name}_i").value = 0
        dut.link_up_i.value = 1
        dut.cfg_i.value = pack("cfg_t", {"mac0": int.from_bytes(OWN, "big"), "key_valid": self.suite,
                                         "ethertypes": ethertypes([USED[n] for n in ETYPES])})
        dut.session_i.value = self.view(HOST, SESSION, self.bank)
        dut.rst_ni.value = 0
        await Timer(1, "ns")  # before the first edge: nothing runs from random contents
        Clock(dut.clk_i, 6400, unit="ps").start()
        await self.reset()
        self.go()
        await self.begin()

    async def begin(self):
        """A session begins with a message of its unit; answers follow."""
        self.message(self.ports - 2)
        await self.drain()

    def go(self):
        self.tasks = [cocotb.start_soon(t) for t in (self._messages(), self._hash(), self._data(), self._mac(),
                                                     self._count())]

    async def reset(self):
        self.dut.rst_ni.value = 0
        await self.cycles(3)
        self.dut.rst_ni.value = 1
        await self.cycles(1)

    async def cycles(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.clk_i)

    # -- what to send

    def message(self, port, length=None):
        """Queue a message of random contents on a port."""
        rng = self.rng
        target = rng.choice((HOST, BROADCAST_BYTES))
        if port == self.ports - 1:
            meta = {"opcode": Opcode.HELLO, "etype": 0, "dst": int.from_bytes(target, "big"),
                    "length": OPCODES[Opcode.HELLO].size}
        else:
            meta = {"opcode": rng.choice(ANSWERS), "etype": rng.randrange(1, 7), "dst": int.from_bytes(HOST, "big"),
                    "session": SESSION, "object": rng.getrandbits(32), "index": rng.getrandbits(32),
                    "length": length or rng.choice((8, 16, 48, rng.randrange(1, 90))), "sealed": 1}
        if port == self.ports - 2:
            meta |= {"dst": rng.getrandbits(48), "session": rng.getrandbits(32),
                     "own_sequence": int(rng.random() < 0.3), "sequence_": rng.getrandbits(64),
                     "key_index": rng.randrange(8)}
        self.queues[port].append((meta, rng.randbytes(meta["length"])))

    @staticmethod
    def view(host, session, bank):
        """session_view_t."""
        return pack("session_view_t", {"open": 1, "host": int.from_bytes(host, "big"), "id": session, "key_bank": bank})

    def frame(self, size):
        """Queue a data frame of ``size`` random bytes."""
        self.frames.append(self.rng.randbytes(size))

    def made(self, meta, payload):
        """The frame that a message has to become; counts the session's sequence."""
        own, sealed = meta.get("own_sequence"), meta.get("sealed", 0)
        if sealed and not own:
            self.sequence = (self.sequence + 1) % 2**64
        sequence = 0 if not sealed else meta["sequence_"] if own else self.sequence
        key = self.keys[meta["key_index"] if own else 4 | self.bank << 1 | 1]
        return self.codec.encode(meta["opcode"], payload, dst=meta["dst"].to_bytes(6, "big"), src=OWN,
                                 ethertype=ETHERTYPES[ETYPES[meta["etype"]]], session=meta.get("session", 0),
                                 object=meta.get("object", 0), index=meta.get("index", 0), sequence=sequence,
                                 suite=int(self.suite and sealed), key=key)

    # -- parts around it

    async def _messages(self):
        dut, rng = self.dut, self.rng
        at = [0] * self.ports
        shown = [False] * self.ports
        while True:
            valid = last = data = meta = 0
            for i, queue in enumerate(self.queues):
                if not queue:
                    continue
                fields, payload = queue[0]
                words = beats(payload)
                shown[i] = shown[i] or rng.random() < self.p_body
                valid |= shown[i] << i
                last |= (at[i] == len(words) - 1) << i
                data |= words[at[i]] << 64 * i
                meta |= pack("msg_meta_t", fields) << self.meta_bits * i
            dut.msg_valid_i.value, dut.msg_last_i.value = valid, last
            dut.msg_data_i.value, dut.msg_meta_i.value = data, meta
            await RisingEdge(dut.clk_i)
            taken = valid & dut.msg_ready_o.value.to_unsigned()
            assert taken & (taken - 1) == 0
            for i in range(self.ports):
                if taken >> i & 1:
                    shown[i] = False
                    at[i] += 1
                    if last >> i & 1:
                        at[i] = 0
                        self.order.append(i)
                        self._leaves(self.made(*self.queues[i].popleft()))

    meta_bits = 0

    def _leaves(self, raw):
        if self.link:
            self.expected.append(raw)
            self.count += 1

    async def _data(self):
        dut, rng = self.dut, self.rng
        while True:
            if not self.frames:
                await RisingEdge(dut.clk_i)
                continue
            raw = self.frames[0]
            words = beats(raw)
            for i, word in enumerate(words):
                while rng.random() >= self.p_body:
                    await RisingEdge(dut.clk_i)
                last = i == len(words) - 1
                dut.tf_valid_i.value, dut.tf_data_i.value, dut.tf_last_i.value = 1, word, int(last)
                dut.tf_bytes_i.value = (len(raw) - 1) % 8 + 1 if last else 8
                for _ in range(LIMIT):
                    await RisingEdge(dut.clk_i)
                    if int(dut.tf_ready_o.value):
                        break
                dut.tf_valid_i.value = 0
            self.frames.popleft()
            self.order.append(-1)
            self._leaves(raw)

    async def _hash(self):
        dut, rng = self.dut, self.rng
        while True:
            dut.hash_ready_i.value = int(rng.random() < self.p_hash)
            await RisingEdge(dut.clk_i)
            if not (int(dut.hash_ready_i.value) and int(dut.hash_valid_o.value)):
                continue
            assert self.suite
            dut.hash_ready_i.value = 0
            req = unpack("hash_req_t", dut.hash_req_o.value.to_unsigned())
            assert req["keyed"]
            assert not req["store"]
            taken = b""
            while True:
                dut.hash_dready_i.value = int(rng.random() < self.p_hash)
                await RisingEdge(dut.clk_i)
                if int(dut.hash_dready_i.value) and int(dut.hash_dvalid_o.value):
                    taken += dut.hash_data_o.value.to_unsigned().to_bytes(8, "big")
                    if int(dut.hash_dlast_o.value):
                        break
            dut.hash_dready_i.value = 0
            assert len(taken) == req["bytes"]
            await self.cycles(rng.randint(*self.hash_cycles))
            digest = hashlib.blake2s(taken, key=self.keys[req["key_index"]], digest_size=req["digest_bytes"],
                                     person=req["person"].to_bytes(8, "big")).digest()
            dut.hash_digest_i.value = int.from_bytes(digest + rng.randbytes(32 - len(digest)), "big")
            dut.hash_done_i.value = 1
            await RisingEdge(dut.clk_i)
            dut.hash_done_i.value = 0
            dut.hash_digest_i.value = rng.getrandbits(256)  # nobody else's business

    async def _mac(self):
        dut, rng = self.dut, self.rng
        taken, credit, inside = b"", 0, False
        while True:
            dut.mac_tx_ready_i.value = ready = int(rng.random() < self.p_mac)
            await RisingEdge(dut.clk_i)
            valid = int(dut.mac_tx_valid_o.value)
            assert valid or not inside, "a gap inside a frame"
            if not (valid and ready):
                continue
            assert int(dut.mac_tx_sop_o.value) == (not inside)
            end = int(dut.mac_tx_eop_o.value)
            empty = dut.mac_tx_empty_o.value.to_unsigned()
            assert end or not empty
            taken += dut.mac_tx_data_o.value.to_unsigned().to_bytes(8, "big")[:8 - empty]
            inside = not end
            if end:
                self.received += 1
                assert self.expected, "a frame nobody sent"
                assert taken == self.expected.popleft()
                if self.mac_gap:  # preamble, FCS and gap of 10 Gb/s
                    idle = max(len(taken), 60) + 24 + credit
                    credit = idle % 8
                    dut.mac_tx_ready_i.value = 0
                    await self.cycles(idle // 8 - len(beats(taken)))
                taken = b""

    async def _count(self):
        while True:
            await RisingEdge(self.dut.clk_i)
            self.counted += int(self.dut.tx_count_o.value)

    async def drain(self):
        """Until all is sent."""
        for _ in range(LIMIT):
            if not any(self.queues) and not self.frames and not self.expected:
                break
            await RisingEdge(self.dut.clk_i)
        assert not any(self.queues)
        assert not self.frames
        assert not self.expected
        await self.cycles(8)
        assert not int(self.dut.mac_tx_valid_o.value)

    async def finish(self):
        await self.drain()
        assert self.counted == self.count
        for task in self.tasks:
            task.cancel()

    async def load(self, value):
        """The session's sequence, while nothing is under way."""
        self.dut.seq_load_i.value, self.dut.seq_load_value_i.value = 1, value
        await RisingEdge(self.dut.clk_i)
        self.dut.seq_load_i.value = 0
        self.sequence = value - 1


Bench.meta_bits = pack("msg_meta_t", {"opcode": 255}).bit_length()


async def mixture(bench, rounds):
    rng = bench.rng
    for _ in range(rounds):
        bench.p_body, bench.p_hash, bench.p_mac = (rng.choice((1.0, 0.4)) for _ in range(3))
        for _ in range(rng.randrange(1, 8)):
            kind = rng.random()
            if kind < 0.7:
                bench.message(rng.randrange(bench.ports))
            else:
                bench.frame(rng.choice((rng.randrange(41, 120), 60, rng.randrange(41, 1500))))
        await bench.cycles(rng.randrange(100))
        if rng.random() < 0.4:
            await bench.drain()
            await bench.load(rng.choice((0, 2**64 - 2, rng.getrandbits(64))))


@cocotb.test()
async def mixed_traffic_suite_1_equals_the_codec(dut):
    bench = Bench(dut, 1, "suite 1")
    await bench.start()
    await mixture(bench, 60)
    await bench.finish()


@cocotb.test()
async def mixed_traffic_suite_0_equals_the_codec(dut):
    bench = Bench(dut, 0, "suite 0")
    await bench.start()
    await mixture(bench, 60)
    await bench.finish()


@cocotb.test()
async def every_payload_length_is_padded_and_sealed(dut):
    bench = Bench(dut, 1, "lengths")
    await bench.start()
    for length in (*range(1, 35), 440, 1055, 1056, 1456):
        bench.message(0, length)
    await bench.finish()


@cocotb.test()
async def waiting_messages_leave_by_priority_before_data(dut):
    bench = Bench(dut, 1, "priority")
    await bench.start()
    bench.frame(500)
    await bench.cycles(20)
    bench.frame(100)
    for port in reversed(range(bench.ports)):
        bench.message(port, 8)
    await bench.finish()
    assert bench.order[1:] == [-1, *range(bench.ports), -1]


@cocotb.test()
async def answers_of_the_session_before_go_to_its_host(dut):
    bench = Bench(dut, 1, "replaced")
    await bench.start()
    for _ in range(3):
        bench.frame(400)
        await bench.cycles(20)
        bench.message(0)
        bench.message(1)
        await bench.cycles(2)
        # another session, while these wait: its own first message is the next of its unit
        host, session, bank = bench.rng.randbytes(6), bench.rng.getrandbits(32), 1 - bench.bank
        dut.session_i.value = bench.view(host, session, bank)
        await bench.drain()
        bench.bank = bank
        await bench.begin()
        bench.message(1)
        bench.queues[1][-1][0].update(dst=int.from_bytes(host, "big"), session=session)
        await bench.drain()
        bench.bank = 1 - bank
        dut.session_i.value = bench.view(HOST, SESSION, bench.bank)
        await bench.begin()
    await bench.finish()


@cocotb.test()
async def data_frames_at_line_rate_have_no_pause(dut):
    bench = Bench(dut, 1, "line rate")
    await bench.start()
    bench.mac_gap = True
    for sizes in ([60] * 150, [64, 61, 67] * 30, [1512] * 12, [9014, 9007, 9000], [9014, 60] * 2):
        wire_bytes = sum(max(s, 60) + 24 for s in sizes)
        begin = cocotb.simtime.get_sim_time("ps")
        for size in sizes:
            bench.frame(size)
        await bench.drain()
        cycles = (cocotb.simtime.get_sim_time("ps") - begin) / 6400
        # the first frame is stored before it is sent
        assert cycles <= wire_bytes / 8 + len(beats(bytes(sizes[0]))) + 40
    await bench.finish()


@cocotb.test()
async def slow_mac_stalls_and_loses_nothing(dut):
    bench = Bench(dut, 1, "stalled")
    await bench.start()
    for _ in range(3):
        bench.p_mac = 0.0
        for _ in range(50):
            bench.message(bench.rng.randrange(bench.ports))
        bench.frame(9014)
        bench.frame(9014)
        await bench.cycles(3000)
        assert any(bench.queues) or bench.frames  # the ring is full
        bench.p_mac = bench.rng.choice((1.0, 0.6))
        await bench.drain()
    await bench.finish()


@cocotb.test()
async def link_down_swallows_frames_and_counts_sequence(dut):
    bench = Bench(dut, 1, "link")
    await bench.start()
    for _ in range(12):
        for _ in range(3):
            bench.message(bench.rng.randrange(bench.ports))
        bench.frame(bench.rng.randrange(41, 300))
        await bench.drain()
        bench.link = False
        dut.link_up_i.value = 0
        for _ in range(bench.rng.randrange(1, 4)):
            bench.message(bench.rng.randrange(bench.ports))
        bench.frame(bench.rng.randrange(41, 2000))
        await bench.drain()
        await bench.cycles(100)  # the tag of the last one
        bench.link = True
        dut.link_up_i.value = 1
    # more frames than the ring has places: each gives all of its own back
    bench.link = False
    dut.link_up_i.value = 0
    bench.p_body = 1.0
    for _ in range(1300):
        bench.frame(bench.rng.randrange(1, 17))
    await bench.drain()
    bench.link = True
    dut.link_up_i.value = 1
    bench.frame(9014)
    await bench.finish()


@cocotb.test()
async def frames_waiting_at_link_loss_are_thrown_away(dut):
    bench = Bench(dut, 0, "loss")
    await bench.start()
    bench.p_mac = 0.0
    for _ in range(9):
        bench.message(0)
    await bench.cycles(300)
    assert len(bench.expected) == 9
    dut.link_up_i.value = 0
    await bench.cycles(5)
    bench.p_mac = 1.0
    first = bench.expected[0]
    bench.expected.clear()
    bench.expected.append(first)  # it was already offered to the MAC
    await bench.cycles(200)
    assert not bench.expected
    dut.link_up_i.value = 1
    await bench.cycles(2)
    bench.message(1)
    await bench.finish()


@cocotb.test()
async def reset_in_the_middle_starts_afresh(dut):
    bench = Bench(dut, 1, "reset")
    await bench.start()
    for _ in range(8):
        for _ in range(4):
            bench.message(bench.rng.randrange(bench.ports))
        bench.frame(400)
        bench.p_mac = 0.5
        await bench.cycles(bench.rng.randrange(5, 200))
        for task in bench.tasks:
            task.cancel()
        for name in ("msg_valid", "tf_valid", "hash_done", "hash_ready", "hash_dready", "mac_tx_ready"):
            getattr(dut, f"{name}_i").value = 0
        dut.rst_ni.value = 0
        for queue in (*bench.queues, bench.frames, bench.expected):
            queue.clear()
        bench.sequence, bench.count = -1, 0
        await bench.reset()
        bench.counted = 0
        bench.go()
        await bench.begin()
        bench.message(0)
        bench.frame(77)
        await bench.drain()
    await bench.finish()
