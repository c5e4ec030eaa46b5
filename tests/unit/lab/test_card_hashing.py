"""Leaves that a card hashes together: the same digests, each leaf once, and nothing waits for what does not come."""

from __future__ import annotations

import random

import numpy as np
import pytest
from card_host import Host, make_card

from safhost.lab.card_verify import LeafCache
from safhost.wire.generated import LEAF_BYTES, Status

LENGTHS = [1, LEAF_BYTES, 3 * LEAF_BYTES + 5, 8 * LEAF_BYTES, 9 * LEAF_BYTES + 1, 30 * LEAF_BYTES + 77]


def data_of(length: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, length, np.uint8)


@pytest.mark.parametrize("at_once", [1, 4, 8, 16])
@pytest.mark.parametrize("length", LENGTHS)
def test_objects_are_verified_however_many_leaves_are_hashed_together(length: int, at_once: int) -> None:
    cache = LeafCache(at_once=at_once)
    leaves = -(-length // LEAF_BYTES)
    first, second = (Host(make_card(seed=s, cache=cache)) for s in (1, 2))
    for host, shared in ((first, 0), (second, leaves)):
        host.open()
        assert host.write(data_of(length), 1, group=5).status == Status.OK
        assert (cache.hashed_leaves, cache.shared_leaves) == (leaves, shared)


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_wrong_byte_is_found_in_its_leaf(at_once: int) -> None:
    seed = 12
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(5):
        host = Host(make_card(cache=LeafCache(at_once=at_once)))
        host.open()
        host.card.inject("corrupt_ddr", offset=rng.randrange(20 * LEAF_BYTES))
        assert host.write(data_of(20 * LEAF_BYTES), 1).status == Status.DIGEST_MISMATCH


def test_card_that_waits_for_more_leaves_does_not_spin() -> None:
    host = Host(make_card(cache=LeafCache(at_once=8)))
    host.open()
    data = data_of(20 * LEAF_BYTES)
    ask = host.xfer(data, 1)
    host.open_xfer(ask, 1)
    frames = host.data_frames(data, ask, 1)
    host.send_batch(frames[:5 * LEAF_BYTES // ask.block_bytes])
    assert host.card.next_wakeup_ns() != 0
    host.send_batch(frames[5 * LEAF_BYTES // ask.block_bytes:])
    assert host.close_xfer(1).status == Status.OK
