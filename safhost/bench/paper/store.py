"""What was measured, kept in the report's folder, so that an interrupted report goes on where it was.

A file a part: what was asked for, on which machine and when, and what came out so far. It is used again only when the
same was asked for.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

from safhost.bench.report import machine_facts
from safhost.errors import ConfigError

FOLDER = "measured"


class Store:
    """Files below ``folder``/measured. ``reuse``: take what is there; else everything is measured anew."""

    def __init__(self, folder: Path, reuse: bool) -> None:
        self._folder = folder / FOLDER
        self._reuse = reuse

    def open(self, key: str, parameters: dict[str, Any]) -> Measurement:
        """What there is of ``key``, measured with these ``parameters``, or an empty one.

        Raises ConfigError for a file that cannot be read.
        """
        path = self._folder / f"{key}.json"
        if self._reuse and path.exists():
            try:
                found = json.loads(path.read_text())
                if found["parameters"] == parameters:
                    return Measurement(path, parameters, found["machine"], found["started"], found["results"])
            except (OSError, ValueError, KeyError, TypeError) as err:
                raise ConfigError(f"{path} cannot be used again: {err}", "remove it, or leave out --reuse") from err
        return Measurement(path, parameters, machine_facts(), now(), {})


class Measurement:
    """Results of one part, by name; each is on disk once it is there."""

    def __init__(self, path: Path, parameters: dict[str, Any], machine: dict[str, Any], started: str,
                 results: dict[str, Any]) -> None:
        self.path, self.parameters, self.results = path, parameters, results
        self.machine, self.started = machine, started

    def put(self, name: str, result: Any) -> None:
        """Keep a result. Raises ConfigError when it cannot be written."""
        self.results[name] = result
        document = {"parameters": self.parameters, "machine": self.machine, "started": self.started,
                    "results": self.results}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(document, indent=1).encode())
        except OSError as err:
            raise ConfigError(f"cannot write {self.path}: {err.strerror}", "choose another folder with --out") from err

    def to_dict(self) -> dict[str, Any]:
        return {"parameters": self.parameters, "machine": self.machine, "started": self.started,
                "results": self.results}


def now() -> str:
    """Date and time for people, with the zone."""
    return datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    os.replace(beside, path)
