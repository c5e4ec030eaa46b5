"""A frame as plain values (dicts, integers, text): what `decode --json` prints and the vectors hold.

Made for people and tests, not for the path of the data: every field becomes a Python object. Frames that a
receiver would drop are described as far as they go, with the reason.
"""

from __future__ import annotations

from typing import Any

from safhost.wire.codec import HEADER, Codec, padded
from safhost.wire.generated import (
    ETHERNET_HEADER_BYTES,
    ETHERTYPES,
    FIELD_ENUMS,
    HEADER_BYTES,
    OPCODES,
    PAPER_LAYOUTS,
    PROTOCOL_VERSION,
    STRUCT_BYTES,
    SUITE_NONE,
    TAG_BYTES,
    DropReason,
    GroupMember,
    Opcode,
)

HEADER_FIELDS = ("dst", "src", "ethertype", "version_suite", "opcode", "session", "length", "flags", "object",
                 "index", "sequence")
"""Names of the header's fields in the order of `codec.HEADER`."""

_MAC_FIELDS = frozenset({"dst", "src", "mac0", "mac1"})
_ETHERTYPE_NAMES = {value: name for name, value in ETHERTYPES.items()}


def struct_name(struct: Any) -> str:
    """Name in saf.yaml of a payload or of its class: ``SessionOpen`` → ``session_open``."""
    name = struct.__name__ if isinstance(struct, type) else type(struct).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def field_values(struct: Any, names: bool = False) -> dict[str, Any]:
    """Fields of a payload (one of the named tuples of `generated`) as plain values.

    Integers stay integers; MACs become ``02:00:5a:00:00:01``; other bytes hexadecimal; arrays of structs
    lists of dicts. With ``names``, values of an enum become its lower-case name where they have one, reserved
    fields are left out and ``serial`` is text.
    """
    owner, out = struct_name(struct), {}
    for name, value in zip(struct._fields, struct, strict=True):
        if names and name.startswith("reserved"):
            continue
        out[name] = _plain(owner, name, value, names)
    return out


def _plain(owner: str, name: str, value: Any, names: bool) -> Any:
    if isinstance(value, bytes):
        if names and name == "serial":
            return value.rstrip(b"\0").decode("ascii", "backslashreplace")
        return mac_text(value) if name in _MAC_FIELDS else value.hex()
    if isinstance(value, tuple):
        return [field_values(item, names) for item in value]
    if names:
        enum = FIELD_ENUMS.get((owner, name))
        if enum is not None and value in enum._value2member_map_:
            return enum(value).name.lower()
        if name == "inner_opcode" and value in OPCODES:
            return OPCODES[value].name
    return value


def mac_text(mac: bytes) -> str:
    return mac.hex(":")


def header_values(raw: bytes) -> dict[str, Any]:
    """The eleven header fields of a frame of at least 40 bytes, as they stand on the wire."""
    values = dict(zip(HEADER_FIELDS, HEADER.unpack_from(raw), strict=True))
    return values | {"dst": mac_text(values["dst"]), "src": mac_text(values["src"])}


def drop_reason(raw: bytes, codec: Codec, way: str | None = None) -> DropReason | None:
    """Why a receiver drops this frame without looking at any state; None when it does not.

    ``way``: ``h2c`` or ``c2h`` as the receiver expects; None takes the opcode's own (a capture sees both).
    """
    if len(raw) < HEADER_BYTES:
        return DropReason.TRUNCATED
    if raw[15] != Opcode.DATA:
        info = OPCODES.get(raw[15])
        found = codec.parse(raw, way or (info.way if info else "h2c"))
        return found if isinstance(found, DropReason) else None
    if raw[14] >> 4 != PROTOCOL_VERSION:
        return DropReason.BAD_VERSION
    if raw[14] & 15 != SUITE_NONE:
        return DropReason.BAD_SUITE
    if codec.canonical(int.from_bytes(raw[12:14], "big")) not in OPCODES[raw[15]].ethertypes:
        return DropReason.WRONG_ETHERTYPE
    if len(raw) < HEADER_BYTES + int.from_bytes(raw[20:22], "big"):
        return DropReason.TRUNCATED
    return None


