"""Kernel manifests of programmed images by digest, kept so that a restarted host knows what its cards run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from safhost.errors import ConfigError
from safhost.plan.kernelspec import KernelPackage
from safhost.runtime.identity import read_json, write_json

_LOG = logging.getLogger("safhost.manifests")


class Manifests:
    """One JSON file for each image in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._known: dict[str, dict[str, Any]] = {}

    def get(self, digest: str) -> dict[str, Any] | None:
        """The manifest of an image (hex digest); None when this host never programmed it, or its file is
        damaged."""
        if digest not in self._known:
            try:
                found = read_json(self._folder / f"{digest}.json")
                if found:
                    KernelPackage.from_dict(found)
            except ConfigError as err:
                _LOG.warning("%s", err)
                found = {}
            self._known[digest] = found
        return self._known[digest] or None

    def put(self, digest: str, manifest: dict[str, Any]) -> None:
        """Keep the manifest of an image. Raises ConfigError when it is none, or cannot be written."""
        if self._known.get(digest) != manifest:
            KernelPackage.from_dict(manifest)
            write_json(self._folder / f"{digest}.json", manifest)
            self._known[digest] = manifest
