"""What goes wrong in a storm: disturbances of the kinds its seed chose, one at a time, each ending by itself or when
the storm ends."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from safhost.lab.card_faults import CRASH_STATES
from safhost.sim.faults import Impairment
from safhost.sim.forger import Forger
from safhost.sim.nodes import SimHost
from safhost.sim.profiles import DISTURBANCES, MS, Profile
from safhost.sim.simulation import Simulation
from safhost.wire.generated import SUITE_BLAKE2S

NETWORK = ("loss", "bursts", "duplication", "reordering", "delay", "corruption")
"""Kinds that are in the network all the time; the others strike now and then."""

BOUNDARIES = (0, 1, 2, 3, 5, 8, 13, 30, 100, 300)
SECOND_OWNER = 0x2000


class Weather:
    """Draws disturbances. ``counts`` says how often each kind struck."""

    def __init__(self, sim: Simulation, rng: random.Random, profile: Profile, kinds: frozenset[str],
                 cards_max: int) -> None:
        self.sim = sim
        self.rng = rng
        self.profile = profile
        self.kinds = kinds
        self.cards_max = cards_max
        self.counts: Counter[str] = Counter()
        self.takes_over = False
        self.forger: Forger | None = None
        self._strikes = [kind for kind in DISTURBANCES if kind in kinds and kind not in (*NETWORK, "rival", "forger")]

    def begin(self) -> None:
        """Faults of the network, the rival and the stranger."""
        sim, rng = self.sim, self.rng
        if any(kind in self.kinds for kind in NETWORK):
            for name in (*sim.cards, *([sim.hosts[0].name] if rng.random() < 0.3 else [])):
                sim.impair(name, self.impairment())
        if "rival" in self.kinds:
            self.rival()
        if "forger" in self.kinds and sim.suite == SUITE_BLAKE2S:
            rate_hz = rng.choice([5.0, 50.0, 500.0])
            self.forger = sim.add_forger(rate_hz)
            self.counts["forger"] += 1

    def end(self) -> None:
        """The stranger goes away."""
        if self.forger is not None:
            self.forger.stop()

    def impairment(self) -> Impairment:
        """Faults of one port; of the kinds chosen, each with some chance."""
        rng, profile, out = self.rng, self.profile, Impairment()
        chosen = {kind for kind in NETWORK if kind in self.kinds and rng.random() < 0.7}
        self.counts.update(chosen)
        if "loss" in chosen:
            out = replace(out, loss=rng.choice(profile.losses))
        if "bursts" in chosen:
            out = replace(out, burst=rng.choice(profile.bursts), burst_frames=rng.choice(profile.burst_frames))
        if "duplication" in chosen:
            out = replace(out, duplicate=rng.choice([0.01, 0.2]))
        if "reordering" in chosen:
            out = replace(out, reorder=rng.choice([0.02, 0.3]), reorder_ns=rng.choice([100_000, 20 * MS]),
                          reorder_frames=rng.choice([0, *profile.late_frames]))
        if "delay" in chosen:
            longest = rng.choice(profile.delays_ns)
            out = replace(out, delay_ns=rng.randrange(1_000, longest), jitter_ns=rng.choice([0, longest]))
        if "corruption" in chosen:
            out = replace(out, corrupt=rng.choice(profile.corruptions),
                          corrupt_control=rng.choice([0, 0.02]) if self.sim.suite == SUITE_BLAKE2S else 0.0)
        return out

    def strike(self) -> None:
        """One disturbance."""
        if not self._strikes or not self.sim.cards:
            return
        kind = self.rng.choice(self._strikes)
        key = self.rng.choice(list(self.sim.cards))
        act: Callable[[str], None] = getattr(self, kind)
        act(key)
        self.counts[kind] += 1

    def _later(self, longest_s: float, action: Callable[[], None]) -> None:
        self.sim.at(self.sim.now_ns + int(self.rng.uniform(0.01, longest_s) * 1e9), action)

    # -- network

    def partition(self, key: str) -> None:
        """A part of the cards, or hosts, cannot hear the rest."""
        sim, rng = self.sim, self.rng
        hosts = [host.name for host in sim.hosts]
        side = rng.sample(list(sim.cards), rng.randint(1, len(sim.cards)))
        other = hosts if rng.random() < 0.7 else [hosts[0]]
        a, b = (side, other) if rng.random() < 0.5 else (other, side)
        sim.partition(a, b, both=rng.random() < 0.5)
        self._later(rng.choice([0.5, 3, 14]), sim.heal)

    def flap(self, key: str) -> None:
        """A link goes down and up."""
        rng = self.rng
        name = key if rng.random() < 0.8 else rng.choice(self.sim.hosts).name
        self.sim.flap(name, rng.randint(1, 4), rng.choice([1, 50, 1500]) * MS, rng.choice([1, 50, 700]) * MS)

    def unplug(self, key: str) -> None:
        """A cable is out for a while."""
        self.sim.unplug(key)
        self._later(self.rng.choice([0.5, 3, 14]), lambda: self.sim.plug(key))

    def deaf(self, key: str) -> None:
        """A card's link is dead, or the card says nothing."""
        self.sim.inject(key, self.rng.choice(["dead_link", "mute"]))
        self._later(self.rng.choice([0.5, 3, 14]), lambda: self.calm(key))

    def slow(self, key: str) -> None:
        """The DDR of a card, or the port to it, is slow."""
        sim, rng = self.sim, self.rng
        if rng.random() < 0.5:
            sim.inject(key, "slow_ddr", rate=rng.choice([2_000_000, 50_000_000]))
            self._later(8, lambda: self.calm(key))
        else:
            sim.slow_port(key, rng.choice([2_000_000, 30_000_000]))
            self._later(8, lambda: sim.slow_port(key, 0))

    def calm(self, key: str) -> None:
        """End the lasting faults of a card's own."""
        faults = self.sim.cards[key].card.faults
        faults.dead_link = faults.mute = False
        faults.ddr_rate = 0

    # -- cards

    def crash(self, key: str) -> None:
        """A card dies, now or when it gets into a state."""
        rng = self.rng
        state = {"state": rng.choice(sorted(CRASH_STATES))} if rng.random() < 0.75 else {}
        self.sim.crash(key, restart_ms=rng.choice([10, 300, 3000, 12_000]), **state)

    def reboot(self, key: str) -> None:
        """A card loses everything."""
        self.sim.reboot(key)

    def reconfiguration(self, key: str) -> None:
        """The next reconfigurations of a card go wrong."""
        rng = self.rng
        self.sim.inject(key, rng.choice(["pr_error", "pr_crc", "pr_incompatible", "pr_timeout", "freeze_timeout",
                                         "ddr_timeout"]), times=rng.randint(1, 2))

    def hang(self, key: str) -> None:
        """The next kernels of a card never end."""
        self.sim.inject(key, "hang_kernel", times=self.rng.randint(1, 3))

    def role(self, key: str) -> None:
        """The next kernels of a card end with a fault."""
        self.sim.inject(key, "role_fault", times=self.rng.randint(1, 3))

    def memory(self, key: str) -> None:
        """Bytes of what is received next change before it is verified."""
        rng = self.rng
        self.sim.inject(key, "corrupt_ddr", offset=rng.randrange(2_000), count=rng.choice([1, 5, 300]))

    def join(self, key: str) -> None:
        """One more card."""
        if len(self.sim.cards) < self.cards_max:
            node = self.sim.add_card()
            self.sim.impair(node.key, self.impairment())

    # -- hosts

    def host(self, key: str) -> None:
        """A host's process dies, now or right before one of the next things that others can see."""
        sim, rng = self.sim, self.rng
        victim: SimHost = rng.choice(sim.hosts)
        down_ns = rng.choice([0, 1, 300, 2_000, 12_000]) * MS
        if victim.stopped:
            return
        if rng.random() < 0.3:
            sim.crash_host(victim, down_ns)
        else:
            then = tuple(rng.choice(BOUNDARIES[:5]) for _ in range(rng.choice([0, 0, 1, 2])))
            victim.crash_after(rng.choice(BOUNDARIES), down_ns, then)

    def rival(self) -> None:
        """A second host that wants the same cards."""
        self.takes_over = self.rng.random() < 0.5
        self.sim.add_host(owner=SECOND_OWNER, takeover=self.takes_over)
        self.counts["rival"] += 1
