"""saf_control beside the virtual card: checks in order, sessions, groups, discovery, replay window, latency."""

from __future__ import annotations

import pytest
import rtlsim


@pytest.mark.parametrize("suite", [0, 1])
def test_control_random_frames_same_as_virtual_card(suite):
    rtlsim.run_cocotb("saf_control", tb="tb_saf_control", testcase="anything_that_arrives",
                      environment={"CONTROL_SUITE": str(suite)})
