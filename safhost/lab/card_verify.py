"""Digests of what lies in a card's own DDR, leaf by leaf behind the lowest missing block.

Many virtual cards in one process receive the same image. Each must verify its own DDR, but hashing is slow and
comparing is fast: a leaf whose bytes are found equal, all of them, to bytes that were hashed before has their
digest. `LeafCache` keeps private copies of hashed leaves for that; nothing else is ever shared.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from safhost.lab.card_receive import Transfer
from safhost.wire.digest import leaf_digest, root_digest
from safhost.wire.generated import LEAF_BYTES, TransferState

HASH_COST, COMPARE_COST = 24, 1
"""Work units of one leaf: measured, BLAKE2s of 64 KiB takes about 230 µs here and an equal compare 5 to 10 µs."""

RECEIVE_BUDGET = 8 * HASH_COST
"""Units spent after a group of DATA: keeps up with 256 blocks of 1,472 bytes (5.75 leaves) in under 2 ms."""

TICK_BUDGET = 2 * HASH_COST
"""Units spent in one tick: short, so that twenty cards in one loop still empty their rings in time."""

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_memcmp.restype = ctypes.c_int


class LeafCache:
    """Hashed leaves, for the cards of one process. At most ``max_bytes`` of private copies; the oldest go first.

    A digest is given out only for bytes that compared equal over their whole length.
    """

    def __init__(self, max_bytes: int = 192 << 20) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self.hashed_leaves = 0
        self.shared_leaves = 0
        self._leaves: OrderedDict[tuple[int, bool, int], tuple[NDArray[np.uint8], int, bytes]] = OrderedDict()

    def find(self, index: int, last: bool, address: int, length_bytes: int) -> bytes | None:
        """Digest of the leaf at ``address`` of this process if equal bytes were hashed as that leaf before."""
        key = (index, last, length_bytes)
        entry = self._leaves.get(key)
        if entry is None or _memcmp(entry[1], address, length_bytes):
            return None
        self._leaves.move_to_end(key)
        self.shared_leaves += 1
        return entry[2]

    def hash(self, index: int, last: bool, data: NDArray[np.uint8], keep: bool) -> bytes:
        """Hash a leaf; with ``keep``, remember a private copy of exactly the bytes that were hashed."""
        self.hashed_leaves += 1
        if not keep or len(data) > self.max_bytes:
            return leaf_digest(data.data, index, last)
        # hash the copy, not the original: what is remembered is then what was hashed, whoever writes meanwhile
        copy = data.copy()
        copy.flags.writeable = False
        digest = leaf_digest(copy.data, index, last)
        key = (index, last, len(copy))
        old = self._leaves.pop(key, None)
        self.held_bytes += len(copy) - (len(old[0]) if old else 0)
        self._leaves[key] = (copy, int(copy.__array_interface__["data"][0]), digest)
        while self.held_bytes > self.max_bytes:
            _, (dropped, _, _) = self._leaves.popitem(last=False)
            self.held_bytes -= len(dropped)
        return digest


def advance(transfer: Transfer, cache: LeafCache, budget: int) -> int:
    """Digest leaves of ``transfer`` that are complete, up to ``budget`` work units; returns the units left."""
    ready = transfer.ready_leaves()
    ok, total = transfer.leaf_ok, transfer.leaf_total
    while budget > 0 and transfer.next_leaf < ready:
        index = ok.find(0, transfer.next_leaf, ready)
        if index < 0:
            transfer.next_leaf = ready
            break
        start = index * LEAF_BYTES
        length = min(LEAF_BYTES, transfer.length - start)
        last = index == total - 1
        digest = cache.find(index, last, transfer.address + start, length)
        if digest is None:
            # only objects that other cards may receive too are worth a copy
            digest = cache.hash(index, last, transfer.memory[start:start + length], bool(transfer.group))
            budget -= HASH_COST
        else:
            budget -= COMPARE_COST
        transfer.leaves[32 * index:32 * index + 32] = digest
        ok[index] = 1
        transfer.leaves_done += 1
        transfer.next_leaf = index + 1
    return budget


def has_work(transfer: Transfer) -> bool:
    """Whether `advance` would digest something."""
    return transfer.next_leaf < transfer.ready_leaves()


def conclude(transfer: Transfer) -> bool:
    """With all leaves digested, decide: verified or bad. False while leaves are left."""
    if transfer.leaves_done < transfer.leaf_total:
        return False
    transfer.found = root_digest(transfer.leaves)
    if transfer.found == transfer.digest:
        transfer.state = TransferState.VERIFIED
        transfer.guarded = False
    else:
        transfer.state = TransferState.BAD
    return True
