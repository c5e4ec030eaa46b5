"""C sources of ours, compiled when they are first needed: programs of benchmarks, libraries for ctypes.

Binaries go to the cache folder (`safhost.paths.cache_dir`) under a name that holds a digest of source, compiler
and flags, so that a changed source is never run as an old binary. A C compiler is enough; Python's headers are
not needed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from safhost import paths
from safhost.errors import ConfigError

PROGRAM_FLAGS = ("-O2", "-std=c11", "-Wall")
LIBRARY_FLAGS = ("-O3", "-std=c11", "-Wall", "-fPIC", "-shared")
COMPILERS = ("cc", "gcc", "clang")
COMPILE_TIMEOUT_S = 120.0


def find_compiler() -> str | None:
    """Path of the C compiler that `build` would use, if there is one."""
    return next((found for c in COMPILERS if (found := shutil.which(c))), None)


def build_program(source: Path) -> Path:
    """Path of the compiled program; see `build`."""
    return build(source, PROGRAM_FLAGS, "")


def build_library(source: Path, flags: Sequence[str] = ()) -> Path:
    """Path of the compiled shared library, for ctypes; see `build`."""
    return build(source, (*LIBRARY_FLAGS, *flags), ".so")


def build(source: Path, flags: Sequence[str], suffix: str) -> Path:
    """Path of ``source`` compiled with ``flags``, from the cache when it is there.

    Raises ConfigError without the source, without a C compiler, when it fails, or when the cache cannot be written.
    """
    name = source.stem
    try:
        text = source.read_bytes()
    except OSError as err:
        raise ConfigError(f"no C source {source.name!r}: {err.strerror}", "reinstall safhost") from err
    compiler = find_compiler()
    if compiler is None:
        raise ConfigError(f"{source.name} needs a C compiler, and there is none", "apt install gcc libc6-dev")
    key = repr((_version(compiler), platform.machine(), tuple(flags))).encode()
    folder = paths.cache_dir()
    target = folder / f"{name}-{hashlib.blake2s(text + key, digest_size=8).hexdigest()}{suffix}"
    if _ours(target):
        return target
    try:
        # Compiled under another name and renamed: a second process never runs half a binary.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fresh = Path(scratch) / target.name
            done = subprocess.run([compiler, *flags, "-o", str(fresh), str(source)], capture_output=True,
                                  text=True, check=False, timeout=COMPILE_TIMEOUT_S)
            if done.returncode != 0:
                raise ConfigError(f"{compiler} cannot compile {source.name}: {done.stderr.strip()}",
                                  "install the compiler's C library headers (apt install libc6-dev)")
            fresh.chmod(0o755)  # whatever the umask: nobody else may write to it
            fresh.rename(target)
    except OSError as err:
        raise ConfigError(f"cannot write to {folder}: {err.strerror}",
                          f"set {paths.CACHE_VARIABLE} to a folder you may write to") from err
    except subprocess.TimeoutExpired as err:
        raise ConfigError(f"{compiler} did not compile {source.name} within {COMPILE_TIMEOUT_S:g} s",
                          "is the machine overloaded?") from err
    return target


def _version(compiler: str) -> tuple[str, int, int]:
    """What changes when the compiler does, without running it."""
    real = os.path.realpath(compiler)
    stat = os.stat(real)
    return real, stat.st_size, stat.st_mtime_ns


def _ours(target: Path) -> bool:
    """Whether it is there, and nobody else could have put it there: it is about to be run."""
    try:
        stat = target.stat()
    except FileNotFoundError:
        return False
    except OSError as err:
        raise ConfigError(f"cannot look at {target}: {err.strerror}",
                          f"set {paths.CACHE_VARIABLE} to a folder of yours") from err
    if stat.st_uid not in (0, os.geteuid()) or stat.st_mode & 0o022:
        raise ConfigError(f"{target} could have been written by somebody else",
                          f"remove it, or set {paths.CACHE_VARIABLE} to a folder of yours")
    return True
