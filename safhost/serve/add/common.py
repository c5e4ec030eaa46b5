"""What every adder makes, and how it becomes a folder of a model repository.

    models/NAME/config.pbtxt, LABELS.txt
    models/NAME/VERSION/model.saf, mapping.yaml, weights.npz
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.plan.image import build_image

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

DEFAULT_BATCH = 16_000
"""Rows a request may have unless said otherwise: FaaST's batch of FACILE."""


@dataclass(frozen=True, slots=True)
class AddOptions:
    """What the user may choose; an adder refuses what has no meaning for its models. ``constants``: parameters become
    part of the image instead of data in DDR. ``name`` is the model's, and the kernel's."""

    name: str
    max_batch_size: int = DEFAULT_BATCH
    constants: bool = False
    clock_mhz: float = 200.0
    nan: str = "error"
    """NaN of a client: ``error``, or ``missing`` where a model knows missing values."""
    raw: bool = False
    """Clients send what the card takes (packed bins, fixed-point integers) instead of floats."""
    compute_units: int = 1
    """Copies of the kernel in the image, each with a bank of DDR of its own."""
    calibrate: str = ""
    """An .npz or .npy file of samples of the input, for float models that become int8."""


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """A tensor of config.pbtxt: ``datatype`` as FP32, ``dims`` without the batch, ``labels`` one a class (outputs)."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeModel:
    """A model as an adder makes it.

    ``files``: kernel.yaml, its sources and includes, by name. ``weights``: arrays of weights.npz by name: resident
    arguments, and what the mapping refers to. ``mapping``: content of mapping.yaml. ``notes``: what the user is told.
    """

    inputs: tuple[ModelTensor, ...]
    outputs: tuple[ModelTensor, ...]
    files: dict[str, str]
    mapping: dict[str, Any]
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    max_batch_size: int = DEFAULT_BATCH
    notes: tuple[str, ...] = ()


def check_model_name(name: str) -> str:
    """``name`` if it can name a model: it becomes a folder, and part of URLs. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a model", "letters, digits, dot, dash and underscore; 128 at most")
    return name


def kernel_name(name: str) -> str:
    """An OpenCL identifier for the model ``name``."""
    plain = re.sub(r"[^A-Za-z0-9]", "_", name)
    return plain if plain[0].isalpha() else f"m_{plain}"


def dump_yaml(data: Any) -> str:
    """YAML as people write it: keys in our order, short lists on one line."""
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def config_text(name: str, made: MadeModel) -> str:
    """config.pbtxt of a model."""
    lines = [f'name: "{name}"', 'backend: "saf"', f"max_batch_size: {made.max_batch_size}"]
    for kind, tensors in (("input", made.inputs), ("output", made.outputs)):
        for tensor in tensors:
            dims = ", ".join(map(str, tensor.dims))
            label = f' label_filename: "{label_file(tensor)}"' if tensor.labels else ""
            shape = f"data_type: TYPE_{tensor.datatype} dims: [ {dims} ]"
            lines.append(f'{kind} {{ name: "{tensor.name}" {shape}{label} }}')
    lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def label_file(tensor: ModelTensor) -> str:
    return f"{tensor.name}.labels.txt"


def write_model(repository: str | Path, name: str, made: MadeModel, version: int | None = None) -> Path:
    """Write a version of the model ``name`` into ``repository``; returns its folder.

    ``version`` None is the next one. It appears whole or not at all. Raises :class:`ConfigError` when the version is
    there already or when an older version has other tensors, and what building an image raises.
    """
    root = Path(repository)
    folder = root / check_model_name(name)
    config = config_text(name, made)
    try:
        number = _choose_version(folder, version)
        _check_config(folder, config)
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=root))
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}", "check the path and its permissions") from None
    try:
        scratch.chmod(0o755)
        _write_version(scratch / str(number), made)
        if folder.exists():
            (scratch / str(number)).rename(folder / str(number))
        else:
            (scratch / "config.pbtxt").write_text(config, encoding="utf-8")
            for tensor in (t for t in made.outputs if t.labels):
                text = "".join(f"{label}\n" for label in tensor.labels)
                (scratch / label_file(tensor)).write_text(text, encoding="utf-8")
            scratch.rename(folder)
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}", "check free space and permissions") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder / str(number)


def _write_version(folder: Path, made: MadeModel) -> None:
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix="safhost-kernel-") as kernel:
        for name, text in made.files.items():
            target = Path(kernel) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        build_image(Path(kernel), folder / "model.saf")
    (folder / "mapping.yaml").write_text(dump_yaml(made.mapping), encoding="utf-8")
    if made.weights:
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **made.weights)
        (folder / "weights.npz").write_bytes(packed.getvalue())


def _choose_version(folder: Path, version: int | None) -> int:
    there = [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    if version is None:
        return max(there, default=0) + 1
    if version < 1:
        raise ConfigError(f"version {version} is not possible", "versions count from 1")
    if version in there:
        raise ConfigError(f"{folder} has a version {version}", f"the next free one is {max(there) + 1}")
    return version


def _check_config(folder: Path, config: str) -> None:
    """A further version shares config.pbtxt; what a user changed in it besides tensors is theirs."""
    file = folder / "config.pbtxt"
    if not file.exists():
        if folder.exists() and os.listdir(folder):
            raise ConfigError(f"{folder} is there and has no config.pbtxt", "choose another name, or remove it")
        if folder.exists():
            folder.rmdir()
        return
    there = _tensors(file.read_text(encoding="utf-8"), str(file), folder.name)
    if there != _tensors(config, "the new config.pbtxt", folder.name):
        raise ConfigError(f"{file} has other tensors than the new version",
                          "choose another name, or edit config.pbtxt first")


def _tensors(config: str, source: str, name: str) -> list[str]:
    """The tensors of a config.pbtxt in a form that compares."""
    try:
        from safhost.serve.config import parse_config
    except ImportError:
        raise ConfigError("a further version needs the package tritonclient", "pip install 'safhost[serve]'") from None
    found = parse_config(config, source, name)
    return [f"{kind} {t.name} {t.data_type} {list(t.dims)}"
            for kind, tensors in (("input", found.input), ("output", found.output)) for t in tensors]


__all__ = ["DEFAULT_BATCH", "AddOptions", "MadeModel", "ModelTensor", "check_model_name", "config_text", "dump_yaml",
           "kernel_name", "write_model"]
