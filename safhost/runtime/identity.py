"""What a cluster's host must remember over restarts: owner, generation, card names, groups, image manifests.

Small JSON files, replaced atomically and synced, so that a crash leaves the old or the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safhost.errors import ConfigError
from safhost.selectors import split_pattern

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")
_RESERVED = ("all",)  # what selectors mean by it
_ANEW = "move it away; what it holds starts anew"


def write_json(path: Path, data: Any) -> None:
    """Replace ``path`` atomically and durably (file and folder synced). Raises ConfigError when it cannot."""
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as err:
        with contextlib.suppress(OSError):
            if temporary:
                os.unlink(temporary)
        raise ConfigError(f"cannot write {path}: {err.strerror}", "is the disk full, or the folder read-only?") from err


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; empty when there is no file. Raises ConfigError when it is damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise ConfigError(f"{path} is damaged: {err}", _ANEW) from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is damaged: not an object", _ANEW)
    return data


def _number(path: Path, data: Mapping[str, Any], field: str) -> int:
    """A 64-bit number of a state file, 0 when it is not there."""
    value = data.get(field, 0)
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise ConfigError(f"{path} is damaged: {field} is {value!r}", _ANEW)
    return value


class Identity:
    """Owner and generation of this host in one cluster (DESIGN section 3: a generation is never used twice)."""

    def __init__(self, folder: Path, owner: int | None = None) -> None:
        self.folder = folder
        self._path = folder / "identity.json"
        data = read_json(self._path)
        self.owner = owner or _number(self._path, data, "owner") or secrets.randbits(63) | 1
        self.generation = _number(self._path, data, "generation") + 1
        self.keep(self.generation)

    def keep(self, generation: int) -> None:
        self.generation = max(self.generation, generation)
        write_json(self._path, {"owner": self.owner, "generation": self.generation})


class Names:
    """Short names of cards (``c1``, ``c2``, … as they are asked for, or as renamed) and groups.

    ``configured`` (card → name) and ``groups`` come from the configuration file and win over what was kept.
    Names are compared as selectors do, without regard to case.
    """

    def __init__(self, folder: Path, configured: Mapping[str, str], groups: Mapping[str, tuple[str, ...]]) -> None:
        self._path = folder / "names.json"
        data = read_json(self._path)
        kept, own_groups = data.get("names", {}), data.get("groups", {})
        if not isinstance(kept, dict) or not all(isinstance(n, str) for n in kept.values()) \
                or not isinstance(own_groups, dict) or not all(_is_texts(m) for m in own_groups.values()):
            raise ConfigError(f"{self._path} is damaged: not names and groups", _ANEW)
        self._configured = dict(configured)
        taken = {n.casefold() for n in configured.values()}
        # a card loses a name that the configuration file gives to another one
        self.by_key: dict[str, str] = {k: n for k, n in kept.items() if n.casefold() not in taken} | self._configured
        self.groups: dict[str, list[str]] = {k: list(v) for k, v in own_groups.items()}
        self.configured_groups = {k: list(v) for k, v in groups.items()}
        self._taken = {n.casefold() for n in self.by_key.values()}
        self._next = 1
        self.dirty = False

    def name(self, key: str) -> str:
        """The card's short name; a new card gets the next free one."""
        found = self.by_key.get(key)
        if found is None:
            while self._is_taken(f"c{self._next}"):
                self._next += 1
            found = f"c{self._next}"
            self.by_key[key] = found
            self._taken.add(found)
            self.dirty = True
        return found

    def _is_taken(self, name: str) -> bool:
        """Whether a card, or a group, is called so."""
        folded = name.casefold()
        return folded in self._taken or any(folded == g.casefold() for g in self.all_groups())

    def key(self, name: str) -> str | None:
        return next((k for k, n in self.by_key.items() if n.casefold() == name.casefold()), None)

    def rename(self, key: str, name: str) -> None:
        """Raises ConfigError for a name that cannot be, that another card or a group has, or that the
        configuration file decides."""
        _check_name(name)
        old = self.by_key.get(key, "")
        if key in self._configured:
            raise ConfigError(f"card {old} has its name from the configuration file", "change it there")
        if name.casefold() != old.casefold() and self._is_taken(name):
            raise ConfigError(f"{name!r} is taken: {self.key(name) or 'a group'} is called so", "choose another name")
        if any(name.casefold() == k.casefold() and k != key for k in self.by_key):
            raise ConfigError(f"{name!r} is the serial of another card", "choose another name")
        self._taken.discard(old.casefold())
        self.by_key[key] = name
        self._taken.add(name.casefold())
        self.save()

    def set_group(self, name: str, members: list[str] | None) -> None:
        """Set the members (selectors) of a group, or remove it with None. Raises ConfigError."""
        if members is None:
            if name not in self.groups:
                where = "the configuration file" if name in self.configured_groups else "this cluster"
                raise ConfigError(f"group {name} is not one that was set here", f"look in {where}")
            del self.groups[name]
        else:
            _check_name(name)
            if not _is_texts(members) or not split_pattern(members):
                raise ConfigError(f"group {name} has no members", "name cards or a range such as c[1-8]")
            self.groups[name] = list(members)
        self.save()

    def all_groups(self) -> dict[str, list[str]]:
        return self.configured_groups | self.groups

    def save(self) -> None:
        """Keep it. Names that the configuration file gives are not ours to keep."""
        own = {k: n for k, n in self.by_key.items() if k not in self._configured}
        write_json(self._path, {"names": own, "groups": self.groups})
        self.dirty = False


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _check_name(name: str) -> None:
    if not _NAME.match(name) or name.casefold() in _RESERVED:
        raise ConfigError(f"{name!r} cannot be a name",
                          "use 1 to 32 letters, digits, dots, dashes or underscores, no dot or dash first; not 'all'")
