"""Data that all units of a job use, once on each card: who has it and where, how it gets there, when it goes.

Cards that want it within a moment of each other get it by one broadcast, piece after piece, behind the units of other
jobs; each piece is verified by its digest. It stays where it is when the card is programmed with another image, because
only another owner or boot clears a card's DDR, and goes when the job ends, or when units of others need the room. It
lies at the end of DDR, so that units keep theirs in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core import card as st
from safhost.core import member as m_
from safhost.core.bulk import Transfer
from safhost.core.card import Card
from safhost.core.cardsets import settle
from safhost.core.commands import slowest_time_ns
from safhost.core.events import JobResident
from safhost.core.member import Member
from safhost.errors import CardError, CardLost, SafError, SchedulingError
from safhost.units import format_bytes
from safhost.wire.generated import TransferKind

if TYPE_CHECKING:
    from safhost.core.jobs import Job
    from safhost.core.scheduler import Scheduler

GATHER_NS = 30_000_000  # cards that are programmed together get it together
AGAIN_NS = 100_000_000  # until a card that could not take it now is looked at again
PAUSES_NS = (500_000_000, 2_000_000_000)  # before a card that failed gets it again
DEADLINE_NS = 300_000_000_000
WAITING, LOADING, READY, NO_ROOM, TOO_LARGE, FAILED = "waiting", "loading", "ready", "no room", "too large", "failed"


class Place:
    """A job's data on one card. ``base``: its address from LOADING on; ``due_ns``: when it is to be begun."""

    __slots__ = ("base", "began_ns", "card", "due_ns", "noted", "state", "tries")

    def __init__(self, card: Card, now_ns: int, due_ns: int) -> None:
        self.card = card
        self.state = WAITING
        self.base = -1
        self.began_ns = now_ns
        self.due_ns = due_ns
        self.tries = 0
        self.noted = False


class Resident:
    """What one job has on its cards: ``places`` by their keys."""

    def __init__(self, data: JobResident) -> None:
        self.data = data
        self.length = len(data.payload)
        self.places: dict[str, Place] = {}

    def ready(self, card: Card) -> bool:
        place = self.places.get(card.key)
        return place is not None and place.state == READY

    def hopeless(self, card: Card) -> bool:
        """Whether the card will not have it as things stand."""
        place = self.places.get(card.key)
        return place is not None and place.state in (NO_ROOM, TOO_LARGE, FAILED)

    def base(self, card: Card) -> int:
        return self.places[card.key].base


class Load:
    """One broadcast of it to the cards of a link that want it now."""

    def __init__(self, residents: Residents, job: Job, resident: Resident, link: str, places: list[Place]) -> None:
        self.residents = residents
        self.cluster = residents.cluster
        self.job = job
        self.resident = resident
        self.link = link
        self.places = places
        self.frames = 0
        self._at = 0
        self._transfer: Transfer | None = None

    def next(self, now_ns: int) -> None:
        """The next piece, to all that have those before it."""
        self.places = [p for p in self.places if p.state == LOADING and self.resident.places.get(p.card.key) is p]
        data = self.resident.data
        if not self.places or self._at == len(data.pieces):
            self.residents.loaded(self, now_ns)
            return
        offset, length, leaves, root = data.pieces[self._at]
        self._at += 1
        cards = [p.card for p in self.places]
        self._transfer = Transfer(
            self.cluster, self.link, TransferKind.DDR, data.payload[offset:offset + length], leaves, root,
            [(p.card, 0, p.base + offset) for p in self.places], self, now_ns,
            now_ns + DEADLINE_NS + slowest_time_ns(length, cards), background=True)
        self.cluster.start_ddr_transfer(self._transfer, now_ns)

    # transfer owner
    def on_transfer_progress(self, transfer: Transfer, now_ns: int) -> None:
        """What matters of it is told when a card has it."""

    def on_member_ended(self, transfer: Transfer, member: Member, now_ns: int) -> None:
        if member.state == m_.VERIFIED:
            return
        for place in [p for p in self.places if p.card is member.card]:
            self.places.remove(place)
            self.residents.failed(self.job, place, member.error or CardError("was not written", "", member.card.key),
                                  now_ns)

    def on_transfer_ended(self, transfer: Transfer, now_ns: int) -> None:
        self.frames += transfer.frames_sent
        self.next(now_ns)

    def drop(self, card: Card | None, now_ns: int) -> None:
        """Nobody wants it on the card (on all) any more."""
        gone = SchedulingError("is not wanted any more", "")
        self.places = [p for p in self.places if card is not None and p.card is not card]
        if self._transfer is not None:
            if card is None:
                self._transfer.cancel(gone, now_ns)
            else:
                self._transfer.drop(card, gone, now_ns)


