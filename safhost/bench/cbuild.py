"""Small C programs that benchmarks compare with, compiled when they are first needed (`safhost.native.build`)."""

from __future__ import annotations

from pathlib import Path

from safhost.native import build


def build_program(name: str) -> Path:
    """Path of the compiled ``csrc/NAME.c``. Raises ConfigError without a C compiler or when it fails."""
    return build.build_program(Path(__file__).with_name("csrc") / f"{name}.c")
