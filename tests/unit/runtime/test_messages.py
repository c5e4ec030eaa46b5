"""Framing, descriptors and shared memory of the control socket, fed with whatever a peer may send."""

from __future__ import annotations

import fcntl
import gc
import json
import mmap
import os
import resource
import socket
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from runtime_rig import open_fds

from safhost.errors import DaemonError, LocalProtocolError, SchedulingError
from safhost.runtime import messages
from safhost.runtime.messages import F_ADD_SEALS, F_SEAL_SHRINK, MessageSocket, SharedMemory, connect_daemon

F_SEAL_WRITE = 0x0008  # linux/fcntl.h


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    before = open_fds()
    yield
    gc.collect()
    assert open_fds() == before


@pytest.fixture
def pair() -> Iterator[tuple[MessageSocket, MessageSocket]]:
    a, b = (MessageSocket(s) for s in socket.socketpair())
    a.sock.setblocking(False)
    b.sock.setblocking(False)
    yield a, b
    a.close()
    b.close()


def again(step, turns):
    """Do it over and over; one of the turns is to fail."""
    for turn in turns:
        step(turn)


def framed(*messages_: object) -> bytes:
    return b"".join(struct.pack(">I", len(d)) + d for d in (json.dumps(m).encode() for m in messages_))


def received(sock: MessageSocket) -> list[tuple[dict[str, object], list[int]]]:
    out = []
    while True:
        try:
            out += sock.receive()
        except BlockingIOError:
            return out


def test_messages_pass_in_order_with_what_they_hold(pair):
    a, b = pair
    sent = [{"id": 1, "op": "x"}, {"id": 2, "t": "ü€\0"}, {}, {"n": [1, 2.5, None, True, "x" * 100_000]}]
    for message in sent:
        a.send(message)
    assert [m for m, _ in received(b)] == sent
    assert not a.wants_write
    assert a.queued_bytes == 0


def test_messages_split_at_every_byte_are_whole_again(pair):
    a, b = pair
    sent = [{"id": 1, "op": "cards"}, {"id": 22, "op": "run", "cards": ["c1"]}]
    stream = framed(*sent)
    for cut in range(1, len(stream)):
        a.sock.sendall(stream[:cut])
        first = received(b)
        a.sock.sendall(stream[cut:])
        assert [m for m, _ in first + received(b)] == sent, cut


def test_messages_byte_by_byte_are_whole_again(pair):
    a, b = pair
    out = []
    for byte in framed({"a": 1}, {"b": [2]}, {}):
        a.sock.sendall(bytes([byte]))
        out += received(b)
    assert [m for m, _ in out] == [{"a": 1}, {"b": [2]}, {}]


def test_descriptors_come_with_their_message(pair):
    a, b = pair
    memories = [SharedMemory.create(10) for _ in range(3)]
    for i, memory in enumerate(memories):
        memory.array[:] = i
    a.send({"id": 1})
    a.send({"id": 2}, (memories[0].fd,))
    a.send({"id": 3}, (memories[1].fd, memories[2].fd))
    for memory in memories:
        memory.close()
    got = received(b)
    assert [m["id"] for m, _ in got] == [1, 2, 3]
    assert [len(fds) for _, fds in got] == [0, 1, 2]
    values = []
    for _, fds in got:
        values += [int(SharedMemory.attach(fd, 10).array[5]) for fd in fds]
    assert values == [0, 1, 2]


def test_large_queue_goes_out_as_the_peer_reads(pair):
    a, b = pair
    memory = SharedMemory.create(10)
    count = 3000
    for i in range(count):
        a.send({"id": i, "pad": "x" * 500}, (memory.fd,) if i % 50 == 0 else ())
    assert a.wants_write
    assert a.queued_bytes > 1_000_000
    got = []
    for _ in range(100_000):
        if len(got) == count:
            break
        got += received(b)
        a.flush()
    assert [m["id"] for m, _ in got] == list(range(count))
    assert [len(fds) for _, fds in got] == [int(i % 50 == 0) for i in range(count)]
    assert not a.wants_write
    assert a.queued_bytes == 0
    for _, fds in got:
        for fd in fds:
            os.close(fd)
    memory.close()


