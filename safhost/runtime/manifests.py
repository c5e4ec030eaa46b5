"""Kernel manifests of programmed images by digest, kept so that a restarted host knows what its cards run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safhost.runtime.identity import read_json, write_json


class Manifests:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._known: dict[str, dict[str, Any]] = {}

    def get(self, digest: str) -> dict[str, Any] | None:
        """The manifest of an image, None when this host never programmed it."""
        if digest not in self._known:
            self._known[digest] = read_json(self._folder / f"{digest}.json")
        return self._known[digest] or None

    def put(self, digest: str, manifest: dict[str, Any]) -> None:
        if self._known.get(digest) != manifest:
            self._known[digest] = manifest
            write_json(self._folder / f"{digest}.json", manifest)
