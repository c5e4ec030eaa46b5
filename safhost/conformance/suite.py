"""Checks by clause, and what becomes of them.

A check is a function of a `Probe`, registered with ``@check("XOPEN-3")``. The first line of its docstring says what it
sends. It notes what came, returns when the card does what the clause demands, and raises `ClauseBroken` when it does
not. Every check begins with a session of a new owner, who takes the card over, so that none depends on another.

Verdicts: ``pass``; ``fail``; ``not run`` with what would be needed. A check that crashes fails with the reason. On a
link that may lose frames (``repeat``) a failed check is tried again, and the majority of three decides.
"""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safhost.conformance.broken import ClauseBroken, NotRun
from safhost.conformance.probe import Probe
from safhost.errors import ConfigError, SafError
from safhost.wire.clauses import CLAUSES, FAMILIES

CheckFunction = Callable[[Probe], None]

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"

NEEDS = {"key": "a card with a key", "image": "images (--image)",
         "reboot": "a way to reboot the card (--reboot-command)",
         "replug": "a way to replug its cable (--replug-command)"}


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one clause. ``sends``: the first line of its docstring."""

    clause: str
    name: str
    function: CheckFunction
    needs: str
    sends: str


_CHECKS: dict[str, list[Check]] = {}


def check(clause: str, *more: str, needs: str = "") -> Callable[[CheckFunction], CheckFunction]:
    """Register a check of ``clause`` (and of ``more``, which it proves in the same breath).

    ``needs``: by default what the clause says. Raises ConfigError for a clause that does not exist.
    """
    def register(function: CheckFunction) -> CheckFunction:
        doc = (function.__doc__ or "").strip().splitlines()
        if not doc:
            raise ConfigError(f"check {function.__name__} has no docstring", "its first line says what is sent")
        for name in (clause, *more):
            if name not in CLAUSES:
                raise ConfigError(f"check {function.__name__}: no clause {name}", "see docs/protocol-reference.md")
            _CHECKS.setdefault(name, []).append(
                Check(name, function.__name__, function, needs or CLAUSES[name].needs, doc[0].rstrip(".")))
        return function
    return register


def all_checks() -> dict[str, list[Check]]:
    """Checks by clause, in the order of the clauses; loads the modules of `safhost.conformance.checks`."""
    package = importlib.import_module("safhost.conformance.checks")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return {clause: _CHECKS[clause] for clause in CLAUSES if clause in _CHECKS}


def choose(patterns: Iterable[str]) -> list[Check]:
    """Checks whose clause or family fits one of ``patterns`` (``XOPEN``, ``XOPEN-3``, ``X*``); all without patterns.

    Raises ConfigError for a pattern that fits nothing.
    """
    checks = [c for group in all_checks().values() for c in group]
    wanted = [p.upper() for p in patterns]
    if not wanted:
        return checks
    for pattern in wanted:
        if not any(_fits(name, pattern) for name in CLAUSES):
            raise ConfigError(f"no clause fits {pattern}", f"families: {', '.join(FAMILIES)}")
    return [c for c in checks if any(_fits(c.clause, p) for p in wanted)]


def _fits(clause: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(clause, pattern) or fnmatch.fnmatchcase(CLAUSES[clause].family, pattern)


@dataclass(slots=True)
class Result:
    """What became of one check. ``sent`` and ``came`` are for the table; ``reason`` says why it was not run."""

    clause: str
    check: str
    verdict: str
    sent: str
    came: str
    reason: str = ""
    seconds: float = 0.0
    runs: int = 1
    pcap: str = ""

    def to_dict(self) -> dict[str, object]:
        out: dict[str, object] = {name: getattr(self, name) for name in ("clause", "check", "verdict", "sent", "came")}
        out["seconds"] = round(self.seconds, 6)
        for name in ("reason", "pcap"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        if self.runs > 1:
            out["runs"] = self.runs
        return out


@dataclass(slots=True)
class Report:
    """All results of one card."""

    card: str
    results: list[Result] = field(default_factory=list)

    def of(self, verdict: str) -> list[Result]:
        return [r for r in self.results if r.verdict == verdict]

    @property
    def passed(self) -> bool:
        """Nothing failed (what was not run says so itself)."""
        return not self.of(FAIL)


def run(probe: Probe, checks: Sequence[Check], *, repeat: bool = False,
        pcap_dir: Path | None = None) -> Iterator[Result]:
    """Run checks one after the other, each result as it is there.

    ``repeat``: the link may lose frames. ``pcap_dir``: where the frames of failed checks are kept. Raises LinkError
    when the link itself fails.
    """
    for one in checks:
        yield _judge(probe, one, repeat, pcap_dir)


def _judge(probe: Probe, one: Check, repeat: bool, pcap_dir: Path | None) -> Result:
    missing = _missing(probe, one.needs)
    if missing:
        return Result(one.clause, one.name, NOT_RUN, one.sends, "", missing)
    start_ns = probe.now_ns()
    outcomes: list[Result] = []
    while len(outcomes) < (3 if repeat else 1):
        result = _once(probe, one)
        outcomes.append(result)
        if result.verdict == FAIL:
            if pcap_dir is not None:
                path = pcap_dir / f"{one.clause}_{one.name}.pcap"
                pcap_dir.mkdir(parents=True, exist_ok=True)
                probe.wire.recording.write_pcap(path)
                result.pcap = str(path)
        elif len(outcomes) == 1:
            break
        same = [r for r in outcomes if r.verdict == result.verdict]
        if len(same) > 1:
            break
    result = outcomes[-1]
    if result.verdict != FAIL:
        result.pcap = ""
    result.runs = len(outcomes)
    result.seconds = (probe.now_ns() - start_ns) / 1e9
    return result


def _once(probe: Probe, one: Check) -> Result:
    probe.wire.recording.clear()
    result = Result(one.clause, one.name, PASS, one.sends, "")
    try:
        probe.begin()
        one.function(probe)
        result.came = probe.came or "as demanded"
    except ClauseBroken as broken:
        result.verdict, result.came = FAIL, broken.came
    except NotRun as why:
        result.verdict, result.reason = NOT_RUN, why.needs
    except SafError:
        raise
    except Exception as error:  # a check that stumbles over what the card sent: the card's fault or ours, no traceback
        result.verdict, result.came = FAIL, f"the check broke off: {type(error).__name__}: {error}"
    result.sent = probe.sent or one.sends
    return result


def _missing(probe: Probe, needs: str) -> str:
    if needs == "key" and probe.card_key is None:
        return NEEDS["key"]
    if needs == "reboot" and probe.wire.reboot is None:
        return NEEDS["reboot"]
    if needs == "replug" and probe.wire.replug is None:
        return NEEDS["replug"]
    return ""
