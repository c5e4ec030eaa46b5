"""The runner of the RTL's tests: what passes passes, what fails is seen."""

from __future__ import annotations

import pytest
import rtlsim

TOP, TB = "runner_probe", "tb_runner_probe"


def test_run_cocotb_good_module_passes():
    rtlsim.run_cocotb(TOP, tb=TB)


def test_run_cocotb_failing_test_is_named():
    with pytest.raises(AssertionError, match="counts_cycles failed"):
        rtlsim.run_cocotb(TOP, tb=TB, environment={"PROBE_EXPECTED": "7"})


def test_run_cocotb_broken_assertion_fails():
    with pytest.raises(AssertionError, match="count reached its limit"):
        rtlsim.run_cocotb(TOP, tb=TB, parameters={"Limit": 5})


def test_run_cocotb_missing_test_module_fails():
    with pytest.raises(AssertionError, match="no cocotb test of tb_absent finished"):
        rtlsim.run_cocotb(TOP, tb="tb_absent")


def test_build_module_that_does_not_compile_says_so():
    with pytest.raises(AssertionError, match="no source no_such_module"):
        rtlsim.build("no_such_module")


def test_build_same_content_is_used_again():
    assert rtlsim.build(TOP) == rtlsim.build(TOP)
    assert rtlsim.build(TOP) != rtlsim.build(TOP, parameters={"Limit": 5})
