"""Check the RTL: every file of shell_rtl as a top of its own, with Verilator's and slang's warnings all on.

    python -m tools.rtl.lint [module …]

Without names: all modules of ``shell_rtl/rtl``, ``shell_rtl/model`` and ``shell_rtl/cosim``. Exit code 0 when both
tools have nothing to say, 1 otherwise.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pyslang

from safhost.errors import SafError
from safhost.lab.rtl_build import packages
from safhost.native import verilator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = tuple(ROOT / "shell_rtl" / name for name in ("rtl", "model", "cosim"))
PACKAGES = tuple(packages(ROOT / "shell_rtl/rtl"))

WARNING_OPTIONS = (
    "-Wall",
    # Packages hold constants that not every top uses.
    "-Wno-UNUSEDPARAM",
    # Resets are used both asynchronously (flops) and as values (assertions, FIFO ready).
    "-Wno-SYNCASYNCNET",
    # A file is named by its module; packages and one-file models are not tops.
    "-Wno-DECLFILENAME",
)
# Widths are Verilator's part; libraries hold modules that a top does not use.
SLANG_OPTIONS = ("-Wextra", "-Wparentheses", "-Wno-unused", "-Wno-missing-top", "--timescale", "1ns/1ps",
                 "--error-limit", "40")

_CHATTER = re.compile(r"\.\.\. (For|Use|See|Looked|With current)|Exiting due to|^\s{10,}(\S+/)?saf_\w+(\.s?v)?$")


def main(arguments: Sequence[str] | None = None) -> int:
    """Lint what is named; print what the tools say. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.rtl.lint", description="Check the RTL with two front ends.")
    parser.add_argument("modules", nargs="*", help="modules or files; all without")
    names = parser.parse_args(arguments).modules
    try:
        files = [_find(n) for n in names] or _all_files()
        tools = verilator.find_toolchain()
    except SafError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    bad = 0
    for file in files:
        said = lint_file(tools, file)
        bad += bool(said)
        print(f"{'FAIL' if said else 'ok  '} {file.relative_to(ROOT)}", flush=True)
        if said:
            print("\n".join(f"     {line}" for line in said.splitlines()), flush=True)
    print(f"{len(files)} files, {bad} with messages" if bad else f"{len(files)} files, no message")
    return 1 if bad else 0


def lint_file(tools: verilator.Toolchain, file: Path) -> str:
    """What Verilator and slang say about one file as a top; empty when they are content."""
    return "\n".join(filter(None, (_verilator(tools, file), _slang(file))))


def _verilator(tools: verilator.Toolchain, file: Path) -> str:
    top = [] if file in PACKAGES else ["--top-module", file.stem]
    libraries = [a for folder in FOLDERS if folder.is_dir() for a in ("-y", str(folder), f"+incdir+{folder}")]
    sources = list(dict.fromkeys((*PACKAGES, file)))
    done = verilator.run_verilator(tools, ["--lint-only", *WARNING_OPTIONS, "--assert", "--no-timing",
                                           "--timescale", "1ns/1ps", *libraries, *top, *map(str, sources)])
    if done.returncode == 0:
        return ""
    return _shorten(done.stderr + done.stdout)


def _slang(file: Path) -> str:
    driver = pyslang.driver.Driver()
    driver.addStandardArgs()
    driver.setTerminalColorsEnabled(False)
    libraries = [a for folder in FOLDERS if folder.is_dir() for a in ("-y", str(folder), "-I", str(folder))]
    sources = list(dict.fromkeys((*PACKAGES, file)))
    top = [] if file in PACKAGES else ["--top", file.stem]
    line = " ".join(["slang", *SLANG_OPTIONS, "--libext", ".sv", *libraries, *top, *map(str, sources)])
    options = pyslang.driver.CommandLineOptions()
    options.ignoreProgramName = False
    if not (driver.parseCommandLine(line, options) and driver.processOptions() and driver.parseAllSources()):
        return f"slang cannot read {file.name}: see its messages above"
    compilation = driver.createCompilation()
    found = list(compilation.getAllDiagnostics())
    if not any(d.isError() for d in found):
        found += list(driver.runAnalysis(compilation).getDiagnostics())
    client = pyslang.TextDiagnosticClient()
    driver.diagEngine.clearClients()
    driver.diagEngine.addClient(client)
    for diagnostic in found:
        driver.diagEngine.issue(diagnostic)
    return _shorten(client.getString().strip())


def _shorten(text: str) -> str:
    lines = [line for line in text.splitlines() if not _CHATTER.search(line)]
    return "\n".join(lines).replace(f"{ROOT}/", "")


def _all_files() -> list[Path]:
    return [f for folder in FOLDERS if folder.is_dir() for f in sorted(folder.glob("*.sv"))]


def _find(name: str) -> Path:
    candidates = [Path(name).absolute(), *(folder / f"{name}.sv" for folder in FOLDERS)]
    found = next((c for c in candidates if c.is_file()), None)
    if found is None:
        raise SafError(f"no module {name} in shell_rtl", "name it as its file is named, without .sv")
    return found


if __name__ == "__main__":
    sys.exit(main())
