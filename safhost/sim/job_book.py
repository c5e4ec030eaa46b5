"""What is known of all jobs of a simulation: their clients, which cards are drained, who may have programmed a card."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from safhost.core import events as ev
from safhost.core.actions import RequestEnded
from safhost.core.journal import Record
from safhost.sim.images import tag_of
from safhost.sim.job_units import TAGS, JobPlan
from safhost.sim.job_user import JobUser
from safhost.sim.observe import Observer
from safhost.wire.codec import Codec, Frame
from safhost.wire.generated import Opcode, Run

if TYPE_CHECKING:
    from safhost.sim.network import Port
    from safhost.sim.nodes import SimHost
    from safhost.sim.simulation import Simulation


class UnitRun(NamedTuple):
    """A command for unit ``unit`` of ``user``, in ``slot`` of card ``key`` under id ``command``, from ``host``."""

    host: SimHost
    key: str
    slot: int
    command: int
    user: JobUser
    unit: int


class JobBook(Observer):
    """``users``: clients of jobs, in order. ``drains``: (host, card) → when the card was found empty, None while it may
    still work; what is not in there may be given units. ``tears``: the next processes of the first host die inside an
    append to a journal too, each after so many."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.users: list[JobUser] = []
        self.drains: dict[tuple[SimHost, str], int | None] = {}
        self.asked_drains: dict[int, tuple[SimHost, str]] = {}
        self.tears: list[int] = []
        self._codec = Codec()
        self._seen: set[tuple[SimHost, bytes, int, int]] = set()
        self._parsed: tuple[bytes, UnitRun | None] = b"", None
        sim.observe(self)

    def add(self, plan: JobPlan, rng: random.Random) -> JobUser:
        """A client with a job, which comes to the first host at once."""
        user = JobUser(self.sim, len(self.users) + 1, plan, rng)
        self.users.append(user)
        return user

    def live(self) -> list[JobUser]:
        """Clients that wait for their jobs."""
        return [user for user in self.users if user.live]

    def load(self, host: SimHost) -> int:
        """Jobs and units a host knows of."""
        return sum(1 + len(user.given) for user in host.desk.users.values()) \
            + sum(1 for holder, _ in self.asked_drains.values() if holder is host)

    def meddled(self, key: str, since_ns: int, slack_ns: int) -> bool:
        """Whether a job may have programmed that card, or staged something there, since a time."""
        for user in self.users:
            if not user.plan.carries_image or (user.plan.cards and key not in user.plan.cards):
                continue
            if user.live or user.ended_ns + slack_ns >= since_ns:
                return True
        return False

    def unit_run(self, port: Port, raw: bytes) -> UnitRun | None:
        """What a frame that a port sent starts, when it is a RUN for a unit of a job, and not asked again."""
        host: Any = port.node
        if raw[15] != Opcode.RUN or not self.users or not hasattr(host, "desk"):
            return None
        if raw is not self._parsed[0]:  # several look at each frame
            self._parsed = raw, self._parse(host, raw)
        return self._parsed[1]

    def _parse(self, host: SimHost, raw: bytes) -> UnitRun | None:
        frame = self._codec.parse(raw, "h2c")
        run = Run.unpack(frame.payload) if isinstance(frame, Frame) else Run()
        tag = tag_of(run.kernel, run.arguments)
        if tag is None or not isinstance(frame, Frame) or not 1 <= tag // TAGS <= len(self.users):
            return None
        at = host, raw[:6], frame.object, frame.index
        if at in self._seen:
            return None
        self._seen.add(at)
        key = next((node.key for node in self.sim.cards.values() if node.port.mac == raw[:6]), "")
        return UnitRun(host, key, frame.object, frame.index, self.users[tag // TAGS - 1], tag % TAGS)

    # -- what is seen

    def on_host_start(self, host: SimHost) -> None:
        if self.tears and host.name == self.sim.hosts[0].name:
            host.crash_in_append(self.tears.pop(), 1_000_000)
        for user in self.users:
            user.on_host_start(host)

    def on_journal(self, host: SimHost, user: JobUser, kind: Record, indices: tuple[int, ...]) -> None:
        user.on_journal(kind, indices)

    def on_request_started(self, host: SimHost, request: int, event: Any) -> None:
        if not isinstance(event, ev.DrainCard):
            return
        if event.on:
            self.asked_drains[request] = host, event.card
            self.drains.setdefault((host, event.card), None)
        else:
            self.drains.pop((host, event.card), None)
            self.asked_drains = {n: asked for n, asked in self.asked_drains.items() if asked != (host, event.card)}

    def on_request_ended(self, host: SimHost, ended: RequestEnded) -> None:
        drained = self.asked_drains.pop(ended.request, None)
        if drained is None:
            return
        if ended.error is None:
            if self.drains.get(drained, 0) is None:
                self.drains[drained] = self.sim.now_ns
        else:
            self.drains.pop(drained, None)

    def on_host_crash(self, host: SimHost, lost: tuple[int, ...]) -> None:
        self.drains = {at: since for at, since in self.drains.items() if at[0] is not host}
        self.asked_drains = {n: asked for n, asked in self.asked_drains.items() if asked[0] is not host}


__all__ = ["JobBook", "UnitRun"]
