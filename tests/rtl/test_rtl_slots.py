"""Command slots and the kernel interface's host in RTL."""

from __future__ import annotations

import pytest
import rtlsim

TOP, TB = "saf_slots", "tb_saf_slots"
PARAMETERS = {"BusTimeoutCycles": 128}


@pytest.mark.parametrize("testcase", ["launch_|kernels_|second_", "kill_|deadline_|hung_|push_|empty_",
                                      "session_|another_|registers_|reset_"])
def test_slots_run_commands_at_most_once(testcase):
    rtlsim.run_cocotb(TOP, tb=TB, testcase=testcase, parameters=PARAMETERS, public_depth=1)


def test_slots_random_commands_agree_with_the_virtual_card():
    rtlsim.run_cocotb(TOP, tb=TB, testcase="random_", parameters=PARAMETERS, public_depth=1)
