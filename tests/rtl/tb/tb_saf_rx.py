"""cocotb part of saf_rx: every frame judged as the reference does, line rate, overflow, reset, link."""

from __future__ import annotations

import random
from collections import Counter, deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from rx_reference import HOST, OWN, USED, Maker, Reference, number_of
from shell_types import ETYPES, beats, ethertypes, pack, unpack

from safhost.wire.generated import DropReason, Opcode

LIMIT = 400_000  # cycles no test needs


class Bench:
    """Drives the MAC side, plays both consumers, compares with the reference."""

    def __init__(self, dut, mtu=1500, name="") -> None:
        self.dut, self.mtu = dut, mtu
        self.rng = random.Random(f"{cocotb.RANDOM_SEED} {name}")
        self.reference, self.maker = Reference(mtu), Maker(self.rng, mtu)
        self.data, self.control = deque(), deque()  # (frame number, raw) that have to come
        self.done_data = set()  # numbers of DATA frames that are done
        self.sent_data = []
        self.number = 0
        self.expected, self.events = Counter(), Counter()
        self.p_take, self.p_read, self.read_all = 0.8, 0.8, True
        self.control_pace = 1.0

    async def start(self):
        dut = self.dut
        for name in ("valid", "sop", "eop", "error", "empty", "data"):
            getattr(dut, f"mac_rx_{name}_i").value = 0
        for name in ("df_ready_i", "df_rd_en_i", "df_rd_addr_i", "df_done_i", "cf_rd_addr_i", "cf_pop_i"):
            getattr(dut, name).value = 0
        dut.link_up_i.value = 1
        dut.cfg_i.value = pack("cfg_t", {"mac0": int.from_bytes(OWN, "big"), "mtu": self.mtu,
                                         "ethertypes": ethertypes([USED[n] for n in ETYPES])})
        dut.rst_ni.value = 0
        await Timer(1, "ns")  # before the first edge: nothing runs from random contents
        Clock(dut.clk_i, 6400, unit="ps").start()
        await self.reset()
        self.tasks = [cocotb.start_soon(t) for t in (self._events(), self._take(), self._read(), self._control())]

    async def reset(self):
        self.dut.rst_ni.value = 0
        await self.cycles(3)
        self.dut.rst_ni.value = 1
        await self.cycles(1)

    async def cycles(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.clk_i)

    # -- MAC

    async def send(self, raw, *, p_idle=0.0, error=False, cut=None, count=True):
        """One frame; ``cut``: stop before that beat, without an end."""
        dut, words = self.dut, beats(raw)
        junk = self.rng.getrandbits(64)
        empty = -len(raw) % 8
        if count and not error and cut is None:
            self._expect(raw)
        for i, word in enumerate(words):
            if cut == i:
                break
            while p_idle and self.rng.random() < p_idle:
                dut.mac_rx_valid_i.value = 0
                dut.mac_rx_sop_i.value, dut.mac_rx_eop_i.value = self.rng.getrandbits(1), self.rng.getrandbits(1)
                await RisingEdge(dut.clk_i)
            last = i == len(words) - 1
            dut.mac_rx_valid_i.value = 1
            dut.mac_rx_sop_i.value = int(i == 0)
            dut.mac_rx_eop_i.value = int(last)
            dut.mac_rx_error_i.value = int(error and last)
            dut.mac_rx_empty_i.value = empty if last else 0
            dut.mac_rx_data_i.value = word | (junk & ((1 << 8 * empty) - 1)) if last else word
            await RisingEdge(dut.clk_i)
        dut.mac_rx_valid_i.value = 0

    async def idle(self, count):
        self.dut.mac_rx_valid_i.value = 0
        await self.cycles(count)

    def _expect(self, raw):
        verdict = self.reference.judge(raw)
        if verdict.kind == "ignored":
            return
        self.expected["rx"] += 1
        self.expected["seen"] += verdict.seen
        if verdict.kind == "drop":
            self.expected[verdict.reason] += 1
        elif verdict.kind == "data":
            self.data.append((self.number, raw))
            self.sent_data.append(self.number)
            self.number += 1
        elif verdict.kind == "control":
            self.control.append((self.number, raw, verdict.frame))
            self.number += 1

    # -- monitors

    async def _events(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk_i)
            self.events["rx"] += int(dut.rx_count_o.value)
            self.events["seen"] += int(dut.seen_o.value)
            self.events["overflow"] += int(dut.overflow_o.value)
            if int(dut.drop_valid_o.value):
                self.events[DropReason(dut.drop_reason_o.value.to_unsigned())] += 1

    async def _take(self):
        """Descriptors, in order, at most three ahead of what is done."""
        dut, self.taken = self.dut, deque()
        while True:
            ready = int(len(self.taken) < 3 and self.rng.random() < self.p_take)
            dut.df_ready_i.value = ready
            await RisingEdge(dut.clk_i)
            if not ready or not int(dut.df_valid_o.value):
                continue
            desc = unpack("data_desc_t", dut.df_desc_o.value.to_unsigned())
            assert self.data, "a descriptor of no frame"
            number, raw = self.data.popleft()
            self.check_descriptor(desc, raw)
            self.taken.append((number, raw))

    def check_descriptor(self, desc, raw):
        field = lambda a, b: int.from_bytes(raw[a:b], "big")  # noqa: E731
        etype = self.reference.codec.canonical(field(12, 14))
        assert desc == {"src": field(6, 12), "etype": number_of(etype), "bcast": int(raw[:6] == b"\xff" * 6),
                        "session": field(16, 20), "length": field(20, 22), "guarded": raw[23] & 1,
                        "object": field(24, 28), "index": field(28, 32), "sequence_": field(32, 40),
                        "head14": field(14, 22), "head22": field(22, 24)}

    async def _read(self):
        """Beats of the oldest descriptor taken, then done."""
        dut = self.dut
        while True:
            if not self.taken:
                await RisingEdge(dut.clk_i)
                continue
            number, raw = self.taken[0]
            words = beats(raw)
            last = (40 + int.from_bytes(raw[20:22], "big") + 7) // 8  # of the block
            todo = list(range(5, last) if self.read_all else range(max(5, last - 2), last))
            pending = None
            for at in [*todo, None]:
                while self.rng.random() >= self.p_read and at is not None:
                    dut.df_rd_en_i.value = 0
                    await RisingEdge(dut.clk_i)
                    if pending is not None:
                        self._check_beat(words, raw, pending)
                dut.df_rd_en_i.value = int(at is not None)
                dut.df_done_i.value = int(at is None)
                if at is not None:
                    dut.df_rd_addr_i.value = at
                await RisingEdge(dut.clk_i)
                if pending is not None:
                    self._check_beat(words, raw, pending)
                pending = at
            dut.df_done_i.value = 0
            self.taken.popleft()
            self.done_data.add(number)

    def _check_beat(self, words, raw, at):
        got, mask = self.dut.df_rd_data_o.value.to_unsigned(), (1 << 64) - 1
        if at == len(words) - 1:  # behind the end is junk
            mask ^= (1 << 8 * (-len(raw) % 8)) - 1
        assert got & mask == words[at], f"beat {at} of {len(words)}"

    async def _control(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk_i)
            if not int(dut.cf_valid_o.value) or self.rng.random() >= self.control_pace:
                continue
            assert self.control, "a control frame that nobody sent"
            number, raw, frame = self.control[0]
            before = [n for n in self.sent_data if n < number]
            assert self.done_data.issuperset(before), "offered before the DATA frames ahead of it are done"
            self.check_request(unpack("ctl_req_t", dut.cf_req_o.value.to_unsigned()), raw, frame)
            words = beats(raw)
            order = list(range(len(words)))
            if self.rng.random() < 0.3:
                self.rng.shuffle(order)
            for at in order:
                dut.cf_rd_addr_i.value = at
                await RisingEdge(dut.clk_i)
                dut.cf_rd_addr_i.value = 0
                await RisingEdge(dut.clk_i)
                mask = ((1 << 64) - 1) ^ (((1 << 8 * (-len(raw) % 8)) - 1) if at == len(words) - 1 else 0)
                assert dut.cf_rd_data_o.value.to_unsigned() & mask == words[at]
            dut.cf_pop_i.value = 1
            await RisingEdge(dut.clk_i)
            dut.cf_pop_i.value = 0
            self.control.popleft()

    def check_request(self, req, raw, frame):
        assert req == {"src": int.from_bytes(frame.src, "big"), "bcast": int(frame.dst == b"\xff" * 6),
                       "etype": number_of(frame.ethertype), "suite": frame.suite, "opcode": frame.opcode,
                       "session": frame.session, "length": frame.length, "flags": frame.flags,
                       "object": frame.object, "index": frame.index, "sequence_": frame.sequence,
                       "frame_bytes": len(raw)}

    def offers(self):
        """Whether the module offers anything."""
        return int(self.dut.df_valid_o.value) or int(self.dut.cf_valid_o.value)

    async def finish(self):
        """All that has to come comes, and nothing else."""
        for _ in range(LIMIT):
            if not self.data and not self.control and not self.taken:
                break
            await RisingEdge(self.dut.clk_i)
        left = len(self.data) + len(self.control) + len(self.taken)
        assert left == 0, f"{left} frames are missing"
        await self.cycles(10)
        assert not self.offers()
        assert +self.events == +self.expected, f"{+self.events} instead of {+self.expected}"
        for task in self.tasks:
            task.cancel()


