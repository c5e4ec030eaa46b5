"""saf_control beside the virtual card: checks in order, sessions, groups, discovery, replay window, latency."""

from __future__ import annotations

import pytest
import rtlsim

SUITES = pytest.mark.parametrize("suite", [0, 1])


def run(testcase, suite, **environment):
    rtlsim.run_cocotb("saf_control", tb="tb_saf_control", testcase=testcase,
                      environment={"CONTROL_SUITE": str(suite), **environment})


@SUITES
def test_control_sessions_and_payloads_same_as_virtual_card(suite):
    run("every_outcome|payloads", suite)


@SUITES
def test_control_random_frames_same_as_virtual_card(suite):
    run("anything_that_arrives", suite)


@pytest.mark.slow
@SUITES
def test_control_many_random_frames_same_as_virtual_card(suite):
    run("anything_that_arrives", suite, CONTROL_EVENTS="1500")


@SUITES
def test_control_reset_latency_and_solicits(suite):
    run("reset_in_the_middle|answers_come|solicits", suite)


def test_replay_random_sequences_same_as_window():
    rtlsim.run_cocotb("saf_replay", tb="tb_saf_replay")
