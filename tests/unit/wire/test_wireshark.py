"""tools/wireshark/saf.lua in tshark: every vector dissected, every field with its value, no Lua error."""

import json
import os
import re
import shutil
import subprocess

import pytest

from safhost.wire.describe import struct_name
from safhost.wire.generated import OPCODES

TSHARK = shutil.which("tshark")
pytestmark = pytest.mark.skipif(
    TSHARK is None and "CI" not in os.environ,
    reason="THE WIRESHARK DISSECTOR IS NOT TESTED: tshark is missing (apt install tshark)")


@pytest.fixture
def tshark(root, write_pcap, tmp_path):
    """Frames in, (list of their layers, what tshark said) out."""
    assert TSHARK, "tshark is missing: apt install tshark"

    def run(raws, *options):
        write_pcap(tmp_path / "in.pcap", raws)
        done = subprocess.run(
            [TSHARK, "-X", f"lua_script:{root / 'tools' / 'wireshark' / 'saf.lua'}", *options, "-r",
             str(tmp_path / "in.pcap"), "-T", "json", "--no-duplicate-keys"],
            capture_output=True, text=True, timeout=100, check=True,
            env=os.environ | {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"})
        assert "Lua" not in done.stderr, done.stderr
        assert "Lua Error" not in done.stdout
        return [packet["_source"]["layers"] for packet in json.loads(done.stdout)]

    return run


def as_value(text, want):
    """tshark's text as the kind of value that is wanted."""
    if isinstance(want, int):
        return int(text, 16 if text.startswith("0x") else 10)
    return text if ":" in want else text.replace(":", "")


def as_list(value):
    return value if isinstance(value, list) else [value]


def check_struct(tree, prefix, values, where):
    for name, want in values.items():
        field = f"{prefix}.{name}"
        if isinstance(want, list):
            part = {"slots": "slot_info", "images": "image_info", "transfers": "transfer_info"}[name]
            for item, item_values in zip(as_list(tree[field]), want, strict=True):
                check_struct(item, f"saf.{part}", item_values, where)
        elif name == "serial":
            assert tree[field] == bytes.fromhex(want).rstrip(b"\0").decode(), where
        elif want == "":
            assert field not in tree, (where, name)
        else:
            assert as_value(tree[field], want) == want, (where, name)


def test_dissector_shows_every_field_of_every_frame(tshark, frames):
    entries = frames["frames"]
    packets = tshark([bytes.fromhex(e["hex"]) for e in entries])
    for e, layers in zip(entries, packets, strict=True):
        tree, decoded, name = layers["saf"], e["decoded"], e["name"]
        for field, want in decoded["header"].items():
            if field not in ("dst", "src", "version_suite"):
                assert as_value(tree[f"saf.{field}"], want) == want, (name, field)
        assert (int(tree["saf.version"]), int(tree["saf.suite"])) == (1, e["suite"]), name
        assert tree.get("saf.tag", "").replace(":", "") == decoded.get("tag", ""), name
        flags = tree["saf.flags_tree"]
        assert (int(flags["saf.flags.guarded"]), int(flags["saf.flags.last"])) == (
            decoded["header"]["flags"] & 1, decoded["header"]["flags"] >> 1 & 1), name
        assert "_ws.expert" not in json.dumps(tree), name
        payload = struct_name(OPCODES[decoded["header"]["opcode"]].payload)
        sub = tree[f"saf.{payload}"]
        check_struct(sub, f"saf.{payload}", decoded["payload"], name)
        if e["opcode"] == "group":
            inner = OPCODES[decoded["payload"]["inner_opcode"]].name
            check_struct(sub["saf.group.body_tree"] if "saf.group.body_tree" in sub else sub["saf.group.body"],
                         f"saf.{inner}", decoded["body"], name)
            for member, values in zip(as_list(sub["saf.group_member"]), decoded["members"], strict=True):
                check_struct(member, "saf.group_member", values, name)


def test_dissector_names_why_a_frame_is_dropped(tshark, malformed):
    entries = [e for e in malformed if len(e["hex"]) > 28]  # a bare Ethernet header has nothing to dissect
    packets = tshark([bytes.fromhex(e["hex"]) for e in entries])
    for e, layers in zip(entries, packets, strict=True):
        if e["name"] == "ethertype_not_ours":
            assert "saf" not in layers
            continue
        found = re.findall(r"dropped: (\w+)", json.dumps(layers["saf"]))
        if e["drop"] == "wrong_direction":  # a capture sees both directions
            assert found == [], e["name"]
        elif e["drop"] == "oversized":  # nor does it know the receiver's MTU
            assert found == ["lying_length"], e["name"]
        else:
            assert found == [e["drop"]], e["name"]


def test_dissector_knows_the_profile_paper(tshark, paper_frames):
    packets = tshark([bytes.fromhex(e["hex"]) for e in paper_frames], "-o", "saf.paper:TRUE")
    for e, layers in zip(paper_frames, packets, strict=True):
        tree, decoded = layers["saf_paper"], e["decoded"]
        if decoded["drop"]:
            assert f"dropped: {decoded['drop']}" in json.dumps(tree), e["name"]
            continue
        struct = {"discovery": "paper_hello", "image": "paper_raw", "confirm": "paper_confirm",
                  "input": "paper_input", "input_ack": "paper_confirm", "command": "paper_command",
                  "result": "paper_raw"}[decoded["layout"]]
        check_struct(tree[f"saf_paper.{struct}"], f"saf_paper.{struct}", decoded["payload"], e["name"])


def test_dissector_takes_other_ethertypes(tshark, frames):
    raw = bytes.fromhex(next(e["hex"] for e in frames["frames"] if e["name"] == "poll_suite1"))
    moved = raw[:12] + b"\x88\xb6" + raw[14:]
    option = "saf.ethertypes:88b5 88b6 80ab 80dd 80db 80cc 80cb"
    (layers,) = tshark([moved], "-o", option)
    assert int(layers["saf"]["saf.ethertype"], 16) == 0x80AA
    assert "_ws.expert" not in json.dumps(layers["saf"])
    (layers,) = tshark([raw], "-o", option)
    assert "saf" not in layers


def test_dissector_survives_cut_and_random_payloads(tshark, frames):
    raws = []
    for e in frames["frames"]:
        raw = bytes.fromhex(e["hex"])
        raws += [raw[:cut] for cut in range(15, min(len(raw), 90), 7)]
        raws += [raw[:14] + bytes((b * 7 + i) & 255 for i, b in enumerate(raw[14:90]))]
    packets = tshark(raws)
    assert len(packets) == len(raws)