def wire_cycles(raw, credit):
    """Idle cycles behind a frame at 10 Gb/s (preamble, FCS, gap: 24 bytes), and the fraction carried on, in bytes."""
    size = max(len(raw), 60) + 24 + credit
    return size // 8 - len(beats(raw)), size % 8


@cocotb.test()
async def random_and_mutated_frames_are_judged_as_the_reference_does(dut):
    bench = Bench(dut, name="mutated")
    await bench.start()
    for i in range(1800):
        raw = bench.maker.any()
        await bench.send(raw, p_idle=bench.rng.choice((0, 0, 0, 0.3)))
        if len(bench.control) > 7 or len(bench.data) > 8 or bench.rng.random() < 0.3:
            await bench.idle(bench.rng.randrange(60))
        while sum(len(c[1]) for c in bench.control) > 9000 or len(bench.control) > 13 or len(bench.data) > 20:
            await bench.idle(10)
        assert i < LIMIT
    await bench.finish()
    reasons = {DropReason(r) for r in range(DropReason.LYING_LENGTH + 1)} | {DropReason.VLAN, DropReason.WRONG_SOURCE}
    missing = reasons - set(bench.events)
    assert not missing, f"the frames did not provoke {missing}"


@cocotb.test()
async def smallest_frames_at_line_rate_lose_nothing(dut):
    bench = Bench(dut, name="line rate")
    await bench.start()
    bench.p_take = bench.p_read = 1.0
    credit = 0
    for _ in range(1000):
        raw = bench.maker.data(20).ljust(60, b"\0")
        await bench.send(raw)
        gap, credit = wire_cycles(raw, credit)
        await bench.idle(gap)
    await bench.finish()
    assert bench.expected["rx"] == 1000


