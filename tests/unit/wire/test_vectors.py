"""The normative vectors against our codec, tags, digests and numpy layouts."""

import numpy as np
import pytest
from blake2s_reference import blake2s

from safhost.wire import auth, digest
from safhost.wire.channel import Channel
from safhost.wire.codec import Codec, Frame, padded, split_batch, tag_valid
from safhost.wire.describe import describe, describe_paper
from safhost.wire.generated import HEADER_DTYPE, OPCODES, PAYLOAD_DTYPES, STRUCT_BYTES, DropReason, Opcode
from tools.vectors.__main__ import main as vectors_main

CODEC = Codec()
DATA = int(Opcode.DATA)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def controls(frames):
    return [e for e in frames["frames"] if e["opcode"] != "data"]


def key_of(frames, name):
    party, _, way = name.partition(".")
    return bytes.fromhex(frames["parties"][party][way]) if name else b""


def batch(raws):
    rows = np.zeros((len(raws), max(64, *map(len, raws))), np.uint8)
    for row, raw in zip(rows, raws, strict=True):
        row[:len(raw)] = np.frombuffer(raw, np.uint8)
    return rows, np.array([len(raw) for raw in raws], np.int64)


def test_vectors_are_current():
    assert vectors_main(["--check"]) == 0


def test_vectors_cover_every_opcode_under_both_suites(frames):
    seen = {(e["opcode"], e["suite"]) for e in frames["frames"]}
    wanted = {(info.name, suite) for info in OPCODES.values() for suite in (0, 1) if info.name != "data"}
    assert wanted | {("data", 0)} <= seen


def test_vectors_cover_shapes(frames):
    by_name = {e["name"]: e for e in frames["frames"]}
    assert len(by_name["group_run_suite1"]["decoded"]["members"]) == 2
    assert by_name["data_last_short"]["decoded"]["header"]["flags"] == 2
    assert by_name["data_guarded"]["decoded"]["header"]["flags"] == 1
    opened = by_name["xfer_open_suite1"]
    assert len(opened["hex"]) // 2 == len(by_name["data_first_block"]["hex"]) // 2 == 1512
    assert len(by_name["nack__full_section"]["decoded"]["payload"]["bitmap"]) // 2 == 1024


def test_malformed_cover_every_reason_that_needs_no_state(malformed):
    assert len(malformed) >= 20
    assert {e["drop"] for e in malformed if e["kind"] == "control"} == {
        "truncated", "oversized", "bad_version", "bad_suite", "unknown_opcode", "wrong_ethertype",
        "wrong_direction", "lying_length"}
    assert {e["drop"] for e in malformed if e["kind"] == "data"} == {"truncated", "bad_version", "bad_suite"}


def test_sequences_cover_every_reason_of_a_session(sequences):
    drops = {step["drop"] for s in sequences for step in s["frames"]}
    assert drops == {None, "bad_tag", "replayed", "wrong_session", "wrong_source", "bad_suite"}


def test_codec_takes_frames_apart_as_decoded(frames):
    for e in controls(frames):
        raw = bytes.fromhex(e["hex"])
        frame = CODEC.parse(raw, e["way"])
        assert isinstance(frame, Frame), e["name"]
        header = e["decoded"]["header"]
        assert (frame.dst, frame.src) == (mac(header["dst"]), mac(header["src"])), e["name"]
        assert frame.ethertype == header["ethertype"], e["name"]
        assert (1 << 4 | frame.suite) == header["version_suite"], e["name"]
        for name in ("opcode", "session", "length", "flags", "object", "index", "sequence"):
            assert getattr(frame, name) == header[name], (e["name"], name)
        assert raw[40:40 + frame.length] == frame.payload, e["name"]


def test_codec_puts_frames_together_as_hex(frames):
    for e in controls(frames):
        header = e["decoded"]["header"]
        info = OPCODES[header["opcode"]]
        raw = bytes.fromhex(e["hex"])
        payload = info.payload.unpack(raw[40:40 + header["length"]]).pack()
        again = CODEC.encode(
            header["opcode"], payload, dst=mac(header["dst"]), src=mac(header["src"]),
            ethertype=header["ethertype"], suite=e["suite"], key=key_of(frames, e["key"]),
            **{name: header[name] for name in ("session", "flags", "object", "index", "sequence")})
        assert again.hex() == e["hex"], e["name"]


