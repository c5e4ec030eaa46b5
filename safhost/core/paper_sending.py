"""One payload to one card, or to all cards of a link at once, in the paper's plain frames: paced, sent once.

What is lost is not sent again, since nobody says what was lost. What this adds to the paper is a deadline: a card
that says nothing is named, and holds up no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from safhost.core.actions import SendBlocks
from safhost.core.pacing import TokenBucket
from safhost.errors import CardError, DeadlineExceeded, SafError
from safhost.plan.blocks import block_bytes_for, block_count
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.generated import ETHERTYPE_INPUT, Status

if TYPE_CHECKING:
    from safhost.core.paper import PaperCard, PaperCluster

PACE_BYTES_S = 100_000_000  # the paper's host reached 5.5 MB/s (SAF VI-A); there is no feedback to go by
BATCH_FRAMES = 128
BURST_BYTES = 1 << 20
INPUT_WINDOW = 256  # acknowledgements that may be outstanding; each input frame has one
ANSWER_NS = 5_000_000_000
LOSS_HINT = "a frame was lost and the paper's protocol repeats none; try again, or use the profile saf"


class PlainEncoder:
    """Headers of plain frames: Ethernet, then for inputs the 64-bit address of each block."""

    def __init__(self, dst: bytes, src: bytes, ethertype: int, length: int, block_bytes: int,
                 base: int | None = None) -> None:
        self.blocks = block_count(length, block_bytes)
        self.block_bytes = block_bytes
        self.last_bytes = length - (self.blocks - 1) * block_bytes
        self.base = base
        head = dst + src + ethertype.to_bytes(2, "big") + (bytes(8) if base is not None else b"")
        self._headers = np.tile(np.frombuffer(head, np.uint8), (BATCH_FRAMES, 1))

    def encode(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64], int, int]:
        """As DataEncoder.encode."""
        headers, offsets = self._headers[:len(indices)], indices * self.block_bytes
        if self.base is not None:
            headers[:, 14:22] = (offsets + self.base).astype(">u8").reshape(-1, 1).view(np.uint8)
        last = self.last_bytes if len(indices) and int(indices[-1]) == self.blocks - 1 else self.block_bytes
        return headers, offsets, self.block_bytes, last


class SendingOwner(Protocol):
    """Who sends."""

    def on_sent(self, sending: Sending, now_ns: int) -> None: ...

    def judge(self, card: PaperCard, status: int) -> SafError | None:
        """What a card's one answer to an image means."""

    def on_card_ended(self, sending: Sending, card: PaperCard, error: SafError | None, now_ns: int) -> None: ...

    def on_sending_ended(self, sending: Sending, now_ns: int) -> None: ...


