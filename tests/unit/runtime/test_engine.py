"""The event loop: short sends, links that go and come back, timers, and no descriptor that has to wait for bulk."""

from __future__ import annotations

import os

import numpy as np
import pytest
from runtime_rig import Rig, shared

from safhost.core import events as ev
from safhost.core.actions import RequestEnded, SendBlocks, SendFrames
from safhost.core.timers import Timers
from safhost.errors import LinkError
from safhost.link.base import LinkDown
from safhost.link.memory import MemoryHub
from safhost.runtime.engine import Engine
from safhost.runtime.messages import SharedMemory
from safhost.units import Mac
from safhost.wire.generated import Opcode

HOST, CARD = Mac(0x020000000001), Mac(0x020000000002)


class Encoder:
    """Headers of a fixed width in front of equal blocks."""

    def encode(self, indices):
        headers = np.zeros((len(indices), 40), np.uint8)
        headers[:, :6] = np.frombuffer(bytes(CARD), np.uint8)
        headers[:, 6:12] = np.frombuffer(bytes(HOST), np.uint8)
        headers[:, 28:32] = indices.astype(">u4").view(np.uint8).reshape(-1, 4)
        return headers, indices * 64, 64, 64


class Script:
    """A core that records events and answers as a test says."""

    raw_batches = False

    def __init__(self):
        self.events = []
        self.replies = {}
        self.timers = Timers()
        self.drops = {}
        self.due = None

    def handle(self, event, now_ns):
        self.events.append(event)
        if isinstance(event, ev.TimePassed):
            self.due = None
        reply = self.replies.get(type(event))
        return reply(event) if reply else []

    def next_wakeup_ns(self):
        return self.due

    def drop(self, reason, n=1):
        self.drops[reason] = self.drops.get(reason, 0) + n

    def of(self, kind):
        return [e for e in self.events if isinstance(e, kind)]


class Bench:
    def __init__(self, **options):
        self.now = 0
        self.core = Script()
        self.engine = Engine(self.core, lambda: self.now)
        self.hub = MemoryHub()
        self.link = self.hub.attach(HOST, 1500, name="l0", **options)
        self.far = self.hub.attach(CARD, 1500, name="far")
        self.engine.add_link(self.link)

    def arrived(self):
        out = []
        while (batch := self.far.receive()) is not None:
            out += [row[:n].tobytes() for row, n in zip(batch.frames, batch.lengths.tolist(), strict=True)]
        return out


@pytest.fixture
def bench():
    made = []

    def make(**options):
        made.append(Bench(**options))
        return made[-1]
    yield make
    for b in made:
        b.engine.close()
        b.far.close()


def frame(i, to=CARD, size=60):
    return (bytes(to) + bytes(HOST) + b"\x80\xcc" + i.to_bytes(4, "big")).ljust(size, b"\0")


def test_add_link_tells_the_core_and_takes_the_smaller_mtu(bench):
    b = bench()
    other = b.hub.attach(Mac(3), 9000, name="l1")
    b.engine.add_link(other, 1500)
    assert [(e.link, e.mac, e.mtu) for e in b.core.of(ev.LinkCameUp)] == [
        ("l0", bytes(HOST), 1500), ("l1", bytes(Mac(3)), 1500)]


def test_short_sends_keep_the_order_and_lose_nothing(bench):
    b = bench(send_limit_frames=3)
    frames = [frame(i) for i in range(20)]
    b.core.replies[ev.StartSolicit] = lambda _e: [SendFrames("l0", frames[:10])]
    b.core.replies[ev.SessionsWanted] = lambda _e: [SendFrames("l0", frames[10:])]
    b.engine.submit(ev.StartSolicit())
    b.engine.submit(ev.SessionsWanted())
    assert b.arrived() == frames[:3]
    for _ in range(20):
        b.engine.step(0)
    assert b.arrived() == frames[3:]
    assert b.core.of(ev.LinkWritable)
    assert not b.engine.ports["l0"].polling_out


