"""Scapy layers for every frame, made from the generated tables: for `safhost capture/decode` and for tests.

    dissect(raw)                          an Ether packet with our layers in it
    Ether(type=0x80aa) / SafHeader(opcode=0x31, object=9) / PAYLOAD_LAYERS["poll"](first_block=8192)

`SafHeader` works out length, padding to whole beats and the place of the tag; the tag itself is a field like
any other (`safhost.wire.auth` makes one). Nothing is registered with Scapy at import: `bind` does that.
Scapy is GPL-2.0-only, so that only `cli.capture` and tests may import this module.
"""

from __future__ import annotations

from typing import Any

from scapy.fields import (
    BitEnumField,
    BitField,
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    FlagsField,
    IntField,
    LongField,
    MACField,
    PacketLenField,
    PacketListField,
    PadField,
    ShortEnumField,
    ShortField,
    StrFixedLenField,
    XIntField,
    XStrField,
    XStrFixedLenField,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw, bind_layers, split_layers

from safhost.wire.codec import Codec, padded
from safhost.wire.describe import struct_name
from safhost.wire.generated import (
    ETHERNET_HEADER_BYTES,
    ETHERTYPES,
    FIELD_ENUMS,
    FLAG_GUARDED,
    FLAG_LAST,
    HEADER_BYTES,
    OPCODES,
    PAPER_LAYOUTS,
    PAYLOAD_DTYPES,
    PROTOCOL_VERSION,
    SUITE_BLAKE2S,
    SUITE_NONE,
    TAG_BYTES,
    GroupMember,
    Opcode,
)

_HEADER_REST_BYTES = HEADER_BYTES - ETHERNET_HEADER_BYTES
_FLAG_NAMES = {FLAG_GUARDED: "guarded", FLAG_LAST: "last"}
_INTEGER_FIELDS = {1: ByteField, 2: ShortField, 4: IntField, 8: LongField}


class SafPayload(Packet):
    """Base of the payload layers: what follows belongs to the layer above."""

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        return b"", s


def layer_field(name: str) -> str:
    """Scapy's name of one of our fields: with an underscore where Packet has an attribute of that name."""
    return f"{name}_" if hasattr(Packet, name) else name


def _make_field(owner: str, name: str, dtype: Any) -> Any:
    shown = layer_field(name)
    if dtype.subdtype is not None and dtype.subdtype[0].names:
        inner = _LAYERS_BY_DTYPE[dtype.subdtype[0]]
        count = dtype.shape[0]
        return PacketListField(shown, [], inner, count_from=lambda _packet: count)
    if dtype.subdtype is not None:
        return MACField(shown, "00:00:00:00:00:00") if dtype.itemsize == 6 else \
            XStrFixedLenField(shown, bytes(dtype.itemsize), dtype.itemsize)
    if dtype.kind == "S":
        return StrFixedLenField(shown, bytes(dtype.itemsize), dtype.itemsize)
    enum = FIELD_ENUMS.get((owner, name))
    if enum is not None:
        names = {int(member): member.name.lower() for member in enum}
        return (ByteEnumField if dtype.itemsize == 1 else ShortEnumField)(shown, 0, names)
    return _INTEGER_FIELDS[dtype.itemsize](shown, 0)


_LAYERS_BY_DTYPE: dict[Any, type[SafPayload]] = {}


def _make_layer(struct: Any) -> type[SafPayload]:
    """The layer of one payload class of `generated`; its nested structs must have theirs already."""
    name = struct_name(struct)
    dtype = PAYLOAD_DTYPES.get(name)
    fixed = () if dtype is None else dtype.names or ()
    fields = [] if dtype is None else [_make_field(name, field, dtype[field]) for field in fixed]
    fields += [XStrField(layer_field(field), b"") for field in struct._fields if field not in fixed]
    layer: type[SafPayload] = type(f"Saf{struct.__name__}", (SafPayload,),
                                   {"name": f"SAF {name}", "fields_desc": fields})
    if dtype is not None:
        _LAYERS_BY_DTYPE[dtype] = layer
    return layer


def _nested_first() -> dict[str, type[SafPayload]]:
    from safhost.wire import generated

    out = {}
    for name in PAYLOAD_DTYPES:  # in order of definition: parts before what holds them
        cls = getattr(generated, "".join(part.capitalize() for part in name.split("_")))
        out[name] = _make_layer(cls)
    for info in OPCODES.values():
        out.setdefault(struct_name(info.payload), _make_layer(info.payload))
    for layout in PAPER_LAYOUTS.values():
        out.setdefault(struct_name(layout.payload), _make_layer(layout.payload))
    return out


PAYLOAD_LAYERS: dict[str, type[SafPayload]] = _nested_first()
"""Payload layer by its name in saf.yaml: ``hello``, ``xfer_open``, ``paper_command``, …"""


class _BodyField(PacketLenField):
    """GROUP's body, a payload of the inner opcode."""

    def m2i(self, pkt: Any, m: bytes) -> Any:
        info = OPCODES.get(pkt.inner_opcode)
        return PAYLOAD_LAYERS[struct_name(info.payload)](m) if info else Raw(m)


class SafGroup(SafPayload):
    """GROUP: a command once, and for each member its numbers and its tag."""

    name = "SAF group"
    fields_desc = [
        ByteEnumField("inner_opcode", int(Opcode.RUN), {code: info.name for code, info in OPCODES.items()}),
        FieldLenField("count", None, count_of="members", fmt="B"),
        FieldLenField("body_bytes", None, length_of="body", fmt="H"),
        IntField("reserved0", 0),
        PadField(_BodyField("body", Raw(b""), Raw, length_from=lambda packet: packet.body_bytes), 8),
        PacketListField("members", [], PAYLOAD_LAYERS[struct_name(GroupMember)],
                        count_from=lambda packet: packet.count),
    ]


PAYLOAD_LAYERS["group"] = SafGroup


def _is_tagged(packet: Any) -> bool:
    info = OPCODES.get(packet.opcode)
    return bool(packet.suite and info is not None and info.tagged)


class SafHeader(Packet):
    """Frame bytes 14 to 39, and the tag that stands behind the payload.

    ``length`` left at None is worked out. Raises ValueError for a frame that is too short for what it
    announces; within an Ether packet Scapy then shows it as Raw.
    """

    name = "SAF"
    fields_desc = [
        BitField("version", PROTOCOL_VERSION, 4),
        BitEnumField("suite", SUITE_NONE, 4, {SUITE_NONE: "none", SUITE_BLAKE2S: "blake2s"}),
        ByteEnumField("opcode", 0, {code: info.name for code, info in OPCODES.items()}),
        XIntField("session", 0),
        ShortField("length", None),
        FlagsField("flags", 0, 16, [_FLAG_NAMES.get(1 << bit, f"bit{bit}") for bit in range(16)]),
        IntField("object", 0),
        IntField("index", 0),
        LongField("sequence", 0),
        ConditionalField(XStrFixedLenField("tag", bytes(TAG_BYTES), TAG_BYTES), _is_tagged),
    ]

    def pre_dissect(self, s: bytes) -> bytes:
        """Put the tag behind the header, where ``fields_desc`` has it, and take the beat padding out."""
        if len(s) < _HEADER_REST_BYTES:
            raise ValueError("shorter than a SAF header")
        code, length = s[1], int.from_bytes(s[6:8], "big")
        end = _HEADER_REST_BYTES + (length if code == Opcode.DATA else padded(length))
        info = OPCODES.get(code)
        tag = TAG_BYTES if s[0] & 15 and info is not None and info.tagged else 0
        if len(s) < end + tag:
            raise ValueError("shorter than its length field says")
        payload = s[_HEADER_REST_BYTES:_HEADER_REST_BYTES + length]
        return s[:_HEADER_REST_BYTES] + s[end:end + tag] + payload + s[end + tag:]

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        return s[:self.length], s[self.length:]

    def guess_payload_class(self, payload: bytes) -> Any:
        info = OPCODES.get(self.opcode)
        return PAYLOAD_LAYERS[struct_name(info.payload)] if info else Raw

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        head, tag = pkt[:_HEADER_REST_BYTES], pkt[_HEADER_REST_BYTES:]
        if self.length is None:
            head = head[:6] + len(pay).to_bytes(2, "big") + head[8:]
        beat = b"" if self.opcode == Opcode.DATA else bytes(padded(len(pay)) - len(pay))
        return head + pay + beat + tag


def dissect(raw: bytes, codec: Codec | None = None, profile: str = "saf") -> Packet:
    """An Ether packet with our layers in it, whatever is bound. ``profile``: ``saf`` or ``paper``.

    What is not ours, or too short, is Raw.
    """
    codec = codec or Codec()
    packet, rest = Ether(raw[:ETHERNET_HEADER_BYTES]), raw[ETHERNET_HEADER_BYTES:]
    canonical = codec.canonical(int.from_bytes(raw[12:14], "big"))
    if not rest or not canonical:
        return packet / Raw(rest) if rest else packet
    layer = SafHeader if profile == "saf" else PAYLOAD_LAYERS[struct_name(PAPER_LAYOUTS[canonical].payload)]
    try:
        return packet / layer(rest)
    except Exception:  # scapy's fields raise whatever they meet in broken input; it does the same itself
        return packet / Raw(rest)


def bind(codec: Codec | None = None) -> None:
    """Let Scapy dissect our EtherTypes by itself (``sniff``, ``rdpcap``), until `unbind`."""
    for value in ETHERTYPES.values():
        bind_layers(Ether, SafHeader, type=(codec or Codec()).outgoing(value))


def unbind(codec: Codec | None = None) -> None:
    """Undo `bind`."""
    for value in ETHERTYPES.values():
        split_layers(Ether, SafHeader, type=(codec or Codec()).outgoing(value))
