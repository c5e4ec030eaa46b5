"""Inference that goes without a task a request: what a connection does with it, on bare sockets."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any

import pytest
from front_kit import Front

from safhost.serve.auth import Security
from safhost.serve.http import direct
from safhost.serve.types import Reply, Request, Tensor

BODY = json.dumps({"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}).encode()
Fronts = Callable[..., Front]


class Wire:
    """A connection on which bytes are sent as they are."""

    def __init__(self, front: Front) -> None:
        self.sock = socket.create_connection(("127.0.0.1", front.http.port), 20)

    def send(self, model: str, body: bytes = BODY, headers: str = "", parts: int = 1) -> None:
        data = self.request(model, body, headers)
        step = -(-len(data) // parts)
        for at in range(0, len(data), step):
            self.sock.sendall(data[at:at + step])

    @staticmethod
    def request(model: str, body: bytes = BODY, headers: str = "") -> bytes:
        return (f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: here\r\n{headers}"
                f"Content-Length: {len(body)}\r\n\r\n").encode() + body

    def answer(self) -> tuple[int, dict[str, Any], dict[str, str]]:
        """The next: status, document, headers."""
        with HTTPResponse(_Unread(self.sock), method="POST") as response:  # type: ignore[arg-type]
            response.begin()
            return response.status, json.loads(response.read()), dict(response.getheaders())


class _Unread:
    """A socket of which a response reads no more than is its own: byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> Any:
        return self._sock.makefile(mode, buffering=0)


@pytest.fixture
def wires() -> Iterator[Callable[[Front], Wire]]:
    made: list[Wire] = []

    def make(front: Front) -> Wire:
        made.append(Wire(front))
        return made[-1]
    yield make
    for wire in made:
        wire.sock.close()


Wires = Callable[[Front], Wire]


def test_uvicorn_is_one_with_which_it_goes() -> None:
    assert direct.is_possible()


def test_one_connection_brings_many_requests_whole_or_in_parts(front: Front, wires: Wires) -> None:
    wire = wires(front)
    for parts in (1, 2, 5, 50):
        wire.send("identity", parts=parts)
        status, document, headers = wire.answer()
        assert (status, document["outputs"][0]["data"]) == (200, [1, 2])
        assert "connection" not in headers
    wire.sock.sendall(b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
    for part in (BODY[:10], BODY[10:], b""):
        wire.sock.sendall(b"%x\r\n%b\r\n" % (len(part), part))
    assert wire.answer()[0] == 200


def test_requests_that_do_not_wait_for_answers_get_them_in_order(front: Front, wires: Wires) -> None:
    wire = wires(front)
    wire.sock.sendall(b"".join(wire.request(model) for model in ("slow", "identity", "slow", "identity")))
    for _ in range(2):
        front.engine.wait_held(1)
        front.engine.let_go()
    assert [wire.answer()[1]["model_name"] for _ in range(4)] == ["slow", "identity", "slow", "identity"]


def test_a_client_that_left_is_known_to_be_gone(front: Front, wires: Wires) -> None:
    wire = wires(front)
    wire.send("slow")
    front.engine.wait_held(1)
    request = front.engine.held[0]
    assert request.is_gone is not None
    assert not request.is_gone()
    wire.sock.close()
    other = wires(front)
    for _ in range(3):  # rounds of the event loop
        other.send("identity")
        assert other.answer()[0] == 200
    assert request.is_gone()
    front.engine.let_go()


def test_replies_of_a_batch_are_sent_together(front: Front, wires: Wires) -> None:
    some = [wires(front) for _ in range(3)]
    for wire in some:
        wire.send("slow")
    front.engine.wait_held(3)
    held, front.engine.held = front.engine.held, []
    homes = {request.home for request in held}
    assert len(homes) == 1

    def reply(request: Request) -> Reply:
        tensor = request.inputs[0]
        return Reply("slow", "1", [Tensor("OUTPUT", "FP32", tensor.array)], id=request.id)
    pairs = [(request.on_reply, reply(request)) for request in held]
    sender = threading.Thread(target=homes.pop(), args=(pairs,))
    sender.start()
    assert [wire.answer()[0] for wire in some] == [200] * 3
    sender.join()


def test_a_token_is_asked_for(fronts: Fronts, wires: Wires) -> None:
    wire = wires(fronts(Security(token=b"sesame")))
    wire.send("identity", headers="Authorization: Bearer sesame\r\n")
    assert wire.answer()[0] == 200
    for wrong in ("", "Authorization: Bearer rice\r\n"):
        wire.send("identity", headers=wrong)
        status, document, headers = wire.answer()
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert "token" in document["error"]


def test_a_body_that_goes_on_and_on_is_refused(front: Front, wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "LIMIT_BYTES", 1000)
    wire = wires(front)
    wire.sock.sendall(b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
    for size in (900, 900, 900):
        wire.sock.sendall(b"%x\r\n%b\r\n" % (size, b" " * size))
    wire.sock.sendall(b"0\r\n\r\n")
    status, document, _ = wire.answer()
    assert (status, "is longer than" in document["error"]) == (400, True)
    wire.send("identity")
    assert wire.answer()[0] == 200


def test_a_connection_ends_when_its_client_wants_it_or_the_server_drains(front: Front, wires: Wires) -> None:
    wire = wires(front)
    wire.send("identity", headers="Connection: close\r\n")
    status, _, headers = wire.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert wire.sock.recv(1) == b""
    last = wires(front)
    last.send("slow")
    front.engine.wait_held(1)
    front.http.stop(20.0)
    for _ in range(10_000):
        try:
            socket.create_connection(("127.0.0.1", front.http.port), 20).close()
        except OSError:
            break
    front.engine.let_go()
    status, _, headers = last.answer()
    assert (status, headers["connection"]) == (200, "close")


def test_an_answer_that_cannot_be_made_is_an_error(front: Front, wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> Any:
        raise ValueError("of no use")
    wire = wires(front)
    with monkeypatch.context() as patched:
        patched.setattr(direct, "body_of", broken)
        wire.send("identity")
        status, document, _ = wire.answer()
    assert (status, document["error"]) == (500, "ValueError: of no use")
    wire.send("identity")
    assert wire.answer()[0] == 200


def test_an_idle_connection_is_closed(fronts: Fronts, wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safhost.serve.http.server.IDLE_S", 0.05)
    wire = wires(fronts())
    assert wire.sock.recv(1) == b""


@pytest.mark.parametrize(("accepted", "coding"), [("gzip, deflate, br", "gzip"), ("gzip;q=0.5, deflate", "deflate"),
                                                  ("br", None), ("identity", None)])
def test_an_answer_is_compressed_as_its_client_takes_it(front: Front, wires: Wires, accepted: str,
                                                        coding: str | None) -> None:
    wire = wires(front)
    wire.send("identity", headers=f"Accept-Encoding: {accepted}\r\n")
    with HTTPResponse(_Unread(wire.sock), method="POST") as response:  # type: ignore[arg-type]
        response.begin()
        data = response.read()
        assert response.getheader("content-encoding") == coding
        assert int(response.getheader("content-length", "0")) == len(data)
    data = data if coding is None else zlib.decompress(data, zlib.MAX_WBITS | 32)
    assert json.loads(data)["outputs"][0]["data"] == [1, 2]
