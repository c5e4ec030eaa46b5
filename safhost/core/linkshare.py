"""One link among its transfers: one token bucket, one queue for each class, a batch at a time.

A transfer that wants to send a batch asks here. When the link has bytes to give, takes frames, and nobody is in
front, the answer is yes at once; else the transfer waits in line and is pumped when it is its turn. Inputs of units
and what users write go first; images that are staged for jobs in the background take what is left, and at least one
batch in five, so that a card that joins a busy cluster does come to work. Beside units they keep the link's queue
short: a unit is many short questions and answers, and each would wait behind all that is queued.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from safhost.core.pacing import TokenBucket

if TYPE_CHECKING:
    from safhost.core.bulk import Transfer
    from safhost.core.cluster import Cluster

BURST_NS = 2_000_000  # of the link's time that may go at once, beyond one batch
HEADROOM_BYTES = 128  # of a frame beyond the MTU, at most
OUT_FRAMES = 512  # handed to the link and not answered for: what who comes first may have in front of it
BACKGROUND_EVERY = 5  # of so many batches one is the background's when both want to send
SHORT_NS = 1_000_000  # of the link's time that one batch of the background takes beside units,
SLACK_NS = 500_000  # when no more than this is queued before it
SHORT_FRAMES = 16  # but so many frames at least
FULL_NS = 100_000_000  # a link that takes nothing is tried again after this, should its word that it does be missed


class LinkShare:
    """The sending side of one link."""

    def __init__(self, cluster: Cluster, name: str, batch_frames: int, now_ns: int) -> None:
        rate = cluster.config.link_rate_bytes_s
        burst = batch_frames * (cluster.links[name].mtu + HEADROOM_BYTES) + rate * BURST_NS // 1_000_000_000
        self.cluster = cluster
        self.name = name
        self.bucket = TokenBucket(rate, burst, now_ns)
        self._idle_bytes = burst - rate * SLACK_NS // 1_000_000_000  # with so many to give, hardly anything is queued
        self._short_bytes = rate * SHORT_NS // 1_000_000_000
        self.due_ns: int | None = None
        self._full = False  # the link takes no frames now
        self._lines: tuple[deque[Transfer], deque[Transfer]] = (deque(), deque())  # foreground, background
        self._granted: Transfer | None = None
        self._since_background = 0
        self._out: dict[int, tuple[int, int]] = {}  # transfer → (frames, bytes of each) that the link has not answered
        self._out_frames = 0
        self._turned_away: set[int] = set()  # transfers that had their turn and got nothing through: they are next

    def may_send(self, transfer: Transfer, frames: int, frame_bytes: int, now_ns: int) -> bool:
        """Whether ``transfer`` may send a batch now; then the link's bytes are taken, and :meth:`taken` has to follow.
        Else it is pumped later, in its turn."""
        owed = self._since_background >= BACKGROUND_EVERY - 1
        if self._granted is not transfer and (self._busy or self._lines[0] or (
                self._lines[1] and (transfer.background or owed))):
            self._wait(transfer, False)
            return False
        need = frames * frame_bytes
        if transfer.background and not owed and self.has_units:
            need = max(need, self._idle_bytes)
        if self.bucket.available(now_ns) < need:
            self._wait(transfer, self._granted is transfer)
            self.cluster.timers.set(self, self.bucket.ready_ns(need, now_ns))
            return False
        self._turned_away.discard(transfer.id)
        self._since_background = 0 if transfer.background else self._since_background + 1
        self.bucket.take(frames * frame_bytes)
        self._out[transfer.id] = frames, frame_bytes
        self._out_frames += frames
        return True

    def taken(self, transfer: int, frames: int, full: bool, now_ns: int) -> None:
        """The link took so many frames of the batch; ``full``: it takes no more for now."""
        asked, frame_bytes = self._out.pop(transfer, (0, 0))
        self._out_frames -= asked
        if asked and not frames:
            self._turned_away.add(transfer)
        self.bucket.take((frames - asked) * frame_bytes)
        if full:
            self._full = True
            self.cluster.timers.set(self, now_ns + FULL_NS)
        else:
            self._serve(now_ns)

    def writable(self, now_ns: int) -> None:
        """The link takes frames again."""
        self._full = False
        self._serve(now_ns)

    def on_timer(self, now_ns: int) -> None:
        self._full = False
        self._serve(now_ns)

    def batch(self, transfer: Transfer, frame_bytes: int) -> int:
        """Frames that one batch of the transfer may have."""
        if transfer.background and self.has_units:
            return max(SHORT_FRAMES, self._short_bytes // frame_bytes)
        return 1 << 30

    @property
    def has_units(self) -> bool:
        """Whether a card of the link works on units."""
        return any(card.units and card.link == self.name for card in self.cluster.sessions.by_mac.values())

    @property
    def _busy(self) -> bool:
        return self._full or self._out_frames >= OUT_FRAMES

    def _wait(self, transfer: Transfer, first: bool) -> None:
        if transfer.in_line:
            return
        transfer.in_line = True
        line = self._lines[transfer.background]
        if first or transfer.id in self._turned_away:
            self._turned_away.discard(transfer.id)
            line.appendleft(transfer)
        else:
            line.append(transfer)

    def _serve(self, now_ns: int) -> None:
        """Pump who is next, until the link has nothing more to give or nobody wants it."""
        while not self._busy and (self._lines[0] or self._lines[1]):
            transfer = self._next()
            transfer.in_line = False
            self._granted = transfer
            transfer.pump(now_ns)
            self._granted = None
            if transfer.in_line:
                return  # it is the next one, once the link has bytes for it
        if not self._lines[0] and not self._lines[1]:
            self._turned_away.clear()

    def _next(self) -> Transfer:
        foreground, background = self._lines
        if background and (not foreground or self._since_background >= BACKGROUND_EVERY - 1):
            return background.popleft()
        return foreground.popleft()

    def validate(self) -> None:
        """Assert that whoever waits is waited for."""
        waiting = [t for line in self._lines for t in line]
        assert all(t.in_line for t in waiting), f"{self.name}: a transfer in line does not know it"
        assert len(set(waiting)) == len(waiting), f"{self.name}: a transfer stands in line twice"
        assert self._out_frames == sum(n for n, _ in self._out.values()), f"{self.name}: frames leak"
        assert not any(not t.ended for t in waiting) or self.due_ns is not None or self._out, \
            f"{self.name}: transfers wait for nothing"


__all__ = ["LinkShare"]
