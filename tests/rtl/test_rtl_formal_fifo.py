"""FIFOs lose nothing and keep order: proven, and the proof is seen to fail."""

from __future__ import annotations

import pytest

from tools.rtl.prove import NotProven, prove

TOP = "saf_fifo_formal"


def test_fifo_order_is_proven():
    prove(TOP)


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), [
    ("rd_addr_q <= rd_addr_q == LastAddr", "rd_addr_q <= rd_addr_q == 1"),
    ("count_q > CountWidth'(shown_q) &&", "count_q != '0 &&"),
])
def test_fifo_proof_of_a_wrong_design_fails(old, new):
    with pytest.raises(NotProven, match="proof did fail"):
        prove(TOP, {"saf_fifo_sync.sv": (old, new)}, max_steps=2)
