"""Bitstream and arguments out of an ``.aocx`` file of the Intel FPGA SDK for OpenCL.

An .aocx is an ELF file whose sections are data. ``.acl.fpga.bin`` holds what the board package put there;
those of the Arria 10 reference platform and its kin are again ELF, with the PR bitstream of the kernel
region in ``.acl.core.rbf`` (Intel 683267, table 17). ``.acl.autodiscovery`` describes board and kernels as a
line of words; its layout is taken as a fact from the reader in intel/fpga-runtime-for-opencl (version 23,
the only one it reads). Each group of words opens with their number, so fields added later are passed over.

The description knows no array shapes. An imported kernel therefore takes flat buffers whose lengths it
learns from the arrays, through symbols behind its arguments, and every buffer that is not ``const`` counts
as ``inout``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safhost.errors import ConfigError, ImageError
from safhost.plan.image import Image, write_container
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.rbf import pof_id

if TYPE_CHECKING:
    from typing_extensions import Buffer

AUTODISCOVERY_VERSION = 23
BITSTREAM_SECTIONS = (".acl.core.rbf", ".acl.rbf")
_ELF_HEADER = {1: struct.Struct("<HHIIIIIHHHHHH"), 2: struct.Struct("<HHIQQQIHHHHHH")}
_SECTION = {1: struct.Struct("<IIIIIIIIII"), 2: struct.Struct("<IIQQQQIIQQ")}
_SHT_NOBITS = 8
_DTYPES = {"char": "int8", "uchar": "uint8", "short": "int16", "ushort": "uint16", "int": "int32",
           "uint": "uint32",
           "long": "int64", "ulong": "uint64", "half": "float16", "float": "float32", "double": "float64"}
_ADDRESS_LOCAL, _TYPE_CONST, _TYPE_PIPE = 1, 1, 8


@dataclass(frozen=True, slots=True)
class DiscoveredArgument:
    """One argument as the autodiscovery words give it; ``name`` and ``type_name`` may be empty."""

    name: str
    type_name: str
    address_space: int
    category: int
    size_bytes: int
    is_const: bool


@dataclass(frozen=True, slots=True)
class DiscoveredKernel:
    """One kernel: CRA place, required work-group size (zeros when there is none), arguments."""

    name: str
    cra_offset: int
    cra_bytes: int
    group_size: tuple[int, int, int]
    max_global_dimensions: int
    arguments: tuple[DiscoveredArgument, ...]


@dataclass(frozen=True, slots=True)
class Autodiscovery:
    """What a design says of itself."""

    design_hash: str
    board: str
    kernels: tuple[DiscoveredKernel, ...]


def elf_sections(data: Buffer, what: str = "file") -> dict[str, memoryview]:
    """Sections of a little-endian ELF file by name, as views. Raises :class:`ImageError` otherwise."""
    view = memoryview(data).cast("B")
    if bytes(view[:4]) != b"\x7fELF" or len(view) < 16 or view[4] not in _SECTION or view[5] != 1:
        raise ImageError(f"{what} is not a little-endian ELF file", "give the .aocx that aoc wrote")
    header, section = _ELF_HEADER[view[4]], _SECTION[view[4]]
    try:
        fields = header.unpack_from(view, 16)
        table, entry_bytes, count, names_index = fields[5], *fields[10:]
        rows = [section.unpack_from(view, table + i * entry_bytes) for i in range(count)]
        names = rows[names_index]
        out: dict[str, memoryview] = {}
        for row in rows:
            start, length = row[4], row[5]
            text = bytes(view[names[4] + row[0]:names[4] + names[5]]).split(b"\0", 1)[0]
            if row[1] == _SHT_NOBITS or not text:
                continue
            if start + length > len(view):
                raise ImageError(f"{what}: section {text.decode('latin-1')} ends outside the file",
                                 "the file is truncated; copy it again")
            out[text.decode("latin-1")] = view[start:start + length]
    except (struct.error, IndexError):
        raise ImageError(f"{what}: section table is damaged",
                         "the file is truncated; copy it again") from None
    return out


class _Words:
    """Reader of the autodiscovery words, with the groups that say how many words they have."""

    def __init__(self, text: str) -> None:
        self.words = text.split()
        self.position = 0

    def word(self) -> str:
        if self.position >= len(self.words):
            raise ImageError(f"autodiscovery ends after {self.position} words",
                             "give a kernel.yaml with --kernel")
        self.position += 1
        return self.words[self.position - 1]

    def number(self) -> int:
        word = self.word()
        try:
            return 0 if word == "?" else int(word)
        except ValueError:
            raise ImageError(f"autodiscovery word {self.position} is {word!r}, expected a number",
                             "give a kernel.yaml with --kernel") from None

    def skip(self, count: int) -> None:
        for _ in range(count):
            self.word()

    def group(self, length: int) -> int:
        """End of a group of ``length`` words from here; reading goes on at it when the group is done."""
        return self.position + length

    def groups_of_one_length(self) -> None:
        """Pass over: number of groups, words in each, the groups."""
        count, length = self.number(), self.number()
        self.skip(min(count * length, len(self.words)))


def parse_autodiscovery(text: str) -> Autodiscovery:
    """Read ``.acl.autodiscovery``. Raises :class:`ImageError` for another version or a malformed text."""
    words = _Words(text.replace("\0", " "))
    version = words.number()
    if version != AUTODISCOVERY_VERSION:
        raise ImageError(f"autodiscovery version {version} is not documented, {AUTODISCOVERY_VERSION} is",
                         "give a kernel.yaml with --kernel")
    device_end = words.group(words.number())
    design_hash, board = words.word(), words.word()
    words.skip(1)  # endianness
    for _ in range(words.number()):  # global memories: each its own number of words
        words.skip(words.number())
    words.groups_of_one_length()  # host pipes
    named = words.number() if words.position < device_end else 0
    words.position = max(words.position, device_end)
    kernels = tuple(_read_kernel(words, bool(named)) for _ in range(words.number()))
    return Autodiscovery(design_hash, board, kernels)


def _read_kernel(words: _Words, named: bool) -> DiscoveredKernel:
    end = words.group(words.number())
    name, cra_offset, cra_bytes = words.word(), words.number(), words.number()
    words.skip(7)  # launch depth, monitor address and size, two invariances, vector lanes, profile words
    arguments = tuple(_read_argument(words, named) for _ in range(words.number()))
    words.groups_of_one_length()  # printf formats
    words.groups_of_one_length()  # local memories
    group_size = (words.number(), words.number(), words.number())
    words.skip(words.number())  # largest work-group size
    max_dimensions = words.number()
    words.position = end
    return DiscoveredKernel(name, cra_offset, cra_bytes, group_size, max_dimensions, arguments)


def _read_argument(words: _Words, named: bool) -> DiscoveredArgument:
    end = words.group(words.number())
    address_space, category, size_bytes = words.number(), words.number(), words.number()
    words.skip(1)  # alignment
    words.skip(words.number())  # buffer locations
    if address_space == _ADDRESS_LOCAL:
        words.skip(2)  # address space id and bytes
    qualifier = words.number()
    if qualifier == _TYPE_PIPE and words.number():
        words.skip(1)  # channel name
    name, type_name = (words.word(), words.word()) if named else ("", "")
    words.position = end
    return DiscoveredArgument(name, "" if type_name == "0" else type_name, address_space, category,
                              size_bytes,
                              bool(qualifier & _TYPE_CONST))


def import_aocx(path: str | Path, out: str | Path, kernel: str | Path | KernelPackage | None = None) -> Image:
    """Write a ``.saf`` image from an ``.aocx``.

    Arguments come from ``kernel`` (a kernel.yaml) or else from the autodiscovery words; the PR compatibility
    id comes from the bitstream. Raises :class:`ImageError` saying which part is not there.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot open {file}: {error.strerror}",
                         "check the path and its permissions") from None
    sections = elf_sections(data, file.name)
    payload = np.frombuffer(_bitstream(sections, file.name), np.uint8)
    if kernel is None:
        package = package_from_autodiscovery(sections, file.stem, pof_id(payload.data))
    else:
        package = kernel if isinstance(kernel, KernelPackage) else \
            KernelPackage.load(kernel, need_files=False)
        if package.pr_compat_id != pof_id(payload.data):
            raise ImageError(f"{file.name} has PR compatibility id {pof_id(payload.data):#010x}, "
                             f"its kernel.yaml says {package.pr_compat_id:#010x}",
                             "correct pr_compat_id in kernel.yaml")
    write_container(Path(out), payload, package, created_by=f"safhost image import {file.name}")
    return Image.open(out)