def test_describe_gives_decoded(frames, paper_frames):
    for e in frames["frames"]:
        found = describe(bytes.fromhex(e["hex"]), CODEC, way=e["way"])
        assert found.pop("opcode") == e["opcode"]
        assert found.pop("drop") is None
        assert found == e["decoded"], e["name"]
    for e in paper_frames:
        assert describe_paper(bytes.fromhex(e["hex"]), CODEC) == e["decoded"], e["name"]


def test_tags_verify_and_cover_every_byte(frames):
    seen = 0
    for e in controls(frames):
        frame = CODEC.parse(bytes.fromhex(e["hex"]), e["way"])
        if not (frame.suite and OPCODES[frame.opcode].tagged):
            continue
        key = key_of(frames, e["key"])
        covered = 40 + padded(frame.length)
        assert e["decoded"]["tag"] == blake2s(frame.raw[:covered], size=16, key=key, person=b"saf-tag").hex()
        assert tag_valid(frame, key), e["name"]
        for at in {0, 13, 14, 35, covered - 1, covered, covered + 15}:
            bad = bytearray(frame.raw)
            bad[at] ^= 4
            assert not tag_valid(frame._replace(raw=bytes(bad)), key), (e["name"], at)
        seen += 1
    assert seen >= 24


def test_group_members_carry_tags_of_their_own(frames):
    for e in frames["frames"]:
        if e["opcode"] != "group":
            continue
        raw, payload = bytes.fromhex(e["hex"]), e["decoded"]["payload"]
        head = 40 + 8 + padded(payload["body_bytes"])
        for i, member in enumerate(e["decoded"]["members"]):
            at = head + 40 * i
            entry = raw[at:at + 24]
            want = bytes(16)
            if e["suite"]:
                want = blake2s(raw[:head] + entry, size=16, key=key_of(frames, e["member_keys"][i]), person=b"saf-tag")
            assert member["tag"] == want.hex() == raw[at + 24:at + 40].hex(), e["name"]


def test_data_frames_pass_as_a_batch(frames):
    entries = [e for e in frames["frames"] if e["opcode"] == "data"]
    control, groups, drops = split_batch(*batch([bytes.fromhex(e["hex"]) for e in entries]))
    assert (control, drops) == ([], [])
    found = {(g.src, g.ethertype, g.session, g.object, int(i)): (int(n), g.guarded is not None and bool(g.guarded[k]))
             for g in groups for k, (i, n) in enumerate(zip(g.index, g.length, strict=True))}
    for e in entries:
        h = e["decoded"]["header"]
        key = (mac(h["src"]), h["ethertype"], h["session"], h["object"], h["index"])
        assert found[key] == (h["length"], bool(h["flags"] & 1)), e["name"]


def test_guards_cover_header_and_block(frames):
    guarded = [e for e in frames["frames"] if e["opcode"] == "data" and e["decoded"]["header"]["flags"] & 1]
    assert len(guarded) == 3
    for e in guarded:
        raw = bytes.fromhex(e["hex"])
        want = blake2s(raw[14:32] + raw[40:], size=8, key=key_of(frames, e["key"]), person=b"saf-grd")
        assert raw[32:40] == want == auth.guard_tag(key_of(frames, e["key"]), raw[14:32], raw[40:]), e["name"]


def test_numpy_layouts_see_the_same_fields(frames):
    for e in frames["frames"]:
        raw, decoded = bytes.fromhex(e["hex"]), e["decoded"]
        header = np.frombuffer(raw, HEADER_DTYPE, 1)[0]
        for name, value in decoded["header"].items():
            got = header[name]
            assert (bytes(got).hex(":") if name in ("dst", "src") else int(got)) == value, (e["name"], name)
        info = OPCODES[raw[15]]
        name = "answer" if info.payload.__name__ == "Answer" else info.name
        if name in PAYLOAD_DTYPES:
            assert PAYLOAD_DTYPES[name].itemsize == STRUCT_BYTES[name] == info.size
            check_numpy(np.frombuffer(raw, PAYLOAD_DTYPES[name], 1, 40)[0], decoded["payload"], e["name"])


