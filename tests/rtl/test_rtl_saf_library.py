"""FIFOs, RAMs, crossings and the timebase of the RTL library."""

from __future__ import annotations

import pytest
import rtlsim


def slow(*values):
    """More of the same."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(("width", "depth"), [(1, 2), (9, 5), (33, 65), slow(64, 64), slow(12, 100)])
def test_saf_fifo_sync_traffic_keeps_order(width, depth):
    rtlsim.run_cocotb("saf_fifo_sync", tb="tb_saf_fifo_sync", parameters={"Width": width, "Depth": depth})


@pytest.mark.parametrize(("write_ps", "read_ps"),
                         [(6400, 3750), (10000, 1502), slow(6400, 6400), slow(6400, 10000), slow(1998, 6400)])
def test_saf_fifo_async_unrelated_clocks_keep_order(write_ps, read_ps):
    rtlsim.run_cocotb("saf_fifo_async", tb="tb_saf_fifo_async", parameters={"Width": 20, "Depth": 8},
                      environment={"WR_PS": str(write_ps), "RD_PS": str(read_ps)})


def test_saf_fifo_async_smallest_depth_keeps_order():
    rtlsim.run_cocotb("saf_fifo_async", tb="tb_saf_fifo_async", parameters={"Width": 1, "Depth": 4})


@pytest.mark.parametrize("depth", [2, 24])
def test_saf_ram_1r1w_collision_gives_the_old_word(depth):
    rtlsim.run_cocotb("saf_ram_1r1w", tb="tb_saf_ram_1r1w", parameters={"Width": 11, "Depth": depth})


@pytest.mark.parametrize(("source_ps", "target_ps"),
                         [(6400, 10000), (1500, 10006), slow(6400, 6400), slow(10000, 3750)])
def test_saf_crossings_unrelated_clocks_lose_nothing(source_ps, target_ps):
    rtlsim.run_cocotb("crossings_probe", tb="tb_saf_crossings",
                      environment={"SRC_PS": str(source_ps), "DST_PS": str(target_ps)})


@pytest.mark.parametrize("period_ps", [6400, 3333, slow(5000), slow(999)])
def test_saf_timebase_counts_exactly(period_ps):
    rtlsim.run_cocotb("saf_timebase", tb="tb_saf_timebase", parameters={"PeriodPs": period_ps})
