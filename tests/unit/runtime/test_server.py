"""The daemon's Unix socket: who may connect, what a client's death leaves, and who owns the path."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_rig import Rig, open_fds

from safhost.core.events import StartSolicit
from safhost.errors import DaemonError
from safhost.runtime import server as server_module
from safhost.runtime.messages import MessageSocket, SharedMemory
from safhost.runtime.server import Server

NOBODY = 65534


class Served:
    """A rig behind a socket, driven by hand."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig(folder, 1)
        self.path = folder / "daemon.sock"
        self.server = Server(self.rig.engine, self.rig.service, self.path)
        self.clients: list[MessageSocket] = []

    def connect(self) -> MessageSocket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.path))
        sock.setblocking(False)
        self.clients.append(MessageSocket(sock))
        self.turn()
        return self.clients[-1]

    def turn(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            self.rig.engine.step(0)

    def ask(self, client: MessageSocket, message: dict, memory: SharedMemory | None = None) -> dict:
        client.send(message | ({"lengths": [memory.length]} if memory else {}), (memory.fd,) if memory else ())
        for _ in range(100_000):
            self.rig.pump()
            try:
                for got, _ in client.receive():
                    if got["id"] == message["id"] and "event" not in got:
                        return got
            except BlockingIOError:
                continue
        raise AssertionError("no answer")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    before = open_fds()
    made = Served(tmp_path)
    yield made
    for client in made.clients:
        client.close()
    made.server.close()
    made.rig.check_empty()
    made.rig.close()
    assert open_fds() == before


def is_open(client: MessageSocket) -> bool:
    try:
        return client.receive() is not None
    except BlockingIOError:
        return True
    except (EOFError, ConnectionResetError):
        return False


def test_client_is_answered(served):
    client = served.connect()
    assert served.ask(client, {"id": 1, "op": "info"})["result"]["cluster"] == "test"
    assert served.ask(client, {"id": "x", "op": "run"})["result"]["done"] == ["c1"]
    answer = served.ask(client, {"id": 3, "op": "nonsense"})
    assert answer["error"]["type"] == "LocalProtocolError"
    assert answer["error"]["hint"]


def test_memory_travels_as_descriptor(served):
    client = served.connect()
    memory = SharedMemory.create(5000)
    memory.array[:] = 5
    assert served.ask(client, {"id": 1, "op": "write", "address": 0}, memory)["result"]["done"] == ["c1"]
    memory.array[:] = 0
    served.ask(client, {"id": 2, "op": "read", "card": "c1", "address": 0}, memory)
    assert (memory.array == 5).all()
    memory.close()


def test_clients_are_kept_apart(served):
    a, b = served.connect(), served.connect()
    a.send({"id": 1, "op": "subscribe"})
    served.turn()
    assert served.ask(b, {"id": 1, "op": "cancel", "target": 1})["result"] == {"cancelled": False}
    assert len(served.rig.service._jobs) == 1


def test_socket_is_private_to_user_and_group(served, monkeypatch):
    mode = stat.S_IMODE(served.path.stat().st_mode)
    assert mode == (0o660 if server_module._group_id() is not None else 0o600)


def test_socket_belongs_to_the_group_where_there_is_one(tmp_path, monkeypatch):
    rig = Rig(tmp_path, 0)
    gid = os.getgid()
    monkeypatch.setattr(server_module, "GROUP", grp.getgrgid(gid).gr_name)
    server = Server(rig.engine, rig.service, tmp_path / "s")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    assert (tmp_path / "s").stat().st_gid == gid
    server.close()
    rig.close()


def test_who_may_connect(served, monkeypatch):
    may = served.server._may
    monkeypatch.setattr(server_module.os, "geteuid", lambda: 1000)
    served.server._group = None
    assert may(0, 0)
    assert may(1000, 5)
    assert not may(1001, 5)
    served.server._group = 77
    assert may(1001, 77)
    assert not may(1001, 78)
    members = grp.struct_group(("safhost", "x", 77, ["alice"]))
    monkeypatch.setattr(server_module.grp, "getgrgid", lambda _gid: members)
    people = {1002: "alice", 1003: "bob"}

    def user(uid):
        return pwd.struct_passwd((people[uid], "x", uid, 5, "", "/", "/"))
    monkeypatch.setattr(server_module.pwd, "getpwuid", user)
    assert may(1002, 5)
    assert not may(1003, 5)
    assert not may(1004, 5)


def test_stranger_is_hung_up_on(served, monkeypatch, caplog):
    monkeypatch.setattr(served.server, "_may", lambda uid, gid: False)
    client = served.connect()
    assert not is_open(client)
    assert not served.server.clients
    assert "refused process" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused_by_its_credentials(served):
    os.chmod(served.path, 0o666)
    os.chmod(served.path.parent, 0o755)
    pid = os.fork()
    if not pid:
        code = 9
        try:
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(served.path))
            code = 0 if sock.recv(1) == b"" else 1
        except PermissionError:
            code = 3  # a folder above is closed to others: then they cannot even connect
        finally:
            os._exit(code)
    for _ in range(10_000):
        served.rig.engine.step(0.01)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
    assert os.waitstatus_to_exitcode(status) in (0, 3)
    assert not served.server.clients


