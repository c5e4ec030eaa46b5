"""PTRANS spread over the cards of a cluster by tiles, while cards come and go: the working half of the demo.

C = B + Aᵀ is cut into square tiles. A tile of C needs the same tile of B and the mirrored one of A; each is one
work unit, and the cluster gives it to whichever card is free, again to another one when a card is lost.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import CardError, SafError

Matrix = NDArray[np.float32]

SEED = 5489
"""Default seed of mt19937, which HPCC FPGA fills its matrices with."""

RANGE = 100.0
"""Values are uniform in ±100 (HPCC FPGA, PTRANS)."""

ERROR_BOUND = 100.0 * float(np.finfo(np.float32).eps)
"""Largest error that HPCC FPGA's PTRANS accepts."""

UNITS_AHEAD_PER_CARD = 3
"""Units handed over before the first ends: one computes, one travels, one waits."""

WAIT_S = 1.0
JOIN_TIMEOUT_S = 120.0


def make_matrices(n: int) -> tuple[Matrix, Matrix]:
    """A and B, (n, n) float32, the same at every call."""
    generator = np.random.default_rng(SEED)
    made = []
    for _ in range(2):
        matrix = generator.random((n, n), np.float32)
        matrix *= np.float32(2 * RANGE)
        matrix -= np.float32(RANGE)
        made.append(matrix)
    return made[0], made[1]


def tiles(n: int, side: int) -> Iterator[tuple[slice, slice]]:
    """(rows, columns) of the tiles of a square matrix of side n; those at the edges may be smaller."""
    for top in range(0, n, side):
        for left in range(0, n, side):
            yield slice(top, min(n, top + side)), slice(left, min(n, left + side))


def largest_error(a: Matrix, b: Matrix, c: Matrix, side: int = 1024) -> float:
    """max |C - (B + Aᵀ)|, as HPCC FPGA validates PTRANS, tile by tile: no third matrix in memory."""
    return max((float(np.max(np.abs(c[rows, cols] - (b[rows, cols] + a[cols, rows].T))))
                for rows, cols in tiles(len(a), side)), default=0.0)


@dataclass(slots=True)
class JobState:
    """What the job has done so far; read by the live view, written by the job's thread alone."""

    units: int
    done: int = 0
    repeated: int = 0
    by_card: Counter[str] = field(default_factory=Counter)
    kernel_ns: int = 0
    started_s: float = 0.0
    seconds: float = 0.0
    events: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Note something that happened, with the time since the job began."""
        self.events.append(f"{time.monotonic() - self.started_s:6.1f} s  {text}")


def run_tiles(submit: Callable[..., Future[Any]], a: Matrix, b: Matrix, side: int, ahead: int, state: JobState,
              on_change: Callable[[JobState], None]) -> Matrix:
    """C, computed in tiles by ``submit(A tile, B tile)``; at most ``ahead`` units are under way.

    ``on_change`` is called after each finished unit and at least once a second. Raises what a unit raises.
    """
    n = len(a)
    c = np.empty((n, n), np.float32)
    todo = list(tiles(n, side))
    todo.reverse()
    pending: dict[Future[Any], tuple[slice, slice]] = {}
    state.started_s = time.monotonic()
    try:
        while todo or pending:
            while todo and len(pending) < ahead:
                rows, cols = todo.pop()
                pending[submit(np.ascontiguousarray(a[cols, rows]), b[rows, cols])] = (rows, cols)
            finished, _ = wait(pending, WAIT_S, FIRST_COMPLETED)
            for future in finished:
                rows, cols = pending.pop(future)
                c[rows, cols] = future.result()
                info = getattr(future, "saf_info", None) or {}
                state.done += 1
                state.repeated += max(0, int(info.get("attempts", 1)) - 1)
                state.kernel_ns += int(info.get("kernel_ns", 0))
                state.by_card[str(info.get("card", ""))] += 1
            state.seconds = time.monotonic() - state.started_s
            on_change(state)
    finally:
        for future in pending:
            future.cancel()
    return c


class HotPlug:
    """Cards that are plugged in and pulled while the job runs, at given parts of it.

    ``plug(count)`` returns serials of new cards, ``unplug(serial)`` pulls one. New cards are programmed in a
    thread of its own as soon as they are available; from then on the cluster gives them units by itself.
    """

    def __init__(self, cluster: Any, image: Any, *, plug: Callable[[int], list[str]], unplug: Callable[[str], object],
                 plug_count: int, unplug_count: int) -> None:
        self._cluster = cluster
        self._image = image
        self._plug, self._unplug = plug, unplug
        self._plug_count, self._unplug_count = plug_count, unplug_count
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._seen = threading.Condition()
        self._available: set[str] = set()
        self.new: list[str] = []
        self.pulled: list[str] = []
        self.join_seconds: float | None = None

    def on_change(self, state: JobState, serials: Iterable[str]) -> None:
        """Plug in at a twentieth of the units, pull at two fifths: ``serials`` are cards to choose from."""
        if self._plug_count and not self.new and 20 * state.done >= state.units:
            began = time.monotonic()
            self.new = self._plug(self._plug_count)
            state.say(f"plugged in {', '.join(self.new)}")
            self._thread = threading.Thread(target=self._join, args=(state, began), name="hot-plug")
            self._thread.start()
        if self._unplug_count and not self.pulled and 5 * state.done >= 2 * state.units:
            self.pulled = list(serials)[-self._unplug_count:]
            for serial in self.pulled:
                self._unplug(serial)
            state.say(f"pulled {', '.join(self.pulled)}")

    def _join(self, state: JobState, began: float) -> None:
        try:
            end = self._cluster.subscribe(self._on_event)
            try:
                self._on_cards()
                with self._seen:
                    if not self._seen.wait_for(lambda: set(self.new) <= self._available, JOIN_TIMEOUT_S):
                        missing = sorted(set(self.new) - self._available)
                        raise CardError(f"{', '.join(missing)} did not announce themselves", "see `safhost lab status`")
            finally:
                end()
            self._cluster.program(self._image, cards=self.new)
            self.join_seconds = time.monotonic() - began
            state.say(f"{', '.join(self.new)} programmed, {self.join_seconds:.1f} s after they were plugged in")
        except BaseException as err:
            self._error = err

    def _on_cards(self) -> None:
        for card in self._cluster.cards():
            self._on_event({"card": card.info})

    def _on_event(self, event: dict[str, Any]) -> None:
        info = event.get("card") or {}
        if info.get("state") == "available":
            with self._seen:
                self._available.add(str(info.get("serial")))
                self._seen.notify_all()

    def finish(self) -> None:
        """Wait for the thread; raise what went wrong in it."""
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S + 60)
            if self._thread.is_alive():
                raise CardError("new cards were not programmed in time", "see the lab's and the daemon's log")
        if isinstance(self._error, SafError):
            raise self._error
        if self._error is not None:
            raise RuntimeError(f"hot plug failed: {self._error!r}") from self._error
