"""`safhost capture` on a virtual interface, in a network namespace of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from safhost.cli.capture import Recorder, read_frames, record
from safhost.errors import LinkError
from safhost.link import netns
from safhost.link.packet import PacketLink
from safhost.link.pcap import PcapWriter
from safhost.units import BROADCAST, Mac
from safhost.wire.codec import Codec
from safhost.wire.generated import ETHERTYPES

A, B, C = (Mac(0x02005A000000 + i) for i in (1, 2, 3))
TYPES = tuple(ETHERTYPES.values())
OURS, FOREIGN = b"\x80\xcc", b"\x08\x00"


def frame(destination, source, kind=OURS, size=46):
    return bytes(destination) + bytes(source) + kind + bytes(i & 255 for i in range(size))


def raw_socket(name):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((name, 0))
    return sock


def frames_in(path):
    return [raw for _, raw, _ in read_frames(str(path))]


def record_now(folder, count, name="va", *, codec=None, send=()):
    """Record ``count`` of what ``send`` [(interface, frame)] puts on the wire, listening from before the first."""
    path = Path(folder) / "out.pcap"
    recorder = Recorder(name, codec or Codec(), TYPES)
    writer = PcapWriter(path)
    for interface, raw in send:
        with raw_socket(interface) as sock:
            sock.send(raw)
    done = record(recorder, writer, count, None)
    writer.close()
    recorder.close()
    recorder.close()
    return done, recorder.lost, path


def scenario_both_directions_and_frames_for_others_are_recorded(folder):
    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    sent = [("va", frame(B, A)), ("vb", frame(A, B)), ("vb", frame(C, B)), ("vb", frame(BROADCAST, B, size=1486))]
    foreign = [("va", frame(B, A, FOREIGN)), ("vb", frame(A, B, FOREIGN))]
    done, lost, path = record_now(folder, 4, send=[*sent[:2], *foreign, *sent[2:]])
    assert (done, lost) == (4, 0)
    assert frames_in(path) == [raw for _, raw in sent]
    times = [t for t, _, _ in read_frames(str(path))]
    # the kernel stamps the two directions at different places, so that neighbours may be microseconds out of order
    assert min(times) > 1_700_000_000 * 10**9
    assert max(times) - min(times) < 60 * 10**9


def scenario_a_recorder_hears_what_is_for_others(folder):
    """A veth delivers everything anyway; a network card does so only when it is told to."""
    from pyroute2 import IPRoute

    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    with IPRoute() as routes:
        def promiscuity():
            return routes.get_links(ifname="va")[0].get_attr("IFLA_PROMISCUITY")

        assert promiscuity() == 0
        recorder = Recorder("va", Codec(), TYPES)
        assert promiscuity() == 1
        recorder.close()
        assert promiscuity() == 0


def scenario_count_ends_it_and_leaves_the_rest(folder):
    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    done, _, path = record_now(folder, 5, send=[("va", frame(B, A, size=46 + i)) for i in range(9)])
    assert done == 5
    assert [len(raw) for raw in frames_in(path)] == [60, 61, 62, 63, 64]


def scenario_other_ethertypes_and_vlan_tags_are_recorded(folder):
    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    moved, tagged = frame(B, A, b"\x88\xb5"), frame(A, B, b"\x81\x00\x00\x05" + OURS)
    done, _, path = record_now(folder, 2, codec=Codec({"discovery": 0x88B5}),
                               send=[("va", moved), ("vb", tagged)])
    assert done == 2
    assert frames_in(path) == [moved, tagged]


def scenario_bulk_is_recorded_whole(folder):
    import numpy as np

    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    recorder, writer = Recorder("va", Codec(), TYPES), PcapWriter(Path(folder) / "out.pcap")
    link = PacketLink("va")
    n = 2000
    headers = np.zeros((n, 40), np.uint8)
    headers[:, :14] = np.frombuffer(frame(BROADCAST, A, b"\x80\xaa", 0), np.uint8)
    headers[:, 28:32] = np.arange(n, dtype=">u4").view(np.uint8).reshape(n, 4)
    payload, step = np.zeros(1472, np.uint8), 40  # what the smallest socket buffer holds
    for at in range(0, n, step):
        assert link.send_blocks(headers[at:at + step], payload, np.zeros(step, np.int64), 1472) == step
        assert record(recorder, writer, step, None) == step
    writer.close()
    recorder.close()
    link.close()
    numbers = [int.from_bytes(raw[28:32], "big") for raw in frames_in(Path(folder) / "out.pcap")]
    assert (numbers, recorder.lost) == (list(range(n)), 0)


def scenario_interface_down_is_said_and_the_file_stays(folder):
    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    recorder, writer = Recorder("va", Codec(), TYPES), PcapWriter(Path(folder) / "out.pcap")
    with raw_socket("va") as sock:
        sock.send(frame(B, A))
    assert record(recorder, writer, 1, None) == 1
    netns.set_up("va", is_up=False)
    with pytest.raises(LinkError, match="va went down"):
        record(recorder, writer, None, None)
    writer.close()
    recorder.close()
    assert len(frames_in(Path(folder) / "out.pcap")) == 1
    with pytest.raises(LinkError, match="va is down"):
        Recorder("va", Codec(), TYPES)
    with pytest.raises(LinkError, match="no interface 'vx'"):
        Recorder("vx", Codec(), TYPES)


def scenario_command_ends_on_interrupt_and_sums_up(folder):
    """The command as a process: it says that it records, we send, it gets Ctrl-C."""
    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    path = Path(folder) / "out.pcap"
    process = subprocess.Popen([sys.executable, "-m", "safhost.cli", "capture", "-i", "va", "-o", str(path)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert "recording va" in process.stderr.readline()
        with raw_socket("vb") as sock:
            sock.send(frame(A, B))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (0, f"1 frame in {path}\n", "")
    assert frames_in(path) == [frame(A, B)]


def scenario_command_with_json_and_errors(folder):
    netns.create_veth("va", "vb", mac_a=A, mac_b=B)
    path = Path(folder) / "out.pcap"

    def call(*arguments):
        return subprocess.run([sys.executable, "-m", "safhost.cli", "capture", *arguments], capture_output=True,
                              text=True, timeout=60, check=False)

    done = call("-i", "va", "-o", str(path), "--seconds", "50ms", "--json")
    assert json.loads(done.stdout) == {"file": str(path), "interface": "va", "frames": 0, "lost": 0}
    assert frames_in(path) == []
    missing = call("-i", "vx", "-o", str(path))
    assert (missing.returncode, missing.stdout) == (4, "")
    assert "no interface 'vx'" in missing.stderr
    assert call("-i", "va", "-o", str(Path(folder) / "none" / "x.pcap"), "--seconds", "1").returncode == 4
    two = call("-i", "va", "-i", "vb", "-o", str(path))
    assert two.returncode == 2
    assert "2 interfaces" in two.stderr


SCENARIOS = [name for name in dir() if name.startswith("scenario_")]


@pytest.mark.lab
@pytest.mark.parametrize("name", SCENARIOS)
def test_capture(name, tmp_path):
    state = {"SAFHOST_STATE": str(tmp_path / "state"), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(netns.netns_command([sys.executable, __file__, name, str(tmp_path)]), capture_output=True,
                          text=True, timeout=100, check=False, env=os.environ | state)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
