"""DDR of the RTL shell: MEM FIFO, readers, scrub, clamp, against a model of the controller."""

from __future__ import annotations

import pytest
import rtlsim

CLOCKS_PS = {"one_clock": 6400, "200_mhz": 5000, "266_mhz": 3758, "slow": 9002}
"""Periods of the DDR clock; the core's is 6,400 ps."""
ALL_CLOCKS = [name if name in ("one_clock", "266_mhz") else pytest.param(name, marks=pytest.mark.slow)
              for name in CLOCKS_PS]


def run(testcase: str, ddr_ps: int = 5000, **parameters: int) -> None:
    """Run cocotb tests of tb_saf_ddr on saf_ddr and the model."""
    rtlsim.run_cocotb("ddr_bench", tb="tb_saf_ddr", parameters=parameters, testcase=testcase, public_depth=1,
                      environment={"DDR_PS": str(ddr_ps)})


@pytest.mark.parametrize("clock", ALL_CLOCKS)
def test_saf_ddr_writes_land_byte_by_byte(clock):
    run("writes_any_alignment|read_after_done_sees_the_write|reset_in_the_middle", CLOCKS_PS[clock], WaitPercent=30)


@pytest.mark.parametrize("clock", ALL_CLOCKS)
def test_saf_ddr_reads_any_range(clock):
    run("reads_any_alignment|abort_drops_what_is_left", CLOCKS_PS[clock], WaitPercent=30, Pattern=1)


def test_saf_ddr_keeps_line_rate_in_spite_of_refreshes():
    run("writes_at_line_rate")


@pytest.mark.parametrize("clock", ["200_mhz", pytest.param("one_clock", marks=pytest.mark.slow)])
def test_saf_ddr_reads_keep_pace(clock):
    run("feeds_the_pr_controller_without_bubbles|one_reader_gets_a_beat_a_cycle", CLOCKS_PS[clock], Pattern=1)


def test_saf_ddr_role_stays_inside_its_memory():
    run("role_is_kept_inside|role_block_lets_nothing_in", WaitPercent=30)


@pytest.mark.parametrize("clock", ["200_mhz", pytest.param("one_clock", marks=pytest.mark.slow)])
def test_saf_ddr_scrub_zeroes_the_dirty_regions(clock):
    run("scrub_.*", CLOCKS_PS[clock])
