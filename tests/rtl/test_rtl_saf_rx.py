"""The receive path against the reference's parser, at line rate, and when things break."""

from __future__ import annotations

import rtlsim


def test_saf_rx_frames_are_judged_as_the_reference_does():
    rtlsim.run_cocotb("saf_rx", tb="tb_saf_rx", public_depth=1, testcase="random_and_mutated")


def test_saf_rx_line_rate_loses_nothing():
    rtlsim.run_cocotb("saf_rx", tb="tb_saf_rx", public_depth=1, testcase="lose_nothing|giants")


def test_saf_rx_faults_leave_it_working():
    rtlsim.run_cocotb("saf_rx", tb="tb_saf_rx", public_depth=1,
                      testcase="overflow|frame_ram|full_control|broken|link_down|reset_in")
