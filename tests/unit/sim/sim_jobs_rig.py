"""What tests of jobs in the simulation share: a small cluster whose jobs all invariants look at."""

from __future__ import annotations

import random

from safhost.sim import Simulation, make_image
from safhost.sim.job_units import JobPlan
from safhost.sim.ledger import Ledger
from safhost.sim.storm import INVARIANTS

IMAGE, OTHER = make_image(8_000), make_image(20_000, "2")


class World:
    """A small cluster whose jobs are watched by all invariants."""

    def __init__(self, cards=2, seed=5, program=True, **options):
        self.sim = Simulation(seed, cards=cards, card={"ddr_bytes": 4 << 20}, **options)
        self.ledger = Ledger(self.sim)
        self.by_name = {make.name: make(self.sim, self.ledger) for make in INVARIANTS}
        for invariant in self.by_name.values():
            self.sim.observe(invariant)
            self.ledger.judges.append(invariant.on_ended)
        self.jobs = self.ledger.jobs
        self.sim.settle()
        if program:
            assert self.sim.run_until(self.sim.program(IMAGE)).error is None

    def check(self, name):
        self.by_name[name].check()

    def job(self, units=6, image=IMAGE, **options):
        return self.jobs.add(JobPlan(image, units, **options), random.Random(7))

    def end(self, user, seconds=100.0):
        self.sim.run_while(lambda: user.live, seconds, user.name)
        return user.state

    def rest(self):
        self.sim.run_for(15)
        for invariant in self.by_name.values():
            invariant.check()
            invariant.at_rest()
