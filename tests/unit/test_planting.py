"""Planted bugs: they are there inside the block, gone after it, and never silently missing."""

from __future__ import annotations

import pytest

from safhost import units
from safhost.planting import Planting, PlantingError, planted
from safhost.units import Mac, parse_bytes
from safhost.wire.generated import COMMAND_SLOTS

MULTICAST = Planting("no-multicast", "safhost.units", "Mac.is_multicast", "return", "return not", "unicast is a group")


def test_a_planted_bug_is_there_and_then_gone():
    mac = Mac.parse("02:00:00:00:00:01")
    assert not mac.is_multicast
    with planted(MULTICAST):
        assert mac.is_multicast
    assert not mac.is_multicast


def test_an_error_inside_takes_the_bug_out_too():
    before = vars(units.Mac)["is_multicast"]
    with pytest.raises(ZeroDivisionError), planted(MULTICAST):
        raise ZeroDivisionError
    assert vars(units.Mac)["is_multicast"] is before


@pytest.mark.parametrize(("function", "old", "said"), [
    ("Mac.is_multicast", "not in the source", "occurs 0 times"),
    ("Mac.gone", "return", "no Mac.gone"),
    ("Gone.gone", "return", "no Gone.gone"),
    ("Mac", "return", "not a plain function"),
])
def test_what_does_not_fit_is_an_error(function, old, said):
    with pytest.raises(PlantingError, match=said), planted(
            Planting("x", "safhost.units", function, old, "", "")):
        pass
    assert parse_bytes("1KB") == 1000
    assert COMMAND_SLOTS == 8


def test_modules_that_imported_the_function_by_name_have_the_bug_too():
    from safhost.lab import card_group
    from safhost.wire import codec

    with planted(Planting("p", "safhost.wire.codec", "padded", "length + 7", "length + 15", "frames are too long")):
        assert (codec.padded(8), card_group.padded(8)) == (16, 16)
    assert (codec.padded(8), card_group.padded(8)) == (8, 8)
