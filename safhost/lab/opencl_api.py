"""A thin ctypes binding of the part of OpenCL 1.2 that a virtual card's role needs, and the search for a
runtime.

Order of the search (``load``): Intel's CPU runtime as installed from the wheels ``intel-opencl-rt`` and
``intel-cmplr-lib-rt`` (its library exports the OpenCL entry points itself, so no ICD loader and no .icd file
is involved), then the system's ICD loader ``libOpenCL.so.1`` with whatever CPU platform it lists (pocl on
Debian). A runtime counts only if it builds a kernel: some installations list a device and then fail every
build.

Constants are those of the Khronos OpenCL 1.2 specification, headers ``cl.h``.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from safhost.errors import ConfigError, SafError

CL_DEVICE_TYPE_CPU = 1 << 1
CL_PLATFORM_VERSION = 0x0901
CL_PLATFORM_NAME = 0x0902
CL_DEVICE_MEM_BASE_ADDR_ALIGN = 0x1019
CL_DEVICE_NAME = 0x102B
CL_DRIVER_VERSION = 0x102D
CL_MEM_READ_WRITE = 1 << 0
CL_MEM_USE_HOST_PTR = 1 << 3
CL_MAP_READ = 1 << 0
CL_PROGRAM_BINARY_SIZES, CL_PROGRAM_BINARIES, CL_PROGRAM_BUILD_LOG = 0x1165, 0x1166, 0x1183
CL_KERNEL_NUM_ARGS = 0x1191
CL_KERNEL_ARG_ADDRESS_QUALIFIER = 0x1196
ARG_INFO_NOT_AVAILABLE = -19
ADDRESS_GLOBAL, ADDRESS_LOCAL, ADDRESS_CONSTANT, ADDRESS_PRIVATE = 0x119B, 0x119C, 0x119D, 0x119E

ERROR_NAMES = {
    -1: "DEVICE_NOT_FOUND", -3: "COMPILER_NOT_AVAILABLE", -4: "MEM_OBJECT_ALLOCATION_FAILURE",
    -5: "OUT_OF_RESOURCES", -6: "OUT_OF_HOST_MEMORY", -11: "BUILD_PROGRAM_FAILURE", -12: "MAP_FAILURE",
    -15: "COMPILE_PROGRAM_FAILURE", -17: "LINK_PROGRAM_FAILURE", -19: "KERNEL_ARG_INFO_NOT_AVAILABLE",
               -30: "INVALID_VALUE",
               -37: "INVALID_HOST_PTR",
    -38: "INVALID_MEM_OBJECT", -43: "INVALID_BUILD_OPTIONS", -44: "INVALID_PROGRAM",
    -45: "INVALID_PROGRAM_EXECUTABLE", -46: "INVALID_KERNEL_NAME", -48: "INVALID_KERNEL",
    -49: "INVALID_ARG_INDEX", -50: "INVALID_ARG_VALUE", -51: "INVALID_ARG_SIZE", -52: "INVALID_KERNEL_ARGS",
    -53: "INVALID_WORK_DIMENSION", -54: "INVALID_WORK_GROUP_SIZE", -55: "INVALID_WORK_ITEM_SIZE",
    -56: "INVALID_GLOBAL_OFFSET", -61: "INVALID_BUFFER_SIZE", -63: "INVALID_GLOBAL_WORK_SIZE",
    -66: "INVALID_COMPILER_OPTIONS", -67: "INVALID_LINKER_OPTIONS", -1001: "PLATFORM_NOT_FOUND_KHR",
}
"""Names of the error codes that these calls can return (cl.h, and cl_khr_icd for -1001)."""

INSTALL_HINT = "pip install 'safhost[lab]' (Intel's CPU runtime), or: apt install pocl-opencl-icd"

INTEL_LIBRARY = "libintelocl.so"
INTEL_PRELOAD = ("libimf.so", "libsvml.so", "libirng.so", "libintlc.so.5", "libtbb.so.12",
                 "libtbbmalloc.so.2")
"""Libraries that libintelocl needs but has no run path to: loaded before it with RTLD_GLOBAL (measured)."""

ICD_LIBRARY = "libOpenCL.so.1"

PROBE_SOURCE = "__kernel void saf_probe(__global int *x) { x[0] = 1; }"

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "clGetPlatformIDs": (c_int32, (c_uint32, POINTER(c_void_p), POINTER(c_uint32))),
    "clGetPlatformInfo": (c_int32, (c_void_p, c_uint32, c_size_t, c_void_p, POINTER(c_size_t))),
    "clGetDeviceIDs": (c_int32, (c_void_p, c_uint64, c_uint32, POINTER(c_void_p), POINTER(c_uint32))),
    "clGetDeviceInfo": (c_int32, (c_void_p, c_uint32, c_size_t, c_void_p, POINTER(c_size_t))),
    "clCreateContext": (c_void_p,
                        (c_void_p, c_uint32, POINTER(c_void_p), c_void_p, c_void_p, POINTER(c_int32))),
    "clCreateCommandQueue": (c_void_p, (c_void_p, c_void_p, c_uint64, POINTER(c_int32))),
    "clCreateProgramWithSource": (c_void_p, (c_void_p, c_uint32, POINTER(c_char_p), POINTER(c_size_t),
                                             POINTER(c_int32))),
    "clCreateProgramWithBinary": (c_void_p, (c_void_p, c_uint32, POINTER(c_void_p), POINTER(c_size_t),
                                             POINTER(c_void_p), POINTER(c_int32), POINTER(c_int32))),
    "clGetProgramInfo": (c_int32, (c_void_p, c_uint32, c_size_t, c_void_p, POINTER(c_size_t))),
    "clBuildProgram": (c_int32, (c_void_p, c_uint32, POINTER(c_void_p), c_char_p, c_void_p, c_void_p)),
    "clCompileProgram": (c_int32,
                         (c_void_p, c_uint32, POINTER(c_void_p), c_char_p, c_uint32, POINTER(c_void_p),
                                   POINTER(c_char_p), c_void_p, c_void_p)),
    "clLinkProgram": (c_void_p, (c_void_p, c_uint32, POINTER(c_void_p), c_char_p, c_uint32, POINTER(c_void_p),
                                 c_void_p, c_void_p, POINTER(c_int32))),
    "clGetProgramBuildInfo": (c_int32, (c_void_p, c_void_p, c_uint32, c_size_t, c_void_p, POINTER(c_size_t))),
    "clReleaseProgram": (c_int32, (c_void_p,)),
    "clCreateKernel": (c_void_p, (c_void_p, c_char_p, POINTER(c_int32))),
    "clGetKernelInfo": (c_int32, (c_void_p, c_uint32, c_size_t, c_void_p, POINTER(c_size_t))),
    "clGetKernelArgInfo": (c_int32, (c_void_p, c_uint32, c_uint32, c_size_t, c_void_p, POINTER(c_size_t))),
    "clSetKernelArg": (c_int32, (c_void_p, c_uint32, c_size_t, c_void_p)),
    "clReleaseKernel": (c_int32, (c_void_p,)),
    "clCreateBuffer": (c_void_p, (c_void_p, c_uint64, c_size_t, c_void_p, POINTER(c_int32))),
    "clReleaseMemObject": (c_int32, (c_void_p,)),
    "clEnqueueNDRangeKernel": (c_int32, (c_void_p, c_void_p, c_uint32, POINTER(c_size_t), POINTER(c_size_t),
                                         POINTER(c_size_t), c_uint32, c_void_p, c_void_p)),
    "clEnqueueMapBuffer": (c_void_p, (c_void_p, c_void_p, c_uint32, c_uint64, c_size_t, c_size_t, c_uint32,
                                      c_void_p, c_void_p, POINTER(c_int32))),
    "clEnqueueUnmapMemObject": (c_int32, (c_void_p, c_void_p, c_void_p, c_uint32, c_void_p, c_void_p)),
    "clFinish": (c_int32, (c_void_p,)),
}


class OpenClError(SafError):
    """An OpenCL call failed; ``code`` is its (negative) return value."""

    def __init__(self, call: str, code: int, hint: str = "") -> None:
        super().__init__(f"{call} failed: {ERROR_NAMES.get(code, 'error')} ({code})", hint)
        self.code = code


class OpenClApi:
    """The functions of one OpenCL library, typed; a non-zero return becomes :class:`OpenClError`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._functions: dict[str, Any] = {}
        for name, (result, arguments) in _SIGNATURES.items():
            try:
                function = getattr(library, name)
            except AttributeError:
                raise OpenClError(name, -3, "the library is older than OpenCL 1.2: " + INSTALL_HINT) from None
            function.restype = result
            function.argtypes = arguments
            self._functions[name] = function

    def call(self, name: str, *args: Any) -> None:
        """Call a function that returns a status."""
        status = self._functions[name](*args)
        if status:
            raise OpenClError(name, status)

    def create(self, name: str, *args: Any) -> c_void_p:
        """Call a function that returns a handle and takes the status pointer last."""
        status = c_int32(0)
        handle = self._functions[name](*args, byref(status))
        if status.value or handle is None:
            raise OpenClError(name, status.value)
        return c_void_p(handle)

    def text(self, name: str, *args: Any) -> str:
        """Read a string through an ``clGet…Info`` function: ``args`` are all arguments before the size."""
        size = c_size_t(0)
        self.call(name, *args, 0, None, byref(size))
        buffer = ctypes.create_string_buffer(size.value + 1)
        self.call(name, *args, size.value, buffer, None)
        return buffer.value.decode("utf-8", "replace")

    def number(self, name: str, *args: Any) -> int:
        """Read an unsigned 32-bit value through an ``clGet…Info`` function."""
        value = c_uint32(0)
        self.call(name, *args, 4, byref(value), None)
        return value.value


