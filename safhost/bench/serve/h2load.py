"""Raw load by h2load (Debian's nghttp2-client): requests whose bytes are made once, many in flight, little CPU.

h2load does not look at grpc-status, so whoever uses it compares the server's own count of good inferences before and
after (`safhost.bench.serve.check`). The latency of each request is in its log file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safhost.bench.serve.servers import pinned
from safhost.errors import ConfigError, SafError

_RATE = re.compile(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s")
_COUNTS = re.compile(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored")
_GRACE_S = 60.0
_PERIOD_MS = 10


@dataclass(frozen=True, slots=True)
class Load:
    """What a run came to. Latencies in microseconds, of requests answered with HTTP status 200."""

    requests: int
    failed: int
    per_s: float
    p50_us: float
    p99_us: float
    steady_per_s: float = 0.0
    """Answers a second between the first tenth and the last fifth of them: without a run's slow start and its tail."""


def find() -> str:
    """Path of h2load. Raises ConfigError when it is not installed."""
    found = shutil.which("h2load")
    if found is None:
        raise ConfigError("h2load is not installed", "apt-get install nghttp2-client")
    return found


def run(url: str, body: bytes, headers: Sequence[str], *, requests: int, clients: int = 1, streams: int = 1,
        http1: bool = False, per_client_per_s: float = 0.0, ramp_per_s: int = 0, skip_s: float = 0.0,
        cpus: Sequence[int] = (), timeout_s: float = 120.0) -> Load:
    """``requests`` in all over ``clients`` connections, each with ``streams`` in flight (HTTP/1.1: one each).

    ``per_client_per_s``: a connection sends that many a second instead of as fast as answers come. ``ramp_per_s``:
    so many connections are opened a second, not all at once; requests of the first ``skip_s`` seconds then do not count
    for latencies. ``cpus``: cores that h2load runs on. Raises SafError when it fails or takes longer than
    ``timeout_s``.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder, "body"), Path(folder, "log")
        data.write_bytes(body)
        command = ["-n", str(requests), "-c", str(clients), "-m", str(streams), *_common(data, log, headers)]
        command += ["--h1"] if http1 else []
        command += [f"--rps={per_client_per_s:g}"] if per_client_per_s else []
        if ramp_per_s:  # h2load opens what a period brings at once: short ones spread the phases
            command += [f"--rate={max(1, round(ramp_per_s * _PERIOD_MS / 1e3))}", f"--rate-period={_PERIOD_MS}ms"]
        return _parse(_execute([*command, url], cpus, timeout_s), log, skip_s)


def trace(url: str, body: bytes, headers: Sequence[str], *, seconds: float, clients: int, streams: int,
          per_client_per_s: float, cpus: Sequence[int] = ()) -> NDArray[np.int64]:
    """Load at a given rate for ``seconds``: a row for each answer, (begin in µs since 1970, HTTP status, µs it took),
    in order of their beginning. Raises SafError as `run` does, and when a request had no answer."""
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder, "body"), Path(folder, "log")
        data.write_bytes(body)
        requests = max(1, round(per_client_per_s * seconds)) * clients
        text = _execute(["-n", str(requests), "-c", str(clients), "-m", str(streams), f"--rps={per_client_per_s:g}",
                         *_common(data, log, headers), url], cpus, seconds)
        found = _parse(text, log, 0.0)
        if found.failed or found.requests != requests:
            raise SafError(f"{requests - found.requests} of {requests} requests had no answer", "see the server's log")
        rows: NDArray[np.int64] = np.loadtxt(log, dtype=np.int64, ndmin=2)
        return rows[np.argsort(rows[:, 0], kind="stable")]


def _common(data: Path, log: Path, headers: Sequence[str]) -> list[str]:
    return ["-d", str(data), f"--log-file={log}", "--connection-window-bits=30", "--window-bits=30",
            *(word for header in headers for word in ("-H", header))]


def _execute(arguments: Sequence[str], cpus: Sequence[int], timeout_s: float) -> str:
    """What h2load prints."""
    process = subprocess.Popen([*pinned(cpus), find(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    try:
        text, _ = process.communicate(timeout=timeout_s + _GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise SafError(f"h2load did not end within {timeout_s + _GRACE_S:g} s",
                       "the server does not answer, or ask for fewer requests") from None
    return text


def _parse(text: str, log: Path, skip_s: float) -> Load:
    rate, counts = _RATE.search(text), _COUNTS.search(text)
    if rate is None or counts is None:
        raise SafError(f"h2load says: {text[-500:]}", "is the server up?")
    _total, _started, _done, good, failed, errored = map(int, counts.groups())
    rows = np.loadtxt(log, dtype=np.int64, ndmin=2) if log.stat().st_size else np.empty((0, 3), np.int64)
    if len(rows):
        rows = rows[rows[:, 0] >= rows[:, 0].min() + int(skip_s * 1e6)]
    times = rows[rows[:, 1] == 200, 2]
    steady = _steady(np.sort(rows[:, 0] + rows[:, 2]))
    p50, p99 = np.percentile(times, (50, 99)) if len(times) else (float("nan"), float("nan"))
    return Load(good, failed + errored, float(rate[3]), float(p50), float(p99), steady)


def _steady(done_us: NDArray[np.int64]) -> float:
    first, last = len(done_us) // 10, len(done_us) * 8 // 10
    return float((last - first) / (done_us[last] - done_us[first]) * 1e6) if last > first else 0.0
