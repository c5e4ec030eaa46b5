"""mapping.yaml: which tensor is which argument of the kernel, in which numbers, and what a batch is to the kernel.

A row is what one inference takes of an argument. A batch of n rows fills the first n rows of each argument; rows beyond
and lanes beside are zero. How many rows an argument has follows from kernel.yaml: from scalars that are ``batch``, from
an axis that nothing else fixes, or it is always the same.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError, SafError
from safhost.plan.fields import Fields, load_yaml
from safhost.plan.image import Image
from safhost.plan.kernelspec import ArgSpec, KernelSpec
from safhost.serve.codecs import Weights, make_codec, optional_choice
from safhost.serve.contract import Contract, Port
from safhost.serve.quantise import Codec
from safhost.serve.transforms import TRANSFORMS

MAPPING_NAME, WEIGHTS_NAME = "mapping.yaml", "weights.npz"
BATCH = "batch"
MAX_RING, MAX_UNITS = 64, 64
KEEP_SIZES = 4096


class Lane(NamedTuple):
    """A tensor's place in each row of an argument: ``width`` lanes from ``offset`` on, ``elements`` numbers."""

    port: Port
    argument: str
    codec: Codec
    elements: int
    offset: int
    width: int
    transform: str = ""


class Place(NamedTuple):
    """An argument and what of it is a row. ``full``: tensors take every lane of it."""

    spec: ArgSpec
    row: int
    lanes: tuple[Lane, ...]
    full: bool


class Sizes(NamedTuple):
    """What a batch of so many rows is to the kernel: its scalars, and the shape of each mapped argument."""

    scalars: dict[str, int | float]
    shapes: dict[str, tuple[int, ...]]