def test_blocks_wait_behind_queued_control_frames(bench):
    b = bench(send_limit_frames=2)
    blocks = SendBlocks("l0", 7, Encoder(), np.zeros(640, np.uint8), np.arange(10))
    b.core.replies[ev.StartSolicit] = lambda _e: [SendFrames("l0", [frame(i) for i in range(5)]), blocks]
    b.engine.submit(ev.StartSolicit())
    b.engine.step(0)
    assert b.core.of(ev.BlocksTaken) == [ev.BlocksTaken(7, 0, True)]
    b.engine.step(0)
    assert b.core.of(ev.LinkWritable) == [ev.LinkWritable("l0")]
    assert len(b.arrived()) == 5


def test_blocks_taken_in_part_are_reported(bench):
    b = bench(send_limit_frames=4)
    blocks = SendBlocks("l0", 7, Encoder(), np.zeros(640, np.uint8), np.arange(10))
    b.core.replies[ev.StartSolicit] = lambda _e: [blocks]
    b.engine.submit(ev.StartSolicit())
    b.engine.step(0)
    assert b.core.of(ev.BlocksTaken) == [ev.BlocksTaken(7, 4, True)]
    assert [int.from_bytes(f[28:32], "big") for f in b.arrived()] == [0, 1, 2, 3]


def test_link_down_drops_what_waits_and_says_so_once(bench):
    b = bench(send_limit_frames=1)
    b.core.replies[ev.StartSolicit] = lambda _e: [SendFrames("l0", [frame(1), frame(2), frame(3)])]
    b.engine.submit(ev.StartSolicit())
    b.link.set_up(False)
    b.engine.step(0)
    b.engine.submit(ev.StartSolicit())
    b.engine.link_down("l0")
    assert b.core.of(ev.LinkWentDown) == [ev.LinkWentDown("l0")]
    assert not b.engine.ports["l0"].queue
    b.link.set_up(True)
    b.engine.link_up("l0")
    assert len(b.core.of(ev.LinkCameUp)) == 2
    b.engine.submit(ev.StartSolicit())
    for _ in range(5):
        b.engine.step(0)
    assert b.arrived() == [frame(1), frame(1), frame(2), frame(3)]


def test_send_on_a_link_that_went_down_unannounced(bench):
    b = bench()
    blocks = SendBlocks("l0", 7, Encoder(), np.zeros(640, np.uint8), np.arange(10))
    b.core.replies[ev.StartSolicit] = lambda _e: [blocks, SendFrames("l0", [frame(1)])]
    b.link.set_up(False)
    b.engine.submit(ev.StartSolicit())
    assert b.core.of(ev.LinkWentDown) == [ev.LinkWentDown("l0")]
    b.engine.step(0)
    assert b.core.of(ev.BlocksTaken) == [ev.BlocksTaken(7, 0, True)]


def test_link_that_is_made_anew_is_watched_by_its_new_descriptor(bench, monkeypatch):
    b = bench()
    old = b.link.fileno()

    def rebind():
        os.close(b.link._event_fd)
        spare = os.open(os.devnull, os.O_RDONLY)  # the old number belongs to something else now
        b.link._event_fd, b.link._signalled = None, False
        b.link.fileno()
        os.close(spare)
        return True
    monkeypatch.setattr(b.link, "rebind", rebind, raising=False)
    b.engine.link_down("l0")
    b.engine.link_up("l0")
    assert b.link.fileno() != old
    b.far.send_frames([frame(5, HOST)])
    b.engine.step(0)
    assert len(b.core.of(ev.FrameReceived)) + sum(b.core.drops.values()) == 1
    b.engine.link_up("l0")


