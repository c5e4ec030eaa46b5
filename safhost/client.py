"""What ``import safhost`` gives: connect(), Cluster, Card, Kernel. numpy arrays in, numpy arrays out.

A Cluster may be used from several threads. A call in one thread hands over the answers for all; a keeper thread
does so while nobody calls, so that futures finish and, in a cluster of this process, sessions stay alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost import paths
from safhost.config import Config, choose_cluster, load_config
from safhost.errors import ConfigError, DaemonError, DeadlineExceeded, SafError, SchedulingError, error_from_dict
from safhost.plan.image import Image
from safhost.plan.kernelspec import KernelPackage, KernelSpec
from safhost.plan.layout import plan_arguments
from safhost.runtime.messages import SharedMemory
from safhost.transport import DaemonTransport, LocalTransport, Transport

Progress = Callable[[dict[str, Any]], None]
CardSelector = str | Sequence[str] | None
DEFAULT_DEADLINE_S = 300.0
GRACE_S = 10.0  # the service's own deadlines come first: their errors say more
IDLE_STEP_S = 0.05
UNIT_SPACE = 1 << 62  # plans are made from address 0; the cluster finds the room


class _Waiting:
    """One request of ours."""

    __slots__ = ("error", "finish", "future", "on_event", "result")

    def __init__(self, on_event: Progress | None, future: Future[Any] | None = None,
                 finish: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self.on_event = on_event
        self.future = future
        self.finish = finish
        self.result: dict[str, Any] | None = None
        self.error: SafError | None = None


class Cluster:
    """A cluster of cards. Make one with :func:`connect`; close it, or use it in a ``with`` block."""

    def __init__(self, name: str, make_transport: Callable[[Callable[[dict[str, Any]], None]], Transport]) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._ids = count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._callers = 0
        self._count_lock = threading.Lock()
        self._background = 0
        self._last_call = time.monotonic()
        self._closed = False
        self._wanted = threading.Condition()
        self._keeper: threading.Thread | None = None
        self._transport = make_transport(self._on_message)
        if self._transport.is_local:
            self._start_keeper()

    # -- requests ------------------------------------------------------------------------------------------

    @property
    def is_local(self) -> bool:
        """Whether the cluster runs in this process, without a daemon."""
        return self._transport.is_local

    def call(self, op: str, params: dict[str, Any] | None = None, memory: SharedMemory | None = None,
             on_event: Progress | None = None, timeout_s: float = DEFAULT_DEADLINE_S) -> dict[str, Any]:
        """One operation and its result. Raises what the cluster answers, DaemonError, DeadlineExceeded."""
        waiting = _Waiting(on_event)
        number = self._send(op, params, memory, waiting)
        deadline = time.monotonic() + timeout_s
        try:
            while waiting.result is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise DeadlineExceeded(f"{op}: no answer within {timeout_s:g} s", "raise the deadline, or see `safhost doctor`")
                self._step(min(left, 1.0))
        except BaseException:
            self._forget(number)
            raise
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def _send(self, op: str, params: dict[str, Any] | None, memory: SharedMemory | None, waiting: _Waiting) -> int:
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "op": op}
        if params:
            message.update(params)
        fds: tuple[int, ...] = ()
        if memory is not None:
            message["lengths"] = [memory.length]
            fds = (memory.fd,)
        with _Entered(self):
            if self._closed:
                raise DaemonError("the cluster is closed", "connect() again")
            self._waiting[number] = waiting
            self._transport.send(message, fds)
        return number

    def _step(self, timeout_s: float) -> None:
        with _Entered(self):
            self._transport.step(timeout_s)

    def _forget(self, number: int) -> None:
        """Nobody waits for that answer any more: tell the service."""
        if self._waiting.pop(number, None) is not None and not self._closed:
            with _Entered(self):
                try:
                    self._transport.send({"id": 0, "op": "cancel", "target": number})
                except SafError:
                    self._closed = True

    def _on_message(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        waiting = self._waiting.get(number) if isinstance(number, int) else None
        if waiting is None:
            return
        if "event" in message:
            if waiting.on_event is not None:
                waiting.on_event(message["event"])
            return
        del self._waiting[number]  # type: ignore[arg-type]  # found above, so it is an int
        if "error" in message:
            waiting.error = error_from_dict(message["error"])
            if message.get("result"):
                waiting.error.result = message["result"]  # type: ignore[attr-defined]  # partial results ride along
        waiting.result = message.get("result") or {}
        if waiting.future is not None:
            self._background -= 1
            _settle(waiting)

    # -- the keeper ----------------------------------------------------------------------------------------

    def _start_keeper(self) -> None:
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="saf-keeper", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        """Hand answers over while nobody calls. Callers come first: they wake us and wait for no turn."""
        while not self._closed:
            idle = time.monotonic() - self._last_call
            if self._callers or (not self._background and idle < IDLE_STEP_S):
                with self._wanted:
                    self._wanted.wait(IDLE_STEP_S)
                continue
            try:
                with self._lock:
                    if self._closed:
                        return
                    self._transport.step(IDLE_STEP_S)
            except SafError as err:
                self._fail_all(err)
                return

    def _fail_all(self, error: SafError) -> None:
        self._closed = True
        for waiting in list(self._waiting.values()):
            waiting.error, waiting.result = error, {}
            if waiting.future is not None:
                _settle(waiting)
        self._waiting.clear()

    # -- cards ---------------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """The cluster itself: interfaces, owner, counters."""
        return self.call("info")

    def cards(self) -> list[Card]:
        """All cards ever seen, as they stand now."""
        return [Card(self, info) for info in self.call("cards")["cards"]]

    def card(self, name: str) -> Card:
        """The card a selector means. Raises ConfigError unless it is exactly one."""
        from safhost.selectors import select

        found = select(name, self.cards(), self.groups())
        if len(found) != 1:
            raise ConfigError(f"{name!r} means {len(found)} cards", "name one")
        return found[0]

    def discover(self, seconds: float = 1.0, on_event: Progress | None = None) -> list[dict[str, Any]]:
        """Solicit and list who announces itself within ``seconds``; opens no session."""
        return list(self.call("discover", {"seconds": seconds}, on_event=on_event, timeout_s=seconds + GRACE_S)["cards"])

    def counters(self, card: str) -> dict[str, Any]:
        """``registers`` and ``drops`` (by reason) of a card's shell, read over the wire."""
        return self.call("counters", {"card": card})

    def rename(self, card: str, name: str) -> None:
        self.call("rename", {"card": card, "name": name})

    def groups(self) -> dict[str, list[str]]:
        return dict(self.call("groups")["groups"])

    def set_group(self, name: str, members: list[str] | None) -> None:
        """Set a group's members (selectors), or remove it with None."""
        self.call("groups", {"name": name, "members": members})

    def subscribe(self, on_event: Progress) -> Callable[[], None]:
        """``on_event({"card": info})`` at every change of a card, from the keeper thread; call the result to end."""
        waiting = _Waiting(on_event)
        number = self._send("subscribe", None, None, waiting)
        self._background += 1
        self._start_keeper()
        self._wake_keeper()

        def end() -> None:
            self._background -= 1
            self._forget(number)
        return end

    # -- work ----------------------------------------------------------------------------------------------

    def program(self, image: str | Path | Image, cards: CardSelector = None, broadcast: bool = True, commit: bool = True,
                force: bool = False, on_progress: Progress | None = None, deadline_s: float = DEFAULT_DEADLINE_S) -> dict[str, Any]:
        """Stage, verify and commit an image on ``cards`` (all usable ones by default).

        Returns ``seconds``, ``staged_seconds``, ``bytes``, ``frames_sent``, ``blocks_resent`` and per-card results.
        Raises ImageError before a frame is sent, PartialError naming the cards that failed.
        """
        opened = image if isinstance(image, Image) else Image.open(image)
        memory = SharedMemory.create(opened.payload_bytes, "saf-image")
        try:
            memory.array[:] = opened.payload
            return self.call("program", {
                "cards": cards if cards is None or isinstance(cards, str) else list(cards), "broadcast": broadcast,
                "commit": commit, "force": force, "deadline_s": deadline_s, "pr_compat_id": opened.pr_compat_id,
                "digest": opened.digest_root.hex(), "manifest": opened.package.to_dict(),
            }, memory, on_progress, deadline_s + GRACE_S)
        finally:
            memory.close()

    def write(self, cards: CardSelector, address: int, data: Any, on_progress: Progress | None = None,
              deadline_s: float = DEFAULT_DEADLINE_S) -> dict[str, Any]:
        """The same bytes (array or bytes-like) to DDR ``address`` of every card, verified."""
        raw = _as_bytes(data)
        memory = SharedMemory.create(len(raw), "saf-write")
        try:
            memory.array[:] = raw
            return self.call("write", {"cards": cards if cards is None or isinstance(cards, str) else list(cards),
                                       "address": address, "deadline_s": deadline_s}, memory, on_progress, deadline_s + GRACE_S)
        finally:
            memory.close()

    def read(self, card: str, address: int, length: int, on_progress: Progress | None = None, space: int = 1,
             deadline_s: float = DEFAULT_DEADLINE_S) -> NDArray[np.uint8]:
        """``length`` verified bytes from DDR ``address`` (or another read space) of one card."""
        memory = SharedMemory.create(length, "saf-read")
        try:
            self.call("read", {"card": card, "address": address, "space": space, "deadline_s": deadline_s}, memory,
                      on_progress, deadline_s + GRACE_S)
            return memory.array
        finally:
            memory.close()

    def run_empty(self, cards: CardSelector = None, group: bool = False) -> dict[str, Any]:
        """Run the empty kernel that is built into every shell: command → done and nothing else."""
        return self.call("run", {"cards": cards if cards is None or isinstance(cards, str) else list(cards), "group": group})

    def kill(self, card: str) -> None:
        """Reset the role of one card; what it runs ends with `killed`."""
        self.call("kill", {"card": card})

    def release(self, cards: CardSelector = None) -> None:
        """Give leases back; the cards keep their roles until another owner opens."""
        self.call("release", {"cards": cards})

    def reload_keys(self) -> int:
        """Have the cluster read its key file again."""
        return int(self.call("keys_changed")["keys"])

    def kernel(self, name: str | int, card: CardSelector = None) -> Kernel:
        """A kernel that programmed cards run, by name or index. Raises SchedulingError when none does."""
        images = self.call("kernels")["images"]
        for image in images:
            manifest = image["manifest"]
            if manifest is None:
                continue
            package = KernelPackage.from_dict(manifest)
            specs = list(package.kernels.values())
            for index, spec in enumerate(specs):
                if name in (index, spec.name):
                    return Kernel(self, image["digest"], index, spec, card)
        known = sorted({k["name"] for i in images if i["manifest"] for k in i["manifest"]["kernels"]})
        raise SchedulingError(f"no card runs a kernel {name!r}" + (f" (there are: {', '.join(known)})" if known else ""),
                              "program an image that has it: safhost program IMAGE")

    def validate(self, card: str, on_step: Progress | None = None) -> list[dict[str, Any]]:
        """Self-test of one card; steps of ``name``, ``ok``, ``value``, ``unit``, ``detail``."""
        from safhost.validate import validate_card

        return validate_card(self, card, on_step)

    # -- end -----------------------------------------------------------------------------------------------

    def _wake_keeper(self) -> None:
        with self._wanted:
            self._wanted.notify_all()

    def close(self) -> None:
        """Let go of the cluster; outstanding futures are cancelled. A local cluster releases its cards."""
        if self._closed and self._keeper is None:
            return
        with _Entered(self):
            already, self._closed = self._closed, True
            if not already or self._transport.is_local:
                self._transport.close()
        self._wake_keeper()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()
        self._keeper = None
        for waiting in list(self._waiting.values()):
            if waiting.future is not None:
                waiting.future.cancel()
        self._waiting.clear()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Entered:
    """The transport is ours: a keeper in its step is woken and lets go at once."""

    __slots__ = ("_cluster",)

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __enter__(self) -> None:
        c = self._cluster
        with c._count_lock:
            c._callers += 1
        if not c._lock.acquire(blocking=False):
            c._transport.wake()
            c._lock.acquire()

    def __exit__(self, *_exc: object) -> None:
        c = self._cluster
        c._lock.release()
        with c._count_lock:
            c._callers -= 1
        c._last_call = time.monotonic()


