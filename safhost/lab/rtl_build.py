"""The shared library of a card simulated from the shell's RTL: found tools, one build a content, kept in the cache.

Two variants: ``one-clock`` runs all clock domains on one clock and without assertions, for speed; ``four-clocks`` gives
every domain a clock of its own and checks all assertions, for truth. The first is compiled twice: its code is straight
lines of rare conditions, and a compiler that has watched it run (`rtl_load`) makes it a quarter faster.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safhost import paths
from safhost.errors import ConfigError
from safhost.native import verilator

VARIANTS = ("one-clock", "four-clocks")
TOP = "saf_cosim_top"
LIBRARY = "libsaf_cosim.so"
OPTIMISE, OPTIMISE_ONCE = "-O2", "-O0"  # the latter: what runs when a card is made
TRAIN = ("-fprofile-generate", "-fprofile-update=single")
TRAINED = ("-fprofile-use", "-Wno-missing-profile")
TRAINING = "safhost.lab.rtl_load"
OUTPUT_SPLIT = "20000"
QUICK_VARIABLE = "SAFHOST_RTL_QUICK"
"""1 in the environment: compile once, without a profile, in half the time; the card is some 40 % slower."""


def build_card_library(variant: str = "one-clock", on_progress: Callable[[str], None] = lambda _line: None,
                       rtl: Path | None = None) -> Path:
    """Path of the shared library; compiled (minutes) when RTL, models or tools changed since the last time.

    ``rtl``: another folder with ``saf_shell_core`` than the one that ships. Raises ConfigError naming the tool that is
    missing, or with the messages of the one that refuses.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r} of the RTL's simulation", f"choose one of {', '.join(VARIANTS)}")
    tools, folder = verilator.find_toolchain(), verilator.default_folder()
    sources = paths.data_file("shell_rtl")
    cosim = sources / "cosim"
    # Verilator's library of one process serves all its cards; only what a card is differs.
    runtime = verilator.runtime_objects(tools, folder, OPTIMISE)
    arguments = ["--cc", "--prefix", f"V{TOP}", "--top-module", TOP, "--no-timing", "--timescale", "1ns/1ps", "-O3",
                 "--x-assign", "fast", "--x-initial", "fast", "--output-split", OUTPUT_SPLIT, "-Wno-lint", "-Wno-style"]
    arguments += ["-DSAF_ONE_CLOCK", "--no-assert"] if variant == "one-clock" else ["--assert"]
    libraries = ([rtl] if rtl is not None else []) + [sources / "rtl", sources / "model"]
    arguments += [a for library in libraries for a in ("-y", str(library), f"+incdir+{library}")]
    arguments += [*map(str, packages(sources / "rtl")), str(cosim / f"{TOP}.sv")]
    own = sorted((*cosim.glob("*.h"), *cosim.glob("*.cpp")))
    one_clock = ["-DSAF_ONE_CLOCK"] if variant == "one-clock" else []
    quick = os.environ.get(QUICK_VARIABLE) == "1"

    def build(model: Path, what: str, flags: tuple[str, ...]) -> None:
        files = [*verilator.cpp_sources(model), cosim / "saf_cosim.cpp"]

        def compile_one(source: Path) -> str:
            target = str(model / f"{source.stem}.o")
            how = (OPTIMISE_ONCE,) if source.stem.endswith("Slow") else (OPTIMISE, *flags)
            verilator.run_step(f"compile {source.name}", tools.cxx(
                *how, *one_clock, *verilator.DEFINES, *tools.includes, f"-I{model}", f"-I{cosim}", "-c",
                str(source), "-o", target))
            return target

        objects = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for number, target in enumerate(pool.map(compile_one, files)):
                on_progress(f"compiling the RTL{what}: {number + 1} of {len(files)} files")
                objects.append(target)
        verilator.run_step(f"link {LIBRARY}", [tools.compiler, "-shared", "-pthread", *flags, "-o",
                                               str(model / LIBRARY), *objects, *map(str, runtime)])

    def compile_(model: Path) -> None:
        flags: tuple[str, ...] = ()
        # RTL of somebody's own is compiled again and again, and need not even work
        if variant == "one-clock" and rtl is None and not quick and "clang" not in Path(tools.compiler).name:
            build(model, " to watch it", TRAIN)
            on_progress("watching the RTL run")
            try:
                verilator.run_step("watch the RTL run", [sys.executable, "-m", TRAINING, str(model / LIBRARY)])
                flags = TRAINED
            except ConfigError as error:
                on_progress(f"{error.message.splitlines()[-1]}: it becomes slower than it could be")
        build(model, "", flags)

    how = f"card {variant} {OPTIMISE} {OPTIMISE_ONCE} {TRAIN} {TRAINED}" + " quick" * quick
    return verilator.build_cached(tools, folder, arguments, own, how, compile_, on_progress) / LIBRARY


def packages(rtl: Path) -> list[Path]:
    """The SystemVerilog packages of a folder, first those that others use: they are not found by name."""
    first = [rtl / "saf_pkg.sv", rtl / "saf_shell_pkg.sv"]
    return first + sorted(set(rtl.glob("*_pkg.sv")) - set(first))