def package_from_autodiscovery(sections: dict[str, memoryview], stem: str,
                               pr_compat_id: int) -> KernelPackage:
    """A package whose kernels are those of the autodiscovery words (see the module's text for what is
    unknown)."""
    if ".acl.autodiscovery" not in sections:
        raise ImageError(f"{stem}.aocx does not describe its kernels (no .acl.autodiscovery)",
                         "give a kernel.yaml with --kernel")
    found = parse_autodiscovery(bytes(sections[".acl.autodiscovery"]).decode("latin-1"))
    kernels = [_kernel_entry(k) for k in found.kernels]
    name = "".join(c if c.isalnum() else "-" for c in stem).strip("-") or "imported"
    try:
        return KernelPackage.from_dict({
            "name": name, "description": f"imported, design {found.design_hash}", "board": found.board,
            "pr_compat_id": pr_compat_id, "kernels": kernels}, f"{stem}.aocx autodiscovery")
    except ConfigError as error:
        raise ImageError(error.message, "give a kernel.yaml with --kernel") from None


def _kernel_entry(kernel: DiscoveredKernel) -> dict[str, Any]:
    """The kernel.yaml entry. Offsets are packed without gaps, as the SDK's runtime does."""
    args: list[dict[str, Any]] = []
    symbols: list[dict[str, Any]] = []
    offset = 0
    for i, argument in enumerate(kernel.arguments):
        name = argument.name or f"arg{i}"
        entry: dict[str, Any] = {"name": name, "csr": {"offset": offset, "size": argument.size_bytes}}
        base = argument.type_name.rstrip("*").strip()
        if argument.category == 1 and argument.address_space != _ADDRESS_LOCAL:
            symbol = f"{name}_elements"
            symbols.append({"name": symbol, "kind": "symbol", "dtype": "uint64"})
            entry |= {"kind": "buffer", "dtype": _DTYPES.get(base, "uint8"), "shape": [symbol],
                      "direction": "in" if argument.is_const else "inout"}
        elif argument.category == 0:
            entry |= {"kind": "scalar", "dtype": _DTYPES.get(base) or f"uint{argument.size_bytes * 8}"}
        else:
            raise ImageError(f"kernel {kernel.name}: argument {name} is local memory or a sampler, whose "
                             "size is not described", "give a kernel.yaml with --kernel")
        args.append(entry)
        offset += argument.size_bytes
    out: dict[str, Any] = {"name": kernel.name, "args": args + symbols}
    if kernel.max_global_dimensions == 0:
        return out | {"single_work_item": True}
    symbols_global = {"name": "work_items", "kind": "symbol", "dtype": "uint64"}
    out |= {"args": args + symbols + [symbols_global], "global": ["work_items"]}
    if kernel.group_size[0] and kernel.group_size[1:] == (1, 1):
        out["local"] = [str(kernel.group_size[0])]
    return out


def _bitstream(sections: dict[str, memoryview], what: str) -> memoryview:
    places = [sections]
    if ".acl.fpga.bin" in sections:
        places.insert(0, elf_sections(sections[".acl.fpga.bin"], f"{what} section .acl.fpga.bin"))
    for place in places:
        for name in BITSTREAM_SECTIONS:
            if name in place:
                return place[name]
    names = ", ".join(sorted(n for place in places for n in place)) or "none"
    full = any(".acl.sof" in place for place in places)
    raise ImageError(f"{what} holds no PR bitstream (sections: {names})",
                     "it was compiled for the base revision: compile against the installed base shell" if full
                     else "compile with aoc for hardware, not for emulation or report")
