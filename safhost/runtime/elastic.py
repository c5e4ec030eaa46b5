"""One elastic job as the host sees it: its client, its journal, what is under way, and what people want to know.

A unit is finished when its DONE record is written; only then is the client told. While the disk takes no record the
job is held: what runs goes on, nothing new begins.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.core.actions import RequestEnded, UnitEnded
from safhost.runtime import params
from safhost.runtime.jobs import Job
from safhost.runtime.jobstore import Journal
from safhost.runtime.params import U16, U32
from safhost.wire.generated import DIGEST_BYTES

KEEP_NOTES = 100
KEEP_FAILURES = 100
RATE_WINDOW_NS = 5_000_000_000
RATE_STEP_NS = 250_000_000
MAX_ROOM_BYTES = 1 << 40
JOIN_GAP_BYTES = 4096
"""What lies between buffers at most: they begin at multiples of it (`plan_arguments`)."""

JOIN_BYTES = 16 << 20
"""What is sent, hashed and repaired as one, as a piece of a large write."""

# states people see; `queued`, `running` and `held` are of live jobs
QUEUED, RUNNING, HELD = "queued", "running", "held"
DONE, FAILED, CANCELLED, DRAINED, ABANDONED = "done", "failed", "cancelled", "drained", "abandoned"
RESUMABLE = (FAILED, CANCELLED, DRAINED, ABANDONED, DONE)


class Layout(NamedTuple):
    """What units of one shape have in common; offsets in the unit's DDR range and, for ``outputs``, in its memory
    too. ``span`` bytes of the arena are one unit's memory."""

    inputs: list[tuple[int, int]]
    outputs: tuple[tuple[int, int, int], ...]
    arguments: bytes
    relocations: tuple[int, ...]
    global_size: tuple[int, int, int]
    local_size: tuple[int, int, int]
    work_dim: int
    room: int
    span: int
    resident: tuple[int, ...] = ()
    resident_bytes: int = 0

    @classmethod
    def parse(cls, p: object, most_argument_bytes: int, resident_bytes: int = 0) -> Layout:
        """From a message, for a job with so much resident data. Raises LocalProtocolError."""
        if not isinstance(p, dict):
            raise params.bad("layouts", p, "an object for each layout")
        room = params.integer(p, "room", MAX_ROOM_BYTES)
        inputs = params.ranges(p, "inputs", room)
        outputs = _outputs(p, room)
        taken = sorted([(at, at + n) for at, n in inputs] + [(at, at + n) for _, n, at in outputs])
        if any(before[1] > behind[0] for before, behind in pairwise(taken)):
            raise params.bad("layouts", p, "inputs and outputs apart from each other in memory")
        arguments = params.hex_bytes(p, "arguments", most=most_argument_bytes)
        return cls(joined(inputs, outputs), outputs, arguments, params.relocations(p, arguments, room),
                   params.work_sizes(p, "global", 1), params.work_sizes(p, "local", 0),
                   params.integer(p, "work_dim", 3, 1, 1), room, max((end for _, end in taken), default=0),
                   params.relocations({"relocations": p.get("resident", [])}, arguments, resident_bytes),
                   resident_bytes)

    def check(self, arguments: bytes) -> None:
        """Raises LocalProtocolError for a unit's own arguments when they do not fit the layout."""
        if len(arguments) != len(self.arguments):
            raise params.bad("units", len(arguments), f"{len(self.arguments)} bytes of arguments, as in its layout")
        for at in self.relocations:
            if int.from_bytes(arguments[at:at + 8], "little") > self.room:
                raise params.bad("units", at, "the offset of a pointer into the unit's memory")
        for at in self.resident:
            if int.from_bytes(arguments[at:at + 8], "little") > self.resident_bytes:
                raise params.bad("units", at, "the offset of a pointer into the job's resident data")


def joined(inputs: list[tuple[int, int]], outputs: tuple[tuple[int, int, int], ...]) -> list[tuple[int, int]]:
    """Inputs that lie next to each other as one: a transfer costs more than the few bytes between them, which belong to
    the unit, too. Not over what the kernel writes, nor over the memory of results."""
    kept = sorted((at, at + n) for out in outputs for at, n in ((out[0], out[1]), (out[2], out[1])))
    found: list[tuple[int, int]] = []
    for at, length in sorted(inputs):
        if found:
            first, before = found[-1]
            end = first + before
            if at - end <= JOIN_GAP_BYTES and at + length - first <= JOIN_BYTES and not any(
                    start < at and stop > end for start, stop in kept):
                found[-1] = (first, at + length - first)
                continue
        found.append((at, length))
    return found


