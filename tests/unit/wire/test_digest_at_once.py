"""The hash tree, by hashlib and with several leaves at once: the same digests for every object."""

import hashlib
import random

import numpy as np
import pytest

from safhost.native import lanes
from safhost.wire import digest
from safhost.wire.digest import DIGEST_BYTES, LEAF_BYTES, leaf_count, leaf_digests, run_digests, tree_root

LENGTHS = [0, 1, LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1, 2 * LEAF_BYTES, 7 * LEAF_BYTES + 5, 8 * LEAF_BYTES - 1,
           8 * LEAF_BYTES, 8 * LEAF_BYTES + 1, 9 * LEAF_BYTES + 64, 17 * LEAF_BYTES]


@pytest.fixture(params=["hashlib", "native"])
def way(request):
    """Both ways; without a C compiler the second is the first."""
    with digest.by_hashlib():
        if request.param == "native":
            digest.use(lanes.load)
        yield request.param


@pytest.fixture(scope="module")
def memory():
    return np.random.default_rng(11).integers(0, 256, 17 * LEAF_BYTES + 64, np.uint8)


def plain_leaf(data, index, last):
    return hashlib.blake2s(data, fanout=0, depth=2, leaf_size=65536, node_offset=index, node_depth=0, inner_size=32,
                           last_node=last).digest()


@pytest.mark.parametrize("length", LENGTHS)
def test_leaves_and_root_are_those_of_the_definition(way, memory, length):
    data = memory[3:3 + length].tobytes()
    count = max(1, -(-length // 65536))
    leaves = [plain_leaf(data[i * 65536:(i + 1) * 65536], i, i == count - 1) for i in range(count)]
    assert leaf_count(length) == count
    assert leaf_digests(memory[3:3 + length].data) == b"".join(leaves)
    root = hashlib.blake2s(b"".join(leaves), fanout=0, depth=2, leaf_size=65536, node_offset=0, node_depth=1,
                           inner_size=32, last_node=True).digest()
    assert tree_root(data) == root


def test_any_part_of_the_leaves_is_that_part(way, memory):
    seed = 4
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = memory[:16 * LEAF_BYTES + 9].data
    whole = leaf_digests(data)
    for _ in range(30):
        first, count = rng.randrange(20), rng.randrange(20)
        assert leaf_digests(data, first, count) == whole[DIGEST_BYTES * first:DIGEST_BYTES * (first + count)]
    assert leaf_digests(data, 3) == whole[DIGEST_BYTES * 3:]


def test_run_in_the_middle_of_an_object_does_not_end_it(way, memory):
    data = memory[:12 * LEAF_BYTES]
    whole = leaf_digests(memory[:16 * LEAF_BYTES])
    assert run_digests(data.data, 0, False) == whole[:DIGEST_BYTES * 12]
    assert run_digests(data.data, 0, True)[-DIGEST_BYTES:] != whole[DIGEST_BYTES * 11:DIGEST_BYTES * 12]


def test_several_at_once_are_found_when_first_needed_and_once():
    asked = []

    class Two:
        count = 2

        def leaves(self, data, first, ends, leaf_bytes):
            return b"x" * DIGEST_BYTES * leaf_count(memoryview(data).nbytes)

    def find():
        asked.append(1)
        return Two()

    with digest.by_hashlib():
        digest.use(find)
        assert leaf_digests(bytes(5)) != b"x" * DIGEST_BYTES
        assert not asked  # one leaf needs no help
        assert digest.leaves_at_once() == 2
        assert leaf_digests(bytes(2 * LEAF_BYTES)) == b"x" * 2 * DIGEST_BYTES
        assert leaf_digests(bytes(2 * LEAF_BYTES + 1))[:-DIGEST_BYTES] == b"x" * 2 * DIGEST_BYTES
        assert asked == [1]
        with digest.by_hashlib():
            assert digest.leaves_at_once() == 1
        assert digest.leaves_at_once() == 2
