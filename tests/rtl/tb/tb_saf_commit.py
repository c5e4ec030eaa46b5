"""saf_commit against what safhost.lab.card_commit says: phases, deadlines, answers; images word by word."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
from role_bench import ET_IMAGE_ANSWER, ROLE, Bench, unpack

from safhost.lab.card_commit import DEFAULT_FEED_MS, ISOLATE_MS
from safhost.wire.generated import (
    CardState,
    Commit,
    CommitPhase,
    Committed,
    Opcode,
    PrStatus,
    Status,
)

PR_CLOCK_PS = 10_000
STAGING, SLOT_BYTES = 0x1_C000_0000, 0x0E00_0000
KILL = 1


class Card(Bench):
    """saf_commit with images in DDR, a PR controller, slots that run, and the role's bridges."""

    def __init__(self, dut, pr_clock_ps=PR_CLOCK_PS):
        super().__init__(dut, pr_clk_i=pr_clock_ps)
        self.hooks.append(self._inputs)
        self.looks.append(self._outputs)
        cocotb.start_soon(self._controller())

    async def start(self):
        """Everything works; reset."""
        dut = self.dut
        self.given_up = 0  # reads that were not read to their end
        self.images: dict[bytes, tuple[int, bytes, bool]] = {}  # digest: slot, bytes, verified
        self.running, self.frozen, self.bus_idle, self.ddr_idle = 0, True, True, True
        self.kills, self.killed, self.changes, self.used = 0, False, 0, []
        self.gap, self.burst_gap, self.latency = 0.0, None, 20
        self.judge, self.pr_stall, self.pr_takes = PrStatus.SUCCESS, 0.0, True
        self.words, self.starts, self.pr_resets, self.taken_at = [], 0, 0, []
        self._read, self._lookup, self._ended = None, 0, False
        dut.cfg_i.value = dut.scrub_busy_i.value = dut.pr_status_i.value = dut.pr_ready_i.value = 0
        dut.pcie_pr_active_i.value = dut.pcie_pr_start_i.value = dut.pcie_pr_valid_i.value = 0
        dut.pcie_pr_data_i.value = 0
        await self.reset("pr_rst_ni")

    def stage(self, data, slot=0, verified=True):
        """Put an image into a slot; says its digest."""
        digest = random.randbytes(32)
        self.images = {d: i for d, i in self.images.items() if i[0] != slot} | {digest: (slot, data, verified)}
        return digest

    def role(self):
        """role_o."""
        return vars(unpack(ROLE, int(self.dut.role_o.value)))

    async def commit(self, commit_id, digest, epoch=None, index=0, drain_ms=0, feed_ms=0, options=0):
        """COMMIT; says its answer."""
        ask = Commit(digest=digest, role_epoch=self.role()["epoch"] if epoch is None else epoch, drain_ms=drain_ms,
                     feed_ms=feed_ms, options=options)
        before = len(self.messages)
        await self.handle(Opcode.COMMIT, commit_id, index, ask.pack())
        answers = [m for m in self.messages[before:] if (m.meta["object"], m.meta["index"]) == (commit_id, index)]
        assert answers, "no answer"
        return self.read(answers[-1])

    @staticmethod
    def read(message):
        """A COMMITTED."""
        meta = message.meta
        assert (meta["opcode"], meta["etype"]) == (Opcode.COMMITTED, ET_IMAGE_ANSWER)
        return Committed.unpack(message.payload)

    async def end(self, limit=60_000):
        """Wait for the end; says the COMMITTED that nobody asked for."""
        await self.until(lambda: not self.dut.commit_active_o.value, "the commit's end", limit)
        before = len(self.messages)
        await self.until(lambda: len(self.messages) > before, "COMMITTED unasked", 200)
        return self.read(self.messages[-1])

    def _inputs(self):
        dut = self.dut
        # image lookup: some cycles after it was asked for
        dut.img_done_i.value = 0
        if dut.img_valid_o.value:
            self._lookup += 1
            if self._lookup == 3:
                digest = int(dut.pay_i.value).to_bytes(64, "big")[:32]
                slot, data, verified = self.images.get(digest, (0, b"", False))
                dut.img_done_i.value = 1
                dut.img_found_i.value, dut.img_verified_i.value = bool(data), verified
                dut.img_slot_i.value, dut.img_length_i.value = slot, len(data)
        else:
            self._lookup = 0
        dut.slots_running_i.value = self.running
        dut.kill_done_i.value = 0
        if dut.kill_all_o.value and not self.killed:
            self.kills += 1
            self.running, self.killed = 0, True
            dut.kill_done_i.value = 1
        elif not dut.kill_all_o.value:
            self.killed = False
        dut.bus_idle_i.value = self.bus_idle
        dut.role_frozen_i.value = bool(dut.freeze_o.value) and self.frozen
        dut.role_idle_i.value = bool(dut.role_block_o.value) and self.ddr_idle
        # reader
        dut.rd_ready_i.value = self._read is None
        offer = False
        if self._read is not None and self._read[2] == 0:
            data, at, _ = self._read
            offer = bool(dut.rd_dvalid_i.value) and not self._taken
            offer = offer or (random.random() >= self.gap and not self._between_bursts())
            if offer:
                word = data[at:at + 8]
                dut.rd_data_i.value = int.from_bytes(word.ljust(8, b"\0"), "big")
                dut.rd_dlast_i.value = at + 8 >= len(data)
        dut.rd_dvalid_i.value = offer

    def _between_bursts(self):
        """DDR is refreshed for ``burst_gap[1]`` cycles out of ``burst_gap[0]``."""
        self._clock = getattr(self, "_clock", 0) + 1
        return self.burst_gap is not None and self._clock % self.burst_gap[0] < self.burst_gap[1]

    def _outputs(self):
        dut = self.dut
        self.changes += int(dut.role_changed_o.value)
        if dut.used_valid_o.value:
            self.used.append((int(dut.used_slot_o.value), int(dut.used_epoch_o.value)))
        self._taken = bool(dut.rd_dvalid_i.value and dut.rd_dready_o.value)
        if self._read is not None:
            data, at, wait = self._read
            at += 8 * self._taken
            self._read = (data, at, max(0, wait - 1))
            if at >= len(data) or dut.rd_abort_o.value:
                self.given_up += at < len(data)
                self._read = None
        elif dut.rd_valid_o.value:
            address, length = int(dut.rd_addr_o.value), int(dut.rd_bytes_o.value)
            slot = (address - STAGING) // SLOT_BYTES
            assert address == STAGING + slot * SLOT_BYTES
            data = next(d for s, d, _ in self.images.values() if s == slot)
            assert len(data) == length
            self._read = (data, 0, self.latency)

    async def _controller(self):
        """The PR controller: one image at a time, judged when no word came for a while."""
        dut = self.dut
        quiet = clock = 0
        status = 0
        while True:
            await FallingEdge(dut.pr_clk_i)
            clock += 1
            if not dut.pr_rst_ni.value:
                status = 0
                continue
            dut.pr_status_i.value = status
            dut.pr_ready_i.value = status == 4 and self.pr_takes and random.random() >= self.pr_stall
            await ReadOnly()
            if dut.pr_reset_o.value:
                self.pr_resets += 1
                status = 0
            if dut.pr_start_o.value:
                self.words, self.taken_at, self._ended = [], [], False
                self.starts += 1
                status, quiet = 4, 0
            elif dut.pr_valid_o.value and dut.pr_ready_i.value:
                self.words.append(int(dut.pr_data_o.value))
                self.taken_at.append(clock)
                quiet = 0
                early = self.judge if isinstance(self.judge, tuple) else None
                if early is not None and len(self.words) == early[0]:
                    status = early[1]
            elif status == 4 and self.words:
                quiet += 1
                if quiet > 60 and isinstance(self.judge, PrStatus):
                    status = int(self.judge)

    def fed(self):
        """The bytes that the controller took in its latest image."""
        return b"".join(w.to_bytes(4, "little") for w in self.words)