def _outputs(p: Mapping[str, Any], room: int) -> tuple[tuple[int, int, int], ...]:
    value = params.given(p, "outputs")
    if not isinstance(value, list) or any(
            not isinstance(x, list) or len(x) != 3 or any(type(v) is not int or v < 0 for v in x)
            or not 0 < x[1] <= room - x[0] or x[2] > MAX_ROOM_BYTES for x in value):
        raise params.bad("outputs", value, "a list of offset, length, and offset in memory")
    return tuple((x[0], x[1], x[2]) for x in value)


class Spec(NamedTuple):
    """What a job is, as the client asked for it; goes into the journal as JSON."""

    name: str
    digest: str
    kernel: int
    kernel_name: str
    image: str
    priority: int
    weight: float
    cards: list[str]
    unit_deadline_s: float
    retries: int
    keep_going: bool
    speculate: bool
    phased: bool
    repeat: int
    depth: int
    total: int | None
    client: str
    ephemeral: bool
    patience_s: float
    min_cards: int
    compute_units: int
    max_cards: int

    @classmethod
    def parse(cls, p: Mapping[str, Any], cards: list[str], kernel_name: str, image: str, client: str) -> Spec:
        """From a message, each value checked. Raises LocalProtocolError."""
        name = p.get("name", "")
        if not isinstance(name, str) or len(name) > 200:
            raise params.bad("name", name, "a text of at most 200 characters")
        total = p.get("total")
        if total is not None:
            total = params.integer(p, "total", 1 << 62)
        return cls(name, params.hex_bytes(p, "digest", length=DIGEST_BYTES).hex(), params.integer(p, "kernel", U16),
                   kernel_name, image, params.integer(p, "priority", U32, -U32, 0),
                   params.number(p, "weight", 1.0, 1e-6, 1e6), cards,
                   params.number(p, "unit_deadline_s", 300.0, 0.001, U32 / 1e3),
                   params.integer(p, "retries", U16, 1, 3),
                   params.flag(p, "keep_going", False), params.flag(p, "speculate", True),
                   params.flag(p, "phased", False), params.integer(p, "repeat", U32, 1, 1),
                   params.integer(p, "depth", 1024, 0, 0), total, client, params.flag(p, "ephemeral", False),
                   params.number(p, "patience_s", 600.0, 0.01, U32 / 1e3), params.integer(p, "min_cards", U16, 0, 0),
                   params.integer(p, "compute_units", U16, 0, 0), _max_cards(p))


def _max_cards(p: Mapping[str, Any]) -> int:
    most = params.integer(p, "max_cards", U16, 0, 0)
    if most and most < params.integer(p, "min_cards", U16, 0, 0):
        raise params.bad("max_cards", most, "0 for no limit, or at least min_cards")
    return most


