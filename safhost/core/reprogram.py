"""Which cards are programmed for which job: idle ones when it pays, and others' when somebody is owed them.

What a job has left is its waiting units by the time one takes, over its cards; while more units may come that is
not known, and taken for long. A card goes over when that is worth more than the switch costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core import card as st
from safhost.core.card import Card
from safhost.core.jobs import Job

if TYPE_CHECKING:
    from safhost.core.scheduler import Scheduler

IDLE_PAYS = 2  # times the cost of a switch that a job must have left for an idle card to come over,
TAKE_PAYS = 5  # and for one that has work: the others lose it
SLICE_COSTS = 10  # a card that was switched stays for so many times what that cost
BALANCE_NS = 100_000_000
FOREVER_NS = float(1 << 62)


class Group:
    """Jobs that need one image. Those of its highest priority count."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.jobs: list[Job] = []
        self.cards: list[Card] = []  # that run it, or will
        self.target = 0

    def add(self, job: Job) -> None:
        self.jobs.append(job)

    @property
    def waiting(self) -> int:
        return sum(job.waiting for job in self.jobs)

    @property
    def priority(self) -> int:
        return max(job.priority for job in self.jobs)

    @property
    def _first(self) -> list[Job]:
        priority = self.priority
        return [job for job in self.jobs if job.priority == priority]

    @property
    def weight(self) -> float:
        return sum(job.weight for job in self._first)

    @property
    def service_ns(self) -> float:
        return min(job.service_ns for job in self._first)

    @property
    def units(self) -> int:
        """Cards it can make use of."""
        if any(not job.all_came and not job.implicit for job in self.jobs):
            return 1 << 30
        return sum(job.waiting + len(job.running) for job in self.jobs)

    def left_ns(self) -> float:
        return sum(_work_ns(job) for job in self.jobs) / max(1, len(self.cards))

    def turn(self) -> tuple[float, float]:
        return -self.priority, self.service_ns


