"""Simulations for tests: the seed is printed, the invariants are checked afterwards, the cards' memory goes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

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
