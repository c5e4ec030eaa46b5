"""Connections whose request does not come to an end are closed; others are not."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable

import pytest
from front_kit import Front

from safhost.serve.http import patience

HEAD = b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"


def swept(front: Front, times: int) -> None:
    """As many sweeps, without the time between them, in the loop's thread."""
    server = front.http._server
    loop = next(iter(server.server_state.connections)).loop
    for _ in range(times):
        loop.call_soon_threadsafe(patience.sweep, server.server_state.connections)


def connect(front: Front, data: bytes) -> socket.socket:
    host, _, port = front.http_place.partition(":")
    sock = socket.create_connection((host, int(port)), timeout=20)
    sock.sendall(data)
    return sock


def arrived(front: Front, connections: int) -> None:
    """Until the server has these connections and has read what they sent before: it answers a later one."""
    client = http.client.HTTPConnection(front.http_place, timeout=20)
    for _ in range(200):
        client.request("GET", "/v2/health/live")
        assert client.getresponse().read() == b""
        if len(front.http._server.server_state.connections) > connections:
            break
    client.close()


def until(condition: Callable[[], bool]) -> None:
    turn, deadline = threading.Event(), time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        turn.wait(0.005)


@pytest.mark.parametrize("data", [b"", b"GET /v2 HT", HEAD[:-2], HEAD + b"{"])
def test_request_that_stops_in_the_middle_is_not_waited_for_for_ever(front: Front, data: bytes) -> None:
    with connect(front, data) as sock:
        arrived(front, 1)
        swept(front, patience.PATIENCE_SWEEPS)
        arrived(front, 1)
        swept(front, 1)
        assert sock.recv(100) == b""


def test_connection_between_requests_may_rest(front: Front) -> None:
    client = http.client.HTTPConnection(front.http_place, timeout=20)
    for _ in range(3):
        client.request("GET", "/v2/health/live")
        assert client.getresponse().read() == b""
        sock = client.sock
        swept(front, 3 * patience.PATIENCE_SWEEPS)
    assert client.sock is sock
    client.close()


def test_body_that_goes_on_is_waited_for(front: Front) -> None:
    with connect(front, HEAD) as sock:
        arrived(front, 1)
        (connection,) = [c for c in front.http._server.server_state.connections if c._in_body]
        for _ in range(4):
            swept(front, patience.PATIENCE_SWEEPS)
            until(lambda: connection._sweeps == patience.PATIENCE_SWEEPS)
            sock.sendall(b"x" * 25)
            until(lambda: connection._sweeps == 0)
        assert sock.recv(100).startswith(b"HTTP/1.1 ")


def test_head_without_an_end_is_refused(front: Front) -> None:
    with connect(front, b"GET /v2 HTTP/1.1\r\nX: ") as sock:
        answer = b""
        try:
            for _ in range(100):
                sock.sendall(b"x" * (1 << 16))
            answer = sock.recv(100)
        except ConnectionError:
            return  # closed while it still sent
    assert answer.startswith(b"HTTP/1.1 431")
