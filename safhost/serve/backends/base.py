"""What a model asks of the thing that runs it, and the batch that goes there and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from safhost.serve.types import Request, ServeError, Tensor


class Batch:
    """Requests that run as one. A backend ends it exactly once: :meth:`succeed` or :meth:`fail`, in any thread.

    ``sizes`` are the rows of each request, ``size`` their sum. Times are on the monotonic clock: the batch began at
    ``start_ns``; inputs were ready at ``input_end_ns``; outputs could be taken from ``output_start_ns`` on. ``number``
    counts a model's batches.
    """

    __slots__ = ("_on_end", "error", "input_end_ns", "number", "output_start_ns", "outputs", "reason", "requests",
                 "size", "sizes", "start_ns")

    def __init__(self, requests: list[Request], sizes: list[int], on_end: Callable[[Batch], None],
                 number: int = 0) -> None:
        self.requests = requests
        self.sizes = sizes
        self.size = sum(sizes)
        self.start_ns = self.input_end_ns = self.output_start_ns = time.monotonic_ns()
        self.outputs: Sequence[list[Tensor] | ServeError] = ()
        self.error: ServeError | None = None
        self.reason = ""
        self.number = number
        self._on_end = on_end

    def succeed(self, outputs: Sequence[list[Tensor] | ServeError]) -> None:
        """``outputs`` of each request, in the configuration's order, or why this one of them has none."""
        self.outputs = outputs
        self._on_end(self)

    def fail(self, error: ServeError, reason: str = "BACKEND") -> None:
        """All requests of the batch get ``error``; ``reason`` is one of `statistics.REASONS`."""
        self.error = error
        self.reason = reason
        self._on_end(self)


class Backend(Protocol):
    """Runs batches of one model version."""

    @property
    def inline(self) -> Callable[[Request], list[Tensor]] | None:
        """What answers a request at once, in the caller's thread, where that is all there is to do."""

    def slots(self) -> tuple[int, int]:
        """How many batches it takes at once: of any, and of those that cannot grow any more. When they become more it
        calls what :meth:`attach` gave it."""

    def hold_ns(self) -> int:
        """So long a batch that could grow waits for more to come while others run."""

    def attach(self, on_change: Callable[[], None]) -> None:
        """``on_change`` is called whenever there may be more slots, or readiness changed; any thread."""

    def working(self) -> list[str]:
        """Names of the cards that answer for the model now."""

    def start(self, batch: Batch) -> None:
        """Begin to run a batch. Must not block."""

    def unready(self) -> str:
        """Why it cannot run anything now; empty when it can."""

    def close(self) -> None:
        """No more batches come; those begun have ended."""


__all__ = ["Backend", "Batch"]
