"""Simulations for tests: the seed is printed, the invariants are checked afterwards, the cards' memory goes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from core_jobs_rig import IMAGE, JobSimulation, at_rest

from safhost.sim import Simulation


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulation]]:
    """``simulate(seed, settled=True, …)`` makes a Simulation and waits until all its cards have sessions."""
    made: list[Simulation] = []

    def make(seed: int = 1, settled: bool = True, **options: Any) -> Simulation:
        print(f"seed {seed}")
        sim = Simulation(seed, **options)
        made.append(sim)
        if settled:
            sim.settle()
        return sim

    yield make
    for sim in made:
        sim.validate()
        sim.close()


@pytest.fixture
def jobs() -> Iterator[Callable[..., JobSimulation]]:
    """``jobs(seed, image=IMAGE, …)``: a simulation whose cards run ``image``; jobs leave nothing behind."""
    made: list[JobSimulation] = []

    def make(seed: int = 1, image: Any = IMAGE, **options: Any) -> JobSimulation:
        print(f"seed {seed}")
        sim = JobSimulation(seed, **options)
        made.append(sim)
        sim.settle()
        if image is not None:
            assert sim.run_until(sim.program(image)).error is None
        return sim

    yield make
    for sim in made:
        sim.validate()
        sim.run_for(1)  # kernels that nobody waits for end
        at_rest(sim)
        sim.close()
