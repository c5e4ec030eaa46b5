"""The shell's figures, counted in cycles of its RTL, hold; and what would spoil them is seen."""

from __future__ import annotations

import pytest

from safhost.bench.rtl import figures, reconfig
from safhost.bench.rtl.host import CYCLE_NS, BenchCard
from safhost.bench.rtl.latency import measure_commands, measure_hello
from safhost.bench.rtl.line import measure_size
from safhost.bench.rtl.rates import feed, make_image, read, stage
from safhost.lab.rtl_sim import Fault

# The first of them compiles the RTL.
pytestmark = pytest.mark.timeout(900)
FAST = "one-clock"


@pytest.fixture
def card():
    made = BenchCard(FAST)
    made.open()
    yield made
    made.close()


@pytest.mark.parametrize("size", [60, 64, 65, 103, 104, 109, 1514, 9014])
def test_line_rate_of_a_size_loses_nothing(card, size):
    row = measure_size(card, size, 3_000, 6)
    assert (row.lost, row.memory_ok) == (0, True)
    assert row.blocks + row.repeats == row.frames
    assert row.backlog_cycles <= figures.GOAL_BACKLOG_CYCLES


def test_line_rate_into_slow_ddr_is_seen_as_backlog_or_loss(card):
    card.simulation.fault(Fault.SLOW_DDR, 95)
    row = measure_size(card, 1514, 20_000, 6)
    assert row.lost or row.backlog_cycles > figures.GOAL_BACKLOG_CYCLES


@pytest.mark.parametrize("suite", [0, 1])
def test_empty_command_is_done_within_2_us(suite):
    card = BenchCard(FAST, suite)
    try:
        card.open()
        empty = measure_commands(card, 3)[0]
    finally:
        card.close()
    assert 0 < empty.most * CYCLE_NS <= figures.GOAL_COMMAND_NS


def test_hello_follows_the_first_frame_within_5_us():
    for one in measure_hello(FAST, 2):
        assert 0 < one.most_ns <= figures.GOAL_HELLO_NS


def test_staged_image_is_verified_and_fed_without_bubbles(card):
    staged = stage(card, make_image(200_000, 1), 8960)
    assert staged.lost == 0
    assert staged.digest_mb_per_s > 300  # with the root of a small image, which no leaf overlaps
    fed = feed(card)
    assert fed.words == 50_000
    assert fed.bubbles <= figures.GOAL_BUBBLES


def test_digests_of_a_held_image_begin_with_its_first_block(card):
    staged = stage(card, make_image(200_000, 2), 1472, held=True)
    assert staged.lost == 0
    assert staged.digest_cycles > 200_000 / 8  # a beat a cycle is the most that a reader gives


def test_read_sends_all_blocks_before_its_digest(card):
    times = read(card, 65_536, 1408)
    assert times.frames == 47
    assert times.first_cycles < times.last_cycles <= times.done_cycles


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_figures_of_the_four_clocks_reach_their_goals():
    missed = [goal for goal in figures.run()["goals"] if not goal["reached"]]
    assert not missed


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_line_rate_of_every_size_loses_nothing():
    missed = [goal for goal in figures.run(["line"], all_sizes=True, variant=FAST)["goals"] if not goal["reached"]]
    assert not missed


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_reconfiguration_of_20_cards_is_modelled_within_its_goal():
    result = reconfig.run()
    assert result["figures"] == "modelled"
    assert result["seconds"] <= reconfig.GOAL_S
    assert sum(t["seconds"] for t in result["terms"] if not t["within"]) == pytest.approx(result["seconds"], abs=1e-3)