@cocotb.test()
async def frames_of_every_residue_back_to_back_lose_nothing(dut):
    bench = Bench(dut, mtu=9000, name="sizes")
    await bench.start()
    bench.p_take = bench.p_read = 1.0
    credit = 0
    sizes = [*range(40, 76), *range(76, 9007, 131), *range(9007, 9015), 9014, 9014, 9014]
    for size in sizes:
        raw = bench.maker.data(size - 40).ljust(60, b"\0")
        await bench.send(raw)
        gap, credit = wire_cycles(raw, credit)
        await bench.idle(gap)
    await bench.finish()
    assert bench.expected["rx"] == len(sizes)


@cocotb.test()
async def oversized_by_one_and_giants_are_dropped(dut):
    bench = Bench(dut, mtu=1500, name="giants")
    await bench.start()
    for size in (1513, 1514, 1515, 1516, 9019, 12_000, 17_000):
        raw = bench.maker.data(min(size, 60_000) - 40)
        await bench.send(raw)
        await bench.send(bench.maker.data(33))
    assert bench.expected[DropReason.OVERSIZED] == 5
    await bench.finish()


@cocotb.test()
async def overflow_loses_whole_frames_and_recovers(dut):
    bench = Bench(dut, mtu=9000, name="overflow")
    await bench.start()
    # the last one: places become free while a frame that does not fit is on its way
    for block, hold, p_take, p_read in ((8900, 20, 0.0, 1.0), (20, 50, 0.0, 1.0), (700, 60, 0.0, 1.0),
                                        (1400, 60, 1.0, 0.5)):
        bench.p_take, bench.p_read = p_take, p_read
        await bench.idle(5)
        sent = [bench.maker.data(block) for _ in range(hold)]
        lost_before = bench.events["overflow"]
        for raw in sent:
            await bench.send(raw)
            await bench.idle(3)
            lost = bench.events["overflow"] - lost_before
            if lost > bench.expected["overflow"] - lost_before:
                bench.data.pop()
                bench.sent_data.pop()
                bench.expected["overflow"] += 1
        assert bench.expected["overflow"] > lost_before
        bench.p_take = 1.0
        for _ in range(LIMIT):
            if not bench.data and not bench.taken:
                break
            await bench.idle(1)
        for _ in range(10):
            await bench.send(bench.maker.data(100))
            await bench.idle(20)
    await bench.finish()


