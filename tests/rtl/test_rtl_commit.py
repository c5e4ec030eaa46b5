"""COMMIT in RTL: phases, deadlines, the way of an image to the PR controller."""

from __future__ import annotations

import pytest
import rtlsim

TOP, TB = "saf_commit", "tb_saf_commit"


@pytest.mark.parametrize("testcase", ["lengths_|ids_|drain_|end_without", "every_phase", "errors_|another_owner",
                                      "reset_|pcie_|feed_keeps"])
def test_commit_phases_and_answers_agree_with_the_virtual_card(testcase):
    rtlsim.run_cocotb(TOP, tb=TB, testcase=testcase, public_depth=1)
