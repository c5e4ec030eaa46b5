"""Units on their way out and back: what keeps a job's window full and its results in place.

A thread of the job pulls its generator and fills the arena; whoever hands the cluster's answers over lands results. At
most a window of units is outstanding, so that memory stays bounded however many there are. When the daemon is restarted
what it had finished is taken from the arena, and the rest is sent anew.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from safhost.arena import Arenas
from safhost.calls import Calls
from safhost.core.ranges import Ranges
from safhost.errors import ConfigError, JobError, SafError, error_from_dict
from safhost.joblink import JobLink
from safhost.landing import Landing, fill_inputs
from safhost.plan.kernelspec import KernelSpec
from safhost.resident import ResidentData
from safhost.runtime.messages import SharedMemory
from safhost.unitplan import Layout, Out, Planner, Unit, UnitResult, Views

WINDOW_UNITS = 64
WINDOW_BYTES = 64 << 20  # touched over and over: every page of it costs both sides a fault at first
ROOM_PER_CARD = 8  # units that a card works on at once, at most
UNITS_PER_CARD = 16  # outstanding at least: twice the deepest pipeline the scheduler makes
LARGE_UNITS_PER_CARD = 3  # where the bytes bound it: one computes, one comes, one goes
LARGE_WINDOW_BYTES = 1 << 30
BATCH_UNITS = 256
TAKEN_UNITS = 256
TAKEN_S = 0.2
HOLD_SHARE = 4  # units wait to be sent with others while the service has this many times as many
HOLD_BYTES = 256 << 10  # or until they are so large together
WAKE_BYTES = 1 << 20  # landed before the generator's thread hears of it; waking it costs more than a small unit
KEEP_LATE = 8192  # results that went to `out` and that nobody asked for yet
KEEP_FAILURES = 1000
Note = Callable[[dict[str, Any]], None]


class Order(NamedTuple):
    """What a job is, as it travels in the request that opens it; ``kernel`` is the kernel's description."""

    kernel: KernelSpec
    params: dict[str, Any]
    window: int | None
    phased: bool
    depth: int
    total: int | None
    resume: str | None
    ephemeral: bool = False
    resident: ResidentData | None = None
    compute_units: int = 1


class _Flight:
    """A unit that is outstanding."""

    __slots__ = ("arguments", "card", "layout", "offset", "places", "tag")

    def __init__(self, layout: Layout, offset: int, arguments: str | None, card: str | None,
                 places: list[Callable[[Any], None]] | None, tag: Any) -> None:
        self.layout = layout
        self.offset = offset
        self.arguments = arguments
        self.card = card
        self.places = places
        self.tag = tag


