"""What clients do that mean harm, or die: the server goes on, and neither its memory nor its descriptors grow."""

from __future__ import annotations

import gzip
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from safhost.bench.serve import bodies, h2load, servers
from safhost.bench.serve.repository import Shape

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]
PLAIN = Shape("plain", 4)
MB = 1 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
CONFIG = """
backend: "identity"
max_batch_size: 8
input { name: "INPUT" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 4 ] }
"""


class Victim:
    """A server of one worker, and what it holds."""

    def __init__(self, server: servers.Server, metrics_port: int) -> None:
        self.server = server
        self.ports = {"grpc": server.grpc_port, "http": server.http_port, "metrics": metrics_port}
        (self.worker,) = [pid for pid in server.pids() if pid != server.pid and self._is_worker(pid)]

    @staticmethod
    def _is_worker(pid: int) -> bool:
        return b"safhost.serve.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()

    def held(self) -> tuple[int, int, int]:
        """MB resident, descriptors, threads."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.worker}/status").read_text().splitlines())
        return (int(status["VmRSS"].split()[0]) >> 10, len(os.listdir(f"/proc/{self.worker}/fd")),
                int(status["Threads"]))

    def connect(self, port: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[port]), timeout=20)

    def check(self) -> None:
        """It answers, over both protocols, with what was sent."""
        values = np.arange(4, dtype=np.float32)[None]
        tensor = tritonclient.grpc.InferInput("INPUT", [1, 4], "FP32").set_data_from_numpy(values)
        with tritonclient.grpc.InferenceServerClient(self.server.grpc) as client:
            found = client.infer("plain", [tensor], client_timeout=20).as_numpy("OUTPUT")
        assert np.array_equal(found, values)
        assert servers.answers(f"http://{self.server.http}/v2/models/plain/ready")
        assert servers.answers(f"http://127.0.0.1:{self.ports['metrics']}/metrics")

    def settled(self, descriptors: int) -> None:
        """Until descriptors are what they were, or some seconds."""
        deadline = time.monotonic() + 15
        while self.held()[1] > descriptors + 2 and time.monotonic() < deadline:
            time.sleep(0.1)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("abuse")
    for name in ("plain", "swapped"):
        (folder / "models" / name / "1").mkdir(parents=True)
        (folder / "models" / name / "config.pbtxt").write_text(CONFIG)
    grpc_port, http_port, metrics_port = servers.free_ports(3)
    command = [sys.executable, "-m", "safhost.cli", "serve", str(folder / "models"), f"--grpc-port={grpc_port}",
               f"--http-port={http_port}", f"--metrics-port={metrics_port}", "--allow-client-shared-memory",
               "--model-control-mode=explicit", "--load-model=*"]
    with servers.running("safhost", command, grpc_port, http_port, folder / "log") as server:
        found = Victim(server, metrics_port)
        found.check()
        yield found
        text = (folder / "log").read_text()
        assert "Traceback" not in text, text[-3000:]


def unharmed(victim: Victim, attack: Callable[[], None], warm: Callable[[], None] | None = None,
             more_mb: int = 40) -> None:
    """``attack`` leaves nothing behind. ``warm``: some of it beforehand, for what is kept once and for all."""
    (warm or attack)()
    victim.check()
    before = victim.held()
    attack()
    victim.check()
    victim.settled(before[1])
    after = victim.held()
    print(f"\nMB, descriptors, threads: {before} before, {after} after", end=" ")
    assert after[0] <= before[0] + more_mb
    assert after[1] <= before[1] + 2
    assert after[2] <= before[2] + 4


def sent(victim: Victim, port: str, data: bytes) -> bytes:
    """What is answered to some bytes until the server hangs up, or for twenty seconds."""
    answer = b""
    with victim.connect(port) as sock:
        sock.settimeout(20)
        try:
            sock.sendall(data)
            while more := sock.recv(65536):
                answer += more
        except OSError:
            pass
    return answer


def http(victim: Victim, body: bytes, *headers: str, path: str = "/v2/models/plain/infer") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    return sent(victim, "http", (head + "".join(f"{h}\r\n" for h in headers) + "\r\n").encode() + body)


@pytest.mark.parametrize("port", ["grpc", "http", "metrics"])
def test_garbage_at_a_port(victim: Victim, port: str) -> None:
    chance = random.Random(5)
    pieces = [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200), PREFACE + chance.randbytes(200),
              PREFACE + SETTINGS + b"\xff\xff\xff\1\5\0\0\0\1", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000,
              bytes(100_000), *(chance.randbytes(chance.randint(1, 3000)) for _ in range(10))]

    def attack() -> None:
        for piece in pieces:
            with victim.connect(port) as sock:
                try:
                    sock.sendall(piece)
                except OSError:
                    continue
    unharmed(victim, lambda: [attack() for _ in range(5)] and None)


@pytest.mark.parametrize("port", ["grpc", "http", "metrics"])
def test_huge_headers(victim: Victim, port: str) -> None:
    def attack() -> None:
        if port != "grpc":
            for size in (100_000, 20 * MB):
                answer = sent(victim, port, b"GET /v2 HTTP/1.1\r\nHost: h\r\nX: " + b"x" * size)
                assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:100]
            return
        with tritonclient.grpc.InferenceServerClient(victim.server.grpc) as client:
            for size in (100_000, MB):
                with pytest.raises(InferenceServerException):
                    client.is_server_live(headers={"x-large": "x" * size}, client_timeout=20)
    unharmed(victim, attack)


def test_connections_that_say_little(victim: Victim) -> None:
    """Slow loris, half-open HTTP/2, and connections that never say anything: others are served."""
    openings = {"http": [b"", b"POST /v2/models/plain/infer HTTP/1.1\r\nHost: h\r\nContent-Len",
                         b"POST /v2/models/plain/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n{"],
                "grpc": [b"", PREFACE[:10], PREFACE, PREFACE + SETTINGS], "metrics": [b"", b"GET /metr"]}

    def attack() -> None:
        with ExitStack() as stack:
            for port, starts in openings.items():
                for start in starts * 40:
                    sock = stack.enter_context(victim.connect(port))
                    sock.sendall(start)
            victim.check()
    unharmed(victim, attack)


def test_json_that_is_nested_deep(victim: Victim) -> None:
    def attack() -> None:
        for depth in (1000, 100_000, 2_000_000):
            for body in (b"[" * depth, b'{"inputs":' * depth, b'{"inputs": [{"name": "INPUT", "datatype": "FP32", '
                         b'"shape": [1, 4], "data": ' + b"[" * depth + b"1" + b"]" * depth + b"}]}"):
                answer = http(victim, body)
                assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 500")), answer[:200]
                assert b"parse" in answer, answer[-300:]
    unharmed(victim, attack)


def test_numbers_and_shapes_out_of_any_measure(victim: Victim) -> None:
    def attack() -> None:
        for shape, data in (("[1e400, 4]", "[1]"), (f"[{10**30}, 4]", "[1]"), ("[1, 4]", f"[{'9' * 5000}]"),
                            ("[1, 4]", "[NaN, 2, 3, 4]"),
                            ("[1, 4]", "[-Infinity, 2, 3, 4]"), ("[4294967296, 4294967296]", "[]"), ("[-1, -4]", "[1]"),
                            ("[1, 4]", '["a", null, {}, []]'), ("[true, 4]", "[1, 2, 3, 4]")):
            answer = http(victim, ('{"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": ' + shape +
                                   ', "data": ' + data + "}]}").encode())
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 500")), (shape, data, answer[:300])
            assert b"Error:" not in answer, answer
        request = pb.ModelInferRequest(model_name="plain")
        request.inputs.add(name="INPUT", datatype="FP32", shape=(1 << 62, 4))
        request.raw_input_contents.append(bytes(16))
        with tritonclient.grpc.InferenceServerClient(victim.server.grpc) as client, \
                pytest.raises(grpc.RpcError) as error:
            client._client_stub.ModelInfer(request, timeout=20)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    unharmed(victim, attack)


def test_body_that_unpacks_to_gigabytes(victim: Victim) -> None:
    bomb = gzip.compress(bytes(256 * MB), 9)
    while len(bomb) < 2 * MB:  # members one after the other: 2 GB in 2 MB
        bomb += bomb

    def attack() -> None:
        with ExitStack() as stack:
            stop = threading.Event()
            slowest = [0.0]

            def others() -> None:
                while not stop.is_set():
                    began = time.monotonic()
                    assert servers.answers(f"http://{victim.server.http}/v2/models/plain/ready")
                    slowest[0] = max(slowest[0], time.monotonic() - began)
            thread = threading.Thread(target=others)
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
            answer = http(victim, bomb, "Content-Encoding: gzip")
            assert answer.startswith(b"HTTP/1.1 "), answer
        print(f"\nothers waited {slowest[0]:.2f} s at most;", answer[:15], end=" ")
    unharmed(victim, attack)


def test_streaming_clients_that_are_killed(victim: Victim, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bodies.grpc_body(PLAIN, 1) * 20_000)
    chance = random.Random(7)
    url = f"http://{victim.server.grpc}/inference.GRPCInferenceService/ModelStreamInfer"
    command = [h2load.find(), "-n", "1000", "-c", "2", "-m", "2", "-d", str(body),
               *(f"-H{header}" for header in bodies.GRPC_HEADERS), url]

    def killed(times: int) -> None:
        for _ in range(times):
            client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.02, 0.1))
            client.send_signal(signal.SIGKILL)
            client.wait()
    unharmed(victim, lambda: killed(1000), lambda: killed(100))


def test_regions_that_shrink_while_they_are_used(victim: Victim) -> None:
    batch = 8
    size = batch * 16

    def attack() -> None:
        outcomes: Counter[str] = Counter()
        for _ in range(100):
            key = f"saf_abuse_{secrets.token_hex(4)}"
            path = Path("/dev/shm") / key
            path.write_bytes(bytes(2 * size))
            with tritonclient.grpc.InferenceServerClient(victim.server.grpc) as client:
                client.register_system_shared_memory(key, f"/{key}", 2 * size)
                tensor = tritonclient.grpc.InferInput("INPUT", [batch, 4], "FP32")
                tensor.set_shared_memory(key, size)
                output = tritonclient.grpc.InferRequestedOutput("OUTPUT")
                output.set_shared_memory(key, size, offset=size)
                cut = threading.Timer(random.random() / 100, os.truncate, (path, 0))
                cut.start()
                for _ in range(20):
                    try:
                        client.infer("plain", [tensor], outputs=[output], client_timeout=20)
                        outcomes["OK"] += 1
                    except InferenceServerException as error:
                        outcomes[str(error.status())] += 1
                        break
                cut.join()
                client.unregister_system_shared_memory(key)
            path.unlink()
        print(f"\n{dict(outcomes)}", end=" ")
        assert set(outcomes) <= {"OK", "StatusCode.INVALID_ARGUMENT"}
    unharmed(victim, attack)


def test_models_that_are_swapped_under_load(victim: Victim) -> None:
    configs = [json.dumps({"name": "swapped", "backend": "identity", "max_batch_size": size, "input": [
        {"name": "INPUT", "data_type": "TYPE_FP32", "dims": [4]}], "output": [
        {"name": "OUTPUT", "data_type": "TYPE_FP32", "dims": [4]}]} | extra)
        for size, extra in ((8, {}), (16, {"dynamic_batching": {}}), (4, {"parameters": {
            "delay_us": {"string_value": "500"}}}))]

    def swap(times: int) -> None:
        failures: list[Exception] = []
        answered = [0] * 4
        stop = threading.Event()

        def ask(number: int) -> None:
            values = np.arange(4, dtype=np.float32)[None]
            tensor = tritonclient.grpc.InferInput("INPUT", [1, 4], "FP32").set_data_from_numpy(values)
            with tritonclient.grpc.InferenceServerClient(victim.server.grpc) as client:
                while not stop.is_set():
                    try:
                        assert np.array_equal(client.infer("swapped", [tensor]).as_numpy("OUTPUT"), values)
                        answered[number] += 1
                    except Exception as error:
                        failures.append(error)
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(answered))]
        for thread in threads:
            thread.start()
        with tritonclient.grpc.InferenceServerClient(victim.server.grpc) as client:
            for number in range(times):
                client.load_model("swapped", config=configs[number % len(configs)])
        stop.set()
        for thread in threads:
            thread.join()
        print(f"\n{sum(answered)} answered while {times} times swapped", end=" ")
        assert not failures, (len(failures), failures[0])
        assert all(answered)
    unharmed(victim, lambda: swap(100), lambda: swap(20))
