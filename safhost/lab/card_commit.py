"""COMMIT on a virtual card: drain, freeze, wait for DDR, feed the PR controller, check, release.

Exactly once by commit id: a repetition gets the progress or the stored outcome, an older id is stale, a newer
one starts when none is under way. A refused commit (unknown image, wrong epoch, …) uses its id up as well: what
was answered to an id stays the answer to it. Every phase has a deadline. Until the feed begins a failure leaves
the old role running; after that it leaves none.
"""

from __future__ import annotations

from safhost.lab.card_shell import Shell
from safhost.lab.pr import STATUS_OF, PrFeed, PrOutcome, judge_image
from safhost.wire.codec import Frame
from safhost.wire.generated import (
    ETHERTYPE_IMAGE_ANSWER,
    CardState,
    Commit,
    CommitPhase,
    Committed,
    Opcode,
    PrStatus,
    Status,
    TransferState,
)

OPTION_KILL = 1
DEFAULT_FEED_MS = 60_000
"""Deadline of feed and check when COMMIT names none (0)."""

ISOLATE_MS = 100
"""Deadline of freeze, and again of wait_ddr_idle. A choice of ours: they take microseconds when they work."""

_MS = 1_000_000
_NO_OUTCOME = PrOutcome(PrStatus.POWER_UP)