def test_message_larger_than_the_sockets_buffer_is_whole(pair):
    a, b = pair
    memory = SharedMemory.create(10)
    memory.array[:] = 6
    a.send({"id": 1, "pad": "x" * 3_000_000}, (memory.fd,))
    a.send({"id": 2})
    memory.close()
    assert a.wants_write
    got = []
    for _ in range(10_000):
        if len(got) == 2:
            break
        got += received(b)
        a.flush()
    assert [m["id"] for m, _ in got] == [1, 2]
    assert len(got[0][0]["pad"]) == 3_000_000
    assert [[int(SharedMemory.attach(fd, 10).array[0]) for fd in fds] for _, fds in got] == [[6], []]


def test_closing_with_a_queue_gives_descriptors_back(pair):
    a, _ = pair
    memory = SharedMemory.create(10)
    for i in range(2000):
        a.send({"id": i, "pad": "x" * 500}, (memory.fd,) if i % 100 == 0 else ())
    memory.close()


@pytest.mark.parametrize("stream", [
    b"\0\0\0\5hello", b"\0\0\0\0", framed([1]), framed(5), framed("x"), framed(None), b"\0\0\0\2\xff\xfe",
    b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", framed({"fds": 1}), framed({"fds": -1}), framed({"fds": "x"}),
    framed({"fds": 1.5}), struct.pack(">I", messages.MAX_MESSAGE_BYTES + 1), b"\0\0\0\5" + b"1" * 5,
    struct.pack(">I", 200_000) + b"[" * 200_000, struct.pack(">I", 100_000) + b"9" * 100_000,
], ids=range(17))
def test_what_is_no_message_is_refused(pair, stream):
    a, b = pair
    a.sock.setblocking(True)
    pieces = [stream[i:i + 60_000] for i in range(0, len(stream), 60_000)]

    def feed(piece):
        a.sock.sendall(piece)
        b.receive()
    with pytest.raises(LocalProtocolError):
        again(feed, pieces)


def test_bad_message_behind_a_good_one_gives_descriptors_back(pair):
    a, b = pair
    memory = SharedMemory.create(10)
    socket.send_fds(a.sock, [framed({"fds": 1}) + b"\0\0\0\1x"], [memory.fd])
    memory.close()
    with pytest.raises(LocalProtocolError):
        b.receive()


def test_descriptors_that_nobody_announces_are_refused(pair):
    a, b = pair
    null = os.open(os.devnull, os.O_RDONLY)


    a.sock.sendall(struct.pack(">I", 1000))

    def feed(_turn):
        socket.send_fds(a.sock, [b" "], [null] * 8)
        b.receive()
    with pytest.raises(LocalProtocolError):
        again(feed, range(10))
    os.close(null)


def test_end_of_stream_and_broken_pipe_are_told(pair):
    a, b = pair
    a.sock.sendall(b"\0\0\0\x09{}")
    a.sock.close()
    with pytest.raises(EOFError):
        again(lambda _turn: b.receive(), range(3))
    with pytest.raises(OSError, match=r"Broken pipe|Connection reset"):
        again(lambda _turn: b.send({"x": 1}), range(3))


def test_too_large_a_message_is_not_sent(pair, monkeypatch):
    a, b = pair
    monkeypatch.setattr(messages, "MAX_MESSAGE_BYTES", 1000)
    with pytest.raises(LocalProtocolError, match="too large"):
        a.send({"x": "y" * 1000})
    a.send({"x": 1})
    assert received(b) == [({"x": 1}, [])]


# -- shared memory -----------------------------------------------------------------------------------------


