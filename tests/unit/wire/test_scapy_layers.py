"""Scapy layers against the vectors: taken apart, put together again, and made from the decoded values alone."""

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from safhost.wire import scapy_layers
from safhost.wire.codec import Codec
from safhost.wire.scapy_layers import PAYLOAD_LAYERS, SafHeader, dissect, layer_field


def check_layer(layer, values, where):
    for name, want in values.items():
        got = layer.getfieldval(layer_field(name))
        if isinstance(want, list):
            for part, part_values in zip(got, want, strict=True):
                check_layer(part, part_values, where)
        elif isinstance(want, str) and ":" not in want:
            assert bytes(got).hex() == want, (where, name)
        else:
            assert got == want, (where, name)


def make_layer(name, values):
    """A payload layer from decoded values, nothing dissected."""
    fields = {}
    for field, value in values.items():
        made = value
        if isinstance(value, list):
            part = {"slots": "slot_info", "images": "image_info", "transfers": "transfer_info"}[field]
            made = [make_layer(part, item) for item in value]
        elif isinstance(value, str) and ":" not in value:
            made = bytes.fromhex(value)
        fields[layer_field(field)] = made
    return PAYLOAD_LAYERS[name](**fields)


def payload_name(opcode):
    return {"closed": "answer", "killed": "answer", "aborted": "answer"}.get(opcode, opcode)


def without_caches(packet):
    packet = packet.copy()
    packet.clear_cache()
    return packet


def test_every_frame_is_taken_apart_as_decoded(frames):
    for e in frames["frames"]:
        packet, decoded, name = dissect(bytes.fromhex(e["hex"])), e["decoded"], e["name"]
        header = packet[SafHeader]
        assert (packet.dst, packet.src, packet.type) == tuple(decoded["header"][k] for k in ("dst", "src", "ethertype"))
        assert header.version << 4 | header.suite == decoded["header"]["version_suite"], name
        for field in ("opcode", "session", "length", "object", "index", "sequence"):
            assert header.getfieldval(field) == decoded["header"][field], (name, field)
        assert int(header.flags) == decoded["header"]["flags"], name
        assert header.fields.get("tag", b"").hex() == decoded.get("tag", ""), name
        check_layer(header.payload, decoded["payload"], name)
        if e["opcode"] == "group":
            check_layer(header.payload.body, decoded["body"], name)
            for member, values in zip(header.payload.members, decoded["members"], strict=True):
                check_layer(member, values, name)


def test_every_frame_is_put_together_again(frames, paper_frames):
    for e in frames["frames"]:
        assert bytes(without_caches(dissect(bytes.fromhex(e["hex"])))).hex() == e["hex"], e["name"]
    for e in paper_frames:
        packet = dissect(bytes.fromhex(e["hex"]), profile="paper")
        assert bytes(without_caches(packet)).hex() == e["hex"], e["name"]


def test_every_frame_follows_from_its_decoded_values(frames):
    for e in frames["frames"]:
        decoded = e["decoded"]
        h = decoded["header"]
        header = SafHeader(suite=e["suite"], opcode=h["opcode"], session=h["session"], flags=h["flags"],
                           object=h["object"], index=h["index"], sequence=h["sequence"])
        if "tag" in decoded:
            header.tag = bytes.fromhex(decoded["tag"])
        if e["opcode"] == "group":
            inner = "run" if decoded["payload"]["inner_opcode"] == 0x20 else "commit"
            payload = PAYLOAD_LAYERS["group"](
                inner_opcode=decoded["payload"]["inner_opcode"], body=make_layer(inner, decoded["body"]),
                members=[make_layer("group_member", member) for member in decoded["members"]])
        else:
            payload = make_layer(payload_name(e["opcode"]), decoded["payload"])
        packet = Ether(dst=h["dst"], src=h["src"], type=h["ethertype"]) / header / payload
        assert bytes(packet).hex() == e["hex"], e["name"]


def test_paper_frames_are_taken_apart_as_decoded(paper_frames):
    for e in paper_frames:
        packet = dissect(bytes.fromhex(e["hex"]), profile="paper")
        if e["decoded"]["drop"] is None:
            check_layer(packet.payload, e["decoded"]["payload"], e["name"])


def test_broken_frames_never_raise(malformed):
    for e in malformed:
        raw = bytes.fromhex(e["hex"])
        packet = dissect(raw)
        if len(raw) > 14:
            assert packet.show(dump=True)
        if e["drop"] == "truncated" and len(raw) > 14:
            assert isinstance(packet.payload, Raw), e["name"]


def test_padding_of_the_wire_stays_outside():
    raw = bytes(Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02", type=0x80EF)
                / SafHeader(opcode=1) / PAYLOAD_LAYERS["solicit"](nonce=7))
    packet = dissect(raw + bytes(12))
    assert packet[SafHeader].length == 8
    assert packet.lastlayer().load == bytes(12)
    assert bytes(without_caches(packet)) == raw + bytes(12)


def test_padding_of_the_wire_is_no_part_of_a_short_block(frames):
    raw = bytes.fromhex(next(e["hex"] for e in frames["frames"] if e["name"] == "data_guarded_last_one_byte"))
    packet = dissect(raw.ljust(60, b"\0"))
    assert packet[SafHeader].payload.block == raw[40:]
    assert packet.lastlayer().load == bytes(60 - len(raw))


def test_bind_lets_scapy_do_it_and_unbind_undoes_it(frames):
    raw = bytes.fromhex(frames["frames"][0]["hex"])
    own = Codec({"discovery": 0x88B5})
    scapy_layers.bind()
    scapy_layers.bind(own)
    try:
        assert SafHeader in Ether(raw)
        assert SafHeader in Ether(raw[:12] + b"\x88\xb5" + raw[14:])
    finally:
        scapy_layers.unbind()
        scapy_layers.unbind(own)
    assert SafHeader not in Ether(raw)
    assert SafHeader not in Ether(raw[:12] + b"\x88\xb5" + raw[14:])


def test_own_ethertypes_are_dissected_by_codec(frames):
    raw = bytes.fromhex(frames["frames"][0]["hex"])
    moved = raw[:12] + b"\x88\xb5" + raw[14:]
    assert SafHeader in dissect(moved, Codec({"discovery": 0x88B5}))
    assert SafHeader not in dissect(moved)


@pytest.mark.parametrize("name", sorted(PAYLOAD_LAYERS))
def test_every_layer_has_defaults(name):
    assert isinstance(bytes(PAYLOAD_LAYERS[name]()), bytes)
