"""The suite as a whole: every clause has a check, a right card passes, and what goes wrong ends in a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance_bench import make_probe

from safhost.conformance import suite
from safhost.conformance.broken import ClauseBroken, NotRun
from safhost.conformance.probe import Probe
from safhost.conformance.suite import FAIL, NOT_RUN, PASS, Check, choose, run
from safhost.errors import ConfigError
from safhost.link.pcap import read_pcap
from safhost.wire.clauses import CLAUSES, FAMILIES


def made_up(function: suite.CheckFunction, needs: str = "nothing") -> Check:
    return Check("FRAME-1", function.__name__, function, needs, "something")


def judged(function: suite.CheckFunction, probe: Probe | None = None, needs: str = "nothing",
           **options: object) -> suite.Result:
    (result,) = run(probe or make_probe(), [made_up(function, needs)], **options)  # type: ignore[arg-type]
    return result


def test_every_clause_of_a_card_has_a_check() -> None:
    checked = suite.all_checks()
    assert [c.id for c in CLAUSES.values() if c.way == "card" and c.id not in checked] == []


def test_every_check_says_what_it_sends() -> None:
    assert all(c.sends and not c.sends.endswith(".") for c in choose([]))


def test_clauses_are_many_and_of_many_families() -> None:
    assert len(FAMILIES) >= 40
    assert len([c for c in CLAUSES.values() if c.way == "card"]) >= 120
    assert {c.family for c in CLAUSES.values()} == set(FAMILIES)


@pytest.mark.parametrize(("card_suite", "mtu"), [(1, 1500), (1, 9000), (0, 1500), (0, 9000)])
def test_the_card_model_passes_all_clauses(card_suite: int, mtu: int) -> None:
    results = list(run(make_probe(card_suite, mtu), choose([])))
    assert [(r.clause, r.came) for r in results if r.verdict == FAIL] == []
    left_out = {r.clause for r in results if r.verdict == NOT_RUN}
    assert all(CLAUSES[clause].needs == "key" for clause in left_out)
    assert not left_out or not card_suite


@pytest.mark.parametrize("config", [{"image_slots": 1}, {"window_blocks": 8}, {"ddr_bytes": 4 << 20}])
def test_unusual_cards_pass_all_clauses(config: dict[str, int]) -> None:
    results = list(run(make_probe(1, **config), choose([])))
    assert [(r.clause, r.came) for r in results if r.verdict == FAIL] == []


def test_results_are_the_same_in_any_order() -> None:
    probe = make_probe()
    results = list(run(probe, list(reversed(choose(["OPEN", "SCRUB", "BITMAP", "LEASE"])))))
    assert {r.verdict for r in results} == {PASS}


def test_a_broken_clause_fails_and_its_frames_are_kept(tmp_path: Path) -> None:
    def breaks(p: Probe) -> None:
        p.s.ask(0x12)
        raise ClauseBroken("something else came")

    result = judged(breaks, pcap_dir=tmp_path / "kept")
    assert (result.verdict, result.came) == (FAIL, "something else came")
    frames, times_ns = read_pcap(result.pcap)
    assert [f[15] for f in frames[-2:]] == [0x12, 0x92]
    assert times_ns == sorted(times_ns)


def test_a_check_that_passes_keeps_no_frames(tmp_path: Path) -> None:
    assert judged(lambda p: None, pcap_dir=tmp_path).verdict == PASS
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_crashes_fails_with_the_reason() -> None:
    def stumbles(p: Probe) -> None:
        _ = bytes(3)[7]

    result = judged(stumbles)
    assert result.verdict == FAIL
    assert "IndexError" in result.came


def test_a_check_may_say_that_it_makes_no_sense() -> None:
    def declines(p: Probe) -> None:
        raise NotRun("a card with wings")

    result = judged(declines)
    assert (result.verdict, result.reason) == (NOT_RUN, "a card with wings")


@pytest.mark.parametrize("needs", ["reboot", "replug"])
def test_a_check_without_its_hook_is_not_run(needs: str) -> None:
    probe = make_probe()
    probe.wire._port.reboot = probe.wire._port.replug = None  # type: ignore[attr-defined]
    result = judged(lambda p: None, probe, needs)
    assert result.verdict == NOT_RUN
    assert needs in result.reason


@pytest.mark.parametrize(("outcomes", "verdict", "runs"), [
    ("p", PASS, 1), ("fpp", PASS, 3), ("ff", FAIL, 2), ("fpf", FAIL, 3)])
def test_on_a_link_that_loses_frames_the_majority_decides(outcomes: str, verdict: str, runs: int,
                                                          tmp_path: Path) -> None:
    left = list(outcomes)

    def changes(p: Probe) -> None:
        if left.pop(0) == "f":
            raise ClauseBroken("no")

    result = judged(changes, repeat=True, pcap_dir=tmp_path)
    assert (result.verdict, result.runs, left) == (verdict, runs, [])
    assert bool(result.pcap) == (verdict == FAIL)


def test_patterns_choose_clauses() -> None:
    assert {c.clause for c in choose(["xopen-3", "SEAL"])} == {"XOPEN-3", "SEAL-1", "SEAL-2"}
    assert {CLAUSES[c.clause].family for c in choose(["S*"])} >= {"SEAL", "SLOT", "SCRUB"}
    with pytest.raises(ConfigError, match="no clause fits XOPN"):
        choose(["XOPN"])


def test_a_check_of_an_unknown_clause_is_refused() -> None:
    def something(p: Probe) -> None:
        """Nothing."""

    with pytest.raises(ConfigError, match="no clause FRAME-99"):
        suite.check("FRAME-99")(something)
    something.__doc__ = None
    with pytest.raises(ConfigError, match="no docstring"):
        suite.check("FRAME-1")(something)
