"""What changes a running server: models loaded and unloaded, regions of shared memory, log and trace settings.

`Operations` does such a change in this process. Front ends ask a `Control`, which has it done in every worker and
returns when all have done it; with one worker that is `Operations` itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from safhost.serve.settings import LogSettings, TraceSettings
from safhost.serve.shm import Regions
from safhost.serve.types import Code, ServeError

Arguments = Mapping[str, Any]
"""Names to values that JSON has; bytes are {"base64": text}."""


class Loader(Protocol):
    """The part of the engine that loads models."""

    def load(self, name: str, parameters: Mapping[str, Any] | None = None) -> None: ...
    def unload(self, name: str, unload_dependents: bool = False) -> None: ...


class Control(Protocol):
    """Has operations done everywhere. Raises ServeError when one worker could not."""

    def call(self, operation: str, arguments: Arguments) -> None: ...


class Operations:
    """All changes, in this process."""

    def __init__(self, loader: Loader, regions: Regions, log: LogSettings, traces: TraceSettings) -> None:
        self._loader = loader
        self._regions = regions
        self._log = log
        self._traces = traces

    def call(self, operation: str, arguments: Arguments) -> None:
        a = arguments
        if operation == "load":
            self._loader.load(a["name"], {key: _plain(value) for key, value in a["parameters"].items()})
        elif operation == "unload":
            self._loader.unload(a["name"], a["unload_dependents"])
        elif operation == "register":
            self._regions.register(a["name"], a["key"], a["offset"], a["byte_size"])
        elif operation == "unregister":
            self._regions.unregister(a["name"])
        elif operation == "log":
            self._log.apply(a["changes"])
        elif operation == "trace":
            self._traces.apply(a["model"], a["changes"])
        else:
            raise ServeError(Code.INTERNAL, f"unknown operation '{operation}'")


def packed(value: Any) -> Any:
    """``value`` as JSON can have it."""
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"base64"}:
        return base64.b64decode(value["base64"])
    return value


def undoing(operation: str, arguments: Arguments) -> tuple[str, Arguments] | None:
    """What takes ``operation`` back in workers that did it when another could not; None where nothing is to be done."""
    if operation == "register":
        return "unregister", {"name": arguments["name"]}
    return None


class Journal:
    """The operations that make a new worker like the others, in order; later ones replace those that they hide."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, ...], tuple[str, Arguments]] = {}

    def add(self, operation: str, arguments: Arguments) -> Callable[[], None]:
        """Write down an operation; what is returned takes it back, should it fail."""
        if operation == "unregister":
            gone = [key for key in self._entries if key[0] == "region" and arguments["name"] in ("", key[1])]
            for each in gone:
                del self._entries[each]
            return lambda: None  # it cannot fail
        if operation in ("load", "unload"):
            key: tuple[str, ...] = ("model", arguments["name"])
        elif operation == "register":
            key = ("region", arguments["name"])
        else:
            key = (operation, arguments.get("model", ""))
        before = self._entries.pop(key, None)  # the new one goes to the end
        if before is not None and "changes" in arguments:
            arguments = {**arguments, "changes": {**before[1]["changes"], **arguments["changes"]}}
        if before is not None and operation == "register":
            self._entries[key] = before  # it fails: the name is taken
            return lambda: None
        self._entries[key] = (operation, arguments)

        def take_back() -> None:
            self._entries.pop(key, None)
            if before is not None:
                self._entries[key] = before
        return take_back

    def __iter__(self) -> Iterator[tuple[str, Arguments]]:
        return iter(list(self._entries.values()))


__all__ = ["Arguments", "Control", "Journal", "Operations", "packed", "undoing"]
