"""How an object is cut into blocks and large writes into transfers. Pure."""

from __future__ import annotations

from typing import NamedTuple

from safhost.errors import LocalProtocolError
from safhost.wire.generated import BLOCK_MULTIPLE, ETHERNET_HEADER_BYTES, HEADER_BYTES


def block_bytes_for(mtu: int) -> int:
    """Largest block that fits one frame at ``mtu`` (bytes after the Ethernet header): 1472 at 1500, 8960 at
    9000. Raises LocalProtocolError below an MTU of 90."""
    size = (mtu - (HEADER_BYTES - ETHERNET_HEADER_BYTES)) // BLOCK_MULTIPLE * BLOCK_MULTIPLE
    if size < BLOCK_MULTIPLE:
        raise LocalProtocolError(f"an MTU of {mtu} holds no block", "use an MTU of 1500 or 9000")
    return size


def block_count(length_bytes: int, block_bytes: int) -> int:
    return -(-length_bytes // block_bytes)


class Piece(NamedTuple):
    """One transfer of a large write: bytes ``offset .. offset+length`` of the data, to ``address``."""

    offset: int
    address: int
    length: int


def plan_pieces(length_bytes: int, address: int, block_bytes: int, max_blocks: int,
                prefer_bytes: int | None = None) -> list[Piece]:
    """Cut a write into pieces of at most ``max_blocks`` blocks, of about ``prefer_bytes`` when given."""
    limit = max_blocks * block_bytes
    if prefer_bytes is not None:
        limit = min(limit, max(block_bytes, prefer_bytes // block_bytes * block_bytes))
    return [Piece(at, address + at, min(limit, length_bytes - at)) for at in range(0, length_bytes, limit)]
