"""Taking a card out gently: it gets no more units, and the request ends when it works on none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safhost.core.actions import RequestEnded
from safhost.core.card import Card
from safhost.core.events import DrainCard
from safhost.errors import SafError

if TYPE_CHECKING:
    from safhost.core.cluster import Cluster


class DrainRequest:
    """``on`` False lets the card take units again, and ends requests that wait for it to be empty."""

    def __init__(self, cluster: Cluster, event: DrainCard, card: Card, now_ns: int) -> None:
        self.cluster = cluster
        self.request = event.request
        self.card = card
        self.on = event.on
        self.cards: list[Card] = []  # a drain is no work on the card: it is no reason to wait for one that is silent
        self.started_ns = now_ns
        self.ended = False

    def start(self, now_ns: int) -> None:
        self.card.draining = self.on
        scheduler = self.cluster.scheduler
        scheduler.cards_moved()
        if not self.on:
            for other in [r for r in scheduler.drains if r.card is self.card]:
                other.finish(now_ns)
            scheduler.touch(self.card)
            self.finish(now_ns)
            return
        scheduler.drains.append(self)
        scheduler.card_drains(self.card, now_ns)
        self.look(now_ns)

    def look(self, now_ns: int) -> None:
        """Whether it is empty by now."""
        if not self.card.units and not self.card.committing:
            self.finish(now_ns)

    def finish(self, now_ns: int, error: SafError | None = None) -> None:
        if self.ended:
            return
        self.ended = True
        if self in self.cluster.scheduler.drains:
            self.cluster.scheduler.drains.remove(self)
        self.cluster.end_request(self, RequestEnded(self.request, {
            "card": self.card.key, "draining": self.card.draining,
            "seconds": round((now_ns - self.started_ns) / 1e9, 6)}, error))

    def cancel(self, error: SafError, now_ns: int) -> None:
        """The card takes units again."""
        self.card.draining = False
        self.cluster.scheduler.touch(self.card)
        self.cluster.scheduler.cards_moved()
        self.finish(now_ns, error)


__all__ = ["DrainRequest"]