def padded(data):
    """An image in whole words."""
    return data + bytes(-len(data) % 4)


@cocotb.test()
async def lengths_and_stalls_arrive_word_by_word(dut):
    card = Card(dut)
    await card.start()
    for number, length in enumerate((*range(24, 33), 1, 3, 4, 5, 4095, 600), 1):
        card.gap, card.pr_stall = random.choice((0.0, 0.3, 0.7)), random.choice((0.0, 0.3, 0.7))
        card.stall = random.choice((0.0, 0.5))
        data, slot, old = random.randbytes(length), random.randrange(4), card.role()
        digest = card.stage(data, slot)
        answer = await card.commit(number, digest, index=number)
        assert (answer.status, answer.phase) == (Status.RUNNING, CommitPhase.DRAIN)
        assert (answer.role_epoch, answer.fed_bytes) == (old["epoch"], 0)
        assert answer.image_digest == old["image_digest"].to_bytes(32, "big")
        assert card.role()["card_state"] == CardState.PROGRAMMING
        card.time_us += 777
        answer = await card.end()
        assert card.messages[-1].meta["object"] == card.messages[-1].meta["index"] == number
        assert card.fed() == padded(data)
        assert answer == Committed(status=Status.OK, phase=CommitPhase.RELEASE, pr_status=PrStatus.SUCCESS,
                                   role_epoch=old["epoch"] + 1, fed_bytes=length, elapsed_us=777, image_digest=digest)
        assert card.role() == {"card_state": CardState.READY, "pr_status": PrStatus.SUCCESS, "epoch": number,
                               "image_digest": int.from_bytes(digest, "big"), "has_role": 1}
        assert card.used[-1] == (slot, number)
        assert int(dut.pr_count_o.value) == card.changes == number
        assert not dut.freeze_o.value
        assert not dut.role_reset_o.value
        assert int(dut.last_commit_o.value) == number
        assert await card.commit(number, digest, epoch=99) == answer  # the stored reply, whatever else is asked
    assert card.starts == number
    assert card.pr_resets == 0


