"""A slot runs one command at a time, each at most once, none during a COMMIT: proven, and the proof is seen to fail."""

from __future__ import annotations

import pytest

from tools.rtl.prove import NotProven, prove
from tools.rtl.yosys import RTL

TOP = "saf_slots_formal"


def test_slot_logic_is_proven():
    prove(TOP)


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), [
    ("|| commit_active_i ||", "||"),
    ("known && req_i.index == newest_i", "1'b0"),
    ("running_i & ~(pushing_i", "running_i & ~(1'b0"),
    ("if (queued_i[scan_slot] && !reset_i", "if (launched_i[scan_slot] && !reset_i"),
    ("default: set = state_i == SqFinish;", "default: set = 1'b0;"),
])
def test_slot_proof_of_a_wrong_design_fails(old, new):
    file = next(path.name for path in sorted(RTL.glob("saf_slots*.sv")) if old in path.read_text())
    with pytest.raises(NotProven, match="proof did fail"):
        prove(TOP, {file: (old, new)}, max_steps=2)
