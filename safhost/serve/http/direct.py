"""Inference over HTTP without a task a request: uvicorn's connection, which parses, hands its request to the engine.

ASGI has every request be a coroutine of its own, which is asked to run, asks for its body and is asked to run again.
`DirectProtocol` does without for plain inference: when the body is there it is handed to the engine, and whoever has
the answer has it written in one piece. Compressed bodies, JSON that takes long to parse, pipelined requests, clients
that do not take their answers and everything that is no inference go uvicorn's way to `safhost.serve.http.app`.

For this it knows some of uvicorn's connection. Where that is not as expected (see `is_possible`), all requests go its
way: slower, the same to clients.
"""

from __future__ import annotations

import json
import logging
from asyncio import TimerHandle
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from safhost.serve.http.app import LARGE_JSON_BYTES, LIMIT_BYTES, App, too_long
from safhost.serve.http.replies import STATUS, body_of, chosen_encoding, compressed
from safhost.serve.http.requests import Outputs, header_length, request_of
from safhost.serve.types import Code, Reply, Request, ServeError

log = logging.getLogger(__name__)

_USED = ("cycle", "expect_100_continue", "flow", "headers", "parser", "pipeline", "transport")
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
_BINARY = (b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
           b"inference-header-content-length: %d\r\ncontent-length: %d\r\n")
_ERROR = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n"
_CODINGS = (b"", b"identity")


def is_possible() -> bool:
    """Whether this uvicorn has inside what is used here."""
    return set(_USED) <= set(HttpToolsProtocol.__init__.__code__.co_names) and all(
        hasattr(HttpToolsProtocol, name) for name in ("on_message_begin", "on_headers_complete", "on_body",
                                                      "on_message_complete", "on_response_complete"))


@lru_cache(64)
def _encoding(accepted: bytes) -> str:
    """How an answer is compressed for a client that says what it takes."""
    return chosen_encoding(accepted.decode("latin-1"))


