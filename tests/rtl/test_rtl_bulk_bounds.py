"""saf_bulk_bounds: the last word on where a block may be written."""

from __future__ import annotations

import rtlsim


def test_bounds_only_what_lies_inside_an_open_context_is_ok():
    rtlsim.run_cocotb("saf_bulk_bounds", tb="tb_saf_bulk_bounds")