@dataclass(frozen=True, slots=True)
class CpuDevice:
    """An OpenCL CPU device that has built a kernel, with a context and an in-order queue of its own.

    ``runtime`` is one line naming platform, version, driver and device: what a card reports as its executor.
    """

    api: OpenClApi
    device: c_void_p
    context: c_void_p
    queue: c_void_p
    runtime: str
    align_bytes: int

    def build_log(self, program: c_void_p) -> str:
        """Compiler messages of the last build, compile or link of ``program``."""
        return self.api.text("clGetProgramBuildInfo", program, self.device, CL_PROGRAM_BUILD_LOG).strip()


def load(choice: str = "auto") -> CpuDevice:
    """The first OpenCL CPU runtime that builds a kernel.

    ``choice``: ``auto`` tries both, ``intel`` only Intel's wheels, ``icd`` only the system's ICD loader.
    Raises :class:`ConfigError` naming each candidate and why it was passed over.
    """
    candidates = {"auto": ("intel", "icd"), "intel": ("intel",), "icd": ("icd",)}.get(choice)
    if candidates is None:
        raise ConfigError(f"unknown OpenCL runtime {choice!r}", "use auto, intel or icd")
    reasons: list[str] = []
    for kind in candidates:
        try:
            library = _open_intel() if kind == "intel" else ctypes.CDLL(ICD_LIBRARY)
            return _open_device(OpenClApi(library))
        except (OSError, SafError) as error:
            reasons.append(f"{kind}: {error.message if isinstance(error, SafError) else error}")
    raise ConfigError(f"no OpenCL CPU runtime works here ({'; '.join(reasons)})", INSTALL_HINT)


