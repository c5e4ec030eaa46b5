"""Read the YAML definition strictly, and find the line of a spot in it.

PyYAML keeps the last of two equal keys without a word, which would lose a struct defined twice; here that is
an error. ``jsonschema`` names a spot as a path of keys and indices; `line_of` turns it into a line.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import yaml


class SpecError(Exception):
    """The definition is wrong; the message names the spot."""


# libyaml where PyYAML was built with it: ten times faster, and this runs in many tests
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Loader):  # type: ignore[misc]  # chosen at run time
    """SafeLoader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _value in node.value:
            if key.value in seen:
                raise SpecError(f"line {key.start_mark.line + 1}: key {key.value!r} is there twice")
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(text: str) -> Any:
    """Parse YAML; raises SpecError with the line for a syntax error or a key given twice."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as err:
        line = f"line {err.problem_mark.line + 1}: " if err.problem_mark else ""
        raise SpecError(f"{line}{err.problem or err}") from err


def line_of(text: str, path: Iterable[str | int]) -> int:
    """Line (from 1) of the node at ``path``, or of the nearest one above it."""
    node = yaml.compose(text, Loader=_Loader)
    line = 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def spot(path: Iterable[str | int]) -> str:
    """``("opcodes", 3, "way")`` → ``opcodes[3].way``."""
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else str(step)
    return out or "the whole file"


def check_schema(text: str, raw: Any, schema_path: Path) -> None:
    """Raise SpecError for the first violation of the JSON schema, with its line and spot."""
    schema = json.loads(schema_path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    errors = jsonschema.Draft202012Validator(schema).iter_errors(raw)
    first = min(errors, key=lambda e: (line_of(text, e.absolute_path), str(e.message)), default=None)
    if first is not None:
        path = list(first.absolute_path)
        raise SpecError(f"line {line_of(text, path)}: {spot(path)}: {first.message}")
