"""What kernel.yaml says: kernels, their arguments, and where each argument lies in the argument block.

The argument block is the tail of the invocation image that starts an Intel OpenCL kernel (CSR version 3,
arguments from 0x60 of the CRA window of 0x1000 bytes; intel/fpga-runtime-for-opencl). ``csr`` offsets are
relative to that tail. Absent offsets are computed: arguments in order, each at a multiple of its size,
buffers as 8-byte addresses.

Kinds of argument: ``buffer`` (a ``__global`` or ``__constant`` pointer), ``scalar`` (by value, ``lanes`` for
OpenCL vector types), ``local`` (a ``__local`` pointer; only its size matters and its four bytes are zero)
and ``symbol`` (an integer that sizes depend on and that the kernel itself does not take; it lies behind all
other arguments).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from safhost.errors import ConfigError
from safhost.plan.expr import Expression, parse_expression
from safhost.plan.fields import Fields, load_yaml

if TYPE_CHECKING:
    from safhost.plan.layout import Binding

DEFAULT_BOARD = "385a"
DEFAULT_PR_COMPAT_ID = 0x5AF00001
"""PR compatibility id of this project's base shell for the 385A (its own choice; real shells get Quartus'
id)."""

ARGUMENT_BLOCK_BYTES = 0x1000 - 0x60
"""Room for arguments: CRA window less the invocation header (CSR version 3)."""

DEFAULT_CLOCK_MHZ = 200.0
"""Kernel clock of a cycle model that names none: a usual fmax of OpenCL kernels on an Arria 10."""

ADDRESS_BYTES = 8
LOCAL_POINTER_BYTES = 4
"""A device's __local pointer takes four bytes of the block (intel/fpga-runtime-for-opencl, acl_kernel)."""

MANIFEST_NAME = "kernel.yaml"
KINDS = ("buffer", "scalar", "local", "symbol")
DIRECTIONS = ("in", "out", "inout", "scratch")
"""``scratch``: room in the card's memory that a launch works in; nothing is moved there or back."""
LANES = (1, 2, 3, 4, 8, 16)
MAX_COMPUTE_UNITS = 16
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class ArgSpec:
    """One argument. ``shape`` is in elements of ``dtype``; ``csr_offset`` and ``csr_bytes`` place it in the
    block."""

    name: str
    kind: str
    dtype: np.dtype[Any]
    shape: tuple[Expression, ...] = ()
    direction: str = ""
    value: Expression | None = None
    lanes: int = 1
    csr_offset: int = 0
    csr_bytes: int = 0
    resident: bool = False

    @property
    def natural_bytes(self) -> int:
        """Bytes in the argument block; three lanes take the room of four, as in OpenCL."""
        if self.kind == "buffer":
            return ADDRESS_BYTES
        if self.kind == "local":
            return LOCAL_POINTER_BYTES
        return self.dtype.itemsize * (4 if self.lanes == 3 else self.lanes)

    @property
    def is_integer(self) -> bool:
        """Whether expressions may use it."""
        return self.kind in ("scalar", "symbol") and self.dtype.kind in "iu" and self.lanes == 1

    @property
    def is_input(self) -> bool:
        return self.kind == "buffer" and self.direction in ("in", "inout")

    @property
    def is_output(self) -> bool:
        return self.kind == "buffer" and self.direction in ("out", "inout")

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.name, "kind": self.kind, "dtype": self.dtype.name}
        if self.kind in ("buffer", "local"):
            out["shape"] = [e.text for e in self.shape]
        if self.kind == "buffer":
            out["direction"] = self.direction
        if self.resident:
            out["resident"] = True
        if self.value is not None:
            out["value"] = self.value.text
        if self.lanes != 1:
            out["lanes"] = self.lanes
        out["csr"] = {"offset": self.csr_offset, "size": self.csr_bytes}
        return out


