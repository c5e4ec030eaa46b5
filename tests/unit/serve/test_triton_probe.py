"""Every call of the probe, made to our server: code and message class equal what a real Triton answered."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safhost.bench.serve import servers
from tools.triton_probe import models, run
from tools.triton_probe.context import CASES

RECORDED = run.recorded()["calls"]
LOADED = ["--model-control-mode=explicit", *(f"--load-model={name}" for name in run.LOADED),
          "--trace-endpoint=http://127.0.0.1:9/v1/traces", "--trace-rate=1000000"]
"""As Triton was started for the recording: it takes trace settings only when it knows where traces go."""


def serve(folder: Path, options: list[str]) -> Any:
    repository = models.write(folder / "models", "identity")
    grpc_port, http_port, metrics_port = servers.free_ports(3)
    command = [sys.executable, "-m", "safhost.cli", "serve", str(repository), f"--grpc-port={grpc_port}",
               f"--http-port={http_port}", f"--metrics-port={metrics_port}", "--allow-client-shared-memory", *options]
    return servers.running("safhost", command, grpc_port, http_port, folder / "log", ready="/v2/health/live")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Of all calls, each server asked in the order in which the recorded one was."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "fixed").mkdir()
    with serve(folder, LOADED) as server:
        found = run.probe(server, "identity")
        assert servers.answers(f"http://{server.http}/v2/health/live"), "a call ended the server"
    with serve(folder / "fixed", ["--no-strict-readiness"]) as server:
        yield found | run.probe(server, "identity", fixed=True)


@pytest.mark.parametrize("name", [*CASES, *run.FIXED])
def test_answer_equals_tritons(outcomes: dict[str, Any], name: str) -> None:
    difference = run.difference(name, RECORDED[name], outcomes[name])
    assert difference is None, difference


@pytest.mark.slow
@pytest.mark.timeout(900)  # a process a model, twice, and an installation before
def test_recording_is_what_triton_answers_now(tmp_path: Path) -> None:
    """Installs Triton, then makes every call again."""
    from tools import serve_peers

    prefix = serve_peers.make("triton", serve_peers.CACHE)
    said: list[str] = []
    document = run.record(str(prefix), said.append)
    differences = [d for name, outcome in document["calls"].items()
                   if (d := run.difference(name, RECORDED[name], outcome)) and "died" not in outcome]
    assert not differences, "\n".join(differences)
