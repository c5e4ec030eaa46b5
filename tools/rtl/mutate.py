"""Do the tests notice when the RTL is wrong? `python -m tools.rtl.mutate --count 100 --seed 1`.

Makes one small fault at a time (an operator, a branch, a register that is no longer written), in a copy of the RTL, and
runs the tests of the unit that the file belongs to, then those of the whole shell, until one fails. Which faults are
made of a file follows from the seed and the file alone. A fault that does not compile is replaced by another.

A verdict needs tests that pass on the RTL as it is: they are run first (once), and a failure there ends the run. With
``--json`` verdicts are kept there as they come; what has one, of the same line, is not tried again, so a run can be
continued, or done unit by unit. All else happens in a scratch folder of its own, with a cache of its own.

The report names every survivor. Exit code 0: all were killed or are explained in ``survivors.txt``; 1: some were not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from pyslang import syntax

ROOT = Path(__file__).resolve().parents[2]
RTL = ROOT / "shell_rtl" / "rtl"
EXPLAINED = Path(__file__).with_name("survivors.txt")
"""Survivors that are no fault, one a line: `file ;; text of the line ;; what ;; why`."""
MAX_FILES = 4
"""Test files tried for a part that many use."""

TIMEOUT_S = 420
COPIED = ("safhost", "protocols", "kernels", "tools", "shell_rtl", "tests")
"""What the tests read: copied, since a link would lead them back to the RTL as it is."""
COMPILER_CACHES = ("runtime-*", "cocotb-*")
"""Of the models' cache, what does not depend on the RTL."""
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
    column: int
    start: int
    end: int
    text: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


class Unusable(Exception):
    """The tests could not be run, or fail on the RTL as it is: no verdict means anything."""


def candidates(path: Path) -> list[Mutant]:
    """Every fault that can be made in a file."""
    source = path.read_bytes()  # slang counts bytes
    tree = syntax.SyntaxTree.fromText(source.decode(), path.name)
    found: list[Mutant] = []

    def add(start: int, end: int, text: str, what: str) -> None:
        line = source.count(b"\n", 0, start) + 1
        column = start - source.rfind(b"\n", 0, start)
        found.append(Mutant(path.name, line, column, start, end, text, what))

    def text_of(span: object) -> str:
        return source[span.start.offset:span.end.offset].decode()

    def visit(node: object) -> None:
        kind = getattr(node, "kind", None)
        if kind in _OPERATORS:
            old, new = _OPERATORS[kind]
            span = node.operatorToken.range
            if text_of(span) == old:  # else inside a macro
                add(span.start.offset, span.end.offset, new, f"{old} became {new}")
        elif kind in _REMOVED:
            span = node.operatorToken.range
            if text_of(span) == _REMOVED[kind]:
                add(span.start.offset, span.end.offset, "", f"{_REMOVED[kind]} left out")
        elif kind == _K.ConditionalExpression:
            left, right = node.left.sourceRange, node.right.sourceRange
            a, b = text_of(left), text_of(right)
            if not str(node).rstrip().endswith(b):  # inside a macro
                return
            between = source[left.end.offset:right.start.offset].decode()
            if a and b and a != b and "`" not in a + b:
                add(left.start.offset, right.end.offset, f"{b}{between}{a}", "the branches of ?: changed places")
        elif kind == _K.ConditionalStatement:
            span = node.predicate.sourceRange
            text = text_of(span)
            if text and "rst_n" not in text and str(node.predicate).endswith(text):  # else inside a macro
                add(span.start.offset, span.end.offset, f"!({text})", f"if ({' '.join(text.split())[:50]}) negated")
        elif kind == _K.NonblockingAssignmentExpression:
            span = node.sourceRange
            text = text_of(span)
            target = text.split("<=")[0].strip()
            if target and str(node).endswith(text):
                add(span.start.offset, span.end.offset, f"{target} <= {target}", f"{target} no longer written")

    tree.root.visit(visit)
    return [m for m in found if _counts(source, m)]


def _counts(source: bytes, mutant: Mutant) -> bool:
    """Not in what the synthesised circuit has no part in: elaboration checks, assertions, reset values, widths."""
    line = source.splitlines()[mutant.line - 1]
    if source.startswith(b"-1:0]", mutant.start) or any(
            word in line for word in (b"`SAF_", b"$error", b"$fatal", b"localparam", b"parameter")):
        return False
    before = source[:mutant.start].rfind(b"if (!")
    in_reset = before >= 0 and b"rst_n" in source[before:before + 24] and b"else" not in source[before:mutant.start]
    return not in_reset


