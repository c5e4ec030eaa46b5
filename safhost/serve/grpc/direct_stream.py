"""ModelStreamInfer without threads: answers in the order of the requests, one write at a time."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Any

from grpc._cython import cygrpc

from safhost.serve.grpc.direct import DirectCall, DirectCalls, status_operation
from safhost.serve.grpc.infer import STREAM_DEPTH, refusal
from safhost.serve.grpc.replies import response_of, stream_error
from safhost.serve.grpc.requests import id_of, request_from
from safhost.serve.service import Placement
from safhost.serve.types import Code, Reply, Request, ServeError


class _Answer:
    """A place in the order of a stream's answers."""

    __slots__ = ("_stream", "error", "placement", "reply", "request", "request_id")

    def __init__(self, stream: DirectStream) -> None:
        self._stream = stream
        self.request: Request | None = None
        self.placement: Placement | None = None
        self.request_id = ""
        self.reply: Reply | None = None
        self.error: ServeError | None = None

    @property
    def rpc(self) -> DirectCall:
        """The call that the request came with."""
        return self._stream

    def on_reply(self, reply: Reply) -> None:
        self.reply = reply
        self._stream.advance()


class DirectStream(DirectCall):
    """One stream."""

    __slots__ = ("_answers", "_has_ended", "_has_metadata", "_is_done", "_is_paused", "_is_strict", "_is_writing",
                 "_lock")

    def __init__(self, calls: DirectCalls, event: Any) -> None:
        super().__init__(calls, event)
        self._answers: deque[_Answer] = deque()
        self._lock = Lock()
        self._is_writing = False
        self._is_paused = False
        self._has_metadata = False  # the initial ones are sent
        self._has_ended = False  # the client sends no more
        self._is_done = False  # the status that ends the stream is sent
        # a client that asks for it gets an error as the status that ends the stream
        self._is_strict = ("triton_grpc_error", "true") in tuple(event.invocation_metadata or ())
        self.watch()

    def _on_message(self, event: Any) -> None:
        data = event.batch_operations[0].message()
        if data is None:  # the client sends no more, or has gone
            self._has_ended = True
            self.advance()
        elif not self._is_done:
            self._arrived(data)

    def _arrived(self, data: bytes) -> None:
        answer = _Answer(self)
        self._answers.append(answer)
        try:
            answer.request, answer.placement = request_from(data, self._service, answer.on_reply, self.is_gone,
                                                            self.metadata)
            answer.request_id = answer.request.id
            answer.request.home = self._calls.home
            self._service.engine.infer(answer.request)
        except Exception as error:
            answer.request_id = id_of(data)
            answer.error = ServeError(*refusal(error))
            self.advance()
        with self._lock:  # against the writer, who goes on reading when there is room again
            self._is_paused = is_paused = len(self._answers) >= STREAM_DEPTH
        if not is_paused:
            self.receive()

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
                self._calls.pool.submit(self._write_and_go_on, answer)
                return
            if self._write(answer):
                return

    def _next(self) -> _Answer | None:
        with self._lock:
            answers = self._answers
            if answers and (answers[0].reply is not None or answers[0].error is not None):
                answer = answers.popleft()
                reads_on = self._is_paused and len(answers) <= STREAM_DEPTH // 2
                if reads_on:
                    self._is_paused = False
            else:
                answer, reads_on = None, False
                self._is_writing = False
                if not self._has_ended or answers or self._is_done:
                    return None
                self._is_done = True
        if reads_on:
            self.receive()
        if answer is None:
            self._end(Code.OK, "")
        return answer

    def _write_and_go_on(self, answer: _Answer) -> None:
        if not self._write(answer):
            self._write_next()

    def _write(self, answer: _Answer) -> bool:
        """Whether something is being written now; its end goes on with the next."""
        data = self._message(answer)
        if data is None or self._is_done or self.is_cancelled:
            return False
        self._call.start_server_batch(self._begun(cygrpc.SendMessageOperation(data, 0)), self._on_written)
        return True

    def _begun(self, operation: Any) -> tuple[Any, ...]:
        """``operation``, with the initial metadata when it is the first."""
        if self._has_metadata:
            return (operation,)
        self._has_metadata = True
        return cygrpc.SendInitialMetadataOperation(None, 0), operation

    def _on_written(self, _event: Any) -> None:
        self._write_next()

    def _end(self, code: Code, text: str) -> None:
        """With ``_is_done``, which whoever sets it does only once."""
        if self.is_cancelled:
            self.over()
        else:
            self._call.start_server_batch(self._begun(status_operation(code, text)), self.over)

    def _message(self, answer: _Answer) -> bytes | None:
        reply, request = answer.reply, answer.request
        answer.request = None  # it knows the answer: without this, only the garbage collector would end the two
        try:
            if answer.error is not None:
                raise answer.error
            assert reply is not None
            return response_of(reply, answer.placement, self._service, answer.request_id, stream=True)
        except Exception as error:
            code, text = refusal(error)
            if not self._is_strict:
                return stream_error(ServeError(code, text), answer.request_id)
            if not self._is_done:
                self._is_done = True
                self._end(code, text)
            return None
        finally:
            if answer.placement is not None:
                answer.placement.close()
            if reply is not None and request is not None and request.trace is not None:
                self._service.traced(request, reply)


__all__ = ["DirectStream"]
