"""A storm: work of all kinds while everything goes wrong, then calm, and the question whether all is well.

One seed decides everything: how many cards, which kinds of disturbances, what is asked of whom and when. The
invariants (safhost.sim.invariants) are checked all along. Afterwards the faults end, and whatever happened before:
every card gets a session with one host, every request ends, nothing is left over, and a fresh program and unit on
every card work.
"""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safhost.core import card as st
from safhost.errors import SafError
from safhost.sim.invariants import (
    AtMostOnce,
    ConsistentCore,
    DoneMeansDurable,
    EveryRequestEnds,
    Invariant,
    MemoryBounded,
    NothingLeft,
    NoUnverifiedFeed,
    OneOwner,
    ResultsEqualReference,
    Violation,
    describe,
    live_hosts,
)
from safhost.sim.invariants_card import CARD_INVARIANTS
from safhost.sim.invariants_jobs import JOB_INVARIANTS
from safhost.sim.invariants_wire import IdsMonotonic, NoForgedEffect
from safhost.sim.job_storm import JobStorm
from safhost.sim.job_user import JobUser
from safhost.sim.ledger import Asked, Ledger, shell_of
from safhost.sim.nodes import SimHost
from safhost.sim.observe import Observer
from safhost.sim.profiles import DISTURBANCES, MS, Profile, profile_named
from safhost.sim.simulation import NS, Simulation, SimulationStuck
from safhost.sim.weather import Weather
from safhost.sim.work import Work

CHECK_NS = 100 * MS
KILL_EVERY_NS = 5 * NS
REST_S = 15.0
FINAL_S = 60.0
JOB_S = 200.0  # a fresh job may have to program every card, twice
NEVER_NS = 1 << 60
NEVER_BOUNDARIES = 1 << 60

INVARIANTS: tuple[type[Invariant], ...] = (
    NoUnverifiedFeed, AtMostOnce, DoneMeansDurable, EveryRequestEnds, ResultsEqualReference, NoForgedEffect, OneOwner,
    IdsMonotonic, MemoryBounded, ConsistentCore, NothingLeft, *CARD_INVARIANTS, *JOB_INVARIANTS)

STORM_CHECKS = {
    "liveness": "When the faults end, every card gets a session with exactly one host, and a fresh program and a unit "
                "on every card end well and are right.",
    "no-exception": "Nothing that arrives, and nothing that is asked, raises an exception out of core or card.",
    "jobs-end": "When the faults have ended, every job ends; a fresh one is done.",
    "bounded": "A storm ends within its bounds of steps and of real time.",
}
"""What the storm itself looks after, beside the invariants."""


