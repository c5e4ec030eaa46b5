"""What ``import safhost`` gives: connect(), Cluster, Card, Kernel. numpy arrays in, numpy arrays out.

A Cluster may be used from several threads, and from callbacks of its futures and subscriptions.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost import paths
from safhost.arena import Arenas
from safhost.calls import Calls, Progress
from safhost.config import Config, choose_cluster, load_config
from safhost.errors import ConfigError, DaemonError, SafError, SchedulingError
from safhost.joblink import JobLink
from safhost.joborder import Note
from safhost.jobs import Job, as_completed
from safhost.landing import Land, LandFailed
from safhost.native import lanes
from safhost.plan.image import Image
from safhost.plan.kernelspec import KernelPackage, KernelSpec
from safhost.plan.layout import plan_arguments
from safhost.runtime.messages import SharedMemory
from safhost.submit import Images, start_job
from safhost.transport import DaemonTransport, Handler, LocalTransport, Transport
from safhost.unitplan import UNIT_SPACE, UnitResult
from safhost.wire import digest as digests

CardSelector = str | Sequence[str] | None
DEFAULT_DEADLINE_S = 300.0
SLOWEST_S = 16 / 100_000  # for a byte: sixteen times what a simulated card says at the least (lab.rtl_card)
GRACE_S = 10.0  # the service's own deadlines come first: their errors say more
CANCEL_S = 10.0  # an interrupted job has this long to say that it is over
COPY_BYTES = 1 << 20  # outputs up to here are copied, so that results that are kept hold no shared memory


class Cluster:
    """A cluster of cards. Make one with :func:`connect`; close it, or use it in a ``with`` block."""

    def __init__(self, name: str, make_transport: Callable[[Handler], Transport]) -> None:
        self.name = name
        self.calls = Calls(make_transport)
        self.images = Images()
        self.arenas = Arenas()
        self._make_transport = make_transport
        self._jobs: weakref.WeakSet[Job] = weakref.WeakSet()
        self._outgoing = _Outgoing()

    @property
    def is_local(self) -> bool:
        """Whether the cluster runs in this process, without a daemon."""
        return self.calls.is_local

    def call(self, op: str, params: dict[str, Any] | None = None, memory: SharedMemory | None = None,
             on_event: Progress | None = None, timeout_s: float = DEFAULT_DEADLINE_S) -> dict[str, Any]:
        """One operation and its result. Raises what the cluster answers, DaemonError, DeadlineExceeded."""
        return self.calls.call(op, params, memory, on_event, timeout_s)

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
        found = self.call("discover", {"seconds": seconds}, on_event=on_event, timeout_s=seconds + GRACE_S)
        return list(found["cards"])

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
        """``on_event({"card": info})`` at every change of a card, in another thread; call the result to end."""
        number = self.calls.start("subscribe", None, None, None, on_event)
        return lambda: self.calls.forget(number)

    # -- work ----------------------------------------------------------------------------------------------

    def program(self, image: str | Path | Image, cards: CardSelector = None, broadcast: bool = True,
                commit: bool = True, force: bool = False, on_progress: Progress | None = None,
                deadline_s: float | None = None) -> dict[str, Any]:
        """Stage, verify and commit an image on ``cards`` (all usable ones by default).

        Returns ``seconds``, ``staged_seconds``, ``bytes``, ``frames_sent``, ``blocks_resent`` and per-card results.
        Raises ImageError before a frame is sent, PartialError naming the cards that failed. ``deadline_s``: by default
        as long as the slowest card may take.
        """
        opened = image if isinstance(image, Image) else Image.open(image)
        self.images.add(opened)
        with self._outgoing.holding(opened.payload) as memory:
            return self.call("program", {
                "cards": _listed(cards), "broadcast": broadcast, "commit": commit, "force": force,
                "pr_compat_id": opened.pr_compat_id,
                "digest": opened.digest_root.hex(), "manifest": opened.package.to_dict(),
            } | _deadline(deadline_s), memory, on_progress, _patience_s(deadline_s, memory.length))

    def write(self, cards: CardSelector, address: int, data: Any, on_progress: Progress | None = None,
              deadline_s: float | None = None) -> dict[str, Any]:
        """The same bytes (array or bytes-like) to DDR ``address`` of every card, verified."""
        with self._outgoing.holding(_as_bytes(data)) as memory:
            return self.call("write", {"cards": _listed(cards), "address": address} | _deadline(deadline_s), memory,
                             on_progress, _patience_s(deadline_s, memory.length))

    def read(self, card: str, address: int, length: int, on_progress: Progress | None = None, space: int = 1,
             deadline_s: float | None = None) -> NDArray[np.uint8]:
        """``length`` verified bytes from DDR ``address`` (or another read space) of one card."""
        memory = SharedMemory.create(length, "saf-read")
        try:
            self.call("read", {"card": card, "address": address, "space": space} | _deadline(deadline_s), memory,
                      on_progress, _patience_s(deadline_s, memory.length))
            return memory.array
        finally:
            memory.close()

    def run_empty(self, cards: CardSelector = None, group: bool = False) -> dict[str, Any]:
        """Run the empty kernel that is built into every shell: command → done and nothing else."""
        return self.call("run", {"cards": _listed(cards), "group": group})

    def kill(self, card: str) -> None:
        """Reset the role of one card; what it runs ends with `killed`."""
        self.call("kill", {"card": card})

    def release(self, cards: CardSelector = None) -> None:
        """Give leases back; the cards keep their roles until another owner opens."""
        self.call("release", {"cards": _listed(cards)})

    def reload_keys(self) -> int:
        """Have the cluster read its key file again."""
        return int(self.call("keys_changed")["keys"])

    def kernel(self, name: str | int, card: CardSelector = None) -> Kernel:
        """A kernel that programmed cards (those of ``card``, if given) run, by name or index. Raises SchedulingError
        when none does."""
        images = self.call("kernels")["images"]
        wanted: set[str] | None = None
        if card is not None:
            from safhost.selectors import select

            wanted = {c.name for c in select(card, self.cards(), self.groups())}
        for image in images:
            manifest = image["manifest"]
            if manifest is None or (wanted is not None and wanted.isdisjoint(image["cards"])):
                continue
            package = KernelPackage.from_dict(manifest)
            specs = list(package.kernels.values())
            for index, spec in enumerate(specs):
                if name in (index, spec.name):
                    return Kernel(self, image["digest"], index, spec, card)
        known = sorted({k["name"] for i in images if i["manifest"] for k in i["manifest"]["kernels"]})
        there = f" (there are: {', '.join(known)})" if known else ""
        raise SchedulingError(f"no card runs a kernel {name!r}{there}",
                              "program an image that has it: safhost program IMAGE")

    def recommit(self, digest: str, cards: CardSelector = None,
                 deadline_s: float = DEFAULT_DEADLINE_S) -> dict[str, Any]:
        """Load an image that the cards still hold staged (``digest`` in hex): a COMMIT and no transfer."""
        return self.call("recommit", {"cards": cards if cards is None or isinstance(cards, str) else list(cards),
                                      "digest": digest, "deadline_s": deadline_s}, timeout_s=deadline_s + GRACE_S)

    def validate(self, card: str, on_step: Progress | None = None) -> list[dict[str, Any]]:
        """Self-test of one card; steps of ``name``, ``ok``, ``value``, ``unit``, ``detail``."""
        from safhost.validate import validate_card

        return validate_card(self, card, on_step)

    # -- jobs ----------------------------------------------------------------------------------------------

    def submit(self, kernel: Kernel | str | int, units: Iterable[Any], *, out: Any = None,
               image: str | Path | Image | None = None, name: str = "", priority: int = 0, weight: float = 1.0,
               cards: CardSelector = None, unit_deadline_s: float = 300.0, retries: int = 3, keep_going: bool = False,
               speculate: bool = True, window: int | None = None, resume: str | None = None,
               on_note: Note | None = None, phased: bool = False, repeat: int = 1, depth: int = 0,
               total: int | None = None, ephemeral: bool = False, land: Land | None = None,
               land_failed: LandFailed | None = None, on_cards: Callable[[list[str]], None] | None = None,
               patience_s: float = 600.0, min_cards: int = 0, max_cards: int = 0,
               resident: Mapping[str, Any] | None = None, compute_units: int = 0) -> Job:
        """Run ``kernel`` over ``units`` on all cards there are, and on those that come; returns at once.

        ``kernel``: a Kernel, or its name or index (of ``image``, or of what cards run). ``units``: an iterable, pulled
        as room is made, of `safhost.Unit`, of tuples of arrays, or of single arrays. ``out``: numpy array or memory map
        (a tuple of them when the kernel has several outputs); the i-th unit's result lands in ``out[i]``, or where its
        ``into`` says. ``image`` programs cards that do not run it; without it the image store is looked into.
        ``priority``: higher first; ``weight``: the share among jobs of one priority. ``cards``: only these;
        ``max_cards``: at most so many at once, 0 for all; jobs of one ``name`` and image work on the same ones.
        ``unit_deadline_s`` of one run of the kernel; a unit that ``retries`` cards fail is at fault: the job ends, or
        with ``keep_going`` goes on. ``speculate``: slow units may run twice. ``window``: units outstanding at most.
        ``resume``: the id of a job that did not end well; units whose results landed are passed over. ``on_note`` gets
        what the scheduler does, in another thread. ``phased``: load all, run all, read all. ``repeat``: kernel runs a
        unit. ``depth``: units a card (and compute unit) at once, 0 for as many as pay. ``compute_units``: how many
        copies of the kernel run units side by side on a card, 0 for all that the image has. ``total``: units, where
        ``units`` cannot say.

        ``resident``: arrays of input buffers, by argument, that are the same for all units: each card gets them once,
        and units leave them out.

        For jobs that serve requests: ``ephemeral``: no unit is recorded, and none waits for others to be sent or told
        with it. ``land(index, views, info)`` gets each result where it lies instead of a copy, ``land_failed(index,
        error, info)`` each unit without one, also when the job ends before it did (see docs/jobs.md). ``on_cards``
        gets the names of the cards that can take units whenever these change. ``patience_s``: units that no card can
        take for so long fail, or the job does without ``keep_going``. ``min_cards``: so many stay with the job when it
        has nothing to do and others want them.

        Raises ConfigError, ImageError, SchedulingError when the job cannot begin. What happens later is raised by
        Job.result(): JobError.
        """
        job = start_job(
            self, kernel, units, out=out, image=image, on_note=on_note, window=window, total=total, resume=resume,
            cards=cards, make_link=lambda owner: JobLink(owner, self.calls, self._make_transport), name=name,
            priority=priority, weight=weight, unit_deadline_s=unit_deadline_s, retries=retries, keep_going=keep_going,
            speculate=speculate, phased=phased, repeat=repeat, depth=depth, ephemeral=ephemeral, land=land,
            land_failed=land_failed, on_cards=on_cards, patience_s=patience_s, min_cards=min_cards, max_cards=max_cards,
            resident=resident, compute_units=compute_units)
        self._jobs.add(job)
        return job

    def map(self, kernel: Kernel | str | int, units: Iterable[Any], **options: Any) -> Any:
        """As :meth:`submit`, and wait: returns ``out``, else the list of results in order. An interrupt cancels the
        job. Raises JobError when not all went well."""
        job = self.submit(kernel, units, **options)
        try:
            return job.result()
        except BaseException:
            if job.cancel():
                job.wait(CANCEL_S)
            raise

    def as_completed(self, jobs: Job | Iterable[Job], timeout: float | None = None) -> Iterator[UnitResult]:
        """Results as they come, of one job or several; see `safhost.jobs.as_completed`."""
        return as_completed(jobs, timeout)

    def jobs(self, all: bool = False) -> list[dict[str, Any]]:
        """The jobs of this cluster, whoever submitted them; with ``all`` those too that are over."""
        return list(self.call("jobs", {"all": all})["jobs"])

    def job_info(self, job: str) -> dict[str, Any]:
        """All that is known of a job."""
        return dict(self.call("job_info", {"job": job})["job"])

    def drain(self, cards: CardSelector, timeout_s: float = DEFAULT_DEADLINE_S) -> list[str]:
        """Take cards out gently: they get no more units. Returns their names once they work on none."""
        return list(self.call("drain", {"cards": _listed(cards), "on": True}, timeout_s=timeout_s)["cards"])

    def undrain(self, cards: CardSelector) -> list[str]:
        """Give drained cards units again."""
        return list(self.call("drain", {"cards": _listed(cards), "on": False})["cards"])

    # -- end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the cluster; outstanding futures and jobs are cancelled. A local cluster releases its cards."""
        for job in list(self._jobs):
            job.abandon()
        self.images.close()
        self.arenas.close()
        self.calls.close()
        self._outgoing.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class _Outgoing:
    """Memory for what goes to cards. The latest is kept for the next: making pages costs more than filling them."""

    KEEP_BYTES = 256 << 20

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: SharedMemory | None = None

    @contextmanager
    def holding(self, data: NDArray[np.uint8]) -> Iterator[SharedMemory]:
        """A copy of ``data`` in shared memory, for one request. After a request that failed the memory is not used
        again: somebody may still be reading it."""
        with self._lock:
            whole, self._spare = self._spare, None
        if whole is not None and not len(data) <= whole.length <= max(4 * len(data), 1 << 20):
            whole.close()
            whole = None
        if whole is None:
            whole = SharedMemory.create(len(data), "saf-outgoing")
        part = whole.part(len(data))
        keep = False
        try:
            part.array[:] = data
            yield part
            keep = whole.length <= self.KEEP_BYTES
        finally:
            part.close()
            with self._lock:
                if keep and self._spare is None:
                    self._spare = whole
                else:
                    whole.close()

    def close(self) -> None:
        with self._lock:
            if self._spare is not None:
                self._spare.close()
                self._spare = None


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
        self._cards = _listed(cards)
        self.last: dict[str, Any] = {}  # how the latest call of this object went: card, times in ns

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def cards(self) -> str | list[str] | None:
        """Those it was looked for on; None for all."""
        return self._cards

    def __call__(self, *arrays: Any, **values: Any) -> Any:
        """Run it once and return its output (a tuple when there are several)."""
        memory, params, shape = self._plan(arrays, values)
        try:
            result = self._cluster.call("unit", params, memory)
        finally:
            memory.close()
        self.last = result
        return shape()

    def submit(self, *arrays: Any, **values: Any) -> UnitFuture:
        """The same as a Future. Inputs are copied before this returns."""
        memory, params, shape = self._plan(arrays, values)
        try:
            future = UnitFuture(self._cluster.calls, shape)
            future.number = self._cluster.calls.start("unit", params, memory, future)
        finally:
            memory.close()
        return future

    def _plan(self, arrays: tuple[Any, ...],
              values: dict[str, Any]) -> tuple[SharedMemory, dict[str, Any], Callable[[], Any]]:
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
            "inputs": [[w.address, w.array.nbytes] for w in plan.writes if w.array.nbytes],
            "outputs": [[r.address, r.length_bytes] for r in plan.reads if r.length_bytes],
            "global": list(plan.global_size), "local": list(plan.local_size), "work_dim": max(1, len(plan.global_size)),
            "deadline_ms": deadline_ms, "cards": self._cards}

        def shape() -> Any:
            outs = [_view(memory.array[r.address:r.address + r.length_bytes], r.dtype, r.shape) for r in plan.reads]
            return outs[0] if len(outs) == 1 else tuple(outs)
        return memory, params, shape


