"""Units of one job that wait for a card: in their order, those that failed somewhere first, or for one card alone."""

from __future__ import annotations

from collections import deque

from safhost.core.card import Card
from safhost.core.units import Unit


class UnitQueue:
    """``pending`` in the order they came, ``again`` those that were on a card before, ``bound`` by the key of the one
    card that they are for; ``count`` is of them all."""

    __slots__ = ("again", "bound", "count", "pending")

    def __init__(self) -> None:
        self.pending: deque[Unit] = deque()
        self.again: list[Unit] = []
        self.bound: dict[str, deque[Unit]] = {}
        self.count = 0

    def add(self, unit: Unit) -> None:
        """A unit that came."""
        key = unit.event.card
        if key and unit.job.may_come(key):
            self.bound.setdefault(key, deque()).append(unit)
        else:
            self.pending.append(unit)
        self.count += 1

    def add_again(self, unit: Unit) -> None:
        """A unit that a card failed, or was lost with."""
        self.again.append(unit)
        self.count += 1

    def take(self, card: Card) -> Unit | None:
        """The unit this card should do next, no longer waiting; None when none is for it."""
        mine = self.bound.get(card.key)
        if mine:
            unit = mine.popleft()
            if not mine:
                del self.bound[card.key]
        else:
            at = next((n for n, u in enumerate(self.again) if card.key not in u.failed_on
                       or not u.job.cluster.scheduler.others(u.job, u)), -1)
            if at >= 0:
                unit = self.again.pop(at)
            elif self.pending:
                unit = self.pending.popleft()
            else:
                return None
        self.count -= 1
        return unit

    def has_for(self, key: str) -> bool:
        """Whether a unit may be for this card."""
        return bool(self.pending or self.again or key in self.bound)

    def put_back(self, unit: Unit) -> None:
        """It is the first to be taken again, by its own card when it has one."""
        key = unit.event.card
        if key and key not in unit.failed_on and unit.job.may_come(key):
            self.bound.setdefault(key, deque()).appendleft(unit)
        else:
            self.again.insert(0, unit)
        self.count += 1

    def remove(self, unit: Unit) -> None:
        """It waits no longer, if it did; not for units that are bound to a card."""
        for queue in (self.pending, self.again):
            if unit in queue:
                queue.remove(unit)
                self.count -= 1

    def release(self, key: str) -> None:
        """The card is gone: what was for it alone is for all."""
        units = self.bound.pop(key, None)
        if units:
            self.pending.extendleft(reversed(units))

    def units(self) -> list[Unit]:
        """All that wait."""
        return [*self.again, *self.pending, *(u for queue in self.bound.values() for u in queue)]

    def clear(self) -> list[Unit]:
        """None waits any more: those that did."""
        units = self.units()
        self.pending.clear()
        self.again.clear()
        self.bound.clear()
        self.count = 0
        return units


__all__ = ["UnitQueue"]
