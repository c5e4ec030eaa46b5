"""Images: the ``.saf`` container, bare ``.rbf`` files, and how an image is built from a kernel folder.

A container is little-endian::

    0    magic b"SAFIMG1\\0", version u32 = 1, header bytes u32 = 96
    16   manifest offset u64, manifest bytes u64, payload offset u64, payload bytes u64
    48   digest root of the payload, 32 bytes (safhost.wire.digest)
    80   CRC-32 of bytes 0 to 80 and of the manifest u32, zeros to 96
    96   manifest (JSON), zeros to a multiple of 4096, payload to the end of the file

Only the payload travels. The manifest says for which board and shell it is, which kernels it has, and has a
slot for a signature over the digest root. The file is mapped, not read: opening a large image costs nothing.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from safhost.errors import ConfigError, ImageError
from safhost.plan.kernelspec import MANIFEST_NAME, KernelPackage, KernelSpec
from safhost.plan.rbf import canonical_json, pack_payload, parse_emulation, pof_id, unpack_archive
from safhost.units import format_bytes
from safhost.wire.digest import DIGEST_BYTES, tree_root

IMAGE_MAGIC = b"SAFIMG1\0"
IMAGE_VERSION = 1
PAYLOAD_ALIGN = 4096
_HEADER = struct.Struct("<8sIIQQQQ32sI")
HEADER_BYTES = 96
CREATED_BY = "safhost image build"

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(slots=True)
class Image:
    """An opened image. ``payload`` is a read-only uint8 view of the mapped file: what is sent to cards.

    ``manifest`` holds ``kernel`` (canonical kernel.yaml), ``board``, ``pr_compat_id``, ``digest_root`` (hex),
    ``payload_bytes``, ``created_by`` and ``signature`` (null, or algorithm, key_id and value).
    """

    path: Path
    payload: Bytes
    manifest: dict[str, Any]
    package: KernelPackage
    _digest_root: bytes = field(default=b"", repr=False)

    @classmethod
    def open(cls, path: str | Path, kernel: str | Path | KernelPackage | None = None) -> Image:
        """Map a ``.saf`` container or a bare ``.rbf``.

        ``kernel`` (a kernel.yaml, its folder, or a package) replaces the description that comes with the
        file; for an ``.rbf`` it is otherwise looked for beside it as ``<stem>.yaml``, then ``kernel.yaml``,
        then inside an emulation payload. Raises :class:`ImageError` for a truncated, overlong or malformed
        file and :class:`ConfigError` for a bad description.
        """
        file = Path(path)
        mapped = _map_file(file)
        given = kernel if kernel is None or isinstance(kernel, KernelPackage) else \
            KernelPackage.load(kernel, need_files=False)
        if bytes(mapped[:8]) == IMAGE_MAGIC:
            return _open_container(file, mapped, given)
        return _open_rbf(file, mapped, given)

    @property
    def digest_root(self) -> bytes:
        """Tree digest of the payload: the manifest's, or computed on first use for a bare ``.rbf``."""
        if not self._digest_root:
            self._digest_root = tree_root(self.payload.data)
            self.manifest["digest_root"] = self._digest_root.hex()
        return self._digest_root

    @property
    def payload_bytes(self) -> int:
        return int(self.payload.size)

    @property
    def pr_compat_id(self) -> int:
        return self.package.pr_compat_id

    @property
    def board(self) -> str:
        return self.package.board

    @property
    def name(self) -> str:
        return self.package.name

    @property
    def kernels(self) -> Mapping[str, KernelSpec]:
        return self.package.kernels

    def verify(self) -> None:
        """Hash the payload again. Raises :class:`ImageError` when it is not what the manifest says."""
        self.check_digest(tree_root(self.payload.data))

    def check_digest(self, computed_root: bytes) -> None:
        """As :meth:`verify`, with a root that the caller computed (in parallel, say)."""
        if computed_root != self.digest_root:
            raise ImageError(f"{self.path.name}: payload has digest {computed_root.hex()[:16]}…, "
                             f"its manifest says {self.digest_root.hex()[:16]}…",
                             "the file was damaged; copy or build it again")

    def check_for(self, pr_compat_id: int, card: str = "") -> None:
        """Raise :class:`ImageError` when a card with this PR compatibility id cannot take the image."""
        if pr_compat_id != self.pr_compat_id:
            raise ImageError(f"{self.path.name} is for a shell with PR compatibility id "
                             f"{self.pr_compat_id:#010x} ({self.board}), "
                             f"{'card ' + card if card else 'the card'} has {pr_compat_id:#010x}",
                             "build the image against the card's base shell")

    def inspect(self) -> dict[str, Any]:
        """What ``safhost image inspect`` shows, ready for JSON."""
        emulation = parse_emulation(self.payload.data)
        sources = {n: len(t.encode()) for n,
                   t in unpack_archive(emulation.archive).items()} if emulation else {}
        return {"path": str(self.path), "name": self.name, "version": self.package.version,
                "board": self.board,
                "pr_compat_id": f"{self.pr_compat_id:#010x}", "digest_root": self.digest_root.hex(),
                "payload_bytes": self.payload_bytes, "created_by": self.manifest["created_by"],
                "signature": self.manifest["signature"], "emulation": emulation is not None,
                "source_bytes": sources, "kernels": [k.to_dict() for k in self.kernels.values()]}


