"""What kernels are to a card simulated from RTL: the role's ROM, and launches taken out of its CRA registers.

The shell checks a launch by the ROM, writes the invocation image of CSR version 3 into the kernel's CRA window and
starts it; from there on the kernel runs on the role's memory in one of the lab's role processes, as on any card here.
"""

from __future__ import annotations

import os
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.lab.card_types import RoleJob
from safhost.lab.pr import Role
from safhost.plan.kernelspec import KernelSpec
from safhost.plan.layout import DecodedArguments, decode_arguments
from safhost.wire.generated import ARGUMENT_MAX_BYTES

ROM_MAGIC = 0x53414652
ROM_FIRST_WORD, ROM_KERNEL_WORDS = 4, 8
SEGMENT_BYTES = 0x1000
"""Kernel k's CRA window is segment k × 4 KiB."""

MAX_KERNELS = 64
"""CRA windows of the simulation (saf_cosim_kernels.h)."""

REGION_BYTES = 1 << 20
"""The shell remembers by regions of this size what it has to make zero for another owner."""

_INVOCATION = Struct("<14I")  # from +0x28: work_dim, group size, global[3], num_groups[3], local[3], offset[3]
_INVOCATION_OFFSET, _ARGUMENTS_OFFSET = 0x28, 0x60


def rom_words(role: Role) -> NDArray[np.uint64]:
    """The ROM of a role, (n,) uint64: magic and count, then 8 words a kernel, of which three are used: argument bytes
    (most, least) and CRA segment; bits that say where in the arguments buffer addresses lie. Raises ConfigError."""
    if len(role.kernels) > MAX_KERNELS:
        raise ConfigError(f"{len(role.kernels)} kernels in one image", f"a simulated card takes {MAX_KERNELS}")
    words = [ROM_MAGIC << 32 | len(role.kernels)] + [0] * (ROM_FIRST_WORD - 1)
    for number, spec in enumerate(role.kernels):
        most = min(spec.block_bytes, ARGUMENT_MAX_BYTES)
        mask = sum(1 << arg.csr_offset // 8 for arg in spec.args if arg.kind == "buffer")
        words += [most << 48 | least_block_bytes(spec) << 32 | number * SEGMENT_BYTES,
                  mask & (1 << 64) - 1, mask >> 64, 0, 0, 0, 0, 0]
    return np.array(words, np.uint64)


def least_block_bytes(spec: KernelSpec) -> int:
    """How long an argument block has to be."""
    return max((a.csr_offset + a.csr_bytes for a in spec.args), default=0)


def launch_job(role: Role, kernel: int, registers: bytes, ticket: int, memory_fd: int, role_bytes: int) -> RoleJob:
    """The launch that the CRA window ``registers`` of ``kernel`` describes.

    Raises CommandFailed for a buffer beyond the role's memory, ConfigError for registers that describe no launch.
    """
    spec, block, decoded = _decode(role, kernel, registers, role_bytes)
    return RoleJob(ticket, role.key, role.manifest, role.archive, memory_fd, role_bytes, kernel=spec.name, block=block,
                   global_size=decoded.global_size, local_size=decoded.local_size)


def written_regions(role: Role, kernel: int, registers: bytes, role_bytes: int) -> list[int]:
    """Regions of role memory in which the launch's buffers lie, ascending. Raises as `launch_job`."""
    _, _, decoded = _decode(role, kernel, registers, role_bytes)
    return sorted({region for buffer in decoded.buffers.values() if buffer.length_bytes
                   for region in range(buffer.address // REGION_BYTES,
                                       -(-(buffer.address + buffer.length_bytes) // REGION_BYTES))})


def _decode(role: Role, kernel: int, registers: bytes, role_bytes: int) -> tuple[KernelSpec, bytes, DecodedArguments]:
    if kernel >= len(role.kernels):
        raise ConfigError(f"the shell started kernel {kernel} of {len(role.kernels)}", "a mistake of the shell")
    spec = role.kernels[kernel]
    fields = _INVOCATION.unpack_from(registers, _INVOCATION_OFFSET)
    dimensions = fields[0]
    if dimensions > 3:
        raise ConfigError(f"{dimensions} work dimensions", "at most 3")
    sizes, groups = fields[2:5][:dimensions], fields[8:11][:dimensions]
    block = registers[_ARGUMENTS_OFFSET:_ARGUMENTS_OFFSET + min(spec.block_bytes, ARGUMENT_MAX_BYTES)]
    return spec, block, decode_arguments(spec, block, role_bytes, sizes, groups if any(groups) else ())


def resident_regions(fd: int, size_bytes: int) -> NDArray[np.uint32]:
    """Numbers of the regions of a memfd that hold anything, (n,) uint32, ascending: nothing else can have been
    written."""
    regions: list[NDArray[np.uint32]] = []
    at = 0
    while at < size_bytes:
        try:
            first = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, first, os.SEEK_HOLE)
        except OSError:
            break  # ENXIO: no data behind `at`
        regions.append(np.arange(first // REGION_BYTES, -(-end // REGION_BYTES), dtype=np.uint32))
        at = end
    return np.unique(np.concatenate(regions)) if regions else np.empty(0, np.uint32)