def choose(count: int, seed: int, only: list[str]) -> Iterator[Mutant]:
    """Faults in the order in which they are tried: files by turns, so that each has its share."""
    pools = []
    for path in sorted(RTL.glob("saf_*.sv")):
        if path.name.endswith("_pkg.sv") or (only and not any(name in path.stem for name in only)):
            continue
        if not tests_of(path.name) and not any((ROOT / "tests" / "rtl" / t).exists() for t in WHOLE):
            continue
        pool = candidates(path)
        random.Random(f"{seed} {path.name}").shuffle(pool)
        # a long file has more to get wrong
        weight = max(1, round(len(pool) / 60))
        pools.append((pool, weight))
    random.Random(seed).shuffle(pools)
    given = 0
    while given < 4 * count and any(pool for pool, _ in pools):
        for pool, weight in pools:
            for _ in range(weight):
                if pool:
                    given += 1
                    yield pool.pop()


def tests_of(file: str) -> list[str]:
    """Test files of the unit that a file belongs to: those that name it, then the longest of its name's beginnings; for
    a part that none is named after, those of whatever uses it."""
    folder = ROOT / "tests" / "rtl"
    stem = Path(file).stem
    files = [p for p in sorted(folder.glob("test_rtl_*.py")) if p.name not in WHOLE]
    texts = {p: p.read_text() for p in files}

    def near(name: str) -> list[str]:
        named = [p.name for p in files if f'"{name}"' in texts[p] or f'"{name}.sv"' in texts[p]]
        parts = name.removeprefix("saf_").split("_")
        for n in range(len(parts), 0, -1):
            prefix = "_".join(parts[:n])
            begun = [p.name for p in files if p.stem.removeprefix("test_rtl_").startswith(prefix)]
            if begun:
                return list(dict.fromkeys(named + begun))
        return named

    names, seen, found = [stem], {stem}, near(stem)
    sources = {p.stem: p.read_text() for p in (*sorted(folder.glob("tb/*.sv")), *sorted(RTL.glob("*.sv")))}
    while names and not found:
        uses = [re.compile(rf"^\s*{name}\s+(#\(|u_)", re.MULTILINE) for name in names]
        names = [user for user, text in sources.items() if user not in seen and any(u.search(text) for u in uses)]
        seen.update(names)
        found = [test for user in names for test in near(user)]
    return list(dict.fromkeys(found))[:MAX_FILES]


class Tree:
    """A copy of the project in which one fault at a time is made. Always in the same place, so that what the fault does
    not touch is built once."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        self.environment = dict(os.environ, PYTHONPATH=str(folder), SAF_RTL_SEED="1", SAFHOST_CACHE=str(cache),
                                PYTHONDONTWRITEBYTECODE="1")
        self._sound: set[str] = set()

    def run(self, test: str) -> subprocess.CompletedProcess[str]:
        """One test file, until its first failure."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-m",
                   "not slow", "--timeout", "200", f"tests/rtl/{test}"]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False,
                              timeout=TIMEOUT_S, env=self.environment)

    def check(self, test: str) -> None:
        """See ``test`` pass without a fault. Raises Unusable."""
        if test not in self._sound:
            done = self.run(test)
            if done.returncode:
                raise Unusable(f"{test} fails on the RTL as it is:\n{(done.stdout + done.stderr)[-3000:]}")
            self._sound.add(test)

    def verdict(self, mutant: Mutant) -> tuple[str, str, float]:
        """``killed`` with the test that did it, ``survived``, or ``invalid`` when it does not compile; the seconds."""
        tests = [t for t in (*tests_of(mutant.file), *WHOLE) if (self.folder / "tests" / "rtl" / t).exists()]
        path = self.folder / "shell_rtl" / "rtl" / mutant.file
        source = path.read_bytes()
        if not tests:
            raise Unusable(f"no test for {mutant.file}")
        began = time.monotonic()
        for test in tests:
            self.check(test)
            path.write_bytes(source[:mutant.start] + mutant.text.encode() + source[mutant.end:])
            try:
                done = self.run(test)
            except subprocess.TimeoutExpired:
                return "killed", f"{test} (hung)", time.monotonic() - began
            finally:
                path.write_bytes(source)
            if done.returncode == 0:
                continue
            if "Verilator refuses the RTL" in done.stdout or "AssertionError: cannot compile" in done.stdout:
                return "invalid", "", time.monotonic() - began
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
            if done.returncode != 1 or not failed:
                raise Unusable(f"{test} could not be run:\n{(done.stdout + done.stderr)[-3000:]}")
            by = failed[0].split(" - ")[0].removeprefix("FAILED ").removeprefix("tests/rtl/")
            return "killed", by, time.monotonic() - began
        return "survived", "", time.monotonic() - began


def explained(mutant: Mutant) -> str:
    """Why a survivor is no fault, if somebody wrote that down."""
    return _why(mutant.file, _line_of(mutant.file, mutant.line), mutant.what)


