"""Requests in flight from any number of threads over one transport.

One thread at a time waits at the transport and hands over the answers for all: a caller, so that a lone caller
waits for no other thread, else a keeper thread, so that futures finish while nobody calls and, in a cluster of
this process, sessions stay alive. What belongs to users (their callbacks, their futures) runs while nothing here is
held, so that it may call again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from safhost.errors import DaemonError, DeadlineExceeded, SafError, error_from_dict
from safhost.runtime.jobs import QUIET
from safhost.runtime.messages import SharedMemory
from safhost.transport import Handler, Transport

_LOG = logging.getLogger("safhost.client")
Progress = Callable[[dict[str, Any]], None]
Memory = SharedMemory | tuple[SharedMemory, ...] | None  # what goes with a message
IDLE_STEP_S = 0.05
MAX_STEP_S = 1.0


class Reply(Protocol):
    """Who gets the end of a request that no thread waits for."""

    def settle(self, result: dict[str, Any], error: SafError | None) -> None: ...

    def closed(self) -> None:
        """The cluster was closed before the answer came."""


class _Waiting:
    """One request: a thread's, which parks on ``bell`` (made when it has to), or one in the background."""

    __slots__ = ("background", "bell", "error", "events", "on_event", "reply", "result")

    def __init__(self, on_event: Progress | None, reply: Reply | None, background: bool) -> None:
        self.on_event = on_event
        self.reply = reply
        self.background = background
        self.events: deque[dict[str, Any]] = deque()
        self.result: dict[str, Any] | None = None
        self.error: SafError | None = None
        self.bell: threading.Event | None = None

    def ring(self) -> None:
        bell = self.bell
        if bell is not None:
            bell.set()


