"""saf_xfer_ctl against the virtual card's own TransferUnit, a test of its cocotb part each."""

from __future__ import annotations

import pytest
import rtlsim


def run(test: str, key: str = "") -> None:
    rtlsim.run_cocotb("saf_xfer_ctl", tb="tb_saf_xfer_ctl", testcase=f"{test}$", environment={"XFER_KEY": key},
                      public_depth=1)


@pytest.mark.parametrize("key", ["", "yes"])
def test_xfer_open_every_wrong_field_has_its_status(key):
    run("every_wrong_field_has_its_status", key)


def test_xfer_every_length_is_verified():
    run("every_length_is_verified")


def test_xfer_wrong_content_is_found_and_repaired():
    run("wrong_content_is_found_and_repaired")


def test_xfer_poll_gives_the_bitmap_of_every_section():
    run("bitmaps_of_every_section")


def test_xfer_contexts_and_the_memory_of_outcomes():
    run("contexts_and_the_memory_of_outcomes")


def test_xfer_image_slots_are_kept_found_and_replaced():
    run("image_slots")


def test_xfer_leaf_jobs_overtaken_by_repair_and_abort_do_not_count():
    run("leaf_jobs_overtaken_by_repair_and_abort")


def test_xfer_endless_stream_is_hashed_meanwhile():
    run("a_stream_without_a_pause_is_hashed_meanwhile")


def test_xfer_data_that_came_before_is_waited_for():
    run("earlier_data_is_waited_for")


def test_xfer_forget_leaves_nothing():
    run("a_new_owner_finds_nothing")


def test_xfer_open_waits_for_the_scrub():
    run("a_new_transfer_waits_for_the_scrub")


def test_xfer_session_end_drops_the_verdict():
    run("a_session_s_end_drops_the_verdict_that_was_due")


def test_xfer_random_operations_end_as_on_the_virtual_card():
    run("random_operations_as_the_virtual_card")


def test_xfer_reset_in_the_midst_starts_anew():
    run("reset_in_the_midst_starts_anew")
