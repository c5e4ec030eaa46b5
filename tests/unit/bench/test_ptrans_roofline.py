"""What the link allows PTRANS, by hand."""

from __future__ import annotations

import pytest

from safhost.bench.ptrans.problem import Problem
from safhost.bench.ptrans.roofline import LinkRate, roofline, wire_bytes

GIGABIT = LinkRate(125_000_000, "given")


def test_wire_bytes_count_header_preamble_check_and_gap() -> None:
    assert wire_bytes(1472, 1500) == 1472 + 40 + 24
    assert wire_bytes(1473, 1500) == 1473 + 2 * 64
    assert wire_bytes(8960, 9000) == 8960 + 64


def test_out_is_twice_in_and_bounds_the_link() -> None:
    found = roofline(Problem(2048, 512), 1500, GIGABIT)
    assert found.out_s == pytest.approx(2 * found.in_s)
    frames = -(-512 * 512 * 4 // 1472)
    assert found.out_s == pytest.approx(16 * 2 * (512 * 512 * 4 + frames * 64) / 125e6)
    assert (found.bound, found.seconds) == ("link", found.link_s)


def test_kernels_bound_when_they_take_longer() -> None:
    found = roofline(Problem(2048, 512), 1500, GIGABIT, kernels_s=100.0)
    assert (found.bound, found.seconds) == ("kernels", 100.0)
    assert found.to_dict()["link_s"] < 1


def test_ten_gigabit_ethernet_bounds_the_papers_matrix_however_many_cards() -> None:
    ten = LinkRate(1_250_000_000, "10 GbE")
    n = 32768
    one_card_s = 3 * n * n * 4 / 25.6e9  # DDR of one Arria 10
    found = roofline(Problem(n, 512), 1500, ten, one_card_s)
    assert found.bound == "link"
    assert found.seconds == pytest.approx(n * n * 8 / 1.25e9, rel=0.05)
