"""The BLAKE2s hash tree every transferred object is verified by.

Tree (RFC 7693 parameters as exposed by :mod:`hashlib`): fanout unlimited, depth 2, leaf 64 KiB, inner digest
32 bytes. Leaf *i* hashes bytes ``[i*65536, (i+1)*65536)``; the root hashes the concatenated leaf digests. Two
levels let hardware hash leaves in parallel and let a host locate a mismatch to 64 KiB (DESIGN section 3).

Everything here works with hashlib alone. A process may name something faster for several leaves at once (`use`);
the digests are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

LEAF_BYTES = 65536
DIGEST_BYTES = 32


class ManyLeaves(Protocol):
    """Hashes several leaves at once."""

    count: int
    """How many are hashed in the time of one."""

    def leaves(self, data: Buffer, first: int, ends: bool, leaf_bytes: int) -> bytes:
        """As `run_digests`, with leaves of ``leaf_bytes``."""


class _Chosen:
    """What `use` was given, and what came of it."""

    find: Callable[[], ManyLeaves | None] | None = None
    found: ManyLeaves | None = None


def use(find: Callable[[], ManyLeaves | None] | None) -> None:
    """Have ``find`` called when several leaves are first hashed, and what it gives (None: hashlib) used from then on in
    this process. ``find`` None: hashlib."""
    _Chosen.find, _Chosen.found = find, None


@contextmanager
def by_hashlib() -> Iterator[None]:
    """Hash leaf by leaf in the block, whatever the process uses: virtual cards then take their time as they did."""
    before = _Chosen.find, _Chosen.found
    use(None)
    try:
        yield
    finally:
        _Chosen.find, _Chosen.found = before


def _many() -> ManyLeaves | None:
    find = _Chosen.find
    if find is not None:
        _Chosen.found = find()
        _Chosen.find = None
    return _Chosen.found


def leaves_at_once() -> int:
    """How many leaves are hashed together: 1 with hashlib."""
    many = _many()
    return 1 if many is None else many.count


def leaf_count(length_bytes: int) -> int:
    """Number of leaves of an object; an empty object has one empty leaf."""
    return max(1, -(-length_bytes // LEAF_BYTES))


def leaf_digest(data: Buffer, index: int, last: bool) -> bytes:
    """Digest of leaf ``index``; ``last`` marks the final leaf of the object."""
    return hashlib.blake2s(data, fanout=0, depth=2, leaf_size=LEAF_BYTES, node_offset=index, node_depth=0,
                           inner_size=DIGEST_BYTES, last_node=last).digest()


def run_digests(data: Buffer, first: int, ends: bool) -> bytes:
    """Concatenated digests of the leaves that ``data`` (1-D bytes-like) is cut into.

    ``first``: index of the first of them in its object; ``ends``: whether the object ends with ``data``.
    """
    view = memoryview(data).cast("B")
    count = leaf_count(len(view))
    many = _many() if count > 1 else None
    out = b""
    done = 0
    if many is not None:
        done = count - (count % many.count == 1)  # one alone is faster by hashlib than in a lane of its own
        out = many.leaves(view[:done * LEAF_BYTES], first, ends and done == count, LEAF_BYTES)
    return out + b"".join(leaf_digest(view[i * LEAF_BYTES:(i + 1) * LEAF_BYTES], first + i, ends and i == count - 1)
                          for i in range(done, count))


def leaf_digests(data: Buffer, first: int = 0, count: int | None = None) -> bytes:
    """Concatenated digests of leaves ``first .. first+count`` of the object ``data`` (1-D bytes-like)."""
    view = memoryview(data).cast("B")
    total = leaf_count(len(view))
    stop = total if count is None else min(total, first + count)
    if stop <= first:
        return b""
    return run_digests(view[first * LEAF_BYTES:stop * LEAF_BYTES], first, stop == total)


def root_digest(leaves: Buffer) -> bytes:
    """Root over concatenated 32-byte leaf digests."""
    return hashlib.blake2s(leaves, fanout=0, depth=2, leaf_size=LEAF_BYTES, node_offset=0, node_depth=1,
                           inner_size=DIGEST_BYTES, last_node=True).digest()


def tree_root(data: Buffer) -> bytes:
    """Root digest of an object, 32 bytes."""
    return root_digest(leaf_digests(data))
