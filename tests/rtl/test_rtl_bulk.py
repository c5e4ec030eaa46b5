"""saf_bulk against the virtual card's own DataUnit and Transfer, a test of its cocotb part each."""

from __future__ import annotations

import pytest
import rtlsim


def run(test: str, key: str = "5a" * 32) -> None:
    rtlsim.run_cocotb("saf_bulk", tb="tb_saf_bulk", testcase=f"{test}$", environment={"BULK_KEY": key}, public_depth=1)


# Starting a simulation takes as long as most of these: a few at a time.
@pytest.mark.parametrize("key", ["", "5a" * 32])
def test_bulk_frames_end_and_count_as_on_the_virtual_card(key):
    run("(every_reason_in_its_order|random_frames_as_the_virtual_card)", key)


def test_bulk_every_length_arrives_at_any_address_and_after_a_reset():
    run("(every_length_any_alignment|reset_in_the_middle_leaves_nothing)")


def test_bulk_nothing_waits_at_line_rate():
    run("(large_blocks_leave_at_a_beat_a_cycle|line_rate_of_small_blocks_with_all_else_at_once"
        "|line_rate_of_smallest_frames)")


def test_bulk_lowest_missing_is_found_and_only_what_is_in_ddr_shown():
    run("(lowest_is_found_across_the_bitmap|search_and_frames_meet|settled_means_everything_is_in_ddr"
        "|lowest_never_runs_ahead_of_ddr)")
