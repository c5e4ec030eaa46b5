"""A cluster in virtual time: hosts, cards and network driven by one queue of things to happen."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from itertools import count
from typing import Any

import numpy as np

from safhost.core import card as st
from safhost.core import events as ev
from safhost.core.actions import RequestEnded
from safhost.core.card import Card
from safhost.core.config import CoreConfig
from safhost.lab.card import VirtualCard
from safhost.lab.card_types import CardConfig
from safhost.lab.card_verify import LeafCache
from safhost.plan.blocks import block_bytes_for, plan_pieces
from safhost.plan.layout import decode_arguments
from safhost.sim.disk import IDENTITY, SimDisk, decode_identity, encode_identity
from safhost.sim.faults import Impairment
from safhost.sim.forger import Forger
from safhost.sim.images import SimImage, plan_unit, three
from safhost.sim.network import SWITCH_BUFFER_BYTES, Network, Port
from safhost.sim.nodes import LINK, SimCard, SimHost
from safhost.sim.observe import Hooks, Observer
from safhost.units import Mac
from safhost.wire.codec import Codec
from safhost.wire.digest import leaf_digests, root_digest
from safhost.wire.generated import DDR_MAX_BLOCKS, KEY_BYTES, SUITE_BLAKE2S

NS = 1_000_000_000
HOST_MAC = 0x025A00FE0000
CARD_MAC = 0x025A00000000
MAX_STEPS = 20_000_000


class SimulationStuck(AssertionError):
    """What was waited for did not happen in the virtual time, or in the number of steps, given."""


class Simulation:
    """``cards`` virtual cards c01, c02 … and one host, all plugged in at time 0.

    ``suite`` is the cluster's and the cards'; ``impairment`` that of every card's port (each direction by
    itself). ``card`` and ``core`` override fields of CardConfig and CoreConfig. ``observers`` look on from the very
    beginning. ``hosts`` has the living process of each host, or its last one while it is down.
    """

    host_class: type[SimHost] = SimHost

    def __init__(self, seed: int, cards: int = 1, suite: int = SUITE_BLAKE2S,
                 impairment: Impairment | None = None, mtu: int = 1500, rate_bytes_s: int = 1_250_000_000,
                 kernel_ns: int = 50_000, card: dict[str, Any] | None = None,
                 core: dict[str, Any] | None = None, observers: Iterable[Observer] = (),
                 max_steps: int = MAX_STEPS) -> None:
        self.seed = seed
        self.suite = suite
        self.mtu = mtu
        self.rate_bytes_s = rate_bytes_s
        self.kernel_ns = kernel_ns
        self.clean = Impairment()
        self.impairment = impairment or self.clean
        self.now_ns = 0
        self.steps = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._requests = count(1)
        self.max_steps = max_steps
        self.hooks = Hooks()
        for observer in observers:
            self.observe(observer)
        self.network = Network(self, np.random.default_rng(seed), self.hooks)
        self.cache = LeafCache()
        self._card_options = {"ddr_bytes": 64 << 20, "image_slot_bytes": 64 << 20} | (card or {})
        self._core_options = core or {}
        self.cards: dict[str, SimCard] = {}
        self.keys: dict[str, bytes] = {}
        self.hosts: list[SimHost] = []
        self._host_options: list[dict[str, Any]] = []
        self._processes = 0
        self._forgers = 0
        for _ in range(cards):
            self.add_card()
        self.add_host(**self._core_options)

    @property
    def host(self) -> SimHost:
        """The first host's process."""
        return self.hosts[0]

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` from now on what happens."""
        observer.attach(self)
        self.hooks.add(observer)

    # -- building ------------------------------------------------------------------------------------------

    def entropy(self, name: str) -> Callable[[int], bytes]:
        """A stream of bytes of its own for each name."""
        return random.Random(f"{self.seed}/{name}").randbytes

    def add_card(self, known: bool = True, **options: Any) -> SimCard:
        """Plug one more card in; ``known`` False: its key is in nobody's key file."""
        number = len(self.cards) + 1
        key = f"c{number:02d}"
        chosen = self._card_options | options
        if "card_key" not in chosen:
            chosen["card_key"] = self.entropy(f"key {key}")(KEY_BYTES) if self.suite == SUITE_BLAKE2S else None
        config = CardConfig(serial=key, mac=Mac(CARD_MAC + number), mtu=chosen.pop("mtu", self.mtu), **chosen)
        if known and config.card_key is not None:
            self.keys[key] = config.card_key
            for host in self.hosts:
                host.feed(ev.KeysChanged(dict(self.keys)))
        virtual = VirtualCard(config, Codec(), self.entropy(f"card {key}"), self.cache)
        node = SimCard(self, key, virtual, bytes(config.mac), self.kernel_ns)
        self.cards[key] = node
        virtual.link_up(self.now_ns)
        node.settle()
        return node

    def add_host(self, mac: bytes | None = None, **core: Any) -> SimHost:
        """One more host with a core and a disk of its own, on the same network; ``core`` overrides CoreConfig
        fields."""
        number = len(self.hosts)
        options: dict[str, Any] = {"owner": 0x1000 + number, "generation": 1} | core
        disk = SimDisk()
        disk.content[IDENTITY] = encode_identity(options["owner"], options["generation"] - 1)
        self._host_options.append(options)
        return self._start_host(number, mac or (HOST_MAC + number).to_bytes(6, "big"), disk, None)

    def _start_host(self, number: int, mac: bytes, disk: SimDisk, port: Port | None,
                    then: tuple[int, ...] = (), down_ns: int = 0) -> SimHost:
        """A process of host ``number``, which knows what is on its disk and in its configuration, and no more."""
        owner, generation = decode_identity(disk.read(IDENTITY))
        options = {"suite": self.suite, **self._host_options[number], "owner": owner, "generation": generation + 1}
        options["keys"] = dict(options.get("keys") or self.keys)
        stream = f"host {number}" if port is None else f"host {number}/{self._processes}"
        self._processes += 1
        host = self.host_class(self, f"host{number}", mac, CoreConfig(**options), self.rate_bytes_s, self.mtu,
                               stream, disk, port)
        self.hosts[number:number + 1] = [host]
        if then:
            host.crash_after(then[0], down_ns, then[1:])
        host.boot()
        return self.hosts[number]

    def crash_host(self, host: SimHost | None = None, down_ns: int = NS, then: tuple[int, ...] = ()) -> None:
        """The host's process dies now; after ``down_ns`` a new one starts from the disk alone: same owner, same
        address. For ``then`` see SimHost.crash_after. No more than stopping it when it is down already."""
        dead = host or self.host
        if dead.stopped:
            return
        dead.stop()
        number = self.hosts.index(dead)
        lost = tuple(sorted(dead.started - dead.ended.keys()))
        self.tell_fault(f"{dead.name} dies after boundary {dead.boundaries}, down for {down_ns / NS:.3f} s")
        for hook in self.hooks.host_crash:
            hook(dead, lost)
        self.at(self.now_ns + down_ns,
                lambda: self._revive(number, dead, then, down_ns))

    def _revive(self, number: int, dead: SimHost, then: tuple[int, ...], down_ns: int) -> None:
        if self.hosts[number] is dead:
            self._start_host(number, dead.mac, dead.disk, dead.port, then, down_ns)

    def add_forger(self, rate_hz: float, kinds: tuple[str, ...] = ()) -> Forger:
        """An attacker on the switch, ``rate_hz`` attacks a second on average; see safhost.sim.forger."""
        self._forgers += 1
        return Forger(self, rate_hz, kinds, f"forger {self._forgers}")

    def restart_host(self, generation: int | None = None, host: SimHost | None = None) -> SimHost:
        """The host's process dies and starts anew at once: same owner, same address, and with ``generation``, whatever
        its disk says of it."""
        old = host or self.host
        owner, _ = decode_identity(old.disk.read(IDENTITY))
        if generation is not None:
            old.disk.content[IDENTITY] = encode_identity(owner, generation - 1)
        number = self.hosts.index(old)
        if not old.stopped:
            self.crash_host(old)
        return self._start_host(number, old.mac, old.disk, old.port)

    # -- time ----------------------------------------------------------------------------------------------

    def at(self, time_ns: int, action: Callable[[], None]) -> None:
        """Have ``action`` happen at ``time_ns``; what is due together happens in the order it was asked for."""
        heapq.heappush(self._queue, (max(time_ns, self.now_ns), next(self._order), action))

    def step(self) -> bool:
        """Let the next thing happen; False when nothing ever will."""
        if not self._queue:
            return False
        self.steps += 1
        if self.steps > self.max_steps:
            raise SimulationStuck(f"seed {self.seed}: {self.max_steps} steps at {self.now_ns / NS:.6f} s")
        self.now_ns, _, action = heapq.heappop(self._queue)
        action()
        return True

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now_ns + round(seconds * NS)
        while self._queue and self._queue[0][0] <= end:
            self.step()
        self.now_ns = max(self.now_ns, end)

    def run_while(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Go on while ``condition()`` holds. Raises SimulationStuck after ``timeout_s`` of virtual time."""
        end = self.now_ns + round(timeout_s * NS)
        while condition():
            if not self._queue or self._queue[0][0] > end:
                raise SimulationStuck(f"seed {self.seed}: {what} not within {timeout_s} s "
                                      f"(now {self.now_ns / NS:.6f} s)")
            self.step()

    def run_until(self, request: int, timeout_s: float = 300.0, host: SimHost | None = None) -> RequestEnded:
        """Until the request ended, however it did."""
        ended = (host or self.host).ended
        self.run_while(lambda: request not in ended, timeout_s, f"request {request}")
        return ended[request]

    def settle(self, timeout_s: float = 30.0, host: SimHost | None = None) -> None:
        """Until the host, whichever process of it lives then, has a session with every card."""
        name = (host or self.host).name

        def waiting() -> bool:
            process = self._host(name)
            known = process.cluster.sessions.by_key
            return process.stopped or any(k not in known or known[k].state != st.AVAILABLE for k in self.cards)

        self.run_while(waiting, timeout_s, "sessions with all cards")

    # -- asking --------------------------------------------------------------------------------------------

    def start(self, event: Any, host: SimHost | None = None) -> int:
        """Give a ``Start…`` event to the core under a request number of its own; returns that. Raises ValueError when
        the host is down."""
        request = next(self._requests)
        if any(f.name == "request" for f in fields(event)):
            event = replace(event, request=request)
        asked = host or self.host
        if asked.stopped:
            raise ValueError(f"{asked.name} is down: nobody is there to ask")
        if hasattr(event, "request"):
            asked.started.add(request)
            for hook in self.hooks.request_started:
                hook(asked, request, event)
        asked.feed(event)
        return request

    def program(self, image: SimImage, cards: tuple[str, ...] = (), host: SimHost | None = None,
                **options: Any) -> int:
        """Start to program ``cards`` (all when empty)."""
        event = ev.StartProgram(0, cards or tuple(self.cards), image.payload, image.leaves, image.digest,
                                image.pr_compat_id, **options)
        return self.start(event, host)

    def run(self, image: SimImage, kernel: str, block: bytes, cards: tuple[str, ...] = (), deadline_ms: int = 0,
            group: bool = False, host: SimHost | None = None) -> int:
        """Start one kernel with a ready argument block; its work size is that of kernel.yaml."""
        index, spec = image.kernel(kernel)
        size = decode_arguments(spec, block, 1 << 40).global_size
        return self.start(ev.StartRun(0, cards or tuple(self.cards), index, block, three(size), work_dim=len(size),
                                      deadline_ms=deadline_ms, group=group), host)

    def write(self, data: np.ndarray[Any, Any], address: int, cards: tuple[str, ...] = (),
              prefer_bytes: int | None = None, host: SimHost | None = None, **options: Any) -> int:
        """Start to write an array to ``cards`` (all when empty), in pieces of about ``prefer_bytes``."""
        payload = np.frombuffer(data.tobytes(), np.uint8)
        pieces = []
        for piece in plan_pieces(len(payload), address, block_bytes_for(self.mtu), DDR_MAX_BLOCKS, prefer_bytes):
            leaves = leaf_digests(payload[piece.offset:piece.offset + piece.length].data)
            pieces.append((piece.offset, piece.length, leaves, root_digest(leaves)))
        event = ev.StartWrite(0, cards or tuple(self.cards), address, payload, tuple(pieces), **options)
        return self.start(event, host)

    def unit(self, image: SimImage, kernel: str, *arrays: np.ndarray[Any, Any], cards: tuple[str, ...] = (),
             deadline_ms: int = 0, host: SimHost | None = None) -> tuple[int, np.ndarray[Any, Any]]:
        """Start a work unit of one kernel; returns (request, the array its first output will be in)."""
        index, spec = image.kernel(kernel)
        plan = plan_unit(spec, arrays)
        event = ev.StartUnit(0, image.digest, index, plan.memory, plan.inputs, plan.outputs, plan.block,
                             plan.relocations, three(plan.global_size), work_dim=len(plan.global_size),
                             deadline_ms=deadline_ms, cards=cards)
        return self.start(event, host), plan.result

    def view(self, key: str, host: SimHost | None = None) -> Card:
        """What the host knows of a card."""
        return (host or self.host).cluster.sessions.by_key[key]

    # -- faults --------------------------------------------------------------------------------------------

    def tell_fault(self, text: str) -> None:
        """Say to observers what is about to be done to the cluster."""
        for hook in self.hooks.fault:
            hook(text)

    def port(self, name: str) -> Port:
        """The port of a card (its key) or of a host (``host0``)."""
        if name in self.cards:
            return self.cards[name].port
        return self._host(name).port

    def _host(self, name: str) -> SimHost:
        return next(h for h in self.hosts if h.name == name)

    def impair(self, name: str, impairment: Impairment, direction: str = "both") -> None:
        """Change the faults of the port of a card or host: ``in`` to it, ``out`` from it, or ``both``."""
        if direction not in ("both", "in", "out"):
            raise ValueError(f"direction {direction!r}: both, in or out")
        self.tell_fault(f"{name} {direction}: {impairment}")
        port = self.port(name)
        if direction != "out":
            port.incoming.impairment = impairment
        if direction != "in":
            port.outgoing.impairment = impairment

    def partition(self, side_a: str | Iterable[str], side_b: str | Iterable[str], both: bool = True) -> None:
        """Nothing passes any more from the ports ``side_a`` (names of cards and hosts) to ``side_b``; with ``both``
        nor back."""
        ones, others = ([side] if isinstance(side, str) else list(side) for side in (side_a, side_b))
        self.tell_fault(f"partition {' '.join(ones)} {'|' if both else '-/>'} {' '.join(others)}")
        self.network.partition(ones, others, both)

    def heal(self) -> None:
        """End all partitions."""
        self.tell_fault("partitions end")
        self.network.heal()

    def slow_port(self, name: str, rate_bytes_s: int, buffer_bytes: int = SWITCH_BUFFER_BYTES) -> None:
        """The port has another rate in both directions; what its switch cannot keep of what comes faster is lost.
        0: as it was."""
        self.tell_fault(f"{name}: port at {rate_bytes_s or self.rate_bytes_s} bytes/s")
        port = self.port(name)
        port.rate_bytes_s = rate_bytes_s or self.rate_bytes_s
        port.downlink_bytes_s, port.buffer_bytes = rate_bytes_s, buffer_bytes

    def flap(self, name: str, times: int, down_ns: int, up_ns: int) -> None:
        """The cable goes out now for ``down_ns``, ``times`` times with ``up_ns`` between; it ends plugged in."""
        def down(left: int) -> None:
            self.unplug(name)
            self.at(self.now_ns + down_ns, lambda: up(left - 1))

        def up(left: int) -> None:
            self.plug(name)
            if left > 0:
                self.at(self.now_ns + up_ns, lambda: down(left))

        down(times)

    def inject(self, key: str, fault: str, **params: object) -> None:
        """A fault of the card model (safhost.lab.card_faults)."""
        self.tell_fault(f"{key}: {fault} {params or ''}".rstrip())
        self.cards[key].card.inject(fault, **params)
        self.cards[key].card.tick(self.now_ns)
        self.cards[key].settle()

    def crash(self, key: str, **params: object) -> None:
        """The card dies now, or in a ``state``; it comes back after ``restart_ms``, without that never."""
        if "state" not in params:
            self.cards[key].port.cut(self.now_ns)
        self.inject(key, "crash", **params)

    def reboot(self, key: str) -> None:
        """The card loses everything and starts anew."""
        self.tell_fault(f"{key}: reboot")
        self.cards[key].port.cut(self.now_ns)
        self.cards[key].card.reboot(self.now_ns)
        self.cards[key].settle()

    def unplug(self, name: str) -> None:
        """Pull the cable of a card or a host; what is at its end lives on."""
        self.tell_fault(f"{name}: cable out")
        port = self.port(name)
        port.plugged = False
        port.cut(self.now_ns)
        if name in self.cards:
            self.cards[name].card.link_down(self.now_ns)
            self.cards[name].settle()
        else:
            self._host(name).feed(ev.LinkWentDown(LINK))

    def plug(self, name: str) -> None:
        """Put the cable back."""
        self.tell_fault(f"{name}: cable in")
        self.port(name).plugged = True
        if name in self.cards:
            self.cards[name].card.link_up(self.now_ns)
            self.cards[name].settle()
        else:
            host = self._host(name)
            host.feed(ev.LinkCameUp(LINK, host.mac, host.mtu))

    # -- checks --------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Assert the invariants of every core that still runs."""
        for host in self.hosts:
            if not host.stopped:
                host.cluster.validate()

    def close(self) -> None:
        """Give the cards' memory back."""
        for node in self.cards.values():
            node.card.close()
