"""Leaf digests beside the loop: on all cores, as what hashes releases the GIL; what is small at once."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from safhost.native import lanes
from safhost.wire import digest
from safhost.wire.digest import LEAF_BYTES, leaf_count, leaf_digests, leaves_at_once, root_digest

INLINE_ROUNDS = 4
"""Hashed at once, without another thread: 2 MiB with 8 leaves at a time, which takes 0.8 ms. Handing over and back
costs 0.05 ms of CPU time here, and a turn of the loop."""

INLINE_TURN_NS = 10_000_000
"""No more than that at once in so long a time: a loop that hashes answers nobody."""

PART_LEAVES = 64  # 4 MiB a piece of work: progress shows, and two threads share evenly

Range = tuple[int, int]
Digested = tuple[int, int, bytes, bytes]  # offset, length, leaves, root


class _Request:
    """What one call of `start` asked for, and how much of it is there."""

    def __init__(self, data: NDArray[np.uint8], ranges: list[Range], done: Callable[[list[Digested]], None],
                 progress: Callable[[int], None] | None) -> None:
        self.data = data
        self.ranges = ranges
        self.done = done
        self.progress = progress
        self.parts = [[b""] * -(-leaf_count(length) // PART_LEAVES) for _, length in ranges]
        self.left = sum(len(parts) for parts in self.parts)
        self.hashed_bytes = 0

    def work(self, number: int, part: int) -> bytes:
        """Leaf digests of a part of range ``number``; in any thread."""
        offset, length = self.ranges[number]
        return leaf_digests(self.data[offset:offset + length].data, part * PART_LEAVES, PART_LEAVES)

    def finished(self, number: int, part: int, leaves: bytes) -> None:
        """A part is there; says so to whoever asked."""
        self.parts[number][part] = leaves
        self.left -= 1
        self.hashed_bytes += len(leaves) // digest.DIGEST_BYTES * LEAF_BYTES
        if self.left:
            if self.progress is not None:
                self.progress(self.hashed_bytes)
            return
        whole = [b"".join(parts) for parts in self.parts]
        self.done([(offset, length, leaves, root_digest(leaves))
                   for (offset, length), leaves in zip(self.ranges, whole, strict=True)])


class Hasher:
    """Hashes in threads and hands results over where :meth:`poll` is called; ``fileno`` tells when."""

    def __init__(self, workers: int | None = None) -> None:
        digest.use(lanes.load)
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._done: list[tuple[_Request, int, int, bytes]] = []  # by the threads, under the lock
        self._ready: deque[tuple[_Request, int, int, bytes]] = deque()
        self._work: SimpleQueue[tuple[_Request, int, int] | None] = SimpleQueue()
        self._left = 0
        self._inline_ns = self._inline_bytes = 0
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"saf-hash_{i}", daemon=True)
                         for i in range(workers or os.cpu_count() or 1)]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        """Whether something is still hashed, or waits for :meth:`poll`."""
        return self._left > 0

    def fileno(self) -> int:
        return self._event

    def start(self, data: NDArray[np.uint8], ranges: list[Range], done: Callable[[list[Digested]], None],
              progress: Callable[[int], None] | None = None) -> None:
        """Hash each (offset, length) of ``data``; ``done`` gets (offset, length, leaves, root) for each.
        ``progress`` gets the bytes hashed so far. Both are called from :meth:`poll`, or at once when small."""
        if self._at_once(sum(length for _, length in ranges)):
            done([_digest(data, r) for r in ranges])
            return
        request = _Request(data, ranges, done, progress)
        self._left += request.left
        for number, parts in enumerate(request.parts):
            for part in range(len(parts)):
                self._work.put((request, number, part))

    def _at_once(self, length_bytes: int) -> bool:
        limit = INLINE_ROUNDS * leaves_at_once() * LEAF_BYTES
        if length_bytes > limit:
            return False
        now_ns = time.monotonic_ns()
        if now_ns - self._inline_ns > INLINE_TURN_NS:
            self._inline_ns, self._inline_bytes = now_ns, 0
        if self._inline_bytes + length_bytes > limit:
            return False
        self._inline_bytes += length_bytes
        return True

    def _run(self) -> None:
        lanes.load()  # compiled now, if it has to be, and not when the first object waits for it
        while (item := self._work.get()) is not None:
            request, number, part = item
            if self._closed:
                continue
            leaves = request.work(number, part)
            with self._lock:
                first = not self._done
                self._done.append((request, number, part, leaves))
            if first:
                os.eventfd_write(self._event, 1)

    def poll(self) -> None:
        """Hand over what is ready."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        with self._lock:
            self._ready.extend(self._done)
            self._done.clear()
        try:
            while self._ready:
                request, number, part, leaves = self._ready.popleft()
                self._left -= 1
                request.finished(number, part, leaves)
        finally:
            if self._ready:  # one of those who asked raised; the others are told next time
                os.eventfd_write(self._event, 1)

    def close(self) -> None:
        self._closed = True
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        os.close(self._event)


def _digest(data: NDArray[np.uint8], r: Range) -> Digested:
    offset, length = r
    leaves = leaf_digests(data[offset:offset + length].data)
    return offset, length, leaves, root_digest(leaves)
