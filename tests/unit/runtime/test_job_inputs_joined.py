"""Neighbouring inputs of a unit travel as one; nothing else does."""

import random

from safhost.runtime.elastic import JOIN_BYTES, JOIN_GAP_BYTES, joined


def test_neighbours_are_joined_over_a_small_gap():
    assert joined([(0, 512), (4096, 512)], ((8192, 512, 8192),)) == [(0, 4608)]
    assert joined([(4096, 512), (0, 512)], ()) == [(0, 4608)]
    assert joined([(0, 4096), (4096, 100), (8192, 1)], ()) == [(0, 8193)]


def test_far_or_large_ones_stay_apart():
    assert joined([(0, 1), (JOIN_GAP_BYTES + 2, 5)], ()) == [(0, 1), (JOIN_GAP_BYTES + 2, 5)]
    half = JOIN_BYTES // 2
    assert joined([(0, half), (half, half), (2 * half, 8)], ()) == [(0, JOIN_BYTES), (JOIN_BYTES, 8)]


def test_results_between_them_keep_them_apart():
    assert joined([(0, 64), (192, 64)], ((64, 64, 64),)) == [(0, 64), (192, 64)]
    assert joined([(0, 64), (192, 64)], ((4096, 64, 128),)) == [(0, 64), (192, 64)]  # by their place in memory


def test_joined_inputs_cover_all_inputs_and_no_result():
    seed = 31
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(300):
        at, inputs, outputs = 0, [], []
        for _ in range(rng.randrange(1, 7)):
            at += rng.choice((0, 0, 64, 5000))
            length = rng.randrange(1, 300)
            if rng.random() < 0.7:
                inputs.append((at, length))
            else:
                outputs.append((at, length, at))
            at += length
        found = joined(rng.sample(inputs, len(inputs)), tuple(outputs))
        covered = {b for start, n in found for b in range(start, start + n)}
        assert covered >= {b for start, n in inputs for b in range(start, start + n)}
        assert not covered & {b for start, n, _ in outputs for b in range(start, start + n)}
        assert sum(n for _, n in found) == len(covered)
