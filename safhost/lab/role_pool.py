"""A pool of worker processes that compile and run the kernels of virtual cards.

The owner calls ``submit``, waits for ``fileno()`` to become readable (or for ``deadline_ns()``), calls
``poll`` and gets results. Nothing here blocks on a kernel, and time is always given. Rules:

* A worker has one job; all others wait here. So killing a worker loses that one job only. * On one card one
invocation of a kernel runs at a time and in order of submission, as one compute unit of an FPGA
  design would; different kernels of a card, and different cards, run side by side.
* An image is built once, by whoever submits its first :class:`BuildJob`; workers that lack it build it before
  their first run of it.
* When every worker has been busy for a second and work waits, one more is started, up to a limit: a hung
kernel
  slows nobody for longer than that. Surplus idle workers end when the stuck ones are gone.
"""

from __future__ import annotations

import os
import select
import shutil
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safhost.lab.role_messages import Message, RoleStatus, make_memfd
from safhost.lab.role_process import RoleProcess
from safhost.plan.rbf import canonical_json

GROW_AFTER_NS = 1_000_000_000
MAX_START_CRASHES = 3
"""Workers that may die before they are ready, in a row, until the pool reports it has no runtime."""


@dataclass(frozen=True, slots=True)
class BuildJob:
    """Compile an image: ``key`` names its content (``Emulation.key``)."""

    key: str
    manifest: Mapping[str, Any]
    archive: bytes


@dataclass(frozen=True, slots=True)
class RunJob:
    """Run ``kernel`` of a built image with an argument block, within the first ``role_bytes`` of the card's
    memory.

    Empty sizes mean those of kernel.yaml.
    """

    key: str
    kernel: str
    block: bytes
    role_bytes: int
    global_size: tuple[int, ...] = ()
    local_size: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleResult:
    """End of one job. ``error`` is empty when ``status`` is OK; ``kernel_ns`` is the kernel's own time."""

    ticket: int
    card_id: int
    status: RoleStatus
    error: str
    kernel_ns: int


@dataclass(slots=True)
class _Job:
    ticket: int
    card_id: int
    job: BuildJob | RunJob
    loading: bool = False

    @property
    def lane(self) -> tuple[object, ...]:
        """Jobs of one lane run one after the other."""
        return ("build", self.job.key) if isinstance(self.job, BuildJob) else (self.card_id, self.job.kernel)


