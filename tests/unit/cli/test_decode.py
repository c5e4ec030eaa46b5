"""`safhost decode` over the normative vectors."""

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

from safhost.cli.capture import decode, read_frames
from safhost.errors import ConfigError

VECTORS = Path(__file__).resolve().parents[3] / "protocols" / "vectors"


def vectors(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))["frames"]


def write_pcap(path, raws, *, magic=0xA1B2C3D4, order="<", link_type=1, missing=0):
    """A classic pcap file; ``missing`` bytes of every frame were not recorded."""
    with open(path, "wb") as out:
        out.write(struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link_type))
        for i, raw in enumerate(raws):
            kept = raw[:len(raw) - missing]
            out.write(struct.pack(order + "IIII", 100 + i, 250, len(kept), len(raw)) + kept)
    return str(path)


def write_pcapng(path, raws, nanoseconds=False):
    def block(kind, body):
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    resolution = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0) if nanoseconds else b""
    with open(path, "wb") as out:
        out.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        out.write(block(1, struct.pack("<HHI", 1, 0, 262144) + resolution))
        for i, raw in enumerate(raws):
            ticks = 100_000_000_000 + i if nanoseconds else 100_000_250 + i
            out.write(block(6, struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(raw), len(raw)) + raw))
    return str(path)


