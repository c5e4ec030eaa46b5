"""``safhost model add``: a folder of a model repository from what other tools wrote.

An adder is a module with ``read(path, options) -> MadeModel``; it is chosen by the file. Nothing else knows adders.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from safhost.errors import ConfigError
from safhost.serve.add.common import AddOptions, MadeModel, check_model_name, write_model


@dataclass(frozen=True, slots=True)
class Adder:
    """``module`` has ``read``; ``takes`` says of a path whether it is one of its; ``what`` for people. ``options``:
    those of `AddOptions` that mean something to it, besides name and largest batch."""

    module: str
    what: str
    takes: Callable[[Path], bool]
    options: frozenset[str]


def _is_hls4ml(path: Path) -> bool:
    return path.is_dir() or path.suffix in (".yml", ".yaml")


_KERNEL = frozenset({"constants", "raw", "clock_mhz", "compute_units"})

ADDERS: dict[str, Adder] = {
    "hls4ml": Adder("safhost.serve.add.hls4ml", "a project folder of hls4ml, or a list of layers in .yaml", _is_hls4ml,
                    _KERNEL),
    "xgboost": Adder("safhost.serve.add.xgboost", "a model that xgboost saved as .json", lambda p: p.suffix == ".json",
                     _KERNEL | {"nan"}),
    "onnx": Adder("safhost.serve.add.onnx", "an ONNX model, int8 (QDQ) or float32", lambda p: p.suffix == ".onnx",
                  frozenset({"calibrate"})),
}

_FLAGS = {"nan": "--missing", "clock_mhz": "--clock"}


def read_model(path: str | Path, options: AddOptions, kind: str = "") -> MadeModel:
    """Read ``path`` with the adder ``kind``, or with the one that takes such files. Raises :class:`ConfigError`."""
    source = Path(path)
    if not source.exists():
        raise ConfigError(f"{source} does not exist", "give a file or folder with --from")
    known = "; ".join(f"{name}: {adder.what}" for name, adder in ADDERS.items())
    if kind and kind not in ADDERS:
        raise ConfigError(f"no kind of model {kind!r}", known)
    fitting = [kind] if kind else [name for name, adder in ADDERS.items() if adder.takes(source)]
    if not fitting:
        raise ConfigError(f"{source}: not a model that can be added", known)
    adder = ADDERS[fitting[0]]
    for option in fields(AddOptions):
        given = getattr(options, option.name) != option.default
        if given and option.name not in adder.options | {"name", "max_batch_size"}:
            flag = _FLAGS.get(option.name, f"--{option.name.replace('_', '-')}")
            raise ConfigError(f"{flag} has no meaning for {adder.what}", "leave it out")
    read: Callable[[Path, AddOptions], MadeModel] = importlib.import_module(adder.module).read
    return read(source, options)


def add_model(repository: str | Path, path: str | Path, options: AddOptions, kind: str = "",
              version: int | None = None) -> tuple[Path, MadeModel]:
    """Read a model and write it into ``repository`` under ``options.name``; returns the version's folder and what was
    made. Raises :class:`ConfigError`."""
    check_model_name(options.name)
    made = read_model(path, options, kind)
    return write_model(repository, options.name, made, version), made


__all__ = ["ADDERS", "AddOptions", "Adder", "MadeModel", "add_model", "read_model"]
