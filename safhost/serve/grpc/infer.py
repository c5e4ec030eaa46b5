"""Inference over gRPC: one call, one request; or a stream with many under way.

Handlers take and give bytes, so that a message is parsed once and in the thread that handles it. A call waits for its
answer on a lock: an engine that answers inside `infer` costs no switch of threads.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from _thread import allocate_lock
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from safhost.serve.grpc.replies import response_of, stream_error
from safhost.serve.grpc.requests import id_of, request_from
from safhost.serve.service import Placement, Service
from safhost.serve.types import Code, Reply, Request, ServeError

log = logging.getLogger(__name__)

STREAM_DEPTH = 1024
"""Requests of one stream that may be under way; beyond, reading stops and HTTP/2 holds the client back."""

STATUS = {code.value[0]: code for code in grpc.StatusCode}


def refusal(error: Exception) -> tuple[Code, str]:
    """What a client is told of ``error``; one that nobody foresaw is logged."""
    if isinstance(error, ServeError):
        return error.code, error.message
    if isinstance(error, DecodeError):
        return Code.INVALID_ARGUMENT, f"the message is no ModelInferRequest: {error}"
    log.error("an inference failed in an unforeseen way", exc_info=error)
    return Code.INTERNAL, f"{type(error).__name__}: {error}"


class _Call:
    """A request under way: `on_reply` lets `wait` go."""

    __slots__ = ("_lock", "placement", "reply", "request")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self.reply: Reply | None = None
        self.request: Request | None = None
        self.placement: Placement | None = None

    def on_reply(self, reply: Reply) -> None:
        self.reply = reply
        self._lock.release()

    def wait(self) -> Reply:
        self._lock.acquire()
        assert self.reply is not None
        return self.reply

    def response(self, service: Service, *, stream: bool = False) -> bytes:
        """Wait, and make the message of it; raises ServeError."""
        reply = self.wait()
        request = self.request
        assert request is not None
        self.request = None  # it knows us: without this, only the garbage collector would end the two
        try:
            return response_of(reply, self.placement, service, request.id, stream=stream)
        finally:
            if self.placement is not None:
                self.placement.close()
            if request.trace is not None:
                service.traced(request, reply)


class Inference:
    """The two calls that infer."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def unary(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """ModelInfer."""
        service = self._service
        call = _Call()
        try:
            self._begin(call, data, lambda: not context.is_active(), context.invocation_metadata)
            return call.response(service)
        except Exception as error:
            code, text = refusal(error)
        context.abort(STATUS[int(code)], text)
        raise AssertionError  # abort raises

    def _begin(self, call: _Call, data: bytes, is_gone: Callable[[], bool], metadata: Callable[[], Any]) -> None:
        service = self._service
        call.request, call.placement = request_from(data, service, call.on_reply, is_gone, metadata)
        service.engine.infer(call.request)

    def stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """ModelStreamInfer: answers come in the order of the requests, which need not wait for each other."""
        stream = _Stream(self, messages, context)
        context.add_callback(stream.over)
        threading.Thread(target=stream.read, name="stream", daemon=True).start()
        yield from stream.answers()


class _Stream:
    """One stream: a thread reads and begins requests, the call's own thread answers them."""

    def __init__(self, inference: Inference, messages: Iterator[bytes], context: grpc.ServicerContext) -> None:
        self._inference = inference
        self._service = inference._service
        self._messages = messages
        self._context = context
        self._calls: SimpleQueue[_Call | bytes | ServeError | None] = SimpleQueue()
        self._room = threading.Semaphore(STREAM_DEPTH)
        self._over = False
        # a client that asks for it gets an error as the status that ends the stream
        self._is_strict = ("triton_grpc_error", "true") in tuple(context.invocation_metadata() or ())

    def over(self) -> None:
        """The call has ended, whoever ended it."""
        self._over = True
        self._room.release()
        self._calls.put(None)

    def read(self) -> None:
        # grpc raises a plain Exception when the client has gone
        with contextlib.suppress(Exception):
            for data in self._messages:
                self._room.acquire()
                if self._over:
                    break
                self._begin(data)
        self._calls.put(None)

    def _begin(self, data: bytes) -> None:
        call = _Call()
        try:
            self._inference._begin(call, data, self._is_over, self._context.invocation_metadata)
        except Exception as err:
            error = ServeError(*refusal(err))
            self._calls.put(error if self._is_strict else stream_error(error, id_of(data)))
        else:
            self._calls.put(call)

    def _is_over(self) -> bool:
        return self._over

    def answers(self) -> Iterator[bytes]:
        try:
            while (call := self._calls.get()) is not None:
                yield self._answer(call)
                self._room.release()
        finally:
            self._over = True
            self._drop_rest()

    def _answer(self, call: _Call | bytes | ServeError) -> bytes:
        if isinstance(call, bytes):
            return call
        request_id = call.request.id if isinstance(call, _Call) and call.request else ""
        try:
            if isinstance(call, ServeError):
                raise call
            return call.response(self._service, stream=True)
        except ServeError as error:
            if self._is_strict:
                self._context.abort(STATUS[int(error.code)], error.message)
            return stream_error(error, request_id)

    def _drop_rest(self) -> None:
        """Let go of what requests that nobody waits for hold: each is answered once, so waiting ends."""
        while not self._calls.empty():
            call = self._calls.get()
            if isinstance(call, _Call):
                call.wait()
                if call.placement is not None:
                    call.placement.close()


__all__ = ["STATUS", "STREAM_DEPTH", "Inference", "refusal"]
