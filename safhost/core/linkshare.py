"""One link among its transfers: one token bucket, a line for each who wants to send, a batch at a time.

A transfer that wants to send a batch asks here. When the link has bytes to give, takes frames, and nobody is in
front, the answer is yes at once; else the transfer waits in line and is pumped when it is its turn. Lines take turns:
each job's units are one, oldest first, so that the first units reach their kernels while the last ones still travel;
what users write is another, batch by batch in turn; units of a higher priority go before others. Images that are
staged for jobs in the background take what is left, and at least one byte in five, so that a card that joins a busy
cluster does come to work. Beside units they keep the link's queue short: a unit is many short questions and answers,
and each would wait behind all that is queued.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from safhost.core.pacing import TokenBucket

if TYPE_CHECKING:
    from safhost.core.bulk import Transfer
    from safhost.core.cluster import Cluster
    from safhost.core.jobs import Job

NS = 1_000_000_000
WIRE_BYTES = 24  # of a frame that the interface adds: preamble, FCS and gap (IEEE 802.3)
HEADROOM_BYTES = 128  # of a frame beyond the MTU, at most
BURST_NS = 8_000_000  # of the link's time that may go at once: all that is queued in front of a short question
BATCH_NS = 4_000_000  # that one batch takes, at most,
SHORT_NS = 1_000_000  # and one of the background beside units,
SLACK_NS = 500_000  # when no more than this is queued before it
SHORT_FRAMES = 16  # but so many frames at least
OUT_FRAMES = 512  # handed to the link and not answered for
BACKGROUND_SHARE = 5  # of so many bytes one is the background's when both want to send
FULL_NS = 100_000_000  # a link that takes nothing is tried again after this, should its word that it does be missed


class Line:
    """Transfers of one kind that wait for their turn."""

    __slots__ = ("_heap", "_order", "job")

    def __init__(self, job: Job | None) -> None:
        self.job = job
        self._heap: list[tuple[int, int, Transfer]] = []
        self._order = count(1)

    def __bool__(self) -> bool:
        return bool(self._heap)

    @property
    def priority(self) -> int:
        return self.job.priority if self.job is not None else 0

    def put(self, transfer: Transfer, first: bool) -> None:
        order = next(self._order)
        key = transfer.id if self.job is not None else 0 if first else order
        heapq.heappush(self._heap, (key, order, transfer))

    def take(self) -> Transfer:
        return heapq.heappop(self._heap)[2]

    def waiting(self) -> list[Transfer]:
        return [entry[2] for entry in self._heap]


class LinkShare:
    """The sending side of one link."""

    def __init__(self, cluster: Cluster, name: str, now_ns: int) -> None:
        rate = cluster.config.link_rate_bytes_s
        burst = max(rate * BURST_NS // NS, 2 * SHORT_FRAMES * (cluster.links[name].mtu + HEADROOM_BYTES))
        self.cluster = cluster
        self.name = name
        self.bucket = TokenBucket(rate, burst, now_ns)
        self._idle_bytes = burst - rate * SLACK_NS // NS  # with so many to give, hardly anything is queued
        self._batch_bytes = rate * BATCH_NS // NS
        self._short_bytes = rate * SHORT_NS // NS
        self.due_ns: int | None = None
        self._full = False  # the link takes no frames now
        self._lines: dict[Job | None, Line] = {}  # in turn, of those that have somebody waiting; None: what users write
        self._background = Line(None)
        self._granted: Transfer | None = None
        self._owed_bytes = 0  # of others' that are to go until the background has a turn in any case
        self._out: dict[int, tuple[int, int]] = {}  # transfer → (frames, bytes of each) that the link has not answered
        self._out_frames = 0
        self._turned_away: set[int] = set()  # transfers that had their turn and got nothing through: they are next

    def may_send(self, transfer: Transfer, frames: int, frame_bytes: int, now_ns: int) -> bool:
        """Whether ``transfer`` may send a batch now; then the link's bytes are taken, and :meth:`taken` has to follow.
        Else it is pumped later, in its turn."""
        owed = self._background_owed
        if self._granted is not transfer and (self._busy or self._lines or (
                self._background and (transfer.background or owed))):
            self._wait(transfer, False)
            return False
        need = frames * (frame_bytes + WIRE_BYTES)
        if transfer.background and not owed and self.has_units:
            need = max(need, self._idle_bytes)
        if self.bucket.available(now_ns) < need:
            self._wait(transfer, self._granted is transfer)
            self.cluster.timers.set(self, self.bucket.ready_ns(need, now_ns))
            return False
        self._turned_away.discard(transfer.id)
        taken = frames * (frame_bytes + WIRE_BYTES)
        self.bucket.take(taken)
        if transfer.background:
            self._owed_bytes = (BACKGROUND_SHARE - 1) * taken
        else:
            self._owed_bytes -= taken
        self._out[transfer.id] = frames, frame_bytes
        self._out_frames += frames
        return True

    def taken(self, transfer: int, frames: int, full: bool, now_ns: int) -> None:
        """The link took so many frames of the batch; ``full``: it takes no more for now."""
        asked, frame_bytes = self._out.pop(transfer, (0, 0))
        self._out_frames -= asked
        if asked and not frames:
            self._turned_away.add(transfer)
        self.bucket.take((frames - asked) * (frame_bytes + WIRE_BYTES))
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
        return max(SHORT_FRAMES, self._batch_bytes // frame_bytes)

    @property
    def has_units(self) -> bool:
        """Whether a card of the link works on units."""
        return any(card.units and card.link == self.name for card in self.cluster.sessions.by_mac.values())

    @property
    def _background_owed(self) -> bool:
        return self._owed_bytes <= 0

    @property
    def _busy(self) -> bool:
        return self._full or self._out_frames >= OUT_FRAMES

    def _wait(self, transfer: Transfer, first: bool) -> None:
        if transfer.in_line:
            return
        transfer.in_line = True
        if transfer.id in self._turned_away:
            self._turned_away.discard(transfer.id)
            first = True
        if transfer.background:
            self._background.put(transfer, first)
        else:
            line = self._lines.get(transfer.job)
            if line is None:
                line = self._lines[transfer.job] = Line(transfer.job)
            line.put(transfer, first)

    def _serve(self, now_ns: int) -> None:
        """Pump who is next, until the link has nothing more to give or nobody wants it."""
        while not self._busy and (self._lines or self._background):
            transfer = self._next()
            transfer.in_line = False
            self._granted = transfer
            transfer.pump(now_ns)
            self._granted = None
            if transfer.in_line:
                return  # it is the next one, once the link has bytes for it
        if not self._lines and not self._background:
            self._turned_away.clear()

    def _next(self) -> Transfer:
        if self._background and (not self._lines or self._background_owed):
            return self._background.take()
        job, line = max(self._lines.items(), key=lambda item: item[1].priority)  # of equals the first
        transfer = line.take()
        del self._lines[job]
        if line:
            self._lines[job] = line  # the last in turn
        return transfer

    def validate(self) -> None:
        """Assert that whoever waits is waited for."""
        waiting = [t for line in (*self._lines.values(), self._background) for t in line.waiting()]
        assert all(self._lines.values()), f"{self.name}: an empty line has a turn"
        assert all(t.in_line for t in waiting), f"{self.name}: a transfer in line does not know it"
        assert len(set(waiting)) == len(waiting), f"{self.name}: a transfer stands in line twice"
        assert self._out_frames == sum(n for n, _ in self._out.values()), f"{self.name}: frames leak"
        assert not any(not t.ended for t in waiting) or self.due_ns is not None or self._out, \
            f"{self.name}: transfers wait for nothing"


__all__ = ["LinkShare"]
