"""An output as the names of its largest elements: "value:index" or "value:index:label", one row a batch element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.tensors import objects
from safhost.serve.types import Code, ServeError, Tensor

_NUMERIC = {"UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64"}


def classify(output: Tensor, classes: int, *, batched: bool, labels: Sequence[str] | None) -> Tensor:
    """``output`` as a BYTES tensor of shape [batch, n] (or [n] without a batch), n the smaller of ``classes`` and the
    number of elements. Floats are printed with six decimals. Raises ServeError for types that have no order."""
    if output.datatype not in _NUMERIC:
        raise ServeError(Code.INVALID_ARGUMENT,
                         f"class result not available for output due to unsupported type '{output.datatype}'")
    array: NDArray[Any] = output.array
    rows = array.reshape(array.shape[0], -1) if batched and array.ndim else array.reshape(1, -1)
    count = min(classes, rows.shape[1])
    is_float = output.datatype.startswith("FP")
    texts: list[bytes] = []
    for row in rows:
        # stable, so that equal values come in the order of their indices
        order = np.argsort(-row.astype(np.float64) if is_float else _descending(row), kind="stable")[:count]
        for index in order.tolist():
            text = f"{row[index]:.6f}:{index}" if is_float else f"{row[index]}:{index}"
            if labels is not None and index < len(labels):
                text += f":{labels[index]}"
            texts.append(text.encode())
    shape = (rows.shape[0], count) if batched and array.ndim else (count,)
    return Tensor(output.name, "BYTES", objects(texts).reshape(shape))


def _descending(row: NDArray[Any]) -> NDArray[Any]:
    # ~x turns the order of integers round, of signed and unsigned ones, without overflow
    out: NDArray[Any] = np.invert(row)
    return out


__all__ = ["classify"]
