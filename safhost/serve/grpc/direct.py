"""Inference without a thread for each call: events of grpc's core are handled where they come out of its queue.

grpc's server module gives every call to a thread of its pool, which waits there for the message, for the engine and, in
a stream, for each write; and before that it looks up a handler, makes a context and locks for a call that needs none.
`DirectCalls` takes the two inference methods away from it: they have a completion queue of their own on the same
server, and one thread that takes events from it. A message that has come is parsed and handed to the engine there; an
answer is sent by the thread that has it. A usual call is three events: it came, its message came, its answer is out.

For this it knows the layer below grpc's server module, `cygrpc`. Where that is not as expected (see `is_possible`),
every call takes grpc's ordinary way, `safhost.serve.grpc.infer`: slower, with threads, the same to clients.
"""

from __future__ import annotations

import logging
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from grpc import _server
from grpc._cython import cygrpc

from safhost.serve.auth import Security
from safhost.serve.grpc.infer import refusal
from safhost.serve.grpc.replies import response_of
from safhost.serve.grpc.requests import request_from
from safhost.serve.grpc.token import NO_TOKEN, is_permitted
from safhost.serve.service import Placement, Service
from safhost.serve.types import Code, Reply, Request

log = logging.getLogger(__name__)

ASKED = 16
"""Calls that the core may announce before we ask for more: one that finds none asked for waits in the core."""

_USED = {cygrpc: ("CompletionQueue", "ReceiveCloseOnServerOperation", "ReceiveMessageOperation", "CompletionType",
                  "SendInitialMetadataOperation", "SendMessageOperation", "SendStatusFromServerOperation"),
         cygrpc.Call: ("start_server_batch",),
         cygrpc.CompletionQueue: ("poll", "shutdown"),
         cygrpc.Server: ("register_completion_queue", "register_method", "request_registered_call"),
         _server: ("_Server", "_ServerState")}
_END_POLL_S = 0.05

# Operations without anything of a call in them, so that all calls can share them.
_INITIAL = cygrpc.SendInitialMetadataOperation(None, 0)
_GOOD = cygrpc.SendStatusFromServerOperation(None, 0, b"", 0)


def is_possible() -> bool:
    """Whether this grpc has inside what is used here."""
    return all(hasattr(owner, name) for owner, names in _USED.items() for name in names)


def status_operation(code: Code, text: str) -> Any:
    """Ends a call."""
    return cygrpc.SendStatusFromServerOperation(None, int(code), text.encode(), 0)