@cocotb.test()
async def ids_are_told_running_busy_stale_or_the_stored_reply(dut):
    card = Card(dut)
    await card.start()
    good, bad = card.stage(random.randbytes(100)), card.stage(random.randbytes(100), 1, verified=False)
    assert (await card.commit(0, good)).status == Status.STALE
    for commit_id, digest, epoch, status in ((5, bytes(32), 0, Status.UNKNOWN_IMAGE), (6, bad, 0, Status.NOT_VERIFIED),
                                             (7, good, 1, Status.BAD_EPOCH)):
        refused = await card.commit(commit_id, digest, epoch=epoch)
        assert refused == Committed(status=status, phase=CommitPhase.IDLE, image_digest=bytes(32))
        card.time_us += 50
        assert await card.commit(commit_id, good) == refused
        stale = await card.commit(commit_id - 1, good)
        assert (stale.status, stale.elapsed_us) == (Status.STALE, 50)
    card.running = 4
    assert (await card.commit(8, good, drain_ms=1000)).status == Status.RUNNING
    card.time_us += 1234
    for commit_id, status in ((8, Status.RUNNING), (9, Status.BUSY), (7, Status.STALE)):
        answer = await card.commit(commit_id, good, epoch=55, index=3)
        assert (answer.status, answer.phase, answer.elapsed_us) == (status, CommitPhase.DRAIN, 1234)
    card.running = 0
    await card.end()
    assert card.messages[-1].meta["index"] == 3  # of the latest repetition
    assert (await card.commit(0xFFFFFFFF, bytes(32))).status == Status.UNKNOWN_IMAGE
    assert (await card.commit(9, good)).status == Status.STALE
    card.time_us += 1 << 33
    assert (await card.commit(9, good)).elapsed_us == 0xFFFFFFFF


