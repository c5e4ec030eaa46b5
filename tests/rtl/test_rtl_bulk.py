"""saf_bulk against the virtual card's own DataUnit and Transfer, a test of its cocotb part each."""

from __future__ import annotations

import pytest
import rtlsim


def run(test: str, key: str = "5a" * 32) -> None:
    rtlsim.run_cocotb("saf_bulk", tb="tb_saf_bulk", testcase=f"{test}$", environment={"BULK_KEY": key}, public_depth=1)


@pytest.mark.parametrize("key", ["", "5a" * 32])
def test_bulk_every_reason_counted_in_the_card_s_order(key):
    run("every_reason_in_its_order", key)


@pytest.mark.parametrize("key", ["", "5a" * 32])
def test_bulk_random_frames_end_as_on_the_virtual_card(key):
    run("random_frames_as_the_virtual_card", key)


def test_bulk_every_length_arrives_at_any_address():
    run("every_length_any_alignment")


def test_bulk_large_blocks_at_line_rate_nothing_waits():
    run("large_blocks_leave_at_a_beat_a_cycle")


def test_bulk_small_blocks_at_line_rate_nothing_waits():
    run("line_rate_of_small_blocks_with_all_else_at_once")


def test_bulk_smallest_frames_at_line_rate_nothing_waits():
    run("line_rate_of_smallest_frames")


def test_bulk_lowest_missing_found_wherever_it_is():
    run("lowest_is_found_across_the_bitmap")


def test_bulk_blocks_during_search_leave_the_right_lowest():
    run("search_and_frames_meet")


def test_bulk_settled_only_with_all_blocks_in_ddr():
    run("settled_means_everything_is_in_ddr")


def test_bulk_lowest_shown_only_when_blocks_are_in_ddr():
    run("lowest_never_runs_ahead_of_ddr")


def test_bulk_reset_in_the_middle_leaves_nothing():
    run("reset_in_the_middle_leaves_nothing")
