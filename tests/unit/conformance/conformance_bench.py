"""A probe of a fresh card model, as the suite's own tests use it."""

from __future__ import annotations

import hashlib
from typing import Any

from safhost.conformance.probe import Probe
from safhost.conformance.wires import model_wire
from safhost.lab.card import CardConfig
from safhost.units import Mac

KEY = hashlib.blake2s(b"conformance").digest()


def make_probe(suite: int = 1, mtu: int = 1500, **config: Any) -> Probe:
    settings: dict[str, Any] = {"serial": "CONF1", "mac": Mac.parse("02:5a:f0:00:00:01"), "mtu": mtu,
                                "card_key": KEY if suite else None, "ddr_bytes": 8 << 30,
                                "image_slot_bytes": 16 << 20, **config}
    return Probe(model_wire(CardConfig(**settings)), settings["card_key"], seed=1)
