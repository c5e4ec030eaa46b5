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


# Starting a simulation takes as long as most of these: a few at a time.
@pytest.mark.parametrize("tests", [
    "every_length_is_verified|bitmaps_of_every_section|contexts_and_the_memory_of_outcomes|image_slots",
    "wrong_content_is_found_and_repaired|leaf_jobs_overtaken_by_repair_and_abort",
    "a_stream_without_a_pause_is_hashed_meanwhile|earlier_data_is_waited_for|a_new_transfer_waits_for_the_scrub",
    "a_new_owner_finds_nothing|a_session_s_end_drops_the_verdict_that_was_due|reset_in_the_midst_starts_anew",
    "random_operations_as_the_virtual_card"])
def test_xfer_ctl(tests):
    run(f"({tests})")