def intel_library_folders() -> list[Path]:
    """Folders where pip may have put Intel's libraries: the environment's lib folder, then what the wheel
    says."""
    folders = [Path(sys.prefix) / "lib", Path(sysconfig.get_path("data")) / "lib"]
    try:
        files = metadata.files("intel-opencl-rt") or []
    except metadata.PackageNotFoundError:
        files = []
    folders += [Path(str(f.locate())).resolve().parent for f in files if f.name == INTEL_LIBRARY]
    return list(dict.fromkeys(folders))


def _open_intel() -> ctypes.CDLL:
    for folder in intel_library_folders():
        if (folder / INTEL_LIBRARY).exists():
            for name in INTEL_PRELOAD:
                if (folder / name).exists():
                    ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(folder / INTEL_LIBRARY))
    raise ConfigError("intel-opencl-rt is not installed in this environment")


def _open_device(api: OpenClApi) -> CpuDevice:
    count = c_uint32(0)
    platforms = (c_void_p * 16)()
    api.call("clGetPlatformIDs", 16, platforms, byref(count))
    failure = OpenClError("clGetDeviceIDs", -1)
    for handle in platforms[:min(count.value, 16)]:
        platform = c_void_p(handle)
        devices = (c_void_p * 1)()
        try:
            api.call("clGetDeviceIDs", platform, CL_DEVICE_TYPE_CPU, 1, devices, None)
            return _probe(api, platform, c_void_p(devices[0]))
        except OpenClError as error:
            failure = error
    raise failure


def _probe(api: OpenClApi, platform: c_void_p, device: c_void_p) -> CpuDevice:
    """Context, queue and a trial build on one device."""
    devices = (c_void_p * 1)(device)
    context = api.create("clCreateContext", None, 1, devices, None, None)
    queue = api.create("clCreateCommandQueue", context, device, 0)
    source = (c_char_p * 1)(PROBE_SOURCE.encode())
    program = api.create("clCreateProgramWithSource", context, 1, source, None)
    api.call("clBuildProgram", program, 1, devices, b"", None, None)
    api.call("clReleaseProgram", program)
    runtime = (f"{api.text('clGetPlatformInfo', platform, CL_PLATFORM_NAME)}, "
               f"{api.text('clGetPlatformInfo', platform, CL_PLATFORM_VERSION)}, "
               f"driver {api.text('clGetDeviceInfo', device, CL_DRIVER_VERSION)}, "
               f"on {api.text('clGetDeviceInfo', device, CL_DEVICE_NAME)}")
    align_bytes = api.number("clGetDeviceInfo", device, CL_DEVICE_MEM_BASE_ADDR_ALIGN) // 8
    return CpuDevice(api, device, context, queue, runtime, align_bytes)
