"""Between cards and the processes that run their kernels: jobs out, kills out, results back."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from safhost.lab.loop import Alarm, Loop
from safhost.lab.role_pool import BuildJob, RolePool, RunJob

if TYPE_CHECKING:
    from safhost.lab.ports import CardSlot


class RoleBroker:
    """One role pool for all cards of a lab. A card's own ticket is known to that card alone."""

    def __init__(self, loop: Loop, pool: RolePool) -> None:
        self.pool = pool
        self._loop = loop
        self._alarm = Alarm(self._on_alarm)
        self._owners: dict[int, tuple[CardSlot, int]] = {}
        self._tickets: dict[tuple[int, int], int] = {}
        self._memory: dict[int, int] = {}
        loop.add(pool.fileno(), select.EPOLLIN, self._on_event)

    def collect(self, slot: CardSlot, now_ns: int) -> None:
        """Take the card's new jobs and kills. Cheap when there are none: called after every frame."""
        card = slot.card
        kills = card.take_role_kills()
        if kills:
            for ticket in kills:
                own = self._tickets.pop((slot.number, ticket), None)
                if own is not None:
                    # Its result may be waiting already; the card no longer wants it.
                    self._owners.pop(own, None)
                    self.pool.kill(own)
        jobs = card.take_role_jobs()
        if not jobs:
            return
        for job in jobs:
            if not job.kernel:
                own = self.pool.submit(slot.number, BuildJob(job.key, job.manifest, job.archive), now_ns)
            else:
                if self._memory.get(slot.number) != job.memory_fd:
                    if slot.number in self._memory:
                        self.pool.drop_card(slot.number)
                    self.pool.add_card(slot.number, job.memory_fd)
                    self._memory[slot.number] = job.memory_fd
                own = self.pool.submit(slot.number, RunJob(job.key, job.kernel, job.block, job.role_bytes,
                                                           job.global_size, job.local_size), now_ns)
            self._owners[own] = (slot, job.ticket)
            self._tickets[slot.number, job.ticket] = own
        self._loop.set_alarm(self._alarm, self.pool.deadline_ns())

    def _on_event(self, _mask: int, now_ns: int) -> None:
        self._finish(now_ns)

    def _on_alarm(self, now_ns: int) -> None:
        self._finish(now_ns)

    def _finish(self, now_ns: int) -> None:
        touched: dict[int, CardSlot] = {}
        for result in self.pool.poll(now_ns):
            owner = self._owners.pop(result.ticket, None)
            if owner is None:
                continue
            slot, ticket = owner
            self._tickets.pop((slot.number, ticket), None)
            slot.card.role_finished(ticket, result.status, result.kernel_ns, result.error, now_ns)
            touched[slot.number] = slot
        for slot in touched.values():
            slot.settle(now_ns)
        self._loop.set_alarm(self._alarm, self.pool.deadline_ns())

    def close(self) -> None:
        """End all worker processes."""
        self._loop.remove(self.pool.fileno())
        self.pool.close()
