"""What tests of jobs share: a host that keeps what it was told of units, and jobs over simulated cards."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from safhost.core import events as ev
from safhost.core.actions import Action, JobNoted, RequestEnded, UnitEnded
from safhost.sim import SimImage, Simulation, make_image
from safhost.sim.images import plan_unit, three
from safhost.sim.nodes import SimHost

IMAGE = make_image(30_000)
OTHER = make_image(30_000, "other")


class JobHost(SimHost):
    """``units``: request → index → UnitEnded, at most one each; ``notes``: JobNoted in order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.units: dict[int, dict[int, UnitEnded]] = {}
        self.notes: list[JobNoted] = []
        self.on_unit: list[Any] = []

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, UnitEnded):
            of_job = self.units.setdefault(action.request, {})
            assert action.request not in self.ended, f"unit {action.index} was told after its job had ended"
            assert action.index not in of_job, f"unit {action.index} ended twice"
            of_job[action.index] = action
            for tell in self.on_unit:
                tell(action)
        elif isinstance(action, JobNoted):
            self.notes.append(action)
        super()._carry_out(action)


class JobSimulation(Simulation):
    host_class = JobHost


class JobRun:
    """One job over ``count`` units of ``kernel``, whose results are known. Memory of a unit is looked at when it
    ends and when the job does: nothing may write to it in between."""

    def __init__(self, sim: Simulation, image: SimImage, count: int, kernel: str = "ptrans", n: int = 32,
                 fed: bool = True, seed: int = 5, cards: dict[int, str] | None = None, with_image: bool = True,
                 only: tuple[str, ...] = (), **options: Any) -> None:
        self.sim = sim
        self.image = image
        self.kernel_name = kernel
        self.index, self.spec = image.kernel(kernel)
        self.n = n
        self.rng = np.random.default_rng(seed)
        self.memories: dict[int, np.ndarray[Any, Any]] = {}
        self.results: dict[int, np.ndarray[Any, Any]] = {}
        self.wanted: dict[int, np.ndarray[Any, Any]] = {}
        self.seen: dict[int, bytes] = {}
        self.bound = cards or {}
        self.host: JobHost = sim.host  # type: ignore[assignment]
        self.host.on_unit.append(self._unit_ended)
        job_image = ev.JobImage(image.payload, image.leaves, image.pr_compat_id) if with_image else None
        self.request = sim.start(ev.StartJob(0, image.digest, self.index, cards=only, image=job_image,
                                              **options))
        self.added = 0
        if count:
            self.add(count)
        if fed:
            self.end()

    def add(self, count: int, **changes: Any) -> None:
        units = []
        for index in range(self.added, self.added + count):
            shape = (self.n, self.n) if self.kernel_name == "ptrans" else (self.n,)
            a, b = (self.rng.random(shape, dtype=np.float32) for _ in range(2))
            plan = plan_unit(self.spec, (a, b))
            self.results[index] = plan.result
            self.wanted[index] = b + a.T
            self.memories[index] = plan.memory
            units.append(replace(ev.JobUnit(
                index, plan.memory, len(plan.memory), plan.inputs,
                tuple((offset, length, offset) for offset, length in plan.outputs), plan.block, plan.relocations,
                three(plan.global_size), work_dim=len(plan.global_size), card=self.bound.get(index, "")), **changes))
        self.added += count
        self.host.feed(ev.AddUnits(self.request, tuple(units)))

    def end(self) -> None:
        self.host.feed(ev.EndUnits(self.request))

    def change(self, **changes: Any) -> None:
        self.host.feed(ev.ChangeJob(self.request, **changes))

    def _unit_ended(self, ended: UnitEnded) -> None:
        if ended.request == self.request and ended.error is None:
            self.seen[ended.index] = self.memories[ended.index].tobytes()

    @property
    def units(self) -> dict[int, UnitEnded]:
        return self.host.units.get(self.request, {})

    @property
    def notes(self) -> list[JobNoted]:
        return [n for n in self.host.notes if n.request == self.request]

    def kinds(self) -> Counter[str]:
        return Counter(n.kind for n in self.notes)

    def by_card(self) -> Counter[str]:
        return Counter(u.card for u in self.units.values() if u.error is None)

    def until(self, count: int, timeout_s: float = 60.0) -> None:
        """Until so many units have ended."""
        self.sim.run_while(lambda: len(self.units) < count, timeout_s, f"{count} units")

    def wait(self, timeout_s: float = 300.0) -> RequestEnded:
        ended = self.sim.run_until(self.request, timeout_s)
        self.sim.run_for(0.05)  # for whatever comes late
        self.check()
        return ended

    def check(self) -> None:
        """Results of the units that ended well are right, and nobody wrote to them since."""
        for index, content in self.seen.items():
            assert np.array_equal(self.results[index], self.wanted[index]), f"unit {index} is wrong"
            assert self.memories[index].tobytes() == content, f"memory of unit {index} changed after its end"

    def right(self, timeout_s: float = 300.0) -> dict[str, Any]:
        """The whole job went well; returns its result."""
        ended = self.wait(timeout_s)
        assert ended.error is None, ended.error
        assert sorted(self.units) == list(range(self.added))
        assert all(u.error is None for u in self.units.values())
        assert ended.result["units"] == self.added
        return ended.result


def at_rest(sim: Simulation) -> None:
    """Assert that nothing is left of any job."""
    scheduler = sim.host.cluster.scheduler
    assert not scheduler.jobs
    assert not scheduler.turns.by_image
    for key in sim.cards:
        card = sim.host.cluster.sessions.by_key.get(key)
        if card is not None and card.state == "available":
            assert card.ddr.used_bytes == 0, key
            assert not card.units, key
