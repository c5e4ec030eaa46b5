"""The hash tree against one written out in full, and its parts against the whole."""

import hashlib

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safhost.wire import generated as g
from safhost.wire.digest import DIGEST_BYTES, LEAF_BYTES, leaf_count, leaf_digest, leaf_digests, root_digest, tree_root


def directly(data):
    nodes = []
    starts = range(0, len(data), 65536) if data else [0]
    for number, start in enumerate(starts):
        is_last = number == len(starts) - 1
        nodes.append(hashlib.blake2s(data[start:start + 65536], digest_size=32, fanout=0, depth=2, leaf_size=65536,
                                     node_offset=number, node_depth=0, inner_size=32, last_node=is_last).digest())
    return nodes, hashlib.blake2s(b"".join(nodes), digest_size=32, fanout=0, depth=2, leaf_size=65536,
                                  node_offset=0, node_depth=1, inner_size=32, last_node=True).digest()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300_000), st.integers(0, 255))
@example(65536, 1)
@example(65537, 1)
@example(131072, 1)
@example(0, 0)
def test_tree_equals_direct_computation(length, seed):
    data = np.random.default_rng(seed).integers(0, 256, length, np.uint8)
    nodes, root = directly(data.tobytes())
    assert leaf_count(length) == len(nodes)
    assert leaf_digests(data) == b"".join(nodes)
    assert tree_root(data) == root == root_digest(b"".join(nodes))
    for first in range(len(nodes)):
        assert leaf_digests(data, first, 2) == b"".join(nodes[first:first + 2])
    assert leaf_digest(data[65536 * (len(nodes) - 1):], len(nodes) - 1, True) == nodes[-1]


def test_one_changed_bit_is_located_to_its_leaf():
    data = np.zeros(4 * LEAF_BYTES + 5, np.uint8)
    before = leaf_digests(data)
    data[2 * LEAF_BYTES + 9] ^= 1
    after = leaf_digests(data)
    differs = [i for i in range(5) if before[32 * i:32 * i + 32] != after[32 * i:32 * i + 32]]
    assert differs == [2]
    assert tree_root(data) != root_digest(before)


def test_constants_are_those_of_the_definition():
    assert (LEAF_BYTES, DIGEST_BYTES) == (g.LEAF_BYTES, g.DIGEST_BYTES)
