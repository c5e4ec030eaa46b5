"""The control unit keeps what the replay window's proof assumes of it: proven, and the proof is seen to fail."""

from __future__ import annotations

import pytest

from tools.rtl.prove import NotProven, prove

TOP = "saf_window_formal"


def test_window_s_user_keeps_its_promises():
    prove(TOP)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "old", "new"), [
    ("saf_ctl.sv", "        if (fresh_i) begin", "        if (1'b1) begin"),
    ("saf_ctl.sv", "if (!suite_i || is_open) begin\n          renew_o", "if (is_open) begin\n          renew_o"),
    ("saf_session.sv", "if (suite_i && !window_busy_i && !fresh_i)", "if (1'b0)"),
    ("saf_session.sv", "if (reply_done_i) state_d = StEnd;", "state_d = StEnd;"),
])
def test_window_s_user_that_breaks_a_promise_is_found(file, old, new):
    with pytest.raises(NotProven, match="proof did fail"):
        prove(TOP, {file: (old, new)}, max_steps=2)
