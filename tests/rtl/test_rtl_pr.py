"""The way of an image to the PR controller: words, pace, errors, who may use it."""

from __future__ import annotations

import pytest
import rtlsim

TOP, TB = "saf_commit", "tb_saf_commit"


@pytest.mark.parametrize("testcase", ["lengths_|pcie_|reset_", "errors_|feed_keeps"])
def test_pr_gets_every_word_once_and_keeps_nothing_of_a_failed_image(testcase):
    rtlsim.run_cocotb(TOP, tb=TB, testcase=testcase, public_depth=1)
