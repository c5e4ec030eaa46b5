"""Gathered sending, over a local datagram socket pair: the kernel joins the parts in the same way."""

import errno
import socket

import numpy as np
import pytest

from safhost.link.mmsg import MAX_MESSAGES, MessageSender


@pytest.fixture
def pair():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    b.setblocking(False)
    with a, b:
        yield a, b


def test_messages_are_header_and_block(pair):
    a, b = pair
    headers = np.random.default_rng(1).integers(0, 256, (6, 40), np.uint8)[::2]
    payload = np.random.default_rng(2).integers(0, 256, 500, np.uint8)
    payload.flags.writeable = False
    offsets = np.array([400, 0, 490], np.int64)
    sender = MessageSender()
    for last in (10, 100):
        offsets[2] = 500 - last
        sent = sender.send(a.fileno(), headers, payload, offsets, length_bytes=100, last_length_bytes=last)
        assert sent == (3, 0)
        for i, size in enumerate((100, 100, last)):
            start = offsets[i]
            assert b.recv(4096) == headers[i].tobytes() + payload[start:start + size].tobytes()


def test_full_queue_gives_a_short_send_that_can_be_continued(pair):
    a, b = pair
    n = 2 * MAX_MESSAGES + 50
    headers = np.zeros((n, 40), np.uint8)
    headers[:, 0:4] = np.arange(n, dtype=">u4").view(np.uint8).reshape(n, 4)
    payload = np.arange(n, dtype=np.uint32).view(np.uint8)
    offsets = np.arange(n, dtype=np.int64) * 4
    sender = MessageSender()
    done, shorts, received = 0, 0, []
    while done < n:
        taken, code = sender.send(a.fileno(), headers[done:], payload, offsets[done:], length_bytes=4,
                                  last_length_bytes=3)
        done += taken
        assert code == (0 if done == n else errno.EAGAIN)
        shorts += code != 0
        for _ in range(taken):
            received.append(b.recv(4096))
    assert shorts > 0
    for i, message in enumerate(received):
        assert int.from_bytes(message[:4], "big") == i
        assert message[40:] == payload[4 * i:4 * i + (3 if i == n - 1 else 4)].tobytes()


def test_error_is_told_with_what_was_taken_before(pair):
    a, b = pair
    b.close()
    taken, code = MessageSender().send(a.fileno(), np.zeros((2, 40), np.uint8), np.zeros(8, np.uint8),
                                       np.zeros(2, np.int64), length_bytes=8, last_length_bytes=8)
    assert (taken, code) == (0, errno.ECONNREFUSED)
