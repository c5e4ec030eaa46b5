"""The dynamic batcher: which waiting requests run together, and when. Knows no thread and no clock: time is passed in.

What config.pbtxt says, it does as triton-inference-server/core does it (dynamic_batch_scheduler.cc and
scheduler_utils.cc): a batch goes when it has a preferred size, when nothing more fits into it, or when its oldest
request waited long enough; queues of higher priority (lower level) go first; requests past their time are refused, or
go after all others of their level.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from tritonclient.grpc import model_config_pb2 as pb

from safhost.serve.types import Code, Request, ServeError


class Waiting:
    """A request in the queue: its rows, the shapes that those it runs with must have too, since when, until when."""

    __slots__ = ("deadline_ns", "request", "shapes", "since_ns", "size")

    def __init__(self, request: Request, size: int, shapes: Any, since_ns: int) -> None:
        self.request = request
        self.size = size
        self.shapes = shapes
        self.since_ns = since_ns
        self.deadline_ns = 0


class Dropped(NamedTuple):
    """A request that leaves the queue without having run, and why (one of `statistics.REASONS`)."""

    waiting: Waiting
    error: ServeError
    reason: str


class _Policy(NamedTuple):
    """ModelQueuePolicy."""

    delays: bool
    timeout_us: int
    may_shorten: bool
    most: int

    @classmethod
    def of(cls, policy: Any) -> _Policy:
        return cls(policy.timeout_action == pb.ModelQueuePolicy.DELAY, policy.default_timeout_microseconds,
                   policy.allow_timeout_override, policy.max_queue_size)

    def deadline_ns(self, request: Request, now: int) -> int:
        """0 for none. A request may shorten the model's timeout, not lengthen it."""
        timeout = self.timeout_us
        if self.may_shorten and 0 < request.timeout_us < timeout:
            timeout = request.timeout_us
        return now + timeout * 1000 if timeout else 0


class _Level:
    """The queue of one priority; ``late`` are past their time and go last."""

    __slots__ = ("late", "policy", "queue")

    def __init__(self, policy: _Policy) -> None:
        self.policy = policy
        self.queue: deque[Waiting] = deque()
        self.late: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self.queue) + len(self.late)