class CommitUnit:
    """The one commit slot of a card."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.detail = ""
        self.reset()

    def reset(self) -> None:
        """No commit under way, none known."""
        self.last_id = 0
        self._reply: bytes | None = None
        self._index = 0
        self.phase = CommitPhase.IDLE
        self._active = False
        self._ask = Commit()
        self._slot = -1
        self._start_ns = 0
        self._phase_ns = 0
        self._end_ns = 0
        self._feed: PrFeed | None = None
        self._forced: Status | None = None
        self._stuck = False
        self._compiling = 0  # ticket of the job that compiles the new role's kernels, while COMMIT waits for it

    @property
    def active(self) -> bool:
        """A commit is under way."""
        return self._active

    def feeds_from(self, slot: int) -> bool:
        """Whether the commit under way reads image slot ``slot``."""
        return self._active and self._slot == slot

    def on_commit(self, frame: Frame, now_ns: int) -> None:
        """COMMIT: see the module's text."""
        shell = self._shell
        if frame.object == self.last_id and self.last_id:
            self._index = frame.index
            shell.answer(frame, self._progress(now_ns) if self._reply is None else self._reply)
        elif frame.object <= self.last_id:
            shell.answer(frame, self._content(Status.STALE, now_ns))
        elif self._active:
            shell.answer(frame, self._content(Status.BUSY, now_ns))
        else:
            self._accept(frame, Commit.unpack(frame.payload), now_ns)

    def tick(self, now_ns: int) -> None:
        """Go on as far as time allows; tell the host when it is over."""
        if self._active and self._step(now_ns):
            assert self._reply is not None
            self._shell.tell(Opcode.COMMITTED, self._reply, ETHERTYPE_IMAGE_ANSWER, self.last_id, self._index)

    def next_wakeup_ns(self) -> int | None:
        """When the phase can end, or its deadline."""
        if not self._active:
            return None
        if self.phase is CommitPhase.FEED and self._feed is not None and self._forced is not Status.PR_TIMEOUT:
            return min(self._feed.done_ns, self._end_ns)
        if self.phase in (CommitPhase.FREEZE, CommitPhase.WAIT_DDR_IDLE) and not self._stuck:
            return self._phase_ns + self._freeze_ns()
        return self._end_ns

    def drained(self, now_ns: int) -> None:
        """A command ended: perhaps the drain is over."""
        if self._active and self.phase is CommitPhase.DRAIN:
            self.tick(now_ns)

    def _accept(self, frame: Frame, ask: Commit, now_ns: int) -> None:
        shell = self._shell
        self.last_id, self._index, self._ask, self._reply = frame.object, frame.index, ask, None
        self._start_ns = now_ns
        self._feed = None
        slot = shell.transfers.staged(ask.digest)
        status = Status.OK
        if slot is None:
            status = Status.UNKNOWN_IMAGE
        elif slot.state is not TransferState.VERIFIED:
            status = Status.NOT_VERIFIED
        elif ask.role_epoch != shell.role_epoch:
            status = Status.BAD_EPOCH
        if status is not Status.OK or slot is None:
            self._reply = self._content(status, now_ns)
            shell.answer(frame, self._reply)
            return
        self._active, self._slot = True, slot.number
        self._forced = None
        shell.card_state = CardState.PROGRAMMING
        shell.watch.commit_begun(shell.boot_nonce, shell.sessions.owner or 0, self.last_id, ask.digest)
        self._enter(CommitPhase.DRAIN, now_ns, now_ns + ask.drain_ms * _MS)
        self._step(now_ns)
        shell.answer(frame, self._progress(now_ns) if self._reply is None else self._reply)

    def _step(self, now_ns: int) -> bool:
        """Pass through phases until one has to wait; True when the commit is over."""
        phase = {CommitPhase.DRAIN: self._drain, CommitPhase.FREEZE: self._freeze,
                 CommitPhase.WAIT_DDR_IDLE: self._wait_ddr_idle, CommitPhase.FEED: self._feed_image,
                 CommitPhase.CHECK: self._check, CommitPhase.RELEASE: self._release}
        while self._active:
            before = self.phase
            phase[before](now_ns)
            if self._active and self.phase is before:
                return False
        return True

    def _drain(self, now_ns: int) -> None:
        commands = self._shell.commands
        if commands.running_mask():
            if now_ns < self._end_ns:
                return
            if not self._ask.options & OPTION_KILL:
                self._finish(Status.DRAIN_TIMEOUT, now_ns)
                return
            commands.kill_running(Status.KILLED, now_ns)
        self._enter(CommitPhase.FREEZE, now_ns, now_ns + ISOLATE_MS * _MS,
                    self._shell.faults.take("freeze_timeout"))

    def _freeze(self, now_ns: int) -> None:
        if self._isolated(now_ns, Status.FREEZE_TIMEOUT):
            # the next phase began when this one could end, however late somebody looks
            start_ns = self._phase_ns + self._freeze_ns()
            self._enter(CommitPhase.WAIT_DDR_IDLE, start_ns, start_ns + ISOLATE_MS * _MS,
                        self._shell.faults.take("ddr_timeout"))

    def _wait_ddr_idle(self, now_ns: int) -> None:
        if not self._isolated(now_ns, Status.DDR_TIMEOUT):
            return
        shell = self._shell
        slot = shell.transfers.slots[self._slot]
        payload = shell.memory.staging[self._slot].view(0, slot.length)
        start_ns = self._phase_ns + self._freeze_ns()
        self._enter(CommitPhase.FEED, start_ns, start_ns + (self._ask.feed_ms or DEFAULT_FEED_MS) * _MS)
        self._feed = PrFeed(payload, start_ns, shell.config.timing)
        self._forced = shell.faults.take_pr()
        shell.watch.fed(payload)
        # from the first word on the old role is no more
        shell.lose_role()
        shell.card_state = CardState.PROGRAMMING
        shell.pr_status = PrStatus.IN_PROGRESS

    def _feed_image(self, now_ns: int) -> None:
        assert self._feed is not None
        if self._forced is not Status.PR_TIMEOUT and self._feed.done_ns <= min(now_ns, self._end_ns):
            self._enter(CommitPhase.CHECK, now_ns, self._end_ns)
        elif now_ns >= self._end_ns:
            self._no_role(Status.PR_TIMEOUT, _NO_OUTCOME, now_ns)

    def _check(self, now_ns: int) -> None:
        shell = self._shell
        assert self._feed is not None
        if shell.config.timing is not None:
            shell.watch.fed(self._feed.payload)  # what it took over that time
        outcome = judge_image(self._feed.payload, shell.config.pr_compat_id)
        if self._forced is not None:
            forced = {status: pr for pr, status in STATUS_OF.items()}[self._forced]
            outcome = PrOutcome(forced, detail="injected fault")
        shell.pr_status = outcome.status
        self.detail = outcome.detail
        if outcome.role is None:
            self._no_role(STATUS_OF[outcome.status], outcome, now_ns)
            return
        self._enter(CommitPhase.RELEASE, now_ns, self._end_ns)
        slot = shell.transfers.slots[self._slot]
        shell.role = outcome.role
        shell.role_epoch += 1
        shell.pr_count += 1
        shell.card_state = CardState.READY
        shell.image_digest = slot.digest
        slot.last_used = shell.role_epoch
        shell.commands.role_changed()
        self._compiling = 0
        if outcome.role.kernels:
            job = shell.role_job(outcome.role)
            shell.jobs.append(job)
            if shell.config.compile_first:
                self._compiling = job.ticket

    def _release(self, now_ns: int) -> None:
        """Over, once the kernels are compiled; or when that takes too long: the first RUN then waits for it."""
        if not self._compiling or now_ns >= self._end_ns:
            self._compiling = 0
            self._finish(Status.OK, now_ns)

    def compiled(self, ticket: int, now_ns: int) -> None:
        """A job that compiles has ended, well or not: what is wrong with a source, a RUN says."""
        if self._active and ticket == self._compiling:
            self._compiling = 0
            self.tick(now_ns)

    def _no_role(self, status: Status, outcome: PrOutcome, now_ns: int) -> None:
        shell = self._shell
        shell.pr_status = outcome.status
        shell.lose_role()
        self._enter(CommitPhase.NO_ROLE, now_ns, now_ns)
        self._finish(status, now_ns)

    def _finish(self, status: Status, now_ns: int) -> None:
        shell = self._shell
        if shell.card_state is CardState.PROGRAMMING:  # failed before the feed: the old role goes on
            shell.card_state = CardState.READY if shell.role is not None else CardState.NO_ROLE
        self._reply = self._content(status, now_ns)
        self._active = False
        shell.watch.commit_ended(self.last_id, status)
        self._feed = None

    def _isolated(self, now_ns: int, failure: Status) -> bool:
        if self._stuck:
            if now_ns >= self._end_ns:
                self._finish(failure, now_ns)
            return False
        return now_ns >= self._phase_ns + self._freeze_ns()

    def _enter(self, phase: CommitPhase, now_ns: int, end_ns: int, stuck: bool = False) -> None:
        self.phase, self._phase_ns, self._end_ns, self._stuck = phase, now_ns, end_ns, stuck
        self._shell.reach(phase.name.lower())

    def _freeze_ns(self) -> int:
        timing = self._shell.config.timing
        return timing.freeze_ns if timing else 0

    def _progress(self, now_ns: int) -> bytes:
        return self._content(Status.RUNNING, now_ns)

    def _content(self, status: Status, now_ns: int) -> bytes:
        shell = self._shell
        return Committed(
            status=status, phase=self.phase, pr_status=shell.pr_status, role_epoch=shell.role_epoch,
            fed_bytes=self._feed.fed_bytes(now_ns) if self._feed else 0,
            elapsed_us=min(0xFFFFFFFF, max(0, now_ns - self._start_ns) // 1000),
            image_digest=shell.image_digest).pack()
