"""Jobs whose second array lies on the cards: ptrans with B resident, C = B + A^T of each unit's A."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from core_jobs_rig import IMAGE, JobRun

from safhost.core import events as ev
from safhost.plan.layout import plan_arguments
from safhost.sim import Simulation
from safhost.sim.images import SimImage, three
from safhost.wire.digest import leaf_digests, root_digest

PIECE_BYTES = 100_000


def hashed(data: np.ndarray[Any, Any]) -> tuple[bytes, bytes]:
    leaves = leaf_digests(data.data)
    return leaves, root_digest(leaves)


class ResidentRun(JobRun):
    """As JobRun; ``pad`` bytes in front of B make the resident data larger than a unit needs."""

    def __init__(self, sim: Simulation, count: int, image: SimImage = IMAGE, n: int = 32, pad: int = 4096 * 60,
                 seed: int = 5, **options: Any) -> None:
        rng = np.random.default_rng(seed + 1000)
        self.b = rng.random((n, n), np.float32)
        self.at = pad
        self.payload = np.concatenate([rng.integers(0, 256, pad, np.uint8), self.b.reshape(-1).view(np.uint8)])
        pieces = tuple((at, len(part), *hashed(part)) for at in range(0, len(self.payload), PIECE_BYTES)
                       for part in [self.payload[at:at + PIECE_BYTES]])
        super().__init__(sim, image, count, n=n, seed=seed, resident=ev.JobResident(self.payload, pieces), **options)

    def add(self, count: int, **changes: Any) -> None:
        units = []
        for index in range(self.added, self.added + count):
            a = self.rng.random((self.n, self.n), dtype=np.float32)
            plan = plan_arguments(self.spec, self.spec.bind(a, self.b), 0, 1 << 40, resident={"B": self.at})
            memory = np.zeros(plan.end, np.uint8)
            (array, address), = plan.writes
            memory[address:address + array.nbytes] = array.reshape(-1).view(np.uint8)
            (read,) = plan.reads
            result = memory[read.address:read.address + read.length_bytes]
            self.results[index] = result.view(np.float32).reshape(a.shape)
            self.wanted[index] = self.b + a.T
            self.memories[index] = memory
            offsets = {arg.name: arg.csr_offset for arg in self.spec.args if arg.kind == "buffer"}
            unit = ev.JobUnit(
                index, memory, len(memory), ((address, array.nbytes, *hashed(memory[address:address + array.nbytes])),),
                ((read.address, read.length_bytes, read.address),), plan.block, (offsets["A"], offsets["C"]),
                three(plan.global_size), work_dim=len(plan.global_size), card=self.bound.get(index, ""),
                resident=(offsets["B"],))
            units.append(replace(unit, **changes))
        self.added += count
        self.host.feed(ev.AddUnits(self.request, tuple(units)))

    def loads(self) -> list[str]:
        """Cards in the order in which they had the data."""
        return [n.card for n in self.notes if n.kind == "resident" and "seconds" in n.info]
