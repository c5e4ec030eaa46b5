"""The shell's RTL against the suite that every card has to pass, under a virtual clock in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safhost.cli import main
from safhost.conformance.probe import Probe
from safhost.conformance.selftest import make_rtl
from safhost.conformance.suite import FAIL, NOT_RUN, Check, choose, run
from safhost.lab.rtl_build import build_card_library
from safhost.wire.clauses import CLAUSES

# The first of them compiles the RTL.
pytestmark = pytest.mark.timeout(900)

QUICK = ("FRAME-2", "LENGTH-1", "PADDING-3", "VERSION-1", "SUITE-1", "OPCODE-1", "ETHERTYPE-1", "DIRECTION-1",
         "ANSWER-1", "TAG-5", "REPLAY-1", "SOURCE-3", "DROPS-4", "UNICAST-1", "HELLO-4", "SOLICIT-3", "FIRSTFRAME-2",
         "NONCE-3", "OPEN-5", "CHALLENGE-1", "BUSY-2", "TAKEOVER-1", "GENERATION-2", "ADOPT-4", "SCRUB-3",
         "KEEPALIVE-2", "LEASE-1", "STRANGER-1", "SCLOSE-2", "XOPEN-10", "GROUPID-1", "MTU-1", "DATA-5", "BITMAP-1",
         "NACK-3", "CREDIT-2", "SEAL-1", "VERDICT-4", "REPAIR-4", "GUARD-1", "ABORT-3", "CONTEXTS-1", "CACHE-3",
         "COMMIT-4", "MEMORY-2", "PHASE-1", "PRERR-2", "EPOCH-2", "EMPTY-1", "SLOT-7", "STALE-1", "ROLE-4", "KILL-2",
         "DEADLINE-1", "PUSH-1", "READ-5", "READDONE-1", "LEAVES-2", "REGS-9", "MEMBER-2")
"""One of each family, that takes little: most of the others wait for seconds of the card's time or move megabytes."""


@contextmanager
def probing(variant: str, card_suite: int, mtu: int = 1500) -> Iterator[Probe]:
    probe = make_rtl(build_card_library(variant), card_suite, mtu)
    try:
        yield probe
    finally:
        probe.wire.close()


def assert_all_pass(probe: Probe, checks: list[Check]) -> None:
    results = list(run(probe, checks))
    assert [(r.clause, r.check, r.came) for r in results if r.verdict == FAIL] == []
    left_out = {r.clause for r in results if r.verdict == NOT_RUN}
    assert all(CLAUSES[clause].needs == "key" for clause in left_out)
    assert not left_out or probe.card_key is None
    assert len(results) > len(left_out)


@pytest.mark.parametrize("card_suite", [1, 0])
def test_rtl_shell_passes_clauses_of_all_families(card_suite: int) -> None:
    assert {CLAUSES[clause].family for clause in QUICK} == {CLAUSES[check.clause].family for check in choose([])}
    with probing("one-clock", card_suite) as probe:
        assert_all_pass(probe, choose(QUICK))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("card_suite", "mtu"), [(1, 1500), (0, 1500), (1, 9000)])
def test_rtl_shell_passes_all_clauses(card_suite: int, mtu: int) -> None:
    with probing("one-clock", card_suite, mtu) as probe:
        assert_all_pass(probe, choose([]))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("card_suite", [1, 0])
def test_rtl_shell_with_unrelated_clocks_passes_and_no_assertion_fails(card_suite: int) -> None:
    with probing("four-clocks", card_suite) as probe:
        assert_all_pass(probe, choose([]))


def test_the_command_tries_the_rtl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                   tmp_path: Path) -> None:
    monkeypatch.setenv("SAFHOST_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["conformance", "--rtl", "--clause", "TAG-3", "--clause", "XOPEN-4"])
    out, _ = capsys.readouterr()
    assert not ended.value.code
    lines = out.splitlines()
    assert lines[0] == "card rtl"
    assert {line.split()[0] for line in lines[2:-1]} == {"TAG-3", "XOPEN-4"}
    assert " passed, 0 failed, 0 not run" in lines[-1]


def test_the_command_takes_one_card_in_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["conformance", "--rtl", "--model"])
    assert ended.value.code
    assert "--model and --rtl are two cards" in capsys.readouterr().err
