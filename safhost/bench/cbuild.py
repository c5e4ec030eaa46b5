"""Small C programs that benchmarks compare with, compiled when they are first needed.

Sources lie in ``csrc``; binaries go to ``$XDG_CACHE_HOME/safhost`` under a name that holds a digest of source
and flags, so that a changed source is never measured with an old binary.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from safhost.errors import ConfigError

FLAGS = ("-O2", "-std=c11", "-Wall")
_COMPILERS = ("cc", "gcc", "clang")


def build_program(name: str) -> Path:
    """Path of the compiled ``csrc/NAME.c``. Raises ConfigError without a C compiler or when it fails."""
    source = Path(__file__).with_name("csrc") / f"{name}.c"
    try:
        text = source.read_bytes()
    except OSError as err:
        raise ConfigError(f"no C program {name!r}: {err.strerror}", "reinstall safhost") from err
    compiler = next((found for c in _COMPILERS if (found := shutil.which(c))), None)
    if compiler is None:
        raise ConfigError("the C programs of this benchmark need a C compiler, and there is none",
                          "apt install gcc libc6-dev")
    digest = hashlib.blake2s(text + repr((compiler, FLAGS)).encode(), digest_size=8).hexdigest()
    folder = cache_folder()
    target = folder / f"{name}-{digest}"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Compiled under another name and renamed: a second process never runs half a binary.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fresh = Path(scratch) / name
            done = subprocess.run([compiler, *FLAGS, "-o", str(fresh), str(source)], capture_output=True,
                                  text=True, check=False)
            if done.returncode != 0:
                raise ConfigError(f"{compiler} cannot compile {name}.c: {done.stderr.strip()}",
                                  "install the compiler's C library headers (apt install libc6-dev)")
            fresh.rename(target)
    except OSError as err:
        raise ConfigError(f"cannot write to {folder}: {err.strerror}",
                          "set XDG_CACHE_HOME to a folder you may write to") from err
    return target


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/safhost``, else ``~/.cache/safhost`` (XDG Base Directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "safhost"
