"""Who speaks in the vectors: one host, two cards, their keys; and field values made from names."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from safhost.wire.auth import SessionKeys, derive_keys
from safhost.wire.codec import BROADCAST_BYTES
from safhost.wire.describe import mac_text, struct_name
from safhost.wire.generated import FIELD_ENUMS, PAYLOAD_DTYPES

HOST_MAC = bytes.fromhex("02005a0000fe")
BROADCAST = BROADCAST_BYTES


def filler(name: str, size: int) -> bytes:
    """``size`` bytes that look random and follow from ``name``."""
    return hashlib.shake_128(f"saf vectors: {name}".encode()).digest(size)


class Party(NamedTuple):
    """A card and the session it has with the host."""

    name: str
    mac: bytes
    card_key: bytes
    boot_nonce: bytes
    host_nonce: bytes
    owner: int
    generation: int
    session: int

    @property
    def keys(self) -> SessionKeys:
        return derive_keys(self.card_key, self.boot_nonce, self.host_nonce, self.owner, self.generation,
                           HOST_MAC, self.mac)

    def to_json(self) -> dict[str, Any]:
        """All of it, with the derived keys."""
        return {"host_mac": mac_text(HOST_MAC), "card_mac": mac_text(self.mac),
                "card_key": self.card_key.hex(), "boot_nonce": self.boot_nonce.hex(),
                "host_nonce": self.host_nonce.hex(), "owner": self.owner, "generation": self.generation,
                "session": self.session, "h2c": self.keys.h2c.hex(),
                "c2h": self.keys.c2h.hex()}


def _party(name: str, number: int) -> Party:
    return Party(name, bytes.fromhex(f"02005a0000{number:02x}"), filler(f"{name} key", 32),
                 filler(f"{name} boot nonce", 16), filler(f"{name} host nonce", 16), 0x0123456789ABCDEF,
                 7 + number, 0x5AF00000 + number)


CARD0, CARD1 = _party("card0", 1), _party("card1", 2)
PARTIES = {p.name: p for p in (CARD0, CARD1)}


def sample(cls: Any, prefix: str = "", **given: Any) -> Any:
    """An instance of a payload class: ``given`` fields, the others filled so that no two are alike.

    Reserved fields are 0, fields of an enum get one of its values, the tail stays empty unless given.
    """
    name = struct_name(cls)
    dtype, values = PAYLOAD_DTYPES[name], {}
    for field in cls._fields:
        spot = f"{prefix}{name}.{field}"
        if field in given:
            values[field] = given.pop(field)
        elif field not in (dtype.names or ()) or field.startswith("reserved"):
            continue
        elif (name, field) in FIELD_ENUMS:
            members = list(FIELD_ENUMS[name, field])
            values[field] = int(members[filler(spot, 1)[0] % len(members)])
        elif dtype[field].subdtype is not None or dtype[field].kind == "S":
            values[field] = filler(spot, dtype[field].itemsize)
        else:
            values[field] = int.from_bytes(filler(spot, dtype[field].itemsize), "big")
    if given:
        raise KeyError(f"{name} has no field {', '.join(given)}")
    return cls(**values)