class Residents:
    """All jobs' data on all cards."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.cluster = scheduler.cluster
        self.due_ns: int | None = None
        self.loads: list[Load] = []
        self.jobs: dict[Job, Resident] = {}
        self._leaving: list[tuple[Job, Card, int]] = []  # of jobs that ended, while a kernel of theirs may run

    def add(self, job: Job) -> None:
        if job.resident is not None:
            self.jobs[job] = job.resident

    # -- who wants it ----------------------------------------------------------------------------------------

    def look(self, now_ns: int) -> None:
        """Cards came, or run another image: those that run a job's image are to have its data."""
        for job, resident in self.jobs.items():
            for card in self.cluster.sessions.by_mac.values():
                if card.image_digest == job.digest and card.state == st.AVAILABLE and not card.leaving \
                        and not card.draining and job.may_use(card) and card.key not in resident.places:
                    due_ns = now_ns + GATHER_NS if self.scheduler.stager.going_to(job.digest) else now_ns
                    resident.places[card.key] = Place(card, now_ns, due_ns)
                    job.limit.take(card)
                    self._wake(due_ns)

    def _wake(self, at_ns: int) -> None:
        if self.due_ns is None or at_ns < self.due_ns:
            self.cluster.timers.set(self, at_ns)

    def on_timer(self, now_ns: int) -> None:
        for job, resident in list(self.jobs.items()):
            waiting = [p for p in resident.places.values() if p.state in (WAITING, NO_ROOM)]
            if any(p.due_ns <= now_ns for p in waiting):
                self._begin(job, resident, [p for p in waiting if p.due_ns <= now_ns or not p.tries], now_ns)
        due = [p.due_ns for r in self.jobs.values() for p in r.places.values() if p.state in (WAITING, NO_ROOM)]
        if due:
            self._wake(max(min(due), now_ns + 1))

    def _begin(self, job: Job, resident: Resident, places: list[Place], now_ns: int) -> None:
        by_link: dict[str, list[Place]] = {}
        for place in places:
            card = place.card
            if card.image_digest != job.digest or not card.usable:
                del resident.places[card.key]
            elif not self.scheduler.takes_units(card):
                place.due_ns = now_ns + AGAIN_NS
            elif self._has_room(job, resident, place, now_ns):
                place.state, place.began_ns = LOADING, now_ns
                by_link.setdefault(card.link, []).append(place)
        for link, some in by_link.items():
            load = Load(self, job, resident, link, some)
            self.loads.append(load)
            load.next(now_ns)

    # -- room ------------------------------------------------------------------------------------------------

    def _has_room(self, job: Job, resident: Resident, place: Place, now_ns: int) -> bool:
        card, size = place.card, format_bytes(resident.length)
        try:
            base = card.ddr.allocate(resident.length, top=True)
            while base is None and self.evict(card):
                base = card.ddr.allocate(resident.length, top=True)
        except SchedulingError:
            place.state = TOO_LARGE
            self._say(job, place, f"{size} of resident data do not fit its {format_bytes(card.ddr.size_bytes)} of DDR")
            self._end_if_hopeless(job, card)
            return False
        if base is None:
            place.state, place.due_ns = NO_ROOM, now_ns + AGAIN_NS
            self._say(job, place, f"has no room for {size} of resident data beside that of other jobs")
            return False
        place.base = base
        return True

    def _say(self, job: Job, place: Place, text: str) -> None:
        self.scheduler.cards_moved()
        if not place.noted:
            place.noted = True
            job.note("resident", place.card, text)

    def _end_if_hopeless(self, job: Job, card: Card) -> None:
        """No card that there is can ever hold it."""
        settle(self.scheduler)
        if not self.scheduler.candidates(job) and not self.scheduler.stager.going_to(job.digest) and not job.failing:
            size = format_bytes(job.resident.length if job.resident is not None else 0)
            job.failing = SchedulingError(
                f"{size} of resident data do not fit the {format_bytes(card.ddr.size_bytes)} of DDR of card {card.key}",
                "use smaller weights, or cards with more memory")

    def starved(self, card: Card, now_ns: int) -> bool:
        """Whether it is to begin no units, because data waits for the room that they take. Once it has none, there is
        nothing to wait for."""
        for job, resident in self.jobs.items():
            place = resident.places.get(card.key)
            if place is None or place.state != NO_ROOM or job.digest != card.image_digest:
                continue
            if card.units:
                return True
            self._begin(job, resident, [place], now_ns)
        return False

    def evict(self, card: Card) -> bool:
        """Give back the room of a job whose image the card does not run; False when there is none."""
        for job, resident in self.jobs.items():
            place = resident.places.get(card.key)
            if place is not None and place.state == READY and job.digest != card.image_digest \
                    and not any(a.unit.job is job for a in card.units):
                del resident.places[card.key]
                card.ddr.release(place.base)
                return True
        return False

    def held_bytes(self, card: Card) -> int:
        """Of its DDR, for jobs that live."""
        return sum(r.length for r in self.jobs.values()
                   if (place := r.places.get(card.key)) is not None and place.base >= 0)

    # -- how it went -----------------------------------------------------------------------------------------

    def loaded(self, load: Load, now_ns: int) -> None:
        """All pieces are there, on the cards that are left."""
        if load in self.loads:
            self.loads.remove(load)
        for place in load.places:
            place.state, place.tries = READY, 0
            seconds = round((now_ns - place.began_ns) / 1e9, 6)
            load.job.note("resident", place.card, f"has {format_bytes(load.resident.length)} of resident data",
                          seconds=seconds, bytes=load.resident.length, frames=load.frames, cards=len(load.places))
            self.scheduler.touch(place.card)
        load.places = []
        self.scheduler.cards_moved()

    def failed(self, job: Job, place: Place, error: SafError, now_ns: int) -> None:
        resident = job.resident
        if resident is None or resident.places.get(place.card.key) is not place:
            return
        place.card.ddr.release(place.base)
        place.base = -1
        if isinstance(error, CardLost):
            del resident.places[place.card.key]
            return
        place.tries += 1
        if place.tries > len(PAUSES_NS):
            place.state = FAILED
            job.note("card_excluded", place.card, f"resident data could not be written: {error.message}")
            self.scheduler.cards_moved()
            return
        place.state, place.due_ns = WAITING, now_ns + PAUSES_NS[place.tries - 1]
        job.note("card_failed", place.card, error.message, tries=place.tries)
        self._wake(place.due_ns)

    # -- ends ------------------------------------------------------------------------------------------------

    def remove(self, job: Job, now_ns: int) -> None:
        """The job ended. What a kernel of it may still read stays until that is known to have ended."""
        resident = self.jobs.pop(job, None)
        if resident is None:
            return
        places, resident.places = list(resident.places.values()), {}
        for load in [x for x in self.loads if x.job is job]:
            load.drop(None, now_ns)
        self._leaving += [(job, p.card, p.base) for p in places if p.base >= 0]
        self.tidy()

    def tidy(self) -> None:
        """Give back room of jobs that ended."""
        if not self._leaving:
            return
        left = []
        for job, card, base in self._leaving:
            if any(a.unit.job is job for a in card.units):
                left.append((job, card, base))
            else:
                card.ddr.release(base)
                self.scheduler.touch(card)
        self._leaving = left

    def card_lost(self, card: Card, now_ns: int) -> None:
        """Its DDR is nobody's any more."""
        self._leaving = [x for x in self._leaving if x[1] is not card]
        for resident in self.jobs.values():
            resident.places.pop(card.key, None)
        for load in list(self.loads):
            if any(p.card is card for p in load.places):
                load.drop(card, now_ns)

    def validate(self) -> None:
        for job, resident in self.jobs.items():
            for key, place in resident.places.items():
                assert place.card.key == key
                assert (place.base >= 0) == (place.state in (LOADING, READY)), f"{key}: {place.state} at {place.base}"
                assert place.state != LOADING or any(place in x.places for x in self.loads if x.job is job), \
                    f"{key}: nobody loads it"
                assert place.state not in (WAITING, NO_ROOM) or self.due_ns is not None, f"{key}: waits for nothing"


__all__ = ["Load", "Place", "Resident", "Residents"]
