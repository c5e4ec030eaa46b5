"""Names and addresses of cards, and how they are chosen."""

from __future__ import annotations

import pytest

from safhost.errors import ConfigError
from safhost.lab.topology import CHASSIS_MAC, HOST_MAC, card_mac, card_number, card_serial, select_cards
from safhost.units import Mac


def test_card_identity_is_fixed_and_local() -> None:
    assert card_serial(3) == "VC0003"
    assert str(card_mac(1)) == "02:5a:f0:00:00:01"
    assert str(card_mac(1000, 1)) == "02:5a:f0:01:03:e8"
    assert card_number(card_mac(1000)) == 1000
    for mac in (HOST_MAC, CHASSIS_MAC, card_mac(1, 1), Mac(0), Mac.parse("02:5a:f0:00:00:00")):
        assert card_number(mac) is None
        assert not mac.is_multicast


@pytest.mark.parametrize(("patterns", "numbers"), [
    (["VC0003"], [3]), (["vc3", "c1"], [1, 3]), (["4"], [4]), (["c[2-4]"], [2, 3, 4]),
    (["VC[0002-0003]"], [2, 3]), (["02:5a:f0:00:00:05"], [5]), (["all"], [1, 2, 3, 4, 5]),
    (["c2", "c2"], [2]),
])
def test_patterns_choose_cards(patterns: list[str], numbers: list[int]) -> None:
    assert select_cards(patterns, range(1, 6)) == numbers


@pytest.mark.parametrize("pattern", ["c9", "c[4-6]", "VCx", "", "02:5a:f0:ff:00:01", "c[3-1]",
                                     "c[1-99999999999]"])
def test_unknown_card_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="there is no card"):
        select_cards([pattern], range(1, 6))
