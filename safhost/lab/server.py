"""The lab inside its namespaces: topology, cards, role processes, daemon.

`requests` says what the control socket may ask of it.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import resource
import select
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING

from safhost import paths
from safhost.config import ClusterConfig, Config, load_config
from safhost.errors import ConfigError, DaemonError, LinkError
from safhost.lab.card import VirtualCard
from safhost.lab.card_types import CardConfig
from safhost.lab.card_verify import LeafCache
from safhost.lab.control import ControlServer
from safhost.lab.loop import Loop
from safhost.lab.ports import CardPort, CardSlot, ChassisPort
from safhost.lab.requests import Requests
from safhost.lab.role_pool import RolePool
from safhost.lab.roles import RoleBroker
from safhost.lab.rtl_build import build_card_library
from safhost.lab.rtl_card import QUEUE_BYTES, RtlCard, measure_receive_rate
from safhost.lab.state import (
    HOST_INTERFACE,
    MAX_CARDS,
    LabRecord,
    LabSpec,
    ProcessIdentity,
    config_file,
    keys_file,
)
from safhost.lab.supervise import DaemonSupervisor, daemon_command
from safhost.lab.timing import timing_named
from safhost.lab.topology import (
    CHASSIS_INTERFACE,
    HOST_PORT,
    card_interface,
    card_mac,
    card_serial,
    make_topology,
    wait_running,
)
from safhost.lab.wire import Wire
from safhost.link.packet import PacketLink
from safhost.link.watch import LinkChange, LinkWatcher
from safhost.runtime.keys import new_key, write_keys
from safhost.wire.codec import Codec
from safhost.wire.digest import leaves_at_once
from safhost.wire.generated import ETHERTYPES

if TYPE_CHECKING:
    from safhost.lab.process import Reporter

_LOG = logging.getLogger(__name__)
RUNNING_TIMEOUT_NS = 20_000_000_000
RING_BUDGET_BYTES = 320 << 20
RING_SLOTS = (512, 8192)
WINDOW_SHARE = {"bridge": 5 / 8, "chassis": 1 / 4}
"""A card says it takes this share of its ring at once: the rest is for commands, other transfers and other cards."""
RTL_WINDOW_SHARE = 1 / 8
RTL_WINDOW_S = 0.25
RTL_LEAST_WINDOW_BLOCKS = 16
"""The same of the queue before a simulated card, which several transfers share, and in time: what waits there delays
every command behind it. A host that hears nothing for a second asks again, and a simulated card takes all that came
in the meantime at line rate, more at once than its queue of commands holds."""

CHASSIS_RING_SLOTS = 16384
SPARE_KEYS = 64
"""Keys for cards that are plugged in later: the daemon reads its key file when it starts."""

CARD_ETHERTYPES = tuple(ETHERTYPES[name] for name in ("discovery", "image", "input", "control"))


class LabServer:
    """Everything of one lab. `start` builds it, `run` serves until it is stopped, `close` ends all."""

    def __init__(self, spec: LabSpec, record: LabRecord, reporter: Reporter) -> None:
        self.spec = spec
        self._record = record
        self._reporter = reporter
        self.loop = Loop(precise=spec.timing != "none")
        model = timing_named(spec.timing)
        self._timing = None if model is None else model.scaled(spec.time_scale, spec.pr_scale, spec.link_rate)
        self.started_ns = self.loop.clock()
        self.slots: dict[int, CardSlot] = {}
        self.ports: dict[str, CardPort | ChassisPort] = {}
        self.down: set[str] = set()
        self.impairments = spec.impairments
        self._codec = Codec()
        self._leaf_cache = LeafCache(at_once=leaves_at_once())
        self._keys: dict[str, bytes] = {}
        self.supervisor: DaemonSupervisor | None = None
        self._control: ControlServer | None = None
        self._failure: DaemonError | None = None
        self._signals = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.watcher = LinkWatcher()
        self.broker = RoleBroker(self.loop, RolePool())

    def start(self) -> None:
        """Build the lab, power the cards, start the daemon. Raises SafError; `close` undoes what was done."""
        spec = self.spec
        self._catch_signals()
        _raise_file_limit()
        self._reporter.send(step=f"building a {spec.topology}, cards: {spec.powered}")
        self._topology = make_topology(spec.topology, spec.mtu, spec.link_rate)
        if spec.suite:
            self._make_keys()
        if spec.rtl_cards:
            self._prepare_rtl()
        for number in range(1, spec.powered + spec.spare + 1):
            self.add_card(number)
            if number > spec.powered and spec.topology == "bridge":
                self._topology.pull(number)
                self.down.add(card_interface(number))
            if number > spec.powered and spec.spare_image_bytes:
                self.slots[number].card.memory.staging[0].populate(spec.spare_image_bytes)
        self.wait_running()
        self.watcher.read()
        self.loop.add(self.watcher.fileno(), select.EPOLLIN, self._on_link_change)
        self._control = ControlServer(paths.lab_socket(spec.name), self.loop, Requests(self).handle)
        for number, slot in self.slots.items():
            if number <= spec.powered:
                slot.power(self.loop.clock())
        if spec.daemon:
            self._reporter.send(step="starting the daemon")
            self._start_daemon()
        gc.collect()
        gc.freeze()  # what lives as long as the lab need not be looked at again

    def run(self) -> None:
        """Serve until stopped. Raises DaemonError when the daemon cannot be started at all."""
        if self.supervisor is None:
            self._report_ready()
        self.loop.run()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End daemon and workers and close everything; may be called after a failed `start`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it is ending already
        if self.supervisor is not None:
            self.supervisor.stop()
        self.broker.close()
        for slot in self.slots.values():
            if isinstance(slot.card, RtlCard):
                self.loop.remove(slot.card.fileno())
                slot.card.close()
        for port in self.ports.values():
            port.close()
        self.loop.remove(self.watcher.fileno())
        self.watcher.close()
        if self._control is not None:
            self._control.close()
        self.loop.close()
        os.close(self._signals)

    def _catch_signals(self) -> None:
        self.loop.add(self._signals, select.EPOLLIN, lambda _mask, _now: self.loop.stop())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: os.eventfd_write(self._signals, 1))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _report_ready(self) -> None:
        _LOG.info("lab %s is up: %d cards, %s", self.spec.name, len(self.slots), self.spec.topology)
        self._reporter.send(ready=Requests(self).status())
        self._reporter.close()

    def _make_keys(self) -> None:
        numbers = range(1, min(self.spec.powered + self.spec.spare + SPARE_KEYS, MAX_CARDS[self.spec.topology]) + 1)
        self._keys = {card_serial(n): new_key() for n in numbers}
        write_keys(keys_file(self.spec.name), self._keys)

    def add_card(self, number: int) -> CardSlot:
        """A new card on a port of its own or in the chassis, without power. Raises SafError."""
        spec = self.spec
        serial = card_serial(number)
        if spec.suite and serial not in self._keys:
            raise ConfigError(f"there is no key for card {serial}",
                              "a lab with suite 1 has keys for its first cards and "
                              f"{SPARE_KEYS} more: start it again with more cards")
        name = self._topology.add_card(number)
        port = self.ports.get(name)
        link = port.link if port is not None else PacketLink(
            name, ethertypes=CARD_ETHERTYPES, promiscuous=spec.topology == "chassis", ring_bytes=self.ring_bytes())
        config = CardConfig(serial=serial, mac=card_mac(number), mac1=card_mac(number, 1), mtu=spec.mtu,
                            card_key=self._keys.get(serial), timing=self._timing,
                            profile=spec.profile, image_slots=spec.image_slots,
                            window_blocks=int(link.ring_slots * WINDOW_SHARE[spec.topology]), compile_first=True)
        card = self._rtl_card(config) if number <= spec.rtl_cards \
            else VirtualCard(config, self._codec, os.urandom, self._leaf_cache)
        slot = CardSlot(number, card, self.loop, self.broker, Wire(self.impairments, spec.seed, number))
        if isinstance(card, RtlCard):
            self.loop.add(card.fileno(), select.EPOLLIN, lambda _mask, now_ns: slot.settle(now_ns))
        if spec.topology == "bridge":
            self.ports[name] = CardPort(link, self.loop, slot)
        else:
            if port is None:
                port = self.ports[name] = ChassisPort(link, self.loop)
            assert isinstance(port, ChassisPort)
            port.add(slot)
        self.slots[number] = slot
        return slot

    def _prepare_rtl(self) -> None:
        """The library, and how fast cards of it are here. It was built before this process was started."""
        self._library = build_card_library(on_progress=lambda line: self._reporter.send(step=line))
        self._reporter.send(step="measuring the simulation's speed")
        self._rtl_rate = measure_receive_rate(self._library, self.spec.rtl_cards)

    def _rtl_card(self, config: CardConfig) -> RtlCard:
        """A card simulated from RTL, which says in its HELLO what the simulation takes."""
        window_bytes = int(min(RTL_WINDOW_SHARE * QUEUE_BYTES, RTL_WINDOW_S * self._rtl_rate))
        blocks = min(config.window_blocks, max(RTL_LEAST_WINDOW_BLOCKS, window_bytes // config.mtu))
        config = dataclasses.replace(config, receive_rate=self._rtl_rate, window_blocks=blocks, timing=None)
        return RtlCard(config, self._library, os.urandom,
                       on_error=lambda text: _LOG.error("%s: %s", config.serial, text))

    def ring_bytes(self) -> int:
        """A ring holds what arrives while all other cards are served, within the memory all may take."""
        slot_bytes = self.spec.mtu + 192
        if self.spec.ring_slots:
            return self.spec.ring_slots * slot_bytes
        if self.spec.topology == "chassis":
            return min(CHASSIS_RING_SLOTS * slot_bytes, RING_BUDGET_BYTES)
        least, most = RING_SLOTS
        share = RING_BUDGET_BYTES // slot_bytes // (self.spec.powered + self.spec.spare)
        return max(least, min(most, share)) * slot_bytes

    def wait_running(self) -> None:
        """Until all interfaces whose cable is in have carrier. Raises DeadlineExceeded."""
        wait_running(self.watcher, self._interfaces(), self.loop.clock() + RUNNING_TIMEOUT_NS)

    def _interfaces(self) -> list[str]:
        if self.spec.topology == "chassis":
            return [HOST_INTERFACE, CHASSIS_INTERFACE]
        names = [name for name in self.ports if name not in self.down]
        return [HOST_INTERFACE, HOST_PORT, *names, *(name + "p" for name in names)]

    def port_of(self, number: int) -> CardPort | ChassisPort:
        """The port that carries this card."""
        return self.ports[card_interface(number) if self.spec.topology == "bridge" else CHASSIS_INTERFACE]

    def plug(self, numbers: Iterable[int]) -> None:
        """Put the cables of these cards back in, wait for carrier, and power them."""
        numbers = list(numbers)
        for number in numbers:
            self._topology.plug(number)
            self.down.discard(self.port_of(number).link.name)
        self.wait_running()
        now_ns = self.loop.clock()
        for number in numbers:
            slot, port = self.slots[number], self.port_of(number)
            if isinstance(port, ChassisPort):
                slot.power(now_ns)
            elif not slot.plugged:
                self._reconnect(port, [slot], now_ns)

    def unplug(self, numbers: Iterable[int]) -> None:
        """Pull the cables of these cards."""
        for number in numbers:
            port = self.port_of(number)
            if isinstance(port, CardPort):
                self.down.add(port.link.name)
                port.outlet.clear()
            self._topology.pull(number)
            self.slots[number].cut(self.loop.clock())

    def _on_link_change(self, _mask: int, now_ns: int) -> None:
        """Somebody sets interfaces up and down in here: cables, as far as the cards are concerned."""
        for event in self.watcher.read():
            port = self.ports.get(event.name)
            if port is None:
                continue
            slots = [port.slot] if isinstance(port, CardPort) else list(self.slots.values())
            if event.change is LinkChange.DOWN:
                for slot in slots:
                    slot.cut(now_ns)
                port.outlet.clear()
            elif event.change is LinkChange.UP and event.name not in self.down:
                self._reconnect(port, slots, now_ns)

    def _reconnect(self, port: CardPort | ChassisPort, slots: Iterable[CardSlot], now_ns: int) -> None:
        try:
            port.rebind()
        except LinkError as err:
            _LOG.warning("%s stays disconnected: %s", port.link.name, err)
            return
        for slot in slots:
            slot.power(now_ns)

    def _start_daemon(self) -> None:
        spec = self.spec
        configured = load_config().clusters.get(spec.name) or ClusterConfig(spec.name)
        cluster = dataclasses.replace(configured, interfaces=(HOST_INTERFACE,), suite=spec.suite,
                                      keys=keys_file(spec.name) if spec.suite else None, profile=spec.profile,
                                      mtu=None, link_rate=spec.link_rate or configured.link_rate)
        path = config_file(spec.name)
        path.write_text(Config({spec.name: cluster}, spec.name).to_yaml())
        self.supervisor = DaemonSupervisor(
            self.loop, daemon_command(HOST_INTERFACE, spec.name, path), os.environ,
            socket_path=paths.daemon_socket(spec.name),
            log_path=paths.cluster_state_dir(spec.name) / "daemon.log", on_change=self._on_daemon_change)
        self.supervisor.start()

    def _on_daemon_change(self) -> None:
        supervisor = self.supervisor
        if supervisor is None:
            return
        if supervisor.ready and self._reporter.is_open:
            self._report_ready()
        elif supervisor.identity is None and self._reporter.is_open:
            self._failure = DaemonError(f"the daemon does not start ({supervisor.last_exit}): "
                                        f"{supervisor.last_words()}", f"see {supervisor.log_path}")
            self.loop.stop()
        self._write_record()

    def _write_record(self) -> None:
        """So that whoever cleans up after a crash of this process knows what it had started."""
        pids = self.broker.pool.worker_pids()
        children = [c for c in map(ProcessIdentity.of, pids) if c is not None]
        if self.supervisor is not None and self.supervisor.identity is not None:
            children.append(self.supervisor.identity)
        dataclasses.replace(self._record, children=tuple(children)).write()


def _raise_file_limit() -> None:
    """Each card has a socket and a memory of its own."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
