"""Building the kernels of an image and running them on a card's memory, with an OpenCL CPU device.

Sources are written to a scratch folder for the time of the build, so that ``#include`` means what it means
to any compiler: the image's root, each folder of an include and the folder of the source are searched.
Several sources are compiled one by one and linked (OpenCL 1.2), as the FPGA compiler treats them. A run
makes buffers over the card's memory itself (``CL_MEM_USE_HOST_PTR``): nothing is copied, and results lie in
the card's memory when it returns.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from ctypes import byref, c_char_p, c_size_t, c_void_p
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from safhost.errors import CommandFailed, SafError
from safhost.lab import opencl_cache
from safhost.lab.opencl_api import (
    ADDRESS_CONSTANT,
    ADDRESS_GLOBAL,
    ADDRESS_LOCAL,
    ADDRESS_PRIVATE,
    ARG_INFO_NOT_AVAILABLE,
    CL_KERNEL_ARG_ADDRESS_QUALIFIER,
    CL_KERNEL_NUM_ARGS,
    CL_MAP_READ,
    CL_MEM_READ_WRITE,
    CL_MEM_USE_HOST_PTR,
    CpuDevice,
    OpenClError,
)
from safhost.plan.kernelspec import KernelPackage, KernelSpec
from safhost.plan.layout import DecodedArguments

MAX_LOG_CHARS = 6000
"""Of a build log, its start is what names the first error; the rest is cut to fit one message."""

_WANTED = {"buffer": (ADDRESS_GLOBAL, ADDRESS_CONSTANT), "local": (ADDRESS_LOCAL,),
           "scalar": (ADDRESS_PRIVATE,)}


class BuildFailed(SafError):
    """The image's source does not compile, or does not have the kernels that its kernel.yaml describes."""


@dataclass(frozen=True, slots=True)
class Program:
    """Kernels of one image, ready to run on one device."""

    device: CpuDevice
    package: KernelPackage
    handle: c_void_p
    kernels: Mapping[str, c_void_p]


def build_program(device: CpuDevice, package: KernelPackage, files: Mapping[str, str],
                  scratch: Path) -> Program:
    """Compile ``package``'s sources out of ``files``. Raises :class:`BuildFailed` with the compiler's log."""
    missing = [s for s in package.sources if s not in files]
    if missing or not package.sources:
        listed = ", ".join(missing) or "(none listed)"
        raise BuildFailed(f"image {package.name} does not hold its source {listed}",
                          "build the image again")
    scratch.mkdir(parents=True, exist_ok=True)  # a long-running lab may have had its /tmp cleaned
    folder = Path(tempfile.mkdtemp(prefix="build-", dir=scratch))
    try:
        for name, text in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        # -cl-kernel-arg-info so that kernel.yaml can be checked against what was compiled
        base = f"-cl-kernel-arg-info {package.options}".strip()
        name = opencl_cache.name_of(device, base, package.sources, files)
        kept = opencl_cache.load(device, name, base)
        program = kept or _compile_all(device, package, files, folder, base)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    kernels = {}
    for spec in package.kernels.values():
        try:
            kernels[spec.name] = device.api.create("clCreateKernel", program, spec.source_name.encode())
        except OpenClError as error:
            raise BuildFailed(f"kernel {spec.source_name} is not in the sources of {package.name} ({error.message})",
                              "correct its name in kernel.yaml") from None
        _check_signature(device, spec, kernels[spec.name])
    if kept is None:
        opencl_cache.keep(device, name, program)
    return Program(device, package, program, kernels)


def release_program(program: Program) -> None:
    """Give the kernels' memory back to the runtime."""
    for kernel in program.kernels.values():
        program.device.api.call("clReleaseKernel", kernel)
    program.device.api.call("clReleaseProgram", program.handle)


