"""One work unit, and one try of it on one card: inputs to DDR, kernel, outputs back.

An attempt that nobody waits for any more is abandoned; its DDR is given back only when its commands are known to
have ended, because a kernel may still write there. Two attempts of one unit never read into its memory both: the
second one reads aside, and what it read counts only if it is the first to be done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safhost.core import member as m_
from safhost.core.bulk import Transfer
from safhost.core.commands import RunCommand
from safhost.core.events import Bytes, JobUnit
from safhost.core.member import Member
from safhost.core.reads import Read
from safhost.errors import CardError, CardLost, SafError
from safhost.wire.generated import ReadSpace, Run, TransferKind

if TYPE_CHECKING:
    from safhost.core.card import Card
    from safhost.core.jobs import Job

IO_DEADLINE_NS = 120_000_000_000  # of inputs or outputs on an idle link,
QUEUE_TIMES = 4  # and so many times what all units under way take on it
LARGE_BYTES = 1 << 20  # of a unit: smaller ones are no matter for a link
FLAG_PUSH = 1  # of RUN (bit 0: push the result once),
CAPABILITY_PUSH = 1  # and of HELLO (bit 0)
PUSH_BYTES = 32 << 10
"""Results of so few bytes come with the end of their command, unasked: a question and its answer less. Larger ones are
asked for, as many at once as the receive ring takes."""

COMMANDS_AT_ONCE = 2  # of one unit that runs its kernel again and again: the card never waits for the host
LOADED, RAN = 1, 2  # steps of a phased job that units wait for


class Unit:
    """A unit that has not ended. ``live``: its attempts that count, at most two; ``failed_on``: keys of the cards
    that failed it; ``moves``: how often a card went away under it."""

    __slots__ = ("attempts", "ended", "event", "failed_on", "job", "live", "moves", "queued_ns", "reader")

    def __init__(self, job: Job, event: JobUnit, now_ns: int) -> None:
        self.job = job
        self.event = event
        self.attempts = 0
        self.live: list[Attempt] = []
        self.failed_on: tuple[str, ...] = ()
        self.moves = 0
        self.queued_ns = now_ns
        self.reader: Attempt | None = None
        self.ended = False

    @property
    def request(self) -> int:
        return self.job.request

    @property
    def attempt(self) -> Attempt | None:
        """The attempt under way, the first one when there are two."""
        return self.live[0] if self.live else None


class Attempt:
    """One try. Times in ns: ``start_ns`` inputs begin to travel, ``run_ns`` the kernel is asked for, ``read_ns``
    outputs are; ``kernel_ns`` as the card measured it, of all runs. ``waits_for``: the step of a phased job it is
    ready for, else 0. ``innocent``: its command dies for another unit's sake. ``copy``: of the kernel that runs it."""

    __slots__ = ("_commands", "_left", "_pushed", "_reads", "_runs_left", "_scratch", "_transfers", "abandoned",
                 "base", "card", "cluster", "copy", "extra", "innocent", "kernel_ns", "read_ns", "run_ns", "running",
                 "start_ns", "unit", "waits_for")

    def __init__(self, unit: Unit, card: Card, base: int, copy: int = 0, extra: bool = False) -> None:
        self.unit = unit
        self.card = card
        self.cluster = unit.job.cluster
        self.base = base
        self.copy = copy
        self.extra = extra
        self.abandoned = False
        self.innocent = False
        self.running = False
        self.waits_for = 0
        self.start_ns = self.run_ns = self.read_ns = self.kernel_ns = 0
        self._transfers: list[Transfer] = []
        self._reads: list[Read] = []
        self._left = 0
        self._runs_left = 0
        self._pushed = (0, b"")  # what the command said it pushed
        self._commands: list[RunCommand] = []
        self._scratch: list[tuple[int, Bytes]] = []

    def _deadline_ns(self, now_ns: int) -> int:
        """Of inputs or outputs: behind those of all other units on the link, or of the card when it is the slower one,
        when they are large."""
        room = self.unit.event.room
        if room < LARGE_BYTES:
            return now_ns + IO_DEADLINE_NS
        units = sum(len(c.units) for c in self.cluster.sessions.by_mac.values() if c.link == self.card.link)
        wire_ns = max(units * room * 1_000_000_000 // self.cluster.config.link_rate_bytes_s,
                      len(self.card.units) * room * 1_000_000_000 // self.card.hello.receive_rate)
        return now_ns + IO_DEADLINE_NS + QUEUE_TIMES * wire_ns

    def start(self, now_ns: int) -> None:
        e = self.unit.event
        self.card.units.add(self)
        self.start_ns = now_ns
        deadline_ns = self._deadline_ns(now_ns)
        self._left = len(e.inputs)
        if not e.inputs:
            self._loaded(now_ns)
        for offset, length, leaves, root in e.inputs:
            t = Transfer(self.cluster, self.card.link, TransferKind.DDR, e.memory[offset:offset + length], leaves, root,
                         [(self.card, 0, self.base + offset)], self, now_ns, deadline_ns, job=self.unit.job)
            self._transfers.append(t)
        for t in self._transfers:
            self.cluster.start_ddr_transfer(t, now_ns)

    # transfer owner
    def on_transfer_progress(self, transfer: Transfer, now_ns: int) -> None:
        """Units are many and short; their progress is that of the job."""

    def on_member_ended(self, transfer: Transfer, member: Member, now_ns: int) -> None:
        if self.abandoned:
            return
        if member.state != m_.VERIFIED:
            self._fail(member.error or CardError("transfer failed", "", self.card.key), now_ns)
            return
        self._left -= 1
        if not self._left:
            self._loaded(now_ns)

    def on_transfer_ended(self, transfer: Transfer, now_ns: int) -> None:
        """Each has one member, which ended just before."""

    def _loaded(self, now_ns: int) -> None:
        self._transfers.clear()
        self.run_ns = now_ns
        if self.unit.job.phases.may_pass(self, LOADED, now_ns):
            self.run(now_ns)

    def run(self, now_ns: int) -> None:
        """Inputs are there, and it is time: the kernel."""
        job = self.unit.job
        self._unpark()
        self.running = True
        self.run_ns = now_ns
        self._runs_left = job.repeat
        job.running_on(self, now_ns)
        while self._runs_left and len(self._commands) < COMMANDS_AT_ONCE:
            self._submit(now_ns)

    def _unpark(self) -> None:
        if self.waits_for:
            self.waits_for = 0
            self.unit.job.phases.parked -= 1

    def _submit(self, now_ns: int) -> None:
        job, e = self.unit.job, self.unit.event
        self._runs_left -= 1
        arguments = bytearray(e.arguments)
        for at in e.relocations:
            pointer = int.from_bytes(arguments[at:at + 8], "little") + self.base
            arguments[at:at + 8] = pointer.to_bytes(8, "little")
        if e.resident and job.resident is not None:
            base = job.resident.base(self.card)
            for at in e.resident:
                arguments[at:at + 8] = (int.from_bytes(arguments[at:at + 8], "little") + base).to_bytes(8, "little")
        flags, push = self._push()
        body = Run(0, job.kernel + self.copy, flags, job.unit_deadline_ms, *push, e.work_dim, 0, *e.global_size,
                   *e.local_size, bytes(arguments))
        command = RunCommand(self.cluster, self.card, body, self, queued=True)
        self._commands.append(command)
        command.submit(now_ns)

    def _push(self) -> tuple[int, tuple[int, int, int, int]]:
        """Flags and fields of RUN that have the card push the results, when there is one, and small."""
        job, e = self.unit.job, self.unit.event
        if len(e.outputs) != 1 or job.repeat > 1 or job.phased \
                or not 0 < e.outputs[0][1] <= PUSH_BYTES or not self.card.hello.capabilities & CAPABILITY_PUSH:
            return 0, (0, 0, 0, 0)
        (read,) = self._make_reads(0)
        chunk = read.expect()
        return FLAG_PUSH, (chunk.id, chunk.address, len(chunk.out), chunk.block_bytes)

    def _make_reads(self, deadline_ns: int) -> list[Read]:
        """Of all outputs, into the unit's memory unless somebody else reads into it."""
        e = self.unit.event
        aside = self.unit.job.reads_aside(self.unit) or self.unit.reader is not None
        if not aside:
            self.unit.reader = self
        for offset, length, at in e.outputs:
            out = e.memory[at:at + length]
            if aside:
                out = np.empty(length, np.uint8)
                self._scratch.append((at, out))
            self._reads.append(Read(self.cluster, self.card, ReadSpace.DDR, self.base + offset, out, self,
                                    deadline_ns))
        return self._reads

    def on_command_ended(self, command: RunCommand, error: SafError | None, now_ns: int) -> None:
        if not command.live and command in self._commands:
            self._commands.remove(command)
        if self.abandoned:
            if not self._commands:
                self._release(now_ns)
        elif error is not None:
            self._fail(error, now_ns)
        else:
            self.kernel_ns += command.kernel_ns
            self._pushed = command.pushed
            if self._runs_left:
                self._submit(now_ns)
            elif not self._commands:
                self.read_ns = now_ns
                if self.unit.job.phases.may_pass(self, RAN, now_ns):
                    self.read(now_ns)

    def read(self, now_ns: int) -> None:
        """The kernel has ended, and it is time: the outputs."""
        e = self.unit.event
        self._unpark()
        self.running = False
        self.read_ns = now_ns
        self._left = len(e.outputs)
        deadline_ns = self._deadline_ns(now_ns)
        if self._reads:  # its command pushed
            self._reads[0].deadline_ns = deadline_ns
            self._reads[0].take_pushed(*self._pushed, now_ns)
            return
        for read in self._make_reads(deadline_ns):
            read.start(now_ns)
        if not e.outputs:
            self._done(now_ns)

    def on_read_progress(self, read: Read, now_ns: int) -> None:
        """As on_transfer_progress."""

    def on_read_ended(self, read: Read, error: SafError | None, now_ns: int) -> None:
        if self.abandoned:
            return
        if error is not None:
            self._fail(error, now_ns)
            return
        self._left -= 1
        if not self._left:
            self._done(now_ns)

    def _done(self, now_ns: int) -> None:
        self.abandoned = True  # nothing that comes late counts
        for other in self.unit.live:
            if other is not self:
                if other.running:
                    self.cluster.scheduler.hangs.left_running(other)
                other.abandon(now_ns)  # before anything is copied: it may be reading into the memory
        for at, out in self._scratch:
            self.unit.event.memory[at:at + len(out)] = out
        self._forget()
        self._release(now_ns)
        self.unit.job.attempt_done(self, now_ns)

    def _fail(self, error: SafError, now_ns: int) -> None:
        if self.abandoned:
            return
        self.abandon(now_ns)
        self.unit.job.attempt_failed(self, error, now_ns)

    def abandon(self, now_ns: int) -> None:
        """Stop counting on this try. Its DDR stays reserved while a command of it may run."""
        if self.abandoned:
            return
        self.abandoned = True
        self._unpark()
        gone = CardLost("unit moved to another card", "", self.card.key)
        for t in list(self._transfers):
            t.cancel(gone, now_ns)
        for read in list(self._reads):
            read.cancel(gone, now_ns)
        self._forget()
        if self.unit.reader is self:
            self.unit.reader = None
        for command in [c for c in self._commands if not c.live]:
            command.cancel()
            self._commands.remove(command)
        if not self._commands:
            self._release(now_ns)

    def _forget(self) -> None:
        """They know this attempt, and through it the unit's memory would live until somebody looks for cycles."""
        self._transfers.clear()
        self._reads.clear()
        self._scratch.clear()

    def _release(self, now_ns: int) -> None:
        if self in self.card.units:
            self.card.units.discard(self)
            self.card.ddr.release(self.base)
            self.cluster.scheduler.touch(self.card)

    def card_gone(self, now_ns: int, why: str) -> None:
        """The card lost its boot or its session for good: nothing of this attempt runs any more."""
        self._commands.clear()
        if not self.abandoned:
            self._fail(CardLost(why, "", self.card.key), now_ns)
        self.card.units.discard(self)


__all__ = ["LOADED", "RAN", "Attempt", "Unit"]
