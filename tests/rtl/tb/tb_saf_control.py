"""cocotb part of saf_control's tests, on the bench that compares it with the virtual card."""

from __future__ import annotations

import os
import random

import cocotb
from control_pair import Pair
from control_traffic import CARD, COMMANDS, HOSTS, KEY, MS, STRANGER, Traffic

from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_IMAGE,
    OPCODES,
    CardState,
    DropReason,
    Opcode,
    PrStatus,
    Status,
)


def seeded():
    return random.Random(random.getrandbits(32))  # cocotb seeded it with what the runner prints


async def begin(dut, **options):
    pair = Pair(dut, seeded(), **options)
    await pair.start()
    return pair, Traffic(pair)


def change_role(pair):
    """Another role, on both sides."""
    rng, role, shell = pair.rng, pair.bench.role, pair.shell
    state, status = rng.choice(list(CardState)), rng.choice(list(PrStatus))
    role.state = shell.card_state = state
    role.pr_status = shell.pr_status = status
    role.epoch = shell.role_epoch = rng.choice((0, 7, 0xFFFFFFFF - 9, rng.getrandbits(31)))
    role.digest = shell.image_digest = rng.randbytes(32)
    pair.bench.slots_running = rng.getrandbits(8)
    pair.bench.tables.refill()


@cocotb.test()
async def anything_that_arrives_is_answered_as_by_the_virtual_card(dut):
    pair, traffic = await begin(dut, mtu=1500)
    rng = pair.rng
    now = 1000
    await pair.at(now, link=1)
    for _ in range(int(os.environ.get("CONTROL_EVENTS", "160"))):
        now += rng.choice((0, 0, 0, 1, 1, 400, 5 * MS, 19_999, 20 * MS, 150 * MS, 1001 * MS))
        if rng.random() < 0.01:
            now += rng.choice((10_000 * MS, 3600_000 * MS))
        kind = rng.random()
        is_open = pair.shell.session is not None
        if kind < 0.02:
            await pair.reset()
            now = rng.choice((5, 1 << 33))
            await pair.at(now, link=1)
        elif kind < 0.06:
            await pair.at(now, link=0)
            now += rng.choice((0, 3, 2000 * MS))
            await pair.at(now, link=1)
        elif kind < 0.10:
            change_role(pair)
        elif kind < 0.14:
            await pair.at(now, seen=True)
        elif kind < 0.17 and not is_open:
            await pair.at(now, stranger=int.from_bytes(rng.choice((STRANGER, HOSTS[0], bytes(5) + b"\1",
                                                                   b"\1" + bytes(5))), "big"))
        elif kind < 0.28:
            await pair.at(now, traffic.solicit())
        elif kind < 0.36:
            await pair.at(now, traffic.group())
        elif kind < 0.40 and is_open:
            await pair.burst(now, [traffic.command(*rng.choice(COMMANDS)) for _ in range(rng.randrange(2, 5))])
        elif kind < (0.56 if is_open else 0.85):
            await pair.at(now, traffic.any_open())
        elif is_open:
            await pair.at(now, traffic.session_frame())
        else:
            old = pair.codec.encode(*(Opcode.KEEPALIVE, bytes(8)), dst=bytes(CARD), src=HOSTS[0], session=9,
                                    ethertype=ETHERTYPE_CONTROL, suite=pair.suite, key=KEY)
            await pair.at(now, old)
    cocotb.log.info("%d kinds of outcome: %s", len(pair.said), sorted(map(str, pair.said)))


def answered(pair):
    """What came out last, as (opcode, status)."""
    said, pair.said = pair.said, set()
    return said


