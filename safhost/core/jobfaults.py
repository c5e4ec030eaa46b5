"""Who is to blame when a unit fails on a card: the network, the card, or the unit itself.

A card that went away, or was programmed under a unit, is nobody's fault. A kernel that hangs, is killed or
faults may do better elsewhere: after a number of cards the unit is at fault. A card that fails several units in a row
which others can do is left out of the job. Anything else that a card refuses is wrong with the unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core.units import Attempt
from safhost.errors import CardLost, CommandFailed, DeadlineExceeded, SafError, SchedulingError
from safhost.wire.generated import Status

if TYPE_CHECKING:
    from safhost.core.jobs import Job

MAX_MOVES = 32  # cards that may go away under one unit: more is not bad luck, the unit takes them down
EXCLUDE_FAILS = 3  # units in a row that a card fails and others can do
_FREE_STATUS = (Status.BAD_EPOCH, Status.NO_ROLE)  # the card was programmed in between: nobody is at fault
_CARD_STATUS = (Status.KILLED, Status.DEADLINE, Status.ROLE_FAULT)  # another card may do it


def fault_of_unit(job: Job, attempt: Attempt, error: SafError, now_ns: int) -> SafError | None:
    """The error the unit ends with, None when it may be tried again. A card whose kernel hangs is reset."""
    unit, card, index = attempt.unit, attempt.card, attempt.unit.event.index
    if isinstance(error, CardLost):
        unit.moves += 1
        if unit.moves > MAX_MOVES:
            return SchedulingError(f"unit {index}: {unit.moves} cards went away with it; last: {error.message}",
                                   "does it take cards down?")
        return None
    status = error.status if isinstance(error, CommandFailed) else 0
    if status in _FREE_STATUS or (status in (Status.KILLED, Status.DEADLINE) and attempt.innocent):
        unit.moves += 1
        return None if unit.moves <= MAX_MOVES else SchedulingError(
            f"unit {index}: cards were programmed {unit.moves} times under it", "who programs them?")
    if status and status not in _CARD_STATUS:
        return CommandFailed(f"unit {index}: {error.message}", error.hint, "", status)
    if status == Status.DEADLINE or isinstance(error, DeadlineExceeded):
        job.cluster.scheduler.hangs.kill(card, attempt, now_ns)
    share = job.share(card)
    share.fails += 1
    share.waits = share.fails >= EXCLUDE_FAILS
    unit.failed_on = (*unit.failed_on, card.key)
    if len(unit.failed_on) >= job.retries:
        for key in unit.failed_on:  # not the cards' fault
            job.shares[key].fails, job.shares[key].waits = 0, False
        names = ", ".join(f"card {key}" for key in dict.fromkeys(unit.failed_on))
        return SchedulingError(f"unit {index} failed {len(unit.failed_on)} times (on {names}); last: "
                               f"{error.message}", error.hint)
    return None


def blame(job: Job, attempt: Attempt) -> None:
    """A card has done what others failed: those that fail often are left out."""
    for key in attempt.unit.failed_on:
        share = job.shares.get(key)
        if key == attempt.card.key or share is None:
            continue
        share.blamed += 1
        if share.waits and not share.excluded:
            share.excluded = f"failed {share.fails} units in a row, and others did them"
            job.queue.release(key)
            job.cluster.scheduler.cards_moved()
            job.note("card_excluded", job.cluster.sessions.by_key.get(key), share.excluded)


__all__ = ["blame", "fault_of_unit"]
