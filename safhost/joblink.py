"""A job's way to its daemon: a connection of its own, made again when the daemon was restarted.

In a cluster that lives in this process a job shares the one connection there is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from safhost.calls import Calls, Memory
from safhost.errors import DaemonError, SafError
from safhost.transport import Handler, Transport

RECONNECT_S = 60.0
ASK_S = 10.0
RETRY_S = 0.05
RETRY_MAX_S = 0.5


class Owner(Protocol):
    """What a link tells its job; each call comes from the thread that hands answers over."""

    def opening(self) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """Parameters and memory (its own descriptors, closed by the link) of the request that opens the job."""

    def on_event(self, event: dict[str, Any]) -> None: ...

    def on_lost(self) -> None:
        """The daemon went away; it is looked for."""

    def on_end(self, result: dict[str, Any], error: SafError | None) -> None:
        """The job is over, or its daemon did not come back (DaemonError)."""


class _Reply:
    """The end of the request that is the job, on one connection."""

    def __init__(self, link: JobLink, calls: Calls) -> None:
        self._link = link
        self._calls = calls

    def on_event(self, event: dict[str, Any]) -> None:
        if self._link.calls is self._calls:
            self._link.owner.on_event(event)

    def settle(self, result: dict[str, Any], error: SafError | None) -> None:
        self._link.settled(self._calls, result, error)

    def closed(self) -> None:
        self._link.settled(self._calls, {}, DaemonError("the cluster is closed", "connect() again"))


class JobLink:
    """``calls`` is the connection at the moment; another one after the daemon came back."""

    def __init__(self, owner: Owner, shared: Calls, make_transport: Callable[[Handler], Transport] | None) -> None:
        self.owner = owner
        self._shared = shared
        self._make = None if shared.is_local else make_transport
        self.calls: Calls | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Ask for the job, over a connection of its own. Raises DaemonError when nobody answers."""
        calls = self._shared if self._make is None else Calls(self._make)
        with self._lock:
            self.calls = calls
        params, memory = self.owner.opening()
        reply = _Reply(self, calls)
        try:
            calls.start("job", params, memory, reply, reply.on_event)
        except BaseException:
            self._drop(calls)
            raise
        finally:
            for part in memory:
                part.close()

    def start(self, op: str, params: dict[str, Any], memory: Memory = None, over: Calls | None = None) -> bool:
        """Send something that nobody waits for; whether it went out. A refusal comes as an event `refused`. ``over``:
        the connection it was meant for, which may be gone by now."""
        calls = over or self.calls
        if calls is None or calls.broken:
            return False
        try:
            calls.tell(op, params, memory)
        except SafError:
            return False  # the job's own request ends too, and says so
        return True

    def ask(self, op: str, params: dict[str, Any]) -> None:
        """Send something and wait until it was dealt with; a refusal, or nobody there, is no news at a job's end."""
        calls = self.calls
        if calls is not None and not calls.broken:
            with contextlib.suppress(SafError):
                calls.call(op, params, None, None, ASK_S)

    def settled(self, calls: Calls, result: dict[str, Any], error: SafError | None) -> None:
        """The job's request ended on one of our connections."""
        if calls is not self.calls:
            return
        if error is not None and calls.broken and self._make is not None and not self._closed.is_set():
            self.owner.on_lost()
            threading.Thread(target=self._again, name="saf-job-reconnect", daemon=True).start()
            return
        self.owner.on_end(result, error)

    def _again(self) -> None:
        """Until the daemon is back, or for too long."""
        end = time.monotonic() + RECONNECT_S
        wait_s = RETRY_S
        while not self._closed.wait(wait_s):
            with self._lock:
                old, self.calls = self.calls, None
            if old is not None:
                old.close()
            try:
                self.open()
                return
            except SafError as err:
                if not isinstance(err, DaemonError):
                    self.owner.on_end({}, err)
                    return
            if time.monotonic() > end:
                self.owner.on_end({}, DaemonError(f"the daemon did not come back within {RECONNECT_S:g} s",
                                                  "see its log, then submit the job again with resume="))
                return
            wait_s = min(2 * wait_s, RETRY_MAX_S)

    def _drop(self, calls: Calls) -> None:
        with self._lock:
            if self.calls is calls:
                self.calls = None
        if calls is not self._shared:
            calls.close()

    def close(self) -> None:
        """The job is over. May be called twice, and from a callback."""
        self._closed.set()
        with self._lock:
            calls, self.calls = self.calls, None
        if calls is not None and calls is not self._shared:
            calls.close()
