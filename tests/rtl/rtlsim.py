"""Run a module of the RTL under cocotb: build it with Verilator (seconds, cached), run its tests, judge results.xml.

A test of module ``saf_x`` is a pytest function that calls ``run_cocotb("saf_x", tb="tb_saf_x")``; the cocotb part is
``tests/rtl/tb/tb_saf_x.py``. Modules are found by name in ``shell_rtl/rtl``, ``shell_rtl/model`` and ``tests/rtl/tb``;
all packages are always there. Assertions are on; what is not reset starts with random contents.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import find_libpython
from cocotb_tools import config

from safhost.errors import ConfigError
from safhost.lab.rtl_build import packages
from safhost.native import verilator

ROOT = Path(__file__).resolve().parents[2]
RTL, MODEL = ROOT / "shell_rtl/rtl", ROOT / "shell_rtl/model"
HERE = Path(__file__).resolve().parent
SEED_VARIABLE = "SAF_RTL_SEED"
"""Environment variable that repeats a run."""
TAIL_LINES = 80


def run_cocotb(top: str, sources: Sequence[str | Path] = (), *, tb: str,
               parameters: Mapping[str, int | str] | None = None, defines: Mapping[str, int | str] | None = None,
               seed: int | None = None, testcase: str | None = None, environment: Mapping[str, str] | None = None,
               public_depth: int | None = None, optimise: str = "-O1", timeout_s: float = 110.0) -> None:
    """Build ``top`` and run the cocotb tests of module ``tb`` (of ``tests/rtl/tb``) on it.

    ``sources``: more files (names in ``shell_rtl/rtl``, or paths); a module whose file carries its name is found
    without. ``parameters``: of the top module; a wide one as a string like ``64'h1``. ``testcase``: a regular
    expression, only these tests. ``environment``: for the cocotb process. ``public_depth``: how many levels of the
    hierarchy cocotb can see (1: the ports; None: all, slower for large modules).
    Raises AssertionError naming the failing tests, the seed and the end of the log.
    """
    seed = seed if seed is not None else int(os.environ.get(SEED_VARIABLE, random.getrandbits(31)))
    folder = build(top, sources, parameters, defines, public_depth, optimise)
    with tempfile.TemporaryDirectory(prefix="saf-rtl-") as scratch:
        results = Path(scratch) / "results.xml"
        log, code = _run(folder / "sim", top, tb, results, scratch, seed, testcase, environment or {}, timeout_s)
        failed, passed = _judge(results)
    print(log)
    hint = f"{SEED_VARIABLE}={seed} repeats it"
    end = "\n".join(log.splitlines()[-TAIL_LINES:])
    assert not failed, f"{top}: {', '.join(failed)} failed ({hint})\n{end}"
    assert passed, f"{top}: no cocotb test of {tb} finished, exit code {code} ({hint})\n{end}"
    assert code == 0, f"{top}: the simulation ended with exit code {code} ({hint})\n{end}"


def build(top: str, sources: Sequence[str | Path] = (), parameters: Mapping[str, int | str] | None = None,
          defines: Mapping[str, int | str] | None = None, public_depth: int | None = None,
          optimise: str = "-O1") -> Path:
    """Folder with the program ``sim`` of ``top``. Raises AssertionError with the messages of the tool that refuses."""
    visible = ["--public-flat-rw"] if public_depth is None else ["--public-depth", str(public_depth)]
    arguments = ["--cc", "--vpi", *visible, "--prefix", "Vtop", "--top-module", top, "--assert", "--no-timing",
                 "--timescale", "1ns/1ps", "--x-initial", "unique", "--x-assign", "unique", "-Wno-lint", "-Wno-style",
                 "--output-split", "0"]
    arguments += [f"-G{name}={value}" for name, value in sorted((parameters or {}).items())]
    arguments += [f"-D{name}={value}" for name, value in sorted((defines or {}).items())]
    arguments += [a for folder in (RTL, MODEL, HERE / "tb") for a in ("-y", str(folder), f"+incdir+{folder}")]
    files = list(dict.fromkeys(_source(name) for name in (*packages(RTL), *sources)))
    own = [_source(top)] if not any(f.stem == top for f in files) else []  # modules below are found by their names
    arguments += [str(f) for f in (*files, *own)]
    shim = HERE / "model_shim.cpp"
    try:
        tools, home = verilator.find_toolchain(), verilator.default_folder()
        runtime = verilator.runtime_objects(tools, home, "-O2")
        main = _main_object(tools, home)

        def compile_(folder: Path) -> None:
            together = folder / "together.cpp"
            together.write_text("".join(f'#include "{p.name}"\n' for p in (*verilator.cpp_sources(folder),))
                                + shim.read_text())
            verilator.run_step(f"compile {top}", tools.cxx(
                optimise, *verilator.DEFINES, *tools.includes, f"-I{folder}", "-c", str(together),
                "-o", str(folder / "model.o")))
            library = str(config.libs_dir)
            verilator.run_step(f"link {top}", [
                tools.compiler, "-pthread", "-o", str(folder / "sim"), str(folder / "model.o"), str(main),
                *map(str, runtime), f"-L{library}", f"-Wl,-rpath,{library}", "-lcocotbvpi_verilator"])

        return verilator.build_cached(tools, home, arguments, [shim], f"cocotb {optimise} {config.libs_dir}", compile_)
    except ConfigError as err:
        raise AssertionError(f"{top}: {err.message}") from None


@cache
def _main_object(tools: verilator.Toolchain, home: Path) -> Path:
    """cocotb's main program, compiled once for all tests."""
    text = (HERE / "cocotb_main.cpp").read_text()
    share = config.share_dir / "lib/verilator"
    key = verilator.digest(tools.identity, text, (share / "verilator.cpp").read_text())

    def make(scratch: Path) -> None:
        (scratch / "Vtop.h").touch()  # cocotb includes it; cocotb_main.cpp declares what is used of it
        verilator.run_step("compile cocotb's main program", tools.cxx(
            "-O1", *verilator.DEFINES, *tools.includes, f"-I{scratch}", f"-I{share}", "-c",
            str(HERE / "cocotb_main.cpp"), "-o", str(scratch / "main.o")))

    return verilator.once(home / f"cocotb-{key}", make) / "main.o"


