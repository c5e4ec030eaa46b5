"""A client with a job: makes units, hands out a few at a time, takes results, comes back after a crash of the host.

It has a memory and a life of its own: a host that dies takes neither units nor results with it. A client that dies
loses the results it has not taken; the next one runs those again.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from safhost.core import events as ev
from safhost.core.actions import UnitEnded
from safhost.core.journal import JobState, Record
from safhost.errors import SafError
from safhost.sim.images import Bytes
from safhost.sim.job_units import KERNEL, POISON, Expected, JobPlan, make_unit, resident_of

if TYPE_CHECKING:
    from safhost.sim.nodes import SimHost
    from safhost.sim.simulation import Simulation

MS = 1_000_000


def under_way(host: SimHost, request: int) -> set[int]:
    """Units of a job that a host's cards work on."""
    return {attempt.unit.event.index for card in host.cluster.sessions.by_mac.values() for attempt in card.units
            if not attempt.abandoned and attempt.unit.request == request}


class JobUser:
    """``number``: of the job, from 1 on, its name for good. ``state``: empty while the job goes on, else how it ended.

    What the world knows, whatever a host reads later: ``finished`` units the journal has as done and whose results
    this client can get; of those it has ``taken`` some, and for some that have ``landed`` the journal says so.
    ``failed``: units that were given up, with errors. ``given``: those the living process has and has not ended.
    ``kept``: what each unit must come to, while its result is not taken; ``over``: memory of units that were taken,
    and what was in it then; ``memories``: of those it forgot, to see who still holds them.
    ``may_run``: units that were under way when the job was held, None while it is not; ``said_all``: the living
    process was told that no more units come. ``fresh``: a new client, without the memory of the one before;
    ``wants_again``: goes on with a job that ended.
    """

    def __init__(self, sim: Simulation, number: int, plan: JobPlan, rng: random.Random, host: str = "host0") -> None:
        self.sim = sim
        self.number = number
        self.plan = plan
        self.rng = rng
        self.name = f"job {number}"
        self.journal = f"jobs/{number}.journal"
        self.host_name = host
        self.lives = 1
        self.host: SimHost | None = None
        self.request = 0
        self.fresh = False
        self.wants_again = False
        self.cancelled = False
        self.may_run: set[int] | None = None
        self.said_all = False
        self.state = ""
        self.ended_ns = 0
        self.error: SafError | None = None
        self.taken: set[int] = set()
        self.landed: set[int] = set()
        self.finished: set[int] = set()
        self.failed: dict[int, SafError | None] = {}
        self.given: set[int] = set()
        self.kept: dict[int, Expected] = {}
        self.over: dict[int, tuple[Bytes, bytes]] = {}
        self.memories: dict[int, weakref.ref[Bytes]] = {}
        self.delivered: list[tuple[int, str]] = []
        self._todo: list[int] = []
        self._connect(0)

    # -- asking ----------------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Whether its client still waits for the end."""
        return not self.state

    @property
    def outstanding(self) -> int:
        """Units its host knows."""
        return len(self.given)

    def spec(self) -> dict[str, Any]:
        """What the journal says of it."""
        return {"name": self.name, "units": self.plan.units, "digest": self.plan.image.digest.hex()}

    def start_event(self, state: JobState) -> ev.StartJob:
        """The event for the core of a host that has it from now on."""
        p = self.plan
        kernel, _ = p.image.kernel(KERNEL)
        image = ev.JobImage(p.image.payload, p.image.leaves, p.image.pr_compat_id) if p.carries_image else None
        return ev.StartJob(0, p.image.digest, kernel, p.priority, p.weight, p.cards, image, p.unit_deadline_ms,
                           p.retries, p.keep_going, p.speculate, p.phased, p.repeat, p.depth, min_cards=p.min_cards,
                           max_cards=p.max_cards, lasting=p.lasting,
                           resident=self.resident if p.resident_bytes else None)

    @property
    def resident(self) -> ev.JobResident:
        """Its data on the cards."""
        return resident_of(self.plan.resident_bytes, self.number, self.sim.seed)

    def on_host_start(self, host: SimHost) -> None:
        """Its host is there again."""
        if host.name == self.host_name and self.live:
            self.host, self.given = None, set()
        if host.name == self.host_name:
            self.memories.clear()  # of the process that died
            self._connect(self.rng.choice([0, 1, 40, 700]) * MS)

    def again(self) -> None:
        """Go on with a job that had ended: what failed is tried again."""
        if self.live:
            return
        self.wants_again, self.state, self.error, self.cancelled = True, "", None, False
        self._connect(0)

    def die(self) -> None:
        """The client's process ends, its memory with it, and another one comes for the job a little later. The host
        cancels what it was doing for the first."""
        if not self.live:
            return
        host, request = self.host, self.request
        self.lives += 1
        self.host, self.request, self.fresh, self.wants_again = None, 0, True, True
        self.finished, self.taken = set(self.landed), set(self.landed)
        self.kept.clear()
        self.failed.clear()
        self.given = set()
        if host is not None and not host.stopped and request in host.desk.users:
            self.cancelled = True
            host.feed(ev.RequestCancelled(request))
        self._connect(self.rng.choice([1, 100, 900]) * MS)

    def on_journal(self, kind: Record, indices: tuple[int, ...]) -> None:
        """This is in its journal now."""
        if kind is Record.DONE:
            self.finished.update(indices)
        elif kind is Record.TAKEN:
            self.landed.update(indices)

    def cancel(self) -> None:
        """Give the job up."""
        self.ask(lambda host, request: host.feed(ev.RequestCancelled(request)), cancels=True)

    def hold(self, on: bool) -> None:
        """Have no unit started until it is let go on."""
        def change(host: SimHost, request: int) -> None:
            host.feed(ev.ChangeJob(request, hold=on))
            self.may_run = under_way(host, request) if on else None
        self.ask(change)

    def ask(self, work: Callable[[SimHost, int], None], cancels: bool = False) -> None:
        """Have its host do something about the job, if one has it."""
        host, request = self.host, self.request
        if host is not None and not host.stopped and request in host.desk.users:
            self.cancelled |= cancels
            host.call(lambda: work(host, request))

    def _connect(self, wait_ns: int) -> None:
        life = self.lives
        self.sim.at(self.sim.now_ns + wait_ns, lambda: self._open(life))

    def _open(self, life: int) -> None:
        host = next(h for h in self.sim.hosts if h.name == self.host_name)
        if host.stopped or life != self.lives or self.host is not None or not self.live:
            return  # it is down: its start brings us back
        if any(user is self for user in host.desk.users.values()):  # the one before us is not gone yet
            self._connect(50 * MS)
            return
        self.cancelled, self.host = False, host
        host.call(lambda: host.desk.open(self))

    # -- being told ------------------------------------------------------------------------------------------

    def told_open(self, host: SimHost, request: int, state: JobState) -> None:
        """The host has the job (request 0: it is over already) and says what is finished."""
        if self.fresh:
            self.finished = set(self.landed)
        self.request, self.given, self.fresh, self.wants_again = request, set(), False, False
        for hook in self.sim.hooks.job_open:
            hook(host, self, state)
        done = set(state.done)
        for index in sorted(done - self.taken):
            self._take(index, "journal")
        self.failed = {index: self.failed.get(index) for index in state.failed} if self.plan.keep_going else {}
        if not request:
            self.state, self.ended_ns, self.host = state.ended, self.sim.now_ns, None
            return
        self._todo = [i for i in range(self.plan.units) if i not in done and i not in self.failed]
        self.said_all, self.may_run = False, None
        self._feed_soon()

    def told_units(self, host: SimHost, ended: list[UnitEnded]) -> None:
        """Units ended, and that is written down."""
        if host is not self.host:
            return
        for unit in ended:
            self.given.discard(unit.index)
            if unit.error is None:
                self._take(unit.index, unit.card)
            else:
                self.failed[unit.index] = unit.error
        self._feed_soon()

    def told_end(self, host: SimHost, state: str, error: SafError | None) -> None:
        """The job is over, and that is written down."""
        if host is not self.host:
            return
        self.state, self.error, self.given = state, error, set()
        self.host, self.ended_ns = None, self.sim.now_ns

    def _take(self, index: int, card: str) -> None:
        """Take a result; then the memory is the client's to use."""
        if index in self.taken:
            return
        self.taken.add(index)
        self.delivered.append((index, card))
        for hook in self.sim.hooks.job_result:
            hook(self, index, self.kept.get(index))
        kept = self.kept.pop(index, None)
        if kept is not None and self.plan.memory != "forget":
            if self.plan.memory == "poison":
                kept.memory[:] = POISON
            self.over[index] = kept.memory, kept.memory.tobytes()
        host, request = self.host, self.request
        if host is not None and request and self.rng.random() < 0.7:
            self.sim.at(self.sim.now_ns + MS, lambda: self._say_taken(host, index))

    def _say_taken(self, host: SimHost, index: int) -> None:
        if host is self.host:
            host.call(lambda: host.desk.taken(self, (index,)))

    # -- units -----------------------------------------------------------------------------------------------

    def _feed_soon(self) -> None:
        host, request = self.host, self.request
        self.sim.at(self.sim.now_ns + self.rng.choice([0, 10_000, 2 * MS]), lambda: self._feed(host, request))

    def _feed(self, host: SimHost | None, request: int) -> None:
        """Hand out what the window has room for."""
        if host is None or host is not self.host or host.stopped or request not in host.desk.users \
                or self.said_all:
            return
        room = min(self.plan.window - len(self.given), self.plan.batch)
        if room > 0 and self._todo:
            batch, self._todo = self._todo[:room], self._todo[room:]
            units = tuple(self._unit(index) for index in batch)
            self.given.update(batch)
            for hook in self.sim.hooks.job_given:
                hook(host, self, tuple(batch))
            host.feed(ev.AddUnits(request, units))
            if len(self.given) < self.plan.window and self.host is host:
                self._feed_soon()
        if not self._todo and not self.said_all and request in host.desk.users:
            self.said_all = True
            host.feed(ev.EndUnits(request))

    def _unit(self, index: int) -> ev.JobUnit:
        pins = random.Random(f"{self.sim.seed}/pin/{self.number}/{index}")
        card = pins.choice(list(self.sim.cards)) if pins.random() < self.plan.pinned else ""
        unit, fresh = make_unit(self.plan, self.number, index, self.sim.seed, card)
        kept = self.kept.get(index)
        if kept is not None:  # given again, with what was read into it; a copy, as the process before may still hold it
            fresh = kept._replace(memory=kept.memory.copy())
            unit.memory = fresh.memory
        self.kept[index] = fresh
        self.memories[index] = weakref.ref(fresh.memory)
        return unit
