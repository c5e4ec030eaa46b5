"""A job: units that come and end, who has which, and what becomes of those that fail.

A unit goes through waiting → attempt on a card → ended, and back to waiting when a card was lost or failed it. Nothing
is kept of a unit that has ended but numbers. The scheduler decides which card takes a unit of which job. Units that
wait are in `unitqueue`, the steps of a phased job in `phases`.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING, Any

from safhost.core.actions import JobNoted, RequestEnded, UnitEnded
from safhost.core.card import Card
from safhost.core.cardsets import Limit
from safhost.core.events import JobUnit, StartJob
from safhost.core.jobfaults import blame, fault_of_unit
from safhost.core.jobreport import summary
from safhost.core.jobshare import Share
from safhost.core.phases import Phases
from safhost.core.resident import Resident
from safhost.core.unitqueue import UnitQueue
from safhost.core.units import Attempt, Unit
from safhost.errors import SafError, SchedulingError

if TYPE_CHECKING:
    from safhost.core.cluster import Cluster

PRESSED_NS = 10_000_000_000  # that a job's pressure grows to at most,
EASE_TIMES = 4  # and how much faster it goes while no unit waits
TIMES_KEPT = 65  # of the latest units, for their median


class Job:
    """One job of a user, a request of the cluster. ``service_ns``: time it had of cards, by its weight."""

    implicit = False

    def __init__(self, cluster: Cluster, event: StartJob, now_ns: int) -> None:
        self.cluster = cluster
        self.request = event.request
        self.digest = event.digest
        self.kernel = event.kernel
        self.priority = event.priority
        self.weight = event.weight
        self.only = frozenset(event.cards)
        self.image = event.image
        self.unit_deadline_ms = event.unit_deadline_ms
        self.retries = event.retries
        self.keep_going = event.keep_going
        self.speculate = event.speculate
        self.phased = event.phased
        self.repeat = event.repeat
        self.fixed_depth = event.depth
        self.compute_units = event.compute_units
        self.banks = event.banks
        self.patience_ns = event.patience_ns
        self.min_cards = event.min_cards
        self.name = event.name
        self.limit = Limit(event.max_cards)
        self.lasting = event.lasting
        self.resident = Resident(event.resident) if event.resident is not None else None
        self.active_ns = now_ns  # when a unit came or ended last
        self.pressed_ns = 0  # for how long units have been waiting, less what it was without any
        self._looked_ns = now_ns
        self.failing: SafError | None = None  # what it ends with, once nobody is in the midst of it
        self.told_cards: tuple[str, ...] = ()  # that can take its units, as was said last
        self.away: dict[str, str] = {}  # cards that could and cannot now, and why
        self.cards: list[Card] = []  # of a request: a job holds no card up, its units do
        self.started_ns = now_ns
        self.ended = False
        self.held = False
        self.all_came = False
        self.service_ns = 0.0
        self.queue = UnitQueue()
        self.running: dict[Unit, None] = {}  # oldest first
        self.done = self.failed = self.moved = self.speculated = self.reprogrammed = 0
        self.shares: dict[str, Share] = {}
        self.unit_ns: float | None = None  # of a card that a unit takes, averaged
        self.times_ns: deque[int] = deque(maxlen=TIMES_KEPT)
        self.phases = Phases(now_ns)
        self.alone_ns: int | None = None  # since when no card is left for it
        self.due_ns: int | None = None

    @property
    def waiting(self) -> int:
        """Units that wait for a card."""
        return self.queue.count

    # -- from the user -------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        self.cluster.scheduler.add(self, now_ns)

    def add(self, units: tuple[JobUnit, ...], now_ns: int) -> None:
        if self.ended or self.all_came:
            return
        self.active_ns = now_ns
        for event in units:
            self.queue.add(Unit(self, event, now_ns))
        self.cluster.scheduler.has_units(self, now_ns)

    def no_more(self, now_ns: int) -> None:
        """EndUnits."""
        self.all_came = True
        self.look(now_ns)

    def cancel(self, error: SafError, now_ns: int) -> None:
        self.end(error, now_ns)

    def press(self, now_ns: int) -> None:
        """Looked at now and then: for how long it could have used more cards than it has. While it has none, one may be
        all it needs."""
        passed_ns, self._looked_ns = now_ns - self._looked_ns, now_ns
        if not self.told_cards:
            self.pressed_ns = 0
            return
        self.pressed_ns = min(PRESSED_NS, self.pressed_ns + passed_ns) if self.waiting else \
            max(0, self.pressed_ns - EASE_TIMES * passed_ns)

    # -- cards ---------------------------------------------------------------------------------------------

    def may_use(self, card: Card) -> bool:
        """Whether the card may work for this job once it runs its image."""
        if self.only and card.key not in self.only:
            return False
        share = self.shares.get(card.key)
        return (share is None or not (share.excluded or share.waits)) and self.limit.allows(card)

    def may_come(self, key: str) -> bool:
        """Whether a unit for this card alone has something to wait for."""
        card = self.cluster.sessions.by_key.get(key)
        return card is not None and card.usable and not card.draining and self.may_use(card) and (
            card.image_digest == self.digest or (self.image is not None and not self.cluster.scheduler.stager.problem(
                card, self.digest, self.image)))

    def release_hopeless(self) -> bool:
        """Units for cards that will not come are for all; whether there were some."""
        keys = [key for key in self.queue.bound if not self.may_come(key)]
        for key in keys:
            self.queue.release(key)
        return bool(keys)

    def runs_on(self, card: Card) -> bool:
        """Whether the card, which runs its image, may get a unit."""
        return self.may_use(card) and (self.resident is None or self.resident.ready(card))

    def try_all_again(self) -> bool:
        """Cards that were left out get another chance, as there are no others; False when there are none."""
        again = False
        for share in self.shares.values():
            if share.excluded or share.waits:
                share.excluded, share.waits, share.fails, share.blamed, again = "", False, 0, 0, True
        return again

    def share(self, card: Card) -> Share:
        share = self.shares.get(card.key)
        if share is None:
            share = self.shares[card.key] = Share()
        return share

    def depth(self, card: Card) -> int:
        """Units at once on this card."""
        if self.phased:
            return 1 << 30  # as many as its DDR holds
        return (self.fixed_depth or self.share(card).pace.depth) * self.compute_units

    def note(self, kind: str, card: Card | None, text: str, **info: Any) -> None:
        self.cluster.out.append(JobNoted(self.request, kind, card.key if card else "", text, info))

    def note_of(self, kind: str, key: str, text: str, **info: Any) -> None:
        """As :meth:`note`, of a card that may be there no more."""
        self.cluster.out.append(JobNoted(self.request, kind, key, text, info))

    # -- attempts ------------------------------------------------------------------------------------------

    def begin(self, unit: Unit, card: Card, base: int, now_ns: int, extra: bool = False, copy: int = 0) -> None:
        """``base``: the unit's DDR address; ``copy``: of the kernel, that runs it."""
        unit.attempts += 1
        attempt = Attempt(unit, card, base, copy, extra)
        unit.live.append(attempt)
        self.limit.take(card)
        self.running[unit] = None
        attempt.start(now_ns)

    def attempts(self) -> list[Attempt]:
        """All that count."""
        return [a for unit in self.running for a in unit.live]

    def running_on(self, attempt: Attempt, now_ns: int) -> None:
        """The kernel of an attempt is asked for now."""
        share = self.share(attempt.card)
        if not share.working:
            share.working = True
            self._note_working(attempt.card, share, now_ns)

    def _note_working(self, card: Card, share: Share, now_ns: int) -> None:
        info = {"since_link_up_s": None if share.joined_ns is None else round((now_ns - share.joined_ns) / 1e9, 6),
                "stage_s": share.stage_s, "commit_s": share.commit_s}
        self.note("card_working", card, "runs its first unit", **info)

    def reads_aside(self, unit: Unit) -> bool:
        """Whether outputs lie on inputs in a unit's memory."""
        return False

    def attempt_done(self, attempt: Attempt, now_ns: int) -> None:
        unit, card = attempt.unit, attempt.card
        unit.ended = True
        unit.live.clear()
        del self.running[unit]
        self.done += 1
        self.active_ns = now_ns
        card.counters["units"] += 1
        share = self.share(card)
        share.units += 1
        share.fails = 0
        share.waits = False
        share.kernel_ns += attempt.kernel_ns
        share.speculative += attempt.extra
        e = unit.event
        wire_ns = self.cluster.scheduler.link_ns(card, sum(i[1] for i in e.inputs), sum(o[1] for o in e.outputs))
        write_ns, run_ns = attempt.run_ns - attempt.start_ns, attempt.read_ns - attempt.run_ns
        share.pace.note(write_ns, run_ns, attempt.kernel_ns, now_ns - attempt.read_ns, wire_ns * self.compute_units)
        self.times_ns.append(now_ns - attempt.start_ns)
        alone_ns = max(attempt.kernel_ns / self.compute_units, wire_ns)
        unit_ns = max(alone_ns, (now_ns - attempt.start_ns) / (1 + len(card.units)))  # Little's law
        self.unit_ns = unit_ns if self.unit_ns is None else self.unit_ns + (unit_ns - self.unit_ns) / 16
        self.cluster.scheduler.charge(self, alone_ns)
        self.tell_done(unit, attempt, UnitEnded(
            self.request, e.index, card.key, None, unit.attempts, attempt.kernel_ns, write_ns, run_ns,
            now_ns - attempt.read_ns, attempt.start_ns - unit.queued_ns, now_ns), now_ns)
        if unit.failed_on:
            blame(self, attempt)
        self.look(now_ns)

    def tell_done(self, unit: Unit, attempt: Attempt, ended: UnitEnded, now_ns: int) -> None:
        self.cluster.out.append(ended)

    def attempt_failed(self, attempt: Attempt, error: SafError, now_ns: int) -> None:
        """Again elsewhere when the card is to blame; for good when the unit is."""
        unit, card = attempt.unit, attempt.card
        if attempt not in unit.live:
            return
        unit.live.remove(attempt)
        why = self._fault_of_unit(attempt, error, now_ns)
        if unit.live and why is None:
            return
        if why is None:
            self.moved += 1
            self.note("unit_moved", card, f"unit {unit.event.index} goes elsewhere: {error.message}",
                      unit=unit.event.index)
            self.requeue(unit, now_ns)
        else:
            self.give_up(unit, card, why, now_ns)

    def _fault_of_unit(self, attempt: Attempt, error: SafError, now_ns: int) -> SafError | None:
        return fault_of_unit(self, attempt, error, now_ns)

    def requeue(self, unit: Unit, now_ns: int) -> None:
        self.running.pop(unit, None)
        unit.queued_ns = now_ns
        self.queue.add_again(unit)
        self.cluster.scheduler.has_units(self, now_ns)

    def move(self, attempt: Attempt, now_ns: int) -> None:
        """The attempt's card is silent: another one does it."""
        unit = attempt.unit
        unit.live.remove(attempt)
        attempt.abandon(now_ns)
        if not unit.live:
            self.moved += 1
            self.requeue(unit, now_ns)

    def orphaned(self, seconds: float, now_ns: int) -> None:
        """No card could take its units for so long."""
        error = SchedulingError(
            f"no card could work on it for {seconds:g} s: {self.waiting} units wait for one that runs image "
            f"{self.digest.hex()[:12]}", "look for the cards with `safhost cards`, then resume it")
        if not self.lasting:
            self.end(error, now_ns)
            return
        units = self.queue.clear()
        self.cluster.scheduler.turns.rest(self)
        for unit in units:
            self.give_up(unit, None, error, now_ns)

    def give_up(self, unit: Unit, card: Card | None, error: SafError, now_ns: int) -> None:
        """The unit failed for good."""
        unit.ended = True
        for attempt in list(unit.live):
            attempt.abandon(now_ns)
        unit.live.clear()
        self.running.pop(unit, None)
        self.failed += 1
        self.tell_failed(unit, card.key if card else "", error, now_ns)
        if not self.keep_going:
            self.end(error, now_ns)
        else:
            self.look(now_ns)

    def tell_failed(self, unit: Unit, key: str, error: SafError, now_ns: int) -> None:
        self.cluster.out.append(UnitEnded(self.request, unit.event.index, key, error, unit.attempts, 0, 0, 0, 0, 0,
                                          now_ns))

    # -- the end -------------------------------------------------------------------------------------------

    def look(self, now_ns: int) -> None:
        """Whether a step of all is over, or everything."""
        if self.ended:
            return
        if self.phased:
            self.phases.look(self, now_ns)
        if self.all_came and not self.waiting and not self.running:
            self.end(None, now_ns)

    def end(self, error: SafError | None, now_ns: int) -> None:
        """The job is over; what is under way is given up."""
        if self.ended:
            return
        self.ended = True
        self.queue.clear()
        for unit in list(self.running):
            unit.ended = True
            for attempt in list(unit.live):
                attempt.abandon(now_ns)
            unit.live.clear()
        left = len(self.running)
        self.running.clear()
        self.cluster.scheduler.remove(self, now_ns)
        if self.phased and error is None:
            self.phases.all_read(self, now_ns)
        if left:
            error = error or SchedulingError("ended with units under way", "")
        self.cluster.end_request(self, RequestEnded(self.request, summary(self, now_ns), error))

    def median_ns(self) -> float | None:
        """Of the latest units from the first byte of inputs to the last of outputs; None while there are few."""
        return statistics.median(self.times_ns) if len(self.times_ns) >= 3 else None


__all__ = ["Job"]
