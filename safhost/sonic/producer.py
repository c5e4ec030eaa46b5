"""SONIC's shape of a module: `acquire` makes inputs of an event, `produce` takes the outputs; and a loop over events.

While the inference of an event is under way, others are acquired: as many as `in_flight` says. That is what hides the
latency of a remote accelerator (SONIC's external work).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.sonic.client import Client
from safhost.sonic.pending import Outputs, Pending

E = TypeVar("E")
R = TypeVar("R")


class Producer(Generic[E, R]):
    """A module of a workflow: subclass it and say how an event becomes inputs, and outputs become a result."""

    def acquire(self, event: E) -> Mapping[str, NDArray[Any]]:
        """Inputs by name, made from ``event``."""
        raise NotImplementedError(f"{type(self).__name__} must say how an event becomes inputs")

    def produce(self, event: E, outputs: Outputs) -> R:
        """The result of ``event``, from the model's ``outputs``."""
        raise NotImplementedError(f"{type(self).__name__} must say how outputs become a result")


def run(producer: Producer[E, R], client: Client, events: Iterable[E], in_flight: int = 16) -> Iterator[R]:
    """Results in the order of ``events``, with up to ``in_flight`` inferences under way.

    Raises ConfigError for fewer than 1, and SonicError for the first event that gets no answer; what is under way then,
    or when the caller stops early, is cancelled.
    """
    if in_flight < 1:
        raise ConfigError(f"{in_flight} inferences in flight do nothing", "use 1 or more")
    waiting: deque[tuple[E, Pending]] = deque()
    try:
        for event in events:
            waiting.append((event, client.acquire(producer.acquire(event))))
            if len(waiting) >= in_flight:
                yield _collect(producer, waiting)
        while waiting:
            yield _collect(producer, waiting)
    finally:
        for _event, pending in waiting:
            pending.cancel()


def _collect(producer: Producer[E, R], waiting: deque[tuple[E, Pending]]) -> R:
    event, pending = waiting.popleft()
    return producer.produce(event, pending.produce())
