"""A cluster in virtual time: hosts, cards and network driven by one queue of things to happen."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
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
from safhost.sim.images import SimImage, plan_unit, three
from safhost.sim.network import Impairment, Network
from safhost.sim.nodes import LINK, SimCard, SimHost
from safhost.units import Mac
from safhost.wire.codec import Codec
from safhost.wire.digest import leaf_digests, root_digest
from safhost.wire.generated import DDR_MAX_BLOCKS, KEY_BYTES, SUITE_BLAKE2S

NS = 1_000_000_000
HOST_MAC = 0x025A00FE0000
CARD_MAC = 0x025A00000000
MAX_STEPS = 20_000_000


class SimulationStuck(AssertionError):
    """What was waited for did not happen in the virtual time given."""


class Simulation:
    """``cards`` virtual cards c01, c02 … and one host, all plugged in at time 0.

    ``suite`` is the cluster's and the cards'; ``impairment`` that of every card's port (each direction by
    itself). ``card`` and ``core`` override fields of CardConfig and CoreConfig.
    """

    def __init__(self, seed: int, cards: int = 1, suite: int = SUITE_BLAKE2S,
                 impairment: Impairment | None = None, mtu: int = 1500, rate_bytes_s: int = 1_250_000_000,
                 kernel_ns: int = 50_000, card: dict[str, Any] | None = None,
                 core: dict[str, Any] | None = None) -> None:
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
        self.network = Network(self, np.random.default_rng(seed))
        self.cache = LeafCache()
        self._card_options = {"ddr_bytes": 64 << 20, "image_slot_bytes": 64 << 20} | (card or {})
        self._core_options = core or {}
        self.cards: dict[str, SimCard] = {}
        self.keys: dict[str, bytes] = {}
        self.hosts: list[SimHost] = []
        for _ in range(cards):
            self.add_card()
        self.host = self.add_host(**self._core_options)

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
        """One more host with a core of its own, on the same network; ``core`` overrides CoreConfig fields."""
        number = len(self.hosts)
        options: dict[str, Any] = {"owner": 0x1000 + number, "generation": 1, "suite": self.suite,
                                   "keys": dict(self.keys)} | core
        host = SimHost(self, f"host{number}", mac or (HOST_MAC + number).to_bytes(6, "big"), CoreConfig(**options),
                       self.rate_bytes_s, self.mtu, f"host {number}")
        self.hosts.append(host)
        host.feed(ev.LinkCameUp(LINK, host.mac, self.mtu))
        return host

    def restart_host(self, generation: int) -> SimHost:
        """The host's process dies and starts anew with a higher generation: same owner, same address."""
        old = self.host
        old.stop()
        self.network.ports.remove(old.port)
        self.host = self.add_host(mac=old.mac, **({**self._core_options, "owner": old.cluster.config.owner,
                                                   "generation": generation}))
        return self.host

    # -- time ----------------------------------------------------------------------------------------------

    def at(self, time_ns: int, action: Callable[[], None]) -> None:
        """Have ``action`` happen at ``time_ns``; what is due together happens in the order it was asked for."""
        heapq.heappush(self._queue, (max(time_ns, self.now_ns), next(self._order), action))

    def step(self) -> bool:
        """Let the next thing happen; False when nothing ever will."""
        if not self._queue:
            return False
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise SimulationStuck(f"seed {self.seed}: {MAX_STEPS} steps at {self.now_ns / NS:.6f} s")
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
        """Until the host has a session with every card."""
        sessions = (host or self.host).cluster.sessions

        def waiting() -> bool:
            return any(k not in sessions.by_key or sessions.by_key[k].state != st.AVAILABLE for k in self.cards)

        self.run_while(waiting, timeout_s, "sessions with all cards")

    # -- asking --------------------------------------------------------------------------------------------

    def start(self, event: Any, host: SimHost | None = None) -> int:
        """Give a ``Start…`` event to the core under a request number of its own; returns that."""
        request = next(self._requests)
        if any(f.name == "request" for f in fields(event)):
            event = replace(event, request=request)
        (host or self.host).feed(event)
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

    def impair(self, key: str, impairment: Impairment) -> None:
        """Change the faults of one card's port."""
        self.cards[key].port.impairment = impairment

    def inject(self, key: str, fault: str, **params: object) -> None:
        """A fault of the card model (safhost.lab.card_faults)."""
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
        self.cards[key].port.cut(self.now_ns)
        self.cards[key].card.reboot(self.now_ns)
        self.cards[key].settle()

    def unplug(self, key: str) -> None:
        """Pull the cable; the card lives on."""
        node = self.cards[key]
        node.port.plugged = False
        node.port.cut(self.now_ns)
        node.card.link_down(self.now_ns)
        node.settle()

    def plug(self, key: str) -> None:
        """Put the cable back."""
        node = self.cards[key]
        node.port.plugged = True
        node.card.link_up(self.now_ns)
        node.settle()

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
