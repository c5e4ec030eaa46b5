"""Faults of the network beyond the plain ones: bursts, being overtaken, jitter, one-way faults, slow ports."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from safhost.sim.faults import Impairment
from safhost.sim.network import Network, Port

A, B, C = (bytes([2, 0, 0, 0, 0, i]) for i in range(3))
CLEAN = Impairment()


class Line:
    """Virtual time for a network alone."""

    def __init__(self):
        self.now_ns = 0
        self.queue = []
        self.order = 0

    def at(self, time_ns, action):
        self.order += 1
        heapq.heappush(self.queue, (max(time_ns, self.now_ns), self.order, action))

    def run(self):
        while self.queue:
            self.now_ns, _, action = heapq.heappop(self.queue)
            action()


@pytest.fixture
def wire():
    """(line, network, got): a sends; what b and c receive is in ``got``: (time, number) of each frame in order."""
    line = Line()
    network = Network(line, np.random.default_rng(5))
    got = {}
    for name, mac in (("a", A), ("b", B), ("c", C)):
        got[name] = []

        def control(raw, name=name):
            got[name].append((line.now_ns, int.from_bytes(raw[28:32], "big")))

        def many(frames, lengths, name=name):
            for frame, size in zip(frames, lengths, strict=True):
                assert size == 104
                got[name].append((line.now_ns, int.from_bytes(frame[28:32].tobytes(), "big")))

        network.attach(Port(name, mac, 1_000_000_000, CLEAN, control, many))
    return line, network, got


def rows(first, n, dst=B):
    frames = np.zeros((n, 104), np.uint8)
    frames[:, :6] = np.frombuffer(dst, np.uint8)
    frames[:, 28:32] = np.arange(first, first + n, dtype=">u4").view(np.uint8).reshape(n, 4)
    return frames, np.full(n, 104, np.int64)


def raw(number, dst=B):
    return dst + A + bytes(16) + number.to_bytes(4, "big") + bytes(72)


def send(line, network, n, bulk, first=0):
    """``n`` frames of consecutive numbers; time passes only for what is due meanwhile."""
    a = network.ports[0]
    if bulk:
        for at in range(first, first + n, 128):
            network.send_batch(a, *rows(at, min(128, first + n - at)))
    else:
        for number in range(first, first + n):
            network.send_control(a, raw(number))
    line.run()


def overtaken(numbers):
    """For each frame how many with higher numbers came before it."""
    seen = np.zeros(max(numbers) + 1, np.int64)
    out = []
    for number in numbers:
        out.append(int(seen[number + 1:].sum()))
        seen[number] += 1
    return out


@pytest.mark.parametrize("bulk", [True, False])
def test_bursts_have_the_share_and_the_length_asked_for(wire, bulk):
    line, network, got = wire
    network.ports[1].incoming.impairment = Impairment(burst=0.002, burst_frames=30)
    send(line, network, 40_000, bulk)
    numbers = np.array([number for _, number in got["b"]])
    gaps = np.diff(numbers) - 1
    lengths = gaps[gaps > 0]
    assert 20 < lengths.mean() < 40
    assert 40 < len(lengths) < 120  # 40,000 frames, a burst begins every 500 of those that are not in one
    assert 0.03 < 1 - len(numbers) / 40_000 < 0.09
    assert network.dice.faults["loss"] == 40_000 - len(numbers) == network.ports[1].frames_lost


def test_a_burst_goes_on_from_batches_into_control_frames(wire):
    line, network, got = wire
    network.ports[1].incoming.impairment = Impairment(burst=1.0, burst_frames=1e9)
    send(line, network, 1, True)
    network.ports[1].incoming._impairment = Impairment(burst=1e-12, burst_frames=1e9)
    send(line, network, 50, False, first=1)
    send(line, network, 50, True, first=51)
    assert got["b"] == []


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("direction", ["incoming", "outgoing"])
def test_late_frames_are_overtaken_by_up_to_the_depth_and_none_is_lost(wire, bulk, direction):
    line, network, got = wire
    port = network.ports[1 if direction == "incoming" else 0]
    getattr(port, direction).impairment = Impairment(reorder=0.02, reorder_frames=4096, hold_ns=10**9)
    n = 20_000
    send(line, network, n, bulk)
    numbers = [number for _, number in got["b"]]
    assert sorted(numbers) == list(range(n))
    depths = overtaken(numbers)
    late = [depth for depth in depths if depth]
    assert 0.01 * n < len(late) < 0.03 * n
    assert 3_900 < max(depths) <= 4_300  # late ones count too as overtaking, when they were to be less late
    assert 1_500 < np.mean(late) < 2_500


def test_late_frames_lie_between_the_frames_of_later_batches(wire):
    line, network, _ = wire
    network.ports[1].incoming.impairment = Impairment(reorder=0.05, reorder_frames=200)
    frames_in = []
    port = network.ports[1]
    port.receive_batch = lambda frames, lengths: frames_in.append(
        [int.from_bytes(f[28:32].tobytes(), "big") for f in frames])
    send(line, network, 2_560, True)
    mixed = [batch for batch in frames_in if len({number // 128 for number in batch}) > 1]
    assert len(mixed) >= 15  # of 20 batches
    inner = [batch for batch in mixed if batch[0] // 128 == batch[-1] // 128]
    assert inner  # older ones in their midst, not at an end


def test_frame_that_nothing_overtakes_comes_after_the_hold(wire):
    line, network, got = wire
    network.ports[1].incoming.impairment = Impairment(reorder=1.0, reorder_frames=100, hold_ns=7_000_000)
    send(line, network, 1, False)
    send(line, network, 3, True, first=1)
    assert got["b"][0][1] == 0
    assert sorted(number for _, number in got["b"]) == [0, 1, 2, 3]
    assert got["b"][0][0] == pytest.approx(7_000_000, abs=10)
    assert not network.ports[1].incoming.holding


def test_held_batches_keep_to_their_addresses(wire):
    line, network, got = wire
    a = network.ports[0]
    a.outgoing.impairment = Impairment(reorder=0.5, reorder_frames=50)
    for at in range(0, 1280, 128):
        network.send_batch(a, *rows(at, 128, B if at % 256 else C))
    line.run()
    for name, odd in (("b", 1), ("c", 0)):
        numbers = [number for _, number in got[name]]
        assert sorted(numbers) == [n for n in range(1280) if n // 128 % 2 == odd]
        assert numbers != sorted(numbers)


@pytest.mark.parametrize("bulk", [True, False])
def test_jitter_delays_and_reorders_nothing(wire, bulk):
    line, network, got = wire
    network.ports[1].incoming.impairment = Impairment(jitter_ns=1_000_000, delay_ns=0)
    send(line, network, 500, bulk)
    assert [number for _, number in got["b"]] == list(range(500))
    times = [at for at, _ in got["b"]]
    assert times == sorted(times)
    assert max(times) > 500_000


def test_directions_have_faults_of_their_own(wire):
    line, network, got = wire
    b = network.ports[1]
    b.outgoing.impairment = Impairment(loss=1.0)
    network.send_control(network.ports[0], raw(1))
    network.send_control(b, raw(2, dst=A))
    line.run()
    assert [number for _, number in got["b"]] == [1]
    assert got["a"] == []
    b.impairment = Impairment(loss=1.0)
    network.send_control(network.ports[0], raw(3))
    line.run()
    assert len(got["b"]) == 1


def test_partition_holds_one_way_or_both_until_it_is_healed(wire):
    line, network, got = wire
    a, b, _ = network.ports
    network.partition(["a"], ["b"], both=False)
    network.send_control(a, raw(1))
    network.send_control(a, raw(1, dst=C))
    network.send_control(b, raw(2, dst=A))
    network.send_batch(a, *rows(5, 3, dst=b"\xff" * 6))
    line.run()
    assert got["b"] == []
    assert [number for _, number in got["c"]] == [1, 5, 6, 7]
    assert [number for _, number in got["a"]] == [2]
    network.partition(["b"], ["a", "c"])
    network.send_control(b, raw(3, dst=A))
    line.run()
    assert len(got["a"]) == 1
    network.heal()
    network.send_control(a, raw(4))
    line.run()
    assert [number for _, number in got["b"]] == [4]


@pytest.mark.parametrize("bulk", [True, False])
def test_slow_port_queues_and_what_its_buffer_cannot_hold_is_lost(wire, bulk):
    line, network, got = wire
    b = network.ports[1]
    b.downlink_bytes_s, b.buffer_bytes = 10_000_000, 128_000
    send(line, network, 5_000, bulk)  # 640 kB at 1 GB/s
    n = len(got["b"])
    assert 950 < n < 1_150
    assert b.overflowed == 5_000 - n
    assert got["b"][-1][0] == pytest.approx(128 * n * 100, rel=0.2)
    network.send_control(network.ports[0], raw(9_999))
    line.run()
    assert got["b"][-1][1] == 9_999


def test_forged_frame_meets_no_fault_and_says_what_it_is(wire):
    line, network, got = wire
    told = []

    class Node:
        def tick(self):
            told.append("tick")

    b = network.ports[1]
    b.node = Node()
    network.hooks.forged_before.append(lambda node, raw: told.append(("before", node, len(got["b"]))))
    network.hooks.forged_after.append(lambda node, raw: told.append(("after", node, len(got["b"]))))
    b.impairment = Impairment(loss=1.0)
    network.send_forged(raw(7))
    line.run()
    assert [number for _, number in got["b"]] == [7]
    assert told == ["tick", ("before", b.node, 0), ("after", b.node, 1)]
