"""kernels/build_rbf.sh: what it says when tools are missing; its steps, with stand-ins for the tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safhost.plan.image import Image

KERNELS = Path(__file__).resolve().parents[3] / "kernels"
POF = 0x11223344

AOC = """#!/bin/sh
case "$*" in *-list-boards*) echo "  p385a_mac_ax115  the MAC shell"; exit 0 ;; esac
echo "$@" > aoc-arguments
while [ $# -gt 0 ]; do if [ "$1" = -o ]; then echo aocx > "$2"; fi; shift; done
"""
AOCL = """#!/bin/sh
[ "$1" = binedit ] || exit 1
case $3-$4 in
    get-.acl.fpga.bin) echo fpga > "$5" ;;
    exists-.acl.core.rbf) [ "$NO_CORE" != yes ] ;;
    get-.acl.core.rbf) cp "$BITSTREAM" "$5" ;;
    *) exit 1 ;;
esac
"""


def run(*args, **environment):
    clean = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable} | environment
    return subprocess.run(["sh", KERNELS / "build_rbf.sh", *args], capture_output=True, text=True, timeout=60,
                          check=False, env=clean)


@pytest.fixture
def tools(tmp_path):
    """An installation that looks like the SDK, a board package, and a bitstream that aoc would make."""
    (tmp_path / "bin").mkdir()
    for name, text in (("aoc", AOC), ("aocl", AOCL), ("quartus_sh", "#!/bin/sh\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "board_env.xml").write_text("<board_env/>")
    data = np.zeros(4096, np.uint8)
    data.view("<u4")[71] = POF
    (tmp_path / "made.rbf").write_bytes(data.tobytes())
    return {"INTELFPGAOCLSDKROOT": str(tmp_path), "AOCL_BOARD_PACKAGE_ROOT": str(tmp_path / "package"),
            "BITSTREAM": str(tmp_path / "made.rbf")}


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(KERNELS / "control", tmp_path / "control")
    return tmp_path / "control"


def test_missing_tools_are_named_with_where_to_get_them():
    done = run("--check")
    assert done.returncode == 3
    for part in ("INTELFPGAOCLSDKROOT is not set", "missing: aoc\n", "missing: quartus_sh", "board package",
                 "download center", "safhost image build"):
        assert part in done.stderr


@pytest.mark.parametrize("args", [(), ("--board",), ("--what", "x"), ("a", "b")])
def test_wrong_use_shows_the_usage(args):
    done = run(*args)
    assert done.returncode == 2
    assert "--board-package" in done.stderr


def test_check_passes_when_everything_is_there(tools):
    done = run("--check", **tools)
    assert (done.returncode, done.stderr) == (0, "")


def test_board_that_is_not_in_the_package_is_refused(tools):
    done = run("--check", "--board", "p385a_sch", **tools)
    assert done.returncode == 3
    assert "missing: board p385a_sch" in done.stderr


def test_build_compiles_extracts_and_names_the_compatibility_id(tools, folder):
    done = run(folder, **tools)
    assert done.returncode == 0, done.stderr
    arguments = (folder / "build" / "aoc-arguments").read_text()
    assert f"-board-package={tools['AOCL_BOARD_PACKAGE_ROOT']} -board=p385a_mac_ax115" in arguments
    assert str(folder / "control.cl") in arguments
    assert "PR compatibility id 0x11223344" in done.stdout
    assert "set pr_compat_id to 0x11223344" in done.stderr
    described = folder / "build" / "control.yaml"
    described.write_text(described.read_text().replace("board: 385a", f"board: 385a\npr_compat_id: {POF}"))
    assert Image.open(folder / "build" / "control.rbf").pr_compat_id == POF


def test_base_revision_is_recognised(tools, folder):
    done = run(folder, NO_CORE="yes", **tools)
    assert done.returncode == 1
    assert "base revision" in done.stderr
