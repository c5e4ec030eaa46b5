"""Units of a job that are laid out and not over: how many there may be, where they lie, which of them go when.

At most a window of units is outstanding, so that memory stays bounded however many there are. Nothing here locks: the
job does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from safhost.arena import Arenas
from safhost.core.ranges import Ranges
from safhost.joborder import Order
from safhost.runtime.messages import SharedMemory
from safhost.unitplan import Layout, Views

WINDOW_UNITS = 64
WINDOW_BYTES = 64 << 20  # touched over and over: every page of it costs both sides a fault at first
ROOM_PER_CARD = 8  # units that a card works on at once, at most
UNITS_PER_CARD = 16  # outstanding at least: twice the deepest pipeline the scheduler makes
LARGE_UNITS_PER_CARD = 3  # where the bytes bound it: one computes, one comes, one goes
LARGE_WINDOW_BYTES = 1 << 30
BATCH_UNITS = 256
HOLD_SHARE = 4  # units wait to be sent with others while the service has this many times as many
HOLD_BYTES = 256 << 10  # or until they are so large together


class Flight:
    """A unit that is outstanding. ``places``: what puts its results into ``out``."""

    __slots__ = ("arguments", "card", "layout", "offset", "places", "tag")

    def __init__(self, layout: Layout, offset: int, arguments: str | None, card: str | None,
                 places: list[Callable[[Any], None]] | None, tag: Any) -> None:
        self.layout = layout
        self.offset = offset
        self.arguments = arguments
        self.card = card
        self.places = places
        self.tag = tag


class Outstanding:
    """``flights`` by their units' indices."""

    def __init__(self, order: Order, arenas: Arenas) -> None:
        self.flights: dict[int, Flight] = {}
        self._order = order
        self._unsent: list[int] = []
        self._views = Views()
        self._arenas = arenas
        self._arena = arenas.take(WINDOW_BYTES if not order.phased and order.window is None else 1 << 62)
        self._told_bytes = 0  # of the arena
        self._window = order.window or (1 << 62 if order.phased else WINDOW_UNITS)
        self._cards = 1
        self._working: set[str] = set()
        self._prompt_units = 0  # of an ephemeral job: with fewer than this outstanding none waits for others to go with

    # -- room ------------------------------------------------------------------------------------------------

    def room(self, span: int, behind: int) -> int | None:
        """Offset of a place in the arena; None while there is none, or the window is full. ``behind``: results that
        wait for somebody to take them."""
        if len(self.flights) + behind >= self._window:
            return None
        offset = self._arena.take(span)
        return self._stretch(span) if offset is None else offset

    def _stretch(self, span: int) -> int | None:
        """A place, also beyond the usual bound when units are so large that cards would idle."""
        need = max(2 * span, min(LARGE_UNITS_PER_CARD * self._cards * span, LARGE_WINDOW_BYTES))
        self._arena.limit_bytes = max(self._arena.limit_bytes, need)
        return self._arena.take(span)

    def give_back(self, layout: Layout, offset: int) -> None:
        """Nobody needs the place any more."""
        self._arena.give_back(offset, layout.span)

    def inputs(self, layout: Layout, offset: int) -> list[NDArray[Any]]:
        """Where a unit's inputs lie."""
        return self._views.of(layout, self._arena.memory.array, offset)[0]

    def outputs(self, flight: Flight) -> list[NDArray[Any]]:
        """Where its outputs lie."""
        return self._views.of(flight.layout, self._arena.memory.array, flight.offset)[1]

    def widen(self, cards: int) -> None:
        """As much as ``cards`` cards need."""
        self._cards = cards
        order = self._order
        if order.ephemeral:
            self._prompt_units = (order.depth or ROOM_PER_CARD) * order.compute_units * cards
        if order.window is None and not order.phased:
            self._window = max(WINDOW_UNITS, max(UNITS_PER_CARD, order.depth + 1) * order.compute_units * cards)

    def card_works(self, card: str) -> bool:
        """One more may have come after the job began: it must not idle for want of units. Whether it makes room."""
        self._working.add(card)
        if len(self._working) <= self._cards:
            return False
        self.widen(len(self._working))
        return True

    # -- sending ---------------------------------------------------------------------------------------------

    def add(self, index: int, flight: Flight) -> None:
        """It is laid out, and to be sent."""
        self.flights[index] = flight
        self._unsent.append(index)

    def should_send(self) -> bool:
        """Whether what was laid out goes now, or waits for more to go with it."""
        waiting = len(self._unsent)
        if not waiting:
            return False
        sent = len(self.flights) - waiting
        if sent < self._prompt_units:
            return True  # a card may have room for it now
        return waiting >= BATCH_UNITS or HOLD_SHARE * waiting >= sent or \
            waiting * self.flights[self._unsent[-1]].layout.span >= HOLD_BYTES

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def batch(self) -> tuple[list[tuple[int, Flight]], SharedMemory | None]:
        """(units to send now, the arena where it is longer than was told)."""
        batch, self._unsent = self._unsent[:BATCH_UNITS], self._unsent[BATCH_UNITS:]
        memory = self.memory() if batch and self._arena.length != self._told_bytes else None
        return [(i, self.flights[i]) for i in batch], memory

    def memory(self) -> SharedMemory:
        """The arena, with a descriptor of its own, on its way to the service."""
        memory = self._arena.memory.part(self._arena.length)
        self._told_bytes = memory.length
        return memory

    def again(self, done: Ranges) -> list[int]:
        """The service is another one: units are to be sent again but those ``done``, which are returned."""
        self._unsent = sorted(i for i in self.flights if i not in done)
        return [i for i in self.flights if i in done]

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self, good: bool) -> None:
        """``good``: the job went well, so that nobody looks into the arena any more."""
        self._arenas.give_back(self._arena, good)
        self._views.clear()
        self.flights.clear()


__all__ = ["Flight", "Outstanding"]
