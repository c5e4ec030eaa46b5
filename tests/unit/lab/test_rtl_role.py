"""What kernels are to a simulated card: ROM words, launches out of registers, memory that was written."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest

from safhost import paths
from safhost.errors import CommandFailed, ConfigError
from safhost.lab.ddr import SparseMemory
from safhost.lab.pr import Role
from safhost.lab.rtl_role import (
    REGION_BYTES,
    ROM_MAGIC,
    launch_job,
    least_block_bytes,
    resident_regions,
    rom_words,
    written_regions,
)
from safhost.plan.kernelspec import KernelPackage

ROLE_BYTES = 1 << 30


def role_of(name: str) -> Role:
    package = KernelPackage.load(paths.kernels_dir() / name / "kernel.yaml")
    return Role("key", package.to_dict(), b"", tuple(package.kernels.values()))


def registers_of(role: Role, kernel: int, sizes: tuple[int, ...], groups: tuple[int, ...] = (),
                 **values: int) -> bytes:
    """The CRA window as the shell leaves it."""
    window = bytearray(4096)
    wide = (*sizes, 1, 1, 1)[:3]
    local = (*groups, 0, 0, 0)[:3]
    window[0x28:0x60] = struct.pack("<14I", len(sizes), 1, *wide, 0, 0, 0, *local, 0, 0, 0)
    for arg in role.kernels[kernel].args:
        at = 0x60 + arg.csr_offset
        window[at:at + arg.csr_bytes] = values[arg.name].to_bytes(arg.csr_bytes, "little")
    return bytes(window)


def test_rom_words_describe_each_kernel():
    role = role_of("vadd")
    words = rom_words(role)
    spec = role.kernels[0]
    assert int(words[0]) == ROM_MAGIC << 32 | len(role.kernels)
    assert int(words[4]) & 0xFFFFFFFF == 0
    assert int(words[4]) >> 32 & 0xFFFF == least_block_bytes(spec)
    assert int(words[4]) >> 48 >= least_block_bytes(spec)
    buffers = [a.csr_offset // 8 for a in spec.args if a.kind == "buffer"]
    assert int(words[5]) == sum(1 << b for b in buffers)


def test_rom_words_too_many_kernels_is_refused():
    role = role_of("vadd")
    many = Role("key", role.manifest, b"", role.kernels * 65)
    with pytest.raises(ConfigError, match="65 kernels"):
        rom_words(many)


def test_launch_job_takes_sizes_and_block_from_the_registers():
    role = role_of("vadd")
    values = {a.name: 0x1000 * (i + 1) if a.kind == "buffer" else 16 for i, a in enumerate(role.kernels[0].args)}
    job = launch_job(role, 0, registers_of(role, 0, (16,), **values), 7, 3, ROLE_BYTES)
    assert (job.ticket, job.kernel, job.global_size, job.memory_fd) == (7, role.kernels[0].name, (16,), 3)
    for arg in role.kernels[0].args:
        part = job.block[arg.csr_offset:arg.csr_offset + arg.csr_bytes]
        assert int.from_bytes(part, "little") == values[arg.name]


def test_launch_job_buffer_beyond_the_role_is_refused():
    role = role_of("vadd")
    values = {a.name: ROLE_BYTES - 4 if a.kind == "buffer" else 16 for a in role.kernels[0].args}
    with pytest.raises(CommandFailed):
        launch_job(role, 0, registers_of(role, 0, (16,), **values), 1, 3, ROLE_BYTES)


def test_launch_job_unknown_kernel_is_refused():
    with pytest.raises(ConfigError, match="started kernel 9"):
        launch_job(role_of("vadd"), 9, bytes(4096), 1, 3, ROLE_BYTES)


def test_written_regions_hold_every_buffer():
    role = role_of("vadd")
    names = [a.name for a in role.kernels[0].args if a.kind == "buffer"]
    values = {a.name: 600_000 for a in role.kernels[0].args}
    values |= {name: i * 8 * REGION_BYTES + REGION_BYTES // 2 for i, name in enumerate(names)}
    regions = written_regions(role, 0, registers_of(role, 0, (600_000,), **values), ROLE_BYTES)
    assert regions == [first for i in range(len(names)) for first in (8 * i, 8 * i + 1, 8 * i + 2)]


def test_resident_regions_finds_what_was_written():
    memory = SparseMemory(64 << 20, shared=True)
    assert list(resident_regions(memory.fd, memory.size_bytes)) == []
    for region in (0, 5, 63):
        os.pwrite(memory.fd, b"x", region * REGION_BYTES + 17)
    found = resident_regions(memory.fd, memory.size_bytes)
    assert found.dtype == np.uint32
    assert set(found.tolist()) >= {0, 5, 63}
    assert found.max() < 64
    memory.close()
