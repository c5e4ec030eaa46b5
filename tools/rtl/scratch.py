"""A copy of the project in which a tool may change the RTL and the programs that it is compiled into."""

from __future__ import annotations

import shutil
from pathlib import Path

from safhost.native import verilator

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("safhost", "protocols", "kernels", "tools", "shell_rtl", "tests")
"""What the tests read: copied, since a link would lead them back to the RTL as it is."""
COMPILER_CACHES = ("runtime-*", "cocotb-*")
"""Of the models' cache, what does not depend on the RTL."""
PROGRAMS = ("tests/rtl/model_shim.cpp", "shell_rtl/cosim/saf_cosim.cpp")
"""What a simulation becomes part of: in a module's tests, and as a card."""


def copy_project(folder: Path) -> None:
    """Make ``folder``, with all that the RTL's tests read."""
    folder.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def fresh_cache(scratch: Path) -> Path:
    """A cache in ``scratch`` with the compiled run time libraries of the user's and nothing else."""
    folder = scratch / "cache"
    (folder / "rtl").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    for pattern in COMPILER_CACHES:
        for source in verilator.default_folder().glob(pattern):
            if source.is_dir():
                (folder / "rtl" / source.name).symlink_to(source)
    return folder
