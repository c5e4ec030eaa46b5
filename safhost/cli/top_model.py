"""What ``safhost top`` shows: one look at a cluster after another, and what changed between them.

Pure: looks go in, with the time they were taken at; a `View` comes out. Rates are differences of counters over the
last looks, events are differences of states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safhost.cli.cards import card_state
from safhost.cli.jobs import (
    LIVE,
    card_names,
    cards_count,
    duration,
    note_text,
    progress_text,
    seconds_left,
    units_waiting,
)
from safhost.cli.output import clean, natural

RATE_WINDOW_S = 3.0
"""Rates are over this long: a kernel of a second would otherwise show as 0 and 1 by turns."""

EVENTS_KEPT = 200
ENDED_SHOWN_S = 15.0
"""How long a job that ended stays in view."""

URGENT = ("failed", "lost", "refused", "suspect", "draining")
"""States that need a person's eye come first where not all cards fit."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the daemon said at one time. ``at_s``: a clock that never goes back; ``time_s``: that of the wall."""

    at_s: float
    time_s: float
    info: Mapping[str, Any]
    cards: tuple[Mapping[str, Any], ...]
    jobs: tuple[Mapping[str, Any], ...]
    ended: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(slots=True)
class CardLine:
    """One card. Rates are units and bytes a second; ``out`` is to the card, ``in`` from it."""

    name: str
    state: str
    why: str
    image: str
    jobs: list[str]
    units: int
    units_s: float
    out_bytes_s: float
    in_bytes_s: float
    draining: bool
    ddr_bytes: int
    ddr_used_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "why": self.why, "image": self.image, "jobs": self.jobs,
                "units": self.units, "units_s": self.units_s, "out_bytes_s": self.out_bytes_s,
                "in_bytes_s": self.in_bytes_s, "draining": self.draining, "ddr_bytes": self.ddr_bytes,
                "ddr_used_bytes": self.ddr_used_bytes}


@dataclass(slots=True)
class JobLine:
    """One job with its measured rate, time left, and share of the units that are under way."""

    info: Mapping[str, Any]
    units_s: float
    left_s: float | None
    share: float

    def to_dict(self) -> dict[str, Any]:
        return dict(self.info) | {"units_s": self.units_s, "left_s": self.left_s, "share": self.share}


@dataclass(slots=True)
class LinkLine:
    """One interface of the host: frames and payload a second, and what went wrong since it was opened."""

    name: str
    up: bool
    mtu: int
    tx_frames_s: float
    rx_frames_s: float
    out_bytes_s: float
    in_bytes_s: float
    drops: int
    drops_s: float
    retries: int
    retries_s: float

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "up": self.up, "mtu": self.mtu, "tx_frames_s": self.tx_frames_s,
                "rx_frames_s": self.rx_frames_s, "out_bytes_s": self.out_bytes_s, "in_bytes_s": self.in_bytes_s,
                "drops": self.drops, "drops_s": self.drops_s, "retries": self.retries, "retries_s": self.retries_s}


@dataclass(slots=True)
class View:
    """A cluster at one time. ``events`` are (wall time, text), the latest last; ``fresh`` of them are new."""

    cluster: str
    time_s: float
    cards: list[CardLine] = field(default_factory=list)
    links: list[LinkLine] = field(default_factory=list)
    jobs: list[JobLine] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)
    fresh: int = 0
    banner: str = ""

    @property
    def units_s(self) -> float:
        return sum(job.units_s for job in self.jobs) or sum(card.units_s for card in self.cards)

    @property
    def waiting(self) -> int:
        return sum(units_waiting(job.info) for job in self.jobs)

    @property
    def running(self) -> int:
        return sum(card.units for card in self.cards)

    def to_dict(self) -> dict[str, Any]:
        """JSON form; of the events, those that are new."""
        new = self.events[len(self.events) - self.fresh:]
        return {"cluster": self.cluster, "time": self.time_s, "units_s": self.units_s, "running": self.running,
                "waiting": self.waiting, "cards": [card.to_dict() for card in self.cards],
                "links": [link.to_dict() for link in self.links], "jobs": [job.to_dict() for job in self.jobs],
                "events": [{"time": at, "text": text} for at, text in new], "banner": self.banner}


