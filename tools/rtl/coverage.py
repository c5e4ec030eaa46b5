"""What of the RTL do the tests reach? `python -m tools.rtl.coverage [--whole] [--json FILE] [test …]`.

Runs the modules' tests, with ``--whole`` also a card of the whole shell under the conformance suite, in a copy of the
project in which Verilator counts (``--coverage-line --coverage-toggle``). A point counts as covered when any run
reached it, in any instance of the module, with any parameters. Lines are Verilator's: blocks and the branches of
conditions. Toggles are bits that went up, and bits that went down; signals wider than 256 bits have none, and the whole
shell's are not counted.

With ``--counts`` what was reached is kept there, and a later run of the same RTL adds to it. Prints a table of files,
and of each the lines that no run reached.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from safhost.native import verilator
from tools.rtl.mutants import NOT_OF_A_UNIT, TESTS
from tools.rtl.scratch import PROGRAMS, ROOT, copy_project, fresh_cache

FOLDER_VARIABLE = "SAF_COVERAGE"
LINES, TOGGLES = "--coverage-line -Wno-SIDEEFFECT -Wno-UNOPTFLAT", "--coverage-toggle"
"""Counting makes functions in case items look as if they did something, and keeps wide signals in one piece."""
WHOLE = "test_rtl_shell_conformance.py"
TIMEOUT_S = 1800
FINAL = re.compile(r"top(?:\(\)|_)->final\(\);")

_CPP = f"""
#include "verilated_cov.cpp"
#include <atomic>
#include <cstdlib>
#include <unistd.h>
static void saf_write_coverage(VerilatedContext* context) {{
  static std::atomic<int> number{{0}};
  const char* folder = std::getenv("{FOLDER_VARIABLE}");
  if (folder) {{
    const std::string name = std::to_string(getpid()) + "-" + std::to_string(number++) + ".dat";
    context->coveragep()->write(std::string(folder) + "/" + name);
  }}
}}
"""

Point = tuple[str, str, str]
"""File, page (line, branch, toggle), and which of them."""


def prepare(folder: Path) -> None:
    """A copy of the project whose simulations write what they reached when they end."""
    copy_project(folder)
    for program in PROGRAMS:
        path = folder / program
        text = path.read_text()
        call = FINAL.search(text)
        if call is None:
            raise RuntimeError(f"{program}: nothing in it ends a simulation")
        model = call[0].split("->")[0]
        text = text.replace(call[0], f"{call[0]} saf_write_coverage({model}->contextp());")
        path.write_text(_CPP + text)


def run(folder: Path, cache: Path, data: Path, test: str, flags: str) -> bool:
    """One test file; whether it passed."""
    environment = dict(os.environ, PYTHONPATH=str(folder), SAFHOST_CACHE=str(cache), SAFHOST_RTL_QUICK="1",
                       PYTHONDONTWRITEBYTECODE="1")
    environment |= {verilator.FLAGS_VARIABLE: flags, FOLDER_VARIABLE: str(data)}
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-m", "not slow",
               "--timeout", str(TIMEOUT_S), f"tests/rtl/{test}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False,
                          timeout=2 * TIMEOUT_S)
    if done.returncode != 0:
        print(done.stdout[-3000:], flush=True)
    return done.returncode == 0


def read(path: Path, counts: Counter[Point]) -> None:
    """Add what one simulation reached: lines of ``C '<key><value>…' <count>`` with control characters between."""
    for line in path.read_text(errors="replace").splitlines():
        if not line.startswith("C '"):
            continue
        text, _, count = line[3:].rpartition("' ")
        fields = dict(part.split("\x02", 1) for part in text.split("\x01") if "\x02" in part)
        file = Path(fields.get("f", "")).name
        if "/shell_rtl/rtl/" not in fields.get("f", "") or file.endswith("_pkg.sv"):
            continue
        page = fields.get("page", "").split("/")[0].removeprefix("v_")
        which = f"{fields.get('l')}:{fields.get('n')}:{fields.get('o')}"
        counts[(file, page, which)] += int(count)


def table(counts: Counter[Point]) -> dict[str, dict[str, object]]:
    """By file: reached and all of lines (blocks and branches) and toggles; the lines that nothing reached."""
    modules: dict[str, dict[str, object]] = {}
    for file in sorted({p[0] for p in counts}):
        points = {p: n for p, n in counts.items() if p[0] == file}
        lines = {p: n for p, n in points.items() if p[1] != "toggle"}
        toggles = {p: n for p, n in points.items() if p[1] == "toggle"}
        missed = sorted({int(p[2].split(":")[0]) for p, n in lines.items() if n == 0})
        still = Counter(re.sub(r"[\[:.].*", "", p[2].split(":", 2)[2]) for p, n in toggles.items() if n == 0)
        modules[file] = {"lines": [sum(map(bool, lines.values())), len(lines)],
                         "toggles": [sum(map(bool, toggles.values())), len(toggles)],
                         "missed_lines": missed, "still": dict(still.most_common(12))}
    return modules


def show(modules: dict[str, dict[str, object]]) -> None:
    """Print the table."""
    print("| File | Lines | Toggles | Lines that nothing reached |\n|---|---|---|---|")
    sums = [0, 0, 0, 0]
    for file, found in modules.items():
        (a, b), (c, d) = _pair(found["lines"]), _pair(found["toggles"])
        sums = [x + y for x, y in zip(sums, (a, b, c, d), strict=True)]
        missed = found["missed_lines"]
        assert isinstance(missed, list)
        print(f"| `{file}` | {a}/{b} | {_percent(c, d)} | {', '.join(map(str, missed))} |")
    a, b, c, d = sums
    print(f"| all | {a}/{b} ({_percent(a, b)}) | {c}/{d} ({_percent(c, d)}) | |")


def _pair(value: object) -> tuple[int, int]:
    assert isinstance(value, list)
    return int(value[0]), int(value[1])


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "—"


def all_tests() -> Iterable[str]:
    """Files with the tests of modules."""
    return [p.name for p in sorted(TESTS.glob("test_rtl_*.py"))
            if not p.name.startswith(NOT_OF_A_UNIT) and "run_cocotb" in p.read_text()]


def main(argv: list[str] | None = None) -> int:
    """Run, merge, print. Returns the exit code: 1 when a test failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.rtl.coverage", description="What of the RTL do tests reach?")
    parser.add_argument("tests", nargs="*", help="test files; without, all of modules")
    parser.add_argument("--whole", action="store_true", help="the conformance suite on the whole shell, too")
    parser.add_argument("--lines", action="store_true", help="no toggles")
    parser.add_argument("--json", type=Path, help="keep the result there")
    parser.add_argument("--minutes", type=float, default=600, help="begin no more test files after that time [600]")
    parser.add_argument("--counts", type=Path, help="keep every point there, and add to what is there")
    parser.add_argument("--add", type=Path, action="append", default=[], help="add what another run kept")
    parser.add_argument("--show", action="store_true", help="run nothing")
    options = parser.parse_args(argv)
    tests = [] if options.show else [*(options.tests or all_tests()), *([WHOLE] if options.whole else [])]
    counts: Counter[Point] = Counter()  # update() keeps points that were never reached
    done: list[str] = []
    for path in (*options.add, *([options.counts] if options.counts and options.counts.exists() else [])):
        kept = json.loads(path.read_text())
        counts.update({(file, page, which): count for file, page, which, count in kept["points"]})
        done += kept["tests"]
    failed = 0
    end = time.monotonic() + 60 * options.minutes
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            check=False).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="saf-coverage-") as name:
        scratch = Path(name)
        prepare(scratch / "tree")
        cache = fresh_cache(scratch)
        for test in tests:
            if time.monotonic() > end:
                break
            data = scratch / "data"
            data.mkdir()
            began = time.monotonic()
            lines_alone = options.lines or test == WHOLE  # toggles make the whole shell several times slower
            passed = run(scratch / "tree", cache, data, test, LINES if lines_alone else f"{LINES} {TOGGLES}")
            failed += not passed
            done.append(test if passed else f"{test} (failed)")
            for path in sorted(data.iterdir()):
                read(path, counts)
                path.unlink()
            data.rmdir()
            print(f"{test}: {'passed' if passed else 'FAILED'}, {time.monotonic() - began:.0f} s", file=sys.stderr,
                  flush=True)
            if options.counts:
                options.counts.write_text(json.dumps({"tests": done, "points": [[*p, n] for p, n in counts.items()]}))
    if options.json:
        result = {"commit": commit, "tests": sorted(done), "files": table(counts)}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    show(table(counts))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
