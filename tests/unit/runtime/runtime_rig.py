"""A whole host in one process for tests: engine, service and virtual cards over a hub in memory.

`Rig` runs under a clock of its own that jumps to the next deadline when nothing is left to do, so that no test waits.
`LiveRig` runs the same in a thread under the real clock and serves a Unix socket, for tests of the client.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost import paths
from safhost.config import ClusterConfig
from safhost.core.cluster import Cluster
from safhost.core.config import CoreConfig
from safhost.core.paper import PaperCluster
from safhost.errors import SafError, error_from_dict
from safhost.lab.card import CardConfig, ControlOut, RoleJob, VirtualCard
from safhost.link.memory import MemoryHub, MemoryLink
from safhost.plan.image import Image, build_image
from safhost.plan.kernelspec import KernelPackage
from safhost.plan.layout import decode_arguments
from safhost.runtime.engine import Engine
from safhost.runtime.identity import Identity, Names
from safhost.runtime.manifests import Manifests
from safhost.runtime.messages import SharedMemory
from safhost.runtime.server import Server
from safhost.runtime.service import Service
from safhost.transport import DaemonTransport
from safhost.units import Mac
from safhost.wire.codec import Codec
from safhost.wire.generated import Opcode

SUITE = 0
SMALL_DDR = dict(ddr_bytes=64 << 20, image_slot_bytes=8 << 20)
MAX_STEPS = 400_000
IDLE_NS = 50_000_000  # when nobody waits for any time


def make_image(folder: Path, name: str = "vadd", pad: int | None = None) -> Image:
    return build_image(paths.kernels_dir() / name, folder / f"{name}.saf", pad)


def compute(job: RoleJob, card: VirtualCard) -> None:
    """What the kernels of this repository do, in numpy, on the card's own memory."""
    spec = KernelPackage.from_dict(dict(job.manifest)).kernels[job.kernel]
    found = decode_arguments(spec, job.block, job.role_bytes, job.global_size)
    view = {n: card.memory.role.view(b.address, b.length_bytes).view(np.float32) for n, b in found.buffers.items()}
    if spec.source_name == "vadd":
        view["C"][:] = view["A"] + view["B"]
    elif spec.source_name == "ptrans":
        rows, cols = (int.from_bytes(found.scalars[n], "little") for n in ("rows", "cols"))
        view["C"][:] = (view["B"].reshape(rows, cols) + view["A"].reshape(cols, rows).T).reshape(-1)
    else:
        raise AssertionError(job.kernel)


class CardPort:
    """A virtual card on its link; ``lose`` frames it is to receive (a predicate of the raw frame) never arrive."""

    def __init__(self, rig: Rig, link: MemoryLink, card: VirtualCard) -> None:
        self.rig, self.link, self.card = rig, link, card
        self.lose: Any = None
        self.held: list[RoleJob] | None = None  # a list: kernels wait there instead of running
        self.data_frames = 0
        self.closed = False

    def pump(self) -> bool:
        """Let the card take what waits and do what is due; whether it did anything."""
        if self.closed:
            return False
        now = self.rig.clock()
        busy = False
        batch = self.link.receive(1024)
        if batch is not None:
            busy = True
            frames, lengths = batch.frames, batch.lengths
            if self.lose is not None:
                keep = np.array([not self.lose(frames[i, :lengths[i]].tobytes()) for i in range(len(lengths))])
                frames, lengths = frames[keep], lengths[keep]
            if len(lengths):
                self.data_frames += int((frames[:, 15] == int(Opcode.DATA)).sum()) if frames.shape[1] > 15 else 0
                self.card.handle_batch(frames, lengths, now)
            batch.release()
        due = self.card.next_wakeup_ns()
        if due is not None and due <= now:
            self.card.tick(now)
            busy = True
        for _ in range(8):
            self.card.take_role_kills()
            jobs = self.card.take_role_jobs()
            if not jobs:
                break
            for job in jobs:
                if job.kernel and self.held is not None:
                    self.held.append(job)
                else:
                    self.finish(job)
        for out in self.card.take_output():
            busy = True
            if isinstance(out, ControlOut):
                self.link.send_frames([out.raw])
            else:
                self.link.send_blocks(out.headers, out.payload, out.offsets, out.block_bytes, out.last_bytes)
        return busy

    def finish(self, job: RoleJob) -> None:
        if job.kernel:
            compute(job, self.card)
        self.card.role_finished(job.ticket, "ok", 1000, "", self.rig.clock())

    def unplug(self) -> None:
        self.link.set_up(False)
        self.card.link_down(self.rig.clock())

    def plug(self) -> None:
        self.link.set_up(True)
        self.card.link_up(self.rig.clock())