class UnitFuture(Future[Any]):
    """The result of a work unit. ``saf_info`` says how it went, once it is done: card, attempts, times in ns.

    It can be cancelled until it is done, also while it runs on a card.
    """

    def __init__(self, calls: Calls, shape: Callable[[], Any]) -> None:
        super().__init__()
        self.number = 0
        self.saf_info: dict[str, Any] = {}
        self._calls = calls
        self._shape: Callable[[], Any] | None = shape
        self._once = threading.Lock()

    def settle(self, result: dict[str, Any], error: SafError | None) -> None:
        """The answer came."""
        shape, self._shape = self._shape, None  # the unit's memory goes with it
        self.saf_info = result
        with suppress(InvalidStateError):  # cancelled meanwhile
            if error is not None or shape is None:
                self.set_exception(error)
                return
            try:
                value = shape()
            except Exception as err:  # whatever goes wrong belongs to the future, not to the thread that hands over
                self.set_exception(err)
            else:
                self.set_result(value)

    def closed(self) -> None:
        self.cancel()

    def cancel(self) -> bool:
        """Take the unit back; False when it is done already."""
        if not super().cancel():
            return False
        if self._once.acquire(blocking=False):  # never released: those who wait are told once
            self._shape = None
            self.set_running_or_notify_cancel()
            self._calls.forget(self.number)
        return True