def run(*arguments):
    result = CliRunner().invoke(decode, list(arguments), catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lines_of(*arguments):
    return [json.loads(line) for line in run("--json", *arguments).stdout.splitlines()]


def test_json_has_every_field_with_names_for_enums(tmp_path):
    entries = vectors("frames.json")
    path = write_pcap(tmp_path / "v.pcap", [bytes.fromhex(e["hex"]) for e in entries])
    found = lines_of(path, "--payload")
    assert len(found) == len(entries)
    for number, (e, line) in enumerate(zip(entries, found, strict=True), 1):
        assert (line["number"], line["time_ns"], line["drop"]) == (number, (99 + number) * 10**9 + 250_000, None)
        assert (line["opcode"], line["header"]) == (e["opcode"], e["decoded"]["header"])
        for name, want in e["decoded"]["payload"].items():
            if isinstance(want, int) and not name.startswith("reserved") and not isinstance(line["payload"][name], str):
                assert line["payload"][name] == want
    by_name = {e["name"]: line for e, line in zip(entries, found, strict=True)}
    assert by_name["hello_suite0"]["payload"]["serial"] == "SAF385A-0001"
    assert by_name["hello_suite0"]["ethertype"] == "discovery"
    assert by_name["xfer_open_suite0"]["payload"]["kind"] == "image"
    assert by_name["group_run_suite1"]["payload"]["inner_opcode"] == "run"
    assert by_name["group_run_suite1"]["members"][1]["object"] == 4
    assert by_name["data_last_short"]["payload"]["block"] == entries[-5]["decoded"]["payload"]["block"]


def test_blocks_and_padding_are_lengths_unless_asked_for(tmp_path):
    entries = {e["name"]: bytes.fromhex(e["hex"]) for e in vectors("frames.json")}
    path = write_pcap(tmp_path / "v.pcap", [entries["data_first_block"], entries["xfer_open_suite0"]])
    data, opened = (line["payload"] for line in lines_of(path))
    assert data == {"block_bytes": 1472}
    assert (opened["padding_bytes"], "padding" in opened) == (1408, False)


def test_lines_tell_who_what_and_why_dropped(tmp_path):
    entries = vectors("frames.json") + vectors("malformed.json")
    wanted = [e for e in entries if len(e["hex"]) >= 28 and not e["name"].startswith("ethertype_not")]
    path = write_pcap(tmp_path / "v.pcap", [bytes.fromhex(e["hex"]) for e in wanted])
    lines = run(path).stdout.splitlines()
    assert len(lines) == len(wanted)
    for e, line in zip(wanted, lines, strict=True):
        if "drop" not in e:
            assert "dropped:" not in line, e["name"]
            assert f"  {e['opcode'].upper()}  session=" in line, e["name"]
        elif e["drop"] not in ("wrong_direction", "oversized"):  # a recording has both directions and no MTU
            assert f"dropped: {e['drop']}" in line, e["name"]
    assert lines[0].startswith("0.000000  02:00:5a:00:00:fe → ff:ff:ff:ff:ff:ff  SOLICIT")
    assert lines[1].startswith("1.000000")
    assert all(line.isprintable() for line in lines)


def test_frames_of_others_are_left_out_and_counted(tmp_path):
    path = write_pcap(tmp_path / "v.pcap", [bytes(12) + b"\x08\x00" + bytes(46), b"\0" * 10])
    result = run(path)
    assert result.stdout == ""
    assert "2 frames of other protocols left out" in result.stderr


def test_a_frame_cut_by_the_recorder_is_not_called_malformed(tmp_path):
    raw = bytes.fromhex(vectors("frames.json")[2]["hex"])
    path = write_pcap(tmp_path / "v.pcap", [raw], missing=20)
    (line,) = lines_of(path)
    assert (line["drop"], line["cut_bytes"], line["bytes"]) == (None, 20, len(raw))
    assert "(20 bytes not recorded)" in run(path).stdout


def test_a_vlan_tagged_frame_is_one_that_is_dropped(tmp_path):
    raw = bytes.fromhex(vectors("frames.json")[0]["hex"])
    path = write_pcap(tmp_path / "v.pcap", [raw[:12] + b"\x81\x00\x00\x05" + raw[12:]])
    assert [line["drop"] for line in lines_of(path)] == ["vlan"]


def test_profile_paper(tmp_path):
    entries = vectors("paper.json")
    path = write_pcap(tmp_path / "v.pcap", [bytes.fromhex(e["hex"]) for e in entries])
    found = lines_of(path, "--profile", "paper", "--payload")
    for e, line in zip(entries, found, strict=True):
        assert {k: line.get(k) for k in e["decoded"]} == e["decoded"], e["name"]
    assert "paper command  address=4192 data=3735928559" in run(path, "--profile", "paper").stdout


def test_ethertypes_and_profile_come_from_the_cluster(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("clusters:\n  moved:\n    suite: 0\n    ethertypes: {discovery: 0x88B5}\n")
    raw = bytes.fromhex(vectors("frames.json")[0]["hex"])
    path = write_pcap(tmp_path / "v.pcap", [raw[:12] + b"\x88\xb5" + raw[14:]])
    assert lines_of(path) == []
    (line,) = lines_of(path, "--config", str(config), "--cluster", "moved")
    assert (line["opcode"], line["ethertype"], line["drop"]) == ("solicit", "discovery", None)


def test_show_has_a_line_a_field(tmp_path):
    path = write_pcap(tmp_path / "v.pcap", [bytes.fromhex(vectors("frames.json")[0]["hex"])])
    assert "spread_ms = 40575" in run(path, "--show").stdout


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "fraction_ns"), [(0xA1B2C3D4, 250_000), (0xA1B23C4D, 250)])
def test_every_kind_of_pcap_is_read(tmp_path, order, magic, fraction_ns):
    path = write_pcap(tmp_path / "v.pcap", [b"frame", b"other"], order=order, magic=magic)
    first_ns = 100 * 10**9 + fraction_ns
    assert list(read_frames(path)) == [(first_ns, b"frame", 5), (first_ns + 10**9, b"other", 5)]


@pytest.mark.parametrize(("nanoseconds", "first_ns"), [(False, 100_000_250_000), (True, 100_000_000_000)])
def test_pcapng_is_read(tmp_path, nanoseconds, first_ns):
    path = write_pcapng(tmp_path / "v.pcapng", [b"frame", b"more"], nanoseconds)
    frames = list(read_frames(path))
    assert [(raw, size) for _, raw, size in frames] == [(b"frame", 5), (b"more", 4)]
    assert frames[0][0] == first_ns


def test_what_is_no_recording_is_refused(tmp_path):
    text = tmp_path / "x"
    text.write_text("not a recording at all, but long enough for a header")
    with pytest.raises(ConfigError, match="not a recording"):
        run(str(text))
    text.write_bytes(b"")
    with pytest.raises(ConfigError, match="not a recording"):
        run(str(text))
    with pytest.raises(ConfigError, match="cannot read"):
        run(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="not Ethernet"):
        run(write_pcap(tmp_path / "wlan.pcap", [b"frame"], link_type=105))