def test_second_daemon_on_the_same_socket_is_refused(served, tmp_path):
    folder = tmp_path / "second"
    folder.mkdir()
    rig = Rig(folder, 0)
    with pytest.raises(DaemonError, match="answers on") as caught:
        Server(rig.engine, rig.service, served.path)
    assert "stop it" in caught.value.hint
    rig.close()
    assert served.ask(served.connect(), {"id": 1, "op": "info"})["result"]


def test_socket_that_a_crash_left_is_replaced(tmp_path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "s"))
    stale.listen()
    stale.close()
    rig = Rig(tmp_path, 0)
    server = Server(rig.engine, rig.service, tmp_path / "s")
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(tmp_path / "s"))
    sock.close()
    server.close()
    assert not (tmp_path / "s").exists()
    rig.close()


@pytest.mark.parametrize("name", ["none/daemon.sock", "x" * 200])
def test_socket_that_cannot_be_made_is_an_error(tmp_path, name):
    rig = Rig(tmp_path, 0)
    with pytest.raises(DaemonError, match="cannot"):
        Server(rig.engine, rig.service, tmp_path / name)
    rig.close()


@pytest.mark.parametrize("stream", [b"\0\0\0\5hello", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2[]", b"\0\0\0\7{\"fds\":",
                                    struct.pack(">I", 60_000) + b"[" * 60_000, b"\xff" * 100])
def test_client_that_sends_rubbish_loses_its_connection_only(served, stream):
    good, bad = served.connect(), served.connect()
    bad.sock.setblocking(True)
    bad.sock.sendall(stream)
    bad.sock.shutdown(socket.SHUT_WR)
    bad.sock.setblocking(False)
    served.turn(10)
    assert not is_open(bad)
    assert served.ask(good, {"id": 1, "op": "info"})["result"]


def test_client_that_closes_takes_its_jobs_with_it(served):
    client = served.connect()
    memory = SharedMemory.create(4 << 20)
    client.send({"id": 1, "op": "subscribe"})
    client.send({"id": 2, "op": "write", "address": 0, "lengths": [memory.length]}, (memory.fd,))
    client.send({"id": 3, "op": "discover", "seconds": 60})
    client.send({"id": 4, "op": "run"})
    memory.close()
    served.turn()
    assert len(served.rig.service._jobs) >= 3
    client.close()
    served.turn()
    assert not served.rig.service._jobs
    assert not served.server.clients


def test_request_behind_the_one_that_ends_the_connection_starts_nothing(served, monkeypatch):
    client = served.connect()
    (ours,) = served.server.clients
    begun = []
    request = served.rig.service.request

    def note(connection, message, fds):
        begun.append(message["id"])
        job = request(connection, message, fds)
        ours.close()
        return job
    monkeypatch.setattr(served.rig.service, "request", note)
    memory = SharedMemory.create(10)
    client.send({"id": 1, "op": "subscribe"})
    client.send({"id": 2, "op": "write", "address": 0, "lengths": [10]}, (memory.fd,))
    client.send({"id": 3, "op": "subscribe"})
    memory.close()
    served.turn()
    assert begun == [1]
    assert not served.rig.service._jobs


def test_connection_that_ends_inside_its_own_request_leaves_nothing(served, monkeypatch):
    client = served.connect()
    (ours,) = served.server.clients
    submit = served.rig.engine.submit

    def end(event, now_ns=None):
        submit(event, now_ns)
        if isinstance(event, StartSolicit):
            ours.close()
    monkeypatch.setattr(served.rig.engine, "submit", end)
    client.send({"id": 1, "op": "discover", "seconds": 60})
    served.turn()
    assert ours.closed
    assert not served.rig.service._waiting
    assert not served.rig.service._subscribers


def test_client_that_does_not_read_is_let_go(served, monkeypatch, caplog):
    monkeypatch.setattr(server_module, "MAX_QUEUED_BYTES", 1 << 20)
    slow, good = served.connect(), served.connect()

    def ask_on() -> None:
        for i in range(30_000):
            slow.send({"id": i, "op": "cards"})
            served.turn(1)
    with pytest.raises(BrokenPipeError):
        ask_on()
    assert len(served.server.clients) == 1
    assert "does not read" in caplog.text
    assert served.ask(good, {"id": 1, "op": "info"})["result"]


def test_large_answers_go_out_as_the_client_reads(served):
    client = served.connect()
    for i in range(2000):
        client.send({"id": i, "op": "cards"})
    got = []
    for _ in range(20_000):
        if len(got) == 2000:
            break
        served.turn(1)
        client.flush()
        try:
            got += [m["id"] for m, _ in client.receive()]
        except BlockingIOError:
            continue
    assert got == list(range(2000))


def test_out_of_descriptors_turns_clients_away_and_goes_on(served):
    good = served.connect()
    waiting = socket.socket(socket.AF_UNIX)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(n) for n in os.listdir("/proc/self/fd"))
    fillers = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 1, hard))
    try:
        waiting.connect(str(served.path))
        served.turn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)
    waiting.setblocking(False)
    assert waiting.recv(1) == b""
    waiting.close()
    assert served.ask(good, {"id": 1, "op": "info"})["result"]
    assert served.ask(served.connect(), {"id": 1, "op": "info"})["result"]
