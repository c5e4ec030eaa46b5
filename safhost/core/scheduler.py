"""Which card works on a unit of which job, and when.

A card that has room takes a unit of the job whose turn it is (`turns`) among those whose image it runs. Cards are
looked at when something of theirs changed, the least loaded first, so that a job spreads; a unit costs the same however
many cards and units there are.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from safhost.core import card as st
from safhost.core import cardsets
from safhost.core.card import Card
from safhost.core.drain import DrainRequest
from safhost.core.events import StartUnit
from safhost.core.hangs import Hangs
from safhost.core.jobreport import describe
from safhost.core.jobs import Job
from safhost.core.reprogram import Planner
from safhost.core.resident import Residents
from safhost.core.singles import Single, Singles, key_of
from safhost.core.speculate import Speculator
from safhost.core.staging import Stager
from safhost.core.turns import Turns
from safhost.core.units import Unit
from safhost.errors import SchedulingError

if TYPE_CHECKING:
    from safhost.core.cluster import Cluster

TICK_NS = 20_000_000  # between looks at what no event tells: stragglers, cards worth another image, jobs without cards
ORPHAN_NS = 60_000_000_000  # a unit no card could take for so long ends; cards come and go, but not for ever


class Scheduler:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.jobs: dict[int, Job] = {}
        self.singles: dict[tuple[Any, ...], Singles] = {}
        self.turns = Turns()
        self.stager = Stager(cluster)
        self.planner = Planner(self)
        self.residents = Residents(self)
        self.speculator = Speculator(self)
        self.hangs = Hangs(self)
        self.drains: list[DrainRequest] = []
        self.due_ns: int | None = None
        self._touched: dict[Card, None] = {}
        self._all = False
        self._plan = False  # who has which image is to be looked at
        self._moved = False  # what cards can take units of which job may be another set now

    # -- jobs ----------------------------------------------------------------------------------------------

    def add(self, job: Job, now_ns: int) -> None:
        job.limit = cardsets.limit_of(self, job)
        self.jobs[job.request] = job
        self.residents.add(job)
        self._plan = self._moved = True
        self._wake_up(now_ns)

    def add_single(self, event: StartUnit, now_ns: int) -> Single:
        """A unit that is a request; the job it belongs to is made when there is none."""
        key = key_of(event)
        job = self.singles.get(key)
        if job is None:
            job = self.singles[key] = Singles(self.cluster, event, now_ns)
        return Single(job, event, now_ns)

    def remove(self, job: Job, now_ns: int) -> None:
        self.jobs.pop(job.request, None)
        if isinstance(job, Singles):
            self.singles.pop(job.key, None)
        self.turns.rest(job)
        self.stager.drop_unneeded(now_ns)
        self.residents.remove(job, now_ns)

    def all_jobs(self) -> list[Job]:
        return [*self.jobs.values(), *self.singles.values()]

    def has_units(self, job: Job, now_ns: int) -> None:
        """Units of the job wait: cards are looked at at the end of this event."""
        if job.ended or not job.waiting:
            return
        if self.turns.wake(job):
            self._plan = True
            self._all = True
        elif job.queue.again or job.queue.bound or job.waiting <= len(self.cluster.sessions.by_mac):
            self._all = True
        self._wake_up(now_ns)

    def change(self, job: Job, priority: int | None, weight: float | None, hold: bool | None, now_ns: int) -> None:
        """ChangeJob."""
        if priority is not None:
            self.turns.reprioritise(job, priority)
        if weight is not None and weight > 0:
            job.weight = weight
        if hold is not None:
            job.held = hold
        self._all = True

    def charge(self, job: Job, time_ns: float) -> None:
        """The job had so much of a card's time."""
        job.service_ns += time_ns / job.weight

    # -- cards ---------------------------------------------------------------------------------------------

    def touch(self, card: Card) -> None:
        """The card may have room now."""
        self._touched[card] = None

    def touch_all(self) -> None:
        self._all = True

    def cards_moved(self) -> None:
        """Some card came, went, or runs something else: jobs are told which ones can work for them."""
        self._moved = True

    def _tell_cards(self, now_ns: int) -> None:
        self._moved = False
        cardsets.settle(self)
        self.residents.look(now_ns)
        for job in list(self.jobs.values()):
            if job.failing is not None:
                job.end(job.failing, now_ns)
                continue
            cardsets.tell(self, job)

    def takes_units(self, card: Card) -> bool:
        """Whether the card may be given a unit at all now."""
        return card.state == st.AVAILABLE and card.channel is not None and not card.committing \
            and not card.draining and not card.leaving and not card.killing and not card.runs_for_others

    def candidates(self, job: Job) -> list[Card]:
        """Cards that could take units of the job as things stand, now or later."""
        return [c for c in self.cluster.sessions.by_mac.values()
                if c.usable and c.image_digest == job.digest and not c.draining and job.may_use(c)
                and (job.resident is None or not job.resident.hopeless(c))]

    def others(self, job: Job, unit: Unit) -> bool:
        """Whether some card could take the unit that did not fail it."""
        return any(c.key not in unit.failed_on and c.state == st.AVAILABLE for c in self.candidates(job))

    def link_ns(self, card: Card, in_bytes: int, out_bytes: int) -> float:
        """Time of the card's share of its link that a unit's inputs or outputs take, the longer of them."""
        busy = sum(1 for c in self.cluster.sessions.by_mac.values() if c.units and c.link == card.link)
        return max(in_bytes, out_bytes) * 1e9 * max(1, busy) / self.cluster.config.link_rate_bytes_s

    def card_available(self, card: Card, now_ns: int) -> None:
        """A session is open with it, the first of its boot or another one."""
        self.touch(card)
        self._plan = True
        for job in self.jobs.values():
            if job.may_use(card):
                share = job.share(card)
                if share.joined_ns is None and card.appeared_ns > job.started_ns:
                    share.joined_ns = card.appeared_ns
                    job.note("card_joining", card, "joins", since_link_up_s=round(
                        (now_ns - card.appeared_ns) / 1e9, 6))

    def card_drains(self, card: Card, now_ns: int) -> None:
        """It takes no more units: what was for it alone is for all."""
        self.stager.drop(card, now_ns)
        for job in self.jobs.values():
            job.queue.release(card.key)
            if any(a.unit.job is job for a in card.units):
                job.note("drained", card, "takes no more units: it is being drained")
        self._all = True

    def card_suspect(self, card: Card, now_ns: int, hasty: bool = False) -> None:
        """Units of a silent card go to others at once, if there are others. ``hasty``: it may be heard again any
        moment; only those of jobs that serve, whose units somebody waits for."""
        cardsets.settle(self)
        counts: dict[Job, int] = {}
        for attempt in card.attempts():
            job = attempt.unit.job
            if hasty and not job.lasting:
                continue
            if not attempt.abandoned and any(c is not card and c.state == st.AVAILABLE for c in self.candidates(job)):
                counts[job] = counts.get(job, 0) + 1
                job.move(attempt, now_ns)
        for job, count in counts.items():
            job.note("card_lost", card, f"is silent: {count} units go to other cards", units=count)

    def note_lost(self, card: Card, why: str) -> None:
        """Tell the jobs that have units on a card whose session is over."""
        counts: dict[Job, int] = {}
        for attempt in card.attempts():
            if not attempt.abandoned:
                counts[attempt.unit.job] = counts.get(attempt.unit.job, 0) + 1
        for job, count in counts.items():
            job.note("card_lost", card, f"{why}: {count} units go to other cards", units=count)

    def card_lost(self, card: Card, why: str, now_ns: int) -> None:
        """Its session is over; what was in flight to it has ended already."""
        card.killing = card.leaving = False
        self.stager.card_lost(card)
        self.residents.card_lost(card, now_ns)
        self.touch(card)
        for attempt in card.attempts():
            attempt.card_gone(now_ns, why)
        for job in self.jobs.values():
            job.queue.release(card.key)
            if job.waiting:
                self.has_units(job, now_ns)
            share = job.shares.get(card.key)
            if share is not None:
                share.working = False
                share.joined_ns = share.stage_s = share.commit_s = None

    # -- dispatch ------------------------------------------------------------------------------------------

    def run(self, now_ns: int) -> None:
        """Give units to the cards that may have room since the last time; the cluster calls it after every event."""
        if self._moved:
            self._tell_cards(now_ns)
        if not self._touched and not self._all and not self._plan:
            return
        if self.drains:
            for drain in list(self.drains):
                drain.look(now_ns)
        while self._touched or self._all:
            self.residents.tidy()
            cards = list(self.cluster.sessions.by_mac.values()) if self._all else list(self._touched)
            self._all = False
            self._touched.clear()
            for card in cards:
                if card.leaving:
                    self.stager.look(card, now_ns)
            if not self.turns.by_image:
                break
            heap = [(len(card.units), n, card) for n, card in enumerate(cards)
                    if card.image_digest in self.turns.by_image and self.takes_units(card)]
            heapq.heapify(heap)
            while heap:
                _, n, card = heap[0]
                if self._give(card, now_ns):
                    heapq.heapreplace(heap, (len(card.units), n, card))
                else:
                    heapq.heappop(heap)
        if self._plan:
            self._plan = False
            self.planner.plan(now_ns)

    def _give(self, card: Card, now_ns: int) -> bool:
        """One unit to the card; False when it has no room or nobody has work for it."""
        ready = self.turns.by_image.get(card.image_digest)
        if not ready:
            return False
        jobs = [job for job in ready if not job.held and job.runs_on(card)]
        # one depth for all: whose turn it is gets the next place, so that shares are what weights say
        if not jobs or len(card.units) >= max(job.depth(card) for job in jobs) or self.residents.starved(card, now_ns):
            return False
        if len(jobs) > 1:
            jobs = self.turns.in_turn(jobs)
        return any(self._has_place(job, card) and self._give_of(job, card, now_ns) for job in jobs)

    def _has_place(self, job: Job, card: Card) -> bool:
        """Whether a job that says itself how deep it goes has not gone as deep yet."""
        return job.phased or not job.fixed_depth or sum(a.unit.job is job for a in card.units) < job.depth(card)

    def _give_of(self, job: Job, card: Card, now_ns: int) -> bool:
        unit = job.queue.take(card)
        if unit is None:
            return False
        if not job.waiting:
            self.turns.rest(job)
        try:
            place = self.place(job, card, unit.event.room)
            while place is None and self.residents.evict(card):
                place = self.place(job, card, unit.event.room)
            if place is None and not card.units and (held := self.residents.held_bytes(card)):
                raise SchedulingError(f"{unit.event.room} bytes do not fit the card's {card.ddr.size_bytes} bytes of "
                                      f"DDR beside {held} of resident data", "split the work into smaller units")
        except SchedulingError as err:
            job.give_up(unit, card, err, now_ns)
            return True
        if place is None:
            job.queue.put_back(unit)
            self.turns.wait_on(job)
            return False
        self.turns.served(job)
        base, copy = place
        job.begin(unit, card, base, now_ns, copy=copy)
        return True

    def place(self, job: Job, card: Card, room: int) -> tuple[int, int] | None:
        """(DDR address, copy of the kernel) for a unit: the copy with least to do whose bank has room; None when none
        has. Raises SchedulingError when none ever will."""
        if job.banks == 1:
            base = card.ddr.allocate(room)
            return None if base is None else (base, 0)
        load = [0] * job.compute_units
        for attempt in card.units:
            other = attempt.unit.job
            if other.kernel == job.kernel and other.digest == job.digest and attempt.copy < len(load):
                load[attempt.copy] += 1
        for copy in sorted(range(len(load)), key=load.__getitem__):
            base = card.ddr.allocate(room, bank=copy, banks=job.banks)
            if base is not None:
                return base, copy
        return None

    # -- now and then --------------------------------------------------------------------------------------

    def _wake_up(self, now_ns: int) -> None:
        if self.due_ns is None:
            self.cluster.timers.set(self, now_ns + TICK_NS)

    def on_timer(self, now_ns: int) -> None:
        jobs = self.all_jobs()
        for job in jobs:
            if not job.ended:
                job.press(now_ns)
                self._look_for_cards(job, now_ns)
        self.planner.plan(now_ns)
        self.planner.balance(now_ns)
        self.speculator.look(now_ns)
        self.hangs.look(now_ns)
        if self.hangs.waiting or any(not job.implicit or job.waiting for job in self.all_jobs()):
            self._wake_up(now_ns)

    def _look_for_cards(self, job: Job, now_ns: int) -> None:
        """A job that no card is left for ends after a while."""
        job.phases.look_if_stuck(job, now_ns)
        if job.queue.bound and job.release_hopeless():
            self._all = True
        if not job.waiting or job.held or self.candidates(job) or self.stager.going_to(job.digest):
            job.alone_ns = None
            return
        if job.try_all_again():
            self._all = True
        if job.alone_ns is None:
            job.alone_ns = now_ns
        patience_ns = min(job.patience_ns, ORPHAN_NS) if job.image is None else job.patience_ns
        if now_ns - job.alone_ns >= patience_ns:
            job.alone_ns = None
            job.orphaned(patience_ns / 1e9, now_ns)

    # -- for people and tests ------------------------------------------------------------------------------

    def view(self, now_ns: int) -> list[dict[str, Any]]:
        return [describe(job, now_ns) for job in self.jobs.values()]


__all__ = ["ORPHAN_NS", "Scheduler"]
