"""The two kinds of node on the simulated network: a host that runs the core, and a card that runs a role."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safhost.core import events as ev
from safhost.core.actions import (
    Action,
    CardChanged,
    JobNoted,
    KeepGeneration,
    RequestEnded,
    RequestProgressed,
    SendBlocks,
    SendFrames,
    UnitEnded,
)
from safhost.core.cluster import Cluster
from safhost.core.config import CoreConfig
from safhost.lab.card import VirtualCard
from safhost.lab.card_types import ControlOut, RoleJob
from safhost.sim.disk import IDENTITY, SimDisk, encode_identity
from safhost.sim.images import run_role
from safhost.sim.job_desk import JobDesk
from safhost.sim.network import Frames, Lengths, Network, Port, materialise
from safhost.sim.observe import Watch
from safhost.wire.codec import Codec, split_batch

if TYPE_CHECKING:
    from safhost.sim.simulation import Simulation

QUEUE_NS = 2_000_000  # of frames that wait in a host's transmit queue before it is full,
QUEUE_FRAMES = 64  # but as many at least
RING_STEP_NS = 20_000  # virtual time of one tick of a card that has work at once
LINK = "sim0"


class ProcessDied(Exception):
    """The host's process dies at a boundary; never leaves SimHost."""


class SimHost:
    """One process of a host: a core and the little runtime around it.

    ``ended``: request → RequestEnded; ``progress``: what each request reported; ``changes``: CardChanged in order;
    ``generations``: what was to be kept, in order; ``started``: requests asked for; ``desk``: its jobs. ``boundaries``
    counts what this process has done that others can see: disk writes, control frames, batches of blocks, words to
    clients. When it dies, another SimHost takes its ``name``, ``port``, ``disk`` and place in ``Simulation.hosts``.
    """

    def __init__(self, sim: Simulation, name: str, mac: bytes, config: CoreConfig, rate_bytes_s: int, mtu: int,
                 entropy_seed: str, disk: SimDisk | None = None, port: Port | None = None) -> None:
        self.sim = sim
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.cluster = Cluster(config, sim.entropy(entropy_seed), Codec())
        self.network: Network = sim.network
        if port is None:
            port = self.network.attach(Port(name, mac, rate_bytes_s, sim.clean, self._control, self._batch))
        self.port = port
        port.node, port.receive_control, port.receive_batch = self, self._control, self._batch
        self.disk = disk or SimDisk()
        self.ended: dict[int, RequestEnded] = {}
        self.progress: dict[int, list[dict[str, Any]]] = {}
        self.changes: list[CardChanged] = []
        self.generations: list[int] = []
        self.started: set[int] = set()
        self.bulk_frames = 0
        self.boundaries = 0
        self.desk = JobDesk(self)
        self._crash_at: int | None = None
        self._crash_appends: int | None = None
        self._crash_down_ns = 0
        self._crash_then: tuple[int, ...] = ()
        self._events: deque[ev.Event] = deque()
        self._busy = False
        self._wake_ns: int | None = None
        self._writable_ns = 0
        self.stopped = False

    @property
    def alive(self) -> bool:
        """Whether this process still runs."""
        return not self.stopped

    # -- life and death

    def boot(self) -> None:
        """Keep the generation this process uses, then bring the link up. Both are boundaries."""
        for hook in self.sim.hooks.host_start:
            hook(self)
        config = self.cluster.config
        self._run(lambda: self.write(IDENTITY, encode_identity(config.owner, config.generation)))
        if self.alive and self.port.plugged:
            self.feed(ev.LinkCameUp(LINK, self.mac, self.mtu))

    def crash_after(self, boundaries: int, down_ns: int = 1_000_000_000, then: tuple[int, ...] = ()) -> None:
        """Die right before the boundary that comes after ``boundaries`` more of them.

        What else the core asked for at that moment is lost, its timers are gone; after ``down_ns`` a new process
        starts from the disk alone. ``then``: the next processes die as well, after so many boundaries of theirs (0:
        before the generation is written, 1: after that and before the first frame).
        """
        self._crash_at, self._crash_down_ns = self.boundaries + boundaries, down_ns
        self._crash_then = then

    def crash_in_append(self, appends: int, down_ns: int = 1_000_000_000) -> None:
        """Die inside an append to a journal, after ``appends`` more of them: any part of it is on the disk."""
        self._crash_appends, self._crash_down_ns, self._crash_then = appends, down_ns, ()

    def tick(self) -> None:
        """Do what is due by now."""
        self.feed(ev.TimePassed())

    def stop(self) -> None:
        """The process is gone for good: nothing is sent or heard any more."""
        self.stopped = True
        self._events.clear()
        self.port.receive_control, self.port.receive_batch, self.port.node = _deaf_control, _deaf_batch, None

    def call(self, work: Callable[[], None]) -> None:
        """Have the runtime do ``work`` for a client."""
        if not self.stopped:
            self._run(work)

    def boundary(self) -> None:
        """Something others can see is about to be done, unless this is where the process dies."""
        if self.stopped or self.boundaries == self._crash_at:
            raise ProcessDied
        self.boundaries += 1

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ProcessDied:
            if not self.stopped:  # nobody else killed it meanwhile
                self.sim.crash_host(self, self._crash_down_ns, self._crash_then)

    def write(self, key: str, data: bytes) -> None:
        """Replace a file, atomically."""
        self.boundary()
        self.disk.write(key, data)
        for hook in self.sim.hooks.disk:
            hook(self, key, data)

    def append(self, key: str, data: bytes, whole: Callable[[], None]) -> None:
        """Write to the end of a file; a crash here leaves any part of it. ``whole`` is called when all is there."""
        if self.stopped:
            raise ProcessDied
        if self._crash_appends is not None:
            self._crash_appends -= 1
        dies, full = self.boundaries == self._crash_at or self._crash_appends == -1, len(data)
        if dies:
            dice = random.Random(f"{self.sim.seed}/torn/{self.name}/{self.boundaries}")
            data = data[:dice.randint(0, full * 4 // 3)]
        self.disk.append(key, data)
        for hook in self.sim.hooks.disk:
            hook(self, key, data)
        if len(data) == full:
            whole()
        if dies:
            raise ProcessDied
        self.boundaries += 1

    def cut(self, key: str, length: int) -> None:
        """Shorten a file."""
        self.boundary()
        self.disk.cut(key, length)

    # -- the core and its actions

    def feed(self, event: ev.Event) -> None:
        """Give the core an event, carry out what it answers, and whatever follows from that."""
        if self.stopped:
            return
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            self._run(self._work)
        finally:
            self._busy = False
        if not self.stopped:
            self._plan_wakeup()

    def _work(self) -> None:
        while self._events:
            for action in self.cluster.handle(self._events.popleft(), self.sim.now_ns):
                self._carry_out(action)
                if self.stopped:
                    return
            self.desk.flush()

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, SendFrames):
            for raw in action.frames:
                self.boundary()
                self.network.send_control(self.port, raw)
        elif isinstance(action, SendBlocks):
            self._send_blocks(action)
        elif isinstance(action, RequestEnded):
            assert action.request not in self.ended, f"request {action.request} ended twice"
            self.ended[action.request] = action
            for hook in self.sim.hooks.request_ended:
                hook(self, action)
            self.desk.on_request_ended(action)
        elif isinstance(action, UnitEnded):
            for told in self.sim.hooks.unit_ended:
                told(self, action)
            self.desk.on_unit_ended(action)
        elif isinstance(action, JobNoted):
            for noted in self.sim.hooks.job_noted:
                noted(self, action)
        elif isinstance(action, RequestProgressed):
            self.progress.setdefault(action.request, []).append(action.info)
        elif isinstance(action, CardChanged):
            self.changes.append(action)
            for tell in self.sim.hooks.card_changed:
                tell(self, action)
        elif isinstance(action, KeepGeneration):
            self.generations.append(action.generation)
            self.write(IDENTITY, encode_identity(self.cluster.config.owner, action.generation))

    def _send_blocks(self, action: SendBlocks) -> None:
        headers, offsets, block, last = action.encoder.encode(action.indices)
        frame_ns = (block + 64) * 1_000_000_000 // self.port.rate_bytes_s
        queue_ns = max(QUEUE_NS, QUEUE_FRAMES * frame_ns)
        room = max(0, (queue_ns - max(0, self.port.free_ns - self.sim.now_ns)) // frame_ns)
        taken = min(len(action.indices), room)
        if taken:
            self.boundary()
            headers, offsets = headers[:taken], offsets[:taken]
            last = last if taken == len(action.indices) else block
            self.network.send_batch(self.port, *materialise(headers, action.payload, offsets, block, last))
            self.bulk_frames += taken
        full = taken < len(action.indices)
        if full and self._writable_ns <= self.sim.now_ns:
            self._writable_ns = max(self.sim.now_ns, self.port.free_ns - queue_ns // 2)
            self.sim.at(self._writable_ns, lambda: self.feed(ev.LinkWritable(LINK)))
        self._events.append(ev.BlocksTaken(action.transfer, taken, full))

    def _control(self, raw: bytes) -> None:
        self.feed(ev.FrameReceived(LINK, raw))

    def _batch(self, frames: Frames, lengths: Lengths) -> None:
        controls, groups, drops = split_batch(frames, lengths)
        for reason in drops:
            self.cluster.drop(reason)
        for group in groups:
            self.feed(ev.BlocksReceived(LINK, group))
        for raw in controls:
            self.feed(ev.FrameReceived(LINK, raw))

    def _plan_wakeup(self) -> None:
        due = self.cluster.next_wakeup_ns()
        if due is not None and (self._wake_ns is None or due < self._wake_ns):
            self._wake_ns = due
            self.sim.at(max(due, self.sim.now_ns), lambda: self._wake(due))

    def _wake(self, due: int) -> None:
        if self._wake_ns == due:
            self._wake_ns = None
            self.feed(ev.TimePassed())


def _deaf_control(raw: bytes) -> None:
    """Nobody listens on this port now."""


def _deaf_batch(frames: Frames, lengths: Lengths) -> None:
    """Nobody listens on this port now."""


class SimCard:
    """One virtual card, the cable in it, and its role. ``executed`` counts kernel executions by name."""

    def __init__(self, sim: Simulation, key: str, card: VirtualCard, mac: bytes, kernel_ns: int) -> None:
        self.sim = sim
        self.key = key
        self.card = card
        self.port = sim.network.attach(Port(key, mac, sim.rate_bytes_s, sim.impairment, self.receive_control,
                                            self.receive_batch, self))
        card.watch = Watch(self, sim.hooks)
        card.watch.booted(bytes.fromhex(card.snapshot()["boot_nonce"]))
        self.kernel_ns = kernel_ns
        self.executed: dict[str, int] = {}
        self._jobs: set[int] = set()
        self._wake_ns: int | None = None

    @property
    def ddr(self) -> NDArray[np.uint8]:
        """Role DDR, (ddr_bytes,) uint8."""
        return self.card.memory.role.array

    def receive_control(self, raw: bytes) -> None:
        self.card.handle_control(raw, self.sim.now_ns)
        self.settle()

    def receive_batch(self, frames: Frames, lengths: Lengths) -> None:
        self.card.handle_batch(frames, lengths, self.sim.now_ns)
        self.settle()

    def tick(self) -> None:
        """Do what is due by now."""
        self.card.tick(self.sim.now_ns)
        self.settle()

    def settle(self) -> None:
        """Take what the card has to say and to run."""
        card, network = self.card, self.sim.network
        for out in card.take_output():
            if isinstance(out, ControlOut):
                network.send_control(self.port, out.raw)
            else:
                network.send_batch(self.port, *materialise(out.headers, out.payload, out.offsets, out.block_bytes,
                                                           out.last_bytes))
        for ticket in card.take_role_kills():
            self._jobs.discard(ticket)
        for job in card.take_role_jobs():
            self._start(job)
        due = card.next_wakeup_ns()
        if due is not None:
            due = max(due, self.sim.now_ns + RING_STEP_NS) if due <= self.sim.now_ns else due
            if self._wake_ns is None or due < self._wake_ns:
                self._wake_ns = due
                self.sim.at(due, lambda: self._wake(due))

    def _wake(self, due: int) -> None:
        if self._wake_ns == due:
            self._wake_ns = None
            self.tick()

    def _start(self, job: RoleJob) -> None:
        self._jobs.add(job.ticket)
        wait_ns = self.kernel_ns if job.kernel else 0
        self.sim.at(self.sim.now_ns + wait_ns, lambda: self._finish(job))

    def _finish(self, job: RoleJob) -> None:
        if job.ticket not in self._jobs:
            return
        self._jobs.discard(job.ticket)
        if job.kernel:
            self.executed[job.kernel] = self.executed.get(job.kernel, 0) + 1
            run_role(job.manifest, job.kernel, job.block, self.ddr)
        self.card.role_finished(job.ticket, "ok", self.kernel_ns, "", self.sim.now_ns)
        self.settle()