@cocotb.test()
async def every_phase_has_its_deadline(dut):
    card = Card(dut)
    await card.start()
    number = 0
    for has_role in (False, True):
        for phase, status, limit_ms in ((CommitPhase.DRAIN, Status.DRAIN_TIMEOUT, 7),
                                        (CommitPhase.FREEZE, Status.FREEZE_TIMEOUT, ISOLATE_MS),
                                        (CommitPhase.WAIT_DDR_IDLE, Status.DDR_TIMEOUT, ISOLATE_MS),
                                        (CommitPhase.FEED, Status.PR_TIMEOUT, DEFAULT_FEED_MS),
                                        (CommitPhase.CHECK, Status.PR_TIMEOUT, 9)):
            if has_role:
                number += 1
                good = card.stage(random.randbytes(64))
                await card.commit(number, good)
                await card.end()
            old = card.role()
            card.running = phase is CommitPhase.DRAIN
            bridges = random.random() < 0.5
            card.frozen = phase is not CommitPhase.FREEZE or bridges
            card.bus_idle = phase is not CommitPhase.FREEZE or not bridges
            card.ddr_idle = phase is not CommitPhase.WAIT_DDR_IDLE
            card.pr_takes = phase is not CommitPhase.FEED
            card.judge = None if phase is CommitPhase.CHECK else PrStatus.SUCCESS
            number += 1
            data = random.randbytes(400)
            digest = card.stage(data, 1)
            await card.commit(number, digest, drain_ms=7, feed_ms=9 if phase is CommitPhase.CHECK else 0)
            await card.cycles(600)
            progress = await card.commit(number, digest)
            assert (progress.status, progress.phase) == (Status.RUNNING, phase)
            card.time_us += limit_ms * 1000 - 1
            await card.cycles(50)
            assert dut.commit_active_o.value
            card.time_us += 1
            answer = await card.end()
            lost = phase in (CommitPhase.FEED, CommitPhase.CHECK)
            assert (answer.status, answer.elapsed_us) == (status, limit_ms * 1000)
            assert answer.phase == (CommitPhase.NO_ROLE if lost else phase)
            assert answer.fed_bytes == (400 if phase is CommitPhase.CHECK else 0)
            if lost:
                assert card.role() == {"card_state": CardState.NO_ROLE, "pr_status": PrStatus.POWER_UP,
                                       "epoch": old["epoch"], "image_digest": 0, "has_role": 0}
                assert dut.freeze_o.value
                assert dut.role_reset_o.value
            else:
                assert card.role() == old
                assert bool(dut.freeze_o.value) == bool(dut.role_reset_o.value) == (not has_role)
            card.running, card.frozen, card.bus_idle, card.ddr_idle, card.pr_takes = 0, True, True, True, True
            card.judge = PrStatus.SUCCESS
    assert card.pr_resets  # a controller left in the middle was withdrawn


@cocotb.test()
async def drain_kills_what_does_not_end(dut):
    card = Card(dut)
    await card.start()
    digest = card.stage(random.randbytes(64))
    card.running = 0x81
    await card.commit(1, digest, drain_ms=20, options=KILL)
    await card.cycles(100)
    assert not card.kills
    assert dut.commit_active_o.value
    card.time_us += 20_000
    assert (await card.end()).status == Status.OK
    assert card.kills == 1
    card.running = 1
    await card.commit(2, digest, drain_ms=20, options=KILL)
    card.running = 0
    assert (await card.end()).status == Status.OK
    assert card.kills == 1


@cocotb.test()
async def errors_of_the_controller_lose_the_role_and_leave_nothing_behind(dut):
    card = Card(dut)
    await card.start()
    number = 0
    for pr_status, status in ((PrStatus.PR_ERROR, Status.PR_ERROR), (PrStatus.CRC_ERROR, Status.PR_CRC_ERROR),
                              (PrStatus.INCOMPATIBLE, Status.PR_INCOMPATIBLE)):
        for words in (1, 2, 72, 300, None):
            number += 1
            data = random.randbytes(40_000 if words == 2 else 4000)
            card.judge = pr_status if words is None else (words, int(pr_status))
            card.pr_stall = random.choice((0.0, 0.5))
            digest = card.stage(data)
            await card.commit(number, digest)
            answer = await card.end()
            assert (answer.status, answer.phase, answer.pr_status) == (status, CommitPhase.NO_ROLE, pr_status)
            assert answer.fed_bytes == 4 * len(card.words)
            assert card.fed() == data[:4 * len(card.words)]
            assert len(card.words) == words or words is None
            assert answer.image_digest == bytes(32)
            assert not card.role()["has_role"]
        assert card.given_up  # nobody waits for the rest of a long image
        number += 1
        card.judge, data = PrStatus.SUCCESS, random.randbytes(333)
        digest = card.stage(data)
        await card.commit(number, digest)
        assert (await card.end()).status == Status.OK
        assert card.fed() == padded(data)


