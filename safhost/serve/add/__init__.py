"""``safhost model add``: a folder of a model repository from what other tools wrote.

An adder is a module with ``read(path, options) -> MadeModel``; it is chosen by the file. Nothing else knows adders.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safhost.errors import ConfigError
from safhost.serve.add.common import AddOptions, MadeModel, check_model_name, write_model


@dataclass(frozen=True, slots=True)
class Adder:
    """``module`` has ``read``; ``takes`` says of a path whether it is one of its; ``what`` for people."""

    module: str
    what: str
    takes: Callable[[Path], bool]


def _is_hls4ml(path: Path) -> bool:
    return path.is_dir() or path.suffix in (".yml", ".yaml")


ADDERS: dict[str, Adder] = {
    "hls4ml": Adder("safhost.serve.add.hls4ml", "a project folder of hls4ml", _is_hls4ml),
    "xgboost": Adder("safhost.serve.add.xgboost", "a model that xgboost saved as .json", lambda p: p.suffix == ".json"),
    "onnx": Adder("safhost.serve.add.onnx", "an ONNX model, int8 (QDQ) or float32", lambda p: p.suffix == ".onnx"),
}


def read_model(path: str | Path, options: AddOptions, kind: str = "") -> MadeModel:
    """Read ``path`` with the adder ``kind``, or with the one that takes such files. Raises :class:`ConfigError`."""
    source = Path(path)
    if not source.exists():
        raise ConfigError(f"{source} does not exist", "give a file or folder with --from")
    known = "; ".join(f"{name}: {adder.what}" for name, adder in ADDERS.items())
    if kind and kind not in ADDERS:
        raise ConfigError(f"no kind of model {kind!r}", known)
    fitting = [ADDERS[kind]] if kind else [a for a in ADDERS.values() if a.takes(source)]
    if not fitting:
        raise ConfigError(f"{source}: not a model that can be added", known)
    read: Callable[[Path, AddOptions], MadeModel] = importlib.import_module(fitting[0].module).read
    return read(source, options)


def add_model(repository: str | Path, path: str | Path, options: AddOptions, kind: str = "",
              version: int | None = None) -> tuple[Path, MadeModel]:
    """Read a model and write it into ``repository`` under ``options.name``; returns the version's folder and what was
    made. Raises :class:`ConfigError`."""
    check_model_name(options.name)
    made = read_model(path, options, kind)
    return write_model(repository, options.name, made, version), made


__all__ = ["ADDERS", "AddOptions", "Adder", "MadeModel", "add_model", "read_model"]
