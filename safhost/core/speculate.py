"""A second try elsewhere for units that take far longer than others, when a card has nothing else to do.

The first attempt to be done counts; the other is abandoned, and never touches the unit's memory again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core.card import Card
from safhost.core.jobs import Job
from safhost.errors import SchedulingError

if TYPE_CHECKING:
    from safhost.core.scheduler import Scheduler

TIMES_MEDIAN = 2  # a unit is late after so many times what the median one takes,
LATE_NS = 50_000_000  # and so much later than that


class Speculator:
    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def look(self, now_ns: int) -> None:
        """Begin second attempts on idle cards; called now and then."""
        jobs = [j for j in self.scheduler.jobs.values() if j.speculate and not j.phased and not j.held
                and j.running and not j.waiting]
        if not jobs:
            return
        jobs.sort(key=lambda j: -j.priority)
        idle = [c for c in self.scheduler.cluster.sessions.by_mac.values()
                if not c.units and self.scheduler.takes_units(c)]
        for card in idle:
            for job in jobs:
                if card.image_digest == job.digest and job.runs_on(card) and self._second(job, card, now_ns):
                    break

    def _second(self, job: Job, card: Card, now_ns: int) -> bool:
        """Try the job's oldest late unit on the card as well."""
        median_ns = job.median_ns()
        if median_ns is None:
            return False
        late_ns = max(TIMES_MEDIAN * median_ns, median_ns + LATE_NS)
        for unit in job.running:
            if len(unit.live) != 1 or card.key in unit.failed_on:
                continue
            first = unit.live[0]
            if now_ns - first.start_ns <= late_ns or first.card is card:
                continue
            try:
                place = self.scheduler.place(job, card, unit.event.room)
            except SchedulingError:
                place = None
            if place is None:
                continue
            job.speculated += 1
            job.note("speculated", card, f"unit {unit.event.index} takes long on card {first.card.key}: tried here too",
                     unit=unit.event.index, slow=first.card.key)
            base, copy = place
            job.begin(unit, card, base, now_ns, extra=True, copy=copy)
            return True
        return False


__all__ = ["Speculator"]
