"""The lab's control socket: answers, errors, clients that misbehave."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safhost.errors import CardBusy, ConfigError, DaemonError, DeadlineExceeded
from safhost.lab.control import MAX_REQUEST_BYTES, ControlServer, request
from safhost.lab.loop import Loop


def handle(name: str, arguments: dict[str, Any]) -> Any:
    match name:
        case "echo":
            return arguments
        case "busy":
            raise CardBusy("taken", "wait", card="VC0001")
        case "large":
            return "x" * arguments["size"]
        case "typo":
            return arguments["absent"]
    raise ConfigError(f"no {name}", "")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    loop = Loop()
    path = tmp_path / "lab.sock"
    control = ControlServer(path, loop, handle)
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    loop.add(wake, 1, lambda _mask, _now: loop.stop())
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield path
    os.eventfd_write(wake, 1)
    thread.join(10)
    assert not thread.is_alive()
    control.close()
    loop.close()
    os.close(wake)
    assert not path.exists()


def test_request_returns_result(server: Path) -> None:
    assert request(server, "echo", cards=["c1"], n=2) == {"cards": ["c1"], "n": 2}


def test_error_crosses_the_socket_with_its_type(server: Path) -> None:
    with pytest.raises(CardBusy) as caught:
        request(server, "busy")
    assert caught.value.card == "VC0001"
    assert caught.value.hint == "wait"


def test_mistaken_arguments_are_one_error(server: Path) -> None:
    with pytest.raises(DaemonError, match="makes no sense"):
        request(server, "typo")


def test_answer_larger_than_socket_buffer_arrives_whole(server: Path) -> None:
    assert len(request(server, "large", size=3_000_000)) == 3_000_000


def talk(path: Path, data: bytes, take: Callable[[socket.socket], bytes]) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return b""
        return take(sock)


def read_line(sock: socket.socket) -> bytes:
    with sock.makefile("rb") as stream:
        return stream.readline()


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b"{\"do\": 3}\n", b"\xff\xfe\n", b"{\n"])
def test_nonsense_is_answered_with_an_error(server: Path, line: bytes) -> None:
    reply = json.loads(talk(server, line, read_line))
    assert reply["ok"] is False
    assert reply["error"]["type"] == "DaemonError"


def test_endless_line_is_cut_off_and_others_are_served(server: Path) -> None:
    def read_end(sock: socket.socket) -> bytes:
        try:
            return sock.recv(1)
        except ConnectionResetError:
            return b""

    assert talk(server, b"x" * (MAX_REQUEST_BYTES + 70_000), read_end) == b""
    assert request(server, "echo") == {}


def test_several_requests_on_one_connection(server: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(server))
        with sock.makefile("rwb") as stream:
            for i in range(3):
                stream.write(json.dumps({"do": "echo", "i": i}).encode() + b"\n")
            stream.flush()
            assert [json.loads(stream.readline())["result"]["i"] for _ in range(3)] == [0, 1, 2]


def test_nobody_listens_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match="no lab answers"):
        request(tmp_path / "absent.sock", "status")


def test_silent_lab_runs_into_the_deadline(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen()
        with pytest.raises(DeadlineExceeded, match="did not answer"):
            request(path, "status", timeout_s=0.05)


def test_socket_is_private(server: Path) -> None:
    assert server.stat().st_mode & 0o077 == 0
