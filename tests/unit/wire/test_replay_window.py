"""The replay window against a set of everything that was accepted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from safhost.wire.auth import ReplayWindow
from safhost.wire.generated import REPLAY_WINDOW

near = st.integers(-70, 70).map(lambda distance: ("near", distance))
steps = st.lists(st.one_of(st.integers(0, 200), st.integers(0, 2**64 - 1), near), max_size=120)


@settings(max_examples=250, deadline=None)
@given(steps)
def test_window_accepts_what_a_set_would(sequences):
    window, accepted, top = ReplayWindow(), set(), 0
    for step in sequences:
        sequence = max(0, min(2**64 - 1, top + step[1])) if isinstance(step, tuple) else step
        want = sequence > 0 and sequence not in accepted and sequence > top - REPLAY_WINDOW
        assert window.fresh(sequence) == want
        if want:
            window.commit(sequence)
            accepted.add(sequence)
            top = max(top, sequence)


def test_asking_without_commit_changes_nothing():
    window = ReplayWindow()
    window.commit(5)
    for sequence in (6, 1000, 2**64 - 1, 4):
        assert window.fresh(sequence)
    assert window.fresh(1)
    assert not window.fresh(5)


def test_window_is_64_wide():
    for behind in range(130):
        window = ReplayWindow()
        window.commit(1000)
        assert window.fresh(1000 - behind) == (1 <= behind < REPLAY_WINDOW), behind
        window.commit(1001 + behind)
        assert not window.fresh(1000)
