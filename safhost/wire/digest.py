"""The BLAKE2s hash tree every transferred object is verified by.

Tree (RFC 7693 parameters as exposed by :mod:`hashlib`): fanout unlimited, depth 2, leaf 64 KiB, inner digest
32 bytes. Leaf *i* hashes bytes ``[i*65536, (i+1)*65536)``; the root hashes the concatenated leaf digests. Two
levels let hardware hash leaves in parallel and let a host locate a mismatch to 64 KiB (DESIGN section 3).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

LEAF_BYTES = 65536
DIGEST_BYTES = 32


def leaf_count(length_bytes: int) -> int:
    """Number of leaves of an object; an empty object has one empty leaf."""
    return max(1, -(-length_bytes // LEAF_BYTES))


def leaf_digest(data: Buffer, index: int, last: bool) -> bytes:
    """Digest of leaf ``index``; ``last`` marks the final leaf of the object."""
    return hashlib.blake2s(data, fanout=0, depth=2, leaf_size=LEAF_BYTES, node_offset=index, node_depth=0,
                           inner_size=DIGEST_BYTES, last_node=last).digest()


def leaf_digests(data: Buffer, first: int = 0, count: int | None = None) -> bytes:
    """Concatenated digests of leaves ``first .. first+count`` of the object ``data`` (1-D bytes-like)."""
    view = memoryview(data).cast("B")
    total = leaf_count(len(view))
    stop = total if count is None else min(total, first + count)
    return b"".join(leaf_digest(view[i * LEAF_BYTES:(i + 1) * LEAF_BYTES], i, i == total - 1)
                    for i in range(first, stop))


def root_digest(leaves: Buffer) -> bytes:
    """Root over concatenated 32-byte leaf digests."""
    return hashlib.blake2s(leaves, fanout=0, depth=2, leaf_size=LEAF_BYTES, node_offset=0, node_depth=1,
                           inner_size=DIGEST_BYTES, last_node=True).digest()


def tree_root(data: Buffer) -> bytes:
    """Root digest of an object, 32 bytes."""
    return root_digest(leaf_digests(data))
