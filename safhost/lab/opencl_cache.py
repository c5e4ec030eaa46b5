"""Compiled kernels kept on disk, so that an image is compiled once a machine and not once a process.

A program's binary is what the OpenCL runtime gives (clGetProgramInfo); it is good for that runtime and device alone,
and for exactly these sources and options. So all of that, and the machine's processor, is in its name. A binary that
the runtime does not take is left aside, and the sources are compiled.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from ctypes import byref, c_char, c_int32, c_size_t, c_void_p
from pathlib import Path

from safhost import paths
from safhost.errors import SafError
from safhost.lab.opencl_api import CL_PROGRAM_BINARIES, CL_PROGRAM_BINARY_SIZES, CpuDevice, OpenClError

KEEP = 64
"""Binaries kept; those used least recently go first. One takes tens of kilobytes."""

_SUFFIX = ".clbin"


def folder() -> Path:
    """Where binaries are kept. Raises ConfigError when that cannot be."""
    return paths.ensure_private(paths.cache_dir() / "kernels")


def name_of(device: CpuDevice, options: str, sources: Iterable[str], files: Mapping[str, str]) -> str:
    """Of the file for these sources (names within ``files``, all of which may be included) and compiler options."""
    found = hashlib.sha256()
    for part in (device.runtime, _processor(), options, *sources, "", *(x for item in sorted(files.items())
                                                                        for x in item)):
        data = part.encode()
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()[:40] + _SUFFIX


def load(device: CpuDevice, name: str, options: str) -> c_void_p | None:
    """The program, built; None when it is not kept, or not taken."""
    try:
        path = folder() / name
        data = path.read_bytes()
        os.utime(path)
    except (OSError, SafError):
        return None
    buffer = (c_char * len(data)).from_buffer_copy(data)
    devices = (c_void_p * 1)(device.device)
    try:
        program = device.api.create("clCreateProgramWithBinary", device.context, 1, devices, byref(c_size_t(len(data))),
                                    (c_void_p * 1)(ctypes.addressof(buffer)), byref(c_int32(0)))
    except OpenClError:
        return None
    try:
        device.api.call("clBuildProgram", program, 1, devices, options.encode(), None, None)
    except OpenClError:
        device.api.call("clReleaseProgram", program)
        return None
    return program


def keep(device: CpuDevice, name: str, program: c_void_p) -> None:
    """Write a program's binary for others. One that cannot be had or written is compiled again next time."""
    api = device.api
    size = c_size_t(0)
    with contextlib.suppress(OpenClError, OSError, SafError):
        api.call("clGetProgramInfo", program, CL_PROGRAM_BINARY_SIZES, ctypes.sizeof(size), byref(size), None)
        if not size.value:
            return
        buffer = ctypes.create_string_buffer(size.value)
        pointers = (c_void_p * 1)(ctypes.addressof(buffer))
        api.call("clGetProgramInfo", program, CL_PROGRAM_BINARIES, ctypes.sizeof(pointers), pointers, None)
        where = folder()
        with tempfile.TemporaryDirectory(dir=where) as scratch:
            whole = Path(scratch, name)
            whole.write_bytes(buffer.raw)
            whole.replace(where / name)
        _forget_oldest(where)


def _forget_oldest(where: Path) -> None:
    found = sorted(where.glob("*" + _SUFFIX), key=lambda path: path.stat().st_mtime)
    for path in found[:-KEEP]:
        path.unlink(missing_ok=True)


def _processor() -> str:
    """Model and features of the processor: code for one may not run on another."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    return "\n".join(line for line in text.split("\n\n")[0].splitlines() if line.startswith(("model name", "flags")))


__all__ = ["KEEP", "folder", "keep", "load", "name_of"]
