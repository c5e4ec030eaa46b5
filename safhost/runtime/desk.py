"""Requests in, answers out: what every operation of the service shares.

A request becomes a Job; what the core says about it goes to the client that asked, in the names people use. A
client that goes away takes its jobs with it. Nothing a client sends ends this process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from itertools import count
from typing import Any

from safhost import log
from safhost.core import card as st
from safhost.core import events as ev
from safhost.core.actions import Action, CardChanged, KeepGeneration, RequestEnded, RequestProgressed
from safhost.core.card import Card
from safhost.errors import LocalProtocolError, SafError, SchedulingError, error_from_dict
from safhost.runtime.engine import Engine
from safhost.runtime.hashing import Digested, Hasher, Range
from safhost.runtime.identity import Identity, Names
from safhost.runtime.jobs import Connection, Job
from safhost.runtime.messages import SharedMemory
from safhost.runtime.wording import Wording

_LOG = logging.getLogger("safhost.service")
_QUIET_STATES = (st.AVAILABLE, st.LISTED, st.OPENING)
Operation = Callable[[Job, dict[str, Any]], None]


class Desk:
    """Takes requests, keeps jobs until they end, and is the engine's sink."""

    def __init__(self, engine: Engine, identity: Identity, names: Names) -> None:
        self.engine = engine
        self.core = engine.core
        self.identity = identity
        self.names = names
        self.wording = Wording(names)
        self.hasher = Hasher()
        self.due_ns: int | None = None
        self._jobs: dict[int, Job] = {}
        self._numbers = count(1)
        self._subscribers: dict[int, Job] = {}
        self._waiting: list[tuple[int, Job, Callable[[], None]]] = []
        self._unnamed = True
        self._takers: list[Callable[[Action], bool]] = []  # asked first about what is not of the desk itself
        self._ops: dict[str, Operation] = {
            name[3:]: getattr(self, name) for name in dir(self) if name.startswith("op_")}
        engine.sink = self
        engine.watch(self.hasher.fileno(), lambda _mask: self.hasher.poll())

    # -- in ------------------------------------------------------------------------------------------------

    def request(self, connection: Connection, message: dict[str, Any], fds: list[int]) -> Job:
        """Begin one request; its answer goes to ``connection``, now or later. Takes the descriptors."""
        job = Job(connection, message.get("id"), str(message.get("op", "")), next(self._numbers))
        self._jobs[job.number] = job
        self.guarded(job, lambda: self._begin(job, message, fds))
        for fd in fds:
            os.close(fd)
        return job

    def _begin(self, job: Job, message: dict[str, Any], fds: list[int]) -> None:
        if self._unnamed:
            self._name_new_cards()
        handler = self._ops.get(job.op)
        if handler is None:
            raise LocalProtocolError(f"unknown operation {job.op[:40]!r}",
                                     "client and daemon differ in version; restart the daemon")
        lengths = message.get("lengths", [])
        if not isinstance(lengths, list) or len(lengths) != len(fds) or any(type(n) is not int for n in lengths):
            raise LocalProtocolError("descriptors and their lengths do not match", "use the safhost client")
        for length in lengths:
            job.memory.append(SharedMemory.attach(fds.pop(0), length))
        handler(job, message)

    def guarded(self, job: Job, work: Callable[[], None]) -> None:
        """Do a piece of work for a job that still stands; what goes wrong is its answer, not our end."""
        if job.ended:
            return
        try:
            work()
        except SafError as err:
            self.fail(job, err)
        except Exception as err:
            _LOG.exception("job %d: %s went wrong", job.number, job.op)
            self.fail(job, SafError(f"{job.op} went wrong inside: {type(err).__name__}: {err}",
                                    "the log has the details; `safhost doctor --bundle` packs them"))

    def cancel(self, job: Job) -> None:
        """The client went away or lost interest."""
        self._subscribers.pop(job.number, None)
        self._waiting = [w for w in self._waiting if w[1] is not job]
        if not job.ended:
            self.engine.submit(ev.RequestCancelled(job.number))
            self.fail(job, SchedulingError("cancelled", ""))

    def fail(self, job: Job, error: SafError) -> None:
        self._jobs.pop(job.number, None)
        job.failed(error)

    def done(self, job: Job, result: dict[str, Any]) -> None:
        self._jobs.pop(job.number, None)
        job.done(result)

    def end_badly(self, job: Job, error: SafError, result: dict[str, Any]) -> None:
        """As :meth:`fail`, with what there is of a result."""
        self._jobs.pop(job.number, None)
        job.failed(error, result)

    def next_number(self) -> int:
        """A request number for the core that no request of a client has."""
        return next(self._numbers)

    @property
    def watched(self) -> bool:
        """Whether somebody subscribed."""
        return any(job.op == "subscribe" for job in self._subscribers.values())

    def tell(self, event: dict[str, Any]) -> None:
        """An event for all who subscribed."""
        for job in list(self._subscribers.values()):
            if job.op == "subscribe":
                job.event(event)

    def jobs_of(self, connection: Connection) -> list[Job]:
        """What a client still waits for."""
        return [job for job in self._jobs.values() if job.connection is connection]

    # -- out -----------------------------------------------------------------------------------------------

    def take(self, action: Action, now_ns: int) -> None:
        """An action of the core that is not a frame."""
        if any(taker(action) for taker in self._takers):
            return
        if type(action) is RequestEnded:
            self._ended(action)
        elif type(action) is RequestProgressed:
            job = self._jobs.get(action.request)
            if job is not None:
                job.event(self.wording.result(action.info))
        elif type(action) is CardChanged:
            self._card_changed(action, now_ns)
        elif type(action) is KeepGeneration:
            self.identity.keep(action.generation)

    def _ended(self, action: RequestEnded) -> None:
        job = self._jobs.pop(action.request, None)
        if job is None or job.ended:
            return
        result = self.wording.result(action.result)
        if action.error is not None:
            job.failed(error_from_dict(self.wording.error(action.error)), result)
        else:
            job.done(job.finish(result) if job.finish is not None else result)

    def _card_changed(self, action: CardChanged, now_ns: int) -> None:
        self._unnamed = True
        level = logging.INFO if action.state in _QUIET_STATES else logging.WARNING
        log.bind(_LOG, card=self.names.by_key.get(action.card, action.card)).log(
            level, "%s%s", action.state, f": {action.why}" if action.why else "")
        card = self.core.sessions.by_key.get(action.card)
        if self._subscribers and card is not None:
            info = self.describe(card, now_ns)
            for job in list(self._subscribers.values()):
                job.event({"card": info})

    def _name_new_cards(self) -> None:
        """Cards get their short names when somebody first asks, in order of their serials: not by who was faster."""
        self._unnamed = False
        for key in sorted(k for k in self.core.sessions.by_key if k not in self.names.by_key):
            self.names.name(key)
        if self.names.dirty:
            try:
                self.names.save()
            except SafError as err:
                _LOG.warning("card names are not kept: %s", err)

    def describe(self, card: Card, now_ns: int) -> dict[str, Any]:
        """JSON form of a card, with its short name."""
        return card.describe(now_ns) | {"name": self.names.name(card.key)}

    # -- waiting -------------------------------------------------------------------------------------------

    def after(self, delay_ns: int, job: Job, then: Callable[[], None]) -> None:
        """Do ``then`` for the job, once, later."""
        self._waiting.append((self.engine.clock() + delay_ns, job, then))
        self._arm()

    def _arm(self) -> None:
        if self._waiting:
            self.core.timers.set(self, min(due for due, _, _ in self._waiting))

    def on_timer(self, now_ns: int) -> None:
        ready = [w for w in self._waiting if w[0] <= now_ns]
        self._waiting = [w for w in self._waiting if w[0] > now_ns]
        for _, job, then in ready:
            self.guarded(job, then)
        self._arm()

    def hash(self, job: Job, ranges: list[Range], then: Callable[[list[Digested]], None],
             progress: Callable[[int], None] | None = None) -> None:
        """Digest ranges of the job's memory, then go on unless the job ended in between."""
        self.hasher.start(job.memory[0].array, ranges, lambda found: self.guarded(job, lambda: then(found)), progress)

    def close(self) -> None:
        """Jobs that still stand are answered; threads end."""
        for job in list(self._jobs.values()):
            self.cancel(job)
        self.engine.unwatch(self.hasher.fileno())
        self.hasher.close()
