"""Which cards are programmed for which job: idle ones when it pays, and others' when somebody is owed them.

What a job has left is its waiting units by the time one takes, over its cards; while more units may come that is
not known, and taken for long. A card goes over when that is worth more than the switch costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core.card import Card
from safhost.core.jobs import Job

if TYPE_CHECKING:
    from safhost.core.scheduler import Scheduler

IDLE_PAYS = 2  # times the cost of a switch that a job must have left for an idle card to come over
FOREVER_NS = float(1 << 62)


class Planner:
    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.cluster = scheduler.cluster
        self.stager = scheduler.stager

    def plan(self, now_ns: int) -> None:
        """Look at all cards and jobs; cheap when every job's image runs everywhere."""
        wanting = [j for j in self.scheduler.jobs.values() if _wants(j) and j.image is not None]
        if not wanting:
            return
        images = {job.digest for job in wanting}
        for card in self.cluster.sessions.by_mac.values():
            if not (len(images) == 1 and card.image_digest in images) and not card.units \
                    and self.stager.is_free(card) and not card.runs_for_others and not self._has_work(card):
                job = self._neediest(card, wanting)
                if job is not None and job.image is not None:
                    self.stager.want(card, job.digest, job.image, now_ns)

    def _has_work(self, card: Card) -> bool:
        """Whether the image it runs is one that somebody needs."""
        return any(job.digest == card.image_digest and _wants(job) and job.may_use(card)
                   for job in self.scheduler.all_jobs())

    def _neediest(self, card: Card, wanting: list[Job]) -> Job | None:
        """Who gets an idle card: the highest priority, then who has the fewest cards for its weight."""
        best: tuple[float, float, float] | None = None
        chosen: Job | None = None
        for job in wanting:
            if job.image is None or card.image_digest == job.digest or not job.may_use(card) \
                    or self.stager.problem(card, job.digest, job.image):
                continue
            cards = self.cards_of(job)
            cost_ns = self.stager.cost_ns(card, job.digest, job.image)
            if cards and self.left_ns(job, cards) <= IDLE_PAYS * cost_ns:
                continue
            turn = (-job.priority, cards / job.weight, job.service_ns)
            if best is None or turn < best:
                best, chosen = turn, job
        return chosen

    def cards_of(self, job: Job) -> int:
        """Cards that run the job's image, or will."""
        return len(self.scheduler.candidates(job)) + self.stager.going_to(job.digest)

    def left_ns(self, job: Job, cards: int) -> float:
        """Time the job's waiting units take on so many cards."""
        if not job.all_came or job.unit_ns is None:
            return FOREVER_NS
        return job.waiting * job.unit_ns / max(1, cards)


def _wants(job: Job) -> bool:
    """Whether cards are of use to it: units wait, or more will come."""
    return not job.held and bool(job.waiting or not (job.all_came or job.implicit))


__all__ = ["Planner"]