class RolePool:
    """See the module's text. ``runtime`` names what runs the kernels, empty until a worker is ready."""

    def __init__(self, max_workers: int | None = None, *, limit: int | None = None, runtime: str = "auto",
                 threads_per_worker: int | None = None) -> None:
        """``max_workers`` processes (default: usable cores), up to ``limit`` (default: twice that) when some
        hang.

        ``runtime`` is auto, intel or icd; ``threads_per_worker`` None leaves it to the OpenCL runtime.
        """
        self.max_workers = max_workers or len(os.sched_getaffinity(0))
        self.limit = max(limit or 2 * self.max_workers, self.max_workers)
        self.runtime = ""
        self._choice, self._threads = runtime, threads_per_worker
        self._scratch = Path(tempfile.mkdtemp(prefix="safhost-role-"))
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._workers: dict[int, RoleProcess] = {}
        self._dying: list[RoleProcess] = []
        self._queue: deque[_Job] = deque()
        self._running: dict[int, _Job] = {}
        self._images: dict[str, tuple[int, int]] = {}
        self._built: set[str] = set()
        self._cards: dict[int, int] = {}
        self._results: list[RoleResult] = []
        self._next_ticket = 1
        self._start_crashes = 0
        self._unusable = ""

    def fileno(self) -> int:
        """Readable when :meth:`poll` has something to do."""
        return self._epoll.fileno()

    def add_card(self, card_id: int, memory_fd: int) -> None:
        """Make a card's memory known (a memfd, as long as the memory). It stays open until
        :meth:`drop_card`."""
        if card_id in self._cards:
            self.drop_card(card_id)
        self._cards[card_id] = memory_fd

    def drop_card(self, card_id: int) -> None:
        """Kill a card's jobs without results and unmap its memory everywhere."""
        for job in [j for j in (*self._queue, *self._running.values()) if j.card_id == card_id]:
            self.kill(job.ticket)
        self._results = [r for r in self._results if r.card_id != card_id]
        self._cards.pop(card_id, None)
        for worker in self._workers.values():
            if card_id in worker.cards:
                worker.cards.discard(card_id)
                worker.tell(Message("drop", {"card": card_id}))

    def forget(self, key: str) -> None:
        """An image that no card holds any more; what waits for it fails."""
        self._built.discard(key)
        for entry in [e for e in self._queue if e.job.key == key]:
            self._queue.remove(entry)
            self._finish(entry, RoleStatus.FAILED, "the image was dropped")
        if key in self._images:
            os.close(self._images.pop(key)[0])
        for worker in self._workers.values():
            if key in worker.programs:
                del worker.programs[key]
                worker.tell(Message("forget", {"key": key}))

    def prestart(self, now_ns: int) -> None:
        """Start one worker ahead of the first job, so that ``runtime`` becomes known."""
        if not self._workers and not self._unusable:
            self._start_worker(now_ns)

    def submit(self, card_id: int, job: BuildJob | RunJob, now_ns: int) -> int:
        """Queue a job and return its ticket. What is wrong with it comes back as its result."""
        entry = _Job(self._next_ticket, card_id, job)
        self._next_ticket += 1
        if isinstance(job, BuildJob) and job.key not in self._images:
            manifest = canonical_json(dict(job.manifest))
            self._images[job.key] = (make_memfd("saf-image", manifest, job.archive), len(manifest))
        if self._unusable:
            self._finish(entry, RoleStatus.NO_RUNTIME, self._unusable)
        elif isinstance(job, BuildJob) and job.key in self._built:
            self._finish(entry, RoleStatus.OK)
        elif job.key not in self._images:
            self._finish(entry, RoleStatus.FAILED, "the image was not built on this card")
        elif isinstance(job, RunJob) and card_id not in self._cards:
            self._finish(entry, RoleStatus.FAILED, f"card {card_id} has no memory here")
        else:
            self._queue.append(entry)
            self._dispatch(now_ns)
        return entry.ticket

    def poll(self, now_ns: int) -> list[RoleResult]:
        """Results since the last call; also starts waiting work. Never blocks on a kernel."""
        for fd, _ in self._epoll.poll(0):
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif fd in self._workers:
                self._read(fd, self._workers[fd], now_ns)
        self._dying = [w for w in self._dying if not w.reaped()]
        self._dispatch(now_ns)
        self._retire(now_ns)
        results, self._results = self._results, []
        return results

    def deadline_ns(self) -> int | None:
        """When :meth:`poll` has to be called even if nothing becomes readable (to grow), or None."""
        if not self._queue or len(self._workers) >= self.limit or any(w.idle for w in self._workers.values()):
            return None
        return max((w.busy_since_ns for w in self._workers.values()), default=0) + GROW_AFTER_NS

    def kill(self, ticket: int) -> bool:
        """End a job: a queued one is taken out, a running one loses its process. False when it is over
        already."""
        for entry in self._queue:
            if entry.ticket == ticket:
                self._queue.remove(entry)
                self._finish(entry, RoleStatus.KILLED, "killed before it began")
                return True
        for fd, worker in self._workers.items():
            if worker.busy_ticket == ticket:
                self._remove(fd, worker)
                worker.kill()
                self._dying.append(worker)
                self._finish(self._running.pop(ticket), RoleStatus.KILLED, "killed while it ran")
                return True
        return False

    def worker_pids(self) -> list[int]:
        """Processes of the pool, for the lab's status."""
        return [w.pid for w in self._workers.values()]

    def close(self) -> None:
        """Kill all workers, wait for their end, remove all files. The pool is of no use afterwards."""
        for fd, worker in list(self._workers.items()):
            self._remove(fd, worker)
            worker.kill()
            self._dying.append(worker)
        for worker in self._dying:
            worker.wait()
        self._dying.clear()
        for fd, _ in self._images.values():
            os.close(fd)
        self._images.clear()
        self._epoll.close()
        os.close(self._wake)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> RolePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _dispatch(self, now_ns: int) -> None:
        """Give waiting jobs to idle workers; start workers that are missing."""
        lanes = {job.lane for job in self._running.values()}
        startable = 0
        for entry in list(self._queue):
            if entry.lane in lanes:
                continue
            lanes.add(entry.lane)
            idle = [w for w in self._workers.values() if w.idle]
            if not idle:
                startable += 1
                continue
            worker = min(idle, key=lambda w: (entry.job.key not in w.programs, entry.card_id not in w.cards))
            self._queue.remove(entry)
            self._assign(worker, entry, now_ns)
        starting = sum(not w.ready for w in self._workers.values())
        while starting < startable and len(self._workers) < self.max_workers and not self._unusable:
            self._start_worker(now_ns)
            starting += 1
        if starting < startable and len(self._workers) < self.limit and not self._unusable:
            stuck = all(now_ns - w.busy_since_ns >= GROW_AFTER_NS for w in self._workers.values())
            if stuck and not starting:
                self._start_worker(now_ns)

    def _retire(self, now_ns: int) -> None:
        """End idle workers beyond ``max_workers`` plus those that are stuck in long kernels."""
        stuck = sum(w.busy_ticket is not None and now_ns - w.busy_since_ns >= GROW_AFTER_NS
                    for w in self._workers.values())
        surplus = len(self._workers) - self.max_workers - stuck
        for fd, worker in [(f, w) for f, w in self._workers.items() if w.idle][:max(0, surplus)]:
            self._remove(fd, worker)
            worker.kill()
            self._dying.append(worker)

    def _assign(self, worker: RoleProcess, entry: _Job, now_ns: int) -> None:
        self._running[entry.ticket] = entry
        worker.busy_ticket, worker.busy_since_ns = entry.ticket, now_ns
        key = entry.job.key
        if key in worker.programs and isinstance(entry.job, RunJob):
            self._run(worker, entry, entry.job)
            return
        entry.loading = True
        fd, manifest_bytes = self._images[key]
        worker.ask(Message("load", {"ticket": entry.ticket, "key": key, "manifest_bytes": manifest_bytes},
                           fds=(fd,)))

    def _run(self, worker: RoleProcess, entry: _Job, job: RunJob) -> None:
        entry.loading = False
        worker.note_program(job.key)
        if entry.card_id not in worker.cards:
            worker.cards.add(entry.card_id)
            worker.ask(Message("card", {"card": entry.card_id}, fds=(self._cards[entry.card_id],)))
        worker.ask(Message("run", {
            "ticket": entry.ticket, "key": job.key, "kernel": job.kernel, "card": entry.card_id,
            "role_bytes": job.role_bytes, "global": list(job.global_size), "local": list(job.local_size)},
            blob=job.block))

    def _read(self, fd: int, worker: RoleProcess, now_ns: int) -> None:
        try:
            message = worker.receive()
        except BlockingIOError:
            return
        if message is None:
            self._crashed(fd, worker)
        elif message.kind == "ready":
            worker.ready, self.runtime, self._start_crashes = True, message.fields["runtime"], 0
        elif message.kind == "unusable":
            self._give_up(message.fields["error"])
        else:
            self._done(worker, message, now_ns)

    def _done(self, worker: RoleProcess, message: Message, now_ns: int) -> None:
        entry = self._running[message.fields["ticket"]]
        status = RoleStatus(message.fields["status"])
        if entry.loading and status is RoleStatus.OK:
            self._built.add(entry.job.key)
            worker.note_program(entry.job.key)
            self._finish_waiting_builds(entry.job.key)
            if isinstance(entry.job, RunJob):
                worker.busy_since_ns = now_ns
                self._run(worker, entry, entry.job)
                return
        worker.busy_ticket = None
        del self._running[entry.ticket]
        self._finish(entry, status, message.fields["error"], message.fields["kernel_ns"])

    def _finish_waiting_builds(self, key: str) -> None:
        for entry in [e for e in self._queue if isinstance(e.job, BuildJob) and e.job.key == key]:
            self._queue.remove(entry)
            self._finish(entry, RoleStatus.OK)

    def _crashed(self, fd: int, worker: RoleProcess) -> None:
        self._remove(fd, worker)
        worker.kill()
        how = worker.wait()
        if not worker.ready:
            self._start_crashes += 1
            if self._start_crashes >= MAX_START_CRASHES:
                self._give_up(f"the process that runs kernels ends at its start ({how})")
        if worker.busy_ticket is not None:
            entry = self._running.pop(worker.busy_ticket)
            what = "the compiler" if entry.loading or isinstance(entry.job, BuildJob) else \
                f"kernel {entry.job.kernel}"
            self._finish(entry, RoleStatus.CRASHED, f"{what} crashed ({how})")

    def _give_up(self, reason: str) -> None:
        """No worker can run kernels here: answer what waits, and all that comes."""
        self._unusable = reason
        while self._queue:
            self._finish(self._queue.popleft(), RoleStatus.NO_RUNTIME, reason)

    def _finish(self, entry: _Job, status: RoleStatus, error: str = "", kernel_ns: int = 0) -> None:
        self._results.append(RoleResult(entry.ticket, entry.card_id, status, error, kernel_ns))
        os.eventfd_write(self._wake, 1)

    def _start_worker(self, now_ns: int) -> None:
        worker = RoleProcess(self._scratch, self._choice, self._threads, now_ns)
        self._workers[worker.fileno()] = worker
        self._epoll.register(worker.fileno(), select.EPOLLIN)

    def _remove(self, fd: int, worker: RoleProcess) -> None:
        self._epoll.unregister(fd)
        del self._workers[fd]
