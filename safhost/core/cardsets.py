"""Which cards are a job's: those it works on where their number is limited, and those that can take its units now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from safhost.core import card as st
from safhost.core.actions import JobCards
from safhost.core.card import Card

if TYPE_CHECKING:
    from safhost.core.jobs import Job
    from safhost.core.scheduler import Scheduler

AWAY = "goes to another job"
LOST = ("is lost", "is silent", "is left out")


class Limit:
    """``keys``: of the cards that jobs of at most ``most`` cards work on, each from the moment it is meant to; with 0
    there is no limit, and none is kept. Jobs of one name and image have one, as the workers of a server do."""

    __slots__ = ("keys", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.keys: dict[str, None] = {}

    def allows(self, card: Card) -> bool:
        return not self.most or card.key in self.keys or len(self.keys) < self.most

    def take(self, card: Card) -> None:
        """The card is to work for them from here on."""
        if self.most:
            self.keys[card.key] = None


def limit_of(scheduler: Scheduler, job: Job) -> Limit:
    """The limit of a job that is new: that of another of its name, or one of its own."""
    return next((other.limit for other in scheduler.jobs.values() if job.name and other.limit.most == job.limit.most
                 and (other.name, other.digest) == (job.name, job.digest)), job.limit)


def settle(scheduler: Scheduler) -> None:
    """Cards came, went, or run something else: those that are left take the places of those that are gone."""
    by_limit: dict[Limit, list[Job]] = {}
    for job in scheduler.jobs.values():
        if job.limit.most:
            by_limit.setdefault(job.limit, []).append(job)
    by_key = scheduler.cluster.sessions.by_key
    for limit, jobs in by_limit.items():
        for key in list(limit.keys):
            card = by_key.get(key)
            if card is None or not any(_is_for(scheduler, job, card) for job in jobs):
                del limit.keys[key]
        if len(limit.keys) < limit.most:
            free = [c for c in by_key.values() if c.key not in limit.keys
                    and any(_is_for(scheduler, job, c) for job in jobs)]
            for wish in sorted((*_wish(by_limit, jobs, c), c.key) for c in free)[:limit.most - len(limit.keys)]:
                limit.keys[wish[-1]] = None


def _is_for(scheduler: Scheduler, job: Job, card: Card) -> bool:
    """Whether the card runs the job's image, or will, and the job may have it."""
    move = scheduler.stager.moves.get(card.key)
    digest = move.digest if move is not None and (card.leaving or move.digest == job.digest) else card.image_digest
    return digest == job.digest and card.state == st.AVAILABLE and not card.draining and job.may_use(card) \
        and (job.resident is None or not job.resident.hopeless(card))


def _wish(limits: Iterable[Limit], jobs: list[Job], card: Card) -> tuple[int, int, int]:
    """Cards in the order in which they are taken: with their data, of few others, with little to do."""
    absent = sum(job.resident is not None and not job.resident.ready(card) for job in jobs)
    return absent, sum(card.key in limit.keys for limit in limits), len(card.units)


def tell(scheduler: Scheduler, job: Job) -> None:
    """Tell who watches the job which cards can take its units now, if these are others than before, and why."""
    cards = tuple(sorted(c.key for c in scheduler.candidates(job) if c.state == st.AVAILABLE and not c.leaving
                         and job.runs_on(c)))
    if cards == job.told_cards:
        return
    before, job.told_cards = job.told_cards, cards
    scheduler.cluster.out.append(JobCards(job.request, cards))
    by_key = scheduler.cluster.sessions.by_key
    for key in sorted(set(before) - set(cards)):
        why = job.away[key] = _why_gone(job, by_key.get(key))
        job.note_of("card_left", key, why, lost=why in LOST)
    for key in cards:
        was = job.away.pop(key, None)
        if was is not None:
            job.note_of("card_back", key, "is back from another job" if was == AWAY else "is back")


def _why_gone(job: Job, card: Card | None) -> str:
    if card is None or not card.usable:
        return "is lost"
    if card.state != st.AVAILABLE:
        return "is silent"
    if card.draining:
        return "is being drained"
    if card.leaving or card.image_digest != job.digest:
        return AWAY
    share = job.shares.get(card.key)
    if share is not None and (share.excluded or share.waits):
        return "is left out"
    return "is not needed" if not job.limit.allows(card) else "has not its data"


__all__ = ["AWAY", "Limit", "limit_of", "settle", "tell"]
