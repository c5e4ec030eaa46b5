"""Runs spin: generates the verifier, compiles it, searches, and makes a counterexample readable."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.modelcheck.configurations import Search

MODEL = Path(__file__).resolve().parents[2] / "protocols" / "model"
DEPTH_STEPS = 1_000_000
MEMORY_KIB = 6 << 20
HASH_BITS, HASH_BITS_SLOW = 20, 24
TIMEOUT_S, TIMEOUT_SLOW_S = 120, 600
PROGRAMS = ("spin", "gcc", "sh")
_BROKEN_OFF = ("max search depth too small", "Search not completed", "out of memory", "reached -DMEMLIM",
               "hash conflicts: too many", "VECTORSZ is too small")
_STEP = re.compile(r"^\s+((?:(?:card|host)[ \d]*:|VIOLATED|<<<<<START OF CYCLE).*)$")


class SpinError(Exception):
    """spin or gcc did not do their work; the message says which, and what they said."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found. ``violated`` names a property, empty when none failed; ``truncated`` says why the search
    did not see everything (a search that found a counterexample stops, and is not truncated)."""

    name: str
    expect: str
    violated: str
    truncated: str
    states: int
    depth_steps: int
    memory_mib: float
    seconds: float
    story: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """A good configuration was searched to its end without violation; a broken one failed as it must."""
        return self.violated == self.expect and (bool(self.violated) or not self.truncated)

    @property
    def result(self) -> str:
        """In words."""
        if self.violated:
            return f"{self.violated} fails" + ("" if self.passed else
                                               f", expected {self.expect}" if self.expect else "")
        return f"not exhaustive: {self.truncated}" if self.truncated else "all states, nothing fails"

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self) | {"passed": self.passed, "exhaustive": not self.truncated and not self.violated}


def missing_programs() -> list[str]:
    """What has to be installed first."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def run(search: Search, model: Path = MODEL, depth_steps: int = DEPTH_STEPS) -> Outcome:
    """Search one configuration in a temporary folder. Raises SpinError when spin or gcc fail."""
    with tempfile.TemporaryDirectory(prefix="safhost-model-") as name:
        folder = Path(name)
        for source in model.glob("*.pml"):
            shutil.copy(source, folder)
        started = time.monotonic()
        _build(search, folder)
        bits = HASH_BITS_SLOW if search.slow else HASH_BITS
        options = f"-m{depth_steps} -w{bits}" + (" -a" if search.progress else "")
        try:
            done = subprocess.run(["sh", "-c", f"ulimit -v {MEMORY_KIB}; exec ./pan {options}"], cwd=folder, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                                  timeout=TIMEOUT_SLOW_S if search.slow else TIMEOUT_S)
            text, late = done.stdout, ""
        except subprocess.TimeoutExpired as error:
            text, late = (error.stdout or b"").decode() if isinstance(error.stdout, bytes) else "", "took too long"
        seconds = time.monotonic() - started
        story: tuple[str, ...] = ()
        violated = ""
        if (folder / "saf.pml.trail").exists():
            story = _story(search, folder)
            violated = _violated(text, story)
        return Outcome(search.name, search.expect, violated, late or ("" if violated else _truncation(text)),
                       int(_number(r"([\d.e+]+) states, stored", text)), int(_number(r"depth reached (\d+)", text)),
                       _number(r"([\d.]+)\s+total actual memory", text), round(seconds, 1), story)


def _build(search: Search, folder: Path) -> None:
    _call(["spin", *search.defines, "-a", "saf.pml"], folder)
    mode = [] if search.progress else ["-DSAFETY"]
    mode += ["-DBFS"] if search.breadth_first else []
    # short searches take less time than an optimiser does
    level = "-O2" if search.slow else "-O1" if not search.expect else "-O0"
    _call(["gcc", level, "-w", "-DNOREDUCE", "-DVECTORSZ=2048", *mode, "-o", "pan", "pan.c"], folder)


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          timeout=TIMEOUT_S)
    if done.returncode:
        raise SpinError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
    return done.stdout


def _story(search: Search, folder: Path) -> tuple[str, ...]:
    """The counterexample: what cards and hosts did, in order."""
    text = _call(["spin", *search.defines, "-t", "saf.pml"], folder)
    return tuple(match.group(1) for line in text.splitlines() if (match := _STEP.match(line)))


def _violated(text: str, story: tuple[str, ...]) -> str:
    for line in story:
        if line.startswith("VIOLATED "):
            return line.split()[1]
    if "acceptance cycle" in text:
        return "progress"
    found = re.search(r"^pan:\d+: (.*?) \(at depth", text, re.MULTILINE)
    return found.group(1) if found else "unknown"


def _truncation(text: str) -> str:
    for sign in _BROKEN_OFF:
        if sign in text:
            return sign
    return "" if "Full statespace search" in text and "total actual memory" in text else "spin gave no result"


def _number(pattern: str, text: str) -> float:
    found = re.findall(pattern, text)
    return float(found[-1]) if found else 0.0
