"""Bytes of an image payload: the words of an Arria 10 .rbf that we look at, and the emulation section.

A payload is what travels to a card and goes into its PR controller. A real one comes from Quartus and has no
documented magic; its word 71 holds the POF id, which must equal the shell's PR compatibility id (Intel
683834 and Linux altera-pr-ip-core). An emulation payload starts with the words of Intel's simulation RBF
(683834), so that a PR controller model accepts it, repeats the id at word 71 and carries, from byte 512, a
manifest and OpenCL source:

    0    u32[6]   0x0000A65C, PR compatibility id, 0x01234567, 0x89ABCDEF, 0x02468ACE, 0x13579BDF
    284  u32      PR compatibility id (word 71)
    512  8s u32 u32 u32 u32   b"SAFEMU1\\0", manifest bytes, archive bytes, CRC-32 of these and it, payload bytes
    536  manifest (JSON), archive (zlib of JSON {path: text}), filler

All words are little-endian. The filler cannot be compressed and depends on the content, so that each byte
matters.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from safhost.errors import ImageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Payload = Buffer | np.ndarray[Any, np.dtype[np.uint8]]

SIMULATION_WORDS = (0x0000A65C, None, 0x01234567, 0x89ABCDEF, 0x02468ACE, 0x13579BDF)
"""Intel's simulation RBF (683834, PR simulation); None stands for the PR compatibility id."""

POF_ID_WORD = 71
EMULATION_OFFSET = 512
EMULATION_MAGIC = b"SAFEMU1\0"
_EMULATION = struct.Struct("<8sIIII")

MIN_PAYLOAD_BYTES = (POF_ID_WORD + 1) * 4
ARCHIVE_MAX_BYTES = 16 << 20
"""Unpacked sources of one image; more is refused before it is unpacked (a card must survive any payload)."""

MANIFEST_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Emulation:
    """The emulation section of a payload. ``key`` names its content: equal keys run equal kernels.
    ``payload_bytes`` is what the section says of the whole payload: where nothing else tells (profile `paper`), the
    length of the image."""

    pr_compat_id: int
    manifest: dict[str, Any]
    archive: bytes
    key: str
    payload_bytes: int


def canonical_json(data: object) -> bytes:
    """One byte string for equal content: sorted keys, no spaces."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def pack_archive(files: Mapping[str, str]) -> bytes:
    """Sources and includes as they travel."""
    return zlib.compress(canonical_json(dict(files)), 9)


def unpack_archive(archive: bytes) -> dict[str, str]:
    """Inverse of :func:`pack_archive`. Raises :class:`ImageError` for anything else, or for unsafe paths."""
    try:
        engine = zlib.decompressobj()
        text = engine.decompress(archive, ARCHIVE_MAX_BYTES)
        if not engine.eof or engine.unused_data:
            raise ImageError("source archive of the image is cut short or too large", "build the image again")
        files = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise ImageError(f"source archive of the image is damaged: {error}",
                         "build the image again") from None
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise ImageError("source archive of the image is not a table of files", "build the image again")
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise ImageError(f"source archive of the image holds the path {name!r}", "do not use this image")
    return files


def pack_payload(pr_compat_id: int, manifest: Mapping[str, Any], files: Mapping[str, str],
                 pad_bytes: int | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An emulation payload of exactly ``pad_bytes`` (rounded up to a word), or the smallest multiple of 64
    bytes.

    The same input gives the same bytes. Raises :class:`ImageError` when ``pad_bytes`` is too few.
    """
    body, archive = canonical_json(dict(manifest)), pack_archive(files)
    content_bytes = EMULATION_OFFSET + _EMULATION.size + len(body) + len(archive)
    total = -(-content_bytes // 64) * 64 if pad_bytes is None else -(-pad_bytes // 4) * 4
    crc = zlib.crc32(archive, zlib.crc32(body, zlib.crc32(total.to_bytes(4, "little"))))
    section = _EMULATION.pack(EMULATION_MAGIC, len(body), len(archive), crc, total) + body + archive
    if total < content_bytes:
        raise ImageError(f"the image needs {content_bytes} bytes, asked for {pad_bytes}",
                         "give a larger --pad")
    payload = _filler(blake2s(section + pr_compat_id.to_bytes(4, "little")).digest(), total)
    words = payload[:MIN_PAYLOAD_BYTES].view("<u4")
    words[:len(SIMULATION_WORDS)] = [pr_compat_id if w is None else w for w in SIMULATION_WORDS]
    words[POF_ID_WORD] = pr_compat_id
    payload[EMULATION_OFFSET:content_bytes] = np.frombuffer(section, np.uint8)
    return payload


def pof_id(payload: Payload) -> int:
    """PR compatibility id of a payload (word 71). Raises :class:`ImageError` when it is too short to have
    one."""
    view = _view(payload)
    if len(view) < MIN_PAYLOAD_BYTES:
        raise ImageError(f"image payload has {len(view)} bytes, a bitstream has at least {MIN_PAYLOAD_BYTES}",
                         "the file is truncated; copy or build it again")
    return int.from_bytes(view[POF_ID_WORD * 4:MIN_PAYLOAD_BYTES], "little")


def has_simulation_words(payload: Payload) -> bool:
    """Whether a payload starts as Intel's simulation RBF does, with one id in both places."""
    view = _view(payload)
    if len(view) < MIN_PAYLOAD_BYTES:
        return False
    compat = pof_id(view)
    return bytes(view[:24]) == struct.pack("<6I", *(compat if w is None else w for w in SIMULATION_WORDS))


def parse_emulation(payload: Payload) -> Emulation | None:
    """The emulation section, or None where there is none (a real bitstream).

    Raises :class:`ImageError` when the section is there and damaged.
    """
    view = _view(payload)
    head = view[EMULATION_OFFSET:EMULATION_OFFSET + _EMULATION.size]
    if bytes(head[:8]) != EMULATION_MAGIC:
        return None
    if len(head) < _EMULATION.size:
        raise ImageError("emulation section of the image is truncated", "build the image again")
    _, manifest_bytes, archive_bytes, crc, payload_bytes = _EMULATION.unpack(head)
    start = EMULATION_OFFSET + _EMULATION.size
    end = start + manifest_bytes + archive_bytes
    too_large = manifest_bytes > MANIFEST_MAX_BYTES or archive_bytes > ARCHIVE_MAX_BYTES
    if end > len(view) or too_large:
        raise ImageError("emulation section of the image is truncated or has lying lengths",
                         "build the image again")
    if zlib.crc32(view[start:end], zlib.crc32(payload_bytes.to_bytes(4, "little"))) != crc:
        raise ImageError("emulation section of the image is damaged (CRC-32)",
                         "transfer or build the image again")
    body, archive = bytes(view[start:start + manifest_bytes]), bytes(view[start + manifest_bytes:end])
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"manifest in the image is not JSON: {error}", "build the image again") from None
    if not isinstance(manifest, dict):
        raise ImageError("manifest in the image is not a mapping", "build the image again")
    return Emulation(pof_id(view), manifest, archive, blake2s(body + archive).hexdigest(), payload_bytes)


def _view(payload: Payload) -> memoryview:
    return memoryview(payload.data if isinstance(payload, np.ndarray) else payload).cast("B")


def _filler(seed: bytes, length_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Raw Philox words (a stable stream by numpy's policy), writable."""
    key = np.frombuffer(seed[:16], "<u8").astype(np.uint64)
    words = np.random.Philox(key=key).random_raw(max(-(-length_bytes // 8), MIN_PAYLOAD_BYTES // 8))
    return np.asarray(words).astype("<u8").view(np.uint8)[:length_bytes]
