"""Whose turn it is: jobs with units that wait, by their image, and how much of the cards each had.

Start-time fair queueing: the highest priority first, then the least service by weight. Who comes or wakes up starts at
the present virtual time of its priority, so that it neither starves nor takes all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safhost.core.jobs import Job


class Turns:
    """``by_image``: jobs with units that wait, by the digest of their image."""

    __slots__ = ("_clock", "by_image")

    def __init__(self) -> None:
        self.by_image: dict[bytes, dict[Job, None]] = {}
        self._clock: dict[int, float] = {}  # virtual time of each priority: service of the job served last

    def wake(self, job: Job) -> bool:
        """Units of the job wait; whether none did before."""
        ready = self.by_image.setdefault(job.digest, {})
        if job in ready:
            return False
        ready[job] = None
        job.service_ns = max(job.service_ns, self._clock.get(job.priority, 0.0))
        return True

    def wait_on(self, job: Job) -> None:
        """A unit of it could not go now after all: it waits with the service it had."""
        self.by_image.setdefault(job.digest, {})[job] = None

    def rest(self, job: Job) -> None:
        """No unit of it waits."""
        ready = self.by_image.get(job.digest)
        if ready is not None and job in ready:
            del ready[job]
            if not ready:
                del self.by_image[job.digest]

    def served(self, job: Job) -> None:
        """A unit of it goes to a card."""
        self._clock[job.priority] = max(self._clock.get(job.priority, 0.0), job.service_ns)

    def reprioritise(self, job: Job, priority: int) -> None:
        """It is among those of another priority from here on."""
        if priority != job.priority:
            job.priority = priority
            job.service_ns = self._clock.get(priority, 0.0)

    @staticmethod
    def in_turn(jobs: Iterable[Job]) -> list[Job]:
        """Who is next first."""
        return sorted(jobs, key=_turn)


def _turn(job: Job) -> tuple[int, float]:
    return -job.priority, job.service_ns


__all__ = ["Turns"]