class Mapping:
    """See the module; made by :func:`load_mapping`."""

    def __init__(self, image: Image, kernel: KernelSpec, inputs: Sequence[Place], outputs: Sequence[Place],
                 scalars: dict[str, int | float | str], resident: dict[str, NDArray[Any]], ring: int, units: int,
                 multiple: int) -> None:
        self.image, self.kernel = image, kernel
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.resident = resident
        self.ring, self.units, self.multiple = ring, units, multiple
        self._scalars = scalars
        self._known = {a.shape[i].text: size for a in kernel.args if a.name in resident
                       for i, size in enumerate(resident[a.name].shape) if a.shape[i].is_name}
        self._sizes: dict[int, Sizes] = {}

    def sizes(self, rows: int) -> Sizes:
        """For a batch of ``rows``. Raises ConfigError when the kernel cannot take so many."""
        found = self._sizes.get(rows)
        if found is None:
            if len(self._sizes) >= KEEP_SIZES:
                self._sizes.clear()
            found = self._sizes[rows] = self._sized(rows)
        return found

    def _sized(self, rows: int) -> Sizes:
        padded = -(-rows // self.multiple) * self.multiple
        scalars = {n: padded if isinstance(v, str) else v for n, v in self._scalars.items()}
        names = self._known | {n: v for n, v in scalars.items() if isinstance(v, int)}
        places = (*self.inputs, *self.outputs)
        derived = {a.name for a in self.kernel.args if a.value is not None}
        for place in self.inputs:
            first = place.spec.shape[0] if place.spec.shape else None
            if first is not None and first.is_name and first.text not in names and first.text not in derived:
                names[first.text] = padded * (place.row if len(place.spec.shape) == 1 else 1)
        waiting = [a for a in self.kernel.args if a.value is not None and a.name not in names]
        while ready := [a for a in waiting if a.value is not None and a.value.names <= names.keys()]:
            for arg in ready:
                assert arg.value is not None
                names[arg.name] = arg.value.evaluate(names)
                waiting.remove(arg)
        shapes = {p.spec.name: tuple(e.evaluate(names) for e in p.spec.shape) for p in places}
        for place in places:
            count = math.prod(shapes[place.spec.name])
            if count % place.row or count < rows * place.row:
                raise ConfigError(f"argument {place.spec.name} has {count} numbers for a batch of {rows}, rows of "
                                  f"{place.row} need {rows * place.row}", "see row: in mapping.yaml, max_batch_size in "
                                  "config.pbtxt and shape: in kernel.yaml")
        return Sizes(scalars, shapes)


def load_mapping(folder: Path, shown: str, image_name: str, contract: Contract) -> Mapping:
    """The mapping of a version's ``folder``, checked against its image, its weights and the model's ``contract``.
    ``shown`` names the folder in errors. Raises ConfigError or ImageError saying what is missing, or wrong and where.
    """
    for name in (MAPPING_NAME, image_name):
        if not (folder / name).is_file():
            raise ConfigError(f"{shown}/{name} is missing", "see docs/serving.md for what a model of backend saf holds")
    image = Image.open(folder / image_name)
    weights = _weights(folder / WEIGHTS_NAME, shown)
    fields = load_yaml(folder / MAPPING_NAME)
    fields.source = f"{shown}/{MAPPING_NAME}"
    name = fields.take("kernel", str)
    if name not in image.kernels:
        raise fields.error(f"the image has no kernel {name!r}", f"it has: {', '.join(image.kernels)}", "kernel")
    kernel = image.kernels[name]
    resident = _resident(fields, kernel, weights, shown)
    inputs = _places(fields, "inputs", kernel, contract.inputs, weights)
    outputs = _places(fields, "outputs", kernel, contract.outputs, weights)
    scalars = _scalars(fields, kernel)
    buffers = fields.mapping("buffers")
    ring = units = 0
    if buffers is not None:
        ring, units = _count(buffers, "ring", MAX_RING), _count(buffers, "units", MAX_UNITS)
        buffers.finish()
        if units > kernel.compute_units:
            raise buffers.error(f"units is {units}, the image has {kernel.compute_units} of kernel {name}",
                                "see compute_units: in kernel.yaml", "units")
    multiple = fields.take("multiple", int, 1)
    if not 1 <= multiple <= max(1, contract.max_batch):
        raise fields.error(f"multiple is {multiple}", "rows that batches are filled up to, at most max_batch_size",
                           "multiple")
    fields.finish()
    mapped = {p.spec.name for p in inputs} | resident.keys()
    missing = [a.name for a in kernel.args if a.is_input and a.name not in mapped]
    if missing:
        raise fields.error(f"nothing is given for argument {missing[0]} of the kernel",
                           "map a tensor to it, or list it under resident", "inputs")
    mapping = Mapping(image, kernel, inputs, outputs, scalars, resident, ring, units, multiple)
    for rows in (1, contract.max_batch or 1):
        try:
            mapping.sizes(rows)
        except ConfigError as error:
            raise fields.error(error.message, error.hint, "scalars") from None
    return mapping


def _weights(path: Path, shown: str) -> Weights:
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{shown}/{WEIGHTS_NAME} cannot be read: {error}", "write it with numpy.savez") from None


def _resident(fields: Fields, kernel: KernelSpec, weights: Weights, shown: str) -> dict[str, NDArray[Any]]:
    found = {}
    args = {a.name: a for a in kernel.args}
    for number, name in enumerate(fields.strings("resident", [])):
        arg = args.get(name)
        if arg is None or not arg.is_input:
            raise fields.error(f"kernel {kernel.name} has no input buffer {name}", "", "resident", number)
        if name not in weights:
            raise fields.error(f"{shown}/{WEIGHTS_NAME} has no {name!r}", f"it has: {', '.join(weights) or 'nothing'}",
                               "resident", number)
        array = np.ascontiguousarray(weights[name])
        if array.dtype != arg.dtype or array.ndim != len(arg.shape):
            raise fields.error(f"{name} of {WEIGHTS_NAME} is {array.dtype}{list(array.shape)}, the argument {arg.dtype}"
                               f"[{', '.join(e.text for e in arg.shape)}]", "", "resident", number)
        found[name] = array
    return found


def _places(fields: Fields, key: str, kernel: KernelSpec, ports: dict[str, Port], weights: Weights) -> list[Place]:
    """Arguments with the tensors in them, in the kernel's order."""
    is_input = key == "inputs"
    args = {a.name: a for a in kernel.args if (a.is_input if is_input else a.is_output)}
    rows: dict[str, int] = {}
    lanes: dict[str, list[Lane]] = {}
    seen: set[str] = set()
    for item in fields.mappings(key):
        tensor, argument = item.take("tensor", str), item.take("argument", str)
        if tensor not in ports or tensor in seen:
            raise item.error(f"{key[:-1]} {tensor!r} " + ("is mapped twice" if tensor in seen else
                             "is not in config.pbtxt"), f"it has: {', '.join(ports)}", "tensor")
        if argument not in args:
            raise item.error(f"kernel {kernel.name} has no {key[:-1]} buffer {argument}", f"it has: {', '.join(args)}",
                             "argument")
        seen.add(tensor)
        port = ports[tensor]
        if not port.fixed:
            raise item.error(f"{tensor} has dims {list(port.dims)}", "a card needs fixed ones", "tensor")
        codec = make_codec(item, port, args[argument].dtype, weights, is_input)
        width = codec.lanes(port.element_count)
        offset = item.take("offset", int, 0)
        row = item.take("row", int, 0) or _natural_row(args[argument]) or offset + width
        transform = "" if is_input else optional_choice(item, "transform", tuple(TRANSFORMS))
        item.finish()
        if offset < 0 or offset + width > row or rows.setdefault(argument, row) != row:
            raise item.error(f"{tensor} takes lanes {offset} to {offset + width} of rows of "
                             f"{row if rows.get(argument, row) == row else f'{rows[argument]} and {row}'}",
                             f"row: of {argument} is at least what its tensors take, and the same for all of them",
                             "row")
        if is_input and any(offset < o.offset + o.width and o.offset < offset + width for o in
                            lanes.get(argument, [])):
            raise item.error(f"{tensor} lies over another tensor in {argument}", "give it an offset", "offset")
        lanes.setdefault(argument, []).append(Lane(port, argument, codec, port.element_count, offset, width, transform))
    absent = [n for n in ports if n not in seen]
    if absent:
        raise fields.error(f"{key[:-1]} {absent[0]} of config.pbtxt is not mapped", "", key)
    return [Place(a, rows[n], tuple(lanes[n]), sum(x.width for x in lanes[n]) == rows[n])
            for n, a in args.items() if n in lanes]


def _natural_row(arg: ArgSpec) -> int:
    """Lanes of all axes but the first, where kernel.yaml fixes them; else 0."""
    try:
        return math.prod(e.evaluate({}) for e in arg.shape[1:]) if len(arg.shape) > 1 else 0
    except SafError:
        return 0


def _scalars(fields: Fields, kernel: KernelSpec) -> dict[str, int | float | str]:
    inner = fields.mapping("scalars")
    found: dict[str, int | float | str] = {}
    if inner is None:
        return found
    names = [a.name for a in kernel.args if a.kind in ("scalar", "symbol")]
    for name in inner.data:
        value = inner.take(name, (int, float, str))
        if name not in names:
            raise inner.error(f"kernel {kernel.name} has no scalar {name}", f"it has: {', '.join(names)}", name)
        if isinstance(value, str) and value != BATCH:
            raise inner.error(f"{name} is {value!r}", "a number, or batch", name)
        found[name] = value
    return found


def _count(fields: Fields, key: str, most: int) -> int:
    value = fields.take(key, int, 0)
    if not 0 <= value <= most:
        raise fields.error(f"{key} is {value}", f"from 1 to {most}; leave it out for what measurement says", key)
    return int(value)


__all__ = ["MAPPING_NAME", "WEIGHTS_NAME", "Lane", "Mapping", "Place", "Sizes", "load_mapping"]
