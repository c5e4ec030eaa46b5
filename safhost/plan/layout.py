"""From numpy arrays to card memory and back: binding of arguments, DDR addresses, the packed argument block.

``bind_arguments`` matches arrays and scalars to a kernel's arguments; ``plan_arguments`` gives every buffer
a DDR address and packs the block that starts the kernel; ``decode_arguments`` is the card's side of the same
layout and its bounds check. All of it is pure: arrays are referred to, never copied (unless they are not
contiguous).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from safhost.errors import CommandFailed, ConfigError, SchedulingError
from safhost.plan.kernelspec import ADDRESS_BYTES, ArgSpec, KernelSpec
from safhost.units import format_bytes

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Binding:
    """A kernel with all that a launch needs: input arrays, scalars, shapes of buffers, work sizes."""

    kernel: KernelSpec
    arrays: Mapping[str, Array]
    scalars: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...]


class BufferWrite(NamedTuple):
    """``array`` (C-contiguous) goes to DDR byte ``address``."""

    array: Array
    address: int


class BufferRead(NamedTuple):
    """After the run, ``shape`` of ``dtype`` at DDR byte ``address`` is argument ``name``."""

    name: str
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def length_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class ArgumentPlan:
    """One launch on one card. ``block`` is the argument block, little-endian; ``end`` the first DDR byte not
    used."""

    kernel: str
    block: bytes
    writes: tuple[BufferWrite, ...]
    reads: tuple[BufferRead, ...]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...]
    end: int

    @property
    def input_bytes(self) -> int:
        return sum(w.array.nbytes for w in self.writes)

    @property
    def output_bytes(self) -> int:
        return sum(r.length_bytes for r in self.reads)


class BufferArgument(NamedTuple):
    """A buffer as the card finds it in an argument block: DDR byte address and length."""

    name: str
    address: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class DecodedArguments:
    """An argument block taken apart: raw bytes of scalars by name, buffers, local and work sizes."""

    scalars: Mapping[str, bytes]
    buffers: Mapping[str, BufferArgument]
    local_bytes: Mapping[str, int]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...]


def bind_arguments(spec: KernelSpec, arrays: tuple[Any, ...], values: Mapping[str, Any]) -> Binding:
    """Match ``arrays`` (positional, to input buffers in order) and ``values`` (by name) to the arguments.

    A dimension that is a bare name is solved from the array; others are checked. Raises :class:`ConfigError`.
    """
    by_name = {a.name: a for a in spec.args}
    given = dict(values)
    free = [a for a in spec.args if a.is_input and a.name not in given]
    if len(arrays) > len(free):
        raise ConfigError(f"kernel {spec.name} takes {len(free)} arrays by position, {len(arrays)} given",
                          _signature(spec))
    given.update({arg.name: array for arg, array in zip(free, arrays, strict=False)})
    inputs: dict[str, Array] = {}
    scalars: dict[str, Any] = {}
    for name, value in given.items():
        arg = by_name.get(name)
        if arg is None or arg.kind == "local" or (arg.kind == "buffer" and not arg.is_input):
            reason = "has no argument" if arg is None else "does not take a value for"
            raise ConfigError(f"kernel {spec.name} {reason} {name}", _signature(spec))
        if arg.kind == "buffer":
            inputs[name] = check_array(spec, arg, value)
        else:
            scalars[name] = _check_scalar(spec, arg, value)
    missing = [a.name for a in spec.args if a.is_input and a.name not in inputs]
    if missing:
        raise ConfigError(f"kernel {spec.name} needs {', '.join(missing)}", _signature(spec))
    _solve_dimensions(spec, inputs, scalars)
    _derive_scalars(spec, scalars)
    integers = {a.name: int(scalars[a.name]) for a in spec.args if a.is_integer}
    shapes = {a.name: _shape(spec, a, integers) for a in spec.args if a.kind in ("buffer", "local")}
    for name, array in inputs.items():
        if array.shape != shapes[name]:
            raise ConfigError(f"{spec.name}: {name} has shape {array.shape}, expected {shapes[name]}",
                              f"its shape is [{', '.join(e.text for e in by_name[name].shape)}]")
    return Binding(spec, inputs, scalars, shapes, *_work_size(spec, integers))


def plan_arguments(spec: KernelSpec, binding: Binding, base: int, size: int,
                   align: int = 4096, resident: Mapping[str, int] = MappingProxyType({})) -> ArgumentPlan:
    """Lay the buffers out in DDR bytes ``base`` to ``base + size``, each at a multiple of ``align``; pack
    the block. Those in ``resident`` are there already, at the address given.

    Raises :class:`SchedulingError` when they do not fit.
    """
    block = bytearray(spec.block_bytes)
    writes: list[BufferWrite] = []
    reads: list[BufferRead] = []
    cursor = base
    for arg in spec.args:
        if arg.kind == "local":
            continue
        if arg.kind != "buffer":
            packed = _pack_scalar(spec, arg, binding.scalars[arg.name])
        elif arg.name in resident:
            packed = resident[arg.name].to_bytes(ADDRESS_BYTES, "little")
        else:
            shape = binding.shapes[arg.name]
            address = -(-cursor // align) * align
            cursor = address + prod(shape) * arg.dtype.itemsize
            packed = address.to_bytes(ADDRESS_BYTES, "little")
            if arg.is_input:
                writes.append(BufferWrite(np.ascontiguousarray(binding.arrays[arg.name]), address))
            if arg.is_output:
                reads.append(BufferRead(arg.name, address, shape, arg.dtype))
        block[arg.csr_offset:arg.csr_offset + len(packed)] = packed
    if cursor > base + size:
        raise SchedulingError(
            f"kernel {spec.name} needs {format_bytes(cursor - base)} of card memory, "
            f"{format_bytes(size)} are there",
            "split the arrays over more cards or calls")
    return ArgumentPlan(spec.name, bytes(block), tuple(writes), tuple(reads), binding.global_size,
                        binding.local_size, cursor)


def decode_arguments(spec: KernelSpec, block: bytes, memory_bytes: int,
                     global_size: tuple[int, ...] = (), local_size: tuple[int, ...] = ()) -> DecodedArguments:
    """Take an argument block apart as the card does, against a role memory of ``memory_bytes`` from address
    0.

    Work sizes that are not given come from kernel.yaml. Raises :class:`CommandFailed` for a block that is
    too short or a buffer outside the memory, :class:`ConfigError` when a size cannot be computed.
    """
    need = max((a.csr_offset + a.csr_bytes for a in spec.args), default=0)
    if len(block) < need:
        raise CommandFailed(f"kernel {spec.name}: argument block has {len(block)} bytes, needs {need}",
                            "program the card with the image that these arguments were made for")
    raw = {a.name: block[a.csr_offset:a.csr_offset + a.csr_bytes] for a in spec.args}
    integers = {a.name: int.from_bytes(raw[a.name], "little", signed=a.dtype.kind == "i")
                for a in spec.args if a.is_integer}
    buffers: dict[str, BufferArgument] = {}
    local_bytes: dict[str, int] = {}
    for arg in spec.args:
        if arg.kind not in ("buffer", "local"):
            continue
        length = prod(_shape(spec, arg, integers)) * arg.dtype.itemsize
        if arg.kind == "local":
            local_bytes[arg.name] = length
            continue
        address = int.from_bytes(raw[arg.name], "little")
        if address + length > memory_bytes:
            raise CommandFailed(f"kernel {spec.name}: {arg.name} is {length} bytes at {address:#x}, outside "
                                f"the role's {memory_bytes} bytes of memory",
                                "check the buffer's address and the sizes")
        buffers[arg.name] = BufferArgument(arg.name, address, length)
    scalars = {a.name: raw[a.name] for a in spec.kernel_args if a.kind == "scalar"}
    if not global_size:
        global_size, local_size = _work_size(spec, integers)
    return DecodedArguments(scalars, buffers, local_bytes, global_size, local_size)


def check_array(spec: KernelSpec, arg: ArgSpec, value: Any) -> Array:
    """``value``, when it is an array of the argument's type and dimensions. Raises :class:`ConfigError`."""
    if not isinstance(value, np.ndarray):
        raise ConfigError(f"{spec.name}: {arg.name} is {type(value).__name__}, "
                          f"expected a numpy array of {arg.dtype}",
                          "np.asarray(…) makes one; scalars go by name")
    if value.dtype != arg.dtype:
        raise ConfigError(f"{spec.name}: {arg.name} has dtype {value.dtype}, expected {arg.dtype}",
                          f"convert it with .astype('{arg.dtype}')")
    if value.ndim != len(arg.shape):
        raise ConfigError(f"{spec.name}: {arg.name} has {value.ndim} dimensions, expected {len(arg.shape)}",
                          f"its shape is [{', '.join(e.text for e in arg.shape)}]")
    return value


