"""The HTTP side as an ASGI application: inference that `direct` leaves to it, and everything else, by `Routes`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

from safhost.serve.auth import OPEN_PATHS, Security
from safhost.serve.http.home import Home
from safhost.serve.http.replies import STATUS, body_of, chosen_encoding, compressed, decompressed
from safhost.serve.http.requests import header_length, request_of
from safhost.serve.http.routes import Routes
from safhost.serve.service import Service
from safhost.serve.tensors import version_of
from safhost.serve.types import Code, Reply, ServeError

log = logging.getLogger(__name__)
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LIMIT_BYTES = 2**31 - 1
"""The longest body, and what a compressed one may become."""

LARGE_JSON_BYTES = 1 << 18
"""Parsing more would keep the other connections waiting: another thread does it."""

_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_KNOWN_TARGETS = 1024  # what clients make up must not fill memory
_LOADS = 16  # at once; others wait


class App:
    """ASGI 3. Runs in one event loop; engines answer from any thread."""

    def __init__(self, service: Service, security: Security | None = None) -> None:
        self.service = service
        self._security = security or Security()
        self._routes = Routes(service)
        self._targets: dict[str, tuple[str, str] | None] = {}
        self._urls: dict[bytes, tuple[str, str] | None] = {}
        self._home: Home | None = None
        self._slow = ThreadPoolExecutor(_LOADS, thread_name_prefix="http-load")
        # one at a time: a small body may become LIMIT_BYTES
        self._unpacking = ThreadPoolExecutor(1, thread_name_prefix="http-unpack")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        try:
            if self._security.token and path not in OPEN_PATHS:
                self._check_token(scope)
            target = self._target(path) if scope["method"] == "POST" else None
            if target is not None:
                await self._infer(target, scope, receive, send)
                return
            body = await _body(receive)
            # loading takes its time, and keeps no thread from health and metadata
            pool = self._slow if path.endswith(("/load", "/unload")) else None
            status, document = await asyncio.get_running_loop().run_in_executor(
                pool, self._routes.answer, scope["method"], path, body)
            await _send(send, status, b"" if document is None else json.dumps(document).encode(), (_JSON,))
        except ServeError as error:
            await _send_error(send, error)
        except _Gone:
            return
        except Exception as error:
            log.exception("an HTTP request failed in an unforeseen way")
            await _send_error(send, ServeError(Code.INTERNAL, f"{type(error).__name__}: {error}"))

    def home(self) -> Home:
        """Where replies are taken; to be asked for in the event loop first."""
        if self._home is None:
            self._home = Home()
        return self._home

    def permits(self, authorization: bytes | None) -> bool:
        """Whether a request with this header may go on."""
        return not self._security.token or (authorization is not None and self._security.permits(authorization))

    def target_of_url(self, url: bytes) -> tuple[str, str] | None:
        """Model and version that a plain URL infers with; None for others, and for those that must be unquoted."""
        found = self._urls.get(url, False)
        if found is False:
            found = None if b"%" in url or b"?" in url else _target_of(url.decode("latin-1"))
            if len(self._urls) < _KNOWN_TARGETS:
                self._urls[url] = found
        return found  # type: ignore[return-value]

    def _check_token(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"authorization" and self._security.permits(value):
                return
        raise ServeError(Code.UNAUTHENTICATED, "the request has no valid token")

    def _target(self, path: str) -> tuple[str, str] | None:
        """Model and version that ``path`` infers with; None for other paths."""
        found = self._targets.get(path, False)
        if found is False:
            found = _target_of(path)
            if len(self._targets) < _KNOWN_TARGETS:
                self._targets[path] = found
        return found  # type: ignore[return-value]

    async def _infer(self, target: tuple[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        length: bytes | None = None
        accept = b""
        for name, value in scope["headers"]:
            if name == b"inference-header-content-length":
                length = value
            elif name == b"accept-encoding":
                accept = value
            elif name == b"content-encoding" and value not in (b"", b"identity"):
                body = await asyncio.get_running_loop().run_in_executor(
                    self._unpacking, decompressed, body, value.decode("latin-1"), LIMIT_BYTES)
        json_bytes = header_length(length, len(body))
        call = _Call(self.home())
        model, version = target
        arguments = (body, json_bytes, model, version_of(version), self.service, call.on_reply,
                     _gone_of(receive), scope["headers"])
        if json_bytes > LARGE_JSON_BYTES:
            request, outputs = await asyncio.get_running_loop().run_in_executor(None, lambda: request_of(*arguments))
        else:
            request, outputs = request_of(*arguments)
        request.home = self.home()
        self.service.engine.infer(request)
        reply = call.reply if call.reply is not None else await call.wait()
        try:
            parts, header = body_of(reply, outputs, self.service, request.id)
        finally:
            outputs.close()
            if request.trace is not None:
                self.service.traced(request, reply)
        await _send_parts(send, parts, header, accept)


def _target_of(path: str) -> tuple[str, str] | None:
    parts = path.split("/")
    if parts[:3] == ["", "v2", "models"] and parts[-1] == "infer":
        if len(parts) == 5:
            return unquote(parts[3]), ""
        if len(parts) == 7 and parts[4] == "versions" and parts[5].isdigit():
            return unquote(parts[3]), parts[5]
    return None


class _Call:
    """An answer on its way from the engine's thread to the event loop."""

    __slots__ = ("_future", "_home", "reply")

    def __init__(self, home: Home) -> None:
        self.reply: Reply | None = None
        self._home = home
        self._future: asyncio.Future[None] | None = None

    def on_reply(self, reply: Reply) -> None:
        self.reply = reply
        # seen by `wait` when it has not begun: the assignment comes first there too
        if self._future is not None:
            self._home.run(self._wake)

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> Reply:
        self._future = asyncio.get_running_loop().create_future()
        if self.reply is None:
            await self._future
        assert self.reply is not None
        return self.reply


