"""The simulation with a host and cards of the profile `paper`: the same network, the same virtual time."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from safhost.core import card as st
from safhost.core import events as ev
from safhost.core.cluster import Cluster
from safhost.core.config import CoreConfig
from safhost.core.paper import PaperCluster
from safhost.sim.network import Frames, Lengths
from safhost.sim.nodes import LINK, SimCard, SimHost
from safhost.sim.simulation import Simulation
from safhost.units import Mac
from safhost.wire.codec import Codec
from safhost.wire.generated import SUITE_NONE

SOLICIT_S = 0.1


class PaperHost(SimHost):
    """A host whose core is :class:`PaperCluster`: frames go to it as they came."""

    def __init__(self, sim: Simulation, name: str, mac: bytes, config: CoreConfig, rate_bytes_s: int, mtu: int,
                 entropy_seed: str, *rest: Any) -> None:
        super().__init__(sim, name, mac, config, rate_bytes_s, mtu, entropy_seed, *rest)
        # the same handle() and next_wakeup_ns(), which is all that a SimHost asks of its core
        self.cluster = cast(Cluster, PaperCluster(config, sim.entropy(entropy_seed), Codec()))

    def _control(self, raw: bytes) -> None:
        self._batch(np.frombuffer(raw, np.uint8)[None], np.array([len(raw)]))

    def _batch(self, frames: Frames, lengths: Lengths) -> None:
        self.feed(ev.BatchReceived(LINK, frames, lengths))


class PaperSimulation(Simulation):
    """As Simulation, of one host and cards that speak the paper's plain protocol."""

    host_class = PaperHost

    def __init__(self, seed: int, cards: int, card: dict[str, Any], **options: Any) -> None:
        super().__init__(seed, cards=cards, suite=SUITE_NONE, card={**card, "profile": "paper"}, **options)

    @staticmethod
    def paper_key(node: SimCard) -> str:
        """What the host calls a card: it has no serial in this profile."""
        return str(Mac.from_bytes(node.port.mac))

    def settle(self, timeout_s: float = 30.0, host: SimHost | None = None) -> None:
        """Until the host has heard of every card."""
        asked = host or self.host
        end_ns = self.now_ns + round(timeout_s * 1e9)

        def waiting() -> bool:
            known = asked.cluster.sessions.by_key
            return any(self.paper_key(node) not in known or known[self.paper_key(node)].state != st.AVAILABLE
                       for node in self.cards.values())

        while waiting() and self.now_ns < end_ns:
            asked.feed(ev.StartSolicit(0))
            self.run_for(SOLICIT_S)
        self.run_while(waiting, 0.0, "discovery of all cards")
