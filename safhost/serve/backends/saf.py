"""The saf backend: batches become units of one job that lasts as long as the model, on all cards that hold its image.

Batch → shared memory (quantised on the way, in the thread that feeds the job) → daemon → a card's DDR → kernel → result
→ shared memory → reply (in the thread that takes answers). The job's scheduler overlaps transfers with computing, gives
batches to the card with the least to do, and repeats those of a card that was lost. When no card is left, whatever is
under way is refused at once. When the job itself ends, because the daemon went away for good, it is begun again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from safhost.client import Cluster
from safhost.errors import ConfigError, DaemonError, SafError, SchedulingError
from safhost.jobs import Job
from safhost.serve.backends.base import Batch
from safhost.serve.backends.flight import Flight
from safhost.serve.backends.options import Options
from safhost.serve.cards import Cards
from safhost.serve.contract import Contract
from safhost.serve.mapping import Mapping
from safhost.serve.statistics import Row
from safhost.serve.types import Code, Request, ServeError, Tensor
from safhost.unitplan import Unit, UnitResult

RETRY_S = 2.0  # between attempts to begin the job
PATIENCE_S = 2.0  # units that no card can take for so long fail; their requests were refused before
MAX_HOLD_NS, HOLD_PART = 1_000_000, 16
FIRST_DEPTH, MAX_DEPTH = 2, 8  # batches a card, as the scheduler of jobs has it (core.pipeline)
LITTLE_BYTES, LITTLE_PART = 64 << 10, 8  # a batch's bytes, and how much longer than its kernel's its time is at least
END_S = 10.0  # a job that was told to end has this long


class SafBackend:
    """One model version on cards."""

    inline: Callable[[Request], list[Tensor]] | None = None

    def __init__(self, name: str, cards: Cards, mapping: Mapping, contract: Contract, options: Options, row: Row,
                 log: logging.Logger) -> None:
        self._name = name
        self._cards = cards
        self._mapping = mapping
        self._contract = contract
        self._options = options
        self._row = row
        self._log = log
        self._on_change: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._flying: set[Flight] = set()
        self._working: list[str] = []  # cards that hold the image and take units
        self._why = "no card runs its image yet"
        self._batch_ns = 0.0  # from start to end, on average
        self._little = False  # the last batch was little work for its card
        self._depth = float(mapping.ring or FIRST_DEPTH)
        self._queue: queue.SimpleQueue[Flight | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._job: Job | None = None
        self._keeper = threading.Thread(target=self._keep, name=f"saf-{name}", daemon=True)
        self._keeper.start()

    # -- what a model asks ---------------------------------------------------------------------------------

    def attach(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change

    def slots(self) -> tuple[int, int]:
        """Of batches that could grow only as many as overlap one's transfer with another's computing, only one where it
        is little work for its card: a batch costs the host about the same, however many requests are in it. Of full
        ones enough that no card ever waits; where cards go to those whose batches wait, of all."""
        cards = len(self._working) * (self._mapping.units or self._mapping.kernel.compute_units)
        hard = cards * (int(self._depth) + 1)
        each = self._mapping.ring or (1 if self._little else FIRST_DEPTH)
        return hard if self._options.elastic else cards * each, hard

    def hold_ns(self) -> int:
        """A small part of what a batch takes: who sends the next request after an answer sends it within that time."""
        return min(MAX_HOLD_NS, int(self._batch_ns) // HOLD_PART)

    def unready(self) -> str:
        return self._why

    def working(self) -> list[str]:
        """Names of the cards that answer for this model now."""
        return list(self._working)

    def start(self, batch: Batch) -> None:
        flight = Flight(batch, self._mapping, self._contract)
        with self._lock:
            why = self._why
            if not why:
                self._flying.add(flight)
                self._queue.put(flight)
        if why:
            flight.fail(_no_card(why))

    def close(self) -> None:
        self._closing.set()
        self._queue.put(None)
        if self._job is not None and not self._working:  # nobody is there to end it
            self._job.cancel()
        self._keeper.join()
        self._refuse("the model is unloaded")

    # -- the job -------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Begin the job, and again when it ends before the model does."""
        while not self._closing.is_set():
            cluster: Cluster | None = None
            try:
                cluster = self._cards.cluster()
                job = self._submit(cluster)
            except Exception as error:  # whatever it is: the model is not ready, and it is tried again
                if not isinstance(error, SafError):
                    self._log.exception("model '%s': its job cannot begin", self._name)
                self._not_ready(str(error))
                if cluster is not None and isinstance(error, DaemonError):
                    self._cards.give_up(cluster)
            else:
                self._job = job
                self._watch(job)
            self._closing.wait(RETRY_S)

    def _submit(self, cluster: Cluster) -> Job:
        options = self._options
        return cluster.submit(
            self._mapping.kernel.name, self._units(self._queue), image=self._mapping.image, name=f"serve {self._name}",
            ephemeral=True, keep_going=True, land=self._land, land_failed=self._land_failed, on_cards=self._cards_are,
            on_note=self._noted, cards=options.cards, min_cards=options.min_cards, max_cards=options.max_cards,
            weight=options.weight, priority=options.priority, unit_deadline_s=options.unit_deadline_s,
            patience_s=PATIENCE_S, depth=self._mapping.ring,
            resident=self._mapping.resident or None, compute_units=self._mapping.units)

    def _watch(self, job: Job) -> None:
        """Until the job is over."""
        while not job.wait(RETRY_S):
            if self._closing.is_set():
                if not job.wait(END_S):
                    job.cancel()
                    job.wait(END_S)
                return
        if not self._closing.is_set():
            error = job.exception()
            with self._lock:
                old, self._queue = self._queue, queue.SimpleQueue()
            old.put(None)  # its generator waits there
            self._not_ready(error.message if error is not None else f"its job {job.id} was ended")

    def _units(self, flights: queue.SimpleQueue[Flight | None]) -> Iterator[Unit]:
        """The job's units, in the thread that feeds it."""
        while (flight := flights.get()) is not None:
            if flight.over:
                continue
            try:
                unit = flight.unit()
            except SafError as error:
                self._ended(flight)
                flight.fail(ServeError(Code.INVALID_ARGUMENT, f"model '{self._name}': {error.message}"))
                continue
            yield unit

    # -- what the job tells --------------------------------------------------------------------------------

    def _land(self, _index: int, views: Any, info: UnitResult) -> None:
        flight: Flight = info.tag
        self._pace(info)
        self._batch_ns += (time.monotonic_ns() - flight.batch.start_ns - self._batch_ns) / 8
        self._little = flight.in_bytes <= LITTLE_BYTES and info.kernel_ns * LITTLE_PART < self._batch_ns
        if not self._ended(flight):
            return
        try:
            out_bytes = flight.land(views)
        except Exception as error:  # a kernel that writes what its mapping cannot read must not end the job
            self._log.exception("model '%s': results cannot be taken", self._name)
            flight.fail(ServeError(Code.INTERNAL, f"model '{self._name}': results cannot be taken: {error}"))
            return
        self._row.card(info.card, 1, flight.in_bytes, out_bytes)

    def _land_failed(self, _index: int, error: SafError, info: UnitResult) -> None:
        flight: Flight = info.tag
        if self._ended(flight):
            flight.fail(_told(self._name, error))

    def _ended(self, flight: Flight) -> bool:
        """Whether it was still to be answered."""
        with self._lock:
            if flight not in self._flying:
                return False
            self._flying.remove(flight)
            return True

    def _pace(self, info: UnitResult) -> None:
        """How many batches a card needs to have work while others travel: all of a batch's time over the kernel's."""
        if self._mapping.ring or not info.kernel_ns:
            return
        whole = info.write_ns + max(info.run_ns, info.kernel_ns) + info.read_ns
        depth = min(MAX_DEPTH, max(FIRST_DEPTH, whole / info.kernel_ns))
        self._depth += (depth - self._depth) / 8

    def _cards_are(self, names: list[str]) -> None:
        self._working = list(names)
        if names:
            with self._lock:
                self._why = ""
            self._on_change()
        else:
            self._not_ready("no card runs its image now")

    def _noted(self, note: dict[str, Any]) -> None:
        """A card that left says why: it is lost, or works for another model now."""
        if note["kind"] in ("card_left", "card_back"):
            level = logging.WARNING if note["info"].get("lost") else logging.INFO
            self._log.log(level, "model '%s': card %s %s, it has %d now", self._name, note["card"], note["text"],
                          len(self._working))

    def _not_ready(self, why: str) -> None:
        if why != self._why and not self._closing.is_set():
            self._log.warning("model '%s' is not ready: %s", self._name, why)
        self._working = []
        self._refuse(why)
        self._on_change()

    def _refuse(self, why: str) -> None:
        """From now on nothing is taken, and what is under way is refused."""
        with self._lock:
            self._why = why
            flying, self._flying = self._flying, set()
        for flight in flying:
            flight.fail(_no_card(why))


def _no_card(why: str) -> ServeError:
    return ServeError(Code.UNAVAILABLE, f"no card can answer: {why}")


def _told(model: str, error: SafError) -> ServeError:
    """A unit's failure as a client hears it."""
    if isinstance(error, ConfigError) or "bytes of DDR" in error.message:  # it is larger than a card's memory
        code = Code.INVALID_ARGUMENT
    else:  # no card could take it, or those that did failed it
        code = Code.UNAVAILABLE if isinstance(error, SchedulingError | DaemonError) else Code.INTERNAL
    return ServeError(code, f"model '{model}': {error.message}", error.hint)


__all__ = ["SafBackend"]
