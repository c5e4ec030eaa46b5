"""Checked reading of YAML and JSON mappings, with errors that name the file and the line.

``load_yaml`` keeps the line of every node beside the data; :class:`Fields` then takes values out of one
mapping by name and type, and ``finish`` refuses what nobody took, so that a misspelt key is an error and not
a default.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml

from safhost.errors import ConfigError

type_names = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a mapping",
              float: "a number"}

_REQUIRED: Any = object()
_Path = tuple[str | int, ...]


class Fields:
    """One mapping under validation. ``source`` names the file; ``lines`` maps a path of keys to its line."""

    def __init__(self, data: object, source: str, lines: dict[_Path, int] | None = None,
                 path: _Path = ()) -> None:
        self.source, self.lines, self.path = source, lines or {}, path
        if not isinstance(data, dict):
            raise self.error("expected a mapping of keys to values", "see kernels/README.md")
        self.data: dict[str, Any] = data
        self._known: list[str] = []

    def error(self, message: str, hint: str = "", *keys: str | int) -> ConfigError:
        """A :class:`ConfigError` at the place of ``keys`` below this mapping (the mapping itself without
        keys)."""
        place = self.path + keys
        while place and place not in self.lines:
            place = place[:-1]
        if place in self.lines:
            return ConfigError(f"{self.source}:{self.lines[place]}: {message}", hint)
        dotted = ".".join(str(k) for k in self.path + keys)
        return ConfigError(f"{self.source}: {dotted + ': ' if dotted else ''}{message}", hint)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = _REQUIRED) -> Any:
        """The value of ``key``, checked to be of ``kind``; ``default`` when it is absent or null."""
        self._known.append(key)
        value = self.data.get(key)
        if value is None:
            if default is _REQUIRED:
                raise self.error(f"{key} is missing", f"add a line '{key}: …'")
            return default
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
            wanted = " or ".join(type_names.get(k, k.__name__) for k in kinds)
            raise self.error(f"{key} is {value!r}, expected {wanted}", "", key)
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: Any = _REQUIRED) -> str:
        """A string that is one of ``choices``."""
        value = self.take(key, str, default)
        if value not in choices:
            raise self.error(f"{key} is {value!r}", f"use one of: {', '.join(choices)}", key)
        return str(value)

    def strings(self, key: str, default: Any = _REQUIRED) -> list[str]:
        """A list of strings; one bare string counts as a list of one."""
        value = self.take(key, (str, list), default)
        items = [value] if isinstance(value, str) else list(value)
        for i, item in enumerate(items):
            if not isinstance(item, str):
                raise self.error(f"{key} holds {item!r}, expected text", "", key, i)
        return items

    def mappings(self, key: str, default: Any = _REQUIRED) -> list[Fields]:
        """A list of mappings, each ready for validation."""
        value = self.take(key, list, default)
        return [Fields(item, self.source, self.lines, (*self.path, key, i)) for i, item in enumerate(value)]

    def mapping(self, key: str) -> Fields | None:
        """A nested mapping, or None when absent."""
        value = self.take(key, dict, None)
        return None if value is None else Fields(value, self.source, self.lines, (*self.path, key))

    def finish(self) -> None:
        """Refuse keys that were never taken, naming the closest known one."""
        for key in self.data:
            if key not in self._known:
                near = difflib.get_close_matches(str(key), self._known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(self._known)}"
                raise self.error(f"unknown key {key!r}", hint, key)


def load_yaml(path: Path) -> Fields:
    """Read a YAML file whose top is a mapping. Raises :class:`ConfigError` with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", "check the path and its permissions") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Fields:
    """As :func:`load_yaml`, from text."""
    lines: dict[_Path, int] = {}
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        data = _convert(loader, node, lines, (), source) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{source}:{line}: {error.problem}", "this is not valid YAML") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {error}", "this is not valid YAML") from None
    finally:
        loader.dispose()
    return Fields(data, source, lines)


def _convert(loader: yaml.SafeLoader, node: yaml.Node, lines: dict[_Path, int], path: _Path,
             source: str) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node, deep=True))
            if key in out:
                raise ConfigError(f"{source}:{key_node.start_mark.line + 1}: {key!r} is given twice",
                                  "remove one of the two")
            out[key] = _convert(loader, value_node, lines, (*path, key), source)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_convert(loader, item, lines, (*path, i), source) for i, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)
