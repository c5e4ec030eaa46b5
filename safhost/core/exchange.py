"""A request that has exactly one answer: sealed anew at every retry, ended by the answer or its deadline.

An answer may say "still at it" (running, busy): then the question is asked again until its deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from safhost.errors import CardLost, DeadlineExceeded, SafError
from safhost.wire.generated import ANSWERS, Opcode

if TYPE_CHECKING:
    from safhost.core.card import Card
    from safhost.core.cluster import Cluster
    from safhost.wire.codec import Frame


LOST_HINT = "it is used again when it announces itself"


class Asker(Protocol):
    """Who asked. ``on_answer`` returns True when the exchange is over, False to keep asking (still running)."""

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool: ...

    def on_failure(self, exchange: Exchange, error: SafError, now_ns: int) -> None: ...


class Exchange:
    __slots__ = ("_wait_ns", "asker", "attempts", "card", "cluster", "deadline_ns", "due_ns", "ethertype",
                 "first_ns", "key", "max_ns", "number", "object", "opcode", "outage_until_ns", "payload", "still",
                 "tag")

    def __init__(self, cluster: Cluster, card: Card, asker: Asker, opcode: Opcode, ethertype: int,
                 payload: bytes, object: int, number: int, deadline_ns: int, first_ns: int = 0, max_ns: int = 0,
                 tag: object = None, outage_until_ns: int = 0) -> None:
        self.cluster = cluster
        self.card = card
        self.asker = asker
        self.opcode = opcode
        self.ethertype = ethertype
        self.payload = payload
        self.object = object
        self.number = number
        self.deadline_ns = deadline_ns
        self.first_ns = self._wait_ns = first_ns or cluster.config.retry_first_ns
        self.max_ns = max_ns or max(cluster.config.retry_max_ns, self.first_ns)
        self.tag = tag
        self.outage_until_ns = outage_until_ns  # the deadline may be put off to here while the network is out
        self.attempts = 0
        self.still = ""  # what the latest answer said that was not the end
        self.due_ns: int | None = None
        self.key = (ANSWERS[opcode], object, number)

    def start(self, now_ns: int, send: bool = True) -> Exchange:
        """Send it (unless a GROUP frame just did) and wait for the answer."""
        self.card.pending[self.key] = self
        if send:
            self._send(now_ns)
        self.attempts += 1
        self._rearm(now_ns)
        return self

    def _send(self, now_ns: int) -> None:
        channel = self.card.channel
        if channel is not None:  # between sessions: the next retry goes out in the new one
            self.cluster.emit_frame(self.card, channel.seal(self.opcode, self.payload, self.ethertype,
                                                            self.object, self.number), now_ns)

    def _rearm(self, now_ns: int) -> None:
        self.cluster.timers.set(self, min(now_ns + self._wait_ns, max(self.deadline_ns, now_ns + 1)))
        self._wait_ns = min(self.max_ns, self._wait_ns * 2)

    def on_timer(self, now_ns: int) -> None:
        if self.deadline_ns <= now_ns < self.outage_until_ns and self.cluster.sessions.is_out(self.card, now_ns):
            self.deadline_ns = min(self.outage_until_ns, now_ns + self.cluster.config.request_deadline_ns)
        if now_ns >= self.deadline_ns:
            self.cancel()
            waited = f"{self.opcode.name} is still {self.still}" if self.still else \
                f"{self.opcode.name} had no answer after {self.attempts} tries"
            self.asker.on_failure(self, DeadlineExceeded(f"card {self.card.key}: {waited}",
                                                         "check the cable, then `safhost doctor`"), now_ns)
            return
        self.attempts += 1
        self.card.counters["retries"] += 1
        self._send(now_ns)
        self._rearm(now_ns)

    def keep_asking(self, now_ns: int, wait_ns: int, still: str = "running") -> None:
        """The answer was not the end yet: ask again after ``wait_ns``, or hear it unasked before."""
        self.still = still
        self._wait_ns = wait_ns
        self._rearm(now_ns)

    def answered(self, frame: Frame, now_ns: int) -> None:
        if self.asker.on_answer(self, frame, now_ns):
            self.cancel()

    def cancel(self) -> None:
        self.due_ns = None
        if self.card.pending.get(self.key) is self:
            del self.card.pending[self.key]

    def card_lost(self, why: str, now_ns: int) -> None:
        self.cancel()
        self.asker.on_failure(self, CardLost(why, LOST_HINT, self.card.key), now_ns)


class Nobody:
    """Asks something whose answer matters to nobody, only that it arrived."""

    def on_answer(self, exchange: Exchange, frame: Frame, now_ns: int) -> bool:
        """Whatever it says, it arrived."""
        return True

    def on_failure(self, exchange: Exchange, error: SafError, now_ns: int) -> None:
        """The card is gone, and with it what it was told about."""