@cocotb.test()
async def every_outcome_of_an_open_in_turn(dut):
    pair, traffic = await begin(dut)
    one, two = pair.hosts
    now = 10
    await pair.at(now, link=1)
    opened = Opcode.OPENED

    async def expect(raw, *outcomes):
        nonlocal now
        now += 30 * MS
        answered(pair)
        await pair.at(now, raw)
        assert {o for o in answered(pair) if o[0] != Opcode.HELLO} == set(outcomes)

    await expect(traffic.open(one, challenge=1), (opened, Status.BAD_CHALLENGE))
    await expect(traffic.open(one, host_mtu=1499), (opened, Status.BAD_PARAMETER))
    await expect(traffic.open(one, lease_ms=0, takeover=False), (opened, Status.OK))
    first = pair.shell.session.id
    await expect(traffic.open(one, fresh=False, challenge=0), (opened, Status.OK))
    assert pair.shell.session.id == first
    mac, one.mac = one.mac, STRANGER  # the same OPEN from elsewhere is no repetition
    await expect(traffic.open(one, fresh=False), (opened, Status.STALE_GENERATION))
    one.mac = mac
    await expect(traffic.open(one), (opened, Status.STALE_GENERATION))
    await expect(traffic.open(two, takeover=False), (opened, Status.BUSY))
    await expect(traffic.open(one, boot_nonce=bytes(16)), ("drop", DropReason.WRONG_SESSION))
    await expect(traffic.open(one, session=first), ("drop", DropReason.WRONG_SESSION))
    await expect(traffic.open(one, suite=1 - pair.suite), ("drop", DropReason.BAD_SUITE))
    await expect(traffic.open(one, dst=BROADCAST_BYTES), ("drop", DropReason.BAD_PARAMETER))
    if pair.suite:
        await expect(traffic.open(one, bad_tag=True), ("drop", DropReason.BAD_TAG))
        await expect(traffic.open(one, sequence=0), ("drop", DropReason.REPLAYED))
    await expect(traffic.command(Opcode.RUN, ETHERTYPE_CONTROL, sequence=5000), ("handled", Opcode.RUN))
    await expect(traffic.open(two, takeover=True, lease_ms=500), (opened, Status.OK))
    now += 500 * MS
    await expect(traffic.open(one, takeover=False), (opened, Status.OK))  # the lease is over
    one.generation += 1
    await expect(traffic.open(one, takeover=False), (opened, Status.OK))
    for close in range(2):
        raw = traffic.command(Opcode.SESSION_CLOSE, ETHERTYPE_CONTROL, sequence=6000)
        await expect(raw, (Opcode.CLOSED, Status.OK))
        one.generation -= close
        outcome = Status.STALE_GENERATION if close else Status.OK
        await expect(traffic.open(one, takeover=False), (opened, outcome))
    assert pair.shell.scrubs == 2
    change_role(pair)
    await expect(traffic.open(two, takeover=False), (opened, Status.OK))


@cocotb.test()
async def payloads_of_all_lengths_reach_their_handler(dut):
    pair, traffic = await begin(dut, mtu=9000)
    rng, now = pair.rng, 10
    await pair.at(now, link=1)
    await pair.at(now, traffic.open(pair.hosts[0], lease_ms=600_000, sequence=1))
    for tail in (*range(18), 1023, 1024):
        body = rng.randbytes(56 + tail)
        junk = b"\xff" * 8  # padding need not be zero, and is no payload
        raw = traffic.command(Opcode.RUN, ETHERTYPE_CONTROL, payload=body + junk[:-tail % 8], sequence=10 + 2 * tail)
        await pair.at(now, traffic.padded_with(raw, 56 + tail))
        answered(pair)
        await pair.at(now, traffic.one_group(body, sequence=11 + 2 * tail, junk=junk))
        assert ("handled", Opcode.RUN) in answered(pair)
    for tail in (0, 1400, 8896, 8880 if pair.suite else 8897):
        await pair.at(now, traffic.command(Opcode.XFER_OPEN, ETHERTYPE_IMAGE, payload=rng.randbytes(64 + tail),
                                           sequence=5000 + tail))
    answered(pair)
    await pair.at(now, traffic.command(Opcode.COMMIT, ETHERTYPE_IMAGE, sequence=20_000))
    assert answered(pair) == {("handled", Opcode.COMMIT)}


