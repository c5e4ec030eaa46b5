"""The paper's formulas against every cell that it prints, and the models of what the hardware allows."""

from __future__ import annotations

from itertools import pairwise

import pytest

from safhost.bench.paper import constants as printed
from safhost.bench.paper import models, table2, table3


def test_pcie_and_ethernet_give_the_seconds_for_twenty_cards() -> None:
    assert models.pcie_tree_s(20) == pytest.approx(printed.RECONFIGURATION_20_S["pcie_tree"])
    assert models.pcie_s(20) == pytest.approx(printed.RECONFIGURATION_20_S["pcie"])
    assert models.ethernet_s(20) == printed.RECONFIGURATION_20_S["ethernet"]


def test_pcie_sends_over_the_network_only_where_there_is_a_second_host() -> None:
    assert models.pcie_s(1) == 12.3
    assert models.pcie_s(2) == pytest.approx(24.6)
    assert models.pcie_s(3) == pytest.approx(24.6 + 15.67)


def test_broadcast_is_as_much_faster_as_printed() -> None:
    assert round(models.pcie_s(20) / models.ethernet_s(20), 2) == printed.SPEEDUP_20["pcie"]
    assert round(models.pcie_tree_s(20) / models.ethernet_s(20), 2) == printed.SPEEDUP_20["pcie_tree"]


@pytest.mark.parametrize(("mtu", "frames", "frame_bytes"), [(1500, 66_169, 1472 + 40 + 24), (9000, 10_871, 9024)])
def test_broadcast_takes_each_frame_once_with_all_that_is_around_it(mtu: int, frames: int, frame_bytes: int) -> None:
    model = models.broadcast(1, mtu=mtu)
    last_bytes = printed.IMAGE_BYTES - (frames - 1) * (frame_bytes - 64)
    expected_bytes = (frames - 1) * frame_bytes + last_bytes + 64
    assert model.wire_s == pytest.approx(expected_bytes / 1.25e9)
    assert model.pr_s == pytest.approx(0.2435)


def test_broadcast_to_twenty_cards_costs_next_to_nothing_more_than_to_one() -> None:
    one, twenty = models.broadcast(1), models.broadcast(20)
    assert twenty.total_s / one.total_s < 1.001
    assert 0.32 < twenty.total_s < 0.33


def test_prices_follow_from_any_two_rows() -> None:
    for first, second in pairwise(printed.TABLE2):
        assert models.solve_prices(first.cards, first.saf_cost, second.cards, second.saf_cost) == (749.99, 1099.99)


def test_setup_cost_reproduces_every_cell_but_the_slip() -> None:
    assert table2.wrong_cells() == ["row 20: essper_hosts"]


def test_setup_cost_of_the_slip_is_that_of_ten_hosts() -> None:
    slip = printed.TABLE2[-1]
    assert models.setup_cost(20, 10) == slip.essper_cost
    assert models.setup_cost(20, slip.essper_hosts) == slip.noctua_cost


@pytest.mark.parametrize("row", printed.TABLE3, ids=lambda row: f"{row.done_percent}")
def test_hotplug_reproduces_hours_and_energies(row: printed.HotplugRow) -> None:
    done_h = row.done_percent / 10
    assert models.cluster_hours(done_h) == row.cluster_h
    assert models.saf_hours(done_h) == row.saf_h
    assert round(models.reduction_percent(row.cluster_h, row.saf_h), 2) == row.time_reduction
    digits = 3 if row.cluster_kj == 9.792 else 2
    assert round(models.cluster_kilojoules(done_h), digits) == row.cluster_kj
    assert round(models.saf_kilojoules(done_h), 2) == row.saf_kj


@pytest.mark.parametrize("row", printed.TABLE3, ids=lambda row: f"{row.done_percent}")
def test_hotplug_reduction_follows_from_rounded_energies(row: printed.HotplugRow) -> None:
    assert table3.rounding_of(row) is not None
    exact = models.reduction_percent(models.cluster_kilojoules(row.done_percent / 10),
                                     models.saf_kilojoules(row.done_percent / 10))
    assert abs(exact - row.energy_reduction) < 0.05


def test_hotplug_with_waiting_power_for_each_card_does_not_fit() -> None:
    row = printed.TABLE3[4]
    assert round(models.saf_kilojoules(4, printed.ADDED_CARDS), 2) != row.saf_kj


@pytest.mark.parametrize("done_h", [0.0, 1.0, 4.0, 9.0])
def test_energy_of_an_ideal_run_is_that_of_the_table(done_h: float) -> None:
    assert models.run_kilojoules(models.saf_hours(done_h), done_h) == pytest.approx(models.saf_kilojoules(done_h))


def test_ideal_ratio_of_the_papers_case_is_seven_tenths() -> None:
    assert models.ideal_ratio(0.4) == pytest.approx(0.7)
    assert models.ideal_ratio(0.0) == pytest.approx(0.5)
    assert models.ideal_ratio(1.0) == 1.0


@pytest.mark.parametrize("side", [512, 32_768, 131_072])
def test_ptrans_is_link_bound_at_any_size(side: int) -> None:
    rate = models.line_rate_bytes_s(1500)
    one = models.ptrans(side, 1, rate)
    assert one.link_s / one.calc_s == pytest.approx(14.247, abs=0.001)
    twenty = models.ptrans(side, 20, rate)
    assert twenty.link_s == one.link_s
    assert twenty.repetitions_to_balance == pytest.approx(20 * one.repetitions_to_balance)


def test_ptrans_moves_twelve_bytes_an_element() -> None:
    model = models.ptrans(32_768, 1, models.line_rate_bytes_s(9000))
    assert (model.out_bytes + model.back_bytes) / 32_768**2 == 12
    assert model.link_s == model.out_s == pytest.approx(6.92, abs=0.01)


def test_shell_adds_what_the_facts_say() -> None:
    added = {row.name: row.saf - row.default for row in printed.TABLE4}
    assert added["ALMs"] == 5_867
    assert added["registers"] == 14_406
    assert added["block memory bits"] == 1_043_210


@pytest.mark.parametrize("row", printed.TABLE4, ids=lambda row: row.name)
def test_shell_percentages_agree_with_the_device(row: printed.ShellRow) -> None:
    assert int(row.default_printed.replace(",", "")) == row.default
    assert int(row.saf_printed.replace(",", "")) == row.saf
    if row.device is not None and row.default_percent is not None:
        assert round(100 * row.default / row.device) == row.default_percent
        assert round(100 * row.saf / row.device) == row.saf_percent
