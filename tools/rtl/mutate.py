"""Do the tests notice when the RTL is wrong? `python -m tools.rtl.mutate --count 100 --seed 1`.

Makes one small fault at a time (an operator, a branch, a register that is no longer written), in a copy of the RTL, and
runs the tests of the unit that the file belongs to, then those of the whole shell, until one fails. Which faults are
made follows from the seed and the files alone. A fault that does not compile is replaced by another.

The report names every survivor. Exit code 0: all were killed or are explained in ``survivors.txt``; 1: some were not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from pyslang import syntax

ROOT = Path(__file__).resolve().parents[2]
RTL = ROOT / "shell_rtl" / "rtl"
EXPLAINED = Path(__file__).with_name("survivors.txt")
"""Survivors that are no fault: one a line, `file:line: what` and why, found by its text."""

TIMEOUT_S = 420
WHOLE = ("test_rtl_shell.py",)
"""Tests of the whole shell, for what a unit's own tests let pass."""

_K = syntax.SyntaxKind
_OPERATORS: dict[object, tuple[str, str]] = {
    _K.EqualityExpression: ("==", "!="), _K.InequalityExpression: ("!=", "=="),
    _K.LessThanExpression: ("<", "<="), _K.LessThanEqualExpression: ("<=", "<"),
    _K.GreaterThanExpression: (">", ">="), _K.GreaterThanEqualExpression: (">=", ">"),
    _K.LogicalAndExpression: ("&&", "||"), _K.LogicalOrExpression: ("||", "&&"),
    _K.BinaryAndExpression: ("&", "|"), _K.BinaryOrExpression: ("|", "&"), _K.BinaryXorExpression: ("^", "|"),
    _K.AddExpression: ("+", "-"), _K.SubtractExpression: ("-", "+"),
}
_REMOVED = {_K.UnaryLogicalNotExpression: "!", _K.UnaryBitwiseNotExpression: "~"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: bytes ``start`` to ``end`` of ``file`` become ``text``."""

    file: str
    line: int
    start: int
    end: int
    text: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def candidates(path: Path) -> list[Mutant]:
    """Every fault that can be made in a file."""
    source = path.read_bytes().decode()
    tree = syntax.SyntaxTree.fromText(source, path.name)
    found: list[Mutant] = []

    def add(start: int, end: int, text: str, what: str) -> None:
        line = source.count("\n", 0, start) + 1
        found.append(Mutant(path.name, line, start, end, text, what))

    def visit(node: object) -> None:
        kind = getattr(node, "kind", None)
        if kind in _OPERATORS:
            old, new = _OPERATORS[kind]
            span = node.operatorToken.range
            if source[span.start.offset:span.end.offset] == old:  # else inside a macro
                add(span.start.offset, span.end.offset, new, f"{old} became {new}")
        elif kind in _REMOVED:
            span = node.operatorToken.range
            if source[span.start.offset:span.end.offset] == _REMOVED[kind]:
                add(span.start.offset, span.end.offset, "", f"{_REMOVED[kind]} left out")
        elif kind == _K.ConditionalExpression:
            left, right = node.left.sourceRange, node.right.sourceRange
            a, b = source[left.start.offset:left.end.offset], source[right.start.offset:right.end.offset]
            between = source[left.end.offset:right.start.offset]
            if a and b and a != b and "`" not in a + b:
                add(left.start.offset, right.end.offset, f"{b}{between}{a}", "the branches of ?: changed places")
        elif kind == _K.ConditionalStatement:
            span = node.predicate.sourceRange
            text = source[span.start.offset:span.end.offset]
            if text and "rst_n" not in text:
                add(span.start.offset, span.end.offset, f"!({text})", f"if ({' '.join(text.split())[:50]}) negated")
        elif kind == _K.NonblockingAssignmentExpression:
            span = node.sourceRange
            text = source[span.start.offset:span.end.offset]
            target = text.split("<=")[0].strip()
            if text and target:
                add(span.start.offset, span.end.offset, f"{target} <= {target}", f"{target} no longer written")

    tree.root.visit(visit)
    return [m for m in found if _counts(source, m)]


def _counts(source: str, mutant: Mutant) -> bool:
    """Not in what the synthesised circuit has no part in: elaboration checks, assertions, reset values."""
    line = source.splitlines()[mutant.line - 1]
    if source.startswith("-1:0]", mutant.start) or "`SAF_" in line or "$error" in line or "$fatal" in line or "localparam" in line or "parameter" in line:
        return False
    before = source[:mutant.start].rfind("if (!")
    in_reset = before >= 0 and "rst_n" in source[before:before + 24] and "else" not in source[before:mutant.start]
    return not in_reset


def choose(count: int, seed: int, only: list[str]) -> Iterator[Mutant]:
    """Faults in the order in which they are tried: files by turns, so that each has its share."""
    rng = random.Random(seed)
    pools = []
    for path in sorted(RTL.glob("saf_*.sv")):
        if path.name.endswith("_pkg.sv") or (only and not any(name in path.stem for name in only)):
            continue
        pool = candidates(path)
        rng.shuffle(pool)
        # a long file has more to get wrong
        weight = max(1, round(len(pool) / 60))
        pools.append((pool, weight))
    rng.shuffle(pools)
    given = 0
    while given < 4 * count and any(pool for pool, _ in pools):
        for pool, weight in pools:
            for _ in range(weight):
                if pool:
                    given += 1
                    yield pool.pop()


def tests_of(file: str) -> list[str]:
    """Test files of the unit that a file belongs to: those that name it, or the longest of its name's beginnings."""
    folder = ROOT / "tests" / "rtl"
    stem = Path(file).stem
    files = [p for p in sorted(folder.glob("test_rtl_*.py")) if p.name not in WHOLE]
    texts = {p: p.read_text() for p in files}
    named = [p.name for p in files if f'"{stem}"' in texts[p]]
    parts = stem.removeprefix("saf_").split("_")
    for n in range(len(parts), 0, -1):
        prefix = "_".join(parts[:n])
        near = [p.name for p in files if p.stem.removeprefix("test_rtl_").startswith(prefix) and p.name not in named]
        if near:
            return named + near
    return named


def copy_tree(folder: Path) -> None:
    """A checkout that shares everything but the RTL and what depends on where it lies."""
    for name in ("safhost", "protocols", "kernels", "tools", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "shell_rtl", folder / "shell_rtl")
    (folder / "tests").mkdir()
    shutil.copytree(ROOT / "tests" / "rtl", folder / "tests" / "rtl")
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")


def verdict(mutant: Mutant, scratch: Path) -> tuple[str, str, float]:
    """``killed`` with the test that did it, ``survived``, or ``invalid`` when it does not compile; and the seconds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        copy_tree(folder)
        path = folder / "shell_rtl" / "rtl" / mutant.file
        source = path.read_bytes().decode()
        path.write_text(source[:mutant.start] + mutant.text + source[mutant.end:])
        for tests in (tests_of(mutant.file), list(WHOLE)):
            present = [f"tests/rtl/{t}" for t in tests if (folder / "tests" / "rtl" / t).exists()]
            if not present:
                continue
            command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-m",
                       "not slow", "--timeout", "200", *present]
            environment = dict(os.environ, PYTHONPATH=str(folder), SAF_RTL_SEED="1")
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                                      timeout=TIMEOUT_S, env=environment)
            except subprocess.TimeoutExpired:
                return "killed", "it hung", time.monotonic() - began
            if done.returncode == 0:
                continue
            asserted = "Assertion failed" in done.stdout
            if "verilator refused" in done.stdout or ("%Error" in done.stdout and not asserted):
                return "invalid", "", time.monotonic() - began
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
            return "killed", failed[0].split(" - ")[0].removeprefix("FAILED ") if failed else "error", \
                time.monotonic() - began
    return "survived", "", time.monotonic() - began


def explained(mutant: Mutant) -> str:
    """Why a survivor is no fault, if somebody wrote that down."""
    if not EXPLAINED.exists():
        return ""
    lines = (RTL / mutant.file).read_text().splitlines()
    for entry in EXPLAINED.read_text().splitlines():
        if entry and not entry.startswith("#"):
            file, text, what, why = (part.strip() for part in entry.split("|", 3))
            if file == mutant.file and text == lines[mutant.line - 1].strip() and what == mutant.what:
                return why
    return ""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.rtl.mutate", description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="only files whose name contains one of these")
    parser.add_argument("--count", type=int, default=80, help="faults to try [80]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all verdicts there")
    parser.add_argument("--list", action="store_true", help="say what would be tried, and end")
    options = parser.parse_args(argv)
    chosen = choose(options.count, options.seed, options.only)
    if options.list:
        for _, mutant in zip(range(options.count), chosen, strict=False):
            print(mutant, "→", " ".join(tests_of(mutant.file)))
        return 0
    results: list[dict[str, object]] = []
    survivors: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="saf-mutants-") as name, ThreadPoolExecutor(options.jobs) as pool:
        done = 0
        while done < options.count:
            batch = [m for _, m in zip(range(min(options.jobs * 4, options.count - done)), chosen, strict=False)]
            if not batch:
                break
            for mutant, (outcome, by, seconds) in zip(batch, pool.map(lambda m: verdict(m, Path(name)), batch),
                                                      strict=True):
                if outcome == "invalid":
                    continue
                done += 1
                why = explained(mutant) if outcome == "survived" else ""
                print(f"{done:4} {outcome:9} {seconds:5.0f} s  {mutant}  {by or why}", flush=True)
                results.append(asdict(mutant) | {"outcome": outcome, "by": by, "why": why,
                                                 "seconds": round(seconds, 1)})
                if outcome == "survived" and not why:
                    survivors.append(mutant)
    killed = sum(r["outcome"] == "killed" for r in results)
    print(f"\nseed {options.seed}: {len(results)} faults, {killed} killed, {len(results) - killed} survived, "
          f"{len(survivors)} of them unexplained")
    for mutant in survivors:
        print(f"  {mutant}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
