"""The event loop: carries the core's actions out on real links, and is the only place that reads a clock."""

from __future__ import annotations

import logging
import select
from collections import deque
from collections.abc import Callable
from typing import Protocol

from safhost.core import events as ev
from safhost.core.actions import Action, SendBlocks, SendFrames
from safhost.core.cluster import Cluster
from safhost.core.paper import PaperCluster
from safhost.errors import LinkError
from safhost.link.base import Link, LinkDown
from safhost.wire.codec import split_batch
from safhost.wire.generated import DropReason

_LOG = logging.getLogger("safhost.engine")
RX_FRAMES = 1024
BATCHES_A_STEP = 2  # of one transfer between two looks at the other descriptors
MAX_IDLE_MS = 1000


class Sink(Protocol):
    """Gets the actions that are not frames."""

    def take(self, action: Action, now_ns: int) -> None: ...


class Watched(Protocol):
    """What the engine needs of an interface watcher."""

    def fileno(self) -> int: ...


class Port:
    """One link and what waits to be sent on it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.queue: deque[bytes] = deque()
        self.up = True
        self.polling_out = False
        self.refused = 0


class Engine:
    """Runs one core over any number of links. ``clock`` returns nanoseconds that never go back."""

    def __init__(self, core: Cluster | PaperCluster, clock: Callable[[], int]) -> None:
        self.core = core
        self.clock = clock
        self.sink: Sink | None = None
        self.after_step: Callable[[], None] | None = None  # what a step brought is dealt with at once
        self.ports: dict[str, Port] = {}
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._taken: deque[ev.BlocksTaken] = deque()
        self.stopped = False

    # -- descriptors ---------------------------------------------------------------------------------------

    def watch(self, fd: int, callback: Callable[[int], None], mask: int = select.EPOLLIN) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        self._epoll.modify(fd, mask)

    def unwatch(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    # -- links ---------------------------------------------------------------------------------------------

    def add_link(self, link: Link, mtu: int | None = None) -> None:
        """Start to use a link. ``mtu``: a smaller one than the interface's."""
        port = Port(link)
        self.ports[link.name] = port
        self.watch(link.fileno(), lambda mask: self._on_port(port, mask))
        self.submit(ev.LinkCameUp(link.name, bytes(link.mac), min(link.mtu, mtu or link.mtu)))

    def link_down(self, name: str) -> None:
        port = self.ports[name]
        if port.up:
            port.up = False
            port.queue.clear()
            _LOG.warning("interface %s is down", name)
            self.submit(ev.LinkWentDown(name))

    def link_up(self, name: str, mtu: int | None = None) -> None:
        """The interface is there again, perhaps another one of the same name."""
        port = self.ports[name]
        rebind = getattr(port.link, "rebind", None)
        self.unwatch(port.link.fileno())  # it may be another descriptor afterwards, also when it fails
        try:
            if rebind is not None:
                rebind()
        except LinkError as err:
            _LOG.info("interface %s is not usable yet: %s", name, err.message)
            return
        finally:
            port.polling_out = False
            self.watch(port.link.fileno(), lambda mask: self._on_port(port, mask))
        port.up = True
        _LOG.warning("interface %s is up", name)
        self.submit(ev.LinkCameUp(name, bytes(port.link.mac), min(port.link.mtu, mtu or port.link.mtu)))
        self.submit(ev.LinkWritable(name))

    # -- the loop ------------------------------------------------------------------------------------------

    def step(self, timeout_s: float = 1.0) -> None:
        """Wait for something to happen, at most ``timeout_s``, and deal with it."""
        wait_ms = min(timeout_s * 1e3, MAX_IDLE_MS)
        if self._taken:
            wait_ms = 0.0
        else:
            due = self.core.next_wakeup_ns()
            if due is not None:
                wait_ms = min(wait_ms, max(0.0, (due - self.clock()) / 1e6))
        for fd, mask in self._epoll.poll(wait_ms / 1e3):
            callback = self._callbacks.get(fd)
            if callback is not None:
                callback(mask)
        for _ in range(BATCHES_A_STEP):
            if not self._taken:
                break
            self.submit(self._taken.popleft())
            for port in self.ports.values():
                self._receive(port)
        now = self.clock()
        due = self.core.next_wakeup_ns()
        if due is not None and due <= now:
            self.submit(ev.TimePassed(), now)
        if self.after_step is not None:
            self.after_step()

    def submit(self, event: ev.Event, now_ns: int | None = None) -> None:
        """Give the core an event and carry out what it answers."""
        now = self.clock() if now_ns is None else now_ns
        for action in self.core.handle(event, now):
            if type(action) is SendFrames:
                self._send(self.ports[action.link], action.frames)
            elif type(action) is SendBlocks:
                self._send_blocks(action)
            elif self.sink is not None:
                self.sink.take(action, now)

    def _on_port(self, port: Port, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._writable(port)
        if mask & ~select.EPOLLOUT:
            self._receive(port)

    def _receive(self, port: Port) -> None:
        link, name, core = port.link, port.link.name, self.core
        try:
            batch = link.receive(RX_FRAMES)
        except LinkDown:
            self.link_down(name)
            return
        if batch is None:
            return
        if not port.up:  # what still lay in the ring, or only its error, which would wake us for ever
            batch.release()
            return
        if core.raw_batches:
            self.submit(ev.BatchReceived(name, batch.frames, batch.lengths))
            batch.release()
            return
        controls, groups, drops = split_batch(batch.frames, batch.lengths)
        for reason in drops:
            core.drop(reason)
        # blocks first: the READ_DONE behind them asks whether all are there
        for group in groups:
            self.submit(ev.BlocksReceived(name, group))
        batch.release()
        for raw in controls:
            self.submit(ev.FrameReceived(name, raw))

    def _send(self, port: Port, frames: list[bytes]) -> None:
        if not port.up:
            return
        if port.queue:
            port.queue.extend(frames)
            return
        try:
            taken = port.link.send_frames(frames)
        except LinkDown:
            self.link_down(port.link.name)
            return
        except LinkError as err:
            self._lost(port, err)
            return
        if taken < len(frames):
            port.queue.extend(frames[taken:])
            self._poll_out(port, True)

    def _send_blocks(self, action: SendBlocks) -> None:
        port = self.ports[action.link]
        taken = 0
        if port.up and not port.queue:
            headers, offsets, block_bytes, last_bytes = action.encoder.encode(action.indices)
            try:
                taken = port.link.send_blocks(headers, action.payload, offsets, block_bytes, last_bytes)
            except LinkDown:
                self.link_down(action.link)
            except LinkError as err:
                self._lost(port, err)
                taken = len(action.indices)
        full = taken < len(action.indices)
        if full and port.up:
            self._poll_out(port, True)
        self._taken.append(ev.BlocksTaken(action.transfer, taken, full))

    def _lost(self, port: Port, error: LinkError) -> None:
        """Frames that a link refuses for good are lost frames; a smaller MTU is about to be announced, say."""
        port.refused += 1
        level = logging.WARNING if port.refused & (port.refused - 1) == 0 else logging.DEBUG
        _LOG.log(level, "interface %s: %s (%d times)", port.link.name, error, port.refused)

    def _poll_out(self, port: Port, on: bool) -> None:
        if port.polling_out != on:
            port.polling_out = on
            self.modify(port.link.fileno_tx(), select.EPOLLIN | (select.EPOLLOUT if on else 0))

    def _writable(self, port: Port) -> None:
        try:
            while port.queue:
                batch = list(port.queue)
                taken = port.link.send_frames(batch)
                for _ in range(taken):
                    port.queue.popleft()
                if taken < len(batch):
                    return
        except LinkDown:
            self.link_down(port.link.name)
            return
        except LinkError as err:
            port.queue.clear()
            self._lost(port, err)
        self._poll_out(port, False)
        self.submit(ev.LinkWritable(port.link.name))

    def close(self) -> None:
        for port in self.ports.values():
            self.unwatch(port.link.fileno())
            port.link.close()
        self.ports.clear()
        self._epoll.close()

    def drops(self) -> dict[str, int]:
        """Frames the core dropped, by reason."""
        return {DropReason(k).name.lower(): v for k, v in sorted(self.core.drops.items())}
