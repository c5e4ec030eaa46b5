"""Triton's own clients, unchanged, against our server: four kinds of tritonclient, and perf_analyzer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from safhost.bench.serve import clients, load, perf
from safhost.bench.serve.peers import OURS, Peers, serving
from safhost.bench.serve.repository import FACILE, SMALL
from safhost.bench.serve.servers import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(OURS, Peers(), tmp_path_factory.mktemp("serving") / "ours", ()) as found:
        yield found


@pytest.mark.parametrize("kind", clients.KINDS)
def test_tritonclient_gets_right_answers(server: Server, kind: str) -> None:
    before = load.successes(server, SMALL)
    found = clients.run(kind, server.http if "http" in kind else server.grpc, SMALL.name, SMALL.width, batch=3,
                        in_flight=4, seconds=0.2)
    assert found.failed == 0
    assert found.requests >= 4
    assert load.successes(server, SMALL) - before == found.requests


@pytest.mark.parametrize("kind", ["grpc", "grpc-stream", "grpc-shm", "http"])
def test_tritonclient_gets_large_answers(server: Server, kind: str) -> None:
    found = clients.run(kind, server.http if "http" in kind else server.grpc, FACILE.name, FACILE.width, batch=16_000,
                        in_flight=2, seconds=0.1)
    assert found.failed == 0
    assert found.requests >= 2


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_raw_load_is_counted_by_the_server(server: Server, kind: str) -> None:
    runner = load.grpc(SMALL, 1, 200) if kind == "grpc" else load.http(SMALL, 1, 200)
    figures = load.measure(server, runner, (), SMALL)
    assert figures.failed == 0
    assert figures.per_s > 0
    assert 0 < figures.p50_us <= figures.p99_us


def test_raw_streams_are_counted_by_the_server(server: Server) -> None:
    figures = load.measure(server, load.stream(SMALL, 1, 2), (), SMALL, load.STREAM_REQUESTS)
    assert figures.failed == 0


def test_shared_memory_holds_the_identity(server: Server) -> None:
    figures = load.measure(server, load.shared_memory(FACILE, 100, 40), (), FACILE)
    assert figures.failed == 0


def test_identity_is_verified_over_both_ways(server: Server) -> None:
    load.verify(server, SMALL, 3)
    load.verify(server, FACILE, 16_000)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(perf.MODES))
def test_perf_analyzer_runs_unchanged(server: Server, mode: str) -> None:
    """Installs perf_analyzer and what it links."""
    from tools import serve_peers

    serve_peers.debian(["perf"])
    prefix = serve_peers.make("perf", serve_peers.CACHE)
    before = load.successes(server, SMALL)
    found = perf.run(prefix, server, SMALL.name, mode, in_flight=4, window_ms=500)
    assert found.per_s > 0
    assert load.successes(server, SMALL) > before


def test_perf_analyzer_that_is_not_there_is_an_error(server: Server, tmp_path: Path) -> None:
    from safhost.errors import ConfigError

    with pytest.raises(ConfigError, match="perf_analyzer") as caught:
        perf.run(tmp_path, server, SMALL.name, "sync")
    assert "serve_peers" in caught.value.hint