class JobFlow:
    """The moving parts of a job; `safhost.jobs.Job` is what users see. ``_cond`` guards the state, ``_room_made`` and
    ``_ended`` wait on its lock; ``_sending`` keeps messages in order and is taken before it."""

    def __init__(self, make_link: Callable[[Any], JobLink], order: Order, units: Iterable[Any], out: Any,
                 image: Callable[[], SharedMemory | None], on_note: Note | None, arenas: Arenas,
                 landing: Landing | None = None, on_cards: Callable[[list[str]], None] | None = None) -> None:
        self.id = ""
        self.stats: dict[str, Any] = {}
        self.failures: list[tuple[int, str, SafError]] = []
        self.notes: deque[dict[str, Any]] = deque(maxlen=100)
        self._order = order
        self._units = units
        self._out = Out(out, order.kernel) if out is not None else None
        if order.resume is not None and out is None:
            raise ConfigError(f"job {order.resume} cannot be resumed without out=",
                              "its earlier results are where they were put; give the same array or file")
        if landing is not None and out is not None:
            raise ConfigError("results go to out= or to land=, not to both", "leave one of them out")
        if order.resume is not None and order.ephemeral:
            raise ConfigError("an ephemeral job cannot be resumed", "nothing of it is recorded; leave resume= out")
        self._landing = landing
        self._image = image
        self._on_note = on_note
        self._on_cards = on_cards
        self._cards_now: list[str] = []
        self._planner = Planner(order.kernel, order.resident)
        self._views = Views()
        self._arenas = arenas
        self._arena = arenas.take(WINDOW_BYTES if not order.phased and order.window is None else 1 << 62)
        self._window = order.window or (1 << 62 if order.phased else WINDOW_UNITS)
        self._cards = 1
        self._prompt_units = 0  # of an ephemeral job: with fewer than this outstanding none waits for others to go with
        self._working: set[str] = set()
        self._total = order.total
        self._cond = threading.Lock()
        self._room_made = threading.Condition(self._cond)
        self._ended = threading.Condition(self._cond)
        self._sending = threading.RLock()
        self._flights: dict[int, _Flight] = {}
        self._unsent: list[int] = []
        self._skip = Ranges()
        self._news = 0
        self._connected = False
        self._told: set[int] = set()  # layouts
        self._told_bytes = 0  # of the arena
        self._fed = False
        self._end_sent = False
        self._feeding = True
        self._tidied = False
        self._ending = False  # the service answered for the job: what it says of our messages is no news any more
        self._over = False
        self._cancelled = False
        self._own_error: SafError | None = None
        self._error: JobError | None = None
        self._done = 0
        self._failed = 0
        self._results: dict[int, UnitResult] = {}
        self._late: deque[UnitResult] = deque()
        self._late_lost = 0
        self._listener: Listener | None = None
        self._taken: list[int] = []
        self._taken_at = 0.0
        self._link = make_link(self)

    # -- out: the generator's thread -----------------------------------------------------------------------

    def _feed(self) -> None:
        index = -1
        try:
            for index, item in enumerate(self._units):
                if index in self._skip:
                    continue
                if not self._take(index, item if type(item) is Unit else _unit(item)):
                    break
                del item  # the generator may block for hours
            else:
                self._total = index + 1
            self._fed = True
            self._flush()
        except _UnitWrong as wrong:
            self._fail(f"unit {wrong.index}: {wrong.error.message}", wrong.error.hint, wrong.error,
                       (wrong.index, "", wrong.error))
        except BaseException as err:  # whatever a generator raises is the job's end, and not only this thread's
            self._fail(f"the generator of units raised {type(err).__name__} after {index + 1} units: {err}",
                       "units before it may be finished; see .done", err)
        finally:
            close = getattr(self._units, "close", None)
            if close is not None:
                with suppress(Exception):
                    close()
            self._units = ()
            with self._cond:
                self._feeding = False
            self._tidy()

    def _take(self, index: int, unit: Unit) -> bool:
        """One unit of the generator's; False when the job is over."""
        try:
            if self._put(index, unit):
                return True
        except _UnitWrong as wrong:
            if self._landing is None:
                raise
            self._landing.failed(self, index, unit.tag, wrong.error)
            return True
        self._lost(index, unit.tag)
        return False

    def _put(self, index: int, unit: Unit) -> bool:
        """Lay one unit into the arena; False when the job is over."""
        try:
            layout, arrays, arguments = self._planner.plan(unit)
            places = self._out.places(index, unit.into, layout) if self._out is not None else None
        except SafError as err:
            raise _UnitWrong(index, err) from err
        offset = self._room(layout.span)
        if offset is None:
            return False
        try:
            fill_inputs(self._views.of(layout, self._arena.memory.array, offset)[0], arrays)
        except Exception as err:  # whatever a Fill raises
            with self._cond:
                self._arena.give_back(offset, layout.span)
            raise _UnitWrong(index, err if isinstance(err, SafError) else _not_made(err)) from err
        with self._cond:
            if self._over:
                return False
            self._flights[index] = _Flight(layout, offset, arguments, unit.card, places, unit.tag)
            self._unsent.append(index)
            go = self._should_send()
        if go:
            self._flush()
        return True

    def _should_send(self) -> bool:
        """With the lock: whether what was laid out goes now, or waits for more to go with it."""
        waiting = len(self._unsent)
        if not waiting:
            return False
        sent = len(self._flights) - waiting
        if sent < self._prompt_units:
            return True  # a card may have room for it now
        return waiting >= BATCH_UNITS or HOLD_SHARE * waiting >= sent or \
            waiting * self._flights[self._unsent[-1]].layout.span >= HOLD_BYTES

    def _room(self, span: int) -> int | None:
        """A place in the arena, once there is one; None when the job is over."""
        while True:
            with self._cond:
                if self._over:
                    return None
                seen = self._news
                listener = self._listener
                behind = listener.count if listener is not None and self._out is None else 0
                if len(self._flights) + behind < self._window:
                    offset = self._arena.take(span)
                    if offset is None:
                        offset = self._stretch(span)
                    if offset is not None:
                        return offset
                go = self._should_send()  # else the thread that lands results sends it, as soon as it is worth it
            if go:
                self._flush()
            with self._cond:
                while self._news == seen and not self._over:
                    self._room_made.wait(1.0)

    def _stretch(self, span: int) -> int | None:
        """With the lock: a place, also beyond the usual bound when units are so large that cards would idle."""
        need = max(2 * span, min(LARGE_UNITS_PER_CARD * self._cards * span, LARGE_WINDOW_BYTES))
        self._arena.limit_bytes = max(self._arena.limit_bytes, need)
        return self._arena.take(span)

    def _flush(self) -> None:
        """Send what lies in the arena and was not sent."""
        with self._sending:
            with self._cond:
                if not self._connected or self._over:
                    return
                calls = self._link.calls  # not the next one, over which all of this is sent again
                batch, self._unsent = self._unsent[:BATCH_UNITS], self._unsent[BATCH_UNITS:]
                flights = [(i, self._flights[i]) for i in batch]
                memory = None
                if batch and self._arena.length != self._told_bytes:
                    memory = self._arena.memory.part(self._arena.length)
                    self._told_bytes = memory.length
            if batch:
                self._send(flights, memory, calls)
            with self._cond:
                more = bool(self._unsent)
                ending = self._fed and not more and not self._end_sent
                self._end_sent = self._end_sent or ending
            if ending:
                self._link.start("job_end", {"job": self.id}, None, calls)
        if more and batch:
            self._flush()

    def _send(self, flights: list[tuple[int, _Flight]], memory: SharedMemory | None, calls: Calls | None) -> None:
        layouts = {f.layout.number: f.layout.message for _, f in flights if f.layout.number not in self._told}
        self._told.update(layouts)
        params: dict[str, Any] = {"job": self.id, "units": [
            [i, f.layout.number, f.offset, f.arguments, f.card] for i, f in flights]}
        if layouts:
            params["layouts"] = {str(n): m for n, m in layouts.items()}
        try:
            self._link.start("job_units", params, memory, calls)
        finally:
            if memory is not None:
                memory.close()

    def _refused(self, error: SafError) -> None:
        """The service did not take what we sent."""
        self._fail(error.message, error.hint, error)

    def _fail(self, message: str, hint: str, cause: BaseException,
              failure: tuple[int, str, SafError] | None = None) -> None:
        """Something of ours went wrong: the job ends."""
        mine = SafError(message, hint)
        mine.__cause__ = cause
        with self._cond:
            if self._over or self._ending or self._own_error is not None:
                return
            self._own_error = mine
            if failure is not None:
                self.failures.append(failure)
        if not self._link.start("job_cancel", {"job": self.id, "because": message}):
            self.on_end({}, mine)

    # -- in: the thread that hands answers over ------------------------------------------------------------

    def opening(self) -> tuple[dict[str, Any], tuple[SharedMemory, ...]]:
        """See JobLink."""
        with self._cond:
            arena = self._arena.memory.part(self._arena.length)
            self._told_bytes = arena.length
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
                found = [i for i in self._flights if i in done]
                self._unsent = sorted(i for i in self._flights if i not in done)
            self.id = event["job"]
            self._widen(max(1, event.get("cards", 1)))
            self._told.clear()
            self._end_sent = False
            self._connected = True
            self._ended.notify_all()
        if found:
            self._land([[i, "", 0, 0, 0, 0, 0, 0, 0] for i in found])
        self._flush()

    def _card_works(self, card: str) -> None:
        """One more may have come after the job began: it must not idle for want of units."""
        with self._cond:
            self._working.add(card)
            if len(self._working) > self._cards:
                self._widen(len(self._working))
                self._news += 1
                self._room_made.notify()

    def _widen(self, cards: int) -> None:
        """With the lock: as much outstanding as ``cards`` cards need."""
        self._cards = cards
        if self._order.ephemeral:
            self._prompt_units = (self._order.depth or ROOM_PER_CARD) * self._order.compute_units * cards
        if self._order.window is None and not self._order.phased:
            self._window = max(WINDOW_UNITS, max(UNITS_PER_CARD, self._order.depth + 1)
                               * self._order.compute_units * cards)

    def _land(self, lines: list[list[Any]]) -> None:
        out, listener = self._out, self._listener
        landed_bytes = 0
        for line in lines:
            index = line[0]
            with self._cond:
                flight = self._flights.pop(index, None)
            if flight is None:
                continue
            values = self._views.of(flight.layout, self._arena.memory.array, flight.offset)[1]
            result = None
            if self._landing is not None:
                self._landing.land(self._result(flight, line, None), values)
            elif flight.places is not None:
                for place, value in zip(flight.places, values, strict=True):
                    place(value)
                if not self._order.ephemeral:
                    self._taken.append(index)
                if listener is not None or len(self._late) < KEEP_LATE:
                    result = self._result(flight, line, None)
            else:
                copies = [v.copy() for v in values]
                result = self._result(flight, line, copies[0] if len(copies) == 1 else tuple(copies))
            with self._cond:
                self._arena.give_back(flight.offset, flight.layout.span)
                self._done += 1
                self._news += 1
                landed_bytes += flight.layout.span
                if landed_bytes >= WAKE_BYTES:
                    landed_bytes = 0
                    self._room_made.notify()
                listener = self._listener
                if self._landing is not None:
                    continue
                if listener is not None:
                    if result is not None:
                        listener.put(result)
                elif out is None:
                    assert result is not None
                    self._results[index] = result
                elif result is not None:
                    self._late.append(result)
                else:
                    self._late_lost += 1
        if self._taken and (len(self._taken) >= TAKEN_UNITS or time.monotonic() - self._taken_at > TAKEN_S):
            self._link.start("job_taken", self._taken_now())
        with self._cond:
            self._room_made.notify()
            go = self._should_send()
        if go:
            self._flush()

    def _result(self, flight: _Flight, line: list[Any], value: Any) -> UnitResult:
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
                flight = self._flights.pop(index, None)
            if flight is None:
                continue
            if self._landing is not None:
                self._landing.failed(self, index, flight.tag, error, card)
            result = UnitResult(self, index, None, error, card, tag=flight.tag)
            with self._cond:
                self._arena.give_back(flight.offset, flight.layout.span)
                self._failed += 1
                if len(self.failures) < KEEP_FAILURES:
                    self.failures.append((index, card, error))
                if self._listener is not None:
                    self._listener.put(result)
                elif self._landing is None and self._out is None:
                    self._results[index] = result
                elif self._landing is None and len(self._late) < KEEP_LATE:
                    self._late.append(result)
                self._news += 1
                self._room_made.notify()
        with self._cond:
            go = self._should_send()
        if go:
            self._flush()

    def _lost(self, index: int, tag: Any) -> None:
        """The job was over before this unit was begun."""
        if self._landing is not None:
            self._landing.lost(self, index, tag, self._error)

    def _lose_flights(self) -> None:
        """The job is over: who waits for units that were under way hears it now, however long the generator blocks."""
        if self._landing is None:
            return
        with self._cond:
            lost = [(i, f.tag) for i, f in self._flights.items()]
            self._flights.clear()
        for index, tag in lost:
            self._lost(index, tag)

    # -- what a job adds -------------------------------------------------------------------------------------

    def on_end(self, result: dict[str, Any], error: SafError | None) -> None:
        """The job is over."""
        raise NotImplementedError

    def _tidy(self) -> None:
        """When neither thread needs it any more, the arena goes."""
        with self._cond:
            if self._over and not self._feeding and not self._tidied:
                self._tidied = True
                self._arenas.give_back(self._arena, self._error is None)
                self._views.clear()
                self._flights.clear()
                if self._order.resident is not None:
                    self._order.resident.close()


def _not_made(err: Exception) -> SafError:
    wrong = ConfigError(f"its input could not be made: {type(err).__name__}: {err}")
    wrong.__cause__ = err
    return wrong


class _UnitWrong(Exception):  # says which, on its way to the job's end
    def __init__(self, index: int, error: SafError) -> None:
        super().__init__(index)
        self.index = index
        self.error = error


def _unit(item: Any) -> Unit:
    return Unit(*item) if type(item) is tuple else Unit(item)


class Listener:
    """Results of one job on their way to as_completed()."""

    def __init__(self, shared: threading.Condition) -> None:
        self._shared = shared
        self.queue: deque[UnitResult] = deque()
        self.ended = False

    @property
    def count(self) -> int:
        return len(self.queue)

    def put(self, result: UnitResult) -> None:
        with self._shared:
            self.queue.append(result)
            self._shared.notify_all()

    def end(self) -> None:
        with self._shared:
            self.ended = True
            self._shared.notify_all()


__all__ = ["JobFlow", "Listener", "Note", "Order"]
