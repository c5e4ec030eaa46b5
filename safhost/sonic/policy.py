"""Which server is asked, and what follows from its answer: no socket, no clock, time is an argument.

A server takes requests by least outstanding work. One that failed is left alone for a while that doubles with each
failure in a row; when it is over a single request tries it. When all rest, the one whose rest ends first is asked:
better a try than none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from safhost.errors import SafError

REST_FIRST_S = 0.1
REST_MOST_S = 5.0
_DOUBLINGS = 10  # more than there are to REST_MOST_S, and no number that grows with the hours a server is away

RETRY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNKNOWN",
                   "CANCELLED", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"})
"""gRPC codes after which another try, of another server if there is one, may help. NOT_FOUND: it may have the model."""


class SonicError(SafError):
    """Neither a server nor a local model gave an answer."""


class SonicRefused(SonicError):
    """The request itself is wrong, says a server."""


class Next(Enum):
    """What to do after a failure."""

    RETRY = "retry"
    LOCAL = "local"
    REFUSE = "refuse"


@dataclass(slots=True)
class ServerState:
    """What is known of a server."""

    address: str
    outstanding: int = 0
    failures: int = 0
    rests_until_ns: int = 0
    answered: int = 0
    failed: int = 0


@dataclass(slots=True)
class Attempt:
    """A try of a request: where, and how it failed ("" while it runs)."""

    server: str
    problem: str = ""


@dataclass(slots=True)
class Story:
    """What happened to one request so far. Times on the caller's monotonic clock."""

    began_ns: int
    deadline_ns: int | None
    attempts: list[Attempt] = field(default_factory=list)


class Policy:
    """States of all servers. Not thread-safe: the client holds its lock around each call."""

    def __init__(self, addresses: list[str], tries: int) -> None:
        self.servers = [ServerState(address) for address in addresses]
        self.tries = tries

    def choose(self, story: Story, now_ns: int) -> ServerState:
        """The server for the next attempt of ``story``, which gets it; its outstanding work counts one more."""
        tried = {a.server for a in story.attempts}
        awake = [s for s in self.servers if s.rests_until_ns <= now_ns and not (s.failures and s.outstanding)]
        pool = [s for s in awake if s.address not in tried] or awake
        if pool:
            chosen = min(pool, key=lambda s: (s.outstanding, s.answered + s.failed))
        else:
            chosen = min(self.servers, key=lambda s: (s.address in tried, s.rests_until_ns))
        chosen.outstanding += 1
        story.attempts.append(Attempt(chosen.address))
        return chosen

    def answered(self, server: ServerState) -> None:
        """It gave an answer: it is well again."""
        server.outstanding -= 1
        server.answered += 1
        server.failures = 0
        server.rests_until_ns = 0

    def failed(self, server: ServerState, story: Story, code: str, problem: str, now_ns: int) -> Next:
        """It did not; ``code`` is gRPC's name. What to do with the request."""
        server.outstanding -= 1
        story.attempts[-1].problem = f"{code}: {problem}"
        if code not in RETRY:  # the request's fault, not the server's
            server.answered += 1
            return Next.REFUSE
        server.failed += 1
        server.failures += 1
        rest_s = min(REST_FIRST_S * 2 ** min(server.failures - 1, _DOUBLINGS), REST_MOST_S)
        server.rests_until_ns = now_ns + int(rest_s * 1e9)
        late = story.deadline_ns is not None and now_ns >= story.deadline_ns
        return Next.LOCAL if late or len(story.attempts) >= self.tries else Next.RETRY

    def gave_up(self, server: ServerState) -> None:
        """The caller lost interest: says nothing of the server."""
        server.outstanding -= 1


def tell(story: Story) -> str:
    """Every attempt in one line."""
    return "; ".join(f"{a.server}: {a.problem or 'no answer'}" for a in story.attempts) or "nothing was tried"
