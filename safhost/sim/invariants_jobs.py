"""Invariants of jobs: units that end once, results that are right and stay, journals that tell the truth."""

from __future__ import annotations

from typing import ClassVar

from safhost.core.actions import RequestEnded, UnitEnded
from safhost.core.journal import JobState
from safhost.sim.images import tag_of
from safhost.sim.invariants import Invariant
from safhost.sim.job_user import TAGS, Expected, JobUser
from safhost.sim.ledger import Ledger
from safhost.sim.network import Port
from safhost.sim.nodes import SimHost
from safhost.sim.simulation import Simulation
from safhost.wire.codec import Codec, Frame
from safhost.wire.generated import Opcode, Run

ATTEMPTS_KEPT = 16  # tries of a card that may still hold the memory of a unit that has ended


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
            found = ended.result.get("units"), ended.result.get("failed")
            if found != (len(seen), len(seen) - sum(seen.values())):
                self.fail(f"{host.name}: request {ended.request} says of {len(seen)} units, "
                          f"{len(seen) - sum(seen.values())} failed: {found}")


class FinishedStaysFinished(Invariant):
    """What a journal has as done is read back as done by every later process, however the journal was torn, and nothing
    else is; no command is sent for a unit that is done."""

    name: ClassVar[str] = "finished-stays-finished"

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._codec = Codec()
        self._seen: set[tuple[int, bytes, int, int]] = set()

    def on_job_open(self, host: SimHost, user: JobUser, state: JobState) -> None:
        done = set(state.done)
        if done != user.finished:
            missing, more = sorted(user.finished - done), sorted(done - user.finished)
            self.fail(f"{host.name} finds {len(done)} units of {user.name} in its journal; missing are {missing[:10]}, "
                      f"never written were {more[:10]}")

    def on_sent(self, port: Port, raw: bytes) -> None:
        host = port.node
        if raw[15] != Opcode.RUN or not isinstance(host, SimHost) or not self.ledger.jobs.users:
            return
        frame = self._codec.parse(raw, "h2c")
        if not isinstance(frame, Frame):
            return
        at = id(host), raw[:6], frame.object, frame.index
        run = Run.unpack(frame.payload)
        tag = tag_of(run.kernel, run.arguments)
        if at in self._seen or tag is None:
            return
        self._seen.add(at)
        user, index = self.ledger.jobs.users[tag // TAGS - 1], tag % TAGS
        if index in user.finished:
            self.fail(f"{host.name} sends a command for unit {index} of {user.name}, which is done")


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

    def __init__(self, sim: Simulation, ledger: Ledger) -> None:
        super().__init__(sim, ledger)
        self._codec = Codec()

    def on_sent(self, port: Port, raw: bytes) -> None:
        host, drains = port.node, self.ledger.jobs.drains
        if raw[15] != Opcode.RUN or not drains or not isinstance(host, SimHost):
            return
        key = next((node.key for node in self.sim.cards.values() if node.port.mac == raw[:6]), "")
        since_ns = drains.get((host, key))
        if since_ns is None:
            return
        frame = self._codec.parse(raw, "h2c")
        run = Run.unpack(frame.payload) if isinstance(frame, Frame) else Run()
        if tag_of(run.kernel, run.arguments) is not None:
            self.fail(f"{host.name} sends a unit to {key}, which is drained")


class EndedUnitsAreForgotten(Invariant):
    """A host keeps nothing of units that ended but what tries on silent cards may still need, and nothing of a job that
    is over."""

    name: ClassVar[str] = "ended-units-are-forgotten"

    def check(self) -> None:
        bound = ATTEMPTS_KEPT * max(1, len(self.sim.cards))
        for user in self.ledger.jobs.users:
            left = self._left(user)
            if len(left) > bound:
                self.fail(f"{user.name}: {len(left)} units that ended are still held, {left[:10]}")

    def at_rest(self) -> None:
        for user in self.ledger.jobs.users:
            left = self._left(user)
            if left and not user.live:
                self.fail(f"{user.name} is over and units of it are still held: {left[:10]}")

    @staticmethod
    def _left(user: JobUser) -> list[int]:
        if user.plan.memory != "forget":
            return []
        dead = [index for index, memory in user.memories.items() if memory() is None]
        for index in dead:
            del user.memories[index]
        return [index for index in user.memories if index not in user.kept]



JOB_INVARIANTS: tuple[type[Invariant], ...] = (OneEndPerUnit, FinishedStaysFinished, JobResults, DrainedIsEmpty,
                                               EndedUnitsAreForgotten)
