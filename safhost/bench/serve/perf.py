"""perf_analyzer, Triton's own load generator, unchanged, out of a virtual environment.

PyPI's newest needs a newer glibc than Debian 12 has; the binary in the wheel of tritonclient 2.50.0 runs with Debian's
libb64 and with libcudart of PyPI's nvidia-cuda-runtime-cu12 on LD_LIBRARY_PATH, both of which it links but does not use
without a GPU. `tools/serve_peers.py` makes such an environment.
"""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from safhost.bench.serve.h2load import Load
from safhost.bench.serve.servers import Server, pinned
from safhost.errors import ConfigError, SafError

MODES: dict[str, list[str]] = {
    "sync": ["-i", "grpc", "--sync"], "async": ["-i", "grpc", "--async"], "streaming": ["-i", "grpc", "--streaming"],
    "shared memory": ["-i", "grpc", "--async", "--shared-memory", "system"], "http": ["-i", "http", "--async"],
    "http shared memory": ["-i", "http", "--async", "--shared-memory", "system"]}
"""Words of the command line that choose a way to the server."""

_ANY = "999"
"""Windows may differ as they like: rounds and spreads are ours to judge."""

_TIMEOUT_S = 300.0


def find(prefix: str | Path) -> tuple[Path, Path]:
    """The binary and the folder of libcudart in the virtual environment ``prefix``. Raises ConfigError without them."""
    prefix = Path(prefix).absolute()
    program = prefix / "bin/perf_analyzer"
    libraries = next(prefix.glob("lib/python3*/site-packages/nvidia/cuda_runtime/lib"), None)
    if not program.is_file() or libraries is None:
        raise ConfigError(f"{prefix} holds no perf_analyzer with libcudart",
                          "python -m tools.serve_peers perf FOLDER makes such a virtual environment")
    return program, libraries


def run(prefix: str | Path, server: Server, model: str, mode: str, *, batch: int = 1, in_flight: int = 16,
        window_ms: int = 2000, windows: int = 3, cpus: Sequence[int] = ()) -> Load:
    """One measurement. ``windows`` of ``window_ms`` each, the last three count. Its rate is of requests, not rows; how
    many it sent in all it does not tell (Load.requests is 0). Raises SafError when it fails."""
    program, libraries = find(prefix)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "figures.csv")
        command = [*pinned(cpus), str(program), "-m", model, "-b", str(batch), "-u",
                   server.http if "http" in MODES[mode] else server.grpc, "--concurrency-range", str(in_flight),
                   "--measurement-interval", str(window_ms), "--max-trials", str(windows), "--stability-percentage",
                   _ANY, "--percentile", "50", "-f", str(table), *MODES[mode]]
        environment = os.environ | {"LD_LIBRARY_PATH": f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S,
                                  check=False)
        except subprocess.TimeoutExpired as err:
            raise SafError(f"perf_analyzer ({mode}) does not end", "is the server alive?") from err
        if not table.is_file() or done.returncode:
            raise SafError(f"perf_analyzer ({mode}) ended with {done.returncode}: "
                           f"{(done.stdout + done.stderr)[-600:].strip()}", "run it by hand: " + " ".join(command))
        return _parse(table, batch)


def _parse(table: Path, batch: int) -> Load:
    with table.open() as lines:
        row = next(csv.DictReader(lines))
    per_s = float(row["Inferences/Second"]) / batch
    return Load(0, 0, per_s, float(row["p50 latency"]), float(row["p99 latency"]))
