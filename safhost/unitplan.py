"""From what users call a unit to what travels: planned once for each shape, after that a dictionary look-up.

A layout says where inputs and outputs of all units of one shape lie. What may differ between units of a layout is the
bytes of their arrays and those scalars that no size depends on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from safhost.arena import ALIGN_BYTES
from safhost.errors import ConfigError, SafError
from safhost.plan.kernelspec import ArgSpec, KernelSpec
from safhost.plan.layout import pack_scalar, plan_arguments
from safhost.resident import ResidentData

UNIT_SPACE = 1 << 62  # plans are made from address 0; the cluster finds the room
KEEP_VIEWS = 4096
KEEP_LAYOUTS = 4096
"""Shapes that are remembered; the service remembers more, so that it has each that is still in use."""


class Unit:
    """A work unit: ``arrays`` for the kernel's input buffers in order, ``scalars`` (and buffers) by name.

    ``into``: where in ``out`` its result goes (index, slice, or a tuple of them; None: ``out[i]`` of the i-th unit).
    ``card``: the one card it is for; without it, whichever is free. ``tag``: anything, given back with its result.
    An array may be a :class:`Fill`.
    """

    __slots__ = ("arrays", "card", "into", "scalars", "tag")

    def __init__(self, *arrays: Any, into: Any = None, card: str | None = None, tag: Any = None,
                 **scalars: Any) -> None:
        self.arrays = arrays
        self.into = into
        self.card = card
        self.tag = tag
        self.scalars = scalars


class Fill:
    """An input that is written where it travels from: ``fill(view)`` is called once, in the thread that pulls the
    generator, with a writable array of ``shape`` and ``dtype`` whose contents are anything."""

    __slots__ = ("dtype", "fill", "shape")

    def __init__(self, shape: tuple[int, ...] | int, dtype: DTypeLike, fill: Callable[[NDArray[Any]], None]) -> None:
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.dtype = np.dtype(dtype)
        self.fill = fill


class UnitResult:
    """A unit that ended. ``value``: its output (a tuple of several), None when it went into ``out``; ``error`` None or
    why it failed for good; ``tag`` its unit's. ``card``, ``attempts`` and times in ns say how it went; they are empty
    when the daemon was restarted before it could tell."""

    __slots__ = ("attempts", "card", "ended_ns", "error", "index", "job", "kernel_ns", "queued_ns", "read_ns", "run_ns",
                 "tag", "value", "write_ns")

    def __init__(self, job: Any, index: int, value: Any, error: SafError | None = None, card: str = "",
                 attempts: int = 0, kernel_ns: int = 0, write_ns: int = 0, run_ns: int = 0, read_ns: int = 0,
                 queued_ns: int = 0, ended_ns: int = 0, tag: Any = None) -> None:
        self.job = job
        self.index = index
        self.value = value
        self.error = error
        self.card = card
        self.attempts = attempts
        self.kernel_ns = kernel_ns
        self.write_ns = write_ns
        self.run_ns = run_ns
        self.read_ns = read_ns
        self.queued_ns = queued_ns
        self.ended_ns = ended_ns
        self.tag = tag

    def __repr__(self) -> str:
        how = f"failed: {self.error.message}" if self.error is not None else f"on {self.card}"
        return f"<UnitResult {self.index} {how}>"


class Buffer(NamedTuple):
    """An array's place in a unit's memory."""

    offset: int
    length: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def view(self, memory: NDArray[np.uint8], base: int) -> NDArray[Any]:
        """The array, where the unit's memory begins at ``base``."""
        at = base + self.offset
        return memory[at:at + self.length].view(self.dtype).reshape(self.shape)


class Layout(NamedTuple):
    """All units of one shape. ``span`` bytes are a unit's memory; ``sources`` say where each input's array comes from:
    the position or the name. ``message`` is what the service is told."""

    number: int
    span: int
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    sources: tuple[int | str, ...]
    block: bytes
    free: tuple[tuple[str, ArgSpec], ...]
    message: dict[str, Any]


