import select

import numpy as np
import pytest

from safhost.errors import LinkError
from safhost.link.base import LinkDown
from safhost.link.memory import MemoryHub
from safhost.units import BROADCAST, Mac

A, B, C, STRANGER = (Mac(0x02005A000000 + i) for i in (1, 2, 3, 99))


def frame(destination, source, body=b"hello", ethertype=0x80CC):
    return bytes(destination) + bytes(source) + ethertype.to_bytes(2, "big") + body


def bulk(destination, source, n):
    headers = np.zeros((n, 40), np.uint8)
    headers[:, :14] = np.frombuffer(frame(destination, source, b"", 0x80DD), np.uint8)
    headers[:, 31] = np.arange(n)
    return headers


def received(link, max_frames=1024):
    out = []
    while (batch := link.receive(max_frames)) is not None:
        assert 0 < len(batch) <= max_frames
        out += [row[:n].tobytes() for row, n in zip(batch.frames, batch.lengths.tolist(), strict=True)]
        batch.release()
    return out


def test_unicast_reaches_its_owner_alone():
    hub = MemoryHub()
    a, b, c = hub.attach(A), hub.attach(B), hub.attach(C)
    sent = [frame(B, A, b"1"), frame(C, A, b"22"), frame(B, A, b"333")]
    assert a.send_frames(sent) == 3
    assert received(b) == [sent[0], sent[2]]
    assert received(c) == [sent[1]]
    assert received(a) == []


def test_broadcast_reaches_all_others_but_not_the_sender():
    hub = MemoryHub()
    a, b, c = hub.attach(A), hub.attach(B), hub.attach(C)
    b.send_frames([frame(BROADCAST, B)])
    assert received(a) == received(c) == [frame(BROADCAST, B)]
    assert received(b) == []


def test_unknown_unicast_reaches_promiscuous_links_only():
    hub = MemoryHub()
    a, b, c = hub.attach(A), hub.attach(B), hub.attach(C, promiscuous=True)
    a.send_frames([frame(STRANGER, A), frame(B, A)])
    assert received(c) == [frame(STRANGER, A)]
    assert received(b) == [frame(B, A)]


def test_bulk_arrives_whole_with_a_short_last_block():
    hub = MemoryHub()
    a, b = hub.attach(A), hub.attach(B)
    payload = np.random.default_rng(5).integers(0, 256, 10_000, np.uint8)
    payload.flags.writeable = False
    offsets = np.array([0, 6400, 9990])
    assert a.send_blocks(bulk(B, A, 3), payload, offsets, 64, 10) == 3
    frames = received(b, max_frames=2)
    assert [len(f) for f in frames] == [104, 104, 50]
    for got, header, start in zip(frames, bulk(B, A, 3), offsets, strict=True):
        assert got == header.tobytes() + payload[start:start + len(got) - 40].tobytes()


def test_full_queue_drops_the_newest_and_counts():
    hub = MemoryHub()
    a, b = hub.attach(A), hub.attach(B, capacity_frames=5)
    a.send_frames([frame(B, A, bytes([i])) for i in range(8)])
    a.send_frames([frame(B, A, b"late")])
    assert received(b) == [frame(B, A, bytes([i])) for i in range(5)]
    assert b.counters()["rx_drops"] == 4
    assert b.counters()["rx_frames"] == 5


def test_send_limit_gives_short_sends():
    hub = MemoryHub()
    a, b = hub.attach(A, send_limit_frames=2), hub.attach(B)
    payload = np.arange(256, dtype=np.uint8)
    assert a.send_blocks(bulk(B, A, 3), payload, np.array([0, 64, 200]), 64, 5) == 2
    assert a.want_write()
    assert [len(f) for f in received(b)] == [104, 104]
    assert a.send_frames([frame(B, A)]) == 1
    assert not a.want_write()


def test_frame_longer_than_the_receivers_mtu_is_dropped_there_silently():
    hub = MemoryHub()
    a, b = hub.attach(A, mtu=9000), hub.attach(B, mtu=1500)
    a.send_frames([frame(B, A, bytes(1501)), frame(B, A, bytes(1500))])
    assert [len(f) for f in received(b)] == [1514]
    assert b.counters()["rx_oversize"] == 1


def test_frame_longer_than_the_senders_mtu_is_refused():
    hub = MemoryHub()
    a = hub.attach(A)
    with pytest.raises(LinkError, match="exceeds MTU"):
        a.send_frames([frame(B, A, bytes(1501))])
    with pytest.raises(LinkError, match="exceeds MTU"):
        a.send_blocks(bulk(B, A, 1), np.zeros(1475, np.uint8), np.array([0]), 1475)


def test_other_ethertypes_are_filtered_and_counted():
    hub = MemoryHub()
    a, b = hub.attach(A), hub.attach(B, ethertypes=[0x80EF, 0x80CC])
    a.send_frames([frame(B, A, ethertype=t) for t in (0x0800, 0x80CC, 0x88B5, 0x80EF)])
    assert received(b) == [frame(B, A, ethertype=0x80CC), frame(B, A, ethertype=0x80EF)]
    assert b.counters()["rx_filtered"] == 2


def test_descriptor_is_readable_while_frames_wait():
    hub = MemoryHub()
    a, b = hub.attach(A), hub.attach(B)
    poll = select.poll()
    poll.register(b.fileno(), select.POLLIN)
    assert not poll.poll(0)
    a.send_frames([frame(B, A), frame(B, A)])
    assert poll.poll(0)
    b.receive(1)
    assert poll.poll(0)
    b.receive(1)
    assert not poll.poll(0)
    a.send_frames([frame(B, A)])
    assert poll.poll(0)
    b.close()
    a.close()


def test_link_that_is_down_or_closed_neither_sends_nor_receives():
    hub = MemoryHub()
    a, b = hub.attach(A), hub.attach(B)
    b.set_up(False)
    a.send_frames([frame(B, A)])
    with pytest.raises(LinkDown):
        b.send_frames([frame(A, B)])
    b.set_up(True)
    assert received(b) == []
    a.send_frames([frame(B, A)])
    assert received(b) == [frame(B, A)]
    b.close()
    b.close()
    assert a.send_frames([frame(B, A)]) == 1
    with pytest.raises(LinkDown):
        b.send_frames([frame(A, B)])


def test_address_is_attached_once():
    hub = MemoryHub()
    a = hub.attach(A)
    with pytest.raises(LinkError, match="attached already"):
        hub.attach(A)
    a.close()
    hub.attach(A)
