"""The host of the role's kernel interface: launches, ends, hangs, registers."""

from __future__ import annotations

import pytest
import rtlsim

TOP, TB = "saf_slots", "tb_saf_slots"
PARAMETERS = {"BusTimeoutCycles": 128}


@pytest.mark.parametrize("testcase", ["launch_|kernels_", "hung_|registers_|deadline_"])
def test_kernel_host_launches_and_survives_its_role(testcase):
    rtlsim.run_cocotb(TOP, tb=TB, testcase=testcase, parameters=PARAMETERS, public_depth=1)