class DirectCalls:
    """The inference calls of ``server``, a grpc.Server that has not started. ``pool`` is for what takes its time."""

    def __init__(self, server: Any, service: Service, security: Security, pool: Executor, unary: str, stream: str,
                 make_stream: Callable[[DirectCalls, Any], Any]) -> None:
        self.service = service
        self.pool = pool
        self.live: set[Any] = set()
        """Calls that may yet start an operation: the queue must outlive them."""
        self._security = security
        self._server = server._state.server
        self._queue = cygrpc.CompletionQueue()
        self._server.register_completion_queue(self._queue)
        self._kinds: tuple[tuple[str, Callable[[Any], None]], ...] = ((unary, self._on_unary),
                                                                      (stream, self._on_stream))
        for method, _ in self._kinds:
            self._server.register_method(method)
        self._unary, self._stream = unary, stream
        self._make_stream = make_stream
        self._asked = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._serve, name="grpc-direct", daemon=True)

    def start(self) -> None:
        """After the server's start."""
        for method, tag in self._kinds:
            for _ in range(ASKED):
                self._asked += 1
                self._ask(method, tag)
        self._thread.start()

    def stop(self) -> None:
        """Before the server's stop: the thread ends when the last call has."""
        self._is_stopping = True

    def join(self, timeout_s: float) -> None:
        """Until the thread has ended, after `stop` and the server's."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def home(self, replies: list[tuple[Callable[[Reply], None], Reply]]) -> None:
        """Have many replies sent by this thread: it hears of them once, and nobody fights it for the interpreter."""
        if threading.get_ident() == self._thread.ident:
            _all_sent(replies)
        else:
            call: DirectCall = replies[0][0].__self__.rpc  # type: ignore[attr-defined]
            call.post(lambda _event: _all_sent(replies))

    def _ask(self, method: str, tag: Callable[[Any], None]) -> None:
        try:
            self._server.request_registered_call(self._queue, self._queue, method, tag)
        except ValueError:  # the server is shutting down
            self._asked -= 1

    def _serve(self) -> None:
        poll = self._queue.poll
        while not self._is_stopping or self._asked or self.live:
            event = poll(time.time() + _END_POLL_S) if self._is_stopping else poll()
            tag = event.tag
            if tag is not None:
                try:
                    tag(event)
                except Exception:
                    log.exception("a call failed in an unforeseen way")
            # an event holds its call, which must not live on while nothing comes
            event = tag = None
        self._queue.shutdown()
        while poll().completion_type != cygrpc.CompletionType.queue_shutdown:
            continue

    def _on_unary(self, event: Any) -> None:
        if self._is_taken(event, self._unary, self._on_unary):
            _Unary(self, event).receive()

    def _on_stream(self, event: Any) -> None:
        if self._is_taken(event, self._stream, self._on_stream):
            self._make_stream(self, event).receive()

    def _is_taken(self, event: Any, method: str, tag: Callable[[Any], None]) -> bool:
        """Ask for the next call; whether this one is to be handled."""
        if not event.success:  # the server is shutting down
            self._asked -= 1
            return False
        self._ask(method, tag)
        if self._security.token and not is_permitted(self._security, event.invocation_metadata):
            operations = (cygrpc.ReceiveCloseOnServerOperation(0), _INITIAL,
                          status_operation(Code.UNAUTHENTICATED, NO_TOKEN))
            _Refused(self, event.call, operations)
            return False
        return True


def _all_sent(replies: list[tuple[Callable[[Reply], None], Reply]]) -> None:
    for on_reply, reply in replies:
        on_reply(reply)


class _Refused:
    """A call that ends before its message is looked at."""

    __slots__ = ("_calls",)

    def __init__(self, calls: DirectCalls, call: Any, operations: tuple[Any, ...]) -> None:
        self._calls = calls
        calls.live.add(self)
        call.start_server_batch(operations, self._on_done)

    def _on_done(self, _event: Any) -> None:
        self._calls.live.discard(self)


class DirectCall:
    """A call under way, from its arrival to the end of its last operation."""

    __slots__ = ("_call", "_calls", "_event", "_service", "is_cancelled")

    def __init__(self, calls: DirectCalls, event: Any) -> None:
        self._calls = calls
        self._service = calls.service
        self._event = event
        self._call = event.call
        self.is_cancelled = False
        calls.live.add(self)

    def receive(self) -> None:
        """Have the next message delivered to `_on_message`."""
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), self._on_message)

    @property
    def rpc(self) -> DirectCall:
        """The call that a request came with."""
        return self

    def post(self, tag: Callable[[Any], None]) -> None:
        """Have ``tag`` called in the queue's thread: a batch of no operations is over at once."""
        self._call.start_server_batch((), tag)

    def watch(self) -> None:
        """Have `is_cancelled` set when the client goes away, or its deadline has passed."""
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), self._on_close)

    def _on_close(self, event: Any) -> None:
        self.is_cancelled = event.batch_operations[0].cancelled()

    def _on_message(self, event: Any) -> None:
        raise NotImplementedError

    def metadata(self) -> Any:
        return self._event.invocation_metadata

    def is_gone(self) -> bool:
        return self.is_cancelled

    def over(self, _event: Any = None) -> None:
        """Nothing more is done with the call."""
        self._calls.live.discard(self)


class _Unary(DirectCall):
    """ModelInfer."""

    __slots__ = ("_close", "_is_done", "_placement", "_request")

    def __init__(self, calls: DirectCalls, event: Any) -> None:
        super().__init__(calls, event)
        self._close = allocate_lock()  # whoever gets it has the end of the call watched
        self._is_done = False
        self._request: Request | None = None
        self._placement: Placement | None = None

    def _on_message(self, event: Any) -> None:
        data = event.batch_operations[0].message()
        if data is None:
            self._finish(_INITIAL, status_operation(Code.UNIMPLEMENTED, "ModelInfer takes exactly one message"))
            return
        service = self._service
        try:
            self._request, self._placement = request_from(data, service, self.on_reply, self.is_gone, self.metadata)
            self._request.home = self._calls.home
            service.engine.infer(self._request)
        except Exception as error:
            self._refuse(error)
            return
        if self._close.acquire(False):  # not answered yet: now it matters whether the client waits
            self.watch()

    def on_reply(self, reply: Reply) -> None:
        if self._placement is None or not self._placement.classes:
            self._send(reply)
        else:  # classifying takes its time
            self._calls.pool.submit(self._send, reply)

    def _send(self, reply: Reply) -> None:
        request = self._request
        assert request is not None
        self._request = None  # it knows us: without this, only the garbage collector would end the two
        try:
            data = response_of(reply, self._placement, self._service, request.id)
        except Exception as error:
            self._refuse(error)
        else:
            self._finish(_INITIAL, cygrpc.SendMessageOperation(data, 0), _GOOD)
        finally:
            if self._placement is not None:
                self._placement.close()
            if request.trace is not None:
                self._service.traced(request, reply)

    def _refuse(self, error: Exception) -> None:
        self._finish(_INITIAL, status_operation(*refusal(error)))

    def _finish(self, *operations: Any) -> None:
        """The last operations of the call, in one batch: one write of the core."""
        if self._is_done:
            return
        self._is_done = True
        if self.is_cancelled:
            self.over()
            return
        if self._close.acquire(False):  # nobody watches the end, and a call must have heard of it
            operations = (cygrpc.ReceiveCloseOnServerOperation(0), *operations)
        self._call.start_server_batch(operations, self.over)


__all__ = ["ASKED", "DirectCall", "DirectCalls", "is_possible", "status_operation"]