class Card:
    """One card as it stood when it was listed. ``info`` has everything; see `safhost cards --json`."""

    def __init__(self, cluster: Cluster, info: dict[str, Any]) -> None:
        self._cluster = cluster
        self.info = info
        self.name: str = info["name"]
        self.serial: str = info["serial"]
        self.mac: str = info["mac"]
        self.state: str = info["state"]

    def __repr__(self) -> str:
        return f"<Card {self.name} {self.serial} {self.state}>"

    @property
    def _selector(self) -> str:
        return self.serial or self.mac

    def write(self, address: int, data: Any, on_progress: Progress | None = None) -> dict[str, Any]:
        return self._cluster.write([self._selector], address, data, on_progress)

    def read(self, address: int, length: int, on_progress: Progress | None = None) -> NDArray[np.uint8]:
        return self._cluster.read(self._selector, address, length, on_progress)

    def kill(self) -> None:
        self._cluster.kill(self._selector)

    def counters(self) -> dict[str, Any]:
        return self._cluster.counters(self._selector)


class Kernel:
    """A kernel of the image that cards run. ``submit`` places a work unit on whichever card is free."""

    def __init__(self, cluster: Cluster, digest: str, index: int, spec: KernelSpec, cards: CardSelector) -> None:
        self._cluster = cluster
        self.digest = digest
        self.index = index
        self.spec = spec
        self._cards = [cards] if isinstance(cards, str) else list(cards) if cards is not None else None
        self.last: dict[str, Any] = {}  # how the latest call of this object went: card, times in ns

    @property
    def name(self) -> str:
        return self.spec.name

    def __call__(self, *arrays: Any, **values: Any) -> Any:
        """Run it once and return its output (a tuple when there are several)."""
        memory, params, shape = self._plan(arrays, values)
        result = self._cluster.call("unit", params, memory)
        self.last = result
        return shape(result)

    def submit(self, *arrays: Any, **values: Any) -> Future[Any]:
        """The same as a Future. Inputs are copied before this returns."""
        memory, params, shape = self._plan(arrays, values)
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        waiting = _Waiting(None, future, shape)
        cluster = self._cluster
        cluster._background += 1
        try:
            cluster._send("unit", params, memory, waiting)
        except BaseException:
            cluster._background -= 1
            raise
        cluster._start_keeper()
        cluster._wake_keeper()
        return future

    def _plan(self, arrays: tuple[Any, ...], values: dict[str, Any]) -> tuple[SharedMemory, dict[str, Any], Callable[[dict[str, Any]], Any]]:
        deadline_ms = int(values.pop("deadline_ms", 0))
        binding = self.spec.bind(*arrays, **values)
        plan = plan_arguments(self.spec, binding, 0, UNIT_SPACE)
        memory = SharedMemory.create(max(1, plan.end), "saf-unit")
        for write in plan.writes:
            raw = _as_bytes(write.array)
            memory.array[write.address:write.address + len(raw)] = raw
        params: dict[str, Any] = {
            "digest": self.digest, "kernel": self.index, "arguments": plan.block.hex(),
            "relocations": [a.csr_offset for a in self.spec.kernel_args if a.kind == "buffer"],
            "inputs": [(w.address, w.array.nbytes) for w in plan.writes if w.array.nbytes],
            "outputs": [(r.address, r.length_bytes) for r in plan.reads if r.length_bytes],
            "global": list(plan.global_size), "local": list(plan.local_size), "work_dim": max(1, len(plan.global_size)),
            "deadline_ms": deadline_ms, "cards": self._cards}

        def shape(result: dict[str, Any]) -> Any:
            memory.close()
            outs = [memory.array[r.address:r.address + r.length_bytes].view(r.dtype).reshape(r.shape) for r in plan.reads]
            return outs[0] if len(outs) == 1 else tuple(outs)
        return memory, params, shape


