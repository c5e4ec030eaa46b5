"""Local CPU models for fail-over: anything that takes arrays by name and gives arrays by name; two ready ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError

Arrays = dict[str, NDArray[Any]]


def onnx_model(path: str | Path, threads: int = 1) -> Callable[[Arrays], Arrays]:
    """An ONNX file by onnxruntime; tensors have the file's names. Raises ConfigError when either is missing."""
    try:
        import onnxruntime
    except ImportError as err:
        raise ConfigError("a local ONNX model needs onnxruntime", "pip install onnxruntime") from err
    _must_exist(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def xgboost_model(path: str | Path, source: str = "INPUT", target: str = "OUTPUT", *, margin: bool = False,
                  threads: int = 1) -> Callable[[Arrays], Arrays]:
    """An XGBoost model file (JSON or UBJ): rows of input ``source`` to predictions [rows, 1] of output ``target``.

    ``margin``: sums of the trees instead of probabilities. Raises ConfigError when the file or xgboost is missing.
    """
    try:
        import xgboost
    except ImportError as err:
        raise ConfigError("a local XGBoost model needs xgboost", "pip install xgboost-cpu") from err
    _must_exist(path)
    booster = xgboost.Booster({"nthread": threads})
    booster.load_model(str(path))

    def run(inputs: Arrays) -> Arrays:
        found = booster.inplace_predict(inputs[source], predict_type="margin" if margin else "value")
        return {target: np.asarray(found, np.float32).reshape(len(inputs[source]), -1)}

    return run


def _must_exist(path: str | Path) -> None:
    if not Path(path).is_file():
        raise ConfigError(f"{path} is no file", "name the file of the local model")