def test_memory_is_the_same_on_both_sides():
    ours = SharedMemory.create(10_000)
    theirs = SharedMemory.attach(os.dup(ours.fd), 10_000)
    assert theirs.fd == -1
    ours.array[:] = 7
    assert (theirs.array == 7).all()
    theirs.array[9_999] = 9
    ours.close()
    assert ours.array[9_999] == 9
    assert ours.array.flags.writeable
    assert ours.array.dtype == np.uint8


def test_memory_outlives_its_owner_while_a_view_is_held():
    memory = SharedMemory.create(1 << 20)
    view = memory.array[4096:8192].view(np.float32)
    view[:] = 3
    memory.close()
    del memory
    gc.collect()
    assert (view == 3).all()


def test_mapping_goes_with_its_last_view():
    def mapped() -> int:
        with open("/proc/self/maps", encoding="ascii") as file:
            return sum("memfd:saf-flat" in line for line in file)
    for _ in range(200):
        memory = SharedMemory.create(1 << 20, "saf-flat")
        memory.close()
    del memory
    gc.collect()
    assert mapped() == 0


def test_many_memories_hold_no_descriptor():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        kept = []
        for _ in range(600):
            memory = SharedMemory.create(100)
            memory.close()
            kept.append(memory.array)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(kept) == 600


def test_out_of_descriptors_is_an_error_with_what_to_do():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with pytest.raises(SchedulingError) as caught:
            again(lambda _turn: kept.append(SharedMemory.create(100)), range(300))
        assert "wait for results" in caught.value.hint
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for memory in kept:
            memory.close()


def test_impossible_lengths_are_refused():
    with pytest.raises(LocalProtocolError):
        SharedMemory.create(-1)
    with pytest.raises(SchedulingError):
        SharedMemory.create(1 << 62)
    empty = SharedMemory.create(0)
    assert len(SharedMemory.attach(empty.fd, 0).array) == 0


def unsealed() -> int:
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4096)
    return fd


def sealed(size: int, seals: int = F_SEAL_SHRINK) -> int:
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def read_only() -> int:
    fd = sealed(4096)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    os.close(fd)
    return again


@pytest.mark.parametrize(("make", "length"), [
    (unsealed, 100), (lambda: sealed(100), 101), (lambda: sealed(0), 0), (lambda: sealed(100), -1), (read_only, 100),
    (lambda: sealed(4096, F_SEAL_SHRINK | F_SEAL_WRITE), 100), (lambda: os.open(os.devnull, os.O_RDWR), 0),
    (lambda: os.pipe()[0], 0), (lambda: sealed(100), 1 << 70), (lambda: os.open("/proc/self/exe", os.O_RDONLY), 10),
], ids=["unsealed", "short", "empty", "negative", "read-only", "write-sealed", "device", "pipe", "huge", "file"])
def test_what_is_no_sealed_memory_is_refused_and_closed(make, length):
    before = set(os.listdir("/proc/self/fd"))
    fd = make()
    with pytest.raises(LocalProtocolError):
        SharedMemory.attach(fd, length)
    for name in set(os.listdir("/proc/self/fd")) - before - {str(fd)}:
        if os.path.exists(f"/proc/self/fd/{name}"):
            os.close(int(name))  # the pipe's other end
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_memory_cannot_be_taken_from_under_the_reader():
    memory = SharedMemory.create(2 * mmap.PAGESIZE)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 0)
    memory.close()


# -- connecting --------------------------------------------------------------------------------------------


def test_connect_says_what_to_do(tmp_path):
    with pytest.raises(DaemonError) as caught:
        connect_daemon(str(tmp_path / "none"))
    assert "safhost daemon" in caught.value.hint
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale"))
    stale.close()
    with pytest.raises(DaemonError, match="no daemon answers"):
        connect_daemon(str(tmp_path / "stale"))
    with pytest.raises(DaemonError, match="cannot connect"):
        connect_daemon(str(tmp_path / ("x" * 200)))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "datagram"))
    with pytest.raises(DaemonError, match="cannot connect"):
        connect_daemon(str(tmp_path / "datagram"))
    listening.close()
