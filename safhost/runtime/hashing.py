"""Leaf digests of large objects on all cores. What hashes releases the GIL, so threads are enough."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.native import lanes
from safhost.wire import digest
from safhost.wire.digest import LEAF_BYTES, leaf_count, leaf_digests, leaves_at_once, root_digest

INLINE_ROUNDS = 4
"""Hashed at once, without another thread: 2 MiB with 8 leaves at a time, which takes 0.8 ms. Handing over and back
costs 0.1 to 0.15 ms of CPU time here, whatever the size."""

PART_LEAVES = 64  # 4 MiB a piece of work: progress shows, and two threads share evenly

Range = tuple[int, int]
Digested = tuple[int, int, bytes, bytes]  # offset, length, leaves, root


class Hasher:
    """Hashes in threads and hands results over where :meth:`poll` is called; ``fileno`` tells when."""

    def __init__(self, workers: int | None = None) -> None:
        digest.use(lanes.load)
        self._pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="saf-hash")
        self._pool.submit(lanes.load)  # compiled now, if it has to be, and not when the first object waits for it
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._done: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._left = 0

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
        if sum(length for _, length in ranges) <= INLINE_ROUNDS * leaves_at_once() * LEAF_BYTES:
            done([_digest(data, r) for r in ranges])
            return
        parts: list[tuple[int, int, int]] = []  # range, first leaf, leaves
        for i, (_, length) in enumerate(ranges):
            total = leaf_count(length)
            parts += [(i, at, min(PART_LEAVES, total - at)) for at in range(0, total, PART_LEAVES)]
        found: dict[tuple[int, int], bytes] = {}
        hashed = 0

        def finished(result: tuple[tuple[int, int], bytes, int]) -> None:
            nonlocal hashed
            key, leaves, count = result
            found[key] = leaves
            hashed += count
            if len(found) < len(parts):
                if progress is not None:
                    progress(hashed)
                return
            out = []
            for i, (offset, length) in enumerate(ranges):
                whole = b"".join(found[i, at] for j, at, _ in parts if j == i)
                out.append((offset, length, whole, root_digest(whole)))
            done(out)

        self._left += len(parts)
        for part in parts:
            self._pool.submit(self._work, data, ranges, part, finished)

    def _work(self, data: NDArray[np.uint8], ranges: list[Range], part: tuple[int, int, int],
              finished: Callable[[Any], None]) -> None:
        i, first, count = part
        offset, length = ranges[i]
        leaves = leaf_digests(data[offset:offset + length].data, first, count)
        self._done.append((finished, ((i, first), leaves, count * LEAF_BYTES)))
        os.eventfd_write(self._event, 1)

    def poll(self) -> None:
        """Hand over what is ready."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        while self._done:
            callback, result = self._done.popleft()
            self._left -= 1
            callback(result)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        os.close(self._event)


def _digest(data: NDArray[np.uint8], r: Range) -> Digested:
    offset, length = r
    leaves = leaf_digests(data[offset:offset + length].data)
    return offset, length, leaves, root_digest(leaves)
