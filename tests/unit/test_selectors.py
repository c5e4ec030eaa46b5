"""Card selectors: every way of naming cards, and every way of naming them wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safhost.errors import ConfigError
from safhost.selectors import expand_range, select, split_pattern
from safhost.units import Mac


@dataclass(frozen=True)
class Card:
    name: str
    serial: str
    mac: Mac
    mac1: str = ""


CARDS = [
    Card(f"c{i}", f"VC{i:04d}", Mac(0x025AF0000000 + i), f"02:5a:f1:00:00:{i:02x}") for i in range(1, 13)
]
GROUPS = {
    "front": ["c[1-3]"],
    "ends": ["c1", "c12"],
    "both": ["front", "@ends"],
    "c5": ["c6"],
    "loop": ["loop"],
    "broken": ["c99"],
}


def names(pattern: str | list[str]) -> list[str]:
    return [c.name for c in select(pattern, CARDS, GROUPS)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("c3", ["c3"]),
        ("C3", ["c3"]),
        ("vc0003", ["c3"]),
        ("02:5a:f0:00:00:03", ["c3"]),
        ("02-5A-F0-00-00-03", ["c3"]),
        ("02:5a:f1:00:00:03", ["c3"]),
        ("c[1-3]", ["c1", "c2", "c3"]),
        ("c[1,3,5-6]", ["c1", "c3", "c5", "c6"]),
        ("VC[0009-0011]", ["c9", "c10", "c11"]),
        ("c2,c1 c2", ["c2", "c1"]),
        (["c2", "c[2-3]"], ["c2", "c3"]),
        ("front", ["c1", "c2", "c3"]),
        ("both", ["c1", "c2", "c3", "c12"]),
        ("@c5", ["c6"]),
        ("all", [c.name for c in CARDS]),
        ("*", [c.name for c in CARDS]),
    ],
)
def test_select_pattern_gives_cards_in_its_order(pattern: str | list[str], expected: list[str]) -> None:
    assert names(pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "message", "hint"),
    [
        ("c13", "no card is called 'c13'", "did you mean"),
        ("zzz", "no card is called 'zzz'", "cards: c1, c2"),
        ("c[11-13]", "'c13' (in c[11-13])", "did you mean"),
        ("c[3-1]", "backwards", "1-3"),
        ("c[1-", "brackets", "c[1-8]"),
        ("c1]", "brackets", "c[1-8]"),
        ("c[a]", "not a range", "c[1-8]"),
        ("c[1-2][3]", "not a range", "c[1-8]"),
        ("c[1,,2]", "not a number", "3 or 5-8"),
        ("c[1-99999999]", "names more than 65536", "all"),
        ("c5", "a card and a group", "@c5"),
        ("@nogroup", "no group 'nogroup'", "groups: "),
        ("loop", "contains itself", "members"),
        ("broken", "group 'broken': no card is called 'c99'", "did you mean"),
        ("", "no card is selected", "c[1-8]"),
        ([], "no card is selected", "c[1-8]"),
    ],
)
def test_select_bad_pattern_is_an_error(pattern: str | list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        names(pattern)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_select_ambiguous_name_is_an_error_and_serial_decides() -> None:
    twins = [Card("x", "S1", Mac(1)), Card("x", "S2", Mac(2)), Card("S1", "S3", Mac(3))]
    with pytest.raises(ConfigError, match="'x' means 2 cards: S1"):
        select("x", twins)
    with pytest.raises(ConfigError, match="'S1' means 2 cards"):
        select("S1", twins)
    assert [c.serial for c in select("S2", twins)] == ["S2"]


def test_select_no_card_known_points_to_discover() -> None:
    with pytest.raises(ConfigError, match="safhost discover"):
        select("c1", [])


@given(st.sets(st.integers(1, 12), min_size=1))
def test_select_range_of_any_set_gives_exactly_it(numbers: set[int]) -> None:
    body = ",".join(str(n) for n in sorted(numbers))
    assert names(f"c[{body}]") == [f"c{n}" for n in sorted(numbers)]


@given(st.integers(0, 400), st.integers(0, 50), st.integers(1, 4))
def test_expand_range_width_and_count_hold(first: int, extra: int, width: int) -> None:
    text = f"p[{first:0{width}d}-{first + extra:0{width}d}]s"
    found = list(expand_range(text) or ())
    assert len(found) == extra + 1
    assert [int(name[1:-1]) for name in found] == list(range(first, first + extra + 1))


@given(st.text(max_size=30))
def test_select_any_text_is_a_selection_or_a_config_error(pattern: str) -> None:
    found, error = [], None
    try:
        found = select(pattern, CARDS, GROUPS)
    except ConfigError as err:
        error = err
    assert found or (error and error.message and error.hint)


@given(st.lists(st.from_regex(r"[a-z]{1,5}(\[[0-9]{1,2}(,[0-9]{1,2})?\])?", fullmatch=True)))
def test_split_pattern_undoes_join(items: list[str]) -> None:
    assert split_pattern(", ".join(items)) == items
