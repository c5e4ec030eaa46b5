"""Tensors whose elements came as JSON, flat or nested."""

from __future__ import annotations

from typing import Any

import numpy as np

from safhost.serve.tensors import FIXED, elements, objects
from safhost.serve.types import Code, ServeError, Tensor


def tensor_of_json(name: str, datatype: str, shape: tuple[int, ...], data: Any, model: str) -> Tensor:
    """A tensor whose elements came as JSON, flat or nested."""
    count = elements(shape)
    if datatype in ("FP16", "BF16"):
        raise _refused(f"receiving {datatype} data via JSON is not supported. Please use the binary data format for "
                       f"input {name}")
    if datatype not in FIXED and datatype != "BYTES":
        raise _refused(f"invalid datatype for input {name}")
    if not isinstance(data, list):
        raise ServeError(Code.INTERNAL, "Unable to parse 'data': attempt to access JSON non-array as array")
    if datatype == "BYTES":
        flat: list[Any] = []
        _flatten(data, flat)
        if not all(isinstance(item, str) for item in flat):
            raise ServeError(Code.INTERNAL,
                             "Unable to parse JSON bytes array: attempt to access JSON non-string as string")
        if len(flat) != count:
            raise _wrong_count()
        return Tensor(name, datatype, objects([item.encode() for item in flat]).reshape(shape))
    dtype = FIXED[datatype]
    try:
        array = np.array(data)
    except ValueError:  # rows of different lengths: each element by itself
        flat = []
        _flatten(data, flat)
        array = np.array(flat)
    kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[dtype.kind]
    if array.size and (array.dtype.kind not in kinds or (dtype.kind == "u" and array.min() < 0)):
        word = {"b": "boolean", "u": "unsigned int", "i": "int", "f": "double"}[dtype.kind]
        raise ServeError(Code.INTERNAL, f"Unable to parse 'data': attempt to access JSON non-{word} as {word}")
    if array.size != count:
        raise _wrong_count()
    return Tensor(name, datatype, array.astype(dtype).reshape(shape))


def _flatten(data: Any, into: list[Any]) -> None:
    for item in data:
        if isinstance(item, list):
            _flatten(item, into)
        else:
            into.append(item)


def _wrong_count() -> ServeError:
    return ServeError(Code.INTERNAL, "Unable to parse 'data': Shape does not match true shape of 'data' field")


def _refused(text: str) -> ServeError:
    return ServeError(Code.INVALID_ARGUMENT, text)


__all__ = ["tensor_of_json"]