def _check_scalar(spec: KernelSpec, arg: ArgSpec, value: Any) -> Any:
    """Convert to the argument's dtype without losing an integer's value."""
    try:
        array = np.asarray(value)
        lanes = () if arg.lanes == 1 else (arg.lanes,)
        if array.shape != lanes or array.dtype.kind not in ("iu" if arg.dtype.kind in "iu" else "iuf"):
            raise ValueError
        if arg.dtype.kind in "iu":
            limits = np.iinfo(arg.dtype)
            if any(not limits.min <= int(v) <= limits.max for v in array.flat):
                raise ConfigError(f"{spec.name}: {arg.name}={value} does not fit {arg.dtype}",
                                  f"{limits.min} to {limits.max}")
            return int(array) if arg.lanes == 1 else array.astype(arg.dtype)
        return float(array) if arg.lanes == 1 else array.astype(arg.dtype)
    except (TypeError, ValueError, OverflowError):
        what = f"{arg.lanes} values" if arg.lanes > 1 else "one value"
        raise ConfigError(f"{spec.name}: {arg.name}={value!r} is not {what} of {arg.dtype}",
                          _signature(spec)) from None


def _solve_dimensions(spec: KernelSpec, inputs: Mapping[str, Array], scalars: dict[str, Any]) -> None:
    derived = {a.name for a in spec.args if a.value is not None}
    integers = {a.name: a for a in spec.args if a.is_integer}
    for arg in spec.args:
        if arg.name not in inputs:
            continue
        for axis, expression in enumerate(arg.shape):
            if not expression.is_name or expression.text in derived:
                continue
            found = inputs[arg.name].shape[axis]
            known = scalars.setdefault(expression.text, _check_scalar(spec, integers[expression.text], found))
            if known != found:
                raise ConfigError(f"{spec.name}: {arg.name} has {found} in dimension {axis}, "
                                  f"but {expression.text} is {known}",
                                  f"its shape is [{', '.join(e.text for e in arg.shape)}]")


