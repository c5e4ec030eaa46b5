import struct

import numpy as np
import pytest
from scapy.utils import RawPcapReader

from safhost.errors import LinkError
from safhost.link.memory import MemoryHub
from safhost.link.pcap import PcapLink, PcapReplayLink, read_pcap
from safhost.units import Mac

HOST, CARD = Mac(0x02005A000001), Mac(0x02005A000002)
START_NS = 1_700_000_000_123_456_789


def frame(destination, source, body):
    return bytes(destination) + bytes(source) + b"\x80\xcc" + body


@pytest.fixture
def recording(tmp_path):
    """Host and card exchange five frames; the host's link is recorded. (path, frames in order)."""
    hub = MemoryHub()
    times = iter(range(START_NS, START_NS + 100))
    host = PcapLink(hub.attach(HOST), tmp_path / "host.pcap", lambda: next(times))
    card = hub.attach(CARD)
    asked = frame(CARD, HOST, b"ask")
    host.send_frames([asked])
    answers = [frame(HOST, CARD, b"one"), frame(HOST, CARD, b"seventeen")]
    card.send_frames(answers)
    assert len(host.receive()) == 2
    assert host.receive() is None
    headers = np.zeros((2, 40), np.uint8)
    headers[:, :14] = np.frombuffer(frame(CARD, HOST, b""), np.uint8)
    payload = np.arange(200, dtype=np.uint8)
    assert host.send_blocks(headers, payload, np.array([0, 150]), 100, 50) == 2
    blocks = [headers[0].tobytes() + payload[:100].tobytes(), headers[1].tobytes() + payload[150:].tobytes()]
    assert host.counters()["tx_frames"] == 3
    host.close()
    card.close()
    return tmp_path / "host.pcap", [asked, *answers, *blocks]


def test_recording_holds_every_frame_with_its_time(recording):
    path, expected = recording
    frames, times = read_pcap(path)
    assert frames == expected
    assert times == [START_NS, START_NS + 1, START_NS + 1, START_NS + 2, START_NS + 2]


def test_recording_is_read_by_scapy_as_nanosecond_ethernet(recording):
    path, expected = recording
    with RawPcapReader(str(path)) as reader:
        assert reader.nano
        assert reader.linktype == 1
        records = list(reader)
    assert [data for data, _ in records] == expected
    assert (records[0][1].sec, records[0][1].usec) == (1_700_000_000, 123_456_789)


def test_replay_feeds_what_was_received_and_collects_what_is_sent(recording):
    path, expected = recording
    link = PcapReplayLink(path, HOST)
    first = link.receive(1)
    assert first.frames[0, :first.lengths[0]].tobytes() == expected[1]
    second = link.receive()
    assert [row[:n].tobytes() for row, n in zip(second.frames, second.lengths, strict=True)] == [expected[2]]
    assert link.receive() is None
    link.send_frames([memoryview(expected[0])])
    link.send_blocks(np.zeros((1, 40), np.uint8), np.ones(9, np.uint8), np.array([0]), 9)
    assert link.sent == [expected[0], bytes(40) + b"\1" * 9]
    link.close()


def test_microsecond_file_of_the_other_byte_order_is_read(tmp_path):
    path = tmp_path / "big.pcap"
    path.write_bytes(struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
                     + struct.pack(">IIII", 7, 5, 3, 60) + b"abc")
    assert read_pcap(path) == ([b"abc"], [7_000_005_000])


@pytest.mark.parametrize("cut", [1, 30, 103])
def test_truncated_recording_is_refused(recording, tmp_path, cut):
    path, _ = recording
    short = tmp_path / "short.pcap"
    short.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(LinkError, match="middle of record"):
        read_pcap(short)


def test_lying_record_length_is_refused(tmp_path):
    path = tmp_path / "lie.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
                     + struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 60) + b"abc")
    with pytest.raises(LinkError, match="record 1"):
        read_pcap(path)


@pytest.mark.parametrize("content", [b"", b"\x0a\x0d\x0d\x0a" + bytes(40),
                                     struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(LinkError):
        PcapReplayLink(path, HOST)


def test_missing_file_and_folder_are_link_errors(tmp_path):
    with pytest.raises(LinkError):
        read_pcap(tmp_path / "none.pcap")
    with pytest.raises(LinkError):
        PcapLink(MemoryHub().attach(HOST), tmp_path / "none" / "x.pcap", lambda: 0)
