"""The model repository: a folder of models, laid out as Triton lays it out.

    <repository>/<model>/config.pbtxt, <model>/<version>/…, and files of labels beside config.pbtxt

Several repositories may be given; a model that two of them have is an error of that model.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tritonclient.grpc import model_config_pb2 as pb

from safhost.errors import ConfigError
from safhost.serve.config import parse_override, read_config

FILE_PREFIX = "file:"
MAX_VERSION = 2**31 - 1


class Found(NamedTuple):
    """A model as it lies in its folder. ``versions``: those that its policy serves, newest last. ``labels`` by output;
    ``temporary``: the folder is of a load request and goes with the model; ``overridden``: the configuration is of a
    load request, not of the folder's file."""

    name: str
    folder: Path
    config: pb.ModelConfig
    versions: tuple[int, ...]
    labels: dict[str, tuple[str, ...]]
    temporary: bool = False
    overridden: bool = False

    def discard(self) -> None:
        """The model is not served any more."""
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


class Repository:
    """Folders of models. Raises ConfigError when one is not there."""

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.paths = [Path(p) for p in paths]
        if not self.paths:
            raise ConfigError("no model repository is given", "name a folder of models")
        for path in self.paths:
            if not path.is_dir():
                raise ConfigError(f"model repository {path} is not a folder", "see docs/serving.md for its layout")

    def names(self) -> list[str]:
        """All models there are, whether they can be served or not."""
        found: set[str] = set()
        for path in self.paths:
            with os.scandir(path) as entries:
                found |= {e.name for e in entries if e.is_dir() and not e.name.startswith(".")}
        return sorted(found)

    def folder(self, name: str) -> Path | None:
        """A model's folder; None when there is none. Raises ConfigError when there are two."""
        if not name or "/" in name or name.startswith("."):
            return None
        found = [path / name for path in self.paths if (path / name).is_dir()]
        if len(found) > 1:
            raise ConfigError(f"model '{name}' is in several repositories", "leave it in one of them")
        return found[0] if found else None

    def stamp(self, name: str) -> tuple[Any, ...]:
        """What changes whenever a file of the model does; empty when the model is gone."""
        try:
            folder = self.folder(name)
        except ConfigError as error:
            return (error.message,)
        if folder is None:
            return ()
        lines = []
        for root, folders, files in os.walk(folder):
            folders.sort()
            for file in sorted(files):
                path = os.path.join(root, file)
                try:
                    info = os.stat(path)
                except OSError:
                    continue  # gone while we looked: the next look sees what is there then
                lines.append((path, info.st_mtime_ns, info.st_size, info.st_ino))
            if not files and not folders:
                lines.append((root, 0, 0, 0))
        return tuple(lines)

    def read(self, name: str) -> Found:
        """A model. Raises ConfigError saying what is missing, or wrong and where."""
        folder = self.folder(name)
        if folder is None:
            raise ConfigError(f"model '{name}' is not in the repository")
        return self._found(name, folder, read_config(folder, name), False)

    def read_with(self, name: str, config: str, files: Mapping[str, bytes]) -> Found:
        """A model with another configuration (JSON, "" for its own), and with other files where ``files`` has any: then
        with these alone. Raises ConfigError."""
        if files and not config:
            raise ConfigError("override of files needs a 'config' parameter as well", "send the model's configuration")
        if not files:
            folder = self.folder(name)
            if folder is None:
                raise ConfigError(f"model '{name}' is not in the repository")
            return self._found(name, folder, parse_override(config, name), False, True)
        parsed = parse_override(config, name)
        folder = Path(tempfile.mkdtemp(prefix="saf-model."))
        try:
            for path, content in files.items():
                parts = PurePosixPath(path.removeprefix(FILE_PREFIX))
                if parts.is_absolute() or ".." in parts.parts or not parts.parts:
                    raise ConfigError(f"file override '{path}' leaves the model's folder",
                                      "name files as in file:1/model.saf")
                target = folder / parts
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            return self._found(name, folder, parsed, True, True)
        except (OSError, ConfigError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"files of model '{name}' cannot be kept: {error}") from None

    def _found(self, name: str, folder: Path, config: pb.ModelConfig, temporary: bool,
               overridden: bool = False) -> Found:
        labels = {o.name: _labels(folder, name, o.label_filename) for o in config.output if o.label_filename}
        return Found(name, folder, config, _versions(name, folder, config), labels, temporary, overridden)


def _labels(folder: Path, name: str, file: str) -> tuple[str, ...]:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts:
        raise ConfigError(f"{name}/config.pbtxt: label_filename {file!r} leaves the model's folder")
    try:
        return tuple((folder / path).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}/{file} cannot be read: {error}", "label_filename of config.pbtxt names it") from None


def _versions(name: str, folder: Path, config: pb.ModelConfig) -> tuple[int, ...]:
    """Which versions the policy serves."""
    with os.scandir(folder) as entries:
        there = sorted(int(e.name) for e in entries if e.is_dir() and e.name.isascii() and e.name.isdigit()
                       and not e.name.startswith("0") and int(e.name) <= MAX_VERSION)
    policy = config.version_policy
    if policy.HasField("specific"):
        wanted = sorted(set(policy.specific.versions))
        absent = [v for v in wanted if v not in there]
        if absent:
            raise ConfigError(f"{name}/{absent[0]} is missing: version {absent[0]} specified for model '{name}' is not "
                              "in the repository")
        return tuple(wanted)
    if not there:
        raise ConfigError(f"at least one version must be available under the version policy of model '{name}'",
                          f"{name}/1 is the folder of version 1")
    return tuple(there) if policy.HasField("all") else tuple(there[-policy.latest.num_versions:])


__all__ = ["FILE_PREFIX", "Found", "Repository"]
