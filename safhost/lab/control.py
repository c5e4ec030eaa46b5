"""The lab process's control socket: one JSON object a line in, one a line out.

Request: ``{"do": NAME, ...arguments}``; answer: ``{"ok": true, "result": …}`` or ``{"ok": false, "error":
{type, message, hint}}``. The folder (mode 0700) says who may; a client that does not read its answers or
sends endless lines is cut off.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safhost.errors import DaemonError, DeadlineExceeded, SafError, error_from_dict
from safhost.lab.loop import Loop

MAX_REQUEST_BYTES = 1 << 20
MAX_ANSWER_BYTES = 64 << 20

Handler = Callable[[str, dict[str, Any]], Any]
"""Called with the request's name and arguments; its result is the answer, its SafError too."""


class ControlServer:
    """Serves requests in the lab's loop; ``handler`` must not block. Raises DaemonError without a socket."""

    def __init__(self, path: Path, loop: Loop, handler: Handler) -> None:
        self._path = path
        self._loop = loop
        self._handler = handler
        self._clients: dict[int, _Client] = {}
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            path.unlink(missing_ok=True)
            self._sock.bind(os.fsencode(path))
            path.chmod(0o600)
            self._sock.listen(16)
        except OSError as err:
            self._sock.close()
            raise DaemonError(f"cannot listen on {path}: {err.strerror}", "check the folder") from err
        self._sock.setblocking(False)
        loop.add(self._sock.fileno(), select.EPOLLIN, self._accept)

    def _accept(self, _mask: int, _now_ns: int) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            sock, _ = self._sock.accept()
            sock.setblocking(False)
            client = _Client(sock, self)
            self._clients[sock.fileno()] = client
            self._loop.add(sock.fileno(), select.EPOLLIN, client.on_event)

    def answer(self, line: bytes) -> bytes:
        """The answer line to one request line."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or not isinstance(request.get("do"), str):
                raise DaemonError("a request is a JSON object with a text in `do`", "see `safhost lab`")
            name = request.pop("do")
            reply: dict[str, Any] = {"ok": True, "result": self._handler(name, request)}
        except SafError as err:
            reply = {"ok": False, "error": err.to_dict()}
        except (ValueError, TypeError, KeyError) as err:
            error = DaemonError(f"the request makes no sense: {err}", "is the client of the same version?")
            reply = {"ok": False, "error": error.to_dict()}
        return json.dumps(reply).encode() + b"\n"

    def drop(self, client: _Client) -> None:
        """Close one connection."""
        fd = client.sock.fileno()
        if self._clients.pop(fd, None) is not None:
            self._loop.remove(fd)
            client.sock.close()

    def watch(self, client: _Client, mask: int) -> None:
        self._loop.modify(client.sock.fileno(), mask)

    def close(self) -> None:
        """Close all connections, after what they wait for was sent as far as it goes; remove the socket."""
        for client in list(self._clients.values()):
            client.flush()
            self.drop(client)
        self._loop.remove(self._sock.fileno())
        self._sock.close()
        self._path.unlink(missing_ok=True)


class _Client:
    def __init__(self, sock: socket.socket, server: ControlServer) -> None:
        self.sock = sock
        self._server = server
        self._inbox = bytearray()
        self._outbox = bytearray()

    def on_event(self, mask: int, _now_ns: int) -> None:
        if mask & select.EPOLLOUT and not self.flush():
            return
        if mask & ~select.EPOLLOUT:
            self._read()

    def _read(self) -> None:
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self._inbox += data
        if not data or len(self._inbox) > MAX_REQUEST_BYTES:
            self._server.drop(self)
            return
        while (end := self._inbox.find(b"\n")) >= 0:
            line = bytes(self._inbox[:end])
            del self._inbox[:end + 1]
            self._outbox += self._server.answer(line)
            if not self.flush():
                return

    def flush(self) -> bool:
        """Send what fits; False when the connection is gone."""
        try:
            while self._outbox:
                del self._outbox[:self.sock.send(self._outbox)]
        except BlockingIOError:
            if len(self._outbox) <= MAX_ANSWER_BYTES:
                self._server.watch(self, select.EPOLLIN | select.EPOLLOUT)
                return True
            self._server.drop(self)
            return False
        except OSError:
            self._server.drop(self)
            return False
        self._server.watch(self, select.EPOLLIN)
        return True


def request(path: Path, name: str, timeout_s: float = 30.0, **arguments: Any) -> Any:
    """Ask the lab process that listens on ``path``; returns its result.

    Raises what it raised, DaemonError when nobody listens, DeadlineExceeded after ``timeout_s``.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(os.fsencode(path))
            sock.sendall(json.dumps({"do": name, **arguments}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError as err:
            raise DeadlineExceeded(f"the lab did not answer {name!r} within {timeout_s:g} s",
                                   "`safhost lab down` ends it; its log says what it was doing") from err
        except OSError as err:
            raise DaemonError(f"no lab answers: {err.strerror}", "start one with `safhost lab up`") from err
    if not line:
        raise DaemonError("the lab ended while it was asked", "see its log, then `safhost lab up` again")
    reply = json.loads(line)
    if not reply["ok"]:
        raise error_from_dict(reply["error"])
    return reply["result"]
