"""Do the tests notice when the RTL is wrong? `python -m tools.rtl.mutate --count 100 --seed 1`.

Makes one small fault at a time (`tools.rtl.mutants`) in a copy of the RTL and runs the tests of the unit that the file
belongs to until one fails; with ``--whole`` those that survive are tried in the whole shell by the conformance suite.
Which faults are made follows from the seed and the files alone. All faults of a unit are compiled together, each behind
its number, so that a fault costs the run of its tests alone.

A verdict needs tests that pass with no fault in force: they are run first, and a unit whose own tests fail gets no
verdicts. With ``--json`` verdicts are kept there as they come; a later run leaves out what has one, of the same line,
and ``--again`` judges all of them anew where they are still found. Everything else is in a scratch folder, with a cache
of its own.

The report names every survivor. Exit code 0: all were killed or are explained in ``survivors.txt``; 1: some were not.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from safhost.native import verilator
from tools.rtl import mutants
from tools.rtl.mutants import ROOT, RTL, Mutant
from tools.rtl.scratch import PROGRAMS, copy_project, fresh_cache

EXPLAINED = Path(__file__).with_name("survivors.txt")
"""Survivors that are no fault, one a line: `file ;; text of the line ;; what ;; why`."""
WHOLE = ("test_rtl_shell_conformance.py",)
"""Tests of the whole shell, for what a unit's own tests let pass."""
SOUND_TIMEOUT_S = 1800
"""Of the run without a fault, which compiles."""
GRACE_S = 60
UNFIT = ("Verilator refuses the RTL", "cannot compile")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``outcome``: killed, survived, or no verdict; ``by``: the test that failed."""

    outcome: str
    by: str = ""
    seconds: float = 0.0


class Tree:
    """A copy of the project with faults in it to choose from."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        copy_project(folder)
        self.rtl = folder / "shell_rtl" / "rtl"
        (self.rtl / f"{mutants.PACKAGE_NAME}.sv").write_text(mutants.PACKAGE)
        for program in PROGRAMS:
            with (folder / program).open("a") as out:
                out.write(mutants.CPP)
        self.environment = dict(os.environ, PYTHONPATH=str(folder), SAF_RTL_SEED="1", SAFHOST_CACHE=str(cache),
                                SAFHOST_RTL_QUICK="1", PYTHONDONTWRITEBYTECODE="1")

    def put(self, chosen: list[tuple[int, Mutant]]) -> None:
        """Have these faults, and no others, in the RTL."""
        for path in sorted(RTL.glob("*.sv")):
            source = path.read_bytes()
            faults = [pair for pair in chosen if pair[1].file == path.name]
            new = mutants.instrument(source, faults)
            if (self.rtl / path.name).read_bytes() != new:
                (self.rtl / path.name).write_bytes(new)

    def fits(self, number: int, mutant: Mutant) -> bool:
        """Whether the fault is one that a circuit can have, by itself and beside what it replaces."""
        source = (RTL / mutant.file).read_bytes()
        alone = source[:mutant.start] + mutant.text.encode() + source[mutant.end:]
        packages = [str(self.rtl / n) for n in ("saf_pkg.sv", "saf_shell_pkg.sv", f"{mutants.PACKAGE_NAME}.sv")]
        tools = verilator.find_toolchain()
        with tempfile.TemporaryDirectory(prefix="saf-fits-") as name:
            fresh = Path(name) / mutant.file
            for text in (alone, mutants.instrument(source, [(number, mutant)])):
                fresh.write_bytes(text)
                done = verilator.run_verilator(tools, [
                    "--lint-only", "--no-timing", "-Wno-lint", "-Wno-style", "-y", str(RTL), f"+incdir+{RTL}",
                    *packages, str(fresh), "--top-module", fresh.stem])
                if done.returncode:
                    return False
        return True

    def run(self, tests: tuple[str, ...], fault: int, timeout_s: float) -> tuple[int, str]:
        """Run test files until the first failure. Returns pytest's exit code (-1: it took too long) and its output."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-m",
                   "not slow", *(f"tests/rtl/{t}" for t in tests)]
        environment = {**self.environment, mutants.VARIABLE: str(fault)}
        with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=environment, start_new_session=True) as process:
            try:
                out, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # simulations too
                process.communicate()
                return -1, ""
        return process.returncode, out

    def judge(self, tests: tuple[str, ...], fault: int, usual_s: float) -> Verdict:
        """What becomes of a fault."""
        began = time.monotonic()
        code, out = self.run(tests, fault, usual_s + GRACE_S)
        seconds = time.monotonic() - began
        failed = [line for line in out.splitlines() if line.startswith("FAILED")]
        if code == 0:
            return Verdict("survived", "", seconds)
        if code == -1:
            return Verdict("killed", f"{tests[0]} (hung)", seconds)
        if code != 1 or not failed or any(word in out for word in UNFIT):
            return Verdict("none", out[-2000:], seconds)
        by = failed[0].split(" - ")[0].removeprefix("FAILED ").removeprefix("tests/rtl/")
        return Verdict("killed", by, seconds)


class Run:
    """Verdicts, kept in a file as they come."""

    def __init__(self, seed: int, keep: Path | None, earlier: list[dict[str, object]]) -> None:
        self.seed, self.keep = seed, keep
        self.results = list(earlier)
        self.commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True,
                                     text=True, check=False).stdout.strip()

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """Print a verdict and keep it, in place of an earlier one."""
        why = reason(mutant.file, mutant.source, mutant.what) if verdict.outcome == "survived" else ""
        self.results = [r for r in self.results if key_of(r) != mutant.key]
        self.results.append({"file": mutant.file, "line": mutant.line, "column": mutant.column, "what": mutant.what,
                             "outcome": verdict.outcome, "by": verdict.by, "text": mutant.source,
                             "commit": self.commit, "gone": False})
        print(f"{len(self.results):4} {verdict.outcome:9}{verdict.seconds:5.0f} s  {mutant}  {verdict.by or why}",
              flush=True)
        if self.keep is not None:
            ordered = sorted(self.results, key=lambda r: (str(r["file"]), int(str(r["line"])), str(r["what"])))
            fresh = self.keep.with_suffix(".new")
            fresh.write_text(json.dumps({"seed": self.seed, "mutants": ordered}, indent=1) + "\n")
            fresh.replace(self.keep)


def key_of(result: dict[str, object]) -> tuple[str, str, str, int]:
    """As `Mutant.key`, of a verdict that was kept."""
    return str(result["file"]), str(result["text"]), str(result["what"]), int(str(result["column"]))


def judge_all(run: Run, tree: Tree, chosen: list[Mutant], end: float) -> None:
    """Judge by the tests of the units, a unit at a time, those with few tests first."""
    numbered = [(n, m) for n, m in enumerate(chosen, 1) if tree.fits(n, m)]
    units = {mutants.tests_of(m.file) for _, m in numbered}
    for tests in sorted(units, key=lambda t: (len(t), t)):
        here = [(n, m) for n, m in numbered if mutants.tests_of(m.file) == tests]
        while here and time.monotonic() < end:
            apart = mutants.apart([m for _, m in here])
            judge_together(run, tree, tests, [pair for pair in here if pair[1] in apart], end)
            here = [pair for pair in here if pair[1] not in apart]


def judge_together(run: Run, tree: Tree, tests: tuple[str, ...], faults: list[tuple[int, Mutant]], end: float) -> None:
    """Compile faults of which none overlap, see the tests pass with none in force, judge each."""
    tree.put(faults)
    began = time.monotonic()
    code, out = tree.run(tests, 0, SOUND_TIMEOUT_S)
    usual_s = time.monotonic() - began
    if code != 0:
        print(f"no verdicts by {' '.join(tests)}: fails without a fault\n{out[-3000:]}", flush=True)
        return
    print(f"     {' '.join(tests)}: {usual_s:.0f} s to compile and to pass without a fault", flush=True)
    for number, mutant in faults:
        if time.monotonic() > end:
            return
        verdict = tree.judge(tests, number, usual_s)
        if verdict.outcome == "none":
            print(f"no verdict on {mutant}\n{verdict.by}", flush=True)
        else:
            run.add(mutant, verdict)


def judge_whole(run: Run, tree: Tree, end: float) -> None:
    """Try what survived and is not explained in the whole shell."""
    left = survivors(run.results)
    if left:
        judge_together(run, tree, WHOLE, list(enumerate(mutants.apart(left), 1)), end)


def survivors(results: list[dict[str, object]]) -> list[Mutant]:
    """The faults among ``results`` that no test noticed and nobody explained."""
    keys = {key_of(r) for r in results if r["outcome"] == "survived"
            and not reason(str(r["file"]), str(r["text"]), str(r["what"]))}
    return [m for file in sorted({k[0] for k in keys}) for m in mutants.candidates(RTL / file) if m.key in keys]


def reason(file: str, text: str, what: str) -> str:
    """Why a survivor is no fault, if somebody wrote that down."""
    for entry in EXPLAINED.read_text().splitlines():
        if entry and not entry.startswith("#"):
            in_file, in_text, in_what, why = (part.strip() for part in entry.split(";;"))
            if (in_file, in_text, in_what) == (file, text, what):
                return why
    return ""


def known_verdicts(path: Path | None) -> list[dict[str, object]]:
    """Verdicts of earlier runs; ``gone`` says that the RTL has no such line any more."""
    if path is None or not path.exists():
        return []
    results: list[dict[str, object]] = json.loads(path.read_text())["mutants"]
    files = {str(r["file"]) for r in results}
    there = {m.key for f in files if (RTL / f).exists() for m in mutants.candidates(RTL / f)}
    return [r | {"gone": key_of(r) not in there} for r in results]


def main(argv: list[str] | None = None) -> int:
    """Try faults and report. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.rtl.mutate", description="Do tests notice wrong RTL?")
    parser.add_argument("only", nargs="*", help="only files whose name contains one of these")
    parser.add_argument("--count", type=int, default=80, help="faults to try [80]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600, help="begin no more after that time [600]")
    parser.add_argument("--json", type=Path, help="keep all verdicts there, and go on from what is there")
    parser.add_argument("--again", action="store_true", help="judge anew what has a verdict in the file")
    parser.add_argument("--survivors", action="store_true", help="judge anew what survived, if nobody explained it")
    parser.add_argument("--whole", action="store_true", help="try survivors in the whole shell")
    parser.add_argument("--list", action="store_true", help="say what would be tried, and end")
    options = parser.parse_args(argv)
    earlier = known_verdicts(options.json)
    known = {key_of(r) for r in earlier}
    if options.survivors:
        chosen = [m for m in survivors(earlier) if not options.only or any(name in m.file for name in options.only)]
    elif options.again:
        chosen = [m for file in sorted({k[0] for k in known}) for m in mutants.candidates(RTL / file)
                  if m.key in known and (not options.only or any(name in file for name in options.only))]
    else:
        chosen = mutants.choose(options.count, options.seed, options.only, known)
    if options.list:
        for mutant in chosen:
            print(mutant, "→", " ".join(mutants.tests_of(mutant.file)))
        return 0
    end = time.monotonic() + 60 * options.minutes
    run = Run(options.seed, options.json, earlier)
    with tempfile.TemporaryDirectory(prefix="saf-mutants-") as name:
        tree = Tree(Path(name) / "tree", fresh_cache(Path(name)))
        judge_all(run, tree, chosen, end)
        if options.whole and time.monotonic() < end:
            judge_whole(run, tree, end)
    return report(options.seed, run.results)


def report(seed: int, results: list[dict[str, object]]) -> int:
    """Print the sums and the survivors. Returns the exit code."""
    left = [r for r in results if r["outcome"] == "survived"]
    reasons = [reason(str(r["file"]), str(r["text"]), str(r["what"])) for r in left]
    print(f"\nseed {seed}: {len(results)} faults, {len(results) - len(left)} killed, {len(left)} survived, "
          f"{reasons.count('')} of them unexplained")
    for r, why in zip(left, reasons, strict=True):
        print(f"  {r['file']}:{r['line']}: {r['what']}  {why}")
    return 0 if all(reasons) else 1


if __name__ == "__main__":
    sys.exit(main())
