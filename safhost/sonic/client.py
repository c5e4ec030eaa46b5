"""The client: a channel for each server, requests under way, retries, the local model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.sonic.pending import Outputs, Pending
from safhost.sonic.policy import Next, Policy, ServerState, SonicError, SonicRefused, Story, tell

_CHANNEL = (
    ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
    # a server whose machine is gone, or frozen, says nothing: a connection on which nothing comes is asked whether it
    # is alive, and given up when it does not answer (the core goes by ping_timeout; without, a minute)
    ("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000), ("grpc.http2.ping_timeout_ms", 5_000))
"""Arguments of a channel; tritonclient leaves out its own where there are any."""

Arrays = Mapping[str, NDArray[Any]]
LocalModel = Callable[[dict[str, NDArray[Any]]], Arrays]
"""A fail-over: inputs by name to outputs by name. Called in a thread of the client's own."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of requests, and of each server's attempts (answered, failed)."""

    acquired: int
    by_servers: int
    by_local: int
    errors: int
    retries: int
    servers: dict[str, tuple[int, int]]


class Client:
    """Asynchronous inference with one model on several servers.

    ``servers``: host:port of gRPC endpoints (KServe v2: safhost serve, Triton). ``tries``: attempts of a request in
    all. ``deadline_s``: how long servers are waited for, all attempts together; then the local model answers, or
    SonicError is raised. ``attempt_s``: how long one server is waited for. ``fallback``: the local model, run in one of
    ``local_threads`` threads. ``ssl``: arguments of tritonclient's client (ssl, root_certificates, …);
    ``headers``: metadata of each call, such as a token. Raises ConfigError without servers, or without tritonclient.
    """

    def __init__(self, servers: Sequence[str], model: str, *, version: str = "", tries: int = 3,
                 deadline_s: float | None = None, attempt_s: float | None = None, fallback: LocalModel | None = None,
                 local_threads: int = 1, headers: Mapping[str, str] | None = None,
                 ssl: Mapping[str, Any] | None = None) -> None:
        if not servers and fallback is None:
            raise ConfigError("no server and no local model", 'Client(["host:8001"], "model")')
        if tries < 1 or local_threads < 1 or any(t is not None and t <= 0 for t in (deadline_s, attempt_s)):
            raise ConfigError("tries, local_threads and times must be positive", "leave them out for what is usual")
        self.model, self.version = model, version
        self._deadline_s, self._attempt_s, self._fallback = deadline_s, attempt_s, fallback
        self._headers = dict(headers or {})
        self._policy = Policy(list(dict.fromkeys(servers)), tries)
        self._channels = {s.address: _connect(s.address, dict(ssl or {})) for s in self._policy.servers}
        self._local = ThreadPoolExecutor(local_threads, "sonic-local") if fallback else None
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("acquired", "by_servers", "by_local", "errors", "retries"), 0)
        self._under_way: set[_Request] = set()
        self._closed = False

    def acquire(self, inputs: Arrays, callback: Callable[[Pending], None] | None = None, *,
                outputs: Sequence[str] = (), deadline_s: float | None = None,
                parameters: Mapping[str, Any] | None = None) -> Pending:
        """Begin an inference and return at once. ``callback`` is called when it is done (it must not block).

        ``inputs`` must stay as they are until then. ``outputs``: names, all when empty; ``parameters``: of the request
        (priority, timeout, sequence_id …, as tritonclient's async_infer takes them). Raises ConfigError after close.
        """
        now = time.monotonic_ns()
        limit = deadline_s if deadline_s is not None else self._deadline_s
        story = Story(now, None if limit is None else now + int(limit * 1e9))
        request = _Request(dict(inputs), tuple(outputs), dict(parameters or {}), story)
        pending = Pending(request.future, request.cancel)
        with self._lock:
            if self._closed:
                raise ConfigError("the client is closed", "make a new one")
            self._counts["acquired"] += 1
            self._under_way.add(request)
        request.future.add_done_callback(lambda _f: self._forget(request))
        if callback is not None:
            pending.add_done_callback(callback)
        if self._policy.servers:
            self._attempt(request)
        else:
            self._go_local(request)
        return pending

    def infer(self, inputs: Arrays, **options: Any) -> Outputs:
        """acquire and produce in one call."""
        return self.acquire(inputs, **options).produce()

    def counts(self) -> Counts:
        """What became of everything so far."""
        with self._lock:
            return Counts(**self._counts, servers={s.address: (s.answered, s.failed) for s in self._policy.servers})

    def close(self) -> None:
        """Cancel what is under way and close the channels."""
        with self._lock:
            self._closed = True
            left = list(self._under_way)
        for request in left:
            if request.future.cancel():
                request.cancel()
        if self._local:
            self._local.shutdown(wait=True, cancel_futures=True)
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # -- one attempt after the other --

    def _attempt(self, request: _Request) -> None:
        with self._lock:
            now = time.monotonic_ns()
            server = self._policy.choose(request.story, now)
            if len(request.story.attempts) > 1:
                self._counts["retries"] += 1
        try:
            made, wanted = _tensors(request)
            request.call = self._channels[server.address].async_infer(
                self.model, made, lambda result, error: self._answered(request, server, result, error),
                self.version, wanted, client_timeout=self._patience(request.story, now), headers=self._headers,
                **request.parameters)
        except Exception as err:
            with self._lock:
                self._policy.gave_up(server)
            request.fail(SonicRefused(f"the request cannot be made: {err}", "check names, shapes and types"))
            self._count("errors")

    def _patience(self, story: Story, now_ns: int) -> float | None:
        left = None if story.deadline_ns is None else max(story.deadline_ns - now_ns, 1_000_000) / 1e9
        return min((t for t in (left, self._attempt_s) if t is not None), default=None)

    def _answered(self, request: _Request, server: ServerState, result: Any, error: Any) -> None:
        """In gRPC's thread, which only logs what is raised here: whoever waits must hear of it all the same."""
        try:
            self._go_on(request, server, result, error)
        except Exception as err:
            request.fail(SonicError(f"the answer of {server.address} cannot be taken: {err!r}", "report it"))
            self._count("errors")

    def _go_on(self, request: _Request, server: ServerState, result: Any, error: Any) -> None:
        now = time.monotonic_ns()
        if error is None:
            with self._lock:
                self._policy.answered(server)
            names = [o.name for o in result.get_response().outputs]
            request.finish(Outputs({n: result.as_numpy(n) for n in names}, server.address,
                                   len(request.story.attempts), (now - request.story.began_ns) / 1e9))
            self._count("by_servers")
            return
        if request.future.cancelled():
            with self._lock:
                self._policy.gave_up(server)
            return
        code = str(error.status() or "UNKNOWN").rpartition(".")[2]
        with self._lock:
            step = self._policy.failed(server, request.story, code, error.message(), now)
            if self._closed:
                step = Next.REFUSE
        if step is Next.RETRY:
            self._attempt(request)
        elif step is Next.LOCAL:
            self._go_local(request)
        else:
            request.fail(SonicRefused(f"{self.model} on {server.address} refuses the request: {error.message()}",
                                      "the request must be changed; other servers were not asked"))
            self._count("errors")

    def _go_local(self, request: _Request) -> None:
        if self._local is None or self._fallback is None:
            request.fail(SonicError(f"no answer for {self.model}: {tell(request.story)}",
                                    "look after the servers, or give the client a fallback model"))
            self._count("errors")
            return
        try:
            self._local.submit(self._run_local, request, self._fallback)
        except RuntimeError:  # closed meanwhile
            request.fail(SonicError("the client was closed", "keep it open until requests are done"))

    def _run_local(self, request: _Request, model: LocalModel) -> None:
        if request.future.cancelled():
            return
        try:
            arrays = {name: np.asarray(array) for name, array in model(request.inputs).items()}
        except Exception as err:
            request.fail(SonicError(f"the local model failed as well: {err!r}; {tell(request.story)}",
                                    "mend the fallback model"))
            self._count("errors")
            return
        seconds = (time.monotonic_ns() - request.story.began_ns) / 1e9
        request.finish(Outputs(arrays, None, len(request.story.attempts), seconds))
        self._count("by_local")

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _forget(self, request: _Request) -> None:
        with self._lock:
            self._under_way.discard(request)


class _Request:
    """A request until it is done. ``call``: tritonclient's handle of the attempt under way."""

    __slots__ = ("call", "future", "inputs", "outputs", "parameters", "story")

    def __init__(self, inputs: dict[str, NDArray[Any]], outputs: tuple[str, ...], parameters: dict[str, Any],
                 story: Story) -> None:
        self.inputs, self.outputs, self.parameters, self.story = inputs, outputs, parameters, story
        self.future: Future[Outputs] = Future()
        self.call: Any = None

    def cancel(self) -> None:
        if self.call is not None:
            self.call.cancel()

    def finish(self, outputs: Outputs) -> None:
        try:
            self.future.set_result(outputs)
        except InvalidStateError:  # cancelled meanwhile: nobody waits
            return

    def fail(self, error: SonicError) -> None:
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return


def _connect(address: str, ssl: dict[str, Any]) -> Any:
    try:
        from tritonclient.grpc import InferenceServerClient
    except ImportError as err:
        raise ConfigError("the SONIC client needs tritonclient", "pip install 'safhost[serve]'") from err
    return InferenceServerClient(address, **({"channel_args": list(_CHANNEL)} | ssl))


def _tensors(request: _Request) -> tuple[list[Any], list[Any] | None]:
    from tritonclient.grpc import InferInput, InferRequestedOutput
    from tritonclient.utils import np_to_triton_dtype

    made = []
    for name, array in request.inputs.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made, [InferRequestedOutput(name) for name in request.outputs] or None
