"""Jobs in a storm: which there are, what their clients do, and what happens to cards while they work.

A share of the seeds has jobs. What they do is drawn from a stream of their own, so that the rest of a storm is what it
would be without them; and so is what data they have on the cards.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from safhost.core import card as st
from safhost.core import events as ev
from safhost.sim.job_book import JobBook
from safhost.sim.job_units import JobPlan
from safhost.sim.job_user import JobUser
from safhost.sim.profiles import MS, Profile
from safhost.sim.weather import BOUNDARIES, Weather
from safhost.sim.work import Work

if TYPE_CHECKING:
    from safhost.sim.nodes import SimHost
    from safhost.sim.simulation import Simulation

JOBS_MAX = 3
NEVER_APPENDS = 1 << 60
APPENDS = (0, 1, 2, 5, 10)
LASTS_NS = 30 * MS  # of a kernel, at least, where jobs have data on cards: time for cards to come and go
PLOD = 40  # how much slower a plodding card's kernels are

DOINGS = {"submit": 3, "cancel": 0.5, "again": 1, "hold": 1, "change": 1, "drain": 2, "undrain": 1, "client": 0.7,
          "plod": 2, "pull": 2, "join": 2, "fail": 1.5, "host": 1.5, "append": 1.5}
"""What happens to jobs, and how often each is drawn."""


STIRRING = ("pull", "join", "host", "again")
"""What comes always where jobs have data on cards."""


class JobStorm:
    """Draws jobs and what befalls them. ``active``: whether this seed has any. ``jobs``: what is known of them."""

    def __init__(self, sim: Simulation, jobs: JobBook, work: Work, weather: Weather, profile: Profile,
                 cards_max: int) -> None:
        self.sim = sim
        self.jobs = jobs
        self.work = work
        self.weather = weather
        self.profile = profile
        self.cards_max = cards_max
        self.rng = rng = random.Random(f"{sim.seed}/jobs")
        self.active = rng.random() < profile.job_share
        self._residents = random.Random(f"{sim.seed}/resident")
        chosen = {what: weight for what, weight in DOINGS.items() if what == "submit" or rng.random() < 0.5
                  or (profile.resident_share and what in STIRRING)}
        self._doings = chosen
        self._longest = rng.choice([4, 12, 12, 40])
        self._plodding: dict[str, int] = {}
        if profile.resident_share:
            for card in sim.cards.values():
                card.kernel_ns = max(card.kernel_ns, LASTS_NS)

    # -- the storm

    def step(self) -> None:
        """Something about jobs, perhaps."""
        if not self.active or (self.jobs.users and self.rng.random() < 0.4):
            return
        what = self.rng.choices(list(self._doings), list(self._doings.values()))[0] if self.jobs.users else "submit"
        act: Callable[[], None] = getattr(self, what)
        act()

    def rage_on(self) -> None:
        """Jobs take longer than other requests: more of it, with time between."""
        if not self.active:
            return
        resident = bool(self.profile.resident_share)
        for _ in range(self.rng.randint(3, 15) * (1 + resident)):
            self.step()
            self.sim.run_for(self.rng.choice([0.02, 0.1, 0.5, 2.0] if resident else [0.002, 0.02, 0.1, 0.3]))

    def calm(self) -> None:
        """Nobody holds anything back any more, or dies."""
        self.sim.hosts[0].crash_in_append(NEVER_APPENDS)
        self.jobs.tears.clear()
        for key, kernel_ns in self._plodding.items():
            self.sim.cards[key].kernel_ns = min(kernel_ns, MS)
        for user in self.jobs.live():
            user.hold(False)
        for host, key in list(self.jobs.drains):
            if not host.stopped:
                self.sim.start(ev.DrainCard(0, key, False), host)

    def give_up(self, keys: list[str]) -> None:
        """Cancel what can never end, as its host has none of the cards it may have: ``keys`` are those the host has."""
        for user in self.jobs.live():
            allowed = user.plan.cards or tuple(self.sim.cards)
            runs = any(self._runs(user, key) for key in keys if key in allowed)
            if not any(key in allowed for key in keys) or not (runs or user.plan.carries_image):
                user.cancel()

    def _runs(self, user: JobUser, key: str) -> bool:
        card = self.sim.hosts[0].cluster.sessions.by_key.get(key)
        return card is not None and card.image_digest == user.plan.image.digest

    # -- what happens

    def plan(self) -> JobPlan:
        """A job as it may come."""
        rng, keys = self.rng, list(self.sim.cards)
        memory = rng.choice(["keep", "poison", "forget"])
        units = rng.randint(1, self._longest)
        units = 150 if memory == "forget" and rng.random() < 0.2 else units  # enough to see what is not let go
        phased = units <= 20 and rng.random() < 0.15  # all of its units have to be there before any runs
        return self._resident(JobPlan(
            image=rng.choice(self.work.images), units=units,
            floats=rng.choice([(1, 1), (1, 300), (1, 300), (400, 2500)]),
            window=64 if phased else rng.choice([1, 4, 16, 64]),
            batch=rng.choice([1, 3, 64]), priority=rng.choice([0, 0, 0, 1, -2]),
            weight=rng.choice([1.0, 1.0, 0.2, 3.0]),
            cards=tuple(rng.sample(keys, rng.randint(1, len(keys)))) if rng.random() < 0.15 else (),
            carries_image=rng.random() < 0.85,
            unit_deadline_ms=rng.choice([300_000, 300_000, 10_000, 2_000, 200]), retries=rng.choice([1, 2, 3, 3]),
            keep_going=rng.random() < 0.5, speculate=rng.random() < 0.7, phased=phased,
            repeat=rng.choice([1, 1, 1, 1, 3]), depth=rng.choice([0, 0, 0, 1, 3, 8]),
            memory=memory, pinned=rng.choice([0.0, 0.0, 0.0, 0.3])))

    def _resident(self, plan: JobPlan) -> JobPlan:
        """Perhaps the same job with data on its cards, on few cards, or one that lasts."""
        rng = self._residents
        if rng.random() >= self.profile.resident_share:
            return plan
        units = plan.units if plan.phased or plan.memory == "forget" else rng.randint(10, 80)
        return replace(plan, resident_bytes=rng.choice(self.profile.resident_bytes), floats=(1, 300), units=units,
                       min_cards=rng.choice([0, 0, 1]), max_cards=rng.choice([0, 0, 0, 1, 2]),
                       lasting=plan.keep_going and rng.random() < 0.5)

    def submit(self) -> None:
        """A client comes with a job."""
        if len(self.jobs.users) < JOBS_MAX:
            self.jobs.add(self.plan(), self.rng)

    def cancel(self) -> None:
        """A client gives its job up."""
        for user in self._one():
            user.cancel()

    def again(self) -> None:
        """A client goes on with a job that was cancelled or failed."""
        over = [user for user in self.jobs.users if not user.live and user.state != "done"]
        if over:
            self.rng.choice(over).again()

    def client(self) -> None:
        """A client dies, and another one comes for its job."""
        for user in self._one():
            user.die()

    def hold(self) -> None:
        """A job starts no unit for a while."""
        for user in self._one():
            user.hold(True)
            self._later(self.rng.choice([0.05, 1.0, 4.0]), partial(user.hold, False))

    def change(self) -> None:
        """A job gets another priority, or weight."""
        for user in self._one():
            priority, weight = self.rng.choice([(self.rng.randint(-1, 2), None), (None, self.rng.choice([0.5, 5.0]))])
            self._change(user, priority, weight)

    def _change(self, user: JobUser, priority: int | None, weight: float | None) -> None:
        user.ask(lambda host, request: host.feed(ev.ChangeJob(request, priority, weight)))

    def drain(self) -> None:
        """A card is taken out of all jobs."""
        host = self.sim.hosts[0]
        keys = [key for key in self.sim.cards if not host.stopped and key in host.cluster.sessions.by_key]
        if keys:
            self.sim.start(ev.DrainCard(0, self.rng.choice(keys), True), host)

    def undrain(self) -> None:
        """A card may work for jobs again."""
        drained = [(host, key) for host, key in self.jobs.drains if not host.stopped]
        if drained:
            host, key = self.rng.choice(drained)
            self.sim.start(ev.DrainCard(0, key, False), host)

    def plod(self) -> None:
        """A card's kernels take far longer for a while."""
        key = self._card()
        node = self.sim.cards[key]
        if key in self._plodding:
            return
        self._plodding[key] = node.kernel_ns
        node.kernel_ns = max(PLOD * node.kernel_ns, 50 * MS)
        self._later(self.rng.choice([1.0, 10.0]), lambda: self._hurry(key))

    def _hurry(self, key: str) -> None:
        self.sim.cards[key].kernel_ns = self._plodding.pop(key, self.sim.cards[key].kernel_ns)

    def pull(self) -> None:
        """A cable is pulled, and put back later."""
        key = self._card()
        if self.sim.port(key).plugged:
            self.sim.unplug(key)
            self._later(self.rng.choice([0.1, 4.0, 20.0]), lambda: self._plug(key))

    def _plug(self, key: str) -> None:
        if not self.sim.port(key).plugged:
            self.sim.plug(key)

    def join(self) -> None:
        """One or two cards more, at once or nearly."""
        for _ in range(self.rng.randint(1, 2)):
            if len(self.sim.cards) < self.cards_max:
                self.sim.add_card()
                self.sim.run_for(self.rng.choice([0.0, 0.005, 0.06]))

    def fail(self) -> None:
        """The next reconfigurations of a card go wrong; of a new one, if there may be more."""
        rng = self.rng
        key = self.sim.add_card().key if len(self.sim.cards) < self.cards_max and rng.random() < 0.5 else self._card()
        self.sim.inject(key, rng.choice(["pr_error", "pr_crc", "pr_timeout"]), times=rng.choice([1, 1, 2, 5]))

    def host(self) -> None:
        """The host's process dies right before something that others can see."""
        host = self.sim.hosts[0]
        if not host.stopped:
            host.crash_after(self.rng.choice(BOUNDARIES), self._down_ns())

    def append(self) -> None:
        """The host's process dies inside a write to a journal."""
        host = self.sim.hosts[0]
        if not host.stopped:
            host.crash_in_append(self.rng.choice(APPENDS), self._down_ns())
            self.jobs.tears = [self.rng.choice(APPENDS) for _ in range(self.rng.choice([0, 1, 3]))]

    def _down_ns(self) -> int:
        return self.rng.choice([0, 1, 300, 2_000]) * MS

    def _one(self) -> list[JobUser]:
        live = self.jobs.live()
        return [self.rng.choice(live)] if live else []

    def _card(self) -> str:
        return self.rng.choice(list(self.sim.cards))

    def _later(self, longest_s: float, action: Callable[[], None]) -> None:
        self.sim.at(self.sim.now_ns + int(self.rng.uniform(0.01, longest_s) * 1e9), action)

    # -- the proof

    def prove(self, host: SimHost, keys: list[str]) -> JobUser | None:
        """A fresh job that every card of the first host has units of."""
        if not self.active or host is not self.sim.hosts[0] or not keys:
            return None
        assert all(host.cluster.sessions.by_key[key].state == st.AVAILABLE for key in keys)
        size = 50_000 if self.profile.resident_share else 0
        return self.jobs.add(JobPlan(self.rng.choice(self.work.images), 3 * len(keys), window=64, batch=64,
                                     resident_bytes=size), self.rng)


__all__ = ["DOINGS", "JobStorm"]
