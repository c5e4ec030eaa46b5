"""Checks of commits, commands and groups on cards of all kinds."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_bench import make_probe

from safhost.conformance.suite import FAIL, NOT_RUN, PASS, Result, choose, run
from safhost.lab.timing import ARRIA10, Timing
from safhost.planting import Planting, planted
from safhost.wire.clauses import CLAUSES

FAMILIES = ("COMMIT", "PHASE", "PRERR", "EPOCH", "EMPTY", "SLOT", "STALE", "ROLE", "KILL", "DEADLINE", "PUSH", "MEMBER")

SIMULATED = Timing(name="simulated", ddr_rate=8_000_000, hash_rate=4_000_000, pr_rate=1_000_000, launch_ns=200_000,
                   freeze_ns=1_000_000)
"""A card as slow as a simulated one."""

BARE = Planting("bare", "safhost.lab.card_session", "SessionUnit._hello",
                "CAPABILITY_PUSH | CAPABILITY_GROUP | CAPABILITY_EMULATED", "0",
                "a real card without push and group commands")


def results_of(*patterns: str, patience: float = 1.0, **config: Any) -> list[Result]:
    probe = make_probe(**config)
    probe.patience = patience
    results = list(run(probe, choose(patterns)))
    probe.wire.close()
    return results


@pytest.mark.parametrize("config", [
    {"timing": ARRIA10}, {"timing": ARRIA10, "suite": 0}, {"timing": SIMULATED, "patience": 3.0},
    {"timing": SIMULATED, "patience": 3.0, "mtu": 9000}, {"image_slots": 2}], ids=str)
def test_right_cards_of_all_kinds_pass(config: dict[str, Any]) -> None:
    results = results_of(*FAMILIES, **config)
    assert [(r.clause, r.came) for r in results if r.verdict == FAIL] == []
    left_out = {r.clause for r in results if r.verdict == NOT_RUN}
    assert left_out == ({"MEMBER-2"} if config.get("suite") == 0 else set())


def test_a_real_card_without_images_is_asked_what_needs_none() -> None:
    with planted(BARE):
        results = results_of(*FAMILIES)
    assert [(r.clause, r.came) for r in results if r.verdict == FAIL] == []
    not_run = {r.clause for r in results if r.verdict == NOT_RUN}
    passed = {r.clause for r in results if r.verdict == PASS}
    assert {r.reason for r in results if r.verdict == NOT_RUN} == {
        "two images made for this card (--image)", "a card with push", "a card with group commands"}
    assert {c for c in not_run if CLAUSES[c].needs != "image"} - passed == {
        c for c in CLAUSES if CLAUSES[c].family in ("PUSH", "MEMBER")}
    assert {"COMMIT-1", "COMMIT-4", "EPOCH-1", "EPOCH-2", "EMPTY-1", "SLOT-1", "STALE-1", "ROLE-1", "KILL-1"} <= passed


def test_the_suites_kernels_leave_nothing_running() -> None:
    probe = make_probe()
    results = list(run(probe, choose(["SLOT", "KILL", "PHASE"])))
    assert {r.verdict for r in results} == {PASS}
    probe.begin()
    assert probe.s.ask_body(0x12).slots_running == 0
    probe.wire.close()
