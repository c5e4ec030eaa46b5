"""FIFO between clocks, replay window, role clamp, PR multiplexer: proven, and each proof is seen to fail."""

from __future__ import annotations

import pytest

from tools.rtl.prove import NotProven, prove


@pytest.mark.parametrize("top", ["saf_fifo_async_formal", pytest.param("saf_replay_formal", marks=pytest.mark.slow),
                                 "saf_role_clamp_formal", "saf_pr_mux_formal"])
def test_unit_s_obligations_are_proven(top):
    prove(top)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "old", "new"), [
    ("saf_fifo_async", "wr_gray_q != (wr_rd_gray ^ {2'b11,", "wr_gray_q != (wr_rd_gray ^ {2'b01,"),
    ("saf_fifo_async", "return value ^ (value >> 1);", "return value;"),
    ("saf_fifo_async", "(!shown_q || rd_ready_i)", "1'b1"),
    ("saf_replay", "&& age[63:IndexBits] == '0 &&", "&& age[63:7] == '0 &&"),
    ("saf_replay", "commit_i && is_newer", "commit_i"),
    ("saf_replay", "!busy_o || (", "busy_o || ("),
    ("saf_role_clamp", "role_addr_i >= RoleBytes", "role_addr_i > RoleBytes"),
    ("saf_role_clamp", "block_i && !port_busy_i && reads_q == '0", "block_i && !port_busy_i"),
    ("saf_pr_mux", "(eth_q || !pcie_active)", "1'b1"),
    ("saf_pr_mux", "!eth_q && pcie_active && pr_ready_i", "pcie_active && pr_ready_i"),
])
def test_unit_s_proof_of_a_wrong_design_fails(unit, old, new):
    with pytest.raises(NotProven, match="proof did fail"):
        prove(f"{unit}_formal", {f"{unit}.sv": (old, new)}, max_steps=2)