class Planner:
    """Layouts of one kernel's units."""

    def __init__(self, spec: KernelSpec, resident: ResidentData | None = None) -> None:
        self.spec = spec
        self._resident = {} if resident is None else resident.arrays
        self._offsets = {} if resident is None else resident.offsets
        self._count = 0
        self._by_key: dict[Any, Layout] = {}
        sizing = {name for arg in spec.args for e in (*arg.shape, *((arg.value,) if arg.value else ()))
                  for name in e.names}
        sizing |= {name for e in (*spec.global_size, *spec.local_size) for name in e.names}
        self._free = {a.name: a for a in spec.args
                      if a.kind in ("scalar", "symbol") and a.value is None and a.name not in sizing}

    def plan(self, unit: Unit) -> tuple[Layout, list[NDArray[Any]], str | None]:
        """The unit's layout, its arrays in the layout's order, and its own argument block in hex where it is not the
        layout's. Raises ConfigError naming what does not fit."""
        scalars, free = unit.scalars, self._free
        try:
            key: Any = tuple([(a.shape, a.dtype) for a in unit.arrays])
            if scalars:
                key = (key, tuple([(n, None if n in free else (v.shape, v.dtype) if _is_array(v) else v)
                                   for n, v in scalars.items()]))
            layout = self._by_key.get(key)
        except (AttributeError, TypeError):  # no arrays, or nothing that can be looked up: planning says what is wrong
            layout = key = None
        if layout is None:
            layout = self._new(unit)
            if key is not None:
                if len(self._by_key) >= KEEP_LAYOUTS:
                    self._by_key.clear()
                self._by_key[key] = layout
        arrays = [scalars[s] if isinstance(s, str) else unit.arrays[s] for s in layout.sources]
        return layout, arrays, self._arguments(layout, scalars) if layout.free else None

    def _arguments(self, layout: Layout, scalars: dict[str, Any]) -> str:
        block = bytearray(layout.block)
        for name, arg in layout.free:
            packed = pack_scalar(self.spec, arg, scalars[name])
            block[arg.csr_offset:arg.csr_offset + len(packed)] = packed
        return block.hex()

    def _new(self, unit: Unit) -> Layout:
        named = {n: _shaped(v) for n, v in unit.scalars.items()}
        twice = named.keys() & self._resident.keys()
        if twice:
            raise ConfigError(f"{', '.join(sorted(twice))} is resident: units do not bring it", "leave it out of units")
        binding = self.spec.bind(*map(_shaped, unit.arrays), **named, **self._resident)
        plan = plan_arguments(self.spec, binding, 0, UNIT_SPACE, resident=self._offsets)
        brought = [a for a in self.spec.args if a.is_input and a.name not in self._resident]
        by_position = [a.name for a in brought if a.name not in unit.scalars]
        sources: list[int | str] = []
        inputs: list[Buffer] = []
        for arg, write in zip(brought, plan.writes, strict=True):
            sources.append(arg.name if arg.name in unit.scalars else by_position.index(arg.name))
            inputs.append(Buffer(write.address, write.array.nbytes, write.array.shape, write.array.dtype))
        span = plan.end
        taken = {b.offset for b in inputs if b.length}
        outputs: list[Buffer] = []
        told = []
        for read in plan.reads:
            at = read.address
            if at in taken and read.length_bytes:  # read beside the input: another try needs that as it was
                at = -(-span // ALIGN_BYTES) * ALIGN_BYTES
                span = at + read.length_bytes
            outputs.append(Buffer(at, read.length_bytes, read.shape, read.dtype))
            if read.length_bytes:
                told.append([read.address, read.length_bytes, at])
        free = tuple((n, a) for n, a in self._free.items() if n in unit.scalars)
        message = {"inputs": [[b.offset, b.length] for b in inputs if b.length], "outputs": told,
                   "arguments": plan.block.hex(), "room": plan.end,
                   "relocations": [a.csr_offset for a in self.spec.kernel_args if a.kind == "buffer"
                                   and a.name not in self._offsets],
                   "resident": [a.csr_offset for a in self.spec.kernel_args if a.name in self._offsets],
                   "global": list(plan.global_size), "local": list(plan.local_size),
                   "work_dim": max(1, len(plan.global_size))}
        self._count += 1
        return Layout(self._count, max(1, span), tuple(inputs), tuple(outputs), tuple(sources), plan.block, free,
                      message)


class Views:
    """Arrays over places in an arena; kept, because making them costs more than filling small ones."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[list[NDArray[Any]], list[NDArray[Any]]]] = {}

    def of(self, layout: Layout, memory: NDArray[np.uint8], base: int) -> tuple[list[NDArray[Any]],
                                                                              list[NDArray[Any]]]:
        """(inputs, outputs) of the unit whose memory begins at ``base``."""
        key = (layout.number, base)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KEEP_VIEWS:
                self._known.clear()
            found = self._known[key] = ([b.view(memory, base) for b in layout.inputs],
                                        [b.view(memory, base) for b in layout.outputs])
            for view in found[1]:
                view.flags.writeable = False
        return found

    def clear(self) -> None:
        self._known.clear()


def _is_array(value: Any) -> bool:
    return type(value) is Fill or (isinstance(value, np.ndarray) and value.ndim > 0)


def _shaped(value: Any) -> Any:
    """An array to plan with in place of one that is not made yet."""
    return np.empty(value.shape, value.dtype) if type(value) is Fill else value


def _is_basic(into: Any) -> bool:
    parts = into if type(into) is tuple else (into,)
    return all((isinstance(p, int | np.integer | slice) and not isinstance(p, bool)) or p is Ellipsis or p is None
               for p in parts)


class Out:
    """Where results go: one array for each output of the kernel. Raises ConfigError when something else is given."""

    def __init__(self, out: Any, spec: KernelSpec) -> None:
        self.given = out
        wanted = sum(a.is_output for a in spec.args)
        arrays = list(out) if type(out) in (tuple, list) else [out]
        if len(arrays) != wanted:
            raise ConfigError(f"out has {len(arrays)} arrays, kernel {spec.name} has {wanted} outputs",
                              "give one array for each output, as a tuple when there are several")
        for array in arrays:
            if not isinstance(array, np.ndarray):
                raise ConfigError(f"out is {type(array).__name__}, expected a numpy array or memory map",
                                  "make one with np.empty, or np.lib.format.open_memmap for a file")
            if not array.flags.writeable:
                raise ConfigError("out cannot be written to", "open the memory map with mode='r+'")
        self._arrays = [np.asarray(a) for a in arrays]  # a memory map's own indexing costs ten times as much

    def places(self, index: int, into: Any, layout: Layout) -> list[Callable[[NDArray[Any]], None]]:
        """For each output of a unit what puts it where it belongs. Raises ConfigError when it does not fit there."""
        where = index if into is None else into
        return [_place(array, where, buffer) for array, buffer in zip(self._arrays, layout.outputs, strict=True)]


def _place(array: NDArray[Any], where: Any, buffer: Buffer) -> Callable[[NDArray[Any]], None]:
    try:
        target = array[where]
    except (IndexError, TypeError, ValueError) as err:
        raise ConfigError(f"out[{_shown(where)}] is not there: {err}", f"out has shape {array.shape}") from None
    if target.dtype != buffer.dtype:
        raise ConfigError(f"its result is {buffer.dtype}, out is {target.dtype}", f"make out of {buffer.dtype}")
    if target.shape != buffer.shape and not (target.ndim == 0 and buffer.shape == (1,)):
        raise ConfigError(f"its result has shape {buffer.shape}, out[{_shown(where)}] has shape {target.shape}",
                          "say with Unit(…, into=…) where it goes")
    if isinstance(target, np.ndarray) and _is_basic(where):
        return lambda value: np.copyto(target, value)

    def assign(value: NDArray[Any]) -> None:
        array[where] = value.reshape(target.shape)
    return assign


def _shown(where: Any) -> str:
    if isinstance(where, slice):
        return f"{'' if where.start is None else where.start}:{'' if where.stop is None else where.stop}" \
            f"{'' if where.step is None else f':{where.step}'}"
    return ", ".join(_shown(w) for w in where) if type(where) is tuple else repr(where)


__all__ = ["UNIT_SPACE", "Buffer", "Fill", "Layout", "Out", "Planner", "Unit", "UnitResult", "Views"]
