"""The lab's event loop: descriptors, alarms, outdated alarms."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from safhost.lab.loop import Alarm, Loop


class Clock:
    """Goes on by a fixed step with every look, so that nothing here waits for real time."""

    def __init__(self, step_ns: int = 1_000_000) -> None:
        self.now_ns = 0
        self.step_ns = step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(clock=Clock())
    yield loop
    loop.close()


def test_readable_descriptor_calls_its_handler(loop: Loop) -> None:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    seen: list[int] = []

    def on_event(mask: int, _now_ns: int) -> None:
        seen.append(mask)
        os.eventfd_read(fd)
        loop.stop()

    loop.add(fd, select.EPOLLIN, on_event)
    os.eventfd_write(fd, 1)
    loop.run()
    loop.remove(fd)
    os.close(fd)
    assert seen == [select.EPOLLIN]


def test_handler_removed_in_the_same_round_is_not_called(loop: Loop) -> None:
    first, second = (os.eventfd(1, os.EFD_NONBLOCK) for _ in range(2))
    called: list[int] = []

    def handler(own: int, other: int) -> None:
        called.append(own)
        loop.remove(other)
        loop.stop()

    loop.add(first, select.EPOLLIN, lambda _m, _n: handler(first, second))
    loop.add(second, select.EPOLLIN, lambda _m, _n: handler(second, first))
    loop.run()
    assert len(called) == 1
    for fd in (first, second):
        loop.remove(fd)
        os.close(fd)


def test_alarms_come_in_order_of_their_times(loop: Loop) -> None:
    rung: list[str] = []

    def ring(name: str) -> None:
        rung.append(name)
        if len(rung) == 3:
            loop.stop()

    alarms = {name: Alarm(lambda _now, name=name: ring(name)) for name in "abc"}  # type: ignore[misc]
    for name, due_ms in (("a", 30), ("b", 10), ("c", 20)):
        loop.set_alarm(alarms[name], due_ms * 1_000_000)
    loop.run()
    assert rung == ["b", "c", "a"]


def test_alarm_put_off_and_brought_forward_rings_once_at_its_last_time(loop: Loop) -> None:
    rung: list[tuple[str, int]] = []
    early, late, end = (Alarm(lambda now, n=n: rung.append((n, now))) for n in ("early", "late", "end"))  # type: ignore[misc]
    loop.set_alarm(early, 50_000_000)
    loop.set_alarm(early, 10_000_000)  # brought forward: the entry at 50 ms is outdated
    loop.set_alarm(late, 5_000_000)
    loop.set_alarm(late, 40_000_000)  # put off: the entry at 5 ms is entered anew
    end.callback = lambda _now: loop.stop()
    loop.set_alarm(end, 100_000_000)
    loop.run()
    assert [name for name, _ in rung] == ["early", "late"]
    assert rung[0][1] >= 10_000_000
    assert rung[1][1] >= 40_000_000


def test_cancelled_alarm_does_not_ring(loop: Loop) -> None:
    rung: list[int] = []
    cancelled, end = Alarm(rung.append), Alarm(lambda _now: loop.stop())
    loop.set_alarm(cancelled, 1_000_000)
    loop.set_alarm(cancelled, None)
    loop.set_alarm(end, 20_000_000)
    loop.run()
    assert rung == []


def test_alarm_set_by_an_alarm_waits_for_the_next_round(loop: Loop) -> None:
    fd = os.eventfd(1, os.EFD_NONBLOCK)
    order: list[str] = []

    def again(_now_ns: int) -> None:
        order.append("alarm")
        if order.count("alarm") == 3:
            loop.stop()
        loop.set_alarm(alarm, 0)

    alarm = Alarm(again)
    loop.add(fd, select.EPOLLIN, lambda _m, _n: order.append("frame"))
    loop.set_alarm(alarm, 0)
    loop.run()
    loop.remove(fd)
    os.close(fd)
    assert order == ["frame", "alarm"] * 3


@pytest.mark.parametrize("precise", [False, True])
def test_real_clock_alarm_is_never_early(precise: bool) -> None:
    loop = Loop(precise=precise)
    due = loop.clock() + 3_000_000
    rung: list[int] = []

    def ring(now_ns: int) -> None:
        rung.append(now_ns)
        loop.stop()

    loop.set_alarm(Alarm(ring), due)
    loop.run()
    loop.close()
    assert rung[0] >= due
