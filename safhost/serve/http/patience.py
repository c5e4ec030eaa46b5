"""How long, and how much, a connection may take for a request: against clients that send heads without an end, or stop
in the middle and keep the connection.

uvicorn has a limit for connections between requests alone. What is here costs a busy connection a few attributes a
request: who takes too long is looked for every SWEEP_S seconds, not by a timer each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 1 << 20
"""Of a request's line and headers; more than one read of a socket, whose end may be the body's beginning."""

SWEEP_S = 10.0
PATIENCE_SWEEPS = 6
"""A head has so many sweeps, a body as many without a byte: about a minute, as other servers allow."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """A connection that is closed when its request does not come to an end."""

    _head_bytes = 0  # of the head that is coming; 0 between requests
    _in_body = False
    _has_asked = False  # a whole head has come: what follows it may rest, as pools of connections do
    _sweeps = 0  # since it began to wait

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            self._sweeps = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_body = self._has_asked = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._head_bytes = self._sweeps = 0
        super().on_message_complete()

    def sweep(self) -> None:
        """Called every SWEEP_S seconds."""
        if not (self._in_body or self._head_bytes or not self._has_asked):
            return
        self._sweeps += 1
        if self._sweeps > PATIENCE_SWEEPS:
            self.transport.close()


def sweep(connections: Iterable[Any]) -> None:
    """All connections of a server."""
    for connection in list(connections):
        connection.sweep()


__all__ = ["HEAD_BYTES", "PATIENCE_SWEEPS", "SWEEP_S", "PatientProtocol", "sweep"]
