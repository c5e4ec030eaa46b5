"""The simulated network: faults as asked for, from the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from safhost.sim.network import Impairment, Network, Port, materialise
from safhost.wire.codec import DataEncoder

A, B, C = (bytes([2, 0, 0, 0, 0, i]) for i in range(3))
BROADCAST = b"\xff" * 6


class Line:
    """Virtual time for a network alone."""

    def __init__(self):
        self.now_ns = 0
        self.queue = []

    def at(self, time_ns, action):
        self.queue.append((time_ns, len(self.queue), action))

    def run(self):
        while self.queue:
            self.queue.sort(reverse=True, key=lambda entry: entry[:2])
            self.now_ns, _, action = self.queue.pop()
            action()


def build(seed=1, **faults):
    line = Line()
    network = Network(line, np.random.default_rng(seed))
    got = {}
    for name, mac in (("a", A), ("b", B), ("c", C)):
        got[name] = []
        port = Port(name, mac, 1_000_000_000, Impairment(**faults) if name != "a" else Impairment(),
                    lambda raw, name=name: got[name].append((line.now_ns, raw)),
                    lambda frames, lengths, name=name: got[name].append((line.now_ns, frames, lengths)))
        network.attach(port)
    return line, network, got


def batch(n, dst=BROADCAST):
    frames = np.random.default_rng(9).integers(0, 256, (n, 104), dtype=np.uint8)
    frames[:, :6] = np.frombuffer(dst, np.uint8)
    frames[:, 28:32] = np.arange(n, dtype=">u4").view(np.uint8).reshape(n, 4)
    return frames, np.full(n, 104, np.int64)


def test_unicast_goes_to_one_and_broadcast_to_all_others():
    line, network, got = build()
    network.send_control(network.ports[0], B + A + b"x" * 50)
    network.send_control(network.ports[0], BROADCAST + A + b"y" * 50)
    network.send_control(network.ports[0], b"\2\0\0\0\0\x99" + A + b"z" * 50)
    line.run()
    assert [raw[12:13] for _, raw in got["b"]] == [b"x", b"y"]
    assert [raw[12:13] for _, raw in got["c"]] == [b"y"]
    assert got["a"] == []


def test_frames_take_their_time_on_the_wire():
    line, network, got = build(delay_ns=1000)
    for _ in range(3):
        network.send_control(network.ports[0], B + bytes(970))
    line.run()
    assert [t for t, _ in got["b"]] == [3000 + 1000 + 1000 * i for i in range(1, 4)]


def test_clean_batch_arrives_whole():
    line, network, got = build()
    frames, lengths = batch(256)
    network.send_batch(network.ports[0], frames, lengths)
    line.run()
    for name in "bc":
        (_, seen, sizes), = got[name]
        assert (seen == frames).all()
        assert (sizes == lengths).all()


@pytest.mark.parametrize(("faults", "low", "high"), [({"loss": 0.3}, 0.6, 0.8), ({"duplicate": 0.5}, 1.4, 1.6),
                                                     ({"reorder": 0.5}, 1.0, 1.0), ({"corrupt": 0.3}, 1.0, 1.0)])
def test_faults_hit_batches_at_the_rate_asked_for(faults, low, high):
    line, network, got = build(**faults)
    frames, lengths = batch(2000)
    network.send_batch(network.ports[0], frames, lengths)
    line.run()
    seen = [f for _, batch_, _ in got["b"] for f in batch_]
    assert low * 2000 <= len(seen) <= high * 2000
    order = [int.from_bytes(f[28:32].tobytes(), "big") for f in seen]
    if "reorder" in faults:
        assert order != sorted(order)
        assert sorted(order) == list(range(2000))
        assert len(got["b"]) == 2
    if "corrupt" in faults:
        bad = [i for i, f in enumerate(seen) if (f != frames[i]).any()]
        assert 500 < len(bad) < 700
        assert all((seen[i] != frames[i]).sum() == 1 for i in bad)
        assert all((f[:14] == frames[i, :14]).all() for i, f in enumerate(seen))
        assert (frames == batch(2000)[0]).all()  # what others receive is not touched


@pytest.mark.parametrize(("faults", "low", "high"), [
    ({"loss": 0.3}, 600, 800), ({"duplicate": 0.5}, 1400, 1600), ({"reorder": 0.5}, 1000, 1000),
    ({"corrupt_control": 0.5}, 1000, 1000)])
def test_faults_hit_control_frames_at_the_rate_asked_for(faults, low, high):
    line, network, got = build(**faults)
    sent = [B + A + i.to_bytes(4, "big") + bytes(40) for i in range(1000)]
    for raw in sent:
        network.send_control(network.ports[0], raw)
    line.run()
    seen = [raw for _, raw in got["b"]]
    assert low <= len(seen) <= high
    if "reorder" in faults:
        assert seen != sent
        assert sorted(seen) == sorted(sent)
    if "corrupt_control" in faults:
        assert 400 < sum(a != b for a, b in zip(seen, sent, strict=True)) < 600


def test_same_seed_gives_the_same_and_another_seed_something_else():
    def outcome(seed):
        line, network, got = build(seed, loss=0.2, duplicate=0.2, reorder=0.2, corrupt=0.1)
        frames, lengths = batch(300)
        network.send_batch(network.ports[0], frames, lengths)
        line.run()
        return [(t, f.tobytes()) for name in "bc" for t, f, _ in got[name]]

    assert outcome(4) == outcome(4)
    assert outcome(4) != outcome(5)


def test_unplugged_and_cut_ports_lose_what_is_under_way():
    line, network, got = build()
    a, b = network.ports[:2]
    for _ in range(2):
        network.send_control(a, B + bytes(1000))
    line.now_ns = 1500  # the first one has left, the second has not
    a.cut(line.now_ns)
    line.run()
    assert len(got["b"]) == 1
    network.send_control(a, B + bytes(50))
    b.plugged = False
    line.run()
    a.plugged = False
    b.plugged = True
    network.send_control(a, B + bytes(50))
    line.run()
    assert len(got["b"]) == 1


@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [4, 5, 6], [0, 2, 6], [6], [1]])
def test_materialised_frames_are_header_and_block(indices):
    payload = np.random.default_rng(1).integers(0, 256, 6 * 64 + 17, dtype=np.uint8)
    made = DataEncoder(dst=B, src=A, ethertype=0x80AA, session=1, object=2, length_bytes=len(payload), block_bytes=64)
    headers, offsets, block, last = made.encode(np.array(indices))
    frames, lengths = materialise(headers, payload, offsets, block, last)
    for i, frame, length in zip(indices, frames, lengths, strict=True):
        want = payload[i * 64:(i + 1) * 64]
        assert length == 40 + len(want)
        assert (frame[40:length] == want).all()
        assert int.from_bytes(frame[28:32].tobytes(), "big") == i
