"""A job's units on their way back, and what else its service tells: the thread that hands answers over lands results.

When the daemon is restarted what it had finished is taken from the arena, and the rest is sent anew.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from safhost.arena import Arenas
from safhost.core.ranges import Ranges
from safhost.errors import error_from_dict
from safhost.jobfeed import JobFeed
from safhost.joblink import JobLink
from safhost.joborder import Note, Order
from safhost.landing import Landing
from safhost.outstanding import Flight
from safhost.runtime.messages import SharedMemory
from safhost.unitplan import UnitResult

TAKEN_UNITS = 256
TAKEN_S = 0.2
WAKE_BYTES = 1 << 20  # landed before the generator's thread hears of it; waking it costs more than a small unit
KEEP_FAILURES = 1000


class JobFlow(JobFeed):
    """The moving parts of a job; `safhost.jobs.Job` is what users see."""

    def __init__(self, make_link: Callable[[Any], JobLink], order: Order, units: Iterable[Any], out: Any,
                 image: Callable[[], SharedMemory | None], on_note: Note | None, arenas: Arenas,
                 landing: Landing | None = None, on_cards: Callable[[list[str]], None] | None = None) -> None:
        super().__init__(make_link, order, units, out, arenas, landing)
        self.stats: dict[str, Any] = {}
        self.notes: deque[dict[str, Any]] = deque(maxlen=100)
        self._image = image
        self._on_note = on_note
        self._on_cards = on_cards
        self._cards_now: list[str] = []
        self._cancelled = False
        self._done = 0
        self._failed = 0
        self._taken: list[int] = []
        self._taken_at = 0.0

    def opening(self) -> tuple[dict[str, Any], tuple[SharedMemory, ...]]:
        """See JobLink."""
        with self._cond:
            arena = self._outstanding.memory()
        params = self._order.params | {"total": self._total}
        if self.id:
            params |= {"resume": self.id, "same_client": True}
        elif self._order.resume is not None:
            params["resume"] = self._order.resume
        image, memory = self._image(), [arena]
        if image is not None:
            memory.append(image)
        if self._order.resident is not None:
            params["resident_bytes"] = self._order.resident.length
            memory.append(self._order.resident.memory.part(self._order.resident.length))
        return params, tuple(memory)

    def on_event(self, event: dict[str, Any]) -> None:
        """What the service tells of the job."""
        try:
            if "units" in event:
                self._land(event["units"])
            elif "refused" in event:
                self._refused(error_from_dict(event["refused"]))
            elif "failed" in event:
                self._failed_units(event["failed"])
            elif "note" in event:
                self.notes.append(event["note"])
                if event["note"].get("kind") == "card_working":
                    self._card_works(event["note"]["card"])
                if self._on_note is not None:
                    self._on_note(event["note"])
            elif "cards_now" in event:
                self._cards_are(event["cards_now"])
            elif "job" in event:
                self._accepted(event)
        except Exception as err:  # landing, or the user's callback
            self._fail(f"results cannot be taken: {type(err).__name__}: {err}", "", err)

    def on_lost(self) -> None:
        """See JobLink."""
        with self._cond:
            self._connected = False
        self._cards_are([])

    def _cards_are(self, names: list[str]) -> None:
        """These cards can take units of the job now."""
        if names != self._cards_now:
            self._cards_now = names
            if self._on_cards is not None:
                self._on_cards(list(names))

    def _accepted(self, event: dict[str, Any]) -> None:
        done = Ranges(tuple(pair) for pair in event["done"])
        with self._sending, self._cond:
            found = []
            if not self.id:
                self._skip = done
            else:  # the daemon was restarted: results of what it had finished lie in the arena
                found = self._outstanding.again(done)
            self.id = event["job"]
            self._outstanding.widen(max(1, event.get("cards", 1)))
            self._told.clear()
            self._end_sent = False
            self._connected = True
            self._ended.notify_all()
        if found:
            self._land([[i, "", 0, 0, 0, 0, 0, 0, 0] for i in found])
        self._flush()

    def _card_works(self, card: str) -> None:
        with self._cond:
            if self._outstanding.card_works(card):
                self._news += 1
                self._room_made.notify()

    def _land(self, lines: list[list[Any]]) -> None:
        results, outstanding = self._results, self._outstanding
        landed_bytes = 0
        for line in lines:
            index = line[0]
            with self._cond:
                flight = outstanding.flights.pop(index, None)
            if flight is None:
                continue
            values = outstanding.outputs(flight)
            result = None
            if self._landing is not None:
                self._landing.land(self._result(flight, line, None), values)
            elif flight.places is not None:
                for place, value in zip(flight.places, values, strict=True):
                    place(value)
                if not self._order.ephemeral:
                    self._taken.append(index)
                if results.wanted:
                    result = self._result(flight, line, None)
            else:
                copies = [v.copy() for v in values]
                result = self._result(flight, line, copies[0] if len(copies) == 1 else tuple(copies))
            with self._cond:
                outstanding.give_back(flight.layout, flight.offset)
                self._done += 1
                self._news += 1
                landed_bytes += flight.layout.span
                if landed_bytes >= WAKE_BYTES:
                    landed_bytes = 0
                    self._room_made.notify()
                if self._landing is None:
                    results.put(index, result)
        if self._taken and (len(self._taken) >= TAKEN_UNITS or time.monotonic() - self._taken_at > TAKEN_S):
            self._link.start("job_taken", self._taken_now())
        with self._cond:
            self._room_made.notify()
            go = self._outstanding.should_send()
        if go:
            self._flush()

    def _result(self, flight: Flight, line: list[Any], value: Any) -> UnitResult:
        result = UnitResult(self, line[0], value, None, *line[1:])
        result.tag = flight.tag
        return result

    def _taken_now(self) -> dict[str, Any]:
        """What landed since this was asked last, as it is told."""
        taken, self._taken = self._taken, []
        self._taken_at = time.monotonic()
        return {"job": self.id, "ranges": [list(p) for p in Ranges.of(taken).pairs()]}

    def _failed_units(self, items: list[list[Any]]) -> None:
        for index, card, data in items:
            error = error_from_dict(data)
            with self._cond:
                flight = self._outstanding.flights.pop(index, None)
            if flight is None:
                continue
            if self._landing is not None:
                self._landing.failed(self, index, flight.tag, error, card)
            with self._cond:
                self._outstanding.give_back(flight.layout, flight.offset)
                self._failed += 1
                if len(self.failures) < KEEP_FAILURES:
                    self.failures.append((index, card, error))
                if self._landing is None:
                    self._results.put(index, UnitResult(self, index, None, error, card, tag=flight.tag))
                self._news += 1
                self._room_made.notify()
        with self._cond:
            go = self._outstanding.should_send()
        if go:
            self._flush()

    def _lose_flights(self) -> None:
        """The job is over: who waits for units that were under way hears it now, however long the generator blocks."""
        if self._landing is None:
            return
        with self._cond:
            lost = [(i, f.tag) for i, f in self._outstanding.flights.items()]
            self._outstanding.flights.clear()
        for index, tag in lost:
            self._lost(index, tag)


__all__ = ["JobFlow"]
