"""How a client reaches its cluster: over the daemon's socket, or in this very process.

Both have the same four methods: ``send`` a request, ``step`` (wait for something and hand answers over),
``wake`` a step in another thread, ``close``.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from safhost.errors import DaemonError
from safhost.runtime.messages import connect_daemon

Handler = Callable[[dict[str, Any]], None]
MAX_QUEUED = 64  # messages; more wait until the daemon took some, or their descriptors would run out


class Transport(Protocol):
    is_local: bool

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None: ...

    def step(self, timeout_s: float) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None:
        """May be called twice."""


class _Bell:
    """Ends a step that another thread is in; harmless once closed."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()

    def ring(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1


class DaemonTransport:
    """Requests over the daemon's Unix socket."""

    is_local = False

    def __init__(self, path: str, handler: Handler) -> None:
        self._messages = connect_daemon(path)
        self._messages.sock.setblocking(False)
        self._handler = handler
        self._poll = select.poll()
        self._bell = _Bell()
        self._poll.register(self._messages.fileno(), select.POLLIN)
        self._poll.register(self._bell.fd, select.POLLIN)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        try:
            self._messages.send(message, tuple(fds))
        except OSError as err:
            raise _gone() from err
        while self._messages.queued > MAX_QUEUED:
            self.step(1.0)

    def step(self, timeout_s: float) -> None:
        mask = select.POLLIN | (select.POLLOUT if self._messages.wants_write else 0)
        if mask != select.POLLIN:
            self._poll.modify(self._messages.fileno(), mask)
        ready = self._poll.poll(timeout_s * 1e3)
        if mask != select.POLLIN:
            self._poll.modify(self._messages.fileno(), select.POLLIN)
        for fd, events in ready:
            if fd == self._bell.fd:
                self._bell.clear()
                continue
            try:
                if events & select.POLLOUT:
                    self._messages.flush()
                if events & ~select.POLLOUT:
                    for message, _fds in self._messages.receive():
                        self._handler(message)
            except BlockingIOError:
                continue
            except (EOFError, OSError) as err:
                raise _gone() from err

    def wake(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        self._messages.close()
        self._bell.close()


class LocalTransport:
    """The whole host in this process, for its duration. Cards are released when it closes."""

    is_local = True

    def __init__(self, host: Any, handler: Handler) -> None:
        self._host = host
        self._bell = _Bell()
        host.engine.watch(self._bell.fd, lambda _mask: self._bell.clear())
        self._connection = _Local(handler)
        self._closed = False

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        self._host.service.request(self._connection, message, [os.dup(fd) for fd in fds])

    def step(self, timeout_s: float) -> None:
        self._host.engine.step(timeout_s)

    def wake(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.send({"id": 0, "op": "release"})
        self._host.engine.unwatch(self._bell.fd)
        self._host.close()
        self._bell.close()


class _Local:
    """The connection of a client in this process."""

    peer = "this process"

    def __init__(self, handler: Handler) -> None:
        self.send = handler


def _gone() -> DaemonError:
    return DaemonError("the daemon went away",
                       "it restarts and re-adopts the cards; repeat the command, or see its log")
