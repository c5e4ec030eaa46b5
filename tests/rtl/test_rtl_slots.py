"""Command slots in RTL."""

from __future__ import annotations

import pytest
import rtlsim

TOP, TB = "saf_slots", "tb_saf_slots"
PARAMETERS = {"BusTimeoutCycles": 128}


@pytest.mark.parametrize("testcase", ["kill_|push_|empty_|second_", "session_|another_|reset_"])
def test_slots_run_commands_at_most_once(testcase):
    rtlsim.run_cocotb(TOP, tb=TB, testcase=testcase, parameters=PARAMETERS, public_depth=1)


def test_slots_random_commands_agree_with_the_virtual_card():
    rtlsim.run_cocotb(TOP, tb=TB, testcase="random_", parameters=PARAMETERS, public_depth=1)
