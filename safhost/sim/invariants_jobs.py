"""Invariants of jobs: units that end once, results that are right and stay, journals that tell the truth."""

from __future__ import annotations

import gc
from collections import Counter
from typing import ClassVar

import numpy as np

from safhost.core.actions import RequestEnded, UnitEnded
from safhost.core.journal import JobState
from safhost.sim.images import tag_of
from safhost.sim.invariants import Invariant
from safhost.sim.job_units import TAGS, Expected, resident_base
from safhost.sim.job_user import JobUser
from safhost.sim.ledger import Ledger
from safhost.sim.network import Port
from safhost.sim.nodes import SimCard, SimHost
from safhost.sim.simulation import Simulation

UNITS_KEPT = 64  # that ended, beside those that cards are still at: timers are thrown out by the dozen


class OneEndPerUnit(Invariant):
    """A unit of a job ends exactly once in each life of its host: not before it was given, not after its job ended, and
    with a job that ends, all that it was given have ended. A job that ended counts its units right."""

    name: ClassVar[str] = "one-end-per-unit"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._given: dict[tuple[SimHost, int], set[int]] = {}
        self._ended: dict[tuple[SimHost, int], dict[int, bool]] = {}
        self._over: set[tuple[SimHost, int]] = set()

    def on_job_given(self, host: SimHost, user: JobUser, indices: tuple[int, ...]) -> None:
        self._given.setdefault((host, user.request), set()).update(indices)

    def on_unit_ended(self, host: SimHost, ended: UnitEnded) -> None:
        at = host, ended.request
        seen = self._ended.setdefault(at, {})
        what = f"{host.name}: unit {ended.index} of request {ended.request}"
        if ended.index in seen:
            self.fail(f"{what} ended twice")
        if ended.index not in self._given.get(at, ()):
            self.fail(f"{what} ended and was never given")
        if at in self._over:
            self.fail(f"{what} ended after its job")
        if ended.error is None and (not ended.card or ended.attempts < 1):
            self.fail(f"{what} ended well, on {ended.card or 'no card'} after {ended.attempts} tries")
        seen[ended.index] = ended.error is None

    def on_request_ended(self, host: SimHost, ended: RequestEnded) -> None:
        at = host, ended.request
        if host.desk.users.get(ended.request) is None:
            return
        self._over.add(at)
        given, seen = self._given.get(at, set()), self._ended.get(at, {})
        if ended.error is None:
            left = sorted(given - seen.keys())
            if left:
                self.fail(f"{host.name}: request {ended.request} ended well without its units {left[:10]}")
            done = sum(seen.values())
            found = ended.result.get("units"), ended.result.get("failed")
            if found != (done, len(seen) - done):
                self.fail(f"{host.name}: request {ended.request} says that units ended well and badly {found} times, "
                          f"it was {(done, len(seen) - done)}")


class FinishedStaysFinished(Invariant):
    """What a journal has as done is read back as done by every later process, however the journal was torn, and nothing
    else is; no command is sent for a unit that is done."""

    name: ClassVar[str] = "finished-stays-finished"

    def on_job_open(self, host: SimHost, user: JobUser, state: JobState) -> None:
        done = set(state.done)
        if done != user.finished:
            missing, more = sorted(user.finished - done), sorted(done - user.finished)
            self.fail(f"{host.name} finds {len(done)} units of {user.name} in its journal; missing are {missing[:10]}, "
                      f"never written were {more[:10]}")
        if set(state.taken) != user.landed:
            self.fail(f"{host.name} finds that its client took units {state.taken.pairs()} of {user.name}, they were "
                      f"{sorted(user.landed)}")

    def on_sent(self, port: Port, raw: bytes) -> None:
        run = self.ledger.jobs.unit_run(port, raw)
        if run is not None and run.unit in run.user.finished:
            self.fail(f"{run.host.name} sends a command for unit {run.unit} of {run.user.name}, which is done")


class JobResults(Invariant):
    """The result of a unit that is done equals the reference computed with numpy when its client hears of it, comes to
    that client once, and nothing is written to its memory afterwards."""

    name: ClassVar[str] = "job-results"

    def on_job_result(self, user: JobUser, index: int, expected: Expected | None) -> None:
        if expected is None:
            self.fail(f"unit {index} of {user.name} is done, and its client never gave it")
        wrong = expected.wrong()
        if wrong:
            self.fail(f"unit {index} of {user.name}: {wrong}")

    def at_rest(self) -> None:
        for user in self.ledger.jobs.users:
            if user.state == "done" and len(user.taken) + len(user.failed) != user.plan.units:
                self.fail(f"{user.name} is done with {len(user.taken)} results and {len(user.failed)} failures of "
                          f"{user.plan.units} units")
            for index, (memory, kept) in user.over.items():
                if memory.tobytes() != kept:
                    self.fail(f"the memory of unit {index} of {user.name} changed after it had ended")


