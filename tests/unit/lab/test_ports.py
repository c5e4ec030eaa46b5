"""Cards on links: order of what is sent, dispatch in a chassis, frames through an impaired wire."""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from safhost.lab import ports
from safhost.lab.card import VirtualCard
from safhost.lab.card_types import CardConfig, ControlOut, DataOut, Output
from safhost.lab.loop import Alarm, Loop
from safhost.lab.ports import CardPort, CardSlot, ChassisPort, Outlet
from safhost.lab.state import Impairments
from safhost.lab.topology import CHASSIS_MAC, HOST_MAC, card_mac, card_serial
from safhost.lab.wire import Wire, as_frames, as_outputs
from safhost.link.base import LinkDown
from safhost.link.memory import MemoryHub, MemoryLink
from safhost.units import BROADCAST, Mac
from safhost.wire.codec import Codec, Frame
from safhost.wire.generated import ETHERTYPE_DISCOVERY, Hello, Opcode, Solicit

CODEC = Codec()


class NoRoles:
    """Stands for the role processes: nothing here runs a kernel."""

    def collect(self, slot: CardSlot, _now_ns: int) -> None:
        assert slot.card.take_role_jobs() == []


class Clock:
    """Goes on by 0.1 ms with every look."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def __call__(self) -> int:
        self.now_ns += 100_000
        return self.now_ns


class ImpatientLoop(Loop):
    """Never waits: its clock goes on by itself."""

    def __init__(self) -> None:
        super().__init__(clock=Clock())

    def _wait_s(self) -> float:
        return 0.0


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = ImpatientLoop()
    yield loop
    loop.close()


class ShortLink:
    """Takes ``room`` frames and then none until there is room again."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.room = 0
        self.sent: list[bytes] = []
        self.is_down = False

    def fileno(self) -> int:
        return self._fd

    def _take(self, wanted: int) -> int:
        if self.is_down:
            raise LinkDown("down", "")
        taken = min(wanted, self.room)
        self.room -= taken
        return taken

    def send_frames(self, frames: tuple[bytes, ...]) -> int:
        taken = self._take(len(frames))
        self.sent += frames[:taken]
        return taken

    def send_blocks(self, headers: Any, payload: Any, offsets: Any, length: int, last: int) -> int:
        taken = self._take(len(headers))
        for i in range(taken):
            size = last if i == len(headers) - 1 else length
            self.sent.append(headers[i].tobytes() + payload[offsets[i]:offsets[i] + size].tobytes())
        return taken


@pytest.fixture
def short(loop: Loop) -> Iterator[tuple[ShortLink, Outlet]]:
    hub = MemoryHub()
    carrier = hub.attach(Mac(2), 1500)  # lends its descriptor
    loop.add(carrier.fileno(), select.EPOLLIN, lambda _m, _n: None)
    link = ShortLink(carrier.fileno())
    yield link, Outlet(link, loop)  # type: ignore[arg-type]
    loop.remove(carrier.fileno())


def blocks(count: int, seed: int) -> DataOut:
    rng = np.random.default_rng(seed)
    headers = rng.integers(0, 256, (count, 40), dtype=np.uint8)
    payload = rng.integers(0, 256, count * 64, dtype=np.uint8)
    return DataOut(headers, payload, np.arange(count, dtype=np.int64) * 64, 64, 24)


def whole(output: Output) -> list[bytes]:
    frames, lengths = as_frames(output)
    return [frames[i, :lengths[i]].tobytes() for i in range(len(lengths))]


def test_outlet_keeps_order_through_short_sends(short: tuple[ShortLink, Outlet]) -> None:
    link, outlet = short
    outputs: list[Output] = [ControlOut(b"a" * 60), blocks(5, 1), ControlOut(b"b" * 60), blocks(3, 2)]
    link.room = 3
    outlet.send(outputs)
    assert outlet.waiting == 3
    late = ControlOut(b"c" * 60)
    link.room = 1
    outlet.send([late])  # must not overtake what waits
    for _ in range(20):
        link.room += 1
        outlet.flush()
    assert link.sent == [frame for output in [*outputs, late] for frame in whole(output)]
    assert outlet.waiting == 0


