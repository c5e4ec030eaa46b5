"""The path of one bulk frame through core and codec creates no Python object.

How this is known: every bytecode instruction of the path is traced, for batches of 64 and of 256 frames. The
number of instructions must not depend on the batch (no loop over frames), and at no instruction may the number of
memory blocks that the interpreter has given out (``sys.getallocatedblocks``) grow with the batch (no object a
frame, however short-lived, not even one made inside a C function and returned in a list).
"""

from __future__ import annotations

import sys
from collections import deque

import numpy as np
import pytest

from safhost.core import events as ev
from safhost.core.actions import SendBlocks
from safhost.sim import make_image
from safhost.sim.network import materialise
from safhost.sim.nodes import LINK
from safhost.wire.codec import HEADER, DataEncoder, split_batch
from safhost.wire.generated import ETHERTYPE_RESULT, Opcode, ReadSpace

SMALL, LARGE = 64, 256
SLACK_BLOCKS = 16  # dictionaries and lists of the interpreter that happen to grow


def traced(work):
    """(instructions executed, most memory blocks above the start) of ``work()``, all calls included."""
    count, peak, allocated = 0, 0, sys.getallocatedblocks

    def tracer(frame, event, arg):
        nonlocal count, peak
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            peak = max(peak, allocated())
        return tracer

    before = sys.gettrace()
    start = allocated()
    sys.settrace(tracer)
    try:
        work()
    finally:
        sys.settrace(before)
    return count, peak - start


def assert_same(path):
    """``path(n)`` returns the work for n frames; the first round of each warms caches up."""
    for n in (SMALL, LARGE):
        traced(path(n))
    small, large = traced(path(SMALL)), traced(path(LARGE))
    print(f"instructions {small[0]} and {large[0]}, blocks {small[1]} and {large[1]}")
    assert large[0] == small[0]
    assert large[1] - small[1] <= SLACK_BLOCKS


def test_the_measure_sees_a_loop_and_a_list():
    index = np.arange(5000, 6000)
    for guilty in (lambda n: lambda: [int(i) for i in index[:n]], lambda n: lambda: len(index[:n].tolist())):
        with pytest.raises(AssertionError):
            assert_same(guilty)


def encoder(blocks=100_000):
    return DataEncoder(dst=b"\xff" * 6, src=b"\2" * 6, ethertype=0x80AA, session=1, object=1,
                       length_bytes=blocks * 1472 - 5, block_bytes=1472)


@pytest.mark.parametrize("pick", [lambda n: np.arange(5000, 5000 + n), lambda n: np.arange(5000, 5000 + 7 * n, 7),
                                  lambda n: np.arange(100_000 - n, 100_000)])
def test_encode_of_a_batch(pick):
    chosen = encoder()

    def path(n):
        indices = pick(n)
        return lambda: chosen.encode(indices)

    assert_same(path)


@pytest.mark.parametrize("cards", [1, 3])
def test_send_path_from_blocks_taken_to_the_next_batch(simulate, cards):
    sim = simulate(cards=cards, card={"window_blocks": 1 << 24}, core={"link_rate_bytes_s": 10**12})
    cluster = sim.host.cluster
    sim.program(make_image(20_000_000))
    sim.run_while(lambda: not any(t.frames_sent for t in cluster.transfers.active.values()), 1, "the first batch")
    transfer, = cluster.transfers.active.values()
    sim.host._events = deque()

    def path(n):
        transfer.bucket._tokens = float(transfer.bucket.burst)
        transfer._taking = transfer.lanes[0]
        event = ev.BlocksTaken(transfer.id, n, False)

        def work():
            actions = cluster.handle(event, sim.now_ns)
            action = actions[-1]
            assert type(action) is SendBlocks
            action.encoder.encode(action.indices[:n])

        return work

    assert_same(path)
    assert transfer.frames_sent > 4 * SMALL


@pytest.mark.parametrize("gaps", [False, True])
def test_receive_path_from_the_ring_to_the_readers_memory(simulate, gaps):
    sim = simulate(suite=0, core={"read_chunk_bytes": 1 << 20})
    cluster = sim.host.cluster
    sim.inject("c01", "mute")
    out = np.zeros(1 << 20, np.uint8)
    sim.start(ev.StartRead(0, "c01", ReadSpace.DDR, 0, out))
    card = sim.view("c01")
    made = DataEncoder(dst=sim.host.mac, src=card.mac, ethertype=ETHERTYPE_RESULT, session=card.channel.session,
                       object=1, length_bytes=len(out), block_bytes=1472)
    payload = np.random.default_rng(1).integers(1, 256, len(out), dtype=np.uint8)

    def path(n):
        indices = np.arange(300, 300 + n) if not gaps else np.delete(np.arange(300, 302 + n), [3, 40])
        frames, lengths = materialise(*_batch(made, indices, payload))

        def work():
            controls, groups, drops = split_batch(frames, lengths)
            for group in groups:
                cluster.handle(ev.BlocksReceived(LINK, group), sim.now_ns)
            assert not controls
            assert not drops

        return work

    assert_same(path)
    at = slice(310 * 1472, 330 * 1472)
    assert (out[at] == payload[at]).all()
    assert not cluster.drops


def _batch(made, indices, payload):
    headers, offsets, block, last = made.encode(indices)
    return headers, payload, offsets, block, last


def test_headers_of_a_batch_are_those_of_single_frames():
    """The vectorised encoder agrees with the header's definition, field by field."""
    made = encoder(1000)
    headers, offsets, block, last = made.encode(np.array([0, 5, 999]))
    fields = [HEADER.unpack(h.tobytes()) for h in headers]
    assert [f[9] for f in fields] == [0, 5, 999]
    assert [f[6] for f in fields] == [1472, 1472, 1467]
    assert [f[7] for f in fields] == [0, 0, 2]
    assert all(f[4] == Opcode.DATA for f in fields)
    assert offsets.tolist() == [0, 5 * 1472, 999 * 1472]
    assert (block, last) == (1472, 1467)
    again, _, _, last = made.encode(np.array([998]))
    assert HEADER.unpack(again[0].tobytes())[6:8] == (1472, 0)
    assert last == 1472
