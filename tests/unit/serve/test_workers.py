"""Worker processes: the same ports, changes in all of them, a new one for one that died, drain."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_kit import add_model
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from safhost.errors import LinkError
from safhost.serve.control import Journal
from safhost.serve.options import OFF, Options
from safhost.serve.server import Server
from safhost.serve.workers import POLLING, polling, reserve

X = np.arange(4, dtype=np.float32).reshape(1, 4)
SLOW = """
backend: "identity"
max_batch_size: 8
input { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] }
parameters { key: "execute_delay_ms" value { string_value: "1500" } }
"""


class Running:
    """``safhost serve`` as a process, with the document it prints when it serves."""

    def __init__(self, folder: Path, log: Path, *options: str) -> None:
        self._log = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "safhost.cli", "serve", str(folder), "--json", "--http-port", "0",
             "--grpc-port", "0", "--metrics-port", "0", *options], stdout=subprocess.PIPE, stderr=self._log, text=True)
        self.log = log
        assert self.process.stdout is not None
        text = ""
        while not text.rstrip().endswith("\n}"):
            line = self.process.stdout.readline()
            assert line, f"ended: {text} {log.read_text()}"
            text += line
        self.ports: dict[str, int] = json.loads(text)["ports"]

    def client(self) -> InferenceServerClient:
        """On a connection of its own, so that each may reach another worker."""
        return InferenceServerClient(f"127.0.0.1:{self.ports['grpc']}",
                                     channel_args=[("grpc.use_local_subchannel_pool", 1)])

    def get(self, port: str, path: str) -> tuple[int, bytes]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=20) as answer:
            return answer.status, answer.read()

    def workers(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children"
                                         ).read_text().split()]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
        return code


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def make(*options: str) -> Running:
        made.append(Running(tmp_path / "models", tmp_path / "log", *options))
        return made[-1]
    add_model(tmp_path / "models", "m")
    yield make
    for each in made:
        each.stop()


def infer(client: InferenceServerClient, model: str = "m") -> Any:
    tensor = InferInput("IN", [1, 4], "FP32").set_data_from_numpy(X)
    return client.infer(model, [tensor], client_timeout=30).as_numpy("OUT")


def reached(running: Running, wanted: int, ask: Callable[[InferenceServerClient], Any]) -> list[Any]:
    """Answers over ``wanted`` connections, which the kernel spreads over the workers."""
    out = []
    for _ in range(wanted):
        with running.client() as client:
            out.append(ask(client))
    return out


def test_workers_answer_as_one(serve: Callable[..., Running]) -> None:
    running = serve("--workers", "2", "--model-control-mode", "explicit", "--load-model", "m",
                    "--allow-client-shared-memory")
    assert len(running.workers()) == 2
    assert all(np.array_equal(answer, X) for answer in reached(running, 12, infer))
    with running.client() as client:
        assert client.get_inference_statistics("m").model_stats[0].inference_count == 12
    assert b'nv_inference_count{model="m",version="1"} 12.0' in running.get("metrics", "/metrics")[1]
    assert running.get("http", "/v2/health/ready")[0] == 200

    path = Path(f"/dev/shm/test-{os.getpid()}-{secrets.token_hex(4)}")
    path.write_bytes(bytes(64))
    try:
        with running.client() as client:
            client.register_system_shared_memory("r", f"/{path.name}", 64)
            with pytest.raises(InferenceServerException, match="already in manager"):
                client.register_system_shared_memory("r", f"/{path.name}", 64)
            client.update_log_settings({"log_verbose_level": 3})
            client.unload_model("m")

        def state(client: InferenceServerClient) -> tuple[bool, int, int]:
            return (client.is_model_ready("m"), len(client.get_system_shared_memory_status().regions),
                    client.get_log_settings().settings["log_verbose_level"].uint32_param)
        assert set(reached(running, 10, state)) == {(False, 1, 3)}

        # one that takes a dead one's place is as the others
        os.kill(running.workers()[0], signal.SIGKILL)
        deadline = threading.Event()
        for _ in range(600):
            if "another one takes its place" in running.log.read_text() and len(running.workers()) == 2:
                break
            deadline.wait(0.05)
        for _ in range(600):
            try:
                if set(reached(running, 10, state)) == {(False, 1, 3)}:
                    break
            except InferenceServerException:  # the connection went to the dead one
                deadline.wait(0.05)
        with running.client() as client:
            client.load_model("m")
        assert all(np.array_equal(answer, X) for answer in reached(running, 10, infer))
    finally:
        path.unlink()
    assert running.stop() == 0


def test_drain_answers_what_is_under_way(serve: Callable[..., Running], tmp_path: Path) -> None:
    add_model(tmp_path / "models", "slow", SLOW)
    running = serve("--drain-s", "20")
    answers: list[Any] = []
    with running.client() as client:
        tensor = InferInput("IN", [1, 4], "FP32").set_data_from_numpy(X)
        done = threading.Event()

        def answered(result: Any, error: Any) -> None:
            answers.append(error or result.as_numpy("OUT"))
            done.set()
        client.async_infer("slow", [tensor], answered)
        # the answer to a later request of the same connection: the first one has arrived
        infer(client)
        for _ in range(2):  # as one who ends us and our process group does: it is one wish, not two
            running.process.send_signal(signal.SIGTERM)
        assert done.wait(30)
    assert np.array_equal(answers[0], X)
    assert running.stop() == 0
    assert not Path(f"/proc/{running.process.pid}").exists() or running.process.poll() == 0


def failed(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "safhost.cli", "serve", str(folder), "--http-port", "0",
                           "--metrics-port", "off", *options], capture_output=True, text=True, timeout=60, check=False)


def test_start_that_fails_says_why(tmp_path: Path) -> None:
    add_model(tmp_path / "models", "m")
    with reserve("127.0.0.1", 0, "grpc") as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LinkError, match="cannot be opened"):
            reserve("127.0.0.1", port, "grpc")
        done = failed(tmp_path / "models", "--grpc-port", str(port))
    assert done.returncode == LinkError.exit_code
    assert "--grpc-port" in done.stderr
    done = failed(tmp_path / "models", "--load-model", "m", "--grpc-port", "0")
    assert done.returncode == 2
    assert "explicit" in done.stderr


def test_journal_keeps_what_still_matters() -> None:
    journal = Journal()
    journal.add("load", {"name": "a", "parameters": {}})
    journal.add("register", {"name": "r", "key": "/k", "offset": 0, "byte_size": 1})
    journal.add("log", {"changes": {"log_info": True}})
    journal.add("log", {"changes": {"log_error": False}})
    take_back = journal.add("unload", {"name": "a", "unload_dependents": False})
    assert [operation for operation, _ in journal] == ["register", "log", "unload"]
    assert dict(list(journal)[1][1]) == {"changes": {"log_info": True, "log_error": False}}
    take_back()
    assert [operation for operation, _ in journal] == ["register", "log", "load"]
    journal.add("unregister", {"name": ""})
    assert [operation for operation, _ in journal] == ["log", "load"]


def test_lame_duck_is_not_ready_but_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_model(tmp_path / "models", "m")
    server = Server(Options(repositories=(str(tmp_path / "models"),), http_port=OFF, grpc_port=0, metrics_port=OFF,
                            lame_duck_s=7.0))
    server.start()
    seen: list[Any] = []

    def meanwhile(seconds: float) -> None:
        with InferenceServerClient(f"127.0.0.1:{server.ports()['grpc']}") as client:
            tensor = InferInput("IN", [1, 4], "FP32").set_data_from_numpy(X)
            seen.extend([seconds, client.is_server_ready(), client.infer("m", [tensor]).as_numpy("OUT").tolist()])
    monkeypatch.setattr("safhost.serve.server.time.sleep", meanwhile)
    server.stop(5.0)
    assert seen == [7.0, False, X.tolist()]


@pytest.mark.parametrize(("found", "expected"), [("1.85.1", POLLING), ("1.62.0", POLLING), ("1.99.0", {}),
                                                 ("2.0.0", {}), ("unknown", {})])
def test_polling_is_chosen_where_grpc_is_known_to_have_the_choice(
        monkeypatch: pytest.MonkeyPatch, found: str, expected: dict[str, str]) -> None:
    monkeypatch.setattr("safhost.serve.workers.version", lambda name: found)
    assert polling() == expected