@dataclass(slots=True)
class Outcome:
    """What became of one seed. ``invariant`` is empty when all held, else it names the one that did not."""

    seed: int
    cards: int
    profile: str
    invariant: str = ""
    message: str = ""
    virtual_s: float = 0.0
    real_s: float = 0.0
    frames: int = 0
    steps: int = 0
    requests: int = 0
    disturbances: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether an invariant did not hold."""
        return bool(self.invariant)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Storm:
    """One run of one seed with up to ``cards_max`` cards. ``observers`` see it from its beginning.

    Raises SafError for an unknown profile or less than one card.
    """

    def __init__(self, seed: int, cards_max: int = 20, profile: str | Profile = "quick",
                 observers: tuple[Observer, ...] = (), wall_s: float | None = None) -> None:
        if cards_max < 1:
            raise SafError(f"a storm with {cards_max} cards", "at least one")
        self.profile = profile = profile if isinstance(profile, Profile) else profile_named(profile)
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.wall_s = profile.wall_s if wall_s is None else wall_s
        self._wall_end = time.monotonic() + self.wall_s
        kinds = frozenset(kind for kind in DISTURBANCES if rng.random() < 0.4)
        cards = max(1, int(cards_max ** rng.random()))
        memory = {"ddr_bytes": profile.ddr_bytes, "image_slots": rng.choice([2, 4])}
        kernel_ns = rng.choice([1_000, 1 * MS, 100 * MS, 1_500 * MS])
        self.sim = Simulation(seed, cards=cards, suite=1 if "forger" in kinds else rng.choice([0, 1, 1]),
                              mtu=rng.choice(profile.mtus), kernel_ns=kernel_ns,
                              rate_bytes_s=rng.choice(profile.rates_bytes_s), card=memory,
                              core={"takeover": rng.random() < 0.5}, observers=observers)
        self.ledger = Ledger(self.sim)
        self.invariants = [make(self.sim, self.ledger) for make in INVARIANTS]
        for invariant in self.invariants:
            self.sim.observe(invariant)
            self.ledger.judges.append(invariant.on_ended)
        self.work = Work(self.sim, self.ledger, rng, profile)
        self.weather = Weather(self.sim, rng, profile, kinds, min(cards_max, cards + 3))
        self.jobs = JobStorm(self.sim, self.ledger.jobs, self.work, self.weather, profile, min(cards_max, cards + 3))
        self.disturb_share = rng.choice([0.1, 0.25, 0.5])

    # -- the run

    def run(self) -> None:
        """All of it. Raises Violation."""
        try:
            self._tick()
            self._rage()
            self._calm()
            self._recover()
            self._prove()
        except (Violation, KeyboardInterrupt):
            raise
        except SimulationStuck as err:
            raise Violation("liveness", str(err)) from err
        except Exception as err:
            raise Violation("no-exception", _where(err)) from err

    def close(self) -> None:
        """Give memory back."""
        self.sim.close()

    def _tick(self) -> None:
        """Check what is to be checked now and then, and whether this goes on for too long."""
        for invariant in self.invariants:
            invariant.check()
        if self.sim.steps > self.profile.max_steps:
            raise Violation("bounded", f"{self.sim.steps} steps at {self.sim.now_ns / NS:.3f} s")
        if time.monotonic() > self._wall_end:
            raise Violation("bounded", f"more than {self.wall_s:g} s of real time at {self.sim.now_ns / NS:.3f} s")
        self.sim.at(self.sim.now_ns + CHECK_NS, self._tick)

    def _rage(self) -> None:
        sim, rng = self.sim, self.rng
        self.weather.begin()
        sim.run_for(rng.random())
        if rng.random() < 0.8 and (keys := self._known(sim.hosts[0])):
            self.work.program(sim.hosts[0], tuple(keys), self.work.images[0])
            sim.run_for(rng.choice([0.1, 2.0]))
        for _ in range(rng.randint(*self.profile.steps)):
            host = rng.choice(sim.hosts)
            if not host.stopped and (keys := self._known(host)):
                self.work.ask(host, keys)
            if rng.random() < self.disturb_share:
                self.weather.strike()
            self.jobs.step()
            if rng.random() < 0.6:
                sim.run_for(rng.choice(self.profile.gaps_s))
        self.jobs.rage_on()

    def _known(self, host: SimHost) -> list[str]:
        return [key for key in self.sim.cards if key in host.cluster.sessions.by_key]

    # -- the calm after it

    def _calm(self) -> None:
        """All faults end."""
        sim = self.sim
        self.weather.end()
        sim.heal()
        for port in (*sim.cards, *(host.name for host in sim.hosts)):
            sim.impair(port, sim.clean)
            sim.slow_port(port, 0)
            if not sim.port(port).plugged:
                sim.plug(port)
        for key, node in sim.cards.items():
            node.card.faults.clear()
            if node.card.is_dead:
                sim.reboot(key)
            node.kernel_ns = min(node.kernel_ns, 1 * MS)
        for host in list(sim.hosts):
            host.crash_after(NEVER_BOUNDARIES)
            rival = host is not sim.hosts[0] and (self.weather.takes_over or sim.hosts[0].cluster.config.takeover)
            if rival:  # two that take each card from the other never come to rest
                sim.crash_host(sim.restart_host(host=host) if host.stopped else host, NEVER_NS)
            elif host.stopped or host.name in self.work.released:
                sim.restart_host(host=host)
        self.jobs.calm()

    def _recover(self) -> None:
        """Every card is somebody's, and every request ends."""
        sim = self.sim
        sim.run_while(lambda: any(self._holder(key) is None for key in sim.cards), self.profile.settle_s,
                      "a session with exactly one host for every card")
        killed_ns = sim.now_ns
        self._kill_all()

        def waiting() -> bool:
            nonlocal killed_ns
            if sim.now_ns > killed_ns + KILL_EVERY_NS:
                killed_ns = sim.now_ns
                self._kill_all()
                self.jobs.give_up([key for key in sim.cards if self._holder(key) is sim.hosts[0]])
            return bool(self.ledger.live() or self.ledger.jobs.live())

        try:
            sim.run_while(waiting, self.profile.settle_s, "the end of all requests")
        except SimulationStuck:
            if not self.ledger.live():
                raise Violation("jobs-end", f"{self.profile.settle_s:g} s after the last fault: "
                                + "; ".join(map(_job, self.ledger.jobs.live()))) from None
            left = "; ".join(describe(asked) for asked in self.ledger.live()[:5])
            raise Violation("every-request-ends", f"{self.profile.settle_s:g} s after the last fault: {left}") from None
        sim.run_for(REST_S)
        sim.run_while(lambda: any(self._holder(key) is None for key in sim.cards), 60.0, "sessions at rest")
        self._rest()

    def _kill_all(self) -> None:
        """Hung kernels hold their slots until somebody kills them."""
        for key in self.sim.cards:
            holder = self._holder(key)
            if holder is not None:
                self.work.kill(holder, (key,))

    def _rest(self) -> None:
        for invariant in self.invariants:
            invariant.check()
            invariant.at_rest()

    def _holder(self, key: str) -> SimHost | None:
        """The one host that has the card's session; None when there is none, or it does not know it yet."""
        session = shell_of(self.sim.cards[key]).session
        for host in live_hosts(self.sim):
            card = host.cluster.sessions.by_key.get(key)
            if card is not None and card.state == st.AVAILABLE and card.channel is not None and session is not None \
                    and card.channel.session == session.id:
                return host
        return None

    def _prove(self) -> None:
        """A fresh program and a unit on every card work and are right."""
        image = self.work.images[-1]
        by_host: dict[str, tuple[SimHost, list[str]]] = {}
        for key in self.sim.cards:
            holder = self._holder(key)
            if holder is None:
                raise Violation("liveness", f"{key} is in nobody's session at rest")
            by_host.setdefault(holder.name, (holder, []))[1].append(key)
        for host, keys in by_host.values():
            self._must_end(self.work.fresh(host, tuple(keys), image))
        units = [self.work.unit(host, (key,), image, plain=True) for host, keys in by_host.values() for key in keys]
        for unit in units:
            self._must_end(unit)
        for host, keys in by_host.values():
            fresh = self.jobs.prove(host, keys)
            if fresh is not None:
                self._must_be_done(fresh)
        self.sim.run_for(2.0)
        self._rest()

    def _must_be_done(self, user: JobUser) -> None:
        try:
            self.sim.run_while(lambda: user.live, JOB_S, _job(user))
        except SimulationStuck as err:
            raise Violation("jobs-end", f"with no fault in force: {err}") from err
        if user.state != "done" or user.failed:
            raise Violation("jobs-end", f"{_job(user)} failed with no fault in force: {user.error}")

    def _must_end(self, asked: Asked) -> None:
        self.sim.run_while(lambda: asked.live, FINAL_S, describe(asked))
        assert asked.ended is not None
        if asked.ended.error is not None:
            raise Violation("liveness", f"{describe(asked)} failed with no fault in force: {asked.ended.error}")