def _derive_scalars(spec: KernelSpec, scalars: dict[str, Any]) -> None:
    """Evaluate ``value`` expressions, in whatever order they depend on each other."""
    waiting = [a for a in spec.args if a.value is not None]
    while waiting:
        ready = [a for a in waiting if a.value is not None and a.value.names <= scalars.keys()]
        if not ready:
            break
        for arg in ready:
            assert arg.value is not None
            value = _check_scalar(spec, arg, arg.value.evaluate(scalars))
            if scalars.setdefault(arg.name, value) != value:
                raise ConfigError(f"{spec.name}: {arg.name} is {arg.value.text} = {value}, "
                                  f"not {scalars[arg.name]}",
                                  f"leave {arg.name} out")
        waiting = [a for a in waiting if a not in ready]
    missing = [a.name for a in spec.args if a.kind in ("scalar", "symbol") and a.name not in scalars]
    if missing:
        raise ConfigError(f"kernel {spec.name} needs {', '.join(f'{m}=…' for m in missing)}",
                          _signature(spec))


def _shape(spec: KernelSpec, arg: ArgSpec, integers: Mapping[str, int]) -> tuple[int, ...]:
    shape = tuple(e.evaluate(integers) for e in arg.shape)
    if any(d < 0 for d in shape):
        raise ConfigError(f"{spec.name}: {arg.name} would have shape {shape}", "check the sizes")
    return shape


def _work_size(spec: KernelSpec, integers: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    global_size = tuple(e.evaluate(integers) for e in spec.global_size)
    local_size = tuple(e.evaluate(integers) for e in spec.local_size)
    if any(g < 1 for g in global_size + local_size):
        raise ConfigError(f"{spec.name}: work size {global_size} with groups of {local_size or 'any size'}",
                          "each dimension needs at least one work item")
    if any(g % wg for g, wg in zip(global_size, local_size, strict=False)):
        raise ConfigError(f"{spec.name}: work size {global_size} is not a multiple of its group {local_size}",
                          "round the global size up in kernel.yaml and check the bound in the kernel")
    return global_size, local_size


def _pack_scalar(spec: KernelSpec, arg: ArgSpec, value: Any) -> bytes:
    checked = _check_scalar(spec, arg, value)
    return np.asarray(checked, arg.dtype.newbyteorder("<")).tobytes().ljust(arg.csr_bytes, b"\0")


def pack_scalar(spec: KernelSpec, arg: ArgSpec, value: Any) -> bytes:
    """A scalar as the argument block holds it. Raises :class:`ConfigError` when it does not fit its type."""
    return _pack_scalar(spec, arg, value)


def _signature(spec: KernelSpec) -> str:
    arrays = [f"{a.name}[{', '.join(e.text for e in a.shape)}]" for a in spec.args if a.is_input]
    derived = {e.text for a in spec.args if a.is_input for e in a.shape if e.is_name}
    scalars = [f"{a.name}=" for a in spec.args
               if a.kind in ("scalar", "symbol") and a.value is None and a.name not in derived]
    return f"call it as {spec.name}({', '.join(arrays + scalars)})"