@cocotb.test()
async def another_owner_finds_nothing_in_every_phase(dut):
    card = Card(dut)
    await card.start()
    for phase in (None, CommitPhase.DRAIN, CommitPhase.FREEZE, CommitPhase.WAIT_DDR_IDLE, CommitPhase.FEED,
                  CommitPhase.CHECK):
        digest = card.stage(random.randbytes(64))
        await card.commit(100, digest)
        assert (await card.end()).status == Status.OK
        epoch = card.role()["epoch"]
        card.running, card.frozen = phase is CommitPhase.DRAIN, phase is not CommitPhase.FREEZE
        card.ddr_idle = phase is not CommitPhase.WAIT_DDR_IDLE
        card.pr_takes = phase is not CommitPhase.FEED
        card.judge = None if phase is CommitPhase.CHECK else PrStatus.SUCCESS
        if phase is not None:
            await card.commit(101, card.stage(random.randbytes(1000), 2), drain_ms=1000)
            await card.cycles(800)
            assert (await card.commit(101, digest)).phase == phase
        said = len(card.messages)
        card.session(False)
        await card.pulse("session_end_i")
        await card.pulse("forget_i")
        await card.until(lambda: not dut.forget_busy_o.value, "forget", 100)
        card.running, card.frozen, card.ddr_idle, card.pr_takes, card.judge = 0, True, True, True, PrStatus.SUCCESS
        card.session(True)
        await card.cycles(500)
        assert len(card.messages) == said
        assert not dut.commit_active_o.value
        assert int(dut.last_commit_o.value) == 0
        role = card.role()
        assert (role["card_state"], role["epoch"], role["has_role"]) == (CardState.NO_ROLE, epoch + 1, 0)
        assert role["image_digest"] == 0
        assert dut.freeze_o.value
        assert dut.role_reset_o.value


@cocotb.test()
async def end_without_a_session_is_told_to_nobody_and_kept(dut):
    card = Card(dut)
    await card.start()
    digest = card.stage(random.randbytes(64))
    await card.commit(1, digest)
    card.session(False)
    await card.pulse("session_end_i")
    said = len(card.messages)
    await card.until(lambda: not dut.commit_active_o.value, "the end")
    card.session(True)
    await card.cycles(200)
    assert len(card.messages) == said
    assert (await card.commit(1, digest)).status == Status.OK


@cocotb.test()
async def reset_in_the_middle_of_a_feed_begins_anew(dut):
    card = Card(dut)
    await card.start()
    for cycles in (40, 100, 333):
        await card.commit(1, card.stage(random.randbytes(4000)))
        await card.cycles(cycles)
        await card.start()
        assert card.role() == {"card_state": CardState.NO_ROLE, "pr_status": PrStatus.POWER_UP, "epoch": 0,
                               "image_digest": 0, "has_role": 0}
        data = random.randbytes(50)
        await card.commit(1, card.stage(data))
        assert (await card.end()).status == Status.OK
        assert card.fed() == padded(data)


@cocotb.test()
async def pcie_keeps_the_controller_while_it_is_active(dut):
    card = Card(dut)
    await card.start()
    digest = card.stage(random.randbytes(64))
    dut.pcie_pr_active_i.value = 1
    await card.cycles(20)
    dut.pcie_pr_start_i.value, dut.pcie_pr_data_i.value = 1, 0x600DF00D
    await FallingEdge(dut.pr_clk_i)
    await FallingEdge(dut.pr_clk_i)
    dut.pcie_pr_start_i.value, dut.pcie_pr_valid_i.value = 0, 1
    await card.cycles(30)
    dut.pcie_pr_valid_i.value = 0
    assert card.words
    assert set(card.words) == {0x600DF00D}
    await card.commit(1, digest)
    await card.cycles(300)
    assert card.starts <= 2
    assert (await card.commit(1, digest)).phase == CommitPhase.FEED
    dut.pcie_pr_active_i.value = 0
    await card.until(lambda: len(card.words) == 16 and 0x600DF00D not in card.words, "the image")
    # an Ethernet image that began is not cut into
    dut.pcie_pr_active_i.value = dut.pcie_pr_start_i.value = dut.pcie_pr_valid_i.value = 1
    await card.cycles(20)
    assert not dut.pcie_pr_ready_o.value
    dut.pcie_pr_active_i.value = dut.pcie_pr_start_i.value = dut.pcie_pr_valid_i.value = 0
    assert (await card.end()).status == Status.OK


@cocotb.test()
async def feed_keeps_pace_with_the_controller(dut):
    card = Card(dut)
    await card.start()
    card.burst_gap = (1200, 63)  # refresh: 400 ns every 7.8 us
    data = random.randbytes(24_000)
    await card.commit(1, card.stage(data))
    assert (await card.end()).status == Status.OK
    assert card.fed() == data
    clocks = card.taken_at[-1] - card.taken_at[0] + 1
    assert clocks <= 1.02 * len(card.words), f"{clocks} clocks for {len(card.words)} words"
