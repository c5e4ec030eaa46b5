"""Kernels that do not end: a card whose kernel passed its deadline is reset.

So is one whose kernel goes on for very much longer than others after another card did its unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core.card import Card
from safhost.core.commands import KillCommand
from safhost.core.units import Attempt
from safhost.errors import SafError

if TYPE_CHECKING:
    from safhost.core.scheduler import Scheduler

HANGS_MEDIANS = 20  # a kernel that nobody waits for any more hangs after so many times what the median unit takes,
HANGS_NS = 5_000_000_000  # and so long at least


class Hangs:
    """``waiting``: attempts that lost a race, and when they are taken for hung."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.waiting: list[tuple[Attempt, int]] = []

    def kill(self, card: Card, guilty: Attempt, now_ns: int) -> None:
        """A kernel passed its deadline: the role is reset, and what else it runs is tried again."""
        if card.killing or not card.usable:
            return
        card.killing = True
        for attempt in card.attempts():
            if attempt is not guilty:
                attempt.innocent = True
        KillCommand(self.scheduler.cluster, card, self).start(now_ns)

    def on_command_ended(self, command: KillCommand, error: SafError | None, now_ns: int) -> None:
        """A KILL of ours was carried out, or the card is gone."""
        command.card.killing = False
        self.scheduler.touch(command.card)

    def left_running(self, attempt: Attempt) -> None:
        """Another attempt was done first. A kernel that goes on for very much longer hangs: its card is reset then."""
        median_ns = attempt.unit.job.median_ns() or 0
        self.waiting.append((attempt, attempt.run_ns + int(max(HANGS_MEDIANS * median_ns, HANGS_NS))))

    def look(self, now_ns: int) -> None:
        """Reset what hangs; called now and then."""
        left = []
        for attempt, late_ns in self.waiting:
            if attempt not in attempt.card.units:
                continue
            if now_ns < late_ns:
                left.append((attempt, late_ns))
            else:
                self.kill(attempt.card, attempt, now_ns)
        self.waiting = left


__all__ = ["Hangs"]
