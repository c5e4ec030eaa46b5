"""Pulled reads: the host keeps the bitmap, asks again for what is missing, believes only a verified root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from safhost.core.commands import slow_time_ns, status_name
from safhost.core.exchange import Exchange
from safhost.errors import CardError, RemoteProtocolError, SafError
from safhost.plan.blocks import block_bytes_for, block_count
from safhost.wire.codec import DataGroup, Frame
from safhost.wire.digest import tree_root
from safhost.wire.generated import ETHERTYPE_INPUT, DropReason, Opcode, ReadDone, ReadSpace, Status
from safhost.wire.generated import Read as ReadRequest

if TYPE_CHECKING:
    from safhost.core.card import Card
    from safhost.core.cluster import Cluster

NS_PER_S = 1_000_000_000
MAX_MISMATCHES = 8  # of the same bytes; more is not noise on the path
SPLIT_PARTS = 4  # a chunk that does not verify is read again in parts: the fewer blocks, the likelier all are right
SMALLEST_SPLIT_BLOCKS = 8
QUEUE_NS = 2_000_000_000  # a READ may wait so long behind others of its card before its silence means that it got lost
QUEUE_BY_RATE_NS = 250_000_000  # and a card is asked for no more than it takes so long to receive by its own word


class ReadOwner(Protocol):
    def on_read_ended(self, read: Read, error: SafError | None, now_ns: int) -> None: ...

    def on_read_progress(self, read: Read, now_ns: int) -> None: ...


class Read:
    """Bytes ``address .. address+len(out)`` of one card into ``out``, as chunks of at most 1 MiB each."""

    def __init__(self, cluster: Cluster, card: Card, space: ReadSpace, address: int, out: NDArray[np.uint8],
                 owner: ReadOwner, deadline_ns: int, transfer: int = 0) -> None:
        self.cluster = cluster
        self.card = card
        self.space = space
        self.out = out
        self.owner = owner
        self.deadline_ns = deadline_ns
        self.transfer = transfer
        self.done_bytes = 0
        self.ended = False
        self._live: dict[Chunk, None] = {}  # in the order they were asked for
        step = cluster.config.read_chunk_bytes
        self._todo = [(address + at, out[at:at + step], 0) for at in range(0, len(out), step)]
        self._todo.reverse()

    def start(self, now_ns: int) -> None:
        if not self._todo:
            self._end(None, now_ns)
            return
        self.cluster.read_queue.append(self)
        self.cluster.pump_reads(now_ns)

    @property
    def waiting(self) -> bool:
        return bool(self._todo) and not self.ended

    @property
    def has_room(self) -> bool:
        """Whether its card may be asked for more: one that is slow must not fill the window that all share."""
        asked = sum(len(chunk.out) for chunk in self.card.reads.values())
        return asked * NS_PER_S <= QUEUE_BY_RATE_NS * self.card.hello.receive_rate

    def next_chunk(self, now_ns: int) -> None:
        """Ask for one more chunk; the cluster calls this within its read window."""
        address, out, mismatches = self._todo.pop()
        chunk = Chunk(self, address, out, mismatches)
        self._live[chunk] = None
        chunk.ask(now_ns)

    def expect(self) -> Chunk:
        """Instead of :meth:`start`: a command will push all of it, as one chunk, and :meth:`take_pushed` follows."""
        address, out, _ = self._todo[-1]
        chunk = Chunk(self, address, out, pushed=True)
        self._live[chunk] = None
        return chunk

    def take_pushed(self, length_bytes: int, digest: bytes, now_ns: int) -> None:
        """The command has ended, and says that it pushed so much. What came counts when it is whole and verifies; else
        all of it is read."""
        chunk = next(iter(self._live))
        whole = chunk.have_count == chunk.blocks and length_bytes == len(self.out)
        chunk.drop()
        if whole and tree_root(self.out.data) == digest:
            self._todo.clear()
            self.chunk_ended(chunk, None, now_ns)
            return
        self._live.clear()
        self.start(now_ns)

    def split(self, chunk: Chunk, now_ns: int) -> None:
        """Read a chunk that did not verify again, in parts."""
        self._live.pop(chunk, None)
        blocks = -(-chunk.blocks // SPLIT_PARTS) if chunk.blocks > SMALLEST_SPLIT_BLOCKS else chunk.blocks
        step = blocks * chunk.block_bytes
        if self.ended:
            return
        if not self._todo:
            self.cluster.read_queue.append(self)
        self._todo.extend((chunk.address + at, chunk.out[at:at + step], chunk.mismatches)
                          for at in range(0, len(chunk.out), step))

    def chunk_ended(self, chunk: Chunk, error: SafError | None, now_ns: int) -> None:
        self._live.pop(chunk, None)
        if self.ended:
            return
        if error is not None:
            self._end(error, now_ns)
            return
        self.done_bytes += len(chunk.out)
        self.card.counters["read_bytes"] += len(chunk.out)
        if self._todo or self._live:
            self.owner.on_read_progress(self, now_ns)
        else:
            self._end(None, now_ns)

    def _end(self, error: SafError | None, now_ns: int) -> None:
        self.ended = True
        self._todo.clear()
        for chunk in list(self._live):
            chunk.drop()
        self._live.clear()
        self.owner.on_read_ended(self, error, now_ns)

    def cancel(self, error: SafError, now_ns: int) -> None:
        if not self.ended:
            self._end(error, now_ns)
            self.cluster.pump_reads(now_ns)


class Chunk:
    """One READ id: blocks arrive in any order, more than once, or not. ``pushed``: by a command, not asked for."""

    def __init__(self, read: Read, address: int, out: NDArray[np.uint8], mismatches: int = 0,
                 pushed: bool = False) -> None:
        self.read = read
        self.card = read.card
        self.address = address
        self.out = out
        self.block_bytes = block_bytes_for(min(read.cluster.links[self.card.link].mtu, self.card.hello.mtu))
        self.blocks = block_count(len(out), self.block_bytes)
        self.have = np.zeros(self.blocks, np.bool_)
        self.have_count = 0
        self.mismatches = mismatches
        self.asks = 0
        self.asked_ns = self.heard_ns = 0
        self.id = self.card.next_read
        self.card.next_read += 1
        self.card.reads[self.id] = self
        self.counts = not pushed  # in the window of what was asked for: a kernel may take long before it pushes
        if self.counts:
            read.cluster.read_outstanding += len(out)
        self._exchange: Exchange | None = None

    @property
    def by_rate_ns(self) -> int:
        """What a card that is slow by its own word may take for it: it hashes as slowly before it says it is done."""
        return slow_time_ns(len(self.out), self.card.hello.receive_rate)

    def ask(self, now_ns: int, first: int = 0, count: int = 0) -> None:
        r = self.read
        request = ReadRequest(r.space, 0, self.block_bytes, 0, self.address, len(self.out), first, count, r.transfer)
        self.asks += 1  # so that a late READ_DONE of an earlier question is not taken for the end of this one
        self._exchange = _ReadExchange(r.cluster, self.card, self, Opcode.READ, ETHERTYPE_INPUT, request.pack(),
                                       self.id, self.asks, r.deadline_ns,
                                       first_ns=max(r.cluster.config.poll_retry_ns, self.by_rate_ns)).start(now_ns)

    def on_blocks(self, group: DataGroup, now_ns: int) -> None:
        """Copy a batch of blocks to where they belong; the last one may be short."""
        self.heard_ns = self.card.read_heard_ns = now_ns
        index, length = group.index, group.length
        last_bytes = len(self.out) - (self.blocks - 1) * self.block_bytes
        ok = index < self.blocks
        ok &= length == np.where(index == self.blocks - 1, last_bytes, self.block_bytes)
        if not ok.all():
            self.read.cluster.drop(DropReason.BAD_BLOCK_LENGTH, int(len(ok) - ok.sum()))
        rows = np.flatnonzero(ok)
        if not len(rows):
            return
        full = rows[index[rows] != self.blocks - 1] if last_bytes != self.block_bytes else rows
        if len(full):
            whole = len(self.out) // self.block_bytes
            view = self.out[:whole * self.block_bytes].reshape(whole, self.block_bytes)
            first, n = int(index[full[0]]), len(full)
            if index[full[-1]] - first == n - 1 and (n == 1 or (np.diff(index[full]) == 1).all()):
                lo, hi = int(full[0]), int(full[-1]) + 1
                source = group.frames[lo:hi] if hi - lo == n else group.frames[full]
                view[first:first + n] = source[:, 40:40 + self.block_bytes]
            else:
                view[index[full]] = group.frames[full, 40:40 + self.block_bytes]
        if len(full) != len(rows):
            row = rows[index[rows] == self.blocks - 1][-1]
            self.out[(self.blocks - 1) * self.block_bytes:] = group.frames[row, 40:40 + last_bytes]
        self.have[index[rows]] = True
        self.have_count = int(self.have.sum())

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool:
        done = ReadDone.unpack(frame.payload)
        if done.status == Status.BUSY:
            # as many READs wait there as the card keeps: some are ours that it was asked for once more
            exchange.keep_asking(now_ns, max(self.read.cluster.config.poll_retry_ns, self.by_rate_ns), "busy")
            return False
        if done.status != Status.OK:
            self._end(CardError(f"refused a read at {self.address:#x}: {status_name(done.status)}",
                                "check address and length", self.card.key), now_ns)
            return True
        if self.have_count < self.blocks:
            gaps = np.flatnonzero(~self.have)
            first, last = int(gaps[0]), int(gaps[-1])
            self.card.counters["retries"] += 1
            self.ask(now_ns, first, last - first + 1)
            return True
        if done.length == len(self.out) and tree_root(self.out.data) == done.digest:
            self._end(None, now_ns)
            return True
        self.mismatches += 1
        if self.mismatches >= MAX_MISMATCHES:
            self._end(RemoteProtocolError(
                f"card {self.card.key}: read at {self.address:#x} does not verify after {self.mismatches} tries",
                "is a kernel writing there? else the path corrupts frames"), now_ns)
            return True
        self.drop()
        self.read.split(self, now_ns)
        self.read.cluster.pump_reads(now_ns)
        return True

    def on_failure(self, exchange: Exchange, error: SafError, now_ns: int) -> None:
        self._end(error, now_ns)

    def drop(self) -> None:
        """Forget the chunk; late blocks count as no_context."""
        if self._exchange is not None:
            self._exchange.cancel()
        if self.card.reads.pop(self.id, None) is not None and self.counts:
            self.read.cluster.read_outstanding -= len(self.out)

    def _end(self, error: SafError | None, now_ns: int) -> None:
        self.drop()
        self.read.chunk_ended(self, error, now_ns)
        self.read.cluster.pump_reads(now_ns)


class _ReadExchange(Exchange):
    """A READ is not asked again while its blocks still arrive, nor, for a while, behind others of its card."""

    __slots__ = ()

    def start(self, now_ns: int, send: bool = True) -> Exchange:
        chunk: Chunk = self.asker  # type: ignore[assignment]  # only chunks ask for reads
        chunk.asked_ns = now_ns
        return super().start(now_ns, send)

    def on_timer(self, now_ns: int) -> None:
        chunk: Chunk = self.asker  # type: ignore[assignment]  # as above
        patience_ns = max(self.cluster.config.poll_retry_ns, chunk.by_rate_ns)
        heard_ns = chunk.heard_ns
        if now_ns - chunk.asked_ns < QUEUE_NS + sum(other.by_rate_ns for other in chunk.card.reads.values()):
            heard_ns = max(heard_ns, chunk.card.read_heard_ns)
        if now_ns < self.deadline_ns and now_ns - heard_ns < patience_ns:
            self.cluster.timers.set(self, min(self.deadline_ns, heard_ns + patience_ns))
            return
        super().on_timer(now_ns)
