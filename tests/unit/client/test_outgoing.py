"""Memory for what goes to cards: kept after success, never after a failure."""

from __future__ import annotations

import os

import numpy as np
import pytest

from safhost.client import _Outgoing


def data(n: int, fill: int) -> np.ndarray:
    return np.full(n, fill, np.uint8)


def inode(memory) -> int:
    return os.fstat(memory.fd).st_ino


def test_next_request_gets_the_same_memory_with_its_own_bytes():
    outgoing = _Outgoing()
    with outgoing.holding(data(5_000_000, 1)) as memory:
        first = inode(memory)
        assert memory.length == 5_000_000
        assert (memory.array == 1).all()
    with outgoing.holding(data(3_000_000, 2)) as memory:
        assert inode(memory) == first
        assert (memory.length, len(memory.array)) == (3_000_000, 3_000_000)
        assert (memory.array == 2).all()
    outgoing.close()


def test_memory_of_a_failed_request_is_not_used_again():
    outgoing = _Outgoing()
    seen = []

    def fail() -> None:
        with outgoing.holding(data(5_000_000, 1)) as memory:
            seen.append(inode(memory))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with outgoing.holding(data(5_000_000, 2)) as memory:
        assert inode(memory) not in seen
    outgoing.close()


@pytest.mark.parametrize("size", [5_000_001, 1_000_000])
def test_memory_that_is_too_small_or_far_too_large_is_replaced(size):
    outgoing = _Outgoing()
    with outgoing.holding(data(5_000_000, 1)) as memory:
        first = inode(memory)
    with outgoing.holding(data(size, 2)) as memory:
        assert inode(memory) != first
    outgoing.close()


def test_two_requests_at_once_share_nothing():
    outgoing = _Outgoing()
    with outgoing.holding(data(2_000_000, 1)) as one, outgoing.holding(data(2_000_000, 2)) as other:
        assert inode(one) != inode(other)
        assert (one.array == 1).all()
    outgoing.close()


def test_no_descriptor_is_left():
    before = len(os.listdir("/proc/self/fd"))
    outgoing = _Outgoing()
    for size in (5_000_000, 9_000_000, 100, 5_000_000):
        with outgoing.holding(data(size, 7)):
            assert len(os.listdir("/proc/self/fd")) > before
    outgoing.close()
    assert len(os.listdir("/proc/self/fd")) == before
