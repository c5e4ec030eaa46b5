"""Servers as processes: started on a core of their own, waited for, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safhost.errors import SafError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.1
_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # util-linux: no server outlives a benchmark that was killed


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. ``pids``: all its processes at the time of the call."""

    name: str
    pid: int
    grpc_port: int
    http_port: int
    log: Path

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    def pids(self) -> list[int]:
        """The server's process and all its descendants."""
        return descendants(self.pid)

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all processes; those that ended count through their parents."""
        ticks = sum(_ticks(pid, own=pid == self.pid) for pid in self.pids())
        return ticks / os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listened on a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def running(name: str, command: Sequence[str], grpc_port: int, http_port: int, log: Path, *,
            environment: dict[str, str] | None = None, cpus: Sequence[int] = (), ready: str = "/v2/health/ready",
            probe: Callable[[], bool] | None = None) -> Iterator[Server]:
    """``command`` as a process on ``cpus`` (all when empty), ready when ``ready`` answers 200 (or ``probe`` is true).

    It leads a process group of its own, which is ended on exit. Raises SafError with the end of its log when it ends
    by itself or is not ready in time.
    """
    with log.open("wb") as sink:
        process = subprocess.Popen([*_WITH_US, *pinned(cpus), *command], stdout=sink, stderr=subprocess.STDOUT,
                                   env=environment, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{http_port}{ready}"
        _wait_ready(name, process, log, probe or (lambda: answers(url)))
        yield Server(name, process.pid, grpc_port, http_port, log)
    finally:
        end(process)


def pinned(cpus: Sequence[int]) -> list[str]:
    """Words before a command that keep it, from its first thread on, to ``cpus``."""
    return ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []


def answers(url: str) -> bool:
    """Whether ``url`` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End the process group: politely, then for good."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM and not _group_alive(process.pid):
            break
    process.wait()


def descendants(pid: int) -> list[int]:
    """``pid`` and the processes below it that are alive now."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                todo += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def _wait_ready(name: str, process: subprocess.Popen[bytes], log: Path, probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not probe():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-1500:]
            how = f"ended with {process.returncode}" if process.returncode is not None else "does not answer"
            raise SafError(f"{name} {how}; its log ends with: {tail}", f"all of it: {log}")
        time.sleep(_POLL_S)


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _ticks(pid: int, own: bool) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15] if own else fields[11:13]))  # utime stime (cutime cstime)
