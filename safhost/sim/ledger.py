"""What a storm asked for, what became of it, and what each card's memory went through: the record that results are
judged by. It is kept beside the cluster and asks neither core nor card how things are, but for their bare memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.core.actions import RequestEnded
from safhost.lab.card_shell import Shell
from safhost.sim.job_book import JobBook
from safhost.sim.nodes import SimCard, SimHost
from safhost.sim.observe import Observer
from safhost.sim.simulation import NS, Simulation

LATE_NS = 3 * NS
"""An answer that was sent may take so long to its host: until then a card may have rebooted since."""

STRAGGLE_NS = 8 * NS
"""Blocks of a write that was given up may still arrive for so long."""

DRAIN_NS = 45 * NS
"""A COMMIT that nobody waits for any more may still wait for kernels and be carried out for so long."""


@dataclass(slots=True)
class Asked:
    """One request. ``deadline_ns`` None: it has none of its own (it ends when somebody kills what it waits for).
    ``lives``: how often each card had forgotten everything when it was asked. ``judge`` says what is wrong with a
    result (empty: nothing)."""

    number: int
    host: SimHost
    kind: str
    cards: tuple[str, ...]
    started_ns: int
    deadline_ns: int | None
    lives: dict[str, int]
    judge: Callable[[Asked, RequestEnded], str] | None = None
    digest: bytes = b""
    address: int = 0
    data: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    ended: RequestEnded | None = None
    ended_ns: int = 0
    died: bool = False

    @property
    def live(self) -> bool:
        """Somebody waits for its end."""
        return self.ended is None and not self.died

    def end_on(self, key: str) -> int:
        """When its part on one card ended, as its host saw it."""
        assert self.ended is not None
        info: dict[str, Any] = self.ended.result.get("cards", {}).get(key, {})
        return self.started_ns + round(info["seconds"] * NS) if "seconds" in info else self.ended_ns

    def done_on(self) -> list[str]:
        """Cards on which it ended well."""
        assert self.ended is not None
        done: list[str] = self.ended.result.get("done", [] if self.ended.error else list(self.cards))
        return done


class Ledger(Observer):
    """All requests of a storm, and its ``jobs``. ``judges`` are told of every end, after it was noted here."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.asked: dict[int, Asked] = {}
        self.judges: list[Callable[[Asked, RequestEnded], None]] = []
        self.jobs = JobBook(sim)
        self._scrubbed_ns: dict[str, int] = {}
        sim.observe(self)

    def add(self, asked: Asked) -> Asked:
        """A request was asked; it may have ended at once, or its host died over it."""
        self.asked[asked.number] = asked
        if asked.number in asked.host.ended:
            self.on_request_ended(asked.host, asked.host.ended[asked.number])
        elif asked.host.stopped:
            asked.died, asked.ended_ns = True, self.sim.now_ns
        return asked

    def on_request_ended(self, host: SimHost, ended: RequestEnded) -> None:
        asked = self.asked.get(ended.request)
        if asked is not None:
            asked.ended, asked.ended_ns = ended, self.sim.now_ns
            for judge in self.judges:
                judge(asked, ended)

    def on_host_crash(self, host: SimHost, lost: tuple[int, ...]) -> None:
        for number in lost:
            if number in self.asked:
                self.asked[number].died, self.asked[number].ended_ns = True, self.sim.now_ns

    def on_card_scrub(self, card: SimCard) -> None:
        self._scrubbed_ns[card.key] = self.sim.now_ns

    def live(self, host: SimHost | None = None) -> list[Asked]:
        """Requests that have not ended, of one host or all."""
        return [a for a in self.asked.values() if a.live and (host is None or a.host is host)]

    def lives(self, keys: tuple[str, ...]) -> dict[str, int]:
        """How often these cards have forgotten everything."""
        return {key: shell_of(self.sim.cards[key]).scrubs for key in keys}

    def forgot(self, asked: Asked, key: str) -> bool:
        """Whether a card forgot what a request left there, after its answer was sent or so late that it may be."""
        return shell_of(self.sim.cards[key]).scrubs != asked.lives.get(key) \
            and self._scrubbed_ns.get(key, 0) > asked.end_on(key) - LATE_NS

    def writers(self, key: str, first: int, stop: int, since_ns: int, but: Asked) -> bool:
        """Whether another write to ``first … stop`` of a card may have changed it since."""
        for other in self.asked.values():
            if other is but or other.kind != "write" or key not in other.cards \
                    or other.address >= stop or other.address + len(other.data) <= first:
                continue
            if other.live or other.ended_ns + (STRAGGLE_NS if other.died or failed(other) else 0) >= since_ns:
                return True
        return False

    def programs(self, key: str, since_ns: int, but: Asked) -> bool:
        """Whether another program of a card was under way since, or a job that programs cards."""
        return self.jobs.meddled(key, since_ns, DRAIN_NS) or any(
            other.kind == "program" and other is not but and key in other.cards
            and (other.live or other.ended_ns + (DRAIN_NS if other.died or failed(other) else 0) >= since_ns)
            for other in self.asked.values())


def failed(asked: Asked) -> bool:
    """Whether it ended with an error."""
    return asked.ended is not None and asked.ended.error is not None


def shell_of(node: SimCard) -> Shell:
    """The card's inside, which nobody but a check should look at."""
    return node.card._shell