@dataclass(frozen=True, slots=True)
class CycleModel:
    """How long a launch takes on an FPGA, for figures that are labelled modelled: cycles at a clock."""

    cycles: Expression
    clock_mhz: float


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """One kernel of an image: what it is called with and how large a launch is. An image has it ``compute_units``
    times: the copies, each a kernel of its own (``copy_of``), follow it as name_1, name_2 …"""

    name: str
    args: tuple[ArgSpec, ...]
    global_size: tuple[Expression, ...]
    local_size: tuple[Expression, ...] = ()
    single_work_item: bool = False
    model: CycleModel | None = None
    compute_units: int = 1
    copy_of: str = ""

    @property
    def source_name(self) -> str:
        """What the kernel is called where it is written; copies share it."""
        return self.copy_of or self.name

    @property
    def kernel_args(self) -> tuple[ArgSpec, ...]:
        """The arguments that the OpenCL kernel itself takes, in its order."""
        return tuple(a for a in self.args if a.kind != "symbol")

    @property
    def block_bytes(self) -> int:
        """Bytes of the packed argument block, a multiple of 8."""
        end = max((a.csr_offset + a.csr_bytes for a in self.args), default=0)
        return -(-end // 8) * 8

    def bind(self, *arrays: np.ndarray[Any, Any], **values: Any) -> Binding:
        """Match numpy arrays (to the input buffers, in order) and scalars (by name) to the arguments.

        Sizes are solved from the arrays' shapes. Raises :class:`ConfigError` naming the argument that does
        not fit.
        """
        from safhost.plan.layout import bind_arguments

        return bind_arguments(self, arrays, values)

    def to_dict(self) -> dict[str, Any]:
        out = {"name": self.name, "args": [a.to_dict() for a in self.args],
               "global": [e.text for e in self.global_size], "local": [e.text for e in self.local_size],
               "single_work_item": self.single_work_item}
        if self.compute_units > 1:
            out["compute_units"] = self.compute_units
        if self.model is not None:
            out["model"] = {"cycles": self.model.cycles.text, "clock_mhz": self.model.clock_mhz}
        return out


@dataclass(frozen=True, slots=True)
class KernelPackage:
    """A kernel.yaml: everything one image is built from. ``folder`` is where its files lie, None inside an
    image."""

    name: str
    version: str
    description: str
    sources: tuple[str, ...]
    includes: tuple[str, ...]
    options: str
    board: str
    pr_compat_id: int
    kernels: Mapping[str, KernelSpec]
    folder: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Canonical content: every default filled in, so equal packages give equal dictionaries."""
        return {"name": self.name, "version": self.version, "description": self.description,
                "sources": list(self.sources), "includes": list(self.includes), "options": self.options,
                "board": self.board, "pr_compat_id": self.pr_compat_id,
                "kernels": [k.to_dict() for k in self.kernels.values() if not k.copy_of]}

    @classmethod
    def load(cls, path: str | Path, need_files: bool = True) -> KernelPackage:
        """Read a kernel.yaml, or the one in a folder. Raises :class:`ConfigError` with file and line.

        ``need_files`` False is for a description beside a bitstream, where the sources need not be.
        """
        file = Path(path)
        if file.is_dir():
            file = file / MANIFEST_NAME
        fields = load_yaml(file)
        package = _parse_package(fields, file.parent)
        wanted = (("sources", package.sources), ("includes", package.includes)) if need_files else ()
        for key, names in wanted:
            for i, name in enumerate(names):
                target = file.parent / name
                if not target.exists() or (key == "sources" and not target.is_file()):
                    raise fields.error(f"{key}: {name} does not exist",
                                       f"paths are relative to {file.parent}", key, i)
        return package

    @classmethod
    def from_dict(cls, data: object, source: str = "manifest") -> KernelPackage:
        """Rebuild from :meth:`to_dict` (or from the same shape in JSON), with the same checks."""
        return _parse_package(Fields(data, source), None)


def _parse_package(fields: Fields, folder: Path | None) -> KernelPackage:
    name = fields.take("name", str)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise fields.error(f"name {name!r} is not usable", "letters, digits, dot, dash and underscore",
                           "name")
    version = str(fields.take("version", (str, int, float), "1"))
    description = fields.take("description", str, "").strip()
    sources = _paths(fields, "sources", [])
    includes = _paths(fields, "includes", [])
    options = " ".join(fields.strings("options", []))
    board = fields.take("board", str, DEFAULT_BOARD)
    compat = fields.take("pr_compat_id", int, DEFAULT_PR_COMPAT_ID)
    if not 0 <= compat < 1 << 32:
        raise fields.error(f"pr_compat_id {compat} is not an unsigned 32-bit number", "", "pr_compat_id")
    kernels: dict[str, KernelSpec] = {}
    for item in fields.mappings("kernels"):
        kernel = _parse_kernel(item)
        copies = [replace(kernel, name=f"{kernel.name}_{n}", compute_units=1, copy_of=kernel.name)
                  for n in range(1, kernel.compute_units)]
        for one in (kernel, *copies):
            if one.name in kernels:
                raise item.error(f"kernel {one.name} is described twice", "remove one of the two; copies of a kernel "
                                 "with compute_units are called name_1, name_2 …", "name")
            kernels[one.name] = one
    if not kernels:
        raise fields.error("kernels is empty", "describe at least one kernel", "kernels")
    fields.finish()
    return KernelPackage(name, version, description, sources, includes, options, board, compat, kernels,
                         folder)


def _paths(fields: Fields, key: str, default: list[str]) -> tuple[str, ...]:
    names = []
    for i, name in enumerate(fields.strings(key, default)):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise fields.error(f"{key}: {name!r} leaves the folder", "use a relative path below kernel.yaml",
                               key, i)
        names.append(str(path))
    return tuple(names)


def _parse_kernel(fields: Fields) -> KernelSpec:
    name = _identifier(fields, "name")
    items = fields.mappings("args", [])
    args = [_parse_arg(item) for item in items]
    for i, arg in enumerate(args):
        if arg.name in {a.name for a in args[:i]}:
            raise items[i].error(f"argument {arg.name} is described twice", "remove one of the two", "name")
        if arg.kind != "symbol" and any(a.kind == "symbol" for a in args[:i]):
            raise items[i].error(f"{arg.name} comes after a symbol",
                                 "list symbols last: the kernel does not take them")
    integers = {a.name for a in args if a.is_integer}
    for arg, item in zip(args, items, strict=True):
        for key, expressions in (("shape", arg.shape), ("value", (arg.value,) if arg.value else ())):
            for expression in expressions:
                _check_names(item, key, expression, integers)
    single = fields.take("single_work_item", bool, False)
    global_size = _expressions(fields, "global", ["1"] if single else None)
    local_size = _expressions(fields, "local", ["1"] if single else [])
    for key, sizes in (("global", global_size), ("local", local_size)):
        for expression in sizes:
            _check_names(fields, key, expression, integers)
        if len(sizes) > 3 or (key == "global" and not sizes):
            raise fields.error(f"{key} has {len(sizes)} dimensions", "OpenCL has one to three", key)
        if single and any(e.text != "1" for e in sizes):
            raise fields.error(f"{key} of a single work item is 1", f"remove {key}, or single_work_item", key)
    if local_size and len(local_size) != len(global_size):
        raise fields.error("local and global differ in dimensions", "give both the same number", "local")
    model = fields.mapping("model")
    copies = fields.take("compute_units", int, 1)
    if not 1 <= copies <= MAX_COMPUTE_UNITS:
        raise fields.error(f"compute_units is {copies}", f"from 1 to {MAX_COMPUTE_UNITS}", "compute_units")
    fields.finish()
    return KernelSpec(name, _place(args, items), global_size, local_size, single,
                      None if model is None else _parse_model(model, integers), copies)


def _parse_model(fields: Fields, integers: set[str]) -> CycleModel:
    cycles = _expression(fields, fields.take("cycles", (str, int)), "cycles")
    _check_names(fields, "cycles", cycles, integers)
    clock_mhz = float(fields.take("clock_mhz", (int, float), DEFAULT_CLOCK_MHZ))
    if not clock_mhz > 0:
        raise fields.error(f"clock_mhz is {clock_mhz}", "give the kernel clock in MHz", "clock_mhz")
    fields.finish()
    return CycleModel(cycles, clock_mhz)


def _parse_arg(fields: Fields) -> ArgSpec:
    name = _identifier(fields, "name")
    kind = fields.choice("kind", KINDS)
    default = "uint32" if kind == "symbol" else None
    text = fields.take("dtype", str, default) if default else fields.take("dtype", str)
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        raise fields.error(f"dtype {text!r} is not known to numpy", "as in float32, int32, uint8",
                           "dtype") from None
    allowed = {"buffer": "iufc", "local": "iufc", "scalar": "iuf", "symbol": "iu"}[kind]
    if dtype.kind not in allowed or dtype.itemsize > 16 or (dtype.itemsize > 8 and dtype.kind != "c"):
        raise fields.error(f"dtype {text} cannot be a {kind}",
                           "OpenCL passes integers and floats of 1 to 8 bytes",
                           "dtype")
    shape = _expressions(fields, "shape", None) if kind in ("buffer", "local") else ()
    direction = fields.choice("direction", DIRECTIONS) if kind == "buffer" else ""
    resident = fields.take("resident", bool, False) if kind == "buffer" else False
    if resident and direction != "in":
        raise fields.error(f"{name} is resident and of direction {direction}", "what cards keep is never written by "
                           "the kernel: direction: in", "resident")
    lanes = fields.take("lanes", int, 1) if kind == "scalar" else 1
    if lanes not in LANES:
        raise fields.error(f"lanes is {lanes}", "OpenCL vectors have 2, 3, 4, 8 or 16", "lanes")
    value = None
    if kind in ("scalar", "symbol") and (source := fields.take("value", (str, int), None)) is not None:
        if dtype.kind not in "iu" or lanes != 1:
            raise fields.error(f"value of {name} needs an integer dtype", "pass it with the call instead",
                               "value")
        value = _expression(fields, source, "value")
    offset = size = -1
    if csr := fields.mapping("csr"):
        offset, size = csr.take("offset", int), csr.take("size", int, -1)
        csr.finish()
    fields.finish()
    return ArgSpec(name, kind, dtype.newbyteorder("="), shape, direction, value, lanes, offset, size,
                   resident)


def _place(args: list[ArgSpec], items: list[Fields]) -> tuple[ArgSpec, ...]:
    """Fill in absent CSR offsets; check given ones for size, alignment, room and overlap."""
    placed: list[ArgSpec] = []
    cursor = 0
    for arg, item in zip(args, items, strict=True):
        need = arg.natural_bytes
        size = need if arg.csr_bytes < 0 else arg.csr_bytes
        offset = -(-cursor // need) * need if arg.csr_offset < 0 else arg.csr_offset
        if size != need:
            raise item.error(f"csr size of {arg.name} is {size}, its type takes {need}",
                             "correct it or leave it out",
                             "csr", "size")
        if arg.csr_offset >= 0 and offset % min(need, 4):
            raise item.error(f"csr offset {offset} of {arg.name} is not aligned to {min(need, 4)}", "",
                             "csr", "offset")
        if offset + size > ARGUMENT_BLOCK_BYTES:
            raise item.error(f"{arg.name} ends at byte {offset + size} of {ARGUMENT_BLOCK_BYTES}",
                             "pass large data in a buffer", "csr")
        for other in placed:
            if offset < other.csr_offset + other.csr_bytes and other.csr_offset < offset + size:
                raise item.error(f"csr of {arg.name} overlaps {other.name}", "correct one of the offsets",
                                 "csr")
        cursor = offset + size
        placed.append(replace(arg, csr_offset=offset, csr_bytes=size))
    return tuple(placed)


def _identifier(fields: Fields, key: str) -> str:
    name = str(fields.take(key, str))
    if not _IDENTIFIER.match(name):
        raise fields.error(f"{key} {name!r} is not an OpenCL C identifier", "", key)
    return name


def _expressions(fields: Fields, key: str, default: list[str] | None) -> tuple[Expression, ...]:
    items = fields.take(key, list) if default is None else fields.take(key, list, default)
    return tuple(_expression(fields, item, key, i) for i, item in enumerate(items))


def _expression(fields: Fields, source: object, *keys: str | int) -> Expression:
    try:
        if not isinstance(source, str | int):
            raise ConfigError(f"{source!r} is not an expression", "quote it")
        return parse_expression(source)
    except ConfigError as error:
        raise fields.error(error.message, error.hint, *keys) from None


def _check_names(fields: Fields, key: str, expression: Expression, integers: set[str]) -> None:
    for name in sorted(expression.names - integers):
        raise fields.error(f"{key} uses {name}, which is not an integer argument",
                           f"add {{name: {name}, kind: symbol}} if the kernel itself does not take it", key)
