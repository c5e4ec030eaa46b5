"""A job's units on their way out: a thread of the job pulls its generator, lays units out and sends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from safhost.arena import Arenas
from safhost.calls import Calls
from safhost.core.ranges import Ranges
from safhost.errors import ConfigError, JobError, SafError
from safhost.joblink import JobLink
from safhost.joborder import Order
from safhost.landing import Landing, fill_inputs
from safhost.outstanding import Flight, Outstanding
from safhost.results import Results
from safhost.runtime.messages import SharedMemory
from safhost.unitplan import Out, Planner, Unit


class JobFeed:
    """What a job has, and its half that sends; `safhost.jobflow` is the other one. ``_cond`` guards the state,
    ``_room_made`` and ``_ended`` wait on its lock; ``_sending`` keeps messages in order and is taken before it."""

    def __init__(self, make_link: Callable[[Any], JobLink], order: Order, units: Iterable[Any], out: Any,
                 arenas: Arenas, landing: Landing | None) -> None:
        self.id = ""
        self.failures: list[tuple[int, str, SafError]] = []
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
        self._planner = Planner(order.kernel, order.resident)
        self._outstanding = Outstanding(order, arenas)
        self._results = Results(out is not None)
        self._total = order.total
        self._cond = threading.Lock()
        self._room_made = threading.Condition(self._cond)
        self._ended = threading.Condition(self._cond)
        self._sending = threading.RLock()
        self._skip = Ranges()
        self._news = 0
        self._connected = False
        self._told: set[int] = set()  # layouts
        self._fed = False
        self._end_sent = False
        self._feeding = True
        self._tidied = False
        self._ending = False  # the service answered for the job: what it says of our messages is no news any more
        self._over = False
        self._own_error: SafError | None = None
        self._error: JobError | None = None
        self._link = make_link(self)

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
            fill_inputs(self._outstanding.inputs(layout, offset), arrays)
        except Exception as err:  # whatever a Fill raises
            with self._cond:
                self._outstanding.give_back(layout, offset)
            raise _UnitWrong(index, err if isinstance(err, SafError) else _not_made(err)) from err
        with self._cond:
            if self._over:
                return False
            self._outstanding.add(index, Flight(layout, offset, arguments, unit.card, places, unit.tag))
            go = self._outstanding.should_send()
        if go:
            self._flush()
        return True

    def _room(self, span: int) -> int | None:
        """A place in the arena, once there is one; None when the job is over."""
        while True:
            with self._cond:
                if self._over:
                    return None
                seen = self._news
                offset = self._outstanding.room(span, self._results.behind)
                if offset is not None:
                    return offset
                go = self._outstanding.should_send()  # else the thread that lands results sends it, once it is worth it
            if go:
                self._flush()
            with self._cond:
                while self._news == seen and not self._over:
                    self._room_made.wait(1.0)

    def _flush(self) -> None:
        """Send what lies in the arena and was not sent."""
        with self._sending:
            with self._cond:
                if not self._connected or self._over:
                    return
                calls = self._link.calls  # not the next one, over which all of this is sent again
                flights, memory = self._outstanding.batch()
            if flights:
                self._send(flights, memory, calls)
            with self._cond:
                more = self._outstanding.has_unsent
                ending = self._fed and not more and not self._end_sent
                self._end_sent = self._end_sent or ending
            if ending:
                self._link.start("job_end", {"job": self.id}, None, calls)
        if more and flights:
            self._flush()

    def _send(self, flights: list[tuple[int, Flight]], memory: SharedMemory | None, calls: Calls | None) -> None:
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

    def _lost(self, index: int, tag: Any) -> None:
        """The job was over before this unit was begun."""
        if self._landing is not None:
            self._landing.lost(self, index, tag, self._error)

    # -- what a job adds -------------------------------------------------------------------------------------

    def on_end(self, result: dict[str, Any], error: SafError | None) -> None:
        """The job is over."""
        raise NotImplementedError

    def _tidy(self) -> None:
        """When neither thread needs it any more, the arena goes."""
        with self._cond:
            if self._over and not self._feeding and not self._tidied:
                self._tidied = True
                self._close(self._error is None)

    def _close(self, good: bool) -> None:
        """Give its memory back; ``good``: the job went well."""
        self._outstanding.close(good)
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


__all__ = ["JobFeed"]