def too_long() -> ServeError:
    """What a client is told whose body goes on and on."""
    return ServeError(Code.INVALID_ARGUMENT, f"the request is longer than {LIMIT_BYTES} bytes")


class _Gone(Exception):
    """The client went away while it sent its request."""


def _gone_of(receive: Receive) -> Callable[[], bool]:
    """Whether the connection was closed: uvicorn's cycle, whose method ``receive`` is, knows."""
    cycle = getattr(receive, "__self__", None)
    return lambda: bool(getattr(cycle, "disconnected", False))


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] != "http.request":
        raise _Gone
    data: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return data
    parts = [data]
    size = len(data)
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LIMIT_BYTES:
            raise too_long()
    return b"".join(parts)


async def _send_parts(send: Send, parts: list[Any], header: int | None, accept: bytes) -> None:
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    headers = [_JSON if header is None else _BINARY]
    if header is not None:
        headers.append((b"inference-header-content-length", b"%d" % header))
    encoding = chosen_encoding(accept.decode("latin-1")) if accept else "identity"
    if encoding != "identity":
        data = compressed(data, encoding)
        headers.append((b"content-encoding", encoding.encode()))
    await _send(send, 200, data, tuple(headers))


async def _send_error(send: Send, error: ServeError) -> None:
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)
    if error.code == Code.UNAUTHENTICATED:
        headers = (_JSON, (b"www-authenticate", b"Bearer"))
    elif error.message == "Unsupported compression type":
        headers = (_JSON, (b"accept-encoding", b"gzip, deflate"))
    await _send(send, STATUS.get(error.code, 400), json.dumps({"error": error.message}).encode(), headers)


async def _send(send: Send, status: int, data: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    await send({"type": "http.response.start", "status": status,
                "headers": [*headers, (b"content-length", b"%d" % len(data))]})
    await send({"type": "http.response.body", "body": data})


__all__ = ["LARGE_JSON_BYTES", "LIMIT_BYTES", "App", "too_long"]
