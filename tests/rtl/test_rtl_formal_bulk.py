"""No beat leaves for DDR outside what an open transfer allowed: proven, and the proof is seen to fail."""

from __future__ import annotations

import pytest

from tools.rtl.prove import NotProven, prove

TOP = "saf_bulk_formal"


def test_bulk_no_write_outside_an_open_context_is_proven():
    prove(TOP)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "old", "new"), [
    ("saf_bulk_bounds.sv", "{1'b0, bounds.limit} < stop", "bounds.limit < stop[AddrBits-1:0]"),
    ("saf_bulk_bounds.sv", "!(addr_i < bounds.base) && ", ""),
    ("saf_bulk_bounds.sv", "assign ok_o = open_q && ", "assign ok_o = "),
    ("saf_bulk_take.sv", "out_of_bounds ? StSkip : guarded_q", "guarded_q"),
    ("saf_bulk_write.sv", "assign wr_last_o = all_read", "assign wr_last_o = beat_q + 1'b1 == stop"),
])
def test_bulk_proof_of_a_wrong_design_fails(file, old, new):
    with pytest.raises(NotProven, match="proof did fail"):
        prove(TOP, {file: (old, new)}, max_steps=2)