def _settle(waiting: _Waiting) -> None:
    """Finish a future with what came."""
    future = waiting.future
    assert future is not None
    if waiting.error is not None:
        future.set_exception(waiting.error)
        return
    try:
        value = waiting.finish(waiting.result or {}) if waiting.finish is not None else waiting.result
    except Exception as err:  # whatever goes wrong belongs to the future, not to the thread that hands over
        future.set_exception(err)
        return
    future.saf_info = waiting.result  # type: ignore[attr-defined]  # card and times beside the value
    future.set_result(value)


def _as_bytes(data: Any) -> NDArray[np.uint8]:
    """Any array or bytes-like as (n,) uint8 without a copy where it is contiguous."""
    array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def connect(cluster: str | None = None, interfaces: Iterable[str] | str | None = None, config: Config | None = None) -> Cluster:
    """Connect to a cluster: its daemon when one answers; else, when interfaces are named here or in the
    configuration, a host in this process for the duration (needs CAP_NET_RAW).

    Raises ConfigError when it is not clear which cluster is meant, DaemonError when there is nothing to connect
    to, LinkError for interface and permission problems.
    """
    config = config if config is not None else load_config()
    named = (interfaces,) if isinstance(interfaces, str) else tuple(interfaces or ())
    chosen = choose_cluster(config, cluster, interfaces=named, running=_running(cluster))
    path = str(paths.daemon_socket(chosen.name))
    try:
        return Cluster(chosen.name, lambda handler: DaemonTransport(path, handler))
    except DaemonError as err:
        use = named or chosen.interfaces
        if not use or "permission" in err.message:
            raise

    def local(handler: Callable[[dict[str, Any]], None]) -> Transport:
        from safhost.runtime.assemble import Host

        return LocalTransport(Host(chosen, use, local=True), handler)
    return Cluster(chosen.name, local)


def _running(asked: str | None) -> list[str]:
    """Clusters with a daemon's socket; only looked for when the name is open."""
    if asked:
        return [asked] if paths.daemon_socket(asked).exists() else []
    return [f.name for f in sorted(paths.runtime_dir().iterdir()) if (f / "daemon.sock").exists()]
