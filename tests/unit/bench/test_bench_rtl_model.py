"""The model of a reconfiguration from the RTL's cycles: its sums by hand, and what it does not take."""

from __future__ import annotations

import pytest

from safhost.bench.rtl.host import beats, line_cycles
from safhost.bench.rtl.line import ALL_SIZES, table_sizes
from safhost.bench.rtl.rates import FeedTimes, StageTimes
from safhost.bench.rtl.reconfig import add_up, block_bytes_for, run
from safhost.errors import ConfigError

SMALL = StageTimes(length_bytes=1_000_000, block_bytes=8960, frames=112, lost=0, ready_cycles=100, line_cycles=126_000,
                   landed_cycles=127_000, verified_cycles=300_000, held=False)
LARGE = StageTimes(length_bytes=2_000_000, block_bytes=8960, frames=224, lost=0, ready_cycles=100, line_cycles=252_000,
                   landed_cycles=253_000, verified_cycles=590_000, held=False)
FED = FeedTimes(words=500_000, started_cycles=100, fed_cycles=100 + 781_250, ended_cycles=50, core_per_pr=1.5625)
HELD = StageTimes(length_bytes=1_000_000, block_bytes=8960, frames=112, lost=0, ready_cycles=100, line_cycles=126_000,
                  landed_cycles=127_000, verified_cycles=283_250, held=True)


def test_line_cycles_of_frames_counts_preamble_fcs_gap_and_padding():
    assert line_cycles([64]) == (64 + 24) / 8
    assert line_cycles([20]) == line_cycles([60]) == (60 + 24) / 8
    assert line_cycles([1514, 1514]) == 2 * (1514 + 24) / 8


def test_beats_of_frame_are_whole_words():
    assert [beats(n) for n in (20, 60, 64, 65, 9014)] == [8, 8, 8, 9, 1127]


def test_table_sizes_hold_every_length_modulo_8_and_the_full_frames():
    sizes = table_sizes()
    assert {n % 8 for n in sizes} == set(range(8))
    assert {60, 64, 65, 1514, 8974, 9000, 9014} <= set(sizes)
    assert (ALL_SIZES[0], ALL_SIZES[-1]) == (64, 9000)


def test_feed_times_without_a_bubble_is_four_bytes_a_clock():
    assert FED.pr_clocks == 500_000
    assert (FED.bytes_per_clock, FED.mb_per_s, FED.bubbles) == (4.0, 400.0, 0.0)


def test_stage_times_held_counts_digests_behind_the_last_block_alone():
    assert HELD.digest_cycles == 156_250
    assert HELD.digest_mb_per_s == 1000.0
    assert LARGE.digest_cycles == 590_000


def test_add_up_extends_linearly_and_adds_only_what_is_not_within():
    terms = {t.name: t for t in add_up(20, 10_000_000, 1, SMALL, LARGE, FED)}
    verified = terms["transfer and verification"].seconds
    assert verified == pytest.approx((590_000 + 8 * 290_000) * 6.4e-9)
    within = [t.seconds for t in terms.values() if t.within]
    assert sum(within) == pytest.approx(verified)
    assert terms["image into the PR controller"].seconds == pytest.approx(10_000_000 / 400e6)


def test_add_up_with_more_cards_grows_by_control_frames_alone():
    one, many = (sum(t.seconds for t in add_up(n, 10_000_000, 1, SMALL, LARGE, FED) if not t.within) for n in (1, 21))
    # XFER_OPEN (9,000 bytes), READY, CLOSE, VERDICT, COMMIT, COMMITTED with header and tag, 24 bytes a frame besides
    per_card = (9000 + 72 + 64 + 104 + 104 + 112) + 6 * 24
    assert many - one == pytest.approx(20 * per_card * 0.8e-9, rel=1e-6)


def test_block_bytes_for_mtu_is_the_largest_multiple_of_64():
    assert (block_bytes_for(1500), block_bytes_for(9000)) == (1472, 8960)


@pytest.mark.parametrize(("cards", "size", "mtu", "simulated"), [
    (0, 97_400_000, 9000, 8_000_000), (20, 4_000_000, 9000, 8_000_000), (20, 1 << 30, 9000, 8_000_000),
    (20, 97_400_000, 9001, 8_000_000), (20, 97_400_000, 9000, 4096), (20, 97_400_000, 9000, 8_000_001)])
def test_run_with_what_cannot_be_modelled_says_so(cards, size, mtu, simulated):
    with pytest.raises(ConfigError):
        run(cards, size, mtu, simulated_bytes=simulated)