def test_outlet_bounds_what_waits(short: tuple[ShortLink, Outlet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "BACKLOG_MAX", 4)
    _link, outlet = short
    outlet.send([ControlOut(bytes([i]) * 60) for i in range(10)])
    assert (outlet.waiting, outlet.dropped_outputs) == (4, 6)
    outlet.clear()
    assert (outlet.waiting, outlet.dropped_outputs) == (0, 10)


def test_outlet_drops_what_a_dead_link_cannot_take(short: tuple[ShortLink, Outlet]) -> None:
    link, outlet = short
    link.is_down = True
    outlet.send([ControlOut(b"a" * 60)])
    assert (outlet.waiting, outlet.dropped_outputs, link.sent) == (0, 1, [])


def make_slot(number: int, loop: Loop, impairments: Impairments | None = None) -> CardSlot:
    config = CardConfig(serial=card_serial(number), mac=card_mac(number))
    card = VirtualCard(config, CODEC, bytes)
    return CardSlot(number, card, loop, NoRoles(), Wire(impairments or Impairments(), 7, number))  # type: ignore[arg-type]


def solicit(dst: Mac) -> bytes:
    return CODEC.encode(Opcode.SOLICIT, Solicit(nonce=1).pack(), dst=bytes(dst), src=bytes(HOST_MAC),
                        ethertype=ETHERTYPE_DISCOVERY)


def heard(link: MemoryLink) -> list[str]:
    """Serials of the HELLOs that wait on a link."""
    found = []
    while (batch := link.receive()) is not None:
        for i in range(len(batch)):
            frame = CODEC.parse(batch.frames[i, :batch.lengths[i]].tobytes(), "c2h")
            assert isinstance(frame, Frame)
            found.append(Hello.unpack(frame.payload).serial.rstrip(b"\0").decode())
    return found


def run_until(loop: Loop, at_ns: int) -> None:
    """Let the loop run until its clock (which goes on with every look) passes ``at_ns``."""
    loop.set_alarm(Alarm(lambda _now: loop.stop()), at_ns)
    loop.run()


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def host(hub: MemoryHub) -> MemoryLink:
    return hub.attach(HOST_MAC, 1500)


def test_card_port_answers_in_the_call_that_received(loop: Loop, hub: MemoryHub, host: MemoryLink) -> None:
    slot = make_slot(1, loop)
    port = CardPort(hub.attach(card_mac(1), 1500), loop, slot)  # type: ignore[arg-type]
    slot.power(loop.clock())
    host.send_frames([solicit(BROADCAST)])
    run_until(loop, loop.clock() + 50_000_000)
    assert set(heard(host)) == {"VC0001"}
    slot.cut(loop.clock())
    host.send_frames([solicit(BROADCAST)])
    run_until(loop, loop.clock() + 50_000_000)
    assert heard(host) == []
    port.close()


def test_chassis_dispatches_by_destination_in_order(loop: Loop, hub: MemoryHub, host: MemoryLink,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    link = hub.attach(CHASSIS_MAC, 1500, promiscuous=True)
    port = ChassisPort(link, loop)  # type: ignore[arg-type]
    seen: list[tuple[int, int]] = []
    slots = [make_slot(n, loop) for n in (1, 2, 3)]
    for slot in slots:
        port.add(slot)
        slot.power(loop.clock())
        monkeypatch.setattr(slot.card, "handle_control",
                            lambda raw, _now, number=slot.number: seen.append((number, raw[-1])))
    slots[2].cut(loop.clock())

    def frame(dst: Mac, mark: int) -> bytes:
        return solicit(dst)[:47] + bytes([mark])

    host.send_frames([frame(card_mac(1), 1), frame(BROADCAST, 2), frame(card_mac(2), 3), frame(card_mac(2), 4),
                      frame(card_mac(3), 5), frame(Mac(0x02AABBCCDDEE), 6), frame(card_mac(1), 7)])
    # One batch, as a ring would give it.
    frames = []
    while (batch := link.receive()) is not None:
        frames += [batch.frames[i] for i in range(len(batch))]
    port._deliver(np.stack(frames), np.full(len(frames), 48), loop.clock())
    assert [mark for number, mark in seen if number == 1] == [1, 2, 7]
    assert [mark for number, mark in seen if number == 2] == [2, 3, 4]
    assert [mark for number, mark in seen if number == 3] == []
    assert port.foreign_frames == 1
    port.close()


def test_chassis_broadcast_reaches_all_cards(loop: Loop, hub: MemoryHub, host: MemoryLink) -> None:
    port = ChassisPort(hub.attach(CHASSIS_MAC, 1500, promiscuous=True), loop)  # type: ignore[arg-type]
    for number in range(1, 51):
        slot = make_slot(number, loop)
        port.add(slot)
        slot.power(loop.clock())
    host.send_frames([solicit(BROADCAST)])
    run_until(loop, loop.clock() + 50_000_000)
    assert set(heard(host)) == {card_serial(n) for n in range(1, 51)}
    port.close()


def test_impaired_card_loses_the_same_frames_every_time() -> None:
    def lost() -> tuple[list[int], int]:
        loop = ImpatientLoop()
        hub = MemoryHub()
        host = hub.attach(HOST_MAC, 1500)
        slot = make_slot(1, loop, Impairments(loss=0.4))
        port = CardPort(hub.attach(card_mac(1), 1500), loop, slot)  # type: ignore[arg-type]
        slot.power(loop.clock())
        answers = []
        for _ in range(40):
            host.send_frames([solicit(BROADCAST)])
            run_until(loop, loop.clock() + 30_000_000)
            answers.append(len(heard(host)))
        port.close()
        loop.close()
        return answers, slot.wire.counters()["lost_frames"]

    first = lost()
    assert first == lost()
    assert 0 < first[1] < 80


def test_delayed_frames_arrive_late_and_not_after_the_cable_was_pulled(loop: Loop, hub: MemoryHub,
                                                                       host: MemoryLink) -> None:
    slot = make_slot(1, loop, Impairments(delay_ns=30_000_000))
    port = CardPort(hub.attach(card_mac(1), 1500), loop, slot)  # type: ignore[arg-type]
    slot.power(loop.clock())
    host.send_frames([solicit(BROADCAST)])
    run_until(loop, loop.clock() + 20_000_000)
    assert heard(host) == []  # whatever the card says by itself takes 30 ms, an answer twice as long
    run_until(loop, loop.clock() + 70_000_000)
    assert set(heard(host)) == {"VC0001"}
    host.send_frames([solicit(BROADCAST)])
    run_until(loop, loop.clock() + 10_000_000)
    slot.cut(loop.clock())
    run_until(loop, loop.clock() + 100_000_000)
    assert heard(host) == []
    assert slot.wire.next_wakeup_ns() is None
    port.close()


def test_wire_without_impairment_is_inactive_until_changed() -> None:
    wire = Wire(Impairments(), 1, 1)
    assert not wire.active
    wire.change(Impairments(delay_ns=5))
    assert wire.active
    frames, lengths = as_frames(ControlOut(b"x" * 60))
    assert len(wire.inbound(frames, lengths, 100)[1]) == 0
    wire.change(Impairments())
    assert wire.active  # a frame is still on its way
    assert len(wire.take_late(105).inbound) == 1
    assert not wire.active


@pytest.mark.parametrize("count", [1, 2, 7])
def test_outputs_survive_the_way_through_frames(count: int) -> None:
    output = blocks(count, 3)
    back = as_outputs(*as_frames(output))
    assert [frame for part in back for frame in whole(part)] == whole(output)


def test_lossy_wire_leaves_blocks_whole() -> None:
    output = blocks(64, 4)
    wire = Wire(Impairments(loss=0.3, duplicate=0.3, reorder=3), 11, 1)
    sent = [frame for part in wire.outbound([output], 0) for frame in whole(part)]
    assert set(sent) < set(whole(output))
    assert wire.counters()["lost_frames"] > 0
    assert wire.counters()["duplicated_frames"] > 0