def check_numpy(record, values, where):
    for name in record.dtype.names:
        got, want = record[name], values[name]
        if isinstance(want, list):
            for part, part_values in zip(got, want, strict=True):
                check_numpy(part, part_values, where)
        elif isinstance(want, str):
            text = got.tobytes().hex() if isinstance(got, np.ndarray) else got.hex()
            assert text.rstrip("0") == want.replace(":", "").rstrip("0"), (where, name)
        else:
            assert int(got) == want, (where, name)


def test_malformed_frames_are_dropped_for_the_reason_given(malformed):
    for e in malformed:
        raw = bytes.fromhex(e["hex"])
        if e["kind"] == "control":
            found = CODEC.parse(raw, e["way"], e["max_bytes"])
            assert isinstance(found, DropReason), e["name"]
            assert found.name.lower() == e["drop"], e["name"]
        else:
            control, groups, drops = split_batch(*batch([raw, raw]))
            names = [d.name.lower() for d in drops] + [CODEC.parse(c, e["way"]).name.lower() for c in control]
            assert (groups, names) == ([], [e["drop"]] * 2), e["name"]


def test_sequences_end_as_given(sequences):
    for s in sequences:
        receiver = Channel(CODEC, b"", mac(s["peer_mac"]), s["suite"], b"", bytes.fromhex(s["key"]))
        receiver.session = s["session"]
        for step in s["frames"]:
            frame = CODEC.parse(bytes.fromhex(step["hex"]), s["way"])
            assert isinstance(frame, Frame), (s["name"], step["note"])
            drop = receiver.check(frame)
            assert (drop and drop.name.lower()) == step["drop"], (s["name"], step["note"])


def test_session_keys_follow_from_the_definition(crypto):
    for e in crypto["session_keys"]:
        card_key, boot, host = (bytes.fromhex(e[k]) for k in ("card_key", "boot_nonce", "host_nonce"))
        over = (boot + host + e["owner"].to_bytes(8, "big") + e["generation"].to_bytes(8, "big")
                + mac(e["host_mac"]) + mac(e["card_mac"]))
        keys = auth.derive_keys(card_key, boot, host, e["owner"], e["generation"], mac(e["host_mac"]),
                                mac(e["card_mac"]))
        assert keys.h2c.hex() == e["h2c"] == blake2s(over, key=card_key, person=b"saf-h2c").hex()
        assert keys.c2h.hex() == e["c2h"] == blake2s(over, key=card_key, person=b"saf-c2h").hex()


def test_tags_and_guards_follow_from_the_definition(crypto):
    for e in crypto["frame_tags"]:
        key, covered = bytes.fromhex(e["key"]), bytes.fromhex(e["covered"])
        assert auth.frame_tag(key, covered).hex() == e["tag"]
        assert blake2s(covered, size=16, key=key, person=b"saf-tag").hex() == e["tag"]
    for e in crypto["guard_tags"]:
        key, header, block = (bytes.fromhex(e[k]) for k in ("key", "header", "block"))
        assert auth.guard_tag(key, header, block).hex() == e["guard"]
        assert blake2s(header + block, size=8, key=key, person=b"saf-grd").hex() == e["guard"]


@pytest.mark.parametrize("number", range(8))
def test_trees_follow_from_the_definition(crypto, number):
    e = crypto["trees"][number]
    data = bytes((31 * i + (i >> 8)) & 255 for i in range(e["length"]))
    assert digest.leaf_digests(data).hex() == "".join(e["leaves"])
    assert digest.tree_root(data).hex() == e["root"]
    last = len(e["leaves"]) - 1
    tree = {"fanout": 0, "depth": 2, "leaf": 65536, "inner": 32}
    part = data[65536 * last:]  # the other leaves differ in offset and last_node alone
    assert blake2s(part, node_offset=last, last_node=True, **tree).hex() == e["leaves"][last]
    if 0 < last <= 2:
        assert blake2s(data[:65536], node_offset=0, **tree).hex() == e["leaves"][0]
    assert blake2s(bytes.fromhex("".join(e["leaves"])), node_depth=1, last_node=True, **tree).hex() == e["root"]
