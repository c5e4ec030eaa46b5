"""Repair of a member whose object does not verify: find the bad leaves, forget them, send them GUARDED."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safhost.core.exchange import Exchange
from safhost.core.reads import Read
from safhost.errors import CardError, SafError
from safhost.wire.codec import Frame
from safhost.wire.generated import (
    DIGEST_BYTES,
    LEAF_BYTES,
    Invalidate,
    Invalidated,
    Opcode,
    ReadSpace,
    Status,
)

if TYPE_CHECKING:
    from safhost.core.bulk import Transfer
    from safhost.core.member import Member

BURST_FRAMES = 64
BURST_GAP_NS = 1_000_000  # between bursts: repair is rare, it need not be fast


class Repair:
    """Leaf digests arrive in a tagged READ_DONE's tree, so a stranger cannot point us at the wrong leaves."""

    MAX_REPAIRS = 4  # then the card's memory or path is at fault

    def __init__(self, transfer: Transfer, member: Member) -> None:
        self.transfer = transfer
        self.member = member
        self.cluster = transfer.cluster
        self.due_ns: int | None = None
        self._ranges: list[tuple[int, int]] = []
        self._blocks: list[int] = []
        self._found = np.zeros(len(transfer.leaves), np.uint8)

    def start(self, now_ns: int) -> None:
        Read(self.cluster, self.member.card, ReadSpace.LEAF_DIGESTS, 0, self._found, self, self.transfer.deadline_ns,
             transfer=self.transfer.id).start(now_ns)

    def resend(self, blocks: list[int], now_ns: int) -> None:
        """Another round for a member under repair: what it still misses, GUARDED again."""
        self._blocks = blocks
        self.on_timer(now_ns)

    def on_read_ended(self, read: Read, error: SafError | None, now_ns: int) -> None:
        t = self.transfer
        if self.member.ended:
            return
        if error is not None:
            t.member_failed(self.member, error, now_ns)
            return
        want = np.frombuffer(t.leaves, np.uint8).reshape(-1, DIGEST_BYTES)
        bad = np.flatnonzero((self._found.reshape(-1, DIGEST_BYTES) != want).any(axis=1))
        if not len(bad):
            t.member_failed(self.member, CardError("its leaves are right and its root is not", "its shell is broken",
                                                   self.member.card.key), now_ns)
            return
        blocks: set[int] = set()
        for leaf in bad.tolist():
            first = leaf * LEAF_BYTES // t.block_bytes
            last = min(t.length, (leaf + 1) * LEAF_BYTES) - 1
            blocks.update(range(first, last // t.block_bytes + 1))
        self._blocks = sorted(blocks)
        self._ranges = _runs(self._blocks)
        self._invalidate(now_ns)

    def on_read_progress(self, read: Read, now_ns: int) -> None:
        """Leaf digests are few; nothing to report."""

    def _invalidate(self, now_ns: int) -> None:
        first, count = self._ranges[0]
        self.member.repair_id += 1
        Exchange(self.cluster, self.member.card, self, Opcode.INVALIDATE, self.transfer.ethertype,
                 Invalidate(first, count).pack(), self.transfer.id, self.member.repair_id,
                 self.transfer.deadline_ns).start(now_ns)

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool:
        answer = Invalidated.unpack(frame.payload)
        if self.member.ended:
            return True
        if answer.status != Status.OK:
            self.transfer.member_failed(self.member, CardError("refused to invalidate a bad range", "",
                                                               self.member.card.key), now_ns)
            return True
        self._ranges.pop(0)
        if self._ranges:
            self._invalidate(now_ns)
        else:
            self.on_timer(now_ns)
        return True

    def on_failure(self, exchange: Exchange, error: SafError, now_ns: int) -> None:
        self.transfer.member_failed(self.member, error, now_ns)

    def on_timer(self, now_ns: int) -> None:
        """One burst of GUARDED blocks, then the next, then the ordinary question what is missing."""
        t, card = self.transfer, self.member.card
        if self.member.ended or card.channel is None:  # a lost card's members were told already
            return
        burst, self._blocks = self._blocks[:BURST_FRAMES], self._blocks[BURST_FRAMES:]
        t.send_guarded(self.member, burst, now_ns)
        if self._blocks:
            self.cluster.timers.set(self, now_ns + BURST_GAP_NS)
        else:
            t.repaired(self.member, now_ns)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, count) runs."""
    out: list[tuple[int, int]] = []
    for n in numbers:
        if out and out[-1][0] + out[-1][1] == n:
            out[-1] = (out[-1][0], out[-1][1] + 1)
        else:
            out.append((n, 1))
    return out
