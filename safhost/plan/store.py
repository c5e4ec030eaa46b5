"""The image store: a folder of containers named by their content, and names that point at them.

    objects/<first two hex digits>/<content digest>.saf
    names/<name>                     one line: the content digest

The content digest covers the whole container, so a kernel.yaml that changed is a new object even when the
bitstream is the same. Writes are made beside and renamed; changes hold a lock file, so that a collection
cannot take an object whose name is about to be written.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safhost.errors import ImageError
from safhost.plan.image import Image, write_atomically, write_container
from safhost.plan.kernelspec import KernelPackage
from safhost.wire.digest import tree_root

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,126}\Z")
Ids = list[str]
MIN_PREFIX_DIGITS = 6
"""Hex digits needed to refer to an object by the start of its digest."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One object of the store. ``names`` may be empty: then ``gc`` removes it."""

    object_id: str
    names: tuple[str, ...]
    path: Path
    digest_root: bytes
    board: str
    pr_compat_id: int
    payload_bytes: int
    kernels: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"object_id": self.object_id, "names": list(self.names), "path": str(self.path),
                "digest_root": self.digest_root.hex(), "board": self.board,
                "pr_compat_id": f"{self.pr_compat_id:#010x}", "payload_bytes": self.payload_bytes,
                "kernels": list(self.kernels)}


class ImageStore:
    """A store in ``root`` (made when missing)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        try:
            for folder in ("objects", "names"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageError(f"cannot make the image store {self.root}: {error.strerror}",
                             "check the folder and its permissions") from None

    def add(self, image: Image | str | Path, name: str = "",
            kernel: str | Path | KernelPackage | None = None) -> StoredImage:
        """Verify an image and keep it under ``name`` (its kernel's name when empty); an old holder loses the
        name.

        A bare ``.rbf`` becomes a container. Raises :class:`ImageError`.
        """
        opened = image if isinstance(image, Image) else Image.open(image, kernel)
        opened.verify()
        label = _check_name(name or opened.name)
        with self._locked():
            staged = self.root / "objects" / f".adding-{os.getpid()}.saf"
            try:
                write_container(staged, opened.payload, opened.package, opened.manifest["created_by"],
                                opened.manifest["signature"])
                object_id = tree_root(np.memmap(staged, np.uint8, "r").data).hex()
                target = self._object_path(object_id)
                target.parent.mkdir(exist_ok=True)
                staged.replace(target)
            finally:
                staged.unlink(missing_ok=True)
            write_atomically(self.root / "names" / label, object_id.encode() + b"\n")
        return self._describe(object_id, self._names())

    def list(self) -> list[StoredImage]:
        """All objects, named ones first, by name."""
        names = self._names()
        found = [self._describe(object_id, names) for object_id in self._object_ids()]
        return sorted(found, key=lambda s: (not s.names, s.names, s.object_id))

    def find(self, reference: str) -> StoredImage:
        """The object called ``reference``: a name, or the start of its object id or payload digest."""
        names = self._names()
        if reference in names:
            return self._describe(names[reference], names)
        digits = reference.lower()
        if len(digits) < MIN_PREFIX_DIGITS or not re.fullmatch(r"[0-9a-f]+", digits):
            near = ", ".join(sorted(names)) or "the store is empty"
            raise ImageError(f"no image is called {reference}", f"known: {near}")
        hits = [s for s in self.list()
                if s.object_id.startswith(digits) or s.digest_root.hex().startswith(digits)]
        if len(hits) != 1:
            raise ImageError(f"{len(hits)} images have a digest that starts with {reference}",
                             "give more digits" if hits else "see safhost image list")
        return hits[0]

    def open(self, reference: str) -> Image:
        """Open the image called ``reference`` (see :meth:`find`)."""
        return Image.open(self.find(reference).path)

    def rm(self, name: str) -> str:
        """Forget a name and return the object id it had; the object stays until :meth:`gc`."""
        with self._locked():
            names = self._names()
            if name not in names:
                raise ImageError(f"no image is called {name}", f"known: {', '.join(sorted(names)) or 'none'}")
            (self.root / "names" / name).unlink()
        return names[name]

    def gc(self) -> tuple[Ids, int]:
        """Remove objects without a name and leftovers of interrupted writes: (object ids, bytes freed)."""
        removed: Ids = []
        freed_bytes = 0
        with self._locked():
            kept = set(self._names().values())
            leftovers = [p for p in (self.root / "objects").rglob(".*") if p.is_file()]
            leftovers += [p for p in (self.root / "names").glob(".*") if p.is_file()]
            for object_id in self._object_ids():
                if object_id not in kept:
                    removed.append(object_id)
                    leftovers.append(self._object_path(object_id))
            for path in leftovers:
                freed_bytes += path.stat().st_size
                path.unlink()
        return removed, freed_bytes

    def _describe(self, object_id: str, names: dict[str, str]) -> StoredImage:
        path = self._object_path(object_id)
        if not path.is_file():
            raise ImageError(f"image {object_id[:12]} is gone from the store", "add it again")
        image = Image.open(path)
        mine = tuple(sorted(n for n, o in names.items() if o == object_id))
        return StoredImage(object_id, mine, path, image.digest_root, image.board, image.pr_compat_id,
                           image.payload_bytes, tuple(image.kernels))

    def _object_path(self, object_id: str) -> Path:
        return self.root / "objects" / object_id[:2] / f"{object_id}.saf"

    def _object_ids(self) -> Ids:
        return sorted(p.stem for p in (self.root / "objects").glob("[0-9a-f][0-9a-f]/*.saf")
                      if not p.name.startswith("."))

    def _names(self) -> dict[str, str]:
        out: dict[str, str] = {}
        for path in sorted((self.root / "names").iterdir()):
            if path.name.startswith("."):
                continue
            object_id = path.read_text(encoding="ascii").strip()
            if not re.fullmatch(r"[0-9a-f]{64}", object_id):
                raise ImageError(f"{path} does not name an object",
                                 "remove that file and add the image again")
            out[path.name] = object_id
        return out

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ImageError(f"cannot lock {self.root}: {error.strerror}", "check its permissions") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _check_name(name: str) -> str:
    if not _NAME.match(name):
        raise ImageError(f"{name!r} cannot name an image", "letters, digits and . _ : + - are allowed")
    return name