class Connection:
    """A client whose messages a test reads."""

    peer = "test"

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.gone = False

    def send(self, message: dict[str, Any]) -> None:
        assert not self.gone, "sent to a client that is gone"
        self.messages.append(message)

    def answer(self, number: object) -> dict[str, Any] | None:
        found = [m for m in self.messages if m.get("id") == number and "event" not in m]
        assert len(found) <= 1, found
        return found[0] if found else None

    def events(self, number: object) -> list[dict[str, Any]]:
        return [m["event"] for m in self.messages if m.get("id") == number and "event" in m]


class Rig:
    def __init__(self, folder: Path, cards: int = 2, *, profile: str = "saf", local: bool = False, start: bool = True,
                 send_limit: int | None = None, config: dict[str, Any] | None = None,
                 cluster: ClusterConfig | None = None, links: int = 1, suites: dict[int, bytes] | None = None,
                 interfaces: tuple[str, ...] = ("h0", "h1"), mtu: int = 1500, **options: Any) -> None:
        self.folder = folder
        self.now_ns = 1_000_000_000
        self.profile = profile
        self.codec = Codec()
        self.hubs = [MemoryHub() for _ in range(links)]
        self.hosts = [hub.attach(Mac(0x025AF00000FE), mtu, name=interfaces[i], send_limit_frames=send_limit)
                      for i, hub in enumerate(self.hubs)]
        self.ports: list[CardPort] = []
        self.card_options = SMALL_DDR | {"mtu": mtu} | options
        for number in range(cards):
            self.add_card(number, (suites or {}).get(number))
        self.identity = Identity(folder, None)
        kind = PaperCluster if profile == "paper" else Cluster
        self.core: Any = kind(CoreConfig(owner=self.identity.owner, generation=self.identity.generation, suite=SUITE,
                                         auto_open=not local, **(config or {})), os.urandom, self.codec)
        self.engine = Engine(self.core, self.clock)
        self.cluster = cluster or ClusterConfig("test", ("h0",), suite=SUITE, profile=profile)
        self.service = Service(self.engine, self.cluster, self.identity,
                               Names(folder, self.cluster.names, self.cluster.groups),
                               Manifests(folder / "manifests"), "1.0", local)
        self._ids = 0
        for host in self.hosts:
            self.engine.add_link(host)
        if start:
            self.settle()

    def clock(self) -> int:
        return self.now_ns

    def add_card(self, number: int, key: bytes | None = None, hub: int | None = None) -> CardPort:
        mac = Mac(0x025AF0000001 + number)
        where = number % len(self.hubs) if hub is None else hub
        link = self.hubs[where].attach(mac, self.card_options["mtu"], name=f"card{number}")
        card = VirtualCard(CardConfig(serial=f"VC{number:04d}", mac=mac, card_key=key, profile=self.profile,
                                      **self.card_options), self.codec, os.urandom)
        card.link_up(self.clock())
        port = CardPort(self, link, card)
        self.ports.append(port)
        return port

    # -- time ----------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """One round; when nothing happened, on to the next deadline."""
        if self.round():
            return
        if self.service.hasher.busy:
            self.engine.step(0.002)
            return
        times = [t for t in (self.core.next_wakeup_ns(), *(p.card.next_wakeup_ns() for p in self.ports if not p.closed))
                 if t is not None]
        self.now_ns = max(self.now_ns, min(times, default=self.now_ns + IDLE_NS))

    def round(self) -> bool:
        """Let everybody do what can be done now; whether there was, or still is, something."""
        self.engine.step(0)
        busy = [port.pump() for port in self.ports]
        return any(busy) or bool(self.engine._taken) or any(h._queue for h in self.hosts)

    def run(self, until: Any, seconds: float = 120.0) -> None:
        """Pump until ``until()`` holds; a bound in the rig's own time and in rounds."""
        end = self.now_ns + int(seconds * 1e9)
        for _ in range(MAX_STEPS):
            if until():
                return
            assert self.now_ns < end, f"not within {seconds:g} s of the rig's time"
            self.pump()
        raise AssertionError("not within the rig's rounds")

    def sleep(self, seconds: float) -> None:
        """Let that much of the rig's time go by."""
        end = self.now_ns + int(seconds * 1e9)
        self.run(lambda: self.now_ns >= end, seconds + 60)

    def settle(self) -> None:
        cards = self.core.sessions.by_mac
        self.run(lambda: len(cards) == len(self.ports)
                 and all(c.state in ("available", "listed") for c in cards.values()))

    # -- requests ------------------------------------------------------------------------------------------

    def begin(self, op: str, memory: SharedMemory | None = None, connection: Connection | None = None,
              **params: Any) -> tuple[Connection, int]:
        """Send a request; returns connection and id."""
        connection = connection or Connection()
        self._ids += 1
        message = {"id": self._ids, "op": op, **params}
        fds = []
        if memory is not None:
            fds = [os.dup(memory.fd)]
            message.setdefault("lengths", [memory.length])
        self.service.request(connection, message, fds)
        return connection, self._ids

    def ask(self, op: str, memory: SharedMemory | None = None, within: float = 120.0, **params: Any) -> dict[str, Any]:
        """A request and its result. Raises what it answers; the error's ``result`` has partial results."""
        connection, number = self.begin(op, memory, **params)
        self.run(lambda: connection.answer(number) is not None, within)
        message = connection.answer(number)
        assert message is not None
        if "error" in message:
            error = error_from_dict(message["error"])
            error.result = message.get("result")  # type: ignore[attr-defined]
            raise error
        return message["result"]

    def program(self, image: Image, cards: Any = None, **params: Any) -> dict[str, Any]:
        memory = shared(image.payload)
        try:
            return self.ask("program", memory, cards=cards, **(self.program_params(image) | params))
        finally:
            memory.close()

    @staticmethod
    def program_params(image: Image) -> dict[str, Any]:
        return {"digest": image.digest_root.hex(), "pr_compat_id": image.pr_compat_id,
                "manifest": image.package.to_dict()}

    # -- end -----------------------------------------------------------------------------------------------

    def check_empty(self) -> None:
        """Nothing is left of any request, once hashing ended and cards that do not answer were given up."""
        self.run(lambda: not self.service.hasher.busy)
        if self.profile == "saf":
            self.run(lambda: not any(c.pending for c in self.core.sessions.by_mac.values()), 30)
        assert not self.service._jobs
        assert not self.service._subscribers
        assert not self.service._waiting
        assert not self.core.requests
        assert not self.core.unit_queue
        if self.profile == "saf":
            assert not self.core.transfers.active
            assert not self.core.read_queue
            for card in self.core.sessions.by_mac.values():
                assert not card.pending
                assert not card.units
                assert not card.reads
                assert not card.ddr.used_bytes
            self.core.validate()
        else:
            assert not self.core.transfers
            for card in self.core.sessions.by_mac.values():
                assert card.unit is None
                assert card.request is None
                assert not card.ddr.used_bytes

    def close(self) -> None:
        self.service.close()
        self.engine.close()
        for port in self.ports:
            if not port.closed:
                port.closed = True
                port.link.close()
                port.card.close()