def _run(program: Path, top: str, tb: str, results: Path, scratch: str, seed: int, testcase: str | None,
         environment: Mapping[str, str], timeout_s: float) -> tuple[str, int]:
    variables = dict(os.environ)
    variables |= {
        "COCOTB_TOPLEVEL": top, "TOPLEVEL_LANG": "verilog", "COCOTB_TEST_MODULES": tb,
        "COCOTB_RANDOM_SEED": str(seed), "COCOTB_RESULTS_FILE": str(results), "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "PYGPI_PYTHON_BIN": sys.executable, "COCOTB_ANSI_OUTPUT": "0",
        "GPI_USERS": f"{find_libpython.find_libpython()};{config.pygpi_entry_point()}",
        "PYTHONPATH": os.pathsep.join([str(HERE / "tb"), str(HERE), str(ROOT), *filter(None, sys.path)]),
    }
    if testcase is not None:
        variables["COCOTB_TEST_FILTER"] = testcase
    variables.update(environment)
    command = [str(program), "+verilator+rand+reset+2", f"+verilator+seed+{seed % 0x7FFFFFFF or 1}"]
    try:
        done = subprocess.run(command, cwd=scratch, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as err:
        output = err.stdout.decode(errors="replace") if isinstance(err.stdout, bytes) else err.stdout or ""
        return output + f"\n{top}: stopped after {timeout_s:g} s", -1
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout), done.returncode


def _judge(results: Path) -> tuple[list[str], int]:
    """Names of failed tests, number of tests that passed. A simulation that died leaves no file or half of one."""
    try:
        cases = list(ElementTree.parse(results).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return [], 0
    failed = [c.get("name", "?") for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(c.find("skipped") is not None for c in cases)
    return failed, len(cases) - len(failed) - skipped


def _source(name: str | Path) -> Path:
    """Where a named source lies."""
    text = str(name)
    candidates = [Path(text)] if os.sep in text else []
    candidates += [folder / (text if Path(text).suffix else f"{text}.sv") for folder in (RTL, MODEL, HERE / "tb")]
    for candidate in candidates:
        if candidate.exists():
            return candidate.resolve()
    raise AssertionError(f"no source {text} in {RTL}, {MODEL} or {HERE / 'tb'}")