class DirectProtocol(HttpToolsProtocol):
    """A connection. Its server's application must be an `App`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        app = self.config.loaded_app
        assert isinstance(app, App)
        self.direct = app
        self._call: Call | None = None  # the request that is being read, when it goes this way
        self._used_at = 0.0
        self._idle: TimerHandle | None = None

    # uvicorn has a timer set and cancelled with each request; here one looks from time to time

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._used_at = self.loop.time()
        self._idle = self.loop.call_later(self.timeout_keep_alive, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        left_s = self._used_at + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0 and (self.cycle is None or self.cycle.response_complete):
            self.timeout_keep_alive_handler()
        else:
            self._idle = self.loop.call_later(max(left_s, 1.0), self._look)

    def answered(self) -> None:
        """A `Call` is over."""
        self._used_at = self.loop.time()
        if self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1

    def on_message_begin(self) -> None:
        # what uvicorn makes here is for ASGI alone
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._call = call = self._made_call()
        if call is not None:
            self.cycle = call  # type: ignore[assignment]
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _made_call(self) -> Call | None:
        """What the request is when it goes this way."""
        target = self.direct.target_of_url(self.url)
        before, parser = self.cycle, self.parser
        if target is None or self.expect_100_continue or self.flow.write_paused or self.pipeline or \
                (before is not None and not before.response_complete):
            return None
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or parser.should_upgrade():
            return None
        header = permit = None
        encoding = "identity"
        size = LIMIT_BYTES  # in chunks: as large as it may be
        for name, value in self.headers:
            if name == b"content-length":
                size = int(value)
            elif name == b"inference-header-content-length":
                header = value
            elif name == b"authorization":
                permit = value
            elif name == b"accept-encoding":
                encoding = _encoding(value)
            elif name == b"content-encoding" and value not in _CODINGS:
                return None
        json_bytes = int(header) if header is not None and header.isdigit() else size
        if json_bytes > LARGE_JSON_BYTES or not self.direct.permits(permit):
            return None
        return Call(self, target, header, parser.should_keep_alive(), encoding)

    def on_body(self, body: bytes) -> None:
        if self._call is not None:
            self._call.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._call is not None:
            self._call.run()
        else:
            super().on_message_complete()


class Call:
    """An inference; stands in uvicorn's connection where its own cycle stands for others, with what is used of that:
    ``disconnected`` and ``keep_alive`` are set by it, ``response_complete`` is read by it."""

    __slots__ = ("_connection", "_encoding", "_header", "_outputs", "_parts", "_reply", "_request", "_size", "_target",
                 "_waits", "disconnected", "keep_alive", "response_complete")

    def __init__(self, connection: DirectProtocol, target: tuple[str, str], header: bytes | None,
                 keep_alive: bool, encoding: str) -> None:
        self._connection = connection
        self._target = target
        self._header = header
        self._encoding = encoding
        self._request: Request | None = None
        self._outputs: Outputs | None = None
        self._reply: Reply | None = None
        self._waits = False
        self._parts: list[bytes] = []
        self._size = 0
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False

    @property
    def message_event(self) -> Call:
        """What uvicorn sets when there is news for a coroutine."""
        return self

    def set(self) -> None:
        """There is none that waits."""

    def is_gone(self) -> bool:
        return self.disconnected

    def take(self, part: bytes) -> None:
        """A part of the body."""
        self._parts.append(part)
        self._size += len(part)
        if self._size > LIMIT_BYTES:
            self._parts.clear()
            if not self.response_complete:
                self._refuse(too_long())

    def run(self) -> None:
        """The body is there."""
        if self.response_complete:
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        app = self._connection.direct
        model, version = self._target
        try:
            length = header_length(self._header, len(body))
            self._request, self._outputs = request_of(body, length, model, version, app.service, self.on_reply,
                                                      self.is_gone, self._connection.headers)
            self._request.home = app.home()
            app.service.engine.infer(self._request)
        except Exception as error:
            if self._outputs is not None:
                self._outputs.close()
            self._refuse(error)
            return
        if self._reply is None:
            self._waits = True  # from here on, whoever has the reply sees to it
            if self._reply is None:
                return
        self._answer()

    def on_reply(self, reply: Reply) -> None:
        self._reply = reply
        if self._waits:
            self._connection.direct.home().run(self._answer)

    def _answer(self) -> None:
        """In the event loop's thread; a reply that comes while it is looked for may call it twice."""
        reply, request, outputs = self._reply, self._request, self._outputs
        if self.response_complete:
            return
        assert reply is not None
        assert request is not None
        assert outputs is not None
        service = self._connection.direct.service
        try:
            parts, header = body_of(reply, outputs, service, request.id)
        except Exception as error:
            self._refuse(error)
        else:
            coded = b""
            if self._encoding != "identity":
                parts = [compressed(b"".join(parts), self._encoding)]
                coded = b"content-encoding: %b\r\n" % self._encoding.encode()
            size = sum([len(part) for part in parts])
            self._send((_JSON % size if header is None else _BINARY % (header, size)) + coded, parts)
        finally:
            self._request = self._reply = None  # they hold each other
            outputs.close()
            if request.trace is not None:
                service.traced(request, reply)

    def _refuse(self, error: Exception) -> None:
        if not isinstance(error, ServeError):
            log.exception("an HTTP request failed in an unforeseen way", exc_info=error)
            error = ServeError(Code.INTERNAL, f"{type(error).__name__}: {error}")
        body = json.dumps({"error": error.message}).encode()
        self._send(_ERROR % (STATUS_LINE[STATUS.get(error.code, 400)], len(body)), [body])

    def _send(self, head: bytes, parts: list[Any]) -> None:
        self.response_complete = True
        connection = self._connection
        if not self.disconnected:
            end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
            connection.transport.writelines([head + end, *parts])
            if not self.keep_alive:  # the client wants it so, or the server drains
                connection.transport.close()
        connection.answered()


__all__ = ["DirectProtocol", "is_possible"]