@cocotb.test()
async def every_outcome_of_a_group_in_turn(dut):
    pair, traffic = await begin(dut)
    now, body = 10, bytes(range(60))
    await pair.at(now, link=1)
    await pair.at(now, traffic.open(pair.hosts[0], lease_ms=600_000, sequence=1))

    async def expect(raw, *outcomes):
        nonlocal now
        now += 30 * MS
        answered(pair)
        await pair.at(now, raw)
        assert {o for o in answered(pair) if o[0] != Opcode.HELLO} == set(outcomes)

    bad_length, run = ("drop", DropReason.LYING_LENGTH), ("handled", Opcode.RUN)
    await expect(traffic.one_group(body, sequence=10), run)
    await expect(traffic.one_group(body, sequence=11, others=25), run)
    await expect(traffic.one_group(body, sequence=12, others=0), run)
    await expect(traffic.one_group(bytes(48), inner=Opcode.COMMIT, etype=ETHERTYPE_IMAGE, sequence=13),
                 ("handled", Opcode.COMMIT))
    await expect(traffic.one_group(bytes(48), inner=Opcode.COMMIT, sequence=14), ("drop", DropReason.WRONG_ETHERTYPE))
    await expect(traffic.one_group(body, etype=ETHERTYPE_IMAGE, sequence=14), ("drop", DropReason.WRONG_ETHERTYPE))
    await expect(traffic.one_group(body, inner=Opcode.KILL, sequence=14), ("drop", DropReason.BAD_PARAMETER))
    await expect(traffic.one_group(body, src=STRANGER, sequence=14), ("drop", DropReason.WRONG_SOURCE))
    for size in (0, 8, 48, 55):
        await expect(traffic.one_group(bytes(size), sequence=14), bad_length)
    for size in (40, 47, 49, 56):
        raw = traffic.one_group(bytes(size), inner=Opcode.COMMIT, etype=ETHERTYPE_IMAGE, sequence=14)
        await expect(raw, bad_length)
    await expect(traffic.one_group(body, told=65, sequence=14), bad_length)
    await expect(traffic.one_group(body, told=65_535, sequence=14), bad_length)
    await expect(traffic.one_group(body, told=64, sequence=14), run)
    if pair.suite:
        await expect(traffic.one_group(body, sequence=14), ("drop", DropReason.REPLAYED))
        raw = traffic.one_group(body, sequence=15)
        for at in (0, 6, 23, 45, 50, len(raw) - 36, len(raw) - 17, len(raw) - 1):
            forged = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1:]
            await pair.at(now, forged)
        await expect(raw, run)
    for opcode, etype in COMMANDS:
        await expect(traffic.command(opcode, etype, suite=1 - pair.suite, sequence=30), ("drop", DropReason.BAD_SUITE))


@cocotb.test()
async def reset_in_the_middle_leaves_nothing_behind(dut):
    pair, traffic = await begin(dut)
    for _ in range(25):
        now = pair.rng.randrange(1000)
        await pair.at(now, link=1)
        raw = traffic.open(pair.hosts[0])
        if pair.rng.random() < 0.5:
            await pair.at(now, raw)
            raw = traffic.group() if pair.rng.random() < 0.5 else traffic.session_frame()
        frame = pair.codec.parse(raw, "h2c", 1514)
        if not isinstance(frame, DropReason):
            pair.bench.offer(raw, frame)
        for _ in range(pair.rng.randrange(700)):
            await pair.bench.step()
        await pair.reset()
    await pair.at(1000, link=1)
    await pair.at(1000, traffic.open(pair.hosts[0]))


@cocotb.test()
async def answers_come_in_time(dut):
    pair, traffic = await begin(dut, stalls=False)
    bench, now = pair.bench, 10
    await pair.at(now, link=1)
    bench.seen = True
    bench.clear()
    await bench.settle()
    assert bench.marks["hello_end"] - bench.marks["seen"] < 100  # 5 µs are 780
    await pair.reset()
    await pair.at(now, link=1)
    await pair.at(now, traffic.open(pair.hosts[0], lease_ms=0))
    hash_cycles = 0
    for opcode, etype in COMMANDS:
        raw = traffic.command(opcode, etype, payload=bytes(OPCODES[opcode].size), sequence=bench.cycle)
        bench.clear()
        bench.offer(raw, pair.codec.parse(raw, "h2c"))
        await bench.settle()
        if pair.suite:
            hash_cycles = 60 + len(raw) // 8 - 2  # the model's
        assert bench.marks["handled"] - bench.marks["offered"] - hash_cycles < 20, opcode


@cocotb.test()
async def solicits_are_answered_within_their_spread_and_not_too_often(dut):
    pair, traffic = await begin(dut)
    now = 5
    await pair.at(now, link=1)
    for round_ in range(12):
        now += 25 * MS
        for _ in range(4):
            now += pair.rng.choice((0, 1, 3 * MS))
            await pair.at(now, traffic.solicit(pair.rng.choice((0, 3, 12))))
        if round_ == 6:
            await pair.at(now, link=0)
            await pair.at(now, link=1)
    now += 3600_000 * MS
    await pair.at(now)
    assert ("drop", DropReason.RATE_LIMITED) in pair.said