def build_image(kernel_dir: str | Path, out: str | Path, pad_bytes: int | None = None) -> Image:
    """Build an emulation image from a folder with kernel.yaml; ``pad_bytes`` is the payload's size.

    An ``out`` that ends in ``.rbf`` gets the bare payload. The same folder gives the same bytes.
    """
    package = KernelPackage.load(kernel_dir)
    if not package.sources:
        raise ConfigError(f"{package.name}: kernel.yaml lists no sources",
                          "an emulation image needs OpenCL source")
    payload = pack_payload(package.pr_compat_id, package.to_dict(), collect_files(package), pad_bytes)
    target = Path(out)
    if target.suffix == ".rbf":
        write_atomically(target, payload.data)
    else:
        write_container(target, payload, package)
    return Image.open(target)


def collect_files(package: KernelPackage) -> dict[str, str]:
    """Sources and includes of a package by their path below kernel.yaml; a folder is taken with all it
    holds."""
    if package.folder is None:
        raise ConfigError(f"{package.name} was not read from a folder", "load it from its kernel.yaml")
    files: dict[str, str] = {}
    for name in (*package.sources, *package.includes):
        path = package.folder / name
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            try:
                files[file.relative_to(package.folder).as_posix()] = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"cannot read {file}: {error}",
                                  "sources and includes are text files") from None
    return files


def write_container(path: Path, payload: Bytes, package: KernelPackage, created_by: str = CREATED_BY,
                    signature: dict[str, str] | None = None) -> None:
    """Write a ``.saf`` container atomically."""
    root = tree_root(payload.data)
    manifest = canonical_json({
        "kernel": package.to_dict(), "board": package.board, "pr_compat_id": package.pr_compat_id,
        "digest_root": root.hex(), "payload_bytes": int(payload.size), "created_by": created_by,
        "signature": signature})
    payload_offset = -(-(HEADER_BYTES + len(manifest)) // PAYLOAD_ALIGN) * PAYLOAD_ALIGN
    fields = (IMAGE_MAGIC, IMAGE_VERSION, HEADER_BYTES, HEADER_BYTES, len(manifest), payload_offset,
              int(payload.size), root)
    crc = zlib.crc32(manifest, zlib.crc32(_HEADER.pack(*fields, 0)[:-4]))
    head = _HEADER.pack(*fields, crc).ljust(HEADER_BYTES, b"\0") + manifest
    write_atomically(path, head.ljust(payload_offset, b"\0"), np.ascontiguousarray(payload).data)


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Write beside ``path`` and rename, so that nobody ever sees half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}",
                         "check the folder and its permissions") from None
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise ImageError(f"cannot write {path}: {error.strerror}",
                         "check free space and permissions") from None


def _map_file(path: Path) -> Bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ImageError(f"{path} is empty", "copy or build the image again")
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except OSError as error:
        raise ImageError(f"cannot open {path}: {error.strerror}",
                         "check the path and its permissions") from None
    return np.frombuffer(mapped, np.uint8)


