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
from safhost.wire.digest import root_digest, run_digests
from safhost.wire.generated import DIGEST_BYTES, LEAF_BYTES, TransferState

HASH_COST, COMPARE_COST = 24, 1
"""Work units: measured, hashing takes about 230 µs here, of one leaf or of as many as are hashed at once, and comparing
an equal one 5 to 10 µs."""

RECEIVE_BUDGET = 8 * HASH_COST
"""Units spent after a group of DATA: keeps up with 256 blocks of 1,472 bytes (5.75 leaves) in under 2 ms."""

TICK_BUDGET = 2 * HASH_COST
"""Units spent in one tick: short, so that twenty cards in one loop still empty their rings in time."""

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_memcmp.restype = ctypes.c_int


class LeafCache:
    """Hashed leaves, for the cards of one process. At most ``max_bytes`` of private copies; the oldest go first.

    A digest is given out only for bytes that compared equal over their whole length. ``at_once``: leaves that cards
    wait for and hash together; with 1 they do the same at the same time whatever this machine hashes with.
    """

    def __init__(self, max_bytes: int = 192 << 20, at_once: int = 1) -> None:
        self.max_bytes = max_bytes
        self.at_once = at_once
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
        """Hash leaves ``index`` and following; ``last``: the object ends with ``data``. With ``keep``, remember a
        private copy of exactly the bytes that were hashed."""
        self.hashed_leaves += -(-len(data) // LEAF_BYTES)
        if not keep or len(data) > self.max_bytes:
            return run_digests(data.data, index, last)
        # hash the copy, not the original: what is remembered is then what was hashed, whoever writes meanwhile
        copy = data.copy()
        copy.flags.writeable = False
        digests = run_digests(copy.data, index, last)
        for i, start in enumerate(range(0, len(copy), LEAF_BYTES)):
            self._remember(index + i, last and start + LEAF_BYTES >= len(copy), copy[start:start + LEAF_BYTES],
                           digests[DIGEST_BYTES * i:DIGEST_BYTES * (i + 1)])
        return digests

    def _remember(self, index: int, last: bool, copy: NDArray[np.uint8], digest: bytes) -> None:
        key = (index, last, len(copy))
        old = self._leaves.pop(key, None)
        self.held_bytes += len(copy) - (len(old[0]) if old else 0)
        self._leaves[key] = (copy, int(copy.__array_interface__["data"][0]), digest)
        while self.held_bytes > self.max_bytes:
            _, (dropped, _, _) = self._leaves.popitem(last=False)
            self.held_bytes -= len(dropped)


def advance(transfer: Transfer, cache: LeafCache, budget: int) -> int:
    """Digest leaves of ``transfer`` that are complete, up to ``budget`` work units; returns the units left.

    As many as are hashed at once are waited for, as long as more are to come.
    """
    ready, at_once = transfer.ready_leaves(), cache.at_once
    ok = transfer.leaf_ok
    while budget > 0 and transfer.next_leaf < ready:
        index = ok.find(0, transfer.next_leaf, ready)
        if index < 0:
            transfer.next_leaf = ready
            break
        transfer.next_leaf = index
        if ready - index < at_once and ready < transfer.leaf_total:
            break
        digest = _known(transfer, cache, index)
        if digest is not None:
            _digested(transfer, index, digest)
            budget -= COMPARE_COST
            continue
        # together with those behind it that must be hashed as well
        stop, shared = index + 1, None
        while stop < min(ready, index + at_once) and not ok[stop] and shared is None:
            shared = _known(transfer, cache, stop)
            stop += shared is None
        start, end = index * LEAF_BYTES, min(transfer.length, stop * LEAF_BYTES)
        # only objects that other cards may receive too are worth a copy
        _digested(transfer, index, cache.hash(index, stop == transfer.leaf_total, transfer.memory[start:end],
                                              bool(transfer.group)))
        budget -= HASH_COST
        if shared is not None:
            _digested(transfer, stop, shared)
            budget -= COMPARE_COST
    return budget


def _known(transfer: Transfer, cache: LeafCache, index: int) -> bytes | None:
    start = index * LEAF_BYTES
    return cache.find(index, index == transfer.leaf_total - 1, transfer.address + start,
                      min(LEAF_BYTES, transfer.length - start))


def _digested(transfer: Transfer, index: int, digests: bytes) -> None:
    """Note the digests of leaves ``index`` and following."""
    count = len(digests) // DIGEST_BYTES
    transfer.leaves[DIGEST_BYTES * index:DIGEST_BYTES * (index + count)] = digests
    transfer.leaf_ok[index:index + count] = b"\x01" * count
    transfer.leaves_done += count
    transfer.next_leaf = index + count


def has_work(transfer: Transfer, cache: LeafCache) -> bool:
    """Whether `advance` would digest something."""
    ready = transfer.ready_leaves()
    waiting = ready - transfer.next_leaf
    return waiting > 0 and (ready == transfer.leaf_total or waiting >= cache.at_once)


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
