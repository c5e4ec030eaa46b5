"""What becomes of a model's raw output before a client sees it: `transform:` of an output in mapping.yaml.

Both follow xgboost (src/common/math.h): float32 throughout, exponentials rounded once. The C library's expf, which
xgboost calls, differs from the nearest float32 in about one of two thousand arguments, so a probability may differ from
xgboost's in its last bit; margins do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError

Floats = NDArray[np.float32]


def sigmoid(margins: NDArray[Any]) -> Floats:
    """1 / (1 + e^-x) of each margin, float32; the exponent ends at 88.7 so that nothing overflows."""
    exponent = np.minimum(-np.asarray(margins, np.float32), np.float32(88.7))
    return np.float32(1.0) / (_exp(exponent) + np.float32(1.0) + np.float32(1e-16))


def softmax(margins: NDArray[Any]) -> Floats:
    """Along the last axis, float32."""
    rows = np.asarray(margins, np.float32)
    powers = _exp(rows - rows.max(-1, keepdims=True))
    total: Floats = powers.sum(-1, keepdims=True, dtype=np.float64).astype(np.float32)
    return powers / total


def _exp(values: Floats) -> Floats:
    return np.exp(values.astype(np.float64)).astype(np.float32)


TRANSFORMS: dict[str, Callable[[NDArray[Any]], Floats]] = {"sigmoid": sigmoid, "softmax": softmax}


def apply_transform(name: str, values: NDArray[Any]) -> Floats:
    """``values`` float32 [n, k] under the transform ``name``. Raises ConfigError for one that is not known."""
    if name not in TRANSFORMS:
        raise ConfigError(f"no transform {name!r}", f"known: {', '.join(TRANSFORMS)}")
    return TRANSFORMS[name](values)
