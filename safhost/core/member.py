"""One receiver of a transfer, as the sender sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from safhost.wire.generated import SECTION_BLOCKS, Nack, Ready

if TYPE_CHECKING:
    from safhost.core.card import Card
    from safhost.core.exchange import Exchange
    from safhost.errors import SafError

OPENING, RECEIVING, CLOSING, REPAIRING, VERIFIED, FAILED = (
    "opening", "receiving", "verifying", "repairing", "verified", "failed")

_U32 = 0xFFFFFFFF


class Member:
    """``missing`` (blocks,) bool is what its last complete map said; ``map_complete`` whether that covers every
    section since the pass ended. ``sent`` counts frames sent that it should have seen.

    ``lagging``: it left two polls unanswered and has not answered since. ``behind``: it lagged once, so that
    nobody waits for it any more while others are without fault. ``joined``: it came when others had begun. ``eager``:
    blocks go to it although its READY is not here yet."""

    def __init__(self, card: Card, slot: int, base: int, blocks: int) -> None:
        self.card = card
        self.slot = slot
        self.base = base
        self.blocks = blocks
        self.state = OPENING
        self.error: SafError | None = None
        self.missing: NDArray[np.bool_] = np.ones(blocks, np.bool_)
        self.missing_count = blocks
        self.sections = -(-blocks // SECTION_BLOCKS)
        self.map_complete = False
        self._known = 0  # bit a section
        self.map_round = 0
        self.asked: set[int] = set()
        self.round = 0
        self.flow: Exchange | None = None
        self.lagging = False
        self.behind = False
        self.joined = False
        self.eager = False
        self.sent = 0
        self.since_poll = 0
        self._sent_at: dict[int, int] = {}
        self.acked_sent = 0
        self.window = 0
        self.received = 0
        self._pass_sent = 0
        self._pass_received = 0
        self.progress = 0.0
        self.repairs = 0
        self.repair_id = 0
        self.finished_ns = 0

    # -- credit --------------------------------------------------------------------------------------------

    @property
    def allowance(self) -> int:
        """Frames that may still go to it before its next answer."""
        return self.window - (self.sent - self.acked_sent)

    def next_round(self) -> int:
        self.round += 1
        self._sent_at[self.round] = self.sent
        self.since_poll = 0
        return self.round

    def on_ready(self, ready: Ready) -> None:
        self.window = max(1, (ready.credit - ready.received) & _U32)
        self.received = ready.received
        self.missing_count = ready.missing
        self.acked_sent = self.sent

    def plausible(self, nack: Nack) -> bool:
        """Whether a NACK is about this object at all; a broken card must not make us allocate or index."""
        return (nack.first_block % SECTION_BLOCKS == 0 and nack.first_block < self.blocks
                and nack.bits <= min(SECTION_BLOCKS, self.blocks - nack.first_block)
                and len(nack.bitmap) * 8 >= nack.bits and nack.missing <= self.blocks
                and nack.lowest <= self.blocks)

    def on_nack(self, round_: int, nack: Nack) -> None:
        """Update credit and, for a round of the current map, the missing blocks."""
        self.window = max(1, (nack.credit - nack.received) & _U32)
        self.received = nack.received
        self.missing_count = nack.missing
        self.acked_sent = max(self.acked_sent, self._sent_at.pop(round_, self.acked_sent))
        self.progress = nack.lowest / self.blocks
        if self.map_round and round_ >= self.map_round:
            self._learn(nack)

    def loss_of_pass(self) -> float:
        """Share of the frames sent to it since this was asked last that it did not take; 0.0 to 1.0."""
        sent = self.sent - self._pass_sent
        taken = (self.received - self._pass_received) & _U32
        self._pass_sent, self._pass_received = self.sent, self.received
        return max(0.0, 1.0 - taken / sent) if sent > 0 else 0.0

    # -- map -----------------------------------------------------------------------------------------------

    def start_map(self) -> None:
        """What it misses is asked for anew; answers to older rounds do not count."""
        self.map_round = self.round + 1
        self.map_complete = False
        self._known = 0
        self.asked.clear()

    def _learn(self, nack: Nack) -> None:
        mask = nack.section_mask
        for section in range(self.sections):
            if not mask >> section & 1:
                self.missing[section * SECTION_BLOCKS:(section + 1) * SECTION_BLOCKS] = False
                self._known |= 1 << section
        if nack.bits:
            section = nack.first_block // SECTION_BLOCKS
            bits = np.unpackbits(np.frombuffer(nack.bitmap, np.uint8), bitorder="little", count=nack.bits)
            self.missing[nack.first_block:nack.first_block + nack.bits] = bits.view(np.bool_)
            self._known |= 1 << section
        self.map_complete = self._known == (1 << self.sections) - 1

    def unknown_sections(self) -> list[int]:
        return [s for s in range(self.sections) if not self._known >> s & 1 and s not in self.asked]

    @property
    def active(self) -> bool:
        """Still needs blocks, or may."""
        return self.state == RECEIVING

    @property
    def ended(self) -> bool:
        return self.state in (VERIFIED, FAILED)
