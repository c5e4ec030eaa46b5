"""Journals of jobs: what is written is read, a torn tail costs the last record only, damage is never believed."""

from __future__ import annotations

import itertools
import random

import pytest

from safhost.core import journal as jn
from safhost.core.ranges import Ranges

SPEC = {"name": "ptrans", "kernel": 0, "total": 4096, "digest": "ab" * 32}


def write(seed: int) -> tuple[list[bytes], list[jn.JobState]]:
    """Records, and what a replay of the first n has to say."""
    rng = random.Random(seed)
    records = [jn.encode_opened(SPEC)]
    done: set[int] = set()
    taken: set[int] = set()
    failed: set[int] = set()
    states = [set(), set(), set()]
    expected = [jn.JobState(dict(SPEC))]
    for _ in range(rng.randrange(1, 20)):
        kind, into = rng.choice([(jn.DONE, done), (jn.TAKEN, taken), (jn.FAILED, failed)])
        some = rng.sample(range(200), rng.randrange(1, 9))
        records.append(jn.encode_units(kind, some))
        into.update(some)
        states = [Ranges.of(sorted(s)) for s in (done, taken, failed)]
        expected.append(jn.JobState(dict(SPEC), *states))
    records.append(jn.encode_ended("failed", "unit 7: why"))
    expected.append(jn.JobState(dict(SPEC), *states, "failed", "unit 7: why"))
    for n, state in enumerate(expected):
        state.good_bytes = sum(map(len, records[:n + 1]))
    return records, expected


@pytest.mark.parametrize("seed", range(10))
def test_replay_of_a_prefix_tells_the_whole_records_and_where_to_cut(seed):
    print(f"seed {seed}")
    records, expected = write(seed)
    raw = b"".join(records)
    cut = 0
    for at in range(len(raw) + 1):
        while cut < len(records) and expected[cut].good_bytes <= at:
            cut += 1
        got = jn.replay(raw[:at])
        assert got == (expected[cut - 1] if cut else jn.JobState()), at


@pytest.mark.parametrize("seed", range(5))
def test_damage_is_never_believed(seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    records, expected = write(seed)
    raw = bytearray(b"".join(records))
    for _ in range(100):
        at = rng.randrange(len(raw))
        bad = bytearray(raw)
        bad[at] ^= 1 << rng.randrange(8)
        got = jn.replay(bytes(bad))
        whole = [e for e in expected if e.good_bytes <= at]
        assert got == (whole[-1] if whole else jn.JobState())


def test_units_in_a_row_take_a_pair_however_many():
    assert len(jn.encode_units(jn.DONE, range(1_000_000))) == len(jn.encode_units(jn.DONE, [5])) == 25
    assert jn.encode_units(jn.DONE, []) == b""


def test_compacted_journal_says_the_same_in_less():
    ended = [jn.encode_units(jn.DONE, [i]) for i in range(1000)]
    state = jn.replay(b"".join([jn.encode_opened(SPEC), *ended, jn.encode_ended("done")]))
    small = jn.compact(state)
    again = jn.replay(small)
    assert len(small) < 300
    state.good_bytes = again.good_bytes = 0
    assert again == state


def test_reopened_job_is_under_way_and_its_failures_are_tried_again():
    raw = jn.encode_opened(SPEC) + jn.encode_units(jn.FAILED, [3]) + jn.encode_ended("failed", "x")
    state = jn.replay(raw + jn.encode_reopened())
    assert (state.ended, state.text, state.failed.count) == ("", "", 0)


def test_kinds_that_are_not_about_units_are_refused():
    with pytest.raises(ValueError, match="not about units"):
        jn.encode_units(jn.Record.ENDED, [1])


def test_second_opening_is_where_reading_stops():
    raw = jn.encode_opened(SPEC)
    assert jn.replay(raw + raw).good_bytes == len(raw)
    assert not jn.replay(jn.encode_units(jn.DONE, [1])).opened


@pytest.mark.parametrize("seed", range(5))
def test_ranges_are_the_set_of_what_was_added(seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    ranges, truth = Ranges(), set()
    for _ in range(300):
        first = rng.randrange(500)
        last = first + rng.choice([0, 0, 1, 5, 40])
        ranges.add(first, last)
        truth.update(range(first, last + 1))
        assert ranges.count == len(truth)
        pairs = ranges.pairs()
        assert all(b[0] > a[1] + 1 for a, b in itertools.pairwise(pairs))
    assert list(ranges) == sorted(truth)
    assert all((n in ranges) == (n in truth) for n in range(600))


@pytest.mark.parametrize("pair", [(-1, 3), (4, 3)])
def test_what_is_no_range_is_refused(pair):
    with pytest.raises(ValueError, match="no range"):
        Ranges().add(*pair)