def _open_container(path: Path, mapped: Bytes, given: KernelPackage | None) -> Image:
    again = "the file is truncated or damaged; copy or build it again"
    if mapped.size < HEADER_BYTES:
        raise ImageError(f"{path.name} ends inside its header", again)
    head = bytes(mapped[:HEADER_BYTES])
    (_, version, header_bytes, manifest_offset, manifest_bytes, payload_offset, payload_bytes, root,
     crc) = _HEADER.unpack_from(head)
    if version != IMAGE_VERSION:
        raise ImageError(f"{path.name} is a version {version} container, this is for {IMAGE_VERSION}",
                         "use a safhost of the age of the image")
    if (header_bytes, manifest_offset) != (HEADER_BYTES, HEADER_BYTES) or payload_offset % PAYLOAD_ALIGN \
            or not HEADER_BYTES + manifest_bytes <= payload_offset or payload_bytes == 0:
        raise ImageError(f"{path.name} has a malformed header", again)
    total_bytes = payload_offset + payload_bytes
    if total_bytes != mapped.size:
        raise ImageError(f"{path.name} has {mapped.size} bytes, its header says {total_bytes}",
                         again)
    text = bytes(mapped[HEADER_BYTES:HEADER_BYTES + manifest_bytes])
    if zlib.crc32(text, zlib.crc32(head[:_HEADER.size - 4])) != crc:
        raise ImageError(f"{path.name}: header or manifest is damaged (CRC-32)", again)
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise ImageError(f"{path.name}: manifest is not JSON", again) from None
    _check_manifest(path, manifest, root, payload_bytes)
    payload = mapped[payload_offset:]
    package = given or KernelPackage.from_dict(manifest["kernel"], f"{path.name} manifest")
    if (package.board, package.pr_compat_id) != (manifest["board"], manifest["pr_compat_id"]):
        raise ImageError(f"{path.name} is for {manifest['board']} ({manifest['pr_compat_id']:#010x}), its "
                         f"kernel description for {package.board} ({package.pr_compat_id:#010x})",
                         "give the kernel.yaml that belongs to this image")
    _check_compat(path, payload, package)
    return Image(path, payload, manifest, package, root)


def _check_manifest(path: Path, manifest: Any, root: bytes, payload_bytes: int) -> None:
    signature = manifest.get("signature") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("kernel"), dict) \
            or not isinstance(manifest.get("board"), str) or not isinstance(manifest.get("pr_compat_id"),
                                                                            int) \
            or not isinstance(manifest.get("created_by"), str) \
            or manifest.get("digest_root") != root.hex() or manifest.get("payload_bytes") != payload_bytes:
        raise ImageError(f"{path.name}: manifest and header disagree", "build the image again")
    if signature is not None and (not isinstance(signature, dict)
                                  or set(signature) != {"algorithm", "key_id", "value"}):
        raise ImageError(f"{path.name}: signature has to give algorithm, key_id and value",
                         "sign the image again")


def _open_rbf(path: Path, mapped: Bytes, given: KernelPackage | None) -> Image:
    if path.suffix == ".saf":
        raise ImageError(f"{path.name} does not start as a .saf container", "copy or build the image again")
    if bytes(mapped[:4]) == b"\x7fELF":
        raise ImageError(f"{path.name} is an ELF file, not a bitstream", f"safhost image import {path.name}")
    compat = pof_id(mapped.data)
    package = given or _find_package(path, mapped)
    if package is None:
        raise ImageError(f"{path.name} has no kernel.yaml beside it", "add one, or name it with --kernel")
    _check_compat(path, mapped, package)
    manifest = {"kernel": package.to_dict(), "board": package.board, "pr_compat_id": compat,
                "digest_root": None,
                "payload_bytes": int(mapped.size), "created_by": "bare bitstream", "signature": None}
    return Image(path, mapped, manifest, package)


def _find_package(path: Path, payload: Bytes) -> KernelPackage | None:
    for candidate in (path.with_suffix(".yaml"), path.with_name(MANIFEST_NAME)):
        if candidate.is_file():
            return KernelPackage.load(candidate, need_files=False)
    emulation = parse_emulation(payload.data)
    return KernelPackage.from_dict(emulation.manifest, f"{path.name} manifest") if emulation else None


def _check_compat(path: Path, payload: Bytes, package: KernelPackage) -> None:
    compat = pof_id(payload.data)
    if compat != package.pr_compat_id:
        raise ImageError(f"{path.name} ({format_bytes(payload.size)}) has PR compatibility id {compat:#010x} "
                         f"at word 71, its kernel description says {package.pr_compat_id:#010x}",
                         "correct pr_compat_id in kernel.yaml, or use the bitstream that belongs to it")


assert DIGEST_BYTES == 32  # the container's header has room for exactly this