class Turns:
    """A lock handed over in order of arrival; whoever has to wait calls ``wake``, so that the holder lets go."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._mutex = threading.Lock()
        self._held = False
        self._queue: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._mutex:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._queue.append(turn)
        try:
            self._wake()
            turn.acquire()
        except BaseException:  # an interrupt: whoever hands over must not count on us
            with self._mutex:
                waiting = turn in self._queue
                if waiting:
                    self._queue.remove(turn)
            if not waiting:
                self.__exit__()
            raise

    def __exit__(self, *_exc: object) -> None:
        with self._mutex:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._held = False


class Calls:
    """See the module's text. ``make_transport`` gets the handler of messages."""

    def __init__(self, make_transport: Callable[[Handler], Transport]) -> None:
        self._ids = count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._failure: SafError | None = None
        self._state = threading.Condition(threading.Lock())
        self._callers = 0
        self._background = 0
        self._leading = False
        self._parked: deque[_Waiting] = deque()
        self._last_call = time.monotonic()
        self._ready: deque[Callable[[], None]] = deque()
        self._delivering = threading.RLock()
        self._keeper: threading.Thread | None = None
        self._transport = make_transport(self._on_message)
        self._turns = Turns(self._transport.wake)
        if self._transport.is_local:
            with self._state:
                self._start_keeper()

    @property
    def is_local(self) -> bool:
        """Whether the cluster runs in this process."""
        return self._transport.is_local

    @property
    def broken(self) -> bool:
        """Whether the cluster went away, or this was closed."""
        return self._failure is not None

    # -- asking --------------------------------------------------------------------------------------------

    def call(self, op: str, params: dict[str, Any] | None, memory: Memory, on_event: Progress | None,
             timeout_s: float) -> dict[str, Any]:
        """One operation and its result; ``on_event`` is called in this thread. Raises what the cluster answers,
        DaemonError, DeadlineExceeded."""
        waiting = _Waiting(on_event, None, False)
        with self._state:
            self._callers += 1
        number = 0
        try:
            number = self._send(op, params, memory, waiting)
            self._await(waiting, op, timeout_s)
        except BaseException:
            self.forget(number)
            raise
        finally:
            with self._state:
                self._callers -= 1
                self._last_call = time.monotonic()
                self._pass_on()
        if waiting.error is not None:
            raise waiting.error
        assert waiting.result is not None
        return waiting.result

    def start(self, op: str, params: dict[str, Any] | None, memory: Memory, reply: Reply | None,
              on_event: Progress | None = None) -> int:
        """Begin an operation whose end ``reply`` gets, in whatever thread comes by; returns its number."""
        with self._state:
            self._background += 1
            self._start_keeper()
        try:
            number = self._send(op, params, memory, _Waiting(on_event, reply, True))
        except BaseException:
            with self._state:
                self._background -= 1
            raise
        if self._failure is not None:  # it broke in between, perhaps before this request was known
            self._break(self._failure)
            self._deliver()
        return number

    def tell(self, op: str, params: dict[str, Any], memory: Memory = None) -> None:
        """Send something that asks for no answer. Raises what keeps it from going out."""
        message, fds = _message(QUIET, op, params, memory)
        with self._turns:
            if self._failure is not None:
                raise self._failure
            self._transport.send(message, fds)

    def forget(self, number: int) -> None:
        """Nobody waits for that answer any more: tell the service."""
        if self._drop(number) is None:
            return
        try:
            with self._turns:
                if self._failure is None:
                    self._transport.send({"id": 0, "op": "cancel", "target": number})
        except SafError as err:
            self._break(err)
        self._deliver()

    def _drop(self, number: int) -> _Waiting | None:
        """Take a request out; None when somebody else did."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None and waiting.background:
            with self._state:
                self._background -= 1
        return waiting

    def _send(self, op: str, params: dict[str, Any] | None, memory: Memory, waiting: _Waiting) -> int:
        number = next(self._ids)
        message, fds = _message(number, op, params, memory)
        with self._turns:
            if self._failure is not None:
                raise self._failure
            self._waiting[number] = waiting
            try:
                self._transport.send(message, fds)
            except BaseException:
                self._waiting.pop(number, None)
                raise
        return number

    # -- waiting -------------------------------------------------------------------------------------------

    def _await(self, waiting: _Waiting, op: str, timeout_s: float) -> None:
        """Until the answer is there: at the transport, or parked while another caller is."""
        deadline = time.monotonic() + timeout_s
        while waiting.result is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded(f"{op}: no answer within {timeout_s:g} s",
                                       "raise the deadline, or see `safhost doctor`")
            if self._lead():
                try:
                    self._step(waiting, min(left, MAX_STEP_S))
                finally:
                    with self._state:
                        self._leading = False
                        self._pass_on()
            else:
                self._park(waiting, min(left, MAX_STEP_S))
            self._deliver()
            if waiting.on_event is not None:
                while waiting.events:
                    waiting.on_event(waiting.events.popleft())

    def _lead(self) -> bool:
        with self._state:
            if self._leading:
                return False
            self._leading = True
            return True

    def _step(self, waiting: _Waiting, timeout_s: float) -> None:
        """Hand answers over until there is one for us."""
        end = time.monotonic() + timeout_s
        try:
            while waiting.result is None and not waiting.events and not self._ready and timeout_s > 0:
                with self._turns:
                    if self._failure is not None:
                        raise self._failure
                    if waiting.result is None and not waiting.events:
                        self._transport.step(timeout_s)
                timeout_s = end - time.monotonic()
        except SafError as err:
            self._break(err)

    def _park(self, waiting: _Waiting, timeout_s: float) -> None:
        """Wait until there is something for us, or nobody is at the transport any more."""
        with self._state:
            waiting.bell = threading.Event()
            if waiting.result is not None or waiting.events or not self._leading:
                return
            self._parked.append(waiting)
        waiting.bell.wait(timeout_s)
        with self._state:
            if waiting in self._parked:
                self._parked.remove(waiting)

    def _pass_on(self) -> None:
        """With the state held: somebody else goes to the transport, a caller if there is one."""
        if self._parked:
            if not self._leading:
                self._parked.popleft().ring()
        elif self._background and not self._callers and self._keeper is not None:
            self._state.notify_all()  # without futures it comes by itself: waking it would cost every call

    # -- answers -------------------------------------------------------------------------------------------

    def _on_message(self, message: dict[str, Any]) -> None:
        """By whoever has the turn."""
        number = message.get("id")
        waiting = self._waiting.get(number) if isinstance(number, int) else None
        if waiting is None or not isinstance(number, int):
            return
        if "event" in message:
            self._on_event(waiting, message["event"])
            return
        if self._drop(number) is None:
            return
        if "error" in message:
            waiting.error = error_from_dict(message["error"])
            if message.get("result"):
                waiting.error.result = message["result"]  # type: ignore[attr-defined]  # partial results ride along
        self._settle(waiting, message.get("result") or {})

    def _on_event(self, waiting: _Waiting, event: dict[str, Any]) -> None:
        on_event = waiting.on_event
        if on_event is None:
            return
        if waiting.background:
            self._ready.append(lambda: on_event(event))
        else:
            waiting.events.append(event)
            waiting.ring()

    def _settle(self, waiting: _Waiting, result: dict[str, Any]) -> None:
        waiting.result = result
        waiting.ring()
        reply = waiting.reply
        if reply is not None:
            error = waiting.error
            self._ready.append(lambda: reply.settle(result, error))

    def _deliver(self) -> None:
        """Users' callbacks, in order, by one thread at a time; one of them may come here again."""
        while self._ready:
            if not self._delivering.acquire(blocking=False):
                return  # who delivers looks again after it let go
            try:
                while self._ready:
                    try:
                        self._ready.popleft()()
                    except Exception:
                        _LOG.exception("a callback went wrong")
            finally:
                self._delivering.release()

    def _break(self, error: SafError, closed: bool = False) -> None:
        """The transport is of no use any more: everybody who waits is told."""
        if self._failure is None:
            self._failure = error
        for number in list(self._waiting):
            waiting = self._drop(number)
            if waiting is None:
                continue
            if closed and waiting.reply is not None:
                self._ready.append(waiting.reply.closed)
                continue
            waiting.error = error
            self._settle(waiting, {})
        with self._state:
            self._state.notify_all()

    # -- the keeper ----------------------------------------------------------------------------------------

    def _start_keeper(self) -> None:
        """With the state held."""
        if self._keeper is None and self._failure is None:
            self._keeper = threading.Thread(target=self._keep, name="saf-keeper", daemon=True)
            self._keeper.start()
        self._state.notify_all()

    def _keep(self) -> None:
        """At the transport while nobody calls."""
        while self._failure is None:
            with self._state:
                busy = time.monotonic() - self._last_call < IDLE_STEP_S  # the next call is near: stay out of its way
                if self._callers or (not self._background and (busy or not self.is_local)):
                    self._state.wait(IDLE_STEP_S)
                    continue
            try:
                with self._turns:
                    if self._failure is None:
                        self._transport.step(MAX_STEP_S)
            except SafError as err:
                self._break(err)
            except Exception as err:
                _LOG.exception("the cluster went wrong")
                self._break(SafError(f"the cluster went wrong: {type(err).__name__}: {err}", "connect() again"))
            self._deliver()

    # -- end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the transport; whoever waits is told. May be called twice, and from a callback."""
        with self._turns:
            if self._failure is None:
                self._failure = DaemonError("the cluster is closed", "connect() again")
            self._transport.close()
        self._break(self._failure, closed=True)
        keeper = self._keeper
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join()
        self._deliver()


def _message(number: int, op: str, params: dict[str, Any] | None,
             memory: Memory) -> tuple[dict[str, Any], tuple[int, ...]]:
    """A request as it travels, and the descriptors with it."""
    message: dict[str, Any] = {"id": number, "op": op}
    if params:
        message.update(params)
    if memory is None:
        return message, ()
    parts = memory if isinstance(memory, tuple) else (memory,)
    message["lengths"] = [m.length for m in parts]
    return message, tuple(m.fd for m in parts)