def run_kernel(program: Program, spec: KernelSpec, arguments: DecodedArguments, memory_address: int,
               clock_ns: Callable[[], int] = time.perf_counter_ns) -> int:
    """Run one launch over the memory mapped at ``memory_address``; returns the time it took in ns.

    ``arguments`` has passed the bounds check of ``decode_arguments``. Raises :class:`CommandFailed`.
    """
    device, api, kernel = program.device, program.device.api, program.kernels[spec.name]
    buffers: dict[str, c_void_p] = {}
    try:
        for index, arg in enumerate(spec.kernel_args):
            if arg.kind == "buffer":
                place = arguments.buffers[arg.name]
                if place.length_bytes == 0:
                    api.call("clSetKernelArg", kernel, index, ctypes.sizeof(c_void_p), None)
                    continue
                buffers[arg.name] = api.create(
                    "clCreateBuffer", device.context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR,
                                               place.length_bytes,
                    c_void_p(memory_address + place.address))
                handle = buffers[arg.name]
                api.call("clSetKernelArg", kernel, index, ctypes.sizeof(c_void_p), byref(handle))
            elif arg.kind == "local":
                api.call("clSetKernelArg", kernel, index, max(1, arguments.local_bytes[arg.name]), None)
            else:
                raw = arguments.scalars[arg.name]
                api.call("clSetKernelArg", kernel, index, len(raw),
                         ctypes.create_string_buffer(raw, len(raw)))
        started_ns = clock_ns()
        dimensions = len(arguments.global_size)
        local = (c_size_t * dimensions)(*arguments.local_size) if arguments.local_size else None
        api.call("clEnqueueNDRangeKernel", device.queue, kernel, dimensions, None,
                 (c_size_t * dimensions)(*arguments.global_size), local, 0, None, None)
        api.call("clFinish", device.queue)
        elapsed_ns = clock_ns() - started_ns
        for arg in spec.kernel_args:
            if arg.is_output and arg.name in buffers:
                _settle(device, buffers[arg.name], arguments.buffers[arg.name].length_bytes)
        return elapsed_ns
    except OpenClError as error:
        raise CommandFailed(f"kernel {spec.name}: {error.message}",
                            "check global and local size in kernel.yaml"
                            ) from None
    finally:
        for handle in buffers.values():
            api.call("clReleaseMemObject", handle)


def _settle(device: CpuDevice, buffer: c_void_p, length_bytes: int) -> None:
    """Map and unmap: the point at which OpenCL promises that host memory holds the result. Free on a CPU."""
    pointer = device.api.create("clEnqueueMapBuffer", device.queue, buffer, 1, CL_MAP_READ, 0, length_bytes,
                                0, None, None)
    device.api.call("clEnqueueUnmapMemObject", device.queue, buffer, pointer, 0, None, None)


def _compile_all(device: CpuDevice, package: KernelPackage, files: Mapping[str, str], folder: Path,
                 base: str) -> c_void_p:
    api = device.api
    devices = (c_void_p * 1)(device.device)
    objects = []
    single = len(package.sources) == 1
    for name in package.sources:
        options = f"{base} {_include_options(package, name, files, folder)}".strip().encode()
        text = (c_char_p * 1)(files[name].encode())
        program = api.create("clCreateProgramWithSource", device.context, 1, text, None)
        try:
            if single:
                api.call("clBuildProgram", program, 1, devices, options, None, None)
            else:
                api.call("clCompileProgram", program, 1, devices, options, 0, None, None, None, None)
        except OpenClError as error:
            raise _build_failed(device, package, name, program, error) from None
        objects.append(program)
    if single:
        return objects[0]
    try:
        linked = api.create("clLinkProgram", device.context, 1, devices, b"", len(objects),
                          (c_void_p * len(objects))(*objects), None, None)
    except OpenClError as error:
        raise BuildFailed(f"image {package.name} does not link: {error.message}",
                          "a function may be defined in two sources") from None
    for program in objects:
        api.call("clReleaseProgram", program)
    return linked


def _include_options(package: KernelPackage, source: str, files: Mapping[str, str], folder: Path) -> str:
    folders = [folder, folder / PurePosixPath(source).parent]
    for name in package.includes:
        folders.append(folder / (PurePosixPath(name).parent if name in files else PurePosixPath(name)))
    return " ".join(f"-I {path}" for path in dict.fromkeys(folders))


def _build_failed(device: CpuDevice, package: KernelPackage, source: str, program: c_void_p,
                  error: OpenClError) -> BuildFailed:
    log = device.build_log(program)[:MAX_LOG_CHARS] or error.message
    return BuildFailed(f"{source} of image {package.name} does not compile:\n{log}", "correct the source")


def _check_signature(device: CpuDevice, spec: KernelSpec, kernel: c_void_p) -> None:
    """Compare number and address spaces of the arguments with kernel.yaml."""
    api, described = device.api, spec.kernel_args
    count = api.number("clGetKernelInfo", kernel, CL_KERNEL_NUM_ARGS)
    if count != len(described):
        raise BuildFailed(f"kernel {spec.name} takes {count} arguments, kernel.yaml has {len(described)}",
                          "integers the kernel does not take are of kind symbol")
    for index, arg in enumerate(described):
        try:
            found = api.number("clGetKernelArgInfo", kernel, index, CL_KERNEL_ARG_ADDRESS_QUALIFIER)
        except OpenClError as error:
            if error.code == ARG_INFO_NOT_AVAILABLE:
                return  # pocl 3.1 loses it in linking; the number of arguments is checked all the same
            raise
        if found not in _WANTED[arg.kind]:
            raise BuildFailed(f"kernel {spec.name}: argument {index} is not a {arg.kind} in the source, "
                              f"kernel.yaml calls {arg.name} one",
                              "correct its kind or the order of arguments")