class Meter:
    """Turns looks into views. One for a cluster."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self._samples: deque[tuple[float, dict[str, float]]] = deque()
        self._last: Look | None = None
        self._events: deque[tuple[float, str]] = deque(maxlen=EVENTS_KEPT)
        self._ended: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._noted: dict[str, int] = {}

    # -- what to ask ---------------------------------------------------------------------------------------

    def gone_jobs(self, jobs: Iterable[Mapping[str, Any]]) -> list[str]:
        """Jobs of the last look that are no more among the live ones: how they ended is worth a question."""
        now = {str(job["job"]) for job in jobs if job.get("state") in LIVE}
        return [str(j["job"]) for j in self._last.jobs if str(j["job"]) not in now and j.get("state") in LIVE] \
            if self._last else []

    def noted_jobs(self, jobs: Iterable[Mapping[str, Any]]) -> list[str]:
        """Jobs that have notes we have not seen. Of the first look none: those are old."""
        found = []
        for job in jobs:
            name, count = str(job["job"]), int(job.get("noted") or 0)
            if count > self._noted.get(name, 0 if self._last else count):
                found.append(name)
        return found

    def unseen_notes(self, job: str, info: Mapping[str, Any], noted: int) -> list[tuple[str, Mapping[str, Any]]]:
        """The notes of a job's description that came since the last look."""
        new = noted - self._noted.get(job, 0)
        return [(job, note) for note in list(info.get("notes") or ())[-new:]] if new > 0 else []

    # -- in and out ----------------------------------------------------------------------------------------

    def take(self, look: Look) -> View:
        """The next look."""
        changes = self._changes(look)
        self._events.extend((look.time_s, text) for text in changes)
        self._measure(look)
        for job in look.ended:
            self._ended[str(job["job"])] = (look.at_s, job)
        self._ended = {n: (at, j) for n, (at, j) in self._ended.items() if look.at_s - at <= ENDED_SHOWN_S}
        self._noted = {str(job["job"]): int(job.get("noted") or 0) for job in look.jobs}
        self._last = look
        return View(self.cluster, look.time_s, self._cards(look), self._links(look), self._jobs(look),
                    list(self._events), min(len(changes), EVENTS_KEPT))

    def lost(self, at_s: float, time_s: float, why: str) -> View:
        """Nobody answers: the last view, and that it is old."""
        if self._last is None:
            return View(self.cluster, time_s, banner=why)
        look = self._last
        return View(self.cluster, time_s, self._cards(look), self._links(look), self._jobs(look), list(self._events),
                    0, f"{why}; as it was {duration(at_s - look.at_s) or '0 s'} ago")

    # -- rates ---------------------------------------------------------------------------------------------

    def _measure(self, look: Look) -> None:
        counted = dict(_counters(look))
        if self._samples:
            last = self._samples[-1][1]
            again = [key for key, value in counted.items() if value < last.get(key, value)]
            for key in again:  # counted from zero again: a card or the daemon is another one
                for _, values in self._samples:
                    values.pop(key, None)
        self._samples.append((look.at_s, counted))
        while len(self._samples) > 2 and look.at_s - self._samples[1][0] >= RATE_WINDOW_S:
            self._samples.popleft()

    def _rate(self, key: str) -> float:
        """Of what is new since the first look in the window, from when it was first seen."""
        at, now = self._samples[-1]
        if key not in now:
            return 0.0
        for since, values in self._samples:
            if key in values:
                return (now[key] - values[key]) / (at - since) if at > since else 0.0
        return 0.0

    def _cards(self, look: Look) -> list[CardLine]:
        working: dict[str, list[str]] = {}
        for job in look.jobs:
            for name in card_names(job):
                working.setdefault(name, []).append(str(job["job"]))
        lines = []
        for card in look.cards:
            name = _name(card)
            image, units = str(card.get("image_name") or card.get("image") or ""), int(card.get("units") or 0)
            lines.append(CardLine(
                name, card_state(card), str(card.get("why") or ""), image if card.get("image_name") else image[:8],
                working.get(name, []) if units else [], units, self._rate(f"c/{name}/units"),
                self._rate(f"c/{name}/out"), self._rate(f"c/{name}/in"), bool(card.get("draining")),
                int(card.get("ddr_bytes") or 0), int(card.get("ddr_used_bytes") or 0)))
        return sorted(lines, key=lambda line: natural(line.name))

    def _links(self, look: Look) -> list[LinkLine]:
        lines = []
        for link in look.info.get("interfaces") or ():
            name = str(link.get("name"))
            mine = [card for card in look.cards if card.get("interface") == name]
            names = [_name(card) for card in mine]
            retries = sum(int((card.get("counters") or {}).get("retries") or 0) for card in mine)
            lines.append(LinkLine(
                name, bool(link.get("up", True)), int(link.get("mtu") or 0), self._rate(f"l/{name}/tx"),
                self._rate(f"l/{name}/rx"), sum(self._rate(f"c/{n}/out") for n in names),
                sum(self._rate(f"c/{n}/in") for n in names), int(link.get("rx_drops") or 0),
                self._rate(f"l/{name}/drops"), retries, sum(self._rate(f"c/{n}/retries") for n in names)))
        return lines

    def _jobs(self, look: Look) -> list[JobLine]:
        live = {str(job["job"]) for job in look.jobs}
        jobs = [*look.jobs, *(job for name, (_, job) in self._ended.items() if name not in live)]
        running = sum(int(job.get("running") or 0) for job in look.jobs)
        lines = []
        for job in jobs:
            alive = job.get("state") in LIVE
            measured = self._rate(f"j/{job['job']}/done") if alive else 0.0
            rate = measured or (float(job.get("rate_units_s") or 0.0) if alive and len(self._samples) < 2 else 0.0)
            share = int(job.get("running") or 0) / running if running and alive else 0.0
            lines.append(JobLine(job, rate, seconds_left(job, rate), share))
        return sorted(lines, key=lambda line: (line.info.get("state") not in LIVE, -int(line.info.get("priority") or 0),
                                               natural(line.info["job"])))

    # -- events --------------------------------------------------------------------------------------------

    def _changes(self, look: Look) -> list[str]:
        last = self._last
        if last is None:
            return []
        texts = _differences({_name(c): c for c in last.cards}, {_name(c): c for c in look.cards}, _card_change)
        texts += _differences(_by_name(last.info), _by_name(look.info), _link_change)
        texts += [_said_note(job, note) for job, note in look.notes]
        jobs = {str(j["job"]): j for j in (*look.jobs, *look.ended)}
        return texts + _differences({str(j["job"]): j for j in last.jobs}, jobs, _job_change)


