"""Bad input: counted by reason and dropped; the core never raises and nothing else happens."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from safhost.core import card as st
from safhost.core import events as ev
from safhost.sim import Impairment, make_image
from safhost.sim.nodes import LINK
from safhost.wire.codec import HEADER, Codec, split_batch
from safhost.wire.generated import (
    ETHERTYPE_CONTROL,
    ETHERTYPE_INPUT_ANSWER,
    ETHERTYPE_RESULT,
    OPCODES,
    Alive,
    Committed,
    Done,
    DropReason,
    Nack,
    Opcode,
    Opened,
    ReadSpace,
    Ready,
    Status,
    TransferState,
    Verdict,
)

IMAGE = make_image(60_000)


def drops(sim):
    return dict(sim.host.cluster.drops)


def frame(sim, opcode, payload, ethertype=ETHERTYPE_RESULT, **fields):
    """A suite 0 frame from the first card."""
    options = {"dst": sim.host.mac, "src": bytes(sim.cards["c01"].card.config.mac),
               "session": sim.view("c01").channel.session} | fields
    return Codec().encode(opcode, payload, ethertype=ethertype, **options)


def test_each_parse_error_is_counted_by_its_reason(simulate):
    sim = simulate(suite=0)
    good = frame(sim, Opcode.ALIVE, Alive().pack())
    bad = {
        DropReason.TRUNCATED: good[:39],
        DropReason.OVERSIZED: bytes(70_000),
        DropReason.BAD_VERSION: good[:14] + b"\x20" + good[15:],
        DropReason.BAD_SUITE: good[:14] + b"\x12" + good[15:],
        DropReason.UNKNOWN_OPCODE: good[:15] + b"\x77" + good[16:],
        DropReason.WRONG_DIRECTION: good[:15] + bytes([Opcode.POLL]) + good[16:],
        DropReason.WRONG_ETHERTYPE: frame(sim, Opcode.ALIVE, Alive().pack(), ETHERTYPE_CONTROL),
        DropReason.LYING_LENGTH: good[:20] + b"\xff\xff" + good[22:],
        DropReason.WRONG_SOURCE: frame(sim, Opcode.ALIVE, Alive().pack(), src=b"\x02\0\0\0\0\x55"),
        DropReason.WRONG_SESSION: frame(sim, Opcode.ALIVE, Alive().pack(), session=12345),
    }
    for reason, raw in bad.items():
        before = drops(sim).get(reason, 0)
        sim.host.feed(ev.FrameReceived(LINK, raw))
        got = [r for r, n in drops(sim).items() if n]
        assert drops(sim).get(reason, 0) == before + 1, (reason, got)
    assert sum(drops(sim).values()) == len(bad)


def test_tags_and_replays_are_checked(simulate):
    sim = simulate(suite=1)
    answers = []
    sim.network.taps.append(lambda port, raw: answers.append(raw) if raw[15] == Opcode.ALIVE else None)
    sim.run_for(0.6)
    raw = answers[-1]
    heard = sim.view("c01").last_heard_ns
    sim.run_for(0.01)
    sim.host.feed(ev.FrameReceived(LINK, raw))
    assert drops(sim) == {DropReason.REPLAYED: 1}
    spoiled = bytearray(raw)
    spoiled[45] ^= 1
    sim.host.feed(ev.FrameReceived(LINK, bytes(spoiled)))
    assert drops(sim)[DropReason.BAD_TAG] == 1
    assert sim.view("c01").last_heard_ns == heard


@pytest.mark.parametrize("suite", [0, 1])
def test_frames_of_noise_are_counted_and_nothing_else_happens(simulate, suite):
    sim = simulate(suite=suite, cards=2)
    rng = random.Random(17)
    print("seed 17")
    before = {k: (sim.view(k).state, sim.view(k).channel.session) for k in sim.cards}
    n = 3000
    for _ in range(n):
        sim.host.feed(ev.FrameReceived(LINK, rng.randbytes(rng.choice([0, 1, 13, 14, 39, 40, 41, 60, 200, 1514]))))
    assert sum(drops(sim).values()) == n
    assert {k: (sim.view(k).state, sim.view(k).channel.session) for k in sim.cards} == before


@pytest.mark.parametrize("suite", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_mutated_and_replayed_answers_never_raise(simulate, seed, suite):
    """Every frame a card really sent, with bytes changed, cut or sent twice, in the middle of real work.

    Under suite 1 nothing of it may count; under suite 0, where nothing proves a frame, it may do harm, but no
    more than end requests with an error.
    """
    sim = simulate(seed=seed, suite=suite, cards=2)
    rng = random.Random(seed)
    extra = []

    def tap(port, raw):
        if port.name.startswith("c") and rng.random() < 0.7:
            spoiled = bytearray(raw)
            for _ in range(rng.randint(1, 4)):
                spoiled[rng.randrange(14, len(spoiled))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            extra.append(bytes(spoiled[:rng.choice([len(spoiled), len(spoiled), rng.randrange(len(spoiled))])]))
            extra.append(raw)

    sim.network.taps.append(tap)
    requests = [sim.program(IMAGE), sim.write(np.arange(9000), 0),
                sim.start(ev.StartRead(0, "c01", ReadSpace.DDR, 0, np.zeros(50_000, np.uint8))),
                sim.start(ev.StartRun(0, ("c01", "c02"), 0xFFFF))]

    def busy():
        while extra:
            sim.host.feed(ev.FrameReceived(LINK, extra.pop()))
        return any(r not in sim.host.ended for r in requests)

    sim.run_while(busy, 200, "four requests")
    if suite == 1:
        assert [sim.host.ended[r].error for r in requests] == [None] * 4
        assert drops(sim)[DropReason.BAD_TAG] > 0
    sim.network.taps.clear()
    sim.run_for(15)
    sim.settle()


def answer_once(sim, opcode, payload_of, ethertype, obj, index):
    sim.host.feed(ev.FrameReceived(LINK, frame(sim, opcode, payload_of, ethertype, object=obj, index=index)))


@pytest.mark.parametrize("nonsense", [
    Nack(first_block=3, bits=8, bitmap=b"\xff", missing=1), Nack(first_block=0, bits=1 << 31, missing=1),
    Nack(first_block=1 << 20, bits=8, bitmap=b"\xff", missing=1), Nack(bits=8192, bitmap=b"\xff" * 1024, missing=1),
    Nack(bits=40, bitmap=b"\xff", missing=40), Nack(missing=1 << 30), Nack(lowest=1 << 30, missing=1)])
def test_nack_about_another_object_ends_the_member_only(simulate, nonsense):
    sim = simulate(suite=0, cards=2)
    sim.cards["c01"].card._handlers[Opcode.POLL] = lambda f, now: sim.cards["c01"].card._shell.answer(
        f, nonsense._replace(status=Status.OK, state=TransferState.RECEIVING, credit=100).pack())
    ended = sim.run_until(sim.program(IMAGE), timeout_s=20)
    assert list(ended.error.failed) == ["c01"]
    assert "not about this object" in ended.error.failed["c01"]
    assert drops(sim)[DropReason.BAD_PARAMETER] == 1


def test_card_that_verifies_something_else_is_not_believed(simulate):
    sim = simulate(suite=1, cards=2)
    card = sim.cards["c01"].card
    card._handlers[Opcode.CLOSE] = lambda f, now: card._shell.answer(
        f, Verdict(status=Status.OK, state=TransferState.VERIFIED, digest=b"x" * 32).pack())
    ended = sim.run_until(sim.program(IMAGE), timeout_s=20)
    assert ended.error.done == ["c02"]
    assert "another digest" in ended.error.failed["c01"]


def test_answers_with_unknown_numbers_are_shown_as_numbers(simulate):
    sim = simulate(suite=0, cards=1)
    card = sim.cards["c01"].card
    seen = []
    card._handlers[Opcode.XFER_OPEN] = lambda f, now: (seen.append(f), card._shell.answer(
        f, Ready(status=999).pack()))
    ended = sim.run_until(sim.program(IMAGE), timeout_s=20)
    assert "status 999" in str(ended.error)
    card._handlers[Opcode.XFER_OPEN] = card._transfers.on_open
    outcome = Committed(status=888, phase=99, pr_status=77)
    card._handlers[Opcode.COMMIT] = lambda f, now: card._shell.answer(f, outcome.pack())
    ended = sim.run_until(sim.program(IMAGE), timeout_s=20)
    assert "status 888" in str(ended.error)
    assert "77" in str(ended.error)
    running = Committed(status=Status.RUNNING, phase=99)
    card._handlers[Opcode.COMMIT] = lambda f, now: card._shell.answer(f, running.pack())
    request = sim.program(IMAGE)
    sim.run_for(0.3)
    sim.host.cluster.requests[request].progress()
    assert sim.host.cluster.out.pop().info["cards"]["c01"]["state"] == "phase 99"
    sim.host.feed(ev.RequestCancelled(request))
    card._handlers[Opcode.RUN] = lambda f, now: card._shell.answer(f, Done(status=777).pack())
    ended = sim.run_until(sim.start(ev.StartRun(0, ("c01",), 0xFFFF)), timeout_s=5)
    assert "status 777" in str(ended.error)


def test_opened_with_impossible_numbers_is_survived(simulate):
    sim = simulate(settled=False, suite=0)
    card = sim.cards["c01"].card
    real = card._sessions._content

    def content(*args):
        opened = real(*args)
        images = tuple(i._replace(slot=200, state=77) for i in opened.images)
        return opened._replace(images=images, card_state=250, pr_status=99)

    card._sessions._content = content
    sim.settle()
    assert sim.run_until(sim.program(IMAGE)).error is None
    assert Opened.unpack(real(*_ask(sim)).pack()).status == Status.OK


def _ask(sim):
    from safhost.wire.generated import SessionOpen

    return SessionOpen(), Status.OK, 0, sim.now_ns


def test_answers_nobody_asked_for_are_ignored(simulate):
    sim = simulate(suite=0, cards=1)
    for opcode, info in OPCODES.items():
        if info.way == "c2h" and opcode not in (Opcode.HELLO, Opcode.OPENED):
            for ethertype in info.ethertypes:
                raw = frame(sim, opcode, bytes(info.size), ethertype, object=4, index=4)
                sim.host.feed(ev.FrameReceived(LINK, raw))
    sim.host.feed(ev.FrameReceived(LINK, frame(sim, Opcode.OPENED, Opened().pack())))
    assert drops(sim) == {DropReason.REPLAYED: 1}
    assert sim.view("c01").state == st.AVAILABLE


def data_batch(sim, rows, ethertype=ETHERTYPE_RESULT, session=None, obj=1, src=None, block=1472):
    """DATA frames of the first card: (index, length field) each."""
    out = np.zeros((len(rows), 40 + block), np.uint8)
    for row, (index, length) in zip(out, rows, strict=True):
        head = HEADER.pack(sim.host.mac, src or bytes(sim.cards["c01"].card.config.mac), ethertype, 0x10, Opcode.DATA,
                           sim.view("c01").channel.session if session is None else session, length, 0, obj, index, 0)
        row[:40] = np.frombuffer(head, np.uint8)
    return out, np.full(len(rows), 40 + block)


def test_data_that_fits_nothing_is_counted_by_reason(simulate):
    sim = simulate(suite=0, card={"receive_rate": 1000})
    sim.inject("c01", "mute")
    out = np.zeros(10_000, np.uint8)
    sim.start(ev.StartRead(0, "c01", ReadSpace.DDR, 0, out))
    cases = [
        ({"rows": [(0, 1472)] * 3, "session": 9}, DropReason.WRONG_SESSION, 3),
        ({"rows": [(0, 1472)] * 2, "src": b"\2\0\0\0\0\x77"}, DropReason.WRONG_SOURCE, 2),
        ({"rows": [(0, 1472)], "obj": 77}, DropReason.NO_CONTEXT, 1),
        ({"rows": [(0, 1472)], "ethertype": ETHERTYPE_INPUT_ANSWER}, DropReason.WRONG_ETHERTYPE, 1),
        ({"rows": [(0, 1472)], "ethertype": 0x1234}, DropReason.WRONG_ETHERTYPE, 1),
        ({"rows": [(7, 1472), (1 << 31, 1472), (0, 64), (6, 1472), (1, 0)]}, DropReason.BAD_BLOCK_LENGTH, 5),
    ]
    for options, reason, count in cases:
        before = drops(sim).get(reason, 0)
        sim.host._batch(*data_batch(sim, **options))
        assert drops(sim).get(reason, 0) == before + count, reason
    assert not out.any()


def test_data_fuzz_never_raises_and_never_writes_past_the_read(simulate):
    sim = simulate(suite=0)
    sim.inject("c01", "mute")
    memory = np.zeros(30_000, np.uint8)
    out = memory[8000:18_001]
    sim.start(ev.StartRead(0, "c01", ReadSpace.DDR, 0, out))
    rng = np.random.default_rng(3)
    print("seed 3")
    for _ in range(300):
        n = int(rng.integers(1, 12))
        rows = [(int(rng.choice([0, 1, 5, 6, 7, 1 << 31])), int(rng.choice([0, 64, 1169, 1472, 65535])))
                for _ in range(n)]
        frames, lengths = data_batch(sim, rows)
        frames[:, 40:] = 0xEE
        lengths = rng.integers(0, 1513, n)
        controls, groups, reasons = split_batch(frames, lengths)
        for group in groups:
            sim.host.feed(ev.BlocksReceived(LINK, group))
        assert len(reasons) + len(controls) + sum(len(g.index) for g in groups) == n
    assert not memory[:8000].any()
    assert not memory[18_001:].any()


def test_short_struct_payload_never_reaches_unpack(simulate):
    sim = simulate(suite=0)
    for opcode, info in OPCODES.items():
        if info.way != "c2h":
            continue
        for size in {0, 1, max(0, info.size - 1), info.size + 1}:
            payload = bytes(size)
            raw = frame(sim, opcode, payload, min(info.ethertypes))
            sim.host.feed(ev.FrameReceived(LINK, raw))
            sim.host.feed(ev.FrameReceived(LINK, raw[:16] + struct.pack(">I", 0) + raw[20:]))
    assert sim.view("c01").state == st.AVAILABLE
    assert drops(sim)[DropReason.LYING_LENGTH] > 20


def test_everything_at_once_with_corrupt_control_frames(simulate):
    """Suite 1 proves every control frame: spoiled ones cost time only."""
    faults = Impairment(loss=0.05, corrupt=0.01, corrupt_control=0.2, duplicate=0.1)
    sim = simulate(seed=23, cards=3, impairment=faults)
    ended = sim.run_until(sim.program(IMAGE), timeout_s=60)
    assert ended.error is None
    assert drops(sim)[DropReason.BAD_TAG] > 0