def _view(raw: NDArray[np.uint8], dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An output as its array; a small one apart from the unit's memory."""
    return (raw.copy() if raw.nbytes <= COPY_BYTES else raw).view(dtype).reshape(shape)


def _listed(cards: CardSelector) -> str | list[str] | None:
    """A selector as a message carries it."""
    return cards if cards is None or isinstance(cards, str) else list(cards)


def _deadline(deadline_s: float | None) -> dict[str, Any]:
    return {} if deadline_s is None else {"deadline_s": deadline_s}


def _patience_s(deadline_s: float | None, length_bytes: int) -> float:
    """For the service, which knows how slow the cards are and ends the operation in time."""
    return GRACE_S + (DEFAULT_DEADLINE_S + length_bytes * SLOWEST_S if deadline_s is None else deadline_s)


def _as_bytes(data: Any) -> NDArray[np.uint8]:
    """Any array or bytes-like as (n,) uint8 without a copy where it is contiguous."""
    array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def connect(cluster: str | None = None, interfaces: Iterable[str] | str | None = None,
            config: Config | None = None) -> Cluster:
    """Connect to a cluster: its daemon when one answers; else, when interfaces are named here or in the
    configuration, a host in this process for the duration (needs CAP_NET_RAW).

    Raises ConfigError when it is not clear which cluster is meant, DaemonError when there is nothing to connect
    to, LinkError for interface and permission problems.
    """
    digests.use(lanes.load)  # images that carry no digest are hashed here
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

    def local(handler: Handler) -> Transport:
        from safhost.runtime.assemble import Host

        return LocalTransport(Host(chosen, use, local=True), handler)
    return Cluster(chosen.name, local)


def _running(asked: str | None) -> list[str]:
    """Clusters with a daemon; only looked for when the name is open."""
    if asked:
        return [asked] if paths.daemon_socket(asked).exists() else []
    return [f.name for f in sorted(paths.runtime_dir().iterdir()) if _listens(f / "daemon.sock")]


def _listens(path: Path) -> bool:
    """Whether somebody listens there, and not only once did."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except OSError:
            return True  # no permission, or busy: somebody is there
    return True