class Planner:
    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.cluster = scheduler.cluster
        self.stager = scheduler.stager
        self._balanced_ns = -BALANCE_NS

    def plan(self, now_ns: int) -> None:
        """Look at all cards and jobs; cheap when every job's image runs everywhere."""
        wanting = [j for j in self.scheduler.jobs.values() if _wants(j) and j.image is not None]
        if not wanting:
            return
        images = {job.digest for job in wanting}
        for card in self.cluster.sessions.by_mac.values():
            if not (len(images) == 1 and card.image_digest in images) and not card.units \
                    and self.stager.may_take(card) and not card.runs_for_others and not self._has_work(card):
                job = self._neediest(card, wanting)
                if job is not None and job.image is not None:
                    self.stager.want(card, job.digest, job.image, now_ns)

    def _has_work(self, card: Card) -> bool:
        """Whether the image it runs is one that somebody needs."""
        return any(job.digest == card.image_digest and _wants(job) and _has_for(job, card) and job.may_use(card)
                   for job in self.scheduler.all_jobs())

    def _neediest(self, card: Card, wanting: list[Job]) -> Job | None:
        """Who gets an idle card: the highest priority, then who has the fewest cards for its weight."""
        best: tuple[float, float, float] | None = None
        chosen: Job | None = None
        for job in wanting:
            if job.image is None or card.image_digest == job.digest or not _has_for(job, card) \
                    or not job.may_use(card) \
                    or self.stager.problem(card, job.digest, job.image):
                continue
            cards = self.cards_of(job)
            cost_ns = self.stager.cost_ns(card, job.digest, job.image)
            if cards and card.key not in job.bound and self.left_ns(job, cards) <= IDLE_PAYS * cost_ns:
                continue  # units for this card alone have nowhere else to go
            turn = (-job.priority, cards / job.weight, job.service_ns)
            if best is None or turn < best:
                best, chosen = turn, job
        return chosen

    # -- cards that have work ------------------------------------------------------------------------------

    def balance(self, now_ns: int) -> None:
        """Have cards go over from images that have more than their share to those that have less."""
        if now_ns - self._balanced_ns < BALANCE_NS:
            return
        self._balanced_ns = now_ns
        groups: dict[bytes, Group] = {}
        for job in self.scheduler.all_jobs():
            if not job.held and (job.waiting or job.running):
                groups.setdefault(job.digest, Group(job.digest)).add(job)
        if len(groups) < 2 or not any(g.waiting for g in groups.values()):
            return
        cards = [c for c in self.cluster.sessions.by_mac.values() if c.state == st.AVAILABLE and not c.draining]
        for card in cards:
            move = self.stager.moves.get(card.key)
            digest = card.image_digest if move is None else move.digest
            if digest in groups:
                groups[digest].cards.append(card)
        owned = [c for g in groups.values() for c in g.cards]
        self._set_targets(list(groups.values()), len(owned))
        for taker in sorted(groups.values(), key=Group.turn):
            while len(taker.cards) < taker.target and self._take_one(taker, groups, now_ns):
                pass

    def _set_targets(self, groups: list[Group], cards: int) -> None:
        """Cards for each image: the highest priority first, by weights within one (largest remainder, then who had
        least), and never more than it has units for."""
        for priority in sorted({g.priority for g in groups}, reverse=True):
            level = [g for g in groups if g.priority == priority]
            left = cards
            open_ = list(level)
            while open_ and left:  # who needs less than its share leaves the rest to the others
                weight = sum(g.weight for g in open_)
                small = [g for g in open_ if g.units <= left * g.weight / weight]
                if not small:
                    break
                for group in small:
                    group.target = min(left, group.units)
                    left -= group.target
                    open_.remove(group)
            weight = sum(g.weight for g in open_)
            quotas = {g: left * g.weight / weight for g in open_}
            for group, quota in quotas.items():
                group.target = int(quota)
            rest = left - sum(g.target for g in open_)
            for group in sorted(open_, key=lambda g: (-(quotas[g] - int(quotas[g])), g.service_ns))[:rest]:
                group.target += 1
            cards -= sum(g.target for g in level)

    def _take_one(self, taker: Group, groups: dict[bytes, Group], now_ns: int) -> bool:
        """One card of who has more than its share goes over, if that pays."""
        equals = [g for g in groups.values() if g.priority == taker.priority]
        crowded = len(equals) > sum(len(g.cards) for g in groups.values())
        for donor in sorted(groups.values(), key=lambda g: (g.priority, g.target - len(g.cards))):
            if donor is taker or donor.priority > taker.priority or len(donor.cards) <= donor.target:
                continue
            if donor.priority == taker.priority and len(donor.cards) == 1 and donor.waiting and not crowded:
                continue
            for card in sorted(donor.cards, key=lambda c: (not self.stager.holds(c, taker.digest), len(c.units))):
                job = next((j for j in taker.jobs if j.image is not None and j.may_use(card)
                            and not self.stager.problem(card, j.digest, j.image)), None)
                if job is None or job.image is None or not self.stager.may_take(card):
                    continue
                cost_ns = self.stager.cost_ns(card, taker.digest, job.image)
                if card.switched_ns and now_ns - card.switched_ns <= SLICE_COSTS * cost_ns:
                    continue
                if taker.cards and taker.left_ns() <= TAKE_PAYS * cost_ns:
                    continue
                donor.cards.remove(card)
                taker.cards.append(card)
                self.stager.want(card, taker.digest, job.image, now_ns)
                return True
        return False

    def cards_of(self, job: Job) -> int:
        """Cards that run the job's image, or will."""
        return len(self.scheduler.candidates(job)) + self.stager.going_to(job.digest)

    def left_ns(self, job: Job, cards: int) -> float:
        """Time the job's waiting units take on so many cards."""
        return _work_ns(job) / max(1, cards)


def _work_ns(job: Job) -> float:
    """Card time that its waiting units take."""
    if (not job.all_came and not job.implicit) or job.unit_ns is None:
        return FOREVER_NS
    return job.waiting * job.unit_ns


def _wants(job: Job) -> bool:
    """Whether cards are of use to it: units wait, or more will come."""
    return not job.held and bool(job.waiting or not (job.all_came or job.implicit))


def _has_for(job: Job, card: Card) -> bool:
    """Whether the job has a unit that this card may do, or all of its units are under way and more will come: units for
    other cards alone may wait for those to be let go by a job that has the same to say of this one."""
    return bool(job.pending or job.again or card.key in job.bound) or not (job.waiting or job.all_came or job.implicit)


__all__ = ["Planner"]
