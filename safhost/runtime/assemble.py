"""Put a cluster's host together: identity, keys, core, links, service. For the daemon and for clients alike."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence

from safhost import paths
from safhost.config import ClusterConfig
from safhost.core.cluster import Cluster
from safhost.core.config import CoreConfig
from safhost.core.paper import PaperCluster
from safhost.errors import ConfigError, LinkError
from safhost.link.interfaces import candidates_hint
from safhost.link.packet import PacketLink
from safhost.link.watch import LinkChange, LinkWatcher
from safhost.runtime.engine import Engine
from safhost.runtime.identity import Identity, Names
from safhost.runtime.keys import read_keys
from safhost.runtime.manifests import Manifests
from safhost.runtime.service import Service
from safhost.version import __version__
from safhost.wire.codec import Codec
from safhost.wire.generated import ETHERTYPES_C2H

_LOG = logging.getLogger("safhost.host")
RING_BYTES = 16 << 20  # more than the read window, so that answers of many cards at once are not lost
SMALLEST_READ_BYTES = 64 * 1024
READ_WINDOW_S = 0.032
"""Of the link's rate, what all cards together are asked for at once. It waits in switch queues before commands'
answers do, so this is also how late those may become; 4 MiB at 1 Gbit/s."""


def _link_limits(rate_bytes_s: int | None) -> dict[str, int]:
    """What of a `CoreConfig` follows from what the links carry; nothing when that is not configured."""
    if not rate_bytes_s:
        return {}
    default = CoreConfig(owner=0, generation=0)
    window = min(default.read_window_bytes, max(SMALLEST_READ_BYTES, round(rate_bytes_s * READ_WINDOW_S)))
    return {"link_rate_bytes_s": rate_bytes_s, "read_window_bytes": window,
            "read_chunk_bytes": min(default.read_chunk_bytes, max(SMALLEST_READ_BYTES, window // 8))}


class Host:
    """Everything of one cluster that runs in this process."""

    def __init__(self, config: ClusterConfig, interfaces: Sequence[str], *, local: bool = False,
                 takeover: bool = False) -> None:
        if not interfaces:
            with contextlib.suppress(LinkError):
                raise ConfigError("no interface was named; nothing is sent on an interface nobody named",
                                  f"name one with -i ({candidates_hint()})")
            raise ConfigError("no interface was named", "name one with -i IFACE")
        state = paths.cluster_state_dir(config.name)
        codec = Codec(config.ethertypes)
        types = [codec.outgoing(t) for t in ETHERTYPES_C2H]
        self._config = config
        with contextlib.ExitStack() as stack:
            self._watcher = LinkWatcher()  # first, so that no change of an interface falls between
            stack.callback(self._watcher.close)
            links = []
            for name in dict.fromkeys(interfaces):
                links.append(PacketLink(name, ethertypes=types, ring_bytes=RING_BYTES))
                stack.callback(links[-1].close)
            identity = Identity(state, config.owner)
            names = Names(state, config.names, config.groups)
            kind = PaperCluster if config.profile == "paper" else Cluster
            core = kind(CoreConfig(owner=identity.owner, generation=identity.generation, suite=config.suite,
                                   keys=read_keys(config.keys_path) if config.suite else {}, auto_open=not local,
                                   takeover=takeover, **_link_limits(config.link_rate)), os.urandom, codec)
            self.engine = Engine(core, time.monotonic_ns)
            self.service = Service(self.engine, config, identity, names, Manifests(state / "manifests"), __version__,
                                   local)
            stack.callback(self.service.close)
            for link in links:
                self.engine.add_link(link, config.mtu)
            self.engine.watch(self._watcher.fileno(), lambda _mask: self._on_link_events())
            stack.pop_all()

    def _on_link_events(self) -> None:
        for event in self._watcher.read():
            if event.name not in self.engine.ports:
                continue
            if event.change in (LinkChange.DOWN, LinkChange.REMOVED):
                self.engine.link_down(event.name)
            elif event.change in (LinkChange.UP, LinkChange.CHANGED) and event.is_running:
                self.engine.link_up(event.name, self._config.mtu)

    def close(self) -> None:
        self.engine.unwatch(self._watcher.fileno())
        self._watcher.close()
        self.service.close()
        self.engine.close()


