"""What a cluster's host must remember over restarts: owner, generation, card names, groups, image manifests.

Small JSON files, replaced atomically and synced, so that a crash leaves the old or the new one.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from safhost.errors import ConfigError


def write_json(path: Path, data: Any) -> None:
    """Replace ``path`` atomically and durably (file and folder synced)."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}", "is the disk full?") from err
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; empty when there is no file. Raises ConfigError when it is damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise ConfigError(f"{path} is damaged: {err}", "move it away; names and generation start anew") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is damaged: not an object", "move it away")
    return data


class Identity:
    """Owner and generation of this host in one cluster (DESIGN section 3: a generation is never used twice)."""

    def __init__(self, folder: Path, owner: int | None = None) -> None:
        self._path = folder / "identity.json"
        data = read_json(self._path)
        self.owner = owner or int(data.get("owner", 0)) or secrets.randbits(63) | 1
        self.generation = int(data.get("generation", 0)) + 1
        self.keep(self.generation)

    def keep(self, generation: int) -> None:
        self.generation = max(self.generation, generation)
        write_json(self._path, {"owner": self.owner, "generation": self.generation})


class Names:
    """Short names of cards (``c1``, ``c2``, … in order of first sight, or as renamed) and groups."""

    def __init__(self, folder: Path, configured: dict[str, str], groups: dict[str, tuple[str, ...]]) -> None:
        self._path = folder / "names.json"
        data = read_json(self._path)
        self.by_key: dict[str, str] = dict(data.get("names", {})) | configured
        self.groups: dict[str, list[str]] = {k: list(v) for k, v in data.get("groups", {}).items()}
        self.configured_groups = {k: list(v) for k, v in groups.items()}
        self._taken = set(self.by_key.values())
        self._next = 1
        self.dirty = False

    def name(self, key: str) -> str:
        """The card's short name; a new card gets the next free one."""
        found = self.by_key.get(key)
        if found is None:
            while f"c{self._next}" in self._taken:
                self._next += 1
            found = f"c{self._next}"
            self.by_key[key] = found
            self._taken.add(found)
            self.dirty = True
        return found

    def key(self, name: str) -> str | None:
        return next((k for k, n in self.by_key.items() if n == name), None)

    def rename(self, key: str, name: str) -> None:
        """Raises ConfigError when another card has that name."""
        if name in self._taken and self.by_key.get(key) != name:
            raise ConfigError(f"card {self.key(name)} is already called {name}", "choose another name")
        self._taken.discard(self.by_key.get(key, ""))
        self.by_key[key] = name
        self._taken.add(name)
        self.save()

    def set_group(self, name: str, members: list[str] | None) -> None:
        if members is None:
            if name not in self.groups:
                where = "the configuration file" if name in self.configured_groups else "this cluster"
                raise ConfigError(f"group {name} is not one that was set here", f"look in {where}")
            del self.groups[name]
        else:
            self.groups[name] = members
        self.save()

    def all_groups(self) -> dict[str, list[str]]:
        return self.configured_groups | self.groups

    def save(self) -> None:
        write_json(self._path, {"names": self.by_key, "groups": self.groups})
        self.dirty = False
