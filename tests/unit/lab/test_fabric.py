"""Impaired paths and the switch under virtual time: shares, determinism, order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safhost.errors import ConfigError
from safhost.lab.fabric import Fabric, ImpairedPath, Impairment
from safhost.units import BROADCAST, Mac

A, B, C = (Mac.parse(f"02:00:00:00:00:0{i}") for i in (1, 2, 3))


def frames_to(dst: Mac, n: int, size: int = 64) -> tuple[Any, Any]:
    """n frames that carry their number in bytes 14..17."""
    frames = np.zeros((n, size), np.uint8)
    frames[:, :6] = np.frombuffer(bytes(dst), np.uint8)
    frames[:, 14:18] = np.arange(n, dtype=">u4").view(np.uint8).reshape(n, 4)
    return frames, np.full(n, size)


def numbers(frames: Any) -> list[int]:
    return np.ascontiguousarray(frames[:, 14:18]).view(">u4")[:, 0].tolist()


class Inbox:
    def __init__(self) -> None:
        self.got: list[tuple[int, list[int]]] = []

    def __call__(self, frames: Any, lengths: Any, now_ns: int) -> None:
        self.got.append((now_ns, numbers(frames)))

    def all(self) -> list[int]:
        return [n for _, batch in self.got for n in batch]


@pytest.mark.parametrize(("loss", "burst"), [(0.01, 1), (0.3, 1), (0.05, 8), (0.2, 3), (0.6, 1.3), (0.5, 40)])
def test_loss_has_the_share_and_burst_length_asked_for(loss: float, burst: float) -> None:
    n = 400_000
    path = ImpairedPath(Impairment(loss=loss, burst=burst), seed=4)
    lost = np.ones(n, np.bool_)
    lost[path.select(n)] = False
    assert lost.mean() == pytest.approx(loss, rel=0.08)
    assert path.lost_frames == lost.sum()
    starts = np.count_nonzero(lost[1:] & ~lost[:-1])
    expected = burst if burst > 1 else 1 / (1 - loss)
    assert lost.sum() / starts == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("imp", [Impairment(loss=0.2), Impairment(loss=0.2, burst=5), Impairment(loss=0.7, burst=1.2),
                                 Impairment(duplicate=0.3, corrupt=0.2, loss=0.1)])
def test_same_seed_same_outcome_however_batched(imp: Impairment) -> None:
    frames, lengths = frames_to(A, 1000)
    outcomes = []
    for step in (1000, 7, 1):
        path = ImpairedPath(imp, seed=9, stream=3)
        out = [path.apply(frames[i:i + step], lengths[i:i + step], 0)[0] for i in range(0, 1000, step)]
        outcomes.append(np.concatenate(out).tobytes())
    assert outcomes[0] == outcomes[1] == outcomes[2]
    other = ImpairedPath(imp, seed=10, stream=3).apply(frames, lengths, 0)[0].tobytes()
    assert other != outcomes[0]


def test_duplicates_reordering_and_corruption() -> None:
    frames, lengths = frames_to(A, 10_000)
    path = ImpairedPath(Impairment(duplicate=0.1), seed=1)
    got = numbers(path.apply(frames, lengths, 0)[0])
    assert len(got) == 10_000 + path.duplicated_frames
    assert 900 < path.duplicated_frames < 1100
    assert sorted(set(got)) == list(range(10_000))
    path = ImpairedPath(Impairment(reorder=5), seed=1)
    got = numbers(path.apply(frames, lengths, 0)[0])
    assert sorted(got) == list(range(10_000))
    late = np.arange(10_000) - np.array(got)
    assert 0 < late.max() <= 5
    assert path.reordered_frames > 5000
    path = ImpairedPath(Impairment(corrupt=0.05), seed=1)
    out, _ = path.apply(frames, lengths, 0)
    changed = np.unpackbits(out ^ frames, axis=1).sum(axis=1)
    assert set(changed.tolist()) == {0, 1}
    assert changed.sum() == path.corrupted_frames
    assert not (out ^ frames)[:, :14].any()
    assert numbers(frames) == list(range(10_000))


def test_delay_and_rate_hold_frames_back() -> None:
    frames, lengths = frames_to(A, 3, 976)
    path = ImpairedPath(Impairment(delay_ns=500), seed=1)
    assert len(path.apply(frames, lengths, 1000)[1]) == 0
    assert path.next_wakeup_ns() == 1500
    assert path.due(1499) == []
    assert [len(b[1]) for b in path.due(1500)] == [3]
    path = ImpairedPath(Impairment(rate=1_000_000), seed=1)  # 1000 bytes a frame on the wire: 1 ms each
    path.apply(frames, lengths, 0)
    assert path.next_wakeup_ns() == 1_000_000
    assert len(path.due(2_000_000)) == 2
    assert path.next_wakeup_ns() == 3_000_000


def test_cut_and_harmless_paths() -> None:
    frames, lengths = frames_to(A, 5)
    path = ImpairedPath(Impairment(), seed=1)
    out = path.apply(frames, lengths, 0)
    assert out[0] is frames
    assert path.select(5).tolist() == [0, 1, 2, 3, 4]
    path.change(Impairment(cut=True))
    assert len(path.apply(frames, lengths, 0)[1]) == 0
    assert path.lost_frames == 5


@pytest.mark.parametrize("bad", [{"loss": 1.5}, {"duplicate": -1}, {"reorder": -1}, {"loss": 1.0, "burst": 4},
                                 {"rate": -5}])
def test_impossible_impairment_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Impairment(**bad)  # type: ignore[arg-type]


def test_fabric_switches_in_virtual_time() -> None:
    fabric = Fabric(latency_ns=100)
    boxes = [Inbox(), Inbox(), Inbox()]
    ports = [fabric.attach(mac, box) for mac, box in zip((A, B, C), boxes, strict=True)]
    fabric.send(ports[0], *frames_to(B, 2))
    fabric.send(ports[0], *frames_to(BROADCAST, 3))
    fabric.send(ports[0], *frames_to(A, 1))
    fabric.send(ports[0], *frames_to(Mac(0x020000000099), 1))
    assert fabric.next_event_ns() == 100
    fabric.advance(99)
    assert boxes[1].got == []
    fabric.advance(1000)
    assert boxes[0].got == []
    assert boxes[1].got == [(100, [0, 1]), (100, [0, 1, 2])]
    assert boxes[2].got == [(100, [0, 1, 2])]
    assert fabric.now_ns == 1000
    with pytest.raises(ConfigError):
        fabric.attach(A, boxes[0])


def test_fabric_answers_come_after_their_cause_and_ports_can_be_down() -> None:
    fabric = Fabric(latency_ns=10)
    back = Inbox()
    first = fabric.attach(A, back)
    second = fabric.attach(B, lambda frames, lengths, now: fabric.send(second, *frames_to(A, len(lengths))))
    fabric.send(first, *frames_to(B, 4))
    fabric.advance(100)
    assert back.got == [(20, [0, 1, 2, 3])]
    second.is_up = False
    fabric.send(first, *frames_to(B, 4))
    fabric.advance(200)
    assert len(back.got) == 1
    fabric.send(first, *frames_to(B, 1))
    second.is_up, first.is_up = True, False
    fabric.advance(300)
    assert len(back.got) == 1


def test_fabric_impaired_ports_repeat_by_seed_and_drop_what_is_too_long() -> None:
    def run(seed: int) -> list[tuple[int, list[int]]]:
        fabric = Fabric(seed=seed)
        box = Inbox()
        source = fabric.attach(A, Inbox(), sending=Impairment(loss=0.1, rate=10_000_000))
        fabric.attach(B, box, receiving=Impairment(duplicate=0.2, delay_ns=777))
        fabric.send(source, *frames_to(B, 300))
        fabric.advance(10**9)
        return box.got

    print("seeds 1 and 2")
    assert run(1) == run(1)
    assert run(1) != run(2)
    fabric = Fabric()
    box = Inbox()
    source = fabric.attach(A, Inbox(), mtu=9000)
    port = fabric.attach(B, box, mtu=1500)
    fabric.send(source, *frames_to(B, 3, 9000))
    fabric.send(source, *frames_to(B, 2, 1514))
    fabric.advance(10**6)
    assert box.all() == [0, 1]
    assert port.oversize_frames == 3
