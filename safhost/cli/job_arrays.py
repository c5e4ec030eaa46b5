"""A job over the rows of ``.npy`` files: which rows make a unit, and what shape its results have together.

Files are memory-mapped, never read whole. A file with as many axes as the kernel's argument is cut into pieces of
rows (its first axis); one with an axis more holds one argument a row, and each row is a unit. Pure but for the
files: no cluster is asked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from safhost.cli.run import signature
from safhost.errors import ConfigError
from safhost.plan.kernelspec import ArgSpec, KernelSpec
from safhost.units import format_bytes

Array = np.ndarray[Any, Any]
UNIT_BYTES = 4_000_000
"""Input bytes of a unit where nobody says how many there are to be: some milliseconds of a 10 Gbit/s link."""

_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""posix_fallocate(3) of a file system that cannot; then only writing tells whether there is room."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where one output of all units goes. ``joined``: its rows follow each other; else one entry a unit."""

    name: str
    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    joined: bool

    @property
    def length_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


@dataclass(slots=True)
class RowPlan:
    """How files become units. ``bounds[i]`` to ``bounds[i + 1]`` are the rows of unit ``i``; stacked: row ``i``."""

    spec: KernelSpec
    rows: dict[str, Array]
    whole: dict[str, Array]
    scalars: dict[str, Any]
    stacked: bool
    bounds: list[int]
    outputs: list[Output] = field(default_factory=list)

    @property
    def units(self) -> int:
        return len(self.bounds) - 1

    @property
    def input_bytes(self) -> int:
        """What goes to cards, all units together."""
        return sum(a.nbytes for a in self.rows.values()) + self.units * sum(a.nbytes for a in self.whole.values())

    def arrays(self, index: int) -> tuple[Array, ...]:
        """The inputs of a unit in the kernel's order: views of the files."""
        first, last = self.bounds[index], self.bounds[index + 1]
        return tuple(
            self.whole[arg.name] if arg.name in self.whole else
            self.rows[arg.name][first] if self.stacked else self.rows[arg.name][first:last]
            for arg in self.spec.args if arg.is_input)

    def into(self, index: int) -> int | slice:
        """Where the results of a unit lie in every output."""
        joined = bool(self.outputs) and self.outputs[0].joined
        return slice(self.bounds[index], self.bounds[index + 1]) if joined else index

    def pieces(self) -> Iterator[tuple[tuple[Array, ...], int | slice, dict[str, Any]]]:
        """(inputs, place of the results, scalars) of every unit, made when they are asked for."""
        for index in range(self.units):
            yield self.arrays(index), self.into(index), self.scalars