def test_link_that_is_not_back_yet_stays_down(bench, monkeypatch):
    b = bench()

    def rebind():
        raise LinkDown("l0 is down", "")
    monkeypatch.setattr(b.link, "rebind", rebind, raising=False)
    b.engine.link_down("l0")
    b.engine.link_up("l0")
    assert not b.engine.ports["l0"].up
    assert len(b.core.of(ev.LinkCameUp)) == 1
    monkeypatch.undo()
    b.engine.link_up("l0")
    assert b.engine.ports["l0"].up


def test_frames_that_come_while_a_link_is_down_are_taken_out_and_dropped(bench):
    b = bench()
    b.engine.link_down("l0")
    b.far.send_frames([frame(5, HOST)] * 3)
    for _ in range(3):
        b.engine.step(0)
    assert not b.link._queue
    assert not b.core.of(ev.FrameReceived)


def test_frame_that_the_link_refuses_is_lost_not_fatal(bench, caplog):
    b = bench()
    blocks = SendBlocks("l0", 7, Encoder(), np.zeros(640, np.uint8), np.arange(10))
    b.core.replies[ev.StartSolicit] = lambda _e: [SendFrames("l0", [frame(1, size=2000)]), blocks]
    b.engine.submit(ev.StartSolicit())
    b.engine.step(0)
    assert b.core.of(ev.BlocksTaken) == [ev.BlocksTaken(7, 10, False)]
    assert "exceeds MTU" in caplog.text
    b.link.mtu = 70
    b.engine.submit(ev.StartSolicit())
    b.engine.step(0)
    assert b.core.of(ev.BlocksTaken)[1:] == [ev.BlocksTaken(7, 10, False)]
    with pytest.raises(LinkError):
        b.link.send_frames([frame(1, size=2000)])


def test_timer_is_called_when_due_and_not_before(bench):
    b = bench()
    b.core.due = 1000
    b.engine.step(0)
    assert not b.core.of(ev.TimePassed)
    b.now = 999
    b.engine.step(0)
    assert not b.core.of(ev.TimePassed)
    b.now = 1000
    b.engine.step(0)
    assert len(b.core.of(ev.TimePassed)) == 1


def test_step_waits_no_longer_than_the_next_timer(bench):
    b = bench()
    b.core.due = 0
    b.engine.step(1000.0)  # would outlast the test's limit
    assert len(b.core.of(ev.TimePassed)) == 1


def test_bulk_does_not_keep_other_descriptors_waiting(bench):
    b = bench()
    blocks = SendBlocks("l0", 7, Encoder(), np.zeros(640, np.uint8), np.arange(10))
    b.core.replies[ev.StartSolicit] = b.core.replies[ev.BlocksTaken] = lambda _e: [blocks]  # never ends
    woken = []
    fd = os.eventfd(1, os.EFD_NONBLOCK)
    b.engine.watch(fd, woken.append)
    b.engine.submit(ev.StartSolicit())
    for _ in range(10):
        b.engine.step(1.0)
    assert len(woken) == 10
    assert len(b.core.of(ev.BlocksTaken)) >= 10
    b.core.replies.clear()
    b.engine.unwatch(fd)
    b.engine.unwatch(fd)
    os.close(fd)


def test_received_control_frames_come_after_the_blocks_of_their_batch(bench):
    b = bench()
    data = np.zeros((3, 40 + 64), np.uint8)
    data[:, :6] = np.frombuffer(bytes(HOST), np.uint8)
    data[:, 6:12] = np.frombuffer(bytes(CARD), np.uint8)
    data[:, 12:14] = 0x80, 0xCB
    data[:, 14], data[:, 15] = 0x10, int(Opcode.DATA)
    data[:, 20:22] = 0, 64
    data[:, 31] = range(3)
    b.far.send_frames([bytes(HOST) + bytes(CARD) + b"\x80\xcb\x10\x7f" + bytes(44), *(row.tobytes() for row in data)])
    b.engine.step(0)
    kinds = [type(e) for e in b.core.events]
    assert kinds.index(ev.BlocksReceived) < kinds.index(ev.FrameReceived)