def _why(file: str, text: str, what: str) -> str:
    if not EXPLAINED.exists():
        return ""
    for entry in EXPLAINED.read_text().splitlines():
        if entry and not entry.startswith("#"):
            # the line itself may have a | in it
            in_file, rest = (part.strip() for part in entry.split(";;", 1))
            in_text, in_what, why = (part.strip() for part in rest.split(";;", 2))
            if (in_file, in_text, in_what) == (file, text, what):
                return why
    return ""


def _line_of(file: str, line: int) -> str:
    return (RTL / file).read_text().splitlines()[line - 1].strip()


def _known(path: Path | None) -> list[dict[str, object]]:
    """Verdicts of earlier runs that still speak of the line as it is, wherever it has moved to."""
    if path is None or not path.exists():
        return []
    return [r for r in json.loads(path.read_text())["mutants"] if (RTL / r["file"]).exists()
            and r["text"] in {line.strip() for line in (RTL / r["file"]).read_text().splitlines()}]


def main(argv: list[str] | None = None) -> int:
    """Try faults and report. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.rtl.mutate", description="Do tests notice wrong RTL?")
    parser.add_argument("only", nargs="*", help="only files whose name contains one of these")
    parser.add_argument("--count", type=int, default=80, help="faults to try [80]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=600, help="begin no more after that time [600]")
    parser.add_argument("--json", type=Path, help="keep all verdicts there, and go on from what is there")
    parser.add_argument("--list", action="store_true", help="say what would be tried, and end")
    options = parser.parse_args(argv)
    results = _known(options.json)
    known = {(r["file"], r["text"], r["column"], r["what"]) for r in results}
    chosen = (m for m in choose(options.count + len(known), options.seed, options.only)
              if (m.file, _line_of(m.file, m.line), m.column, m.what) not in known)
    if options.list:
        for _, mutant in zip(range(options.count), chosen, strict=False):
            print(mutant, "→", " ".join(tests_of(mutant.file)))
        return 0
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="saf-mutants-") as name, ThreadPoolExecutor(options.jobs) as pool:
        trees: SimpleQueue[Tree] = SimpleQueue()
        cache = _cache(Path(name))
        for job in range(options.jobs):
            trees.put(Tree(Path(name) / f"tree{job}", cache))

        def judge(mutant: Mutant) -> tuple[str, str, float]:
            tree = trees.get()
            try:
                return tree.verdict(mutant)
            finally:
                trees.put(tree)

        done = 0
        while done < options.count and time.monotonic() < end:
            batch = [m for _, m in zip(range(min(options.jobs, options.count - done)), chosen, strict=False)]
            if not batch:
                break
            for mutant, (outcome, by, seconds) in zip(batch, pool.map(judge, batch), strict=True):
                if outcome == "invalid":
                    continue
                done += 1
                why = explained(mutant) if outcome == "survived" else ""
                print(f"{done:4} {outcome:9} {seconds:5.0f} s  {mutant}  {by or why}", flush=True)
                results.append({"file": mutant.file, "line": mutant.line, "column": mutant.column,
                                "what": mutant.what, "outcome": outcome, "by": by,
                                "text": _line_of(mutant.file, mutant.line)})
            if options.json:
                _write(options.json, options.seed, results)
    return report(options.seed, results)


def _cache(scratch: Path) -> Path:
    """A cache with the compiled run time libraries of the user's and nothing else."""
    from safhost.native import verilator

    folder = scratch / "cache"
    (folder / "rtl").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    for pattern in COMPILER_CACHES:
        for source in verilator.default_folder().glob(pattern):
            if source.is_dir():
                (folder / "rtl" / source.name).symlink_to(source)
    return folder


def _write(path: Path, seed: int, results: list[dict[str, object]]) -> None:
    ordered = sorted(results, key=lambda r: (str(r["file"]), int(str(r["line"])), str(r["what"])))
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"seed": seed, "mutants": ordered}, indent=1) + "\n")
    fresh.replace(path)


def report(seed: int, results: list[dict[str, object]]) -> int:
    """Print the sums and the survivors. Returns the exit code."""
    survivors = [r for r in results if r["outcome"] == "survived"]
    open_ = [r for r in survivors if not _why(str(r["file"]), str(r["text"]), str(r["what"]))]
    print(f"\nseed {seed}: {len(results)} faults, {len(results) - len(survivors)} killed, {len(survivors)} survived, "
          f"{len(open_)} of them unexplained")
    for r in survivors:
        print(f"  {r['file']}:{r['line']}: {r['what']}  {_why(str(r['file']), str(r['text']), str(r['what']))}")
    return 1 if open_ else 0


if __name__ == "__main__":
    sys.exit(main())
