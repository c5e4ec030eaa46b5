"""What the role tests share: a card's memory, a pool driven by hand, images made from source text."""

from __future__ import annotations

import mmap
import os
import select
import time
from dataclasses import dataclass, field

import numpy as np

from safhost.lab.role_pool import BuildJob, RolePool, RoleResult, RunJob
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.layout import plan_arguments
from safhost.plan.rbf import pack_payload, parse_emulation

DDR_BYTES = 8 << 30
TIMEOUT_S = 60
"""Bound of every wait: reached only when something is broken."""


def emulation_of(package: KernelPackage, files):
    """The emulation section as a card finds it in its payload."""
    return parse_emulation(pack_payload(package.pr_compat_id, package.to_dict(), files).data)


def package_of(kernels, sources=("k.cl",), **more):
    return KernelPackage.from_dict({"name": "test", "sources": list(sources), "kernels": kernels, **more})


@dataclass
class Bench:
    """One pool and one card (id 1) with 8 GiB of sparse memory."""

    pool: RolePool
    fd: int
    memory: np.ndarray
    kept: dict[int, RoleResult] = field(default_factory=dict)

    def wait(self, *tickets: int) -> list[RoleResult]:
        """Results of these tickets, in their order."""
        poller = select.poll()
        poller.register(self.pool, select.POLLIN)
        end = time.monotonic() + TIMEOUT_S
        while not all(t in self.kept for t in tickets):
            assert time.monotonic() < end, f"no result for {set(tickets) - set(self.kept)}"
            deadline_ns = self.pool.deadline_ns()
            left_ns = 10**9 if deadline_ns is None else deadline_ns - time.monotonic_ns()
            poller.poll(max(0, left_ns) // 1_000_000 + 1)
            self.kept.update({r.ticket: r for r in self.pool.poll(time.monotonic_ns())})
        return [self.kept.pop(t) for t in tickets]

    def submit(self, job, card_id=1):
        return self.pool.submit(card_id, job, time.monotonic_ns())

    def build(self, package, files, card_id=1):
        return self.build_found(emulation_of(package, files), card_id)

    def build_found(self, found, card_id=1):
        result, = self.wait(self.submit(BuildJob(found.key, found.manifest, found.archive), card_id))
        return found.key, result

    def prepare(self, key, spec, *arrays, base=1 << 20, role_bytes=DDR_BYTES, **values):
        """Write inputs into the card's memory; returns the job and the plan."""
        plan = plan_arguments(spec, spec.bind(*arrays, **values), base, role_bytes)
        for array, address in plan.writes:
            self.memory[address:address + array.nbytes] = array.reshape(-1).view(np.uint8)
        return RunJob(key, spec.name, plan.block, role_bytes, plan.global_size, plan.local_size), plan

    def outputs(self, plan):
        return {name: self.memory[at:at + read.length_bytes].view(dtype).reshape(shape).copy()
                for read in plan.reads for name, at, shape, dtype in [read]}

    def run(self, key, spec, *arrays, **values):
        job, plan = self.prepare(key, spec, *arrays, **values)
        result, = self.wait(self.submit(job))
        return result, self.outputs(plan)


def make_memory():
    fd = os.memfd_create("card-ddr", os.MFD_CLOEXEC)
    os.ftruncate(fd, DDR_BYTES)
    return fd, np.frombuffer(mmap.mmap(fd, DDR_BYTES), np.uint8)


def make_bench(**options):
    fd, memory = make_memory()
    pool = RolePool(**options)
    pool.add_card(1, fd)
    return Bench(pool, fd, memory)


def close_bench(bench):
    bench.pool.close()
    os.close(bench.fd)