class Sending:
    """``base`` None: an image, answered once a card; else inputs to that address, each frame acknowledged."""

    def __init__(self, cluster: PaperCluster, cards: list[PaperCard], ethertype: int, payload: NDArray[np.uint8],
                 base: int | None, owner: SendingOwner, deadline_ns: int) -> None:
        self.cluster = cluster
        self.cards = cards
        self.ethertype = ethertype
        self.payload = payload
        self.base = base
        self.owner = owner
        self.deadline_ns = deadline_ns
        self.link = cluster.links[cards[0].link].name
        self.id = cluster.new_id()
        self.due_ns: int | None = None
        self.at = 0
        link = cluster.links[self.link]
        dst = cards[0].mac if len(cards) == 1 else BROADCAST_BYTES
        self.encoder = PlainEncoder(dst, link.mac, cluster.codec.outgoing(ethertype), len(payload),
                                    block_bytes_for(link.mtu), base)
        self._acks: dict[str, int] = {}
        self._live: dict[str, PaperCard] = {}
        self._taking = False
        self._heard_ns = 0
        self._bucket = TokenBucket(PACE_BYTES_S, BURST_BYTES, 0)

    @property
    def sent_bytes(self) -> int:
        return min(len(self.payload), self.at * self.encoder.block_bytes)

    def start(self, now_ns: int) -> None:
        """Send to those of the cards that are still there."""
        self._live = {c.key: c for c in self.cards}
        self._acks = dict.fromkeys(self._live, 0)
        self._heard_ns = now_ns
        self._bucket = TokenBucket(PACE_BYTES_S, BURST_BYTES, now_ns)
        for card in self.cards:
            card.sending = self
        self.cluster.transfers[self.id] = self
        self._wait(now_ns + ANSWER_NS)
        self.pump(now_ns)

    def _wait(self, until_ns: int) -> None:
        self.cluster.timers.set(self, min(self.deadline_ns, until_ns))

    def _room(self) -> int:
        return BATCH_FRAMES if self.base is None else INPUT_WINDOW - (self.at - min(self._acks.values()))

    def pump(self, now_ns: int) -> None:
        """Send on as far as pace and acknowledgements allow."""
        if self._taking or not self._live:
            return
        n = min(BATCH_FRAMES, BURST_BYTES // self.encoder.block_bytes, self.encoder.blocks - self.at, self._room())
        if n <= 0:
            return
        need = n * self.encoder.block_bytes
        if self._bucket.available(now_ns) < need:
            self._wait(self._bucket.ready_ns(need, now_ns))
            return
        self._taking = True
        self.cluster.out.append(SendBlocks(self.link, self.id, self.encoder, self.payload,
                                           np.arange(self.at, self.at + n)))

    def on_taken(self, frames: int, full: bool, now_ns: int) -> None:
        self._taking = False
        self.at += frames
        self._bucket.take(frames * self.encoder.block_bytes)
        self._heard_ns = now_ns
        self._wait(now_ns + ANSWER_NS)
        self.owner.on_sent(self, now_ns)
        if not full:
            self.pump(now_ns)

    def on_answer(self, card: PaperCard, status: int, now_ns: int) -> None:
        """A confirmation or acknowledgement of one card."""
        if card.key not in self._live:
            return
        self._heard_ns = now_ns
        if self.base is None:
            self.drop(card, self.owner.judge(card, status), now_ns)
        elif status != Status.OK:
            self.drop(card, CardError("refused input data: the address lies outside its DDR", "see `safhost cards`",
                                      card.key), now_ns)
        else:
            self._acks[card.key] += 1
            if self._acks[card.key] >= self.encoder.blocks:
                self.drop(card, None, now_ns)
            else:
                self.pump(now_ns)

    def drop(self, card: PaperCard, error: SafError | None, now_ns: int) -> None:
        """The card is through, or out."""
        if self._live.pop(card.key, None) is None:
            return
        self._acks.pop(card.key)
        card.sending = None
        if not self._live:
            self.due_ns = None
            self.cluster.transfers.pop(self.id, None)
        self.owner.on_card_ended(self, card, error, now_ns)
        if not self._live:
            self.owner.on_sending_ended(self, now_ns)

    def cancel(self, error: SafError, now_ns: int) -> None:
        """Give up on all cards."""
        for card in list(self._live.values()):
            self.drop(card, error, now_ns)

    def on_timer(self, now_ns: int) -> None:
        if now_ns >= self.deadline_ns:
            self._late(list(self._live.values()), "in time", now_ns)
            return
        if self.at < self.encoder.blocks and self._room() > 0:
            self._wait(now_ns + ANSWER_NS)
            self.pump(now_ns)  # may ask for an earlier time
            return
        silent_ns = self._heard_ns + ANSWER_NS
        if now_ns < silent_ns:
            self._wait(silent_ns)
            return
        # all was sent: who did not answer; else those whose acknowledgements hold up the others
        behind = [c for c in self._live.values()
                  if self.base is None or self.at - self._acks[c.key] >= INPUT_WINDOW or self.at == self.encoder.blocks]
        self._late(behind, f"within {ANSWER_NS / 1e9:g} s", now_ns)
        if self._live:
            self._heard_ns = now_ns
            self._wait(now_ns + ANSWER_NS)
            self.pump(now_ns)

    def _late(self, cards: list[PaperCard], when: str, now_ns: int) -> None:
        for card in cards:
            if self.ethertype == ETHERTYPE_INPUT:
                what = f"{self._acks[card.key]} of {self.encoder.blocks} input frames acknowledged {when}"
            elif self.at < self.encoder.blocks:
                what = f"{self.at} of {self.encoder.blocks} image frames sent {when}"
            else:
                what = f"no PR confirmation {when} after the last of {self.encoder.blocks} image frames"
            self.drop(card, DeadlineExceeded(f"card {card.key}: {what}", LOSS_HINT), now_ns)
