"""Compiled kernels on disk: taken when they are there, made anew when they are damaged, few kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from safhost.lab import opencl_cache

BUILD = """
import sys
from pathlib import Path
from safhost import paths
from safhost.lab import opencl_api, opencl_exec
from safhost.plan.kernelspec import KernelPackage

compiled = []
compile_all = opencl_exec._compile_all
opencl_exec._compile_all = lambda *given: compiled.append(1) or compile_all(*given)
folder = paths.kernels_dir() / "vadd"
package = KernelPackage.load(folder)
files = {name: (folder / name).read_text() for name in package.sources}
device = opencl_api.load("auto")
for _ in range(2):
    opencl_exec.build_program(device, package, files, Path(sys.argv[1]))
print(len(compiled))
"""


def build(tmp_path: Path) -> int:
    """Build twice in a process of its own; how often it compiled."""
    result = subprocess.run([sys.executable, "-c", BUILD, str(tmp_path / "scratch")], capture_output=True, text=True,
                            check=True, env=os.environ | {"SAFHOST_CACHE": str(tmp_path / "cache")}, timeout=120)
    return int(result.stdout)


def test_compiled_once_and_again_when_damaged(tmp_path: Path) -> None:
    assert build(tmp_path) == 1
    assert build(tmp_path) == 0
    (kept,) = (tmp_path / "cache/kernels").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(b"not a program")
    assert build(tmp_path) == 1
    assert kept.read_bytes()[:4] == whole[:4]


def test_name_tells_sources_files_options_and_device_apart() -> None:
    class Device:
        runtime = "one"

    class Other:
        runtime = "another"

    one: list[tuple[object, str, list[str], dict[str, str]]] = [
        (Device, "", ["a.cl"], {"a.cl": "x"}), (Other, "", ["a.cl"], {"a.cl": "x"}),
        (Device, "-D A", ["a.cl"], {"a.cl": "x"}), (Device, "", ["a.cl"], {"a.cl": "y"}),
        (Device, "", ["a.cl"], {"a.cl": "x", "b.h": ""}), (Device, "", ["a.cl", "b.h"], {"a.cl": "x", "b.h": ""})]
    names = {opencl_cache.name_of(*given) for given in one}  # type: ignore[arg-type]
    assert len(names) == len(one)


def test_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl_cache, "KEEP", 3)
    for number in range(5):
        path = tmp_path / f"{number}.clbin"
        path.touch()
        os.utime(path, (number, number))
    opencl_cache._forget_oldest(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"2.clbin", "3.clbin", "4.clbin"}
