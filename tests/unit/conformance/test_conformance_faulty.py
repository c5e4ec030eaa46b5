"""Cards that are wrong in one place: each must be caught by a clause of the family it is named after."""

from __future__ import annotations

from collections import Counter

import pytest

from safhost.conformance.faulty import FAULTY
from safhost.conformance.selftest import make_model, try_faulty
from safhost.conformance.suite import FAIL, choose, run
from safhost.planting import Planting, planted
from safhost.wire.clauses import CLAUSES


def family_of(planting: Planting) -> str:
    return planting.name.partition(":")[0]


def test_every_family_has_a_faulty_card() -> None:
    wanted = {c.family for c in CLAUSES.values() if c.way == "card"}
    assert {family_of(p) for p in FAULTY} == wanted


def test_faulty_cards_are_many_and_have_names_of_their_own() -> None:
    assert len(FAULTY) >= 100
    assert [name for name, count in Counter(p.name for p in FAULTY).items() if count > 1] == []
    assert all(p.breaks for p in FAULTY)


@pytest.mark.parametrize("planting", FAULTY, ids=lambda p: p.name)
def test_a_faulty_card_is_caught_by_its_family(planting: Planting) -> None:
    caught = try_faulty(planting)
    assert caught.clauses, planting.breaks
    assert {CLAUSES[clause].family for clause in caught.clauses} == {family_of(planting)}


def test_the_card_is_right_again_afterwards() -> None:
    with planted(FAULTY[0]):
        pass
    results = list(run(make_model(), choose([family_of(FAULTY[0])])))
    assert [r.came for r in results if r.verdict == FAIL] == []


@pytest.mark.slow
@pytest.mark.parametrize("planting", FAULTY, ids=lambda p: p.name)
def test_a_faulty_card_fails_the_whole_suite_with_verdicts_alone(planting: Planting) -> None:
    with planted(planting):
        probe = make_model()
        results = list(run(probe, choose([])))
        probe.wire.close()
    failed = {CLAUSES[r.clause].family for r in results if r.verdict == FAIL}
    assert family_of(planting) in failed, planting.breaks
