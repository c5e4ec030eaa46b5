"""A request under way, for threads (`produce`), for asyncio (`await`) and for callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from numpy.typing import NDArray

from safhost.sonic.policy import SonicError


class Outputs(Mapping[str, NDArray[Any]]):
    """Arrays by output name. ``server``: who answered, None for the local model; ``attempts``: servers asked;
    ``seconds``: from acquire to the answer."""

    __slots__ = ("_arrays", "attempts", "seconds", "server")

    def __init__(self, arrays: Mapping[str, NDArray[Any]], server: str | None, attempts: int, seconds: float) -> None:
        self._arrays = dict(arrays)
        self.server = server
        self.attempts = attempts
        self.seconds = seconds

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"<Outputs {', '.join(self._arrays)} of {self.server or 'the local model'}>"


class Pending:
    """What acquire returns. All methods may be called by any thread."""

    __slots__ = ("_cancel", "_future")

    def __init__(self, future: Future[Outputs], cancel: Callable[[], None]) -> None:
        self._future = future
        self._cancel = cancel

    def produce(self, timeout_s: float | None = None) -> Outputs:
        """Wait for the answer. Raises SonicError (with SonicRefused), also when ``timeout_s`` is over or it was
        cancelled; the request goes on after a timeout."""
        try:
            return self._future.result(timeout_s)
        except FutureTimeout:
            if self._future.done():
                raise
            raise SonicError(f"no answer within {timeout_s} s", "call produce again, or cancel it") from None
        except CancelledError:
            raise SonicError("the request was cancelled", "acquire again") from None

    def done(self) -> bool:
        """Whether there is an answer or an error."""
        return self._future.done()

    def error(self) -> BaseException | None:
        """The error of a request that is done; None when there is none or it is not done."""
        return self._future.exception() if self._future.done() and not self._future.cancelled() else None

    def cancel(self) -> None:
        """Give it up: the call to the server is cancelled. Nothing happens when it is done."""
        if self._future.cancel():
            self._cancel()

    def add_done_callback(self, callback: Callable[[Pending], None]) -> None:
        """``callback(self)`` once it is done, at once when it is already; by any thread, and it must not block."""
        self._future.add_done_callback(lambda _future: callback(self))

    def __await__(self) -> Generator[Any, None, Outputs]:
        return self._wait().__await__()

    async def _wait(self) -> Outputs:
        try:
            return await asyncio.wrap_future(self._future)
        except asyncio.CancelledError:
            self._cancel()
            raise