class DrainedIsEmpty(Invariant):
    """No command for a unit is sent to a card between the end of a drain and the word that lets it work again."""

    name: ClassVar[str] = "drained-is-empty"

    def on_sent(self, port: Port, raw: bytes) -> None:
        run = self.ledger.jobs.unit_run(port, raw)
        if run is not None and self.ledger.jobs.drains.get((run.host, run.key)) is not None:
            self.fail(f"{run.host.name} sends unit {run.unit} of {run.user.name} to {run.key}, which is drained")


class JobsObey(Invariant):
    """Commands for units go only to cards that the job may use; while it is held, only for units that were under way;
    of a phased job, only when it has all its units. A unit is tried on one card at once, or two where it may be."""

    name: ClassVar[str] = "jobs-obey"

    def on_sent(self, port: Port, raw: bytes) -> None:
        run = self.ledger.jobs.unit_run(port, raw)
        if run is None:
            return
        host, key, _, _, user, index = run
        what = f"{host.name} runs unit {index} of {user.name} on {key}, "
        if user.plan.cards and key not in user.plan.cards:
            self.fail(what + "which the job may not use")
        if user.host is not host or index not in user.given:
            return  # of a job that is over: a frame of the same step
        if user.may_run is not None and index not in user.may_run:
            self.fail(what + "though the job is held")
        if user.plan.phased and not user.said_all:
            self.fail(what + "though not all units of a phased job are there")
        self._count(user)

    def check(self) -> None:
        for user in self.ledger.jobs.users:
            self._count(user)

    def _count(self, user: JobUser) -> None:
        host = user.host
        if host is not None and not host.stopped:
            tries = Counter(attempt.unit.event.index for card in host.cluster.sessions.by_mac.values()
                            for attempt in card.units
                            if not attempt.abandoned and attempt.unit.request == user.request)
            for index, n in tries.items():
                if n > 1 + user.plan.speculate:
                    self.fail(f"{host.name} tries unit {index} of {user.name} on {n} cards at once")


class ResidentIsRight(Invariant):
    """When a kernel begins on a unit of a job with resident data, all of that data lies in its card's memory where the
    unit looks for it, and belongs to that job."""

    name: ClassVar[str] = "resident-is-right"

    def on_execute(self, card: SimCard, boot_nonce: bytes, owner: int, role_epoch: int, slot: int, command: int,
                   kernel: int, block: bytes) -> None:
        users = self.ledger.jobs.users
        tag = tag_of(kernel, block)
        if tag is None or not 1 <= tag // TAGS <= len(users):
            return
        user, index = users[tag // TAGS - 1], tag % TAGS
        if not user.plan.resident_bytes:
            return
        base = resident_base(user.plan, user.number, index, self.sim.seed, block)
        payload = user.resident.payload
        found = card.ddr[base:base + len(payload)]
        if base < 0 or not np.array_equal(found, payload):
            wrong = np.flatnonzero(found != payload[:len(found)])[:1].tolist() if base >= 0 else []
            self.fail(f"{card.key} runs unit {index} of {user.name} on resident data at {base:#x} that is wrong from "
                      f"byte {wrong} on")


class EndedUnitsAreForgotten(Invariant):
    """A host keeps nothing of units that ended but what tries on silent cards may still need, and nothing of a job that
    is over."""

    name: ClassVar[str] = "ended-units-are-forgotten"

    def check(self) -> None:
        for user in self.ledger.jobs.users:
            tries = 0 if user.host is None else sum(len(c.units) for c in user.host.cluster.sessions.by_mac.values())
            bound = UNITS_KEPT + tries
            left = self._left(user, bound)
            if len(left) > bound:
                self.fail(f"{user.name}: {len(left)} units that ended are still held, {left[:10]}")

    def at_rest(self) -> None:
        for user in self.ledger.jobs.users:
            left = self._left(user)
            if left and not user.live:
                self.fail(f"{user.name} is over and units of it are still held: {left[:10]}")

    @staticmethod
    def _left(user: JobUser, bound: int = 0) -> list[int]:
        if user.plan.memory != "forget":
            return []
        left: list[int] = []
        for collect in (False, True):  # what holds only itself is as good as gone
            if collect:
                gc.collect()
            user.memories = {index: memory for index, memory in user.memories.items() if memory() is not None}
            left = [index for index in user.memories if index not in user.kept]
            if len(left) <= bound:
                break
        return left



JOB_INVARIANTS: tuple[type[Invariant], ...] = (OneEndPerUnit, FinishedStaysFinished, JobResults, DrainedIsEmpty,
                                               JobsObey, ResidentIsRight, EndedUnitsAreForgotten)
