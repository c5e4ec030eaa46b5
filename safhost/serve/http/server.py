"""The HTTP server: uvicorn in a thread of its own, with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, cast

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from safhost.errors import LinkError
from safhost.serve.auth import Security
from safhost.serve.http.app import App
from safhost.serve.http.direct import DirectProtocol, is_possible
from safhost.serve.http.patience import SWEEP_S, PatientProtocol, sweep
from safhost.serve.service import Service

IDLE_S = 3600
"""How long an unused connection stays open: clients keep pools of them, and find out late when one was closed."""


def listening(host: str, port: int, what: str = "HTTP") -> socket.socket:
    """A socket that shares its port with other workers; LinkError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # connections inherit it: one whose client is gone without a word is noticed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.bind((host, port))
        sock.listen(2048)
        sock.setblocking(False)
    except OSError as err:
        sock.close()
        raise LinkError(f"the {what} port {port} of {host} cannot be opened: {err.strerror}",
                        f"another server has it, or --{what.lower()}-port names another one") from None
    return sock


_TICKS = round(SWEEP_S / 0.1)  # uvicorn's server has a tick every 0.1 s


class _OneWrite:
    """A transport that sends a response's head together with its body: one system call, and one packet to wake the
    client. (uvicorn writes the two apart, and uvloop sends each at once.)"""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.is_closing, self.writelines = transport.is_closing, transport.writelines
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        head, self._head = self._head, None
        if head is not None:
            self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            self._transport.write(head)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _OneWriteProtocol(HttpToolsProtocol):
    def connection_made(self, transport: Any) -> None:
        self._one_write = _OneWrite(transport)
        super().connection_made(cast("asyncio.Transport", self._one_write))

    def on_response_complete(self) -> None:
        self._one_write.flush()  # a head without a body
        super().on_response_complete()


class _Protocol(PatientProtocol, _OneWriteProtocol):
    """All requests go uvicorn's way."""


class _Direct(PatientProtocol, DirectProtocol, _OneWriteProtocol):
    """Those do for which `direct` has none."""


class _Server(uvicorn.Server):
    """Leaves signals to the program it is in, and looks after connections that take too long."""

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            sweep(self.server_state.connections)
        return await super().on_tick(counter)

    def capture_signals(self) -> Any:
        import contextlib
        return contextlib.nullcontext()


class AsgiServer:
    """Serves an ASGI application from `start` to `stop`."""

    def __init__(self, app: Any, sock: socket.socket, security: Security | None = None, name: str = "http",
                 protocol: type[HttpToolsProtocol] = _Protocol) -> None:
        self._sock = sock
        config = uvicorn.Config(
            app, loop="uvloop", http=protocol, ws="none", lifespan="off", interface="asgi3", log_config=None,
            access_log=False, server_header=False, date_header=False, proxy_headers=False, timeout_keep_alive=IDLE_S)
        config.load()
        context = (security or Security()).ssl_context()
        if context is not None:
            config.ssl = context
        self._server = _Server(config)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def port(self) -> int:
        port: int = self._sock.getsockname()[1]
        return port

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._server.serve(sockets=[self._sock]))

    def stop(self, drain_s: float) -> None:
        """Take no more connections; requests under way may go on for ``drain_s``. Does not wait."""
        self._server.config.timeout_graceful_shutdown = max(1, round(drain_s))
        self._server.should_exit = True

    def close(self) -> None:
        """Wait for the end after `stop`."""
        self._thread.join()
        self._sock.close()


class HttpServer(AsgiServer):
    """KServe v2 over HTTP on ``host``:``port`` (0: any free one). ``direct``: whether inference goes without a task
    a request; None: where that is possible."""

    def __init__(self, service: Service, host: str, port: int, security: Security | None = None, *,
                 direct: bool | None = None) -> None:
        super().__init__(App(service, security), listening(host, port), security,
                         protocol=_Direct if (is_possible() if direct is None else direct) else _Protocol)


__all__ = ["AsgiServer", "HttpServer", "listening"]