class ElasticJob:
    """See the module's text. ``number`` is the core's request; ``live`` the units it has."""

    def __init__(self, job: str, request: Job, spec: Spec, journal: Journal, arena: NDArray[np.uint8],
                 now_ns: int) -> None:
        self.id = job
        self.number = request.number
        self.request = request
        self.spec = spec
        self.journal = journal
        self.arena = arena
        self.resident_bytes = 0
        self.layouts: dict[int, Layout] = {}
        self.live: set[int] = set()
        self.card_keys: dict[str, str] = {}
        self.ending = False
        self.hashing = 0
        self.total = spec.total
        self.before = journal.state.done.count  # finished before this host, or this client, came
        self.why = ""  # the state it is to end in, when we said so
        self.because = ""  # what its client said when it gave up
        self.ended: RequestEnded | None = None
        self.user_hold = False
        self.draining = False
        self.disk_full_ns: int | None = None  # since when
        self.disk_retry_ns = 0
        self.disk_error = ""
        self.notes: deque[dict[str, Any]] = deque(maxlen=KEEP_NOTES)
        self.failures: deque[list[Any]] = deque(maxlen=KEEP_FAILURES)
        self.failed_units = 0
        self.per_card: dict[str, list[int]] = {}  # key → units, kernel ns
        self.started_ns = now_ns
        self.done_here = 0
        self.finished: list[UnitEnded] = []  # not in the journal yet
        self.broken: list[UnitEnded] = []
        self.unsaid: list[UnitEnded] = []  # in the journal or on the way there, and the client not told
        self.unsaid_broken: list[UnitEnded] = []
        self.noted: list[dict[str, Any]] = []
        self.notes_ever = 0
        self.pressing = False
        self.gather_until_ns = 0
        self.shown_ns = 0
        self.changed = True
        self._rates: deque[tuple[int, int]] = deque([(now_ns, 0)])

    @property
    def held(self) -> bool:
        return self.user_hold or self.draining or self.disk_full_ns is not None

    def unit_ended(self, action: UnitEnded) -> bool:
        """Take note; whether the unit was one that is under way."""
        if action.index not in self.live:
            return False
        self.live.discard(action.index)
        (self.finished if action.error is None else self.broken).append(action)
        return True

    def note(self, kind: str, text: str, card: str = "", info: dict[str, Any] | None = None) -> None:
        """Something for people; ``card`` by its name."""
        said = {"kind": kind, "card": card, "text": text, "info": info or {}, "time": round(time.time(), 3)}
        self.notes.append(said)
        self.noted.append(said)
        self.notes_ever += 1

    def count(self, now_ns: int) -> None:
        """Units that are finished, for rates and for each card."""
        for unit in self.finished:
            mine = self.per_card.get(unit.card)
            if mine is None:
                mine = self.per_card[unit.card] = [0, 0]
            mine[0] += 1
            mine[1] += unit.kernel_ns
        self.done_here += len(self.finished)
        self.failed_units += len(self.broken)
        if now_ns - self._rates[-1][0] >= RATE_STEP_NS:
            self._rates.append((now_ns, self.done_here))
            while len(self._rates) > 2 and self._rates[1][0] < now_ns - RATE_WINDOW_NS:
                self._rates.popleft()

    @property
    def done(self) -> int:
        """Units that are done, as far as a job of its kind remembers."""
        return self.before + self.done_here if self.spec.ephemeral else self.journal.state.done.count

    def rate(self, now_ns: int) -> float:
        """Units per second over the last seconds."""
        began, done = self._rates[0]
        return (self.done_here - done) * 1e9 / (now_ns - began) if now_ns > began else 0.0

    def state_of(self, view: Mapping[str, Any]) -> str:
        if self.held:
            return HELD
        return RUNNING if self.done_here or view.get("running") else QUEUED

    def row(self, now_ns: int, view: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        """The line of a job in a list; ``view`` is the core's, ``names`` card key → name."""
        here = {names.get(k, k) for k in self.per_card} | {names.get(k, k) for k in view.get("cards", {})}
        running = int(view.get("running", 0))
        return {"job": self.id, "name": self.spec.name, "state": self.state_of(view), "kernel": self.spec.kernel_name,
                "image": self.spec.image or self.spec.digest[:12], "priority": self.spec.priority,
                "weight": self.spec.weight, "total": self.total, "done": self.before + self.done_here,
                "failed": self.failed_units, "running": running,
                "pending": max(0, len(self.live) - running), "seconds": round((now_ns - self.started_ns) / 1e9, 3),
                "rate_units_s": round(self.rate(now_ns), 3), "cards": sorted(here), "client": self.spec.client,
                "why": self._why(), "noted": self.notes_ever}

    def _why(self) -> str:
        if self.disk_full_ns is not None:
            return f"its journal cannot be written: {self.disk_error}"
        return "draining" if self.draining else "held" if self.user_hold else ""

    def summary(self, now_ns: int, names: Mapping[str, str]) -> dict[str, Any]:
        """What is kept of it when it is over."""
        return {"seconds": round((now_ns - self.started_ns) / 1e9, 3), "failed": self.failed_units,
                "done": self.done,
                "total": self.total if self.total is not None or not self.ending else self.done + self.failed_units,
                "cards": {names.get(k, k): {"units": v[0], "kernel_ns": v[1]} for k, v in self.per_card.items()},
                "notes": list(self.notes), "failures": list(self.failures)}


def unit_line(unit: UnitEnded, names: Mapping[str, str]) -> list[Any]:
    """A finished unit as the client is told."""
    return [unit.index, names.get(unit.card, unit.card), unit.attempts, unit.kernel_ns, unit.write_ns, unit.run_ns,
            unit.read_ns, unit.queued_ns, unit.ended_ns]


def checked_unit(item: object) -> tuple[int, int, int, str | None, str | None]:
    """(index, layout, arena offset, arguments in hex, card) of one unit in a message. Raises LocalProtocolError."""
    if type(item) is list and len(item) == 5:
        index, layout, offset, arguments, card = item
        if type(index) is int and type(layout) is int and type(offset) is int and 0 <= index < 1 << 62 \
                and offset >= 0 and (arguments is None or type(arguments) is str) \
                and (card is None or type(card) is str):
            return index, layout, offset, arguments, card
    raise params.bad("units", item, "index, layout, offset, arguments and card")


__all__ = ["ElasticJob", "Layout", "Spec", "checked_unit", "unit_line"]
