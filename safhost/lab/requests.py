"""What the control socket may ask of a lab: status, plug, unplug, fault, impair, daemon, stop."""

from __future__ import annotations

import dataclasses
import logging
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safhost import paths
from safhost.errors import ConfigError, DaemonError
from safhost.lab.card_faults import FAULTS
from safhost.lab.ports import CardSlot
from safhost.lab.state import HOST_INTERFACE, MAX_CARDS, Impairments
from safhost.lab.timing import describe_timing
from safhost.lab.topology import HOST_MAC, card_serial, select_cards

if TYPE_CHECKING:
    from safhost.lab.server import LabServer

_LOG = logging.getLogger(__name__)


class Requests:
    """Serves requests on one lab. Arguments come from JSON; SafErrors go back as answers."""

    def __init__(self, lab: LabServer) -> None:
        self._lab = lab

    def handle(self, name: str, arguments: dict[str, Any]) -> Any:
        """Serve one request. Raises SafError."""
        actions = {"status": self.status, "plug": self.plug, "unplug": self.unplug, "fault": self.fault,
                   "faults": self.faults, "impair": self.impair, "daemon": self.daemon, "stop": self.stop}
        action: Any = actions.get(name)
        if action is None:
            raise DaemonError(f"a lab cannot do {name!r}", f"it can: {', '.join(actions)}")
        return action(**arguments)

    def stop(self) -> dict[str, Any]:
        """End the lab after this answer."""
        self._lab.loop.stop()
        return {"name": self._lab.spec.name, "state": "stopping"}

    def plug(self, cards: list[str] | None = None, new: int = 0) -> dict[str, Any]:
        """Put the cables of ``cards`` back in, and add ``new`` cards."""
        lab = self._lab
        numbers = select_cards(cards, lab.slots) if cards else []
        if new < 0 or len(lab.slots) + new > MAX_CARDS[lab.spec.topology]:
            raise ConfigError(f"{new} more cards do not fit",
                              f"a {lab.spec.topology} takes {MAX_CARDS[lab.spec.topology]}")
        first = max(lab.slots, default=0) + 1
        added = [lab.add_card(number) for number in range(first, first + new)]
        lab.plug(numbers)  # waits for the new interfaces too
        for slot in added:
            slot.power(lab.loop.clock())
        return {"plugged": [card_serial(n) for n in numbers], "added": [s.serial for s in added],
                "cards": len(lab.slots)}

    def unplug(self, cards: list[str]) -> dict[str, Any]:
        """Pull the cables of ``cards``."""
        numbers = select_cards(cards, self._lab.slots)
        self._lab.unplug(numbers)
        return {"unplugged": [card_serial(n) for n in numbers]}

    def fault(self, cards: list[str], fault: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Inject ``fault`` into ``cards``."""
        serials = []
        for number in select_cards(cards, self._lab.slots):
            slot = self._lab.slots[number]
            slot.card.inject(fault, **(parameters or {}))
            slot.wake(self._lab.loop.clock())
            serials.append(slot.serial)
        _LOG.info("fault %s %s", fault, parameters or {}, extra={"card": ",".join(serials)})
        return {"fault": fault, "cards": serials}

    def faults(self) -> dict[str, Any]:
        """The faults there are: name → what it does and its parameters."""
        return {name: {"does": does, "parameters": list(parameters)}
                for name, (does, parameters) in FAULTS.items()}

    def daemon(self, hold: bool) -> dict[str, Any]:
        """End the daemon and start none (``hold``), or have one again."""
        supervisor = self._lab.supervisor
        if supervisor is None:
            return {"daemon": None}
        if hold:
            supervisor.hold()
        else:
            supervisor.resume()
        return {"daemon": supervisor.status(self._lab.loop.clock())}

    def impair(self, cards: list[str] | None = None, **changes: Any) -> dict[str, Any]:
        """Change what the wire does; for all cards, also later ones, unless ``cards`` are named."""
        lab = self._lab
        known = {f.name for f in dataclasses.fields(Impairments)}
        if unknown := sorted(changes.keys() - known):
            raise ConfigError(f"the wire has no {unknown[0]!r}", f"it has: {', '.join(sorted(known))}")
        numbers = select_cards(cards, lab.slots) if cards else sorted(lab.slots)
        wanted = {n: dataclasses.replace(lab.slots[n].wire.impairments, **changes) for n in numbers}
        if not cards:
            lab.impairments = dataclasses.replace(lab.impairments, **changes)
        for number, impairments in wanted.items():
            lab.slots[number].wire.change(impairments)
            lab.slots[number].settle(lab.loop.clock())
        return {"cards": len(numbers), "impairments": changes}

    def status(self, cards: bool = False) -> dict[str, Any]:
        """All there is to say; ``cards`` adds each card with its counters."""
        lab = self._lab
        spec = lab.spec
        now_ns = lab.loop.clock()
        links = [port.link for port in lab.ports.values()]
        answer: dict[str, Any] = {
            "name": spec.name, "state": "up", "topology": spec.topology, "mtu": spec.mtu,
            "cards": len(lab.slots), "rtl_cards": spec.rtl_cards, "plugged": sum(s.plugged for s in lab.slots.values()),
            "suite": spec.suite, "profile": spec.profile,
            "timing": describe_timing(spec.timing, spec.time_scale, spec.pr_scale),
            "time_scale": spec.time_scale, "pr_scale": spec.time_scale if spec.pr_scale is None else spec.pr_scale,
            "link_rate": spec.link_rate, "late_kernels": sum(s.card.late_kernels for s in lab.slots.values()),
            "seed": spec.seed, "impairments": dataclasses.asdict(lab.impairments),
            "interface": HOST_INTERFACE, "host_mac": str(HOST_MAC), "pid": os.getpid(),
            "uptime_s": round((now_ns - lab.started_ns) / 1e9, 3),
            "resident_bytes": _resident_bytes(),
            "cpu_s": round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 3),
            "ring": {"slots": links[0].ring_slots, "total_bytes": lab.ring_bytes() * len(links)},
            "rx_drops": sum(link.counters()["rx_drops"] for link in links),
            "roles": {"runtime": lab.broker.pool.runtime, "workers": lab.broker.pool.worker_pids()},
            "daemon": lab.supervisor.status(now_ns) if lab.supervisor else None,
            "log": str(paths.lab_log(spec.name)),
        }
        if cards:
            answer["card_list"] = [self._card(slot) for slot in lab.slots.values()]
        return answer

    def _card(self, slot: CardSlot) -> dict[str, Any]:
        port = self._lab.port_of(slot.number)
        link = port.link.counters() | {"waiting": port.outlet.waiting,
                                       "dropped_outputs": port.outlet.dropped_outputs}
        return {**slot.card.snapshot(), "interface": port.link.name, "plugged": slot.plugged, "port": link,
                "wire": slot.wire.counters()}


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
