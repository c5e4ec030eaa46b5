"""Hashing on several threads gives what hashing on one gives."""

from __future__ import annotations

import select
from collections.abc import Iterator

import numpy as np
import pytest

from safhost.runtime.hashing import INLINE_ROUNDS, PART_LEAVES, Hasher
from safhost.wire.digest import LEAF_BYTES, leaf_digests, tree_root

PART_BYTES = PART_LEAVES * LEAF_BYTES
INLINE_BYTES = INLINE_ROUNDS * LEAF_BYTES  # of one leaf at a time
INLINE_8_BYTES = 8 * INLINE_BYTES


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    made = Hasher(3)
    yield made
    made.close()


def digests(hasher, data, ranges, progress=None):
    out = []
    hasher.start(data, ranges, out.append, progress)
    poll = select.poll()
    poll.register(hasher.fileno(), select.POLLIN)
    for _ in range(10_000):
        if out:
            break
        assert poll.poll(30_000)
        hasher.poll()
    assert not hasher.busy
    (found,) = out
    return found


@pytest.mark.parametrize("length", [
    1, 63, LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1,
    INLINE_8_BYTES, INLINE_8_BYTES + 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES,
    3 * PART_BYTES + 12_345])
def test_one_range_of_any_length_has_the_root_of_the_tree(hasher, length):
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8)
    ((offset, n, leaves, root),) = digests(hasher, data, [(0, length)])
    assert (offset, n) == (0, length)
    assert leaves == leaf_digests(data.data)
    assert root == tree_root(data.data)


def test_many_ranges_are_hashed_each_on_its_own(hasher):
    data = np.random.default_rng(5).integers(0, 256, 3 * PART_BYTES, np.uint8)
    ranges = [(7, 100), (0, PART_BYTES + 5), (LEAF_BYTES, LEAF_BYTES), (PART_BYTES, 2 * PART_BYTES), (9, 1)]
    found = digests(hasher, data, ranges)
    assert [(o, n) for o, n, _, _ in found] == ranges
    for offset, length, leaves, root in found:
        part = data[offset:offset + length].data
        assert (leaves, root) == (leaf_digests(part), tree_root(part))


def test_nothing_to_hash_is_done_at_once(hasher):
    out = []
    hasher.start(np.zeros(4, np.uint8), [], out.append)
    assert out == [[]]


def test_progress_grows_to_the_end(hasher):
    data = np.zeros(5 * PART_BYTES + 1, np.uint8)
    seen = []
    digests(hasher, data, [(0, len(data))], seen.append)
    assert seen == sorted(seen)
    assert len(seen) == 5
    assert all(0 < n <= len(data) + LEAF_BYTES for n in seen)


def test_two_at_once_do_not_mix(hasher):
    a, b = (np.full(2 * PART_BYTES, i, np.uint8) for i in (1, 2))
    out = {}
    hasher.start(a, [(0, len(a))], lambda found: out.__setitem__("a", found))
    hasher.start(b, [(0, len(b))], lambda found: out.__setitem__("b", found))
    poll = select.poll()
    poll.register(hasher.fileno(), select.POLLIN)
    for _ in range(10_000):
        if len(out) == 2:
            break
        assert poll.poll(30_000)
        hasher.poll()
    assert out["a"][0][3] == tree_root(a.data)
    assert out["b"][0][3] == tree_root(b.data)


def test_poll_without_anything_ready_does_nothing(hasher):
    hasher.poll()
    assert not hasher.busy


def test_close_with_work_outstanding_ends():
    made = Hasher(1)
    made.start(np.zeros(20 * PART_BYTES, np.uint8), [(0, 20 * PART_BYTES)], lambda found: None)
    made.close()


def test_many_small_ones_in_a_row_do_not_hold_the_loop(hasher):
    data = np.random.default_rng(3).integers(0, 256, INLINE_BYTES, np.uint8)
    out = []
    for _ in range(40):
        hasher.start(data, [(0, len(data))], out.append)
    assert len(out) < 40  # the rest is in threads
    poll = select.poll()
    poll.register(hasher.fileno(), select.POLLIN)
    while len(out) < 40:
        assert poll.poll(30_000)
        hasher.poll()
    assert not hasher.busy
    assert {found[0][3] for found in out} == {tree_root(data.data)}


def test_one_who_asked_and_raises_spoils_nothing_for_others(hasher):
    data = np.zeros(4 * PART_BYTES, np.uint8)
    out = []

    def bad(_found):
        raise ValueError("no")

    hasher.start(data, [(0, 3 * PART_BYTES)], bad)
    hasher.start(data, [(0, len(data))], out.append)
    poll = select.poll()
    poll.register(hasher.fileno(), select.POLLIN)
    raised = 0
    while not out or not raised:
        assert poll.poll(30_000)
        try:
            hasher.poll()
        except ValueError:
            raised += 1
    assert raised == 1
    assert not hasher.busy
