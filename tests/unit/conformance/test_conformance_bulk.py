"""Checks of transfers, verification, repair and reads on cards of all kinds."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_bench import make_probe

from safhost.conformance.broken import ClauseBroken
from safhost.conformance.expect import opened, pattern, sent, want, want_bytes, want_status, written
from safhost.conformance.suite import FAIL, PASS, Result, choose, run
from safhost.lab.timing import ARRIA10, Timing
from safhost.wire.generated import Status

FAMILIES = ("XOPEN", "GROUPID", "MTU", "DATA", "BITMAP", "NACK", "CREDIT", "SEAL", "VERDICT", "REPAIR", "GUARD",
            "ABORT", "CONTEXTS", "CACHE", "READ", "READDONE", "LEAVES")

SIMULATED = Timing(name="simulated", ddr_rate=8_000_000, hash_rate=4_000_000, pr_rate=4_000_000, launch_ns=200_000,
                   freeze_ns=1_000_000)
"""A card as slow as a simulated one."""


def results_of(*patterns: str, patience: float = 1.0, **config: Any) -> list[Result]:
    probe = make_probe(**config)
    probe.patience = patience
    results = list(run(probe, choose(patterns)))
    probe.wire.close()
    return results


@pytest.mark.parametrize("config", [
    {"timing": ARRIA10}, {"timing": ARRIA10, "suite": 0}, {"timing": SIMULATED, "patience": 5.0},
    {"mtu": 9000, "window_blocks": 8}, {"mtu": 2000}, {"mtu": 65535}], ids=str)
def test_right_cards_of_all_kinds_pass(config: dict[str, Any]) -> None:
    results = results_of(*FAMILIES, **config)
    assert [(r.clause, r.came) for r in results if r.verdict != PASS] == []


def test_a_slow_card_is_asked_while_it_verifies() -> None:
    (unasked,) = results_of("VERDICT-3", timing=SIMULATED, patience=5.0)
    assert (unasked.verdict, unasked.came) == (PASS, "2 VERDICTs, ok")
    early = next(r for r in results_of("REPAIR-1", timing=SIMULATED, patience=5.0) if r.check == "invalidate")
    assert (early.verdict, early.came) == (PASS, "missing blocks: [0, 1]")


def test_the_whole_suite_moves_few_bytes() -> None:
    probe, moved = make_probe(), 0
    for check in choose([]):
        (_,) = run(probe, [check])
        moved += probe.wire.recording.held_bytes
    assert moved < 24_000_000


def test_a_card_that_was_slower_than_asked_for_with_patience_1_only_fails() -> None:
    results = results_of("VERDICT", "READ", timing=SIMULATED, patience=0.01)
    assert [r.verdict for r in results if r.verdict not in (PASS, FAIL)] == []
    assert all("broke off" not in r.came for r in results)


def test_what_came_is_said_with_what_was_wanted() -> None:
    probe = make_probe()
    want(probe, "missing", 3, 3)
    assert probe.came == "missing: 3"
    with pytest.raises(ClauseBroken, match="missing: 3, not 4"):
        want(probe, "missing", 3, 4)
    with pytest.raises(ClauseBroken, match="READY busy, not ok"):
        want_status(probe, "READY", Status.BUSY, Status.OK)
    with pytest.raises(ClauseBroken, match="READY status 99, not ok"):
        want_status(probe, "READY", 99, Status.OK)
    with pytest.raises(ClauseBroken, match="DDR: 4 bytes, wrong from byte 2 on"):
        want_bytes(probe, "DDR", b"abxd", b"abcd")
    with pytest.raises(ClauseBroken, match="DDR: 2 bytes, wrong from byte 2 on"):
        want_bytes(probe, "DDR", b"ab", b"abcd")


def test_plain_steps_that_do_not_work_break_the_clause() -> None:
    probe = make_probe()
    probe.begin()
    with pytest.raises(ClauseBroken, match="READY bad_slot"):
        opened(probe.s, pattern(10), kind=1, slot=9)
    with pytest.raises(ClauseBroken, match="VERDICT digest_mismatch"):
        written(probe.s, pattern(10), digest=bytes(32))
    x = sent(probe.s, pattern(1000), block=64)
    assert probe.s.missing(x) == set()
