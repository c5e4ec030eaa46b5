"""Inference without a thread for each call: messages are handled where grpc delivers them.

grpc's server gives every call to a thread of its pool, which waits there for the message, for the engine and, in a
stream, for each write. That is one or two switches of threads a message, and as many waiting threads as there are
requests under way. `DirectPool` is the pool that such a server is made with; it takes the two inference calls out and
drives them from the completion events themselves: a message that has come is parsed and handed to the engine, an answer
is sent by the thread that has it.

For this it knows internals of grpc's own server module. Where these are not as expected (see `is_possible`), every call
takes grpc's ordinary way, `safhost.serve.grpc.infer`: slower, with threads, the same to clients.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from grpc import _common, _server
from grpc._cython import cygrpc

from safhost.serve.grpc.infer import STATUS, STREAM_DEPTH, refusal
from safhost.serve.grpc.replies import response_of, stream_error
from safhost.serve.grpc.requests import message_of, request_of
from safhost.serve.service import Placement, Service
from safhost.serve.types import Code, Reply, Request, ServeError

log = logging.getLogger(__name__)

_USED = ("_RPCState", "_RECEIVE_MESSAGE_TOKEN", "_SEND_MESSAGE_TOKEN", "_is_rpc_state_active", "_possibly_finish_call",
         "_get_initial_metadata_operation", "_status", "_abort", "_unary_response_in_pool", "_stream_response_in_pool")
_FLAGS = 0


def is_possible() -> bool:
    """Whether this grpc has inside what is used here."""
    return all(hasattr(_server, name) for name in _USED) and hasattr(cygrpc, "ReceiveMessageOperation")


class _Submitted:
    """What grpc wants back for a call that it gave away: it is told at once that the call is handled."""

    @staticmethod
    def add_done_callback(callback: Callable[[Any], None]) -> None:
        callback(None)


class DirectPool(ThreadPoolExecutor):
    """The pool of a server: keeps calls of ``unary`` and ``stream``, the two behaviours of inference, for itself."""

    def __init__(self, threads: int, service: Service, unary: Any, stream: Any) -> None:
        super().__init__(threads, thread_name_prefix="grpc")
        self._service = service
        self._unary = unary
        self._stream = stream

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        # (context.run,) _unary_response_in_pool, event, state, behavior, … ; with the state's lock held
        if len(args) > 3:
            if args[0] is _server._unary_response_in_pool and args[3] is self._unary:
                _Unary(self, self._service, args[1], args[2]).receive()
                return _Submitted
            if args[0] is _server._stream_response_in_pool and args[3] is self._stream:
                _Stream(self, self._service, args[1], args[2]).receive()
                return _Submitted
        return super().submit(fn, *args, **kwargs)


class _Rpc:
    """A call as grpc's server module keeps it."""

    __slots__ = ("_call", "_event", "_pool", "_service", "_state")

    def __init__(self, pool: DirectPool, service: Service, event: Any, state: Any) -> None:
        self._pool = pool
        self._service = service
        self._event = event
        self._state = state
        self._call = event.call

    def receive(self) -> None:
        """Have the next message delivered to `_on_event`."""
        state = self._state
        with state.condition:
            if _server._is_rpc_state_active(state):
                self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_FLAGS),), self._on_event)
                state.due.add(_server._RECEIVE_MESSAGE_TOKEN)

    def _on_event(self, event: Any) -> Any:
        """In grpc's thread that waits for events."""
        data = event.batch_operations[0].message()
        state = self._state
        with state.condition:
            ended = _server._possibly_finish_call(state, _server._RECEIVE_MESSAGE_TOKEN)
        try:
            if data is None:
                self.closed()
            else:
                self.arrived(data)
        except Exception:
            log.exception("a call failed in an unforeseen way")
            self.abort(Code.INTERNAL, "the call failed in an unforeseen way")
        return ended

    def arrived(self, data: bytes) -> None:
        raise NotImplementedError

    def closed(self) -> None:
        """The client sends no more."""
        raise NotImplementedError

    def metadata(self) -> Any:
        return self._event.invocation_metadata

    def is_gone(self) -> bool:
        return not _server._is_rpc_state_active(self._state)

    def abort(self, code: Code, text: str) -> None:
        """End the call with an error."""
        state = self._state
        status = STATUS[int(code)]
        details = text.encode()
        with state.condition:
            if not state.statused:
                state.code, state.details = status, details
                _server._abort(state, self._call, _common.STATUS_CODE_TO_CYGRPC_STATUS_CODE[status], details)


