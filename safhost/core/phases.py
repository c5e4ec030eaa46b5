"""Steps of a phased job: all units are loaded, then all run, then all are read. Other jobs have none.

An attempt that did a step before the others waits with its data on the card until all units have come that far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core.units import LOADED, RAN, Attempt
from safhost.errors import SchedulingError

if TYPE_CHECKING:
    from safhost.core.jobs import Job

_TEXTS = {LOADED: ("loaded", "all units are loaded"), RAN: ("ran", "all units ran")}


class Phases:
    """``step``: what its units may pass; ``parked``: attempts that wait for it."""

    __slots__ = ("_steps_ns", "parked", "step")

    def __init__(self, now_ns: int) -> None:
        self.parked = 0
        self.step = 0
        self._steps_ns = [now_ns]

    def may_pass(self, attempt: Attempt, step: int, now_ns: int) -> bool:
        """Whether an attempt that did ``step`` of a phased job goes on; else it is told when all have."""
        job = attempt.unit.job
        if not job.phased or self.step >= step:
            return True
        attempt.waits_for = step
        self.parked += 1
        job.look(now_ns)
        return False

    def look(self, job: Job, now_ns: int) -> None:
        """Whether a step of all is over."""
        while self.step < RAN and job.all_came and not job.waiting and self.parked == len(job.running):
            attempts = job.attempts()
            if any(a.waits_for != self.step + 1 for a in attempts):
                break
            self._advance(job, attempts, now_ns)

    def _advance(self, job: Job, attempts: list[Attempt], now_ns: int) -> None:
        """Its units go on together."""
        self.step += 1
        self._steps_ns.append(now_ns)
        phase, text = _TEXTS[self.step]
        job.note("phase", None, text, phase=phase)
        for attempt in attempts:
            if attempt.waits_for == LOADED <= self.step:
                attempt.run(now_ns)
            elif attempt.waits_for == RAN <= self.step:
                attempt.read(now_ns)

    def look_if_stuck(self, job: Job, now_ns: int) -> None:
        """Units that wait while all others wait for them, and no card has room for more."""
        if not job.phased or not job.waiting or job.held or not job.all_came:
            return
        attempts = job.attempts()
        if not attempts or any(a.waits_for != self.step + 1 for a in attempts) \
                or job.cluster.scheduler.stager.going_to(job.digest):
            return
        if self.step:  # cards went away, and the others are full: make room
            self._advance(job, attempts, now_ns)
        else:
            job.end(SchedulingError(
                f"{len(job.running)} of {len(job.running) + job.waiting} units fit the cards' DDR at once",
                "a phased job has all its units there at once: take fewer, or more cards, or none phased"), now_ns)

    def all_read(self, job: Job, now_ns: int) -> None:
        """The last step is over, and the job with it."""
        self._steps_ns.append(now_ns)
        job.note("phase", None, "all units are read", phase="read")

    def times_s(self) -> dict[str, float]:
        """How long each step took; empty unless there were all of them."""
        if len(self._steps_ns) != 4:
            return {}
        load, run, read = (round((b - a) / 1e9, 6) for a, b in zip(self._steps_ns, self._steps_ns[1:], strict=False))
        return {"load_s": load, "run_s": run, "read_s": read}


__all__ = ["Phases"]