def _differences(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]],
                 say: Callable[[str, Mapping[str, Any] | None, Mapping[str, Any]], list[str]]) -> list[str]:
    return [text for name in sorted(now, key=natural) for text in say(name, before.get(name), now[name])]


def _card_change(name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    state, why = card_state(now), str(now.get("why") or "")
    if before is None:
        return [f"{name} is new: {state}" + (f", {why}" if why else "")]
    texts = []
    if card_state(before) != state:
        texts.append(f"{name} {card_state(before)} → {state}" + (f": {why}" if why else ""))
    elif before.get("boot_nonce") != now.get("boot_nonce"):
        texts.append(f"{name} was started anew")
    if before.get("image") != now.get("image") and now.get("image"):
        texts.append(f"{name} runs {now.get('image_name') or str(now['image'])[:8]}")
    return texts


def _link_change(name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    if before is None:
        return []
    texts = [f"{name} is {'up' if now.get('up') else 'down'}"] if before.get("up") != now.get("up") else []
    dropped = int(now.get("rx_drops") or 0) - int(before.get("rx_drops") or 0)
    if dropped > 0:
        texts.append(f"{name}: {dropped} frame{'s' if dropped > 1 else ''} dropped, this machine is too busy")
    return texts


def _job_change(name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    label = f"{name} {now.get('name') or now.get('kernel') or ''}".strip()
    if before is None:
        total = now.get("total")
        return [f"{label} {now.get('state')}" + (f", {total} units" if total is not None else "")]
    texts = []
    failed = int(now.get("failed") or 0) - int(before.get("failed") or 0)
    if failed > 0:
        texts.append(f"{label}: {failed} unit{'s' if failed > 1 else ''} failed")
    if before.get("state") != now.get("state"):
        why = f": {now['why']}" if now.get("why") not in (None, "", now.get("state")) else ""
        texts.append(f"{label} {now.get('state')}, {progress_text(now)} units after "
                     f"{duration(now.get('seconds')) or '0 s'}{why}")
    elif now.get("state") in LIVE:
        was, is_now = cards_count(before), cards_count(now)
        if was != is_now and was:
            texts.append(f"{label}: {was} → {is_now} cards")
    return texts


def _said_note(job: str, note: Mapping[str, Any]) -> str:
    card = f" {note['card']}" if note.get("card") else ""
    return f"{job}{card}: {note_text(note)}"


def _name(card: Mapping[str, Any]) -> str:
    return clean(card.get("name") or card.get("serial"))


def _by_name(info: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(link.get("name")): link for link in info.get("interfaces") or ()}


def _counters(look: Look) -> Iterable[tuple[str, float]]:
    """Everything that rates are made of."""
    for card in look.cards:
        counted = card.get("counters") or {}
        name = _name(card)
        yield f"c/{name}/units", float(counted.get("units") or 0)
        for key, what in (("out", "written_bytes"), ("in", "read_bytes"), ("retries", "retries")):
            yield f"c/{name}/{key}", float(counted.get(what) or 0)
    for link in look.info.get("interfaces") or ():
        for key, what in (("tx", "tx_frames"), ("rx", "rx_frames"), ("drops", "rx_drops")):
            yield f"l/{link.get('name')}/{key}", float(link.get(what) or 0)
    for job in look.jobs:
        yield f"j/{job['job']}/done", float(job.get("done") or 0)
