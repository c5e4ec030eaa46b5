"""COMMIT in RTL: phases, deadlines, answers."""

from __future__ import annotations

import pytest
import rtlsim

TOP, TB = "saf_commit", "tb_saf_commit"


@pytest.mark.parametrize("testcase", ["ids_|drain_|end_without|another_owner", "every_phase"])
def test_commit_phases_and_answers_agree_with_the_virtual_card(testcase):
    rtlsim.run_cocotb(TOP, tb=TB, testcase=testcase, public_depth=1)
