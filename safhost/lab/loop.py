"""The lab process's event loop: descriptors and wake-up times, nothing else.

A thousand cards each want to be woken at their own time, so times lie in a heap, and a changed one is not
searched for: its old entry is recognised as outdated when it comes up. A card at work changes its time with
every frame; it is entered again only when the new time is earlier than the one that is waiting.
"""

from __future__ import annotations

import ctypes
import heapq
import os
import select
import time
from collections.abc import Callable

Handler = Callable[[int, int], None]
"""Called with the epoll event mask and the time of this round in ns."""

_SPIN_NS = 60_000
"""A descriptor wakes up to that late (50 µs of timer slack); the rest is waited for actively."""

# linux/time.h; TFD_CLOEXEC | TFD_NONBLOCK and TFD_TIMER_ABSTIME of linux/timerfd.h
_CLOCK_MONOTONIC, _TIMER_FLAGS, _ABSOLUTE = 1, 0o2004000, 1
_IDLE_WAIT_NS = 60_000_000_000


class Alarm:
    """One wake-up time of one owner. ``due_ns`` None: not set."""

    __slots__ = ("callback", "due_ns", "entered_ns")

    def __init__(self, callback: Callable[[int], None]) -> None:
        self.callback = callback
        self.due_ns: int | None = None
        self.entered_ns: int | None = None


class Loop:
    """``precise``: alarms to some microseconds, for modelled service times: a timer descriptor wakes the loop a little
    before, and the rest is waited for actively. Otherwise an alarm may be a millisecond late (epoll's resolution)."""

    def __init__(self, *, precise: bool = False, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.clock = clock
        self._precise = precise
        self._epoll = select.epoll()
        self._timer = Timer(self._epoll) if precise and clock is time.monotonic_ns else None
        self._handlers: dict[int, Handler] = {}
        self._heap: list[tuple[int, int, Alarm]] = []
        self._entries = 0
        self._stopping = False
        self._rest_s = 0.0

    def rest(self, seconds: float) -> None:
        """Look at descriptors only after ``seconds``, once this round is done: bulk data is then handled in fewer and
        larger batches, as a network card does by moderating its interrupts. Alarms that are due wait as long."""
        self._rest_s = seconds

    def add(self, fd: int, mask: int, handler: Handler) -> None:
        """Call ``handler`` whenever ``fd`` has an event of ``mask`` (level triggered)."""
        self._handlers[fd] = handler
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Stop watching; to be called before ``fd`` is closed. Unknown descriptors are fine."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def set_alarm(self, alarm: Alarm, due_ns: int | None) -> None:
        """Wake ``alarm`` at ``due_ns`` (replaces an earlier setting), or not at all."""
        alarm.due_ns = due_ns
        if due_ns is not None and (alarm.entered_ns is None or due_ns < alarm.entered_ns):
            alarm.entered_ns = due_ns
            self._entries += 1
            heapq.heappush(self._heap, (due_ns, self._entries, alarm))

    def stop(self) -> None:
        """Leave `run` after this round."""
        self._stopping = True

    def run(self) -> None:
        """Handle events until `stop`."""
        poll, handlers, clock = self._epoll.poll, self._handlers, self.clock
        self._stopping = False
        while not self._stopping:
            for fd, mask in poll(self._wait_s()):
                handler = handlers.get(fd)
                if handler is not None:  # else removed by a handler of this very round
                    handler(mask, clock())
            if self._heap and self._heap[0][0] <= clock():
                self._ring(clock())
            if self._rest_s:
                time.sleep(self._rest_s)
                self._rest_s = 0.0

    def _wait_s(self) -> float:
        if not self._heap:
            return _IDLE_WAIT_NS / 1e9
        left_ns = min(self._heap[0][0] - self.clock(), _IDLE_WAIT_NS)
        if left_ns <= 0 or (self._precise and left_ns < _SPIN_NS):
            return 0.0
        if self._timer is not None:
            self._timer.set(self._heap[0][0] - _SPIN_NS)
        return left_ns / 1e9

    def _ring(self, now_ns: int) -> None:
        """Call what is due now; alarms set meanwhile wait for the next round: frames come in between."""
        due: list[Alarm] = []
        while self._heap and self._heap[0][0] <= now_ns:
            when, _, alarm = heapq.heappop(self._heap)
            if when != alarm.entered_ns:
                continue  # replaced by an earlier entry
            alarm.entered_ns = None
            if alarm.due_ns is not None and alarm.due_ns <= now_ns:
                alarm.due_ns = None
                due.append(alarm)
            else:
                self.set_alarm(alarm, alarm.due_ns)
        for alarm in due:
            alarm.callback(now_ns)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.close()
        self._epoll.close()
        self._handlers.clear()
        self._heap.clear()


class Timer:
    """A timerfd(2) in an epoll set: wakes it at a time of CLOCK_MONOTONIC. Its descriptor has no handler: waking is
    all it does (edge triggered, so that nobody has to read it)."""

    def __init__(self, epoll: select.epoll) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TIMER_FLAGS)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._spec = (ctypes.c_int64 * 4)()  # struct itimerspec on 64-bit Linux: interval, then first expiry
        self._set_ns = -1
        epoll.register(self._fd, select.EPOLLIN | select.EPOLLET)

    def set(self, at_ns: int) -> None:
        """Wake at ``at_ns``; the time set before is forgotten."""
        if at_ns != self._set_ns:
            self._set_ns = at_ns
            self._spec[2], self._spec[3] = divmod(at_ns, 1_000_000_000)
            self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._spec), None)

    def close(self) -> None:
        os.close(self._fd)
