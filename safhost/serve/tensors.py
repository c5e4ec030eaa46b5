"""Tensors and their bytes: what both front ends do with data that came, and with data that go."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.types import DATATYPES, Code, ServeError, Tensor

Buffer = bytes | bytearray | memoryview
FIXED: dict[str, np.dtype[Any]] = {**{name: dtype for name, dtype in DATATYPES.items() if name != "BYTES"},
                                   "BF16": np.dtype("<u2")}
"""Types whose elements all have one size; BF16 as the 16 bits it is."""


class Misfit(Tensor):
    """An input whose bytes cannot be its shape's, or whose type is unknown: ``array`` is a stand-in of that shape that
    takes no memory, ``error`` what the client is told unless its request is wrong for a more basic reason."""

    __slots__ = ("error",)

    def __init__(self, name: str, datatype: str, shape: Sequence[int], error: ServeError) -> None:
        try:
            array: NDArray[Any] = np.broadcast_to(np.zeros((), FIXED.get(datatype, np.uint8)), tuple(shape))
        except ValueError:  # negative, or more than an array can have
            raise error from None
        super().__init__(name, datatype if datatype in DATATYPES or datatype == "BF16" else "INVALID", array)
        self.error = error


def elements(shape: Iterable[int]) -> int:
    """How many elements a tensor of ``shape`` has; negative where the shape is."""
    count = 1
    for extent in shape:
        if extent < 0:
            return -1
        count *= extent
    return count


def tensor_of(name: str, datatype: str, shape: Sequence[int], data: Buffer, model: str) -> Tensor:
    """The tensor whose elements are ``data``, without a copy; a `Misfit` when the size is not that of ``shape``."""
    dtype = FIXED.get(datatype)
    if dtype is not None:
        expected = elements(shape) * dtype.itemsize
        if expected == len(data):
            return Tensor(name, datatype, np.frombuffer(data, dtype).reshape(shape))
        return Misfit(name, datatype, shape, ServeError(
            Code.INVALID_ARGUMENT, f"input byte size mismatch for input '{name}' for model '{model}'. "
            f"Expected {math.prod(shape) * dtype.itemsize % 2**64}, got {len(data)}"))
    if datatype != "BYTES":
        return Misfit(name, datatype, shape, ServeError(
            Code.INVALID_ARGUMENT, f"input '{name}' has the unknown data-type '{datatype}' for model '{model}'"))
    return _tensor_of_bytes(name, shape, data, model)


def _tensor_of_bytes(name: str, shape: Sequence[int], data: Buffer, model: str) -> Tensor:
    """Each element is its length in four bytes (little endian) and that many bytes, as KServe v2 has it."""
    expected = elements(shape)
    found: list[bytes] = []
    at, end = 0, len(data)
    while at < end and len(found) <= expected:
        if at + 4 > end:
            return Misfit(name, "BYTES", shape, ServeError(
                Code.INVALID_ARGUMENT, f"incomplete string length indicator for inference input '{name}' for model "
                f"'{model}', expecting 4 bytes but only {end - at} bytes available. Please make sure the string length "
                "indicator is in one buffer."))
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + size > end and len(found) + 1 == expected:
            return Misfit(name, "BYTES", shape, ServeError(
                Code.INVALID_ARGUMENT, f"incomplete string data for inference input '{name}', expecting string of "
                f"length {size} but only {end - at} bytes available"))
        found.append(bytes(data[at:at + size]))
        at += size
    if len(found) != expected:
        if len(found) > expected:
            text = (f"unexpected number of string elements {len(found)} for inference input '{name}' for model "
                    f"'{model}', expecting {expected}")
        else:
            text = (f"expected {expected} string elements for inference input '{name}' for model '{model}', got "
                    f"{len(found)}")
        return Misfit(name, "BYTES", shape, ServeError(Code.INVALID_ARGUMENT, text))
    return Tensor(name, "BYTES", objects(found).reshape(shape))


def objects(items: Sequence[bytes]) -> NDArray[Any]:
    """A flat array of byte strings (numpy would make one of fixed width, and lose zeros at the end)."""
    out = np.empty(len(items), dtype=np.object_)
    out[:] = items
    return out


def bytes_of(tensor: Tensor) -> memoryview | bytes:
    """The elements as they travel: without a copy where the array is in one piece."""
    if tensor.datatype == "BYTES":
        return b"".join(part for item in tensor.array.reshape(-1)
                        for part in (struct.pack("<I", len(item)), item))
    array = tensor.array
    dtype = FIXED[tensor.datatype]
    if array.dtype != dtype or not array.flags.c_contiguous:
        array = np.ascontiguousarray(array, dtype=dtype)
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def version_of(text: str) -> str:
    """``text`` when it is a version ("" means any); ServeError as the reference server words it otherwise."""
    if not text or (text.isascii() and text.isdigit() and len(text) < 19):
        return text
    try:
        number = int(text.strip().split(".")[0])
    except ValueError:
        raise ServeError(Code.INVALID_ARGUMENT, f"failed to get model version from specified version string '{text}' "
                         "(details: stol), version should be an integral value > 0") from None
    if number < 0:
        raise ServeError(Code.INVALID_ARGUMENT, f"invalid model version specified '{text}' , version should be an "
                         "integral value > 0")
    if number >= 1 << 63:
        raise ServeError(Code.INVALID_ARGUMENT, f"failed to get model version from specified version string '{text}' "
                         "(details: stol), version should be an integral value > 0")
    return str(number)


__all__ = ["FIXED", "Misfit", "bytes_of", "elements", "objects", "tensor_of", "version_of"]