def split_group(content: bytes, inner_opcode: int, count: int,
                body_bytes: int) -> tuple[Any, list[GroupMember]]:
    """Body and members of GROUP's content. Raises ValueError when it does not hold what it announces."""
    info = OPCODES.get(inner_opcode)
    start, size = padded(body_bytes), STRUCT_BYTES["group_member"]
    if info is None or body_bytes < info.size or len(content) != start + count * size:
        raise ValueError("GROUP does not hold what it announces")
    if body_bytes > info.size and not info.tail:
        raise ValueError(f"GROUP's body is too long for {info.name}")
    members = [GroupMember.unpack(content[at:at + size]) for at in range(start, len(content), size)]
    return info.payload.unpack(content[:body_bytes]), members


def describe(raw: bytes, codec: Codec, *, way: str | None = None, names: bool = False) -> dict[str, Any]:
    """A whole frame: ``header``, ``opcode`` (name), ``payload``, ``body`` and ``members`` (GROUP), ``tag``,
    ``drop``.

    Keys that a frame does not have are left out; ``drop`` is the lower-case reason or None.
    """
    reason = drop_reason(raw, codec, way)
    out: dict[str, Any] = {}
    if len(raw) >= HEADER_BYTES:
        out["header"] = header_values(raw)
        info = OPCODES.get(raw[15])
        if info is not None:
            out["opcode"] = info.name
        if names:
            canonical = codec.canonical(out["header"]["ethertype"])
            out["ethertype"] = _ETHERTYPE_NAMES.get(canonical, "")
    if reason is None:
        length = out["header"]["length"]
        info = OPCODES[raw[15]]
        payload = info.payload.unpack(raw[HEADER_BYTES:HEADER_BYTES + length])
        out["payload"] = field_values(payload, names)
        if raw[15] == Opcode.GROUP:
            _add_group(out, payload, names)
        if info.tagged and raw[14] & 15:
            at = HEADER_BYTES + padded(length)
            out["tag"] = raw[at:at + TAG_BYTES].hex()
    out["drop"] = None if reason is None else reason.name.lower()
    return out


def _add_group(out: dict[str, Any], payload: Any, names: bool) -> None:
    try:
        body, members = split_group(payload.content, payload.inner_opcode, payload[1], payload.body_bytes)
    except ValueError:
        return  # parses, but carries nothing a member could use; `content` shows it
    del out["payload"]["content"]
    out["body"] = field_values(body, names)
    out["members"] = [field_values(m, names) for m in members]


def describe_paper(raw: bytes, codec: Codec, *, names: bool = False) -> dict[str, Any]:
    """A frame of the profile `paper`: ``dst``, ``src``, ``ethertype``, ``layout``, ``payload``, ``drop``."""
    if len(raw) < ETHERNET_HEADER_BYTES:
        return {"drop": DropReason.TRUNCATED.name.lower()}
    canonical = codec.canonical(int.from_bytes(raw[12:14], "big"))
    out: dict[str, Any] = {"dst": mac_text(raw[:6]), "src": mac_text(raw[6:12]), "ethertype": canonical}
    layout = PAPER_LAYOUTS.get(canonical)
    if layout is None:
        return out | {"drop": DropReason.WRONG_ETHERTYPE.name.lower()}
    out["layout"] = layout.name
    payload = raw[ETHERNET_HEADER_BYTES:]
    if len(payload) < layout.size:
        return out | {"drop": DropReason.TRUNCATED.name.lower()}
    # NICs pad short frames, so that what lies behind a fixed layout says nothing
    used = payload if layout.tail else payload[:layout.size]
    out["payload"] = field_values(layout.payload.unpack(used), names)
    return out | {"drop": None}