def test_unknown_actions_go_to_the_sink(bench):
    b = bench()
    ended = RequestEnded(5)
    b.core.replies[ev.StartSolicit] = lambda _e: [ended]
    b.engine.submit(ev.StartSolicit())
    taken = []
    b.engine.sink = type("Sink", (), {"take": lambda _self, action, now: taken.append((action, now))})()
    b.now = 42
    b.engine.submit(ev.StartSolicit())
    assert taken == [(ended, 42)]


# -- with the real core ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_transfers_survive_short_sends(make_rig, limit):
    rig = make_rig(2, send_limit=limit)
    data = np.random.default_rng(limit).integers(0, 256, 200_000, np.uint8)
    memory = shared(data)
    assert rig.ask("write", memory, address=0)["blocks_resent"] == 0
    assert all((p.card.memory.role.view(0, len(data)) == data).all() for p in rig.ports)
    memory.close()


def test_interface_flap_during_a_transfer_costs_time_only(make_rig):
    rig = make_rig(2)
    data = np.random.default_rng(1).integers(0, 256, 3_000_000, np.uint8)
    memory = shared(data)
    connection, number = rig.begin("write", memory, address=0)
    rig.run(lambda: any(p.data_frames > 100 for p in rig.ports))
    rig.hosts[0].set_up(False)
    rig.engine.link_down("h0")
    rig.sleep(0.3)
    assert connection.answer(number) is None
    rig.hosts[0].set_up(True)
    rig.engine.link_up("h0")
    rig.run(lambda: connection.answer(number))
    assert connection.answer(number)["result"]["done"] == ["c1", "c2"]
    assert all((p.card.memory.role.view(0, len(data)) == data).all() for p in rig.ports)
    memory.close()


def test_cards_are_usable_again_after_a_long_flap(make_rig):
    rig = make_rig(2)
    rig.hosts[0].set_up(False)
    rig.engine.link_down("h0")
    rig.sleep(15)
    rig.hosts[0].set_up(True)
    rig.engine.link_up("h0")
    rig.run(lambda: all(c.usable for c in rig.core.sessions.by_mac.values()))
    assert sorted(rig.ask("run")["done"]) == ["c1", "c2"]


def test_long_transfer_leaves_short_commands_their_turn(make_rig):
    rig = make_rig(2)
    memory = SharedMemory.create(6_000_000)
    connection, number = rig.begin("write", memory, address=0, cards=["c1"])
    rig.run(lambda: rig.ports[0].data_frames > 100)
    for _ in range(5):
        rig.ask("run", cards=["c1"])
        rig.ask("run", cards=["c2"])
    assert connection.answer(number) is None
    rig.run(lambda: connection.answer(number))
    memory.close()


def test_jumbo_frames_and_a_smaller_mtu_of_the_configuration(make_rig):
    rig = make_rig(2, mtu=9000)
    data = np.random.default_rng(2).integers(0, 256, 1_000_000, np.uint8)
    memory = shared(data)
    assert rig.ask("write", memory, address=0)["frames_sent"] == -(-1_000_000 // 8960)
    rig.engine.link_up("h0", 1500)
    assert rig.ask("write", memory, address=0)["frames_sent"] == -(-1_000_000 // 1472)
    memory.close()


def test_two_links_with_cards_on_each(make_rig):
    rig = make_rig(4, links=2)
    data = np.random.default_rng(2).integers(0, 256, 100_000, np.uint8)
    memory = shared(data)
    assert sorted(rig.ask("write", memory, address=64)["done"]) == ["c1", "c2", "c3", "c4"]
    assert all((p.card.memory.role.view(64, len(data)) == data).all() for p in rig.ports)
    memory.close()


def test_close_gives_everything_back(tmp_path):
    rig = Rig(tmp_path, 1)
    rig.close()
    with pytest.raises(ValueError, match="closed"):
        rig.engine.step(0)