class _Unary(_Rpc):
    """ModelInfer."""

    __slots__ = ("_placement", "_request")

    def arrived(self, data: bytes) -> None:
        self._request: Request | None = None
        self._placement: Placement | None = None
        try:
            self._request, self._placement = request_of(*message_of(data), self._service, self.on_reply, self.is_gone,
                                                        self.metadata)
            self._service.engine.infer(self._request)
        except Exception as error:
            self.abort(*refusal(error))

    def closed(self) -> None:
        if self._state.client is not _server._CANCELLED:
            self.abort(Code.UNIMPLEMENTED, "ModelInfer takes exactly one message")

    def on_reply(self, reply: Reply) -> None:
        if self._placement is None or not self._placement.classes:
            self._send(reply)
        else:  # classifying takes its time
            self._pool.submit(self._send, reply)

    def _send(self, reply: Reply) -> None:
        request = self._request
        assert request is not None
        try:
            data = response_of(reply, self._placement, self._service, request.id)
            _server._status(self._event, self._state, data)
        except Exception as error:
            self.abort(*refusal(error))
        finally:
            if self._placement is not None:
                self._placement.close()
            if request.trace is not None:
                self._service.traced(request, reply)


class _Answer:
    """A place in the order of a stream's answers."""

    __slots__ = ("_stream", "error", "placement", "reply", "request", "request_id")

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self.request: Request | None = None
        self.placement: Placement | None = None
        self.request_id = ""
        self.reply: Reply | None = None
        self.error: ServeError | None = None

    def on_reply(self, reply: Reply) -> None:
        self.reply = reply
        self._stream.advance()


class _Stream(_Rpc):
    """ModelStreamInfer: answers in the order of the requests, one write at a time."""

    __slots__ = ("_answers", "_has_ended", "_is_over", "_is_paused", "_is_strict", "_is_writing", "_lock")

    def __init__(self, pool: DirectPool, service: Service, event: Any, state: Any) -> None:
        super().__init__(pool, service, event, state)
        self._answers: deque[_Answer] = deque()
        self._lock = Lock()
        self._is_writing = False
        self._is_paused = False
        self._has_ended = False  # the client sends no more
        self._is_over = False  # and has all its answers
        # a client that asks for it gets an error as the status that ends the stream
        self._is_strict = ("triton_grpc_error", "true") in tuple(event.invocation_metadata or ())

    def arrived(self, data: bytes) -> None:
        answer = _Answer(self)
        self._answers.append(answer)
        try:
            message, raw = message_of(data)
            answer.request_id = message.id
            answer.request, answer.placement = request_of(message, raw, self._service, answer.on_reply, self.is_gone,
                                                          self.metadata)
            self._service.engine.infer(answer.request)
        except Exception as error:
            answer.error = ServeError(*refusal(error))
            self.advance()
        self._is_paused = len(self._answers) >= STREAM_DEPTH
        if not self._is_paused:
            self.receive()

    def closed(self) -> None:
        self._has_ended = True
        self.advance()

    def advance(self) -> None:
        """Send the oldest answer when it is there and nothing is being written."""
        with self._lock:
            if self._is_writing:
                return
            self._is_writing = True
        self._write_next()

    def _write_next(self) -> None:
        """With ``_is_writing``: write an answer, or be done with writing."""
        while True:
            answer = self._next()
            if answer is None:
                return
            if answer.placement is not None and answer.placement.classes:
                self._pool.submit(self._write_and_go_on, answer)
                return
            if self._write(answer):
                return

    def _next(self) -> _Answer | None:
        with self._lock:
            answers = self._answers
            if answers and (answers[0].reply is not None or answers[0].error is not None):
                answer = answers.popleft()
                if self._is_paused and len(answers) <= STREAM_DEPTH // 2:
                    self._is_paused = False
                    self.receive()
                return answer
            self._is_writing = False
            is_over = self._has_ended and not answers and not self._is_over
            self._is_over = self._is_over or is_over
        if is_over and not self._state.statused:
            _server._status(self._event, self._state, None)
        return None

    def _write_and_go_on(self, answer: _Answer) -> None:
        if not self._write(answer):
            self._write_next()

    def _write(self, answer: _Answer) -> bool:
        """Whether something is being written now; its end goes on with the next."""
        data = self._message(answer)
        state = self._state
        with state.condition:
            if data is None or not _server._is_rpc_state_active(state):
                return False
            operations: tuple[Any, ...] = (cygrpc.SendMessageOperation(data, _FLAGS),)
            if state.initial_metadata_allowed:
                operations = (_server._get_initial_metadata_operation(state, None), *operations)
                state.initial_metadata_allowed = False
            self._call.start_server_batch(operations, self._on_written)
            state.due.add(_server._SEND_MESSAGE_TOKEN)
            return True

    def _on_written(self, _event: Any) -> Any:
        state = self._state
        with state.condition:
            ended = _server._possibly_finish_call(state, _server._SEND_MESSAGE_TOKEN)
        self._write_next()
        return ended

    def _message(self, answer: _Answer) -> bytes | None:
        reply = answer.reply
        try:
            if answer.error is not None:
                raise answer.error
            assert reply is not None
            return response_of(reply, answer.placement, self._service, answer.request_id, stream=True)
        except Exception as error:
            code, text = refusal(error)
            if self._is_strict:
                self.abort(code, text)
                return None
            return stream_error(ServeError(code, text), answer.request_id)
        finally:
            if answer.placement is not None:
                answer.placement.close()
            if reply is not None and answer.request is not None and answer.request.trace is not None:
                self._service.traced(answer.request, reply)


__all__ = ["DirectPool", "is_possible"]
