"""Counters and the register file."""

from __future__ import annotations

import pytest
import rtlsim


@pytest.mark.parametrize("ports", [1, 3])
def test_saf_stats_events_are_all_counted(ports):
    rtlsim.run_cocotb("saf_stats", tb="tb_saf_stats", public_depth=1, parameters={"NumDrop": ports})
