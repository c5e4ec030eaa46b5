"""Which cards are programmed for which job: idle ones when it pays, and others' when somebody is owed them.

What a job has left is its waiting units by the time one takes, over its cards; while more units may come that is
not known, and taken for long; of a job that serves, how long units have been waiting is taken instead. A card goes over
when that is worth more than the switch costs.

A job with nothing to do keeps its cards until others have units waiting, then the ``min_cards`` it is left; when units
come again it takes cards as any job that has none.
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
FIRST_COSTS = 2  # times the cost that a card which was switched stays before it may go to a job that has none,
SLICE_COSTS = 10  # and to one that has some
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
        busy = [job for job in self.jobs if job.waiting or job.running]
        if any(not job.all_came and not job.implicit and (not job.lasting or job.pressed_ns) for job in busy):
            return self.max_cards
        return min(self.max_cards, max(self.min_cards, sum(job.waiting + len(job.running) for job in busy)))

    @property
    def max_cards(self) -> int:
        """Cards that its jobs may work on."""
        return sum({job.limit: job.limit.most or 1 << 30 for job in self.jobs}.values())

    @property
    def min_cards(self) -> int:
        """Cards it has while others could use them."""
        return max(job.min_cards for job in self.jobs)

    def left_ns(self) -> float:
        return sum(_left_ns(job, len(self.cards)) for job in self.jobs)

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
                    and self.stager.may_take(card) and not card.runs_for_others:
                owners = self._owners(card)
                if any(job.waiting or job.running for job in owners) or (owners and not self._may_go(card, owners)):
                    continue
                job = self._neediest(card, wanting, owners, now_ns)
                if job is not None and job.image is not None:
                    job.limit.take(card)
                    self.stager.want(card, job.digest, job.image, now_ns)

    def _owners(self, card: Card) -> list[Job]:
        """Who needs the image it runs, or will as soon as units come."""
        return [job for job in self.scheduler.all_jobs() if job.digest == card.image_digest and _wants(job)
                and _has_for(job, card) and job.may_use(card)]

    def _may_go(self, card: Card, owners: list[Job]) -> bool:
        """Whether those who own it and have nothing to do keep enough cards without it."""
        here = sum(c.image_digest == card.image_digest and c.usable and c.key not in self.stager.moves
                   for c in self.cluster.sessions.by_mac.values())
        return here > self._least(owners)

    def _least(self, jobs: list[Job]) -> int:
        """Cards that jobs of one image are left; none when there are not enough for what all are to be left."""
        least: dict[bytes, int] = {}
        for job in self.scheduler.jobs.values():
            least[job.digest] = max(job.min_cards, least.get(job.digest, 0))
        there = sum(c.usable for c in self.cluster.sessions.by_mac.values())
        return max(job.min_cards for job in jobs) if sum(least.values()) <= there else 0

    def _neediest(self, card: Card, wanting: list[Job], owners: list[Job], now_ns: int) -> Job | None:
        """Who gets an idle card: the highest priority, then who has the fewest cards for its weight. ``owners`` have
        nothing to do and may have again: only who has units waiting gets it, and it was not switched just now."""
        best: tuple[float, float, float] | None = None
        chosen: Job | None = None
        idle_ns = min((now_ns - job.active_ns for job in owners), default=now_ns)
        for job in wanting:
            if job.image is None or card.image_digest == job.digest or not _has_for(job, card) \
                    or not job.may_use(card) or self.stager.problem(card, job.digest, job.image) \
                    or (owners and not job.waiting and self.cards_of(job) >= self._least([job])):
                continue
            cards = self.cards_of(job)
            cost_ns = self.cost_ns(card, job)
            if owners and (idle_ns <= IDLE_PAYS * cost_ns or not _settled(card, cost_ns, cards, now_ns)):
                continue
            left_ns = _left_ns(job, cards) if owners else self.left_ns(job, cards)
            if cards and card.key not in job.queue.bound and cards >= job.min_cards and left_ns <= IDLE_PAYS * cost_ns:
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
            if not job.held and (job.waiting or job.running or (job.min_cards and _wants(job))):
                groups.setdefault(job.digest, Group(job.digest)).add(job)
        if len(groups) < 2 or not any(g.waiting or g.min_cards for g in groups.values()):
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
            if donor is taker or donor.priority > taker.priority \
                    or len(donor.cards) <= max(donor.target, self._least(donor.jobs)):
                continue
            if not taker.waiting and len(taker.cards) >= self._least(taker.jobs):
                continue
            if donor.priority == taker.priority and len(donor.cards) == 1 and donor.waiting and not crowded:
                continue
            for card in sorted(donor.cards, key=lambda c: (not self.stager.holds(c, taker.digest), len(c.units))):
                job = next((j for j in taker.jobs if j.image is not None and j.may_use(card)
                            and not self.stager.problem(card, j.digest, j.image)), None)
                if job is None or job.image is None or not self.stager.may_take(card):
                    continue
                cost_ns = self.cost_ns(card, job)
                if not _settled(card, cost_ns, len(taker.cards) or len(donor.cards) == 1, now_ns):
                    continue
                if taker.cards and len(taker.cards) >= taker.min_cards and taker.left_ns() <= TAKE_PAYS * cost_ns:
                    continue
                donor.cards.remove(card)
                taker.cards.append(card)
                job.limit.take(card)
                self.stager.want(card, taker.digest, job.image, now_ns)
                return True
        return False

    def cards_of(self, job: Job) -> int:
        """Cards that run the job's image, or will."""
        return len(self.scheduler.candidates(job)) + self.stager.going_to(job.digest)

    def cost_ns(self, card: Card, job: Job) -> float:
        """What it takes to have the card work for the job: its image, and the data its units use."""
        assert job.image is not None
        cost_ns = self.stager.cost_ns(card, job.digest, job.image)
        if job.resident is not None and not job.resident.ready(card):
            cost_ns += job.resident.length * 1e9 / self.cluster.config.link_rate_bytes_s
        return cost_ns

    def left_ns(self, job: Job, cards: int) -> float:
        """Time the job's waiting units take on so many cards."""
        return _work_ns(job) / max(1, cards)


def _settled(card: Card, cost_ns: float, cards: int, now_ns: int) -> bool:
    """Whether it was switched long enough ago, to go to a job that has so many cards."""
    return not card.switched_ns or now_ns - card.switched_ns > (SLICE_COSTS if cards else FIRST_COSTS) * cost_ns


def _left_ns(job: Job, cards: int) -> float:
    """As :meth:`Planner.left_ns`; of a job that serves, for how long units have been waiting."""
    return job.pressed_ns if job.lasting else _work_ns(job) / max(1, cards)


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
    return job.queue.has_for(card.key) or not (job.waiting or job.all_came or job.implicit)


__all__ = ["Planner"]
