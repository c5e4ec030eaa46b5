"""The servers that are compared, each over the identity model: ours, Triton, MLServer, KServe.

Peers live in virtual environments that their users make (`tools/serve_peers.py` does it); one that is not given is not
run, and its rows say so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safhost.bench.serve import repository, servers, triton
from safhost.errors import ConfigError

OURS, TRITON, MLSERVER, KSERVE = "safhost", "triton", "mlserver", "kserve"


@dataclass(frozen=True, slots=True)
class Peers:
    """Virtual environments of the peers, None for those that are not there."""

    triton: str | None = None
    mlserver: str | None = None
    kserve: str | None = None
    perf: str | None = None

    def names(self) -> list[str]:
        """Servers that can be run, ours first."""
        return [OURS, *(n for n in (TRITON, MLSERVER, KSERVE) if getattr(self, n))]


@contextmanager
def serving(name: str, peers: Peers, scratch: Path, cpus: Sequence[int], workers: int = 1) -> Iterator[servers.Server]:
    """Server ``name`` over the identity models, on ``cpus``. ``workers`` is for ours."""
    scratch.mkdir(parents=True, exist_ok=True)
    grpc_port, http_port, metrics_port = servers.free_ports(3)
    command, environment, ready = _command(name, peers, scratch, (grpc_port, http_port, metrics_port), workers)
    with servers.running(name, command, grpc_port, http_port, scratch / "log", environment=environment, cpus=cpus,
                         ready=ready) as server:
        yield server


def _command(name: str, peers: Peers, scratch: Path, ports: tuple[int, int, int],
             workers: int) -> tuple[list[str], dict[str, str], str]:
    grpc_port, http_port, metrics_port = ports
    base = dict(os.environ)
    if name == OURS:
        folder = repository.write_triton(scratch / "models", "identity")
        return [sys.executable, "-m", "safhost.cli", "serve", str(folder), f"--grpc-port={grpc_port}",
                f"--http-port={http_port}", f"--metrics-port={metrics_port}", f"--workers={workers}",
                "--allow-client-shared-memory"], base, "/v2/health/ready"
    if name == TRITON:
        found = triton.find(peers.triton or "")
        folder = repository.write_triton(scratch / "models", "python")
        return (found.command(folder, scratch, grpc_port, http_port, metrics_port), found.environment(base),
                "/v2/health/ready")
    if name == MLSERVER:
        program = _program(peers.mlserver, "mlserver")
        folder = repository.write_mlserver(scratch / "models", grpc_port, http_port, metrics_port)
        return ([program, "start", str(folder)],
                base | {"PYTHONPATH": str(folder), "MLSERVER_PARALLEL_WORKERS": "0"}, "/v2/health/ready")
    if name == KSERVE:
        program = _program(peers.kserve, "python")
        script = repository.write_kserve(scratch / "models")
        return ([program, str(script), str(http_port), str(grpc_port), repository.SMALL.name, repository.FACILE.name],
                base, "/v2/health/ready")
    raise ConfigError(f"no server is called {name}", f"{OURS}, {TRITON}, {MLSERVER} or {KSERVE}")


def _program(prefix: str | None, name: str) -> str:
    program = Path(prefix or "", "bin", name).absolute()
    if not prefix or not program.is_file():
        raise ConfigError(f"{program} is not there", "python -m tools.serve_peers makes virtual environments of peers")
    return str(program)