def run_seed(seed: int, cards_max: int = 20, profile: str | Profile = "quick", wall_s: float | None = None,
             observers: tuple[Observer, ...] = ()) -> Outcome:
    """Run one seed to its end; never raises for what goes wrong inside."""
    began = time.monotonic()
    storm = Storm(seed, cards_max, profile, observers, wall_s)
    out = Outcome(seed, cards_max, storm.profile.name)
    try:
        storm.run()
    except Violation as violation:
        out.invariant, out.message = violation.invariant, violation.message
    finally:
        sim = storm.sim
        out.virtual_s, out.steps = round(sim.now_ns / NS, 3), sim.steps
        out.frames = sum(port.frames_sent for port in sim.network.ports)
        out.requests = len(storm.ledger.asked)
        out.disturbances = dict(sorted((storm.weather.counts + Counter(sim.network.dice.faults)).items()))
        out.real_s = round(time.monotonic() - began, 3)
        storm.close()
    return out


def _job(user: JobUser) -> str:
    """One job in a line."""
    return (f"{user.name} with {user.plan.units} units, {len(user.taken)} done, {len(user.failed)} failed, "
            f"{len(user.given)} given, is {user.state or 'under way'}")


def _where(err: Exception) -> str:
    """An exception in a line, with the innermost place in our program."""
    frames = traceback.extract_tb(err.__traceback__)
    ours = [f for f in frames if "safhost" in Path(f.filename).parts] or list(frames)
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    return f"{type(err).__name__} at {place}: {err}"
