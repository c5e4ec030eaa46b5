"""saf_read against the virtual card's ReadUnit: what is refused, what is sent, in which order, at which pace."""

from __future__ import annotations

import pytest
import rtlsim


# Starting a simulation takes as long as most of these: a few at a time.
@pytest.mark.parametrize("testcase", [
    "ddr_any_length_and_part", "refusals_as_the_virtual_card|registers_and_leaves_byte_by_byte",
    "queue_keeps_order_and_says_busy|frames_keep_their_gap|push_.*|session_end_stops_at_once|reset_in_the_middle"])
def test_saf_read(testcase):
    rtlsim.run_cocotb("read_bench", tb="tb_saf_read", testcase=testcase, public_depth=1)