@cocotb.test()
async def frame_ram_is_filled_to_the_last_beat(dut):
    bench = Bench(dut, mtu=9000, name="exactly full")
    await bench.start()
    for offset in range(3):  # the ring's start moves on
        bench.p_take = 0.0
        await bench.idle(20)
        # 3,072 beats: 16 are left, 17 do not fit, 16 do
        for count, fits in ((1024, True), (1024, True), (1008, True), (17, False), (16, True), (5, False)):
            raw = bench.maker.data(8 * count - 40)
            assert len(beats(raw)) == count or count == 5
            await bench.send(raw)
            if not fits:
                bench.data.pop()
                bench.sent_data.pop()
                bench.expected["overflow"] += 1
            await bench.idle(5)
            assert bench.events["overflow"] == bench.expected["overflow"]
        bench.p_take = 1.0
        for _ in range(LIMIT):
            if not bench.data and not bench.taken:
                break
            await bench.idle(1)
        await bench.send(bench.maker.data(100 + offset))
        await bench.idle(300)
    await bench.finish()


@cocotb.test()
async def full_control_queue_loses_control_frames_only(dut):
    bench = Bench(dut, mtu=1500, name="control full")
    await bench.start()
    bench.control_pace = 0.0
    kept = 0
    for _ in range(40):
        raw = bench.maker.codec.encode(Opcode.RUN, bench.rng.randbytes(900), dst=OWN, src=HOST, ethertype=0x80CC)
        await bench.send(raw)
        await bench.idle(3)
        if bench.events["overflow"] > bench.expected["overflow"]:
            bench.expected["overflow"] += 1
            bench.expected["seen"] += 1  # it does not get to the control unit
            bench.control.pop()
        else:
            kept += 1
        await bench.send(bench.maker.data(50))
        await bench.idle(40)
    assert 14 <= kept <= 17
    bench.control_pace = 1.0
    # DATA frames went past the control frames; those offer no fence to them
    await bench.finish()


@cocotb.test()
async def broken_frames_leave_no_trace(dut):
    bench = Bench(dut, name="broken")
    await bench.start()
    for _ in range(60):
        raw = bench.maker.data() if bench.rng.random() < 0.5 else bench.maker.control()
        kind = bench.rng.randrange(4)
        if kind == 0:
            await bench.send(raw, error=True)
        elif kind == 1 and len(beats(raw)) > 1:
            await bench.send(raw, cut=bench.rng.randrange(1, len(beats(raw))))
        elif kind == 2:  # beats without a start
            dut.mac_rx_valid_i.value, dut.mac_rx_sop_i.value = 1, 0
            for _ in range(bench.rng.randrange(1, 12)):
                dut.mac_rx_data_i.value = bench.rng.getrandbits(64)
                dut.mac_rx_eop_i.value = int(bench.rng.random() < 0.2)
                await RisingEdge(dut.clk_i)
                if int(dut.mac_rx_eop_i.value):
                    break
            await bench.idle(1)
        await bench.send(bench.maker.data(bench.rng.randrange(100)))
        await bench.idle(bench.rng.randrange(30))
    await bench.finish()


@cocotb.test()
async def link_down_receives_nothing(dut):
    bench = Bench(dut, name="link")
    await bench.start()
    for _ in range(8):
        raw = bench.maker.data(200)
        sending = cocotb.start_soon(bench.send(raw, count=False))
        await bench.cycles(bench.rng.randrange(2, 20))
        dut.link_up_i.value = 0  # in the middle of a frame
        await bench.cycles(bench.rng.randrange(1, 4))
        if bench.rng.random() < 0.5:
            dut.link_up_i.value = 1
        await sending
        await bench.send(raw, count=bool(int(dut.link_up_i.value)))
        dut.link_up_i.value = 1
        await bench.send(bench.maker.data(60))
        await bench.idle(80)
    await bench.finish()


@cocotb.test()
async def reset_in_the_middle_forgets_all(dut):
    bench = Bench(dut, name="reset")
    await bench.start()
    for _ in range(6):
        for task in bench.tasks:
            task.cancel()
        for name in ("df_ready_i", "df_rd_en_i", "df_done_i", "cf_pop_i"):
            getattr(dut, name).value = 0
        await bench.send(bench.maker.data(90), count=False)
        sending = cocotb.start_soon(bench.send(bench.maker.data(400), count=False))
        await bench.cycles(bench.rng.randrange(1, 50))
        await bench.reset()
        await sending
        await bench.idle(5)
        assert not bench.offers()
        bench.tasks = [cocotb.start_soon(t) for t in (bench._events(), bench._take(), bench._read(), bench._control())]
        for _ in range(5):
            await bench.send(bench.maker.data())
            await bench.idle(50)
    await bench.finish()