def open_rows(path: str | Path, option: str) -> Array:
    """The array of a ``.npy``, mapped. Raises ConfigError for what is not one."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as err:
        raise ConfigError(f"{option}: cannot read {path}: {err.strerror or err}", "check the path") from None
    except ValueError as err:
        raise ConfigError(f"{option}: {path} is not a plain numpy file: {err}", "save it with numpy.save") from None
    if not isinstance(array, np.ndarray) or not array.ndim:
        raise ConfigError(f"{option}: {path} has no rows", "save one array of one axis or more with numpy.save")
    return array


def plan_rows(spec: KernelSpec, sources: Mapping[str, str], whole: Mapping[str, str], scalars: Mapping[str, Any],
              split: int | None, outputs: Mapping[str, str]) -> RowPlan:
    """Which rows make which unit, and the shapes of the outputs.

    ``sources``, ``whole`` and ``outputs`` map arguments to files; ``split`` is the number of units, None: one a row
    where each row is an argument, else units of about 4 MB. Raises ConfigError that names argument and cure.
    """
    wanted = {arg.name: arg for arg in spec.args if arg.is_input}
    for option, given in (("--in", sources), ("--whole", whole)):
        if unknown := [name for name in given if name not in wanted]:
            raise ConfigError(f"{option}: {spec.name} has no input {unknown[0]}", signature(spec))
    if twice := sorted(set(sources) & set(whole)):
        raise ConfigError(f"{twice[0]} is given by rows and as a whole", "remove --in or --whole of it")
    if absent := [name for name in wanted if name not in sources and name not in whole]:
        raise ConfigError(f"input {absent[0]} of {spec.name} is missing", f"--in {absent[0]}=FILE; {signature(spec)}")
    if not sources:
        raise ConfigError("no input is given by rows", "each unit gets rows of the files of --in")
    if absent := [arg.name for arg in spec.args if arg.is_output and arg.name not in outputs]:
        raise ConfigError(f"nothing says where {absent[0]} of {spec.name} goes", f"--out {absent[0]}=FILE.npy")
    rows = {name: open_rows(path, f"--in {name}") for name, path in sources.items()}
    stacked = _is_stacked(spec, wanted, rows, sources)
    plan = RowPlan(spec, rows, {name: open_rows(path, f"--whole {name}") for name, path in whole.items()},
                   dict(scalars), stacked, _bounds(rows, stacked, split))
    plan.outputs = _outputs(plan, outputs)
    for output in plan.outputs:
        if taken := [path for path in (*sources.values(), *whole.values()) if _same_file(path, output.path)]:
            raise ConfigError(f"--out {output.name}={output.path} is the input {taken[0]}", "give it a file of its own")
    if len({output.path.absolute() for output in plan.outputs}) < len(plan.outputs):
        raise ConfigError("two outputs go to one file", "give each a file of its own")
    return plan


def _is_stacked(spec: KernelSpec, wanted: Mapping[str, ArgSpec], rows: Mapping[str, Array],
                sources: Mapping[str, str]) -> bool:
    kinds: dict[bool, str] = {}
    for name, array in rows.items():
        axes = len(wanted[name].shape)
        if array.ndim not in (axes, axes + 1):
            raise ConfigError(
                f"--in {name}: {sources[name]} has shape {_by(array.shape)}, {spec.name} takes {axes} "
                f"ax{'i' if axes == 1 else 'e'}s", f"a file of {axes} axes is cut by rows, one of {axes + 1} has one "
                f"{name} a row; {signature(spec)}")
        if array.dtype != wanted[name].dtype:
            raise ConfigError(f"--in {name}: {sources[name]} holds {array.dtype}, {spec.name} takes "
                              f"{wanted[name].dtype}", f"convert it with .astype('{wanted[name].dtype}')")
        kinds[array.ndim > axes] = name
    if len(kinds) > 1:
        raise ConfigError(f"{kinds[True]} has one argument a row, {kinds[False]} would be cut by rows",
                          f"--whole {kinds[False]}=FILE where every unit gets all of it, or stack it, too")
    return kinds.popitem()[0]


def _bounds(rows: Mapping[str, Array], stacked: bool, split: int | None) -> list[int]:
    """Where units begin, and the end of the last one: as even as can be, longer ones first."""
    counts = {name: len(array) for name, array in rows.items()}
    if len(set(counts.values())) > 1:
        raise ConfigError("the files differ in rows: " + ", ".join(f"{name} {n}" for name, n in counts.items()),
                          "a unit takes the same rows of each; --whole for one that every unit gets whole")
    total = next(iter(counts.values()))
    if not total:
        raise ConfigError("the files have no rows", "there is nothing to compute")
    if stacked:
        if split not in (None, total):
            raise ConfigError(f"each of the {total} rows is one unit, not --split {split}", "leave --split out")
        return list(range(total + 1))
    if split is None:
        row_bytes = sum(array.nbytes // total for array in rows.values())
        split = min(total, -(-total * max(1, row_bytes) // UNIT_BYTES))
    if not 1 <= split <= total:
        raise ConfigError(f"{total} rows cannot be {split} units", f"--split 1 to {total}")
    size, longer = divmod(total, split)
    return [index * size + min(index, longer) for index in range(split + 1)]


def _outputs(plan: RowPlan, files: Mapping[str, str]) -> list[Output]:
    """What comes out of the first unit and of the last, whose rows may be fewer, says what comes out of all."""
    results = []
    ends = {index: _shapes(plan, index) for index in dict.fromkeys((0, plan.units - 1))}
    for arg in (a for a in plan.spec.args if a.is_output):
        shapes = [(plan.bounds[index + 1] - plan.bounds[index], found[arg.name]) for index, found in ends.items()]
        rests = {shape[1:] for _, shape in shapes}
        if not plan.stacked and len(rests) == 1 and all(shape[:1] == (count,) for count, shape in shapes):
            shape, joined = (plan.bounds[-1], *shapes[0][1][1:]), True
        elif len({shape for _, shape in shapes}) == 1:
            shape, joined = (plan.units, *shapes[0][1]), False
        else:
            raise ConfigError(f"{arg.name} of units of {shapes[0][0]} and {shapes[-1][0]} rows has shapes "
                              f"{_by(shapes[0][1])} and {_by(shapes[-1][1])}: they fit no one array",
                              f"a --split that divides {plan.bounds[-1]} rows evenly")
        results.append(Output(arg.name, Path(files[arg.name]), arg.dtype, shape, joined))
    if len({output.joined for output in results}) > 1:
        raise ConfigError("of the outputs, some have the rows of the inputs and some do not",
                          "write the job in Python, where each unit says where its results go")
    return results


def _shapes(plan: RowPlan, index: int) -> dict[str, tuple[int, ...]]:
    try:
        return dict(plan.spec.bind(*plan.arrays(index), **plan.scalars).shapes)
    except ConfigError as err:
        first, last = plan.bounds[index], plan.bounds[index + 1]
        which = f"row {first}" if last - first == 1 else f"rows {first} to {last - 1}"
        raise ConfigError(f"unit {index} ({which}) does not fit: {err.message}", err.hint) from None


def _same_file(a: str | Path, b: str | Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False  # the output is not there yet


def create_output(output: Output, *, resume: bool) -> Array:
    """The output's file, mapped to be written, with its room on the disk reserved: a disk that fills up while results
    are written into a mapping would end the process.

    ``resume``: the file of an earlier run, whose results stay. Raises ConfigError.
    """
    path = output.path
    if path.suffix != ".npy":
        raise ConfigError(f"--out {output.name}={path} is not a .npy", f"--out {output.name}={path}.npy")
    try:
        if resume:
            return _open_output(output)
        array: Array = np.lib.format.open_memmap(path, mode="w+", dtype=output.dtype, shape=output.shape)
        _reserve(output)
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror or err}",
                          f"{format_bytes(output.length_bytes)} go there: check path and room") from None
    return array


def _open_output(output: Output) -> Array:
    try:
        array: Array = np.load(output.path, mmap_mode="r+", allow_pickle=False)
    except ValueError as err:
        raise ConfigError(f"{output.path} is not a plain numpy file: {err}", "--resume goes on with the earlier "
                          "output") from None
    if array.dtype != output.dtype or array.shape != output.shape:
        raise ConfigError(f"{output.path} holds {array.dtype} of shape {_by(array.shape)}, the job gives "
                          f"{output.dtype} of shape {_by(output.shape)}",
                          "--resume takes the options of the earlier run")
    return array


def _reserve(output: Output) -> None:
    with open(output.path, "r+b") as file:
        length = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, length)
        except OSError as err:
            if err.errno in _CANNOT_RESERVE:
                return
            output.path.unlink(missing_ok=True)  # what would fill the disk up
            raise


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "()"
