"""Bulk blocks of a call to `Link.send_blocks`: checked once, and gathered where a copy is wanted.

The checks stand between numpy arrays and addresses handed to the kernel: a block outside the payload must be
an error here and never a frame with someone else's memory in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from safhost.errors import LinkError

_HINT = "this is a mistake in the calling code: report it with the traceback"


def check_blocks(headers: NDArray[np.uint8], payload: NDArray[np.uint8], offsets: NDArray[Any],
                 length_bytes: int, last_length_bytes: int | None) -> tuple[NDArray[np.int64], int]:
    """Validate the arguments of ``send_blocks``; returns (offsets as (n,) int64, length of the last block).

    Raises LinkError when a shape or dtype is wrong or a block does not lie inside the payload.
    """
    if headers.ndim != 2 or headers.dtype != np.uint8 or headers.strides[1] != 1:
        raise LinkError(f"headers of {headers.dtype} {headers.shape} are not (n, width) uint8 rows", _HINT)
    if payload.ndim != 1 or payload.dtype != np.uint8 or not payload.flags.c_contiguous:
        raise LinkError(f"payload of {payload.dtype} {payload.shape} is not contiguous uint8", _HINT)
    positions = np.ascontiguousarray(offsets, dtype=np.int64)
    if positions.shape != (len(headers),):
        raise LinkError(f"{len(headers)} headers but {positions.shape} offsets", _HINT)
    last = length_bytes if last_length_bytes is None else last_length_bytes
    if length_bytes <= 0 or not 0 < last <= length_bytes:
        raise LinkError(f"block length {length_bytes} and last length {last} do not fit together", _HINT)
    if len(positions):
        end = int(positions[-1]) + last
        if len(positions) > 1:
            end = max(end, int(positions[:-1].max()) + length_bytes)
        if end > payload.size or int(positions.min()) < 0:
            raise LinkError(f"a block ends at {end}, outside the payload of {payload.size} bytes", _HINT)
    return positions, last


def gather_blocks(headers: NDArray[np.uint8], payload: NDArray[np.uint8], offsets: NDArray[np.int64],
                  length_bytes: int, last_length_bytes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Copy checked blocks into whole frames: ((n, width + length_bytes) uint8, (n,) int64 lengths)."""
    n, width = headers.shape
    frames = np.zeros((n, width + length_bytes), np.uint8)
    lengths = np.full(n, width + length_bytes, np.int64)
    frames[:, :width] = headers
    full = n if last_length_bytes == length_bytes else n - 1
    if full > 0:
        frames[:full, width:] = sliding_window_view(payload, length_bytes)[offsets[:full]]
    if full < n:
        start = int(offsets[-1])
        frames[-1, width:width + last_length_bytes] = payload[start:start + last_length_bytes]
        lengths[-1] = width + last_length_bytes
    return frames, lengths