class LiveRig(Rig):
    """The rig in a thread, under the real clock, behind a Unix socket."""

    def __init__(self, folder: Path, cards: int = 2, **options: Any) -> None:
        super().__init__(folder, cards, **options)
        self.now_ns = 0
        self.path = folder / "daemon.sock"
        self._offset_ns = 10_000_000_000
        self._live = True
        self.server: Server | None = Server(self.engine, self.service, self.path)
        self.crash: BaseException | None = None
        self._stop = threading.Event()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._work: list[Any] = []
        self.engine.watch(self._wake, lambda _mask: self._run_work())
        for port in self.ports:
            self.engine.watch(port.link.fileno(), lambda _mask, port=port: port.pump())
        self.thread = threading.Thread(target=self._serve, name="rig")
        self.thread.start()

    def clock(self) -> int:
        return time.monotonic_ns() + self._offset_ns if getattr(self, "_live", False) else self.now_ns

    def _serve(self) -> None:
        try:
            self._loop()
        except BaseException as err:  # kept for the test's end; its clients must not wait for ever
            self.crash = err
            self._kill_server()

    def _loop(self) -> None:
        while not self._stop.is_set():
            due = [t for p in self.ports if (t := p.card.next_wakeup_ns()) is not None]
            wait_ns = min(due, default=self.clock() + 10**9) - self.clock()
            self.engine.step(max(0.0, min(1.0, wait_ns / 1e9)))
            for port in self.ports:
                port.pump()

    def _run_work(self) -> None:
        os.eventfd_read(self._wake)
        while self._work:
            self._work.pop(0)()

    def do(self, work: Any) -> Any:
        """Call ``work`` in the rig's thread and return what it returns."""
        done = threading.Event()
        out: list[Any] = []

        def call() -> None:
            try:
                out.append(work())
            finally:
                done.set()
        self._work.append(call)
        os.eventfd_write(self._wake, 1)
        while not done.wait(0.5):
            assert self.thread.is_alive(), self.crash
        return out[0]

    def until(self, condition: Any, seconds: float = 30.0) -> None:
        """Until ``condition()`` holds in the rig's thread."""
        end = time.monotonic() + seconds
        while not self.do(condition):
            assert time.monotonic() < end

    def transport(self, handler: Any) -> DaemonTransport:
        return DaemonTransport(str(self.path), handler)

    def die(self) -> None:
        """As a daemon that is killed: its sockets are gone, the cards live on."""
        self.do(self._kill_server)

    def _kill_server(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def close(self) -> None:
        if self.crash is None:
            self.die()
        self._stop.set()
        os.eventfd_write(self._wake, 1)
        self.thread.join(30)
        assert not self.thread.is_alive()
        for port in self.ports:
            self.engine.unwatch(port.link.fileno())
        self.engine.unwatch(self._wake)
        os.close(self._wake)
        super().close()
        if self.crash is not None:
            raise self.crash


def shared(data: Any) -> SharedMemory:
    """A memfd with these bytes."""
    raw = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data
    memory = SharedMemory.create(len(raw))
    memory.array[:] = raw
    return memory


def open_fds() -> set[str]:
    """Sockets, event descriptors and shared memory of this process; not files, nor the memory of virtual cards."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            what = os.readlink(f"/proc/self/fd/{name}")
            if what.startswith(("socket:", "anon_inode:", "pipe:", "/memfd:saf")):
                found.add(f"{name} {what}")
    return found


def assert_closed(before: set[str], seconds: float = 10.0) -> None:
    """No descriptor is left that was not there ``before``; threads that let go of theirs have so long for it."""
    end = time.monotonic() + seconds
    while left := open_fds() - before:
        assert time.monotonic() < end, left
        threading.Event().wait(0.005)


def fails(kind: type[SafError], text: str = "") -> Any:
    """As pytest.raises, with a part of the message taken literally."""
    return pytest.raises(kind, match=re.escape(text))
