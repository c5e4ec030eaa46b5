"""Units that users ask for one by one (StartUnit): each a request of its own, scheduled as one job an image.

They differ from a job's units in what is promised: the card's own word when a kernel fails, and no second card then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safhost.core.actions import RequestEnded, UnitEnded
from safhost.core.card import Card
from safhost.core.events import JobUnit, StartJob, StartUnit
from safhost.core.jobs import Job
from safhost.core.unitqueue import UnitQueue
from safhost.core.units import Attempt, Unit
from safhost.errors import CardLost, CommandFailed, DeadlineExceeded, SafError, SchedulingError
from safhost.wire.generated import Status

if TYPE_CHECKING:
    from safhost.core.cluster import Cluster

MAX_ATTEMPTS = 8  # a unit that eight cards could not finish is at fault itself
_RETRY_STATUS = (Status.BAD_EPOCH, Status.NO_ROLE, Status.KILLED)


class Single(Unit):
    """A unit that is a request."""

    __slots__ = ("aside", "cards", "deadline_ms", "started_ns")

    def __init__(self, job: Singles, event: StartUnit, now_ns: int) -> None:
        super().__init__(job, JobUnit(
            event.request, event.memory, len(event.memory), event.inputs,
            tuple((offset, length, offset) for offset, length in event.outputs), event.arguments, event.relocations,
            event.global_size, event.local_size, event.work_dim), now_ns)
        self.deadline_ms = event.deadline_ms
        self.cards: list[Card] = []
        self.started_ns = now_ns
        # read beside the inputs: should this try fail, the next one needs them as they were
        self.aside = any(at < offset + length and offset < at + size
                         for offset, length in event.outputs for at, size, _, _ in event.inputs)

    @property
    def request(self) -> int:
        return self.event.index

    def start(self, now_ns: int) -> None:
        self.job.queue.add(self)
        self.job.cluster.scheduler.has_units(self.job, now_ns)

    def cancel(self, error: SafError, now_ns: int) -> None:
        job = self.job
        assert isinstance(job, Singles)
        self.ended = True  # before anything is given back, so that nothing starts it again
        if self in job.running:
            del job.running[self]
        else:
            job.queue.remove(self)
        for attempt in list(self.live):
            attempt.abandon(now_ns)
        self.live.clear()
        if not job.waiting:
            job.cluster.scheduler.turns.rest(job)
        job.cluster.end_request(self, RequestEnded(self.request, {}, error))
        job.look_for_end(now_ns)


class _Queue(UnitQueue):
    """Of single units any card takes one that failed elsewhere."""

    __slots__ = ()

    def take(self, card: Card) -> Unit | None:
        if self.again:
            self.count -= 1
            return self.again.pop(0)
        return super().take(card)


class Singles(Job):
    """The units of one image, kernel, deadline and choice of cards."""

    implicit = True

    def __init__(self, cluster: Cluster, event: StartUnit, now_ns: int) -> None:
        super().__init__(cluster, StartJob(0, event.digest, event.kernel, cards=event.cards,
                                           unit_deadline_ms=event.deadline_ms, speculate=False, keep_going=True,
                                           depth=cluster.config.units_per_card), now_ns)
        self.key = key_of(event)
        self.queue = _Queue()

    def note(self, kind: str, card: Card | None, text: str, **info: Any) -> None:
        """Nobody watches single units."""

    def reads_aside(self, unit: Unit) -> bool:
        assert isinstance(unit, Single)
        return unit.aside

    def tell_done(self, unit: Unit, attempt: Attempt, ended: UnitEnded, now_ns: int) -> None:
        assert isinstance(unit, Single)
        self.cluster.end_request(unit, RequestEnded(unit.request, {
            "card": ended.card, "attempts": ended.attempts, "kernel_ns": ended.kernel_ns, "write_ns": ended.write_ns,
            "run_ns": ended.run_ns, "read_ns": ended.read_ns, "queued_ns": attempt.start_ns - unit.started_ns}))
        self.look_for_end(now_ns)

    def tell_failed(self, unit: Unit, key: str, error: SafError, now_ns: int) -> None:
        assert isinstance(unit, Single)
        self.cluster.end_request(unit, RequestEnded(unit.request, {}, error))
        self.look_for_end(now_ns)

    def _fault_of_unit(self, attempt: Attempt, error: SafError, now_ns: int) -> SafError | None:
        retry = isinstance(error, CardLost | DeadlineExceeded) or (
            isinstance(error, CommandFailed) and error.status in _RETRY_STATUS)
        if not retry:
            return error
        tries = attempt.unit.attempts
        if tries >= MAX_ATTEMPTS:
            return SchedulingError(f"unit failed {tries} times; last: {error.message}", error.hint)
        return None

    def orphaned(self, seconds: float, now_ns: int) -> None:
        """No card has run its image for so long: units that wait end."""
        for unit in self.queue.units():
            self.give_up(unit, None, SchedulingError(
                f"no card ran image {self.digest.hex()[:12]} for {seconds:g} s after {unit.attempts} tries",
                "look for the cards with `safhost cards`, then submit it again"), now_ns)
        self.queue.clear()
        self.cluster.scheduler.turns.rest(self)
        self.look_for_end(now_ns)

    def look_for_end(self, now_ns: int) -> None:
        """Without units it is no job."""
        if not self.running and not self.waiting and not self.ended:
            self.ended = True
            self.cluster.scheduler.remove(self, now_ns)


def key_of(event: StartUnit) -> tuple[Any, ...]:
    """Units with equal keys are of one job."""
    return event.digest, event.kernel, event.deadline_ms, event.cards


__all__ = ["Single", "Singles", "key_of"]
