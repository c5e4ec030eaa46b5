"""Everything at once, by seed: jobs of all kinds while cards die, reboot, lose their cables and the network is bad.

Whatever happens: every request ends, what ends without an error is right, nobody is left waiting, nothing leaks.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from safhost.core import events as ev
from safhost.errors import SafError
from safhost.sim import Impairment, Simulation, make_image
from safhost.wire.generated import ReadSpace

IMAGES = [make_image(60_000), make_image(45_000, "2")]


class Storm:
    """One run. ``checks`` hold for each request what has to be true if it ended without an error."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.suite = rng.choice([0, 1])
        faults = Impairment(loss=rng.choice([0, 0, 0.01, 0.1, 0.2]), duplicate=rng.choice([0, 0.1]),
                            reorder=rng.choice([0, 0.1]), reorder_ns=rng.choice([100_000, 20_000_000]),
                            corrupt=rng.choice([0, 0, 0.002]),
                            corrupt_control=rng.choice([0, 0.02]) if self.suite else 0)
        self.sim = Simulation(seed, cards=rng.randint(1, 6), suite=self.suite, impairment=faults,
                              kernel_ns=rng.choice([1_000, 1_000_000, 100_000_000]),
                              rate_bytes_s=rng.choice([20_000_000, 1_250_000_000]), card={"ddr_bytes": 4 << 20},
                              core={"takeover": True})
        self.checks = {}
        self.out = set()
        self.generation = 1

    def pick(self):
        keys = [k for k in self.sim.cards if k in self.sim.host.cluster.sessions.by_key]
        return tuple(self.rng.sample(keys, self.rng.randint(1, len(keys)))) if keys else ()

    def ask(self):
        sim, rng, cards = self.sim, self.rng, self.pick()
        if not cards:
            return
        kind = rng.choice(["program", "write", "read", "run", "unit", "unit", "unit", "kill"])
        noise = np.random.default_rng(rng.randrange(1 << 30))
        if kind == "program":
            image = rng.choice(IMAGES)
            request = sim.program(image, cards, commit=rng.random() < 0.8, force=rng.random() < 0.1)
            self.checks[request] = lambda: True
        elif kind == "write":
            data = noise.integers(0, 256, rng.randint(1, 80_000), dtype=np.uint8)
            request = sim.write(data, rng.randrange(2 << 20, 3 << 20, 64), cards,
                                prefer_bytes=rng.choice([None, 20_000]))
            self.checks[request] = lambda: True
        elif kind == "read":
            out = np.zeros(rng.randint(0, 200_000), np.uint8)
            request = sim.start(ev.StartRead(0, cards[0], ReadSpace.DDR, rng.randrange(0, 1 << 21), out))
            self.checks[request] = lambda: True
        elif kind == "run":
            request = sim.start(ev.StartRun(0, cards, 0xFFFF, group=rng.random() < 0.5,
                                            deadline_ms=rng.choice([0, 2000])))
            self.checks[request] = lambda: True
        elif kind == "kill":
            request = sim.start(ev.StartKill(0, cards[0]))
            self.checks[request] = lambda: True
        else:
            n = rng.randint(1, 40)
            a, b = (noise.random((n, n), dtype=np.float32) for _ in range(2))
            request, result = sim.unit(rng.choice([IMAGES[0], *IMAGES]), "ptrans", a, b,
                                       cards=cards if rng.random() < 0.2 else ())
            self.checks[request] = lambda: np.array_equal(result, b + a.T)
        if rng.random() < 0.1:
            sim.run_for(rng.random() * 0.05)
            sim.host.feed(ev.RequestCancelled(request))

    def disturb(self):
        sim, rng = self.sim, self.rng
        key = rng.choice(list(sim.cards))
        kind = rng.choice(["crash", "reboot", "unplug", "hang", "corrupt", "pr", "join", "restart"])
        if kind == "crash":
            sim.crash(key, restart_ms=rng.randint(10, 3000), **({"state": rng.choice(
                ["receiving", "verifying", "feed", "running", "reading", "opened"])} if rng.random() < 0.5 else {}))
        elif kind == "reboot":
            sim.reboot(key)
        elif kind == "unplug" and key not in self.out:
            sim.unplug(key)
            self.out.add(key)
        elif kind == "hang":
            sim.inject(key, "hang_kernel")
        elif kind == "corrupt":
            sim.inject(key, "corrupt_ddr", offset=rng.randrange(1000), count=5)
        elif kind == "pr":
            sim.inject(key, rng.choice(["pr_error", "pr_crc", "freeze_timeout"]))
        elif kind == "join" and len(sim.cards) < 8:
            sim.add_card()
        elif kind == "restart" and rng.random() < 0.3:
            self.generation += 1
            sim.restart_host(max([self.generation, *sim.host.generations]))
            self.checks.clear()  # its clients went with it
        if self.out and rng.random() < 0.5:
            back = self.out.pop()
            sim.plug(back)

    def run(self):
        sim, rng = self.sim, self.rng
        sim.run_for(rng.random())
        if rng.random() < 0.8 and (cards := self.pick()):
            self.checks[sim.program(IMAGES[0], cards)] = lambda: True
            sim.run_for(rng.choice([0.1, 2]))
        for _ in range(rng.randint(5, 25)):
            self.ask()
            if rng.random() < 0.25:
                self.disturb()
            if rng.random() < 0.5:
                sim.run_for(rng.choice([0.0001, 0.01, 0.3]))
            sim.validate()
        for key in self.out:
            sim.plug(key)
        for node in sim.cards.values():
            node.card.faults.clear()
            if node.card.is_dead:
                sim.reboot(node.key)
        self.out.clear()
        sim.settle(120)
        for key in sim.cards:  # hung kernels hold their slots until somebody kills them
            if key in sim.host.cluster.sessions.by_key:
                self.checks[sim.start(ev.StartKill(0, key))] = lambda: True
        killed_ns = sim.now_ns

        def waiting():
            nonlocal killed_ns
            if sim.now_ns > killed_ns + 5e9:
                killed_ns = sim.now_ns
                for key in sim.cards:
                    if key in sim.host.cluster.sessions.by_key:
                        sim.start(ev.StartKill(0, key))
            return any(r not in sim.host.ended for r in self.checks)

        sim.run_while(waiting, 400, f"{[r for r in self.checks if r not in sim.host.ended]} of {len(self.checks)}")
        for request, check in self.checks.items():
            error = sim.host.ended[request].error
            assert error is None or isinstance(error, SafError)
            if error is None:
                assert check(), f"request {request} ended well and is wrong"
        for key, node in sim.cards.items():
            sim.impair(key, Impairment())
            node.kernel_ns = 1000
        sim.run_for(15)
        sim.settle()
        self.at_rest()

    def at_rest(self):
        """With all requests ended, nothing may be left of them."""
        cluster = self.sim.host.cluster
        self.sim.validate()
        assert not cluster.transfers.active
        assert not cluster.requests
        assert not cluster.unit_queue
        assert cluster.read_outstanding == 0
        for key in self.sim.cards:
            card = self.sim.view(key)
            assert not card.units, key
            assert card.ddr.used_bytes == 0, key
            assert not card.pending, (key, list(card.pending))
            assert not card.reads, key
            assert not card.staging, key
            assert not card.committing, key
            assert not any(slot.busy for slot in card.slots), key
            assert not card.ddr_live, key
            assert not card.ddr_waiting, key
            assert not card.open_queue, key
            live = [t for t in self.sim.cards[key].card.snapshot()["transfers"] if t["state"] != "verified"]
            assert not live, (key, live)


def weather(seed):
    print(f"seed {seed}")
    storm = Storm(seed)
    try:
        storm.run()
    finally:
        storm.sim.close()
    return storm


@pytest.mark.parametrize("seed", range(1, 13))
def test_storm_ends_with_nothing_left(seed):
    weather(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_storms_of_hundreds_of_seeds():
    for seed in range(1000, 1400):
        weather(seed)
