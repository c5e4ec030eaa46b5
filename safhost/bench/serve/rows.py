"""The rows of `bench serve`: what is sent to which servers, and which goals hang on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from safhost.bench.serve import clients, load, perf
from safhost.bench.serve.h2load import Load
from safhost.bench.serve.peers import KSERVE, MLSERVER, OURS, TRITON, Peers
from safhost.bench.serve.repository import ALONE, FACILE, GROUPED, SMALL, Shape
from safhost.bench.serve.servers import Server

EVERYBODY = (OURS, TRITON, MLSERVER, KSERVE)
TRITONS = (OURS, TRITON)
"""Those that speak Triton's extensions."""


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of load. ``counted``: the model whose own count must agree; ``each``: inferences a request."""

    key: str
    title: str
    runner: load.Runner
    servers: tuple[str, ...] = TRITONS
    counted: Shape | None = None
    each: int = 1
    goals: tuple[tuple[str, float], ...] = ()
    """(other, at least): our rate beside that server's in this row."""


def raw(requests: int) -> list[Row]:
    """Load of bytes made once (h2load). ``requests``: of small ones a run; large ones are a fraction of it."""
    few = max(requests // 20, 16)
    others = ((MLSERVER, 3.0), (KSERVE, 3.0))
    return [
        Row("grpc-1", "gRPC, batch 1, 16 in flight", load.grpc(SMALL, 1, requests), EVERYBODY, SMALL, 1,
            ((TRITON, 1.2), *others)),
        Row("grpc-16000", "gRPC, batch 16,000 × 18, 16 in flight", load.grpc(FACILE, 16_000, few), EVERYBODY, FACILE, 1,
            ((TRITON, 1.0), *others)),
        Row("http-1", "HTTP binary, batch 1, 16 connections", load.http(SMALL, 1, requests), EVERYBODY, SMALL, 1,
            ((TRITON, 2.0), *others)),
        Row("http-16000", "HTTP binary, batch 16,000 × 18, 16 connections", load.http(FACILE, 16_000, few),
            TRITONS, FACILE),
        Row("stream-1", f"streams of {load.STREAM_REQUESTS} requests, batch 1, 4 at once",
            load.stream(SMALL, 1, max(requests // load.STREAM_REQUESTS, 4)), TRITONS, SMALL, load.STREAM_REQUESTS,
            ((TRITON, 1.5),)),
        Row("shm-16000", "system shared memory, batch 16,000 × 18, 16 in flight",
            load.shared_memory(FACILE, 16_000, few * 4), TRITONS, FACILE),
        Row("alone", "400 µs an execution, no batching", load.grpc(ALONE, 1, requests // 4), TRITONS, ALONE),
        Row("grouped", "400 µs an execution, dynamic batching", load.grpc(GROUPED, 1, requests), TRITONS, GROUPED)]


def analyzed(peers: Peers, window_ms: int) -> list[Row]:
    """Load of perf_analyzer; none without its virtual environment."""
    if not peers.perf:
        return []
    prefix = peers.perf

    def runner(mode: str, shape: Shape, batch: int) -> load.Runner:
        return lambda server, cpus: perf.run(prefix, server, shape.name, mode, batch=batch, window_ms=window_ms,
                                             cpus=cpus)
    return [Row(f"perf-{mode.replace(' ', '-')}", f"perf_analyzer {mode}, batch 1, 16 in flight",
                runner(mode, SMALL, 1), TRITONS, SMALL) for mode in perf.MODES] + [
        Row("perf-shm-16000", "perf_analyzer shared memory, batch 16,000 × 18",
            runner("shared memory", FACILE, 16_000), TRITONS, FACILE)]


def real(seconds: float) -> list[Row]:
    """Load of tritonclient in a Python process."""
    def runner(kind: str) -> load.Runner:
        def run(server: Server, cpus: Sequence[int]) -> Load:
            return clients.run(kind, server.http if "http" in kind else server.grpc, SMALL.name, SMALL.width,
                               seconds=seconds, cpus=cpus)
        return run
    return [Row(f"client-{kind}", f"tritonclient {kind}, batch 1, 16 in flight", runner(kind), TRITONS, SMALL)
            for kind in clients.KINDS]


Make = Callable[[], list[Row]]