class Batcher:
    """Requests of one model version. ``combine`` False: each is a batch of its own, as without dynamic_batching."""

    def __init__(self, max_batch: int, batching: Any | None = None) -> None:
        self.combine = batching is not None and max_batch > 0
        given = pb.ModelDynamicBatching() if batching is None else batching
        self._max = max(1, max_batch)
        self._preferred = frozenset(given.preferred_batch_size)
        self._most_preferred = max(self._preferred, default=self._max)
        self._least = min(self._preferred, default=self._max)
        self._delay_ns = int(given.max_queue_delay_microseconds) * 1000
        self._levels_count = int(given.priority_levels)
        self._default_level = int(given.default_priority_level)
        self._default_policy = _Policy.of(given.default_queue_policy)
        self._policies = {int(n): _Policy.of(p) for n, p in given.priority_queue_policy.items()}
        self._levels: dict[int, _Level] = {}
        self._order: list[_Level] = []  # highest priority first
        self.rows = 0
        self._next_deadline_ns = 0
        self._shapes_differ = False

    def __len__(self) -> int:
        return sum(len(level) for level in self._order)

    def put(self, waiting: Waiting, now: int) -> None:
        """A request comes. Raises ServeError UNAVAILABLE when its queue is full."""
        number = 0
        if self._levels_count:
            number = waiting.request.priority
            if not 1 <= number <= self._levels_count:
                number = self._default_level
        level = self._levels.get(number)
        if level is None:
            level = self._levels[number] = _Level(self._policies.get(number, self._default_policy))
            self._order = [self._levels[n] for n in sorted(self._levels)]
        policy = level.policy
        if policy.most and len(level) >= policy.most:
            raise ServeError(Code.UNAVAILABLE, f"[request id: {waiting.request.id or '<id_unknown>'}] Exceeds maximum "
                             "queue size")
        deadline = waiting.deadline_ns = policy.deadline_ns(waiting.request, now)
        if deadline and (not self._next_deadline_ns or deadline < self._next_deadline_ns):
            self._next_deadline_ns = deadline
        self._shapes_differ = self._shapes_differ or waiting.shapes is not None
        level.queue.append(waiting)
        self.rows += waiting.size

    def expire(self, now: int) -> list[Dropped]:
        """Requests past their time: refused, or put behind the others."""
        if not self._next_deadline_ns or now <= self._next_deadline_ns:
            return []
        dropped: list[Dropped] = []
        nearest = 0
        for level in self._order:
            kept: deque[Waiting] = deque()
            for waiting in level.queue:
                deadline = waiting.deadline_ns
                if not deadline or now <= deadline:
                    kept.append(waiting)
                    if deadline and (not nearest or deadline < nearest):
                        nearest = deadline
                elif level.policy.delays:
                    level.late.append(waiting)
                else:
                    dropped.append(Dropped(waiting, ServeError(Code.UNAVAILABLE, "Request timeout expired"),
                                           "REJECTED"))
                    self.rows -= waiting.size
            level.queue = kept
        self._next_deadline_ns = nearest
        return dropped

    def take(self, now: int, hold_ns: int = 0, full_only: bool = False) -> tuple[list[Waiting], int, list[Dropped]]:
        """(requests of a batch that goes now, or none; when to ask again, 0 for not before something comes; requests
        that were dropped). ``hold_ns``: a batch that could grow waits so long at least. ``full_only``: it does not go
        at all."""
        dropped = self.expire(now)
        if not self.rows:
            return [], 0, dropped
        delay = max(self._delay_ns, hold_ns) if self.combine else 0
        if len(self._order) == 1 and len(self._order[0].queue) == 1 and not self._order[0].late:
            return self._only(now, delay, full_only, dropped)
        if not self._preferred and self.may_grow():
            if full_only:
                return [], 0, dropped
            if now - self._order[0].queue[0].since_ns >= delay and (taken := self._all()):
                return taken, 0, dropped
        if self._is_too_early(now, delay):
            return [], self._wake_ns(0 if full_only else self._first().since_ns + delay), dropped
        batch: list[Waiting] = []
        size = best_size = best = 0
        full = False
        oldest = now
        fresh = self._fresh(dropped)
        for waiting in fresh:
            if batch:
                more = size + waiting.size
                if more > self._most_preferred and not best:
                    best_size, best = size, len(batch)
                if more > self._max or not self.combine or waiting.shapes != batch[0].shapes:
                    full = True
                    break
            batch.append(waiting)
            size += waiting.size
            oldest = min(oldest, waiting.since_ns)
            if size in self._preferred:
                best_size, best = size, len(batch)
        fresh.close()
        if not batch:
            return [], 0, dropped
        waited = bool(delay) and now - oldest >= delay
        if best and not waited:
            return self._remove(best, best_size), self._wake_ns(0), dropped
        if full or size >= self._most_preferred or not self.combine or ((waited or not delay) and not full_only):
            return self._remove(len(batch), size), self._wake_ns(0), dropped
        return [], self._wake_ns(0 if full_only else oldest + delay), dropped

    def may_grow(self) -> bool:
        """Whether all that waits could go as one batch and is not full: while none may begin, nothing is to be done."""
        return self.combine and 0 < self.rows < self._least and not self._shapes_differ and \
            not self._next_deadline_ns and len(self._order) == 1 and not self._order[0].late

    def deadline_ns(self) -> int:
        """When the next request is past its time; 0 for never."""
        return self._next_deadline_ns + 1 if self._next_deadline_ns else 0

    def ended(self, requests: Sequence[Request]) -> None:
        """These have run; what waits here does not depend on that."""

    def _only(self, now: int, delay: int, full_only: bool,
              dropped: list[Dropped]) -> tuple[list[Waiting], int, list[Dropped]]:
        """As take(), where one request waits: the usual case, and as it should be, a short way."""
        queue = self._order[0].queue
        waiting = queue[0]
        if self._is_gone(waiting):
            for _ in self._fresh(dropped):
                raise AssertionError("its client went away")
            return [], 0, dropped
        can_grow = self.combine and waiting.size < self._most_preferred and waiting.size not in self._preferred
        if can_grow and (full_only or now - waiting.since_ns < delay):
            return [], self._wake_ns(0 if full_only else waiting.since_ns + delay), dropped
        queue.clear()
        self.rows = self._next_deadline_ns = 0
        self._shapes_differ = False
        return [waiting], 0, dropped

    def _all(self) -> list[Waiting]:
        """All that waits in the one queue; nothing when somebody's client went away."""
        queue = self._order[0].queue
        for waiting in queue:
            gone = waiting.request.is_gone
            if gone is not None and gone():
                return []
        taken = list(queue)
        queue.clear()
        self.rows = 0
        return taken

    def clear(self, error: ServeError) -> list[Dropped]:
        """Everything that waits is refused."""
        dropped = [Dropped(w, error, "OTHER") for level in self._order for q in (level.queue, level.late) for w in q]
        for level in self._order:
            level.queue.clear()
            level.late.clear()
        self.rows = self._next_deadline_ns = 0
        return dropped

    def _is_too_early(self, now: int, delay: int) -> bool:
        """Without a look at each request: nothing can go yet."""
        return self.combine and 0 < self.rows < self._least and not self._shapes_differ and len(self._order) == 1 and \
            not self._order[0].late and now - self._first().since_ns < delay and not self._is_gone(self._first())

    def _first(self) -> Waiting:
        for level in self._order:
            if level:
                return level.queue[0] if level.queue else level.late[0]
        raise AssertionError("the batcher is empty")

    @staticmethod
    def _is_gone(waiting: Waiting) -> bool:
        gone = waiting.request.is_gone
        return gone is not None and gone()

    def _fresh(self, dropped: list[Dropped]) -> Generator[Waiting, None, None]:
        """All that wait, in the order in which they go, without those whose client went away."""
        for level in self._order:
            for name in ("queue", "late"):
                queue: deque[Waiting] = getattr(level, name)
                gone: list[Waiting] = []
                try:
                    for waiting in queue:
                        if waiting.request.is_gone is not None and waiting.request.is_gone():
                            gone.append(waiting)
                        else:
                            yield waiting
                finally:
                    for waiting in gone:
                        queue.remove(waiting)
                        self.rows -= waiting.size
                        dropped.append(Dropped(waiting, ServeError(Code.CANCELLED, "Request cancelled"), "CANCELED"))

    def _remove(self, count: int, size: int) -> list[Waiting]:
        """The first ``count`` of :meth:`_fresh`."""
        taken: list[Waiting] = []
        for level in self._order:
            for queue in (level.queue, level.late):
                while queue and len(taken) < count:
                    taken.append(queue.popleft())
        self.rows -= size
        if not self.rows:
            self._next_deadline_ns = 0
            self._shapes_differ = False
        return taken

    def _wake_ns(self, batch_ns: int) -> int:
        """When something is to be done, if nothing comes before."""
        deadline = self.deadline_ns()
        return min(batch_ns, deadline) if batch_ns and deadline else batch_ns or deadline


__all__ = ["Batcher", "Dropped", "Waiting"]
