"""The cluster's daemon as a child of the lab: started, watched, started again when it dies.

Its pidfd tells when it ended, its message on NOTIFY_SOCKET (sd_notify(3)) when it is ready. Between two
starts of a daemon that keeps dying lies a pause that doubles up to half a minute.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safhost.lab.loop import Alarm, Loop
from safhost.lab.state import ProcessIdentity, wait_ended

_LOG = logging.getLogger(__name__)
_MS = 1_000_000
FIRST_PAUSE_NS, LONGEST_PAUSE_NS = 250 * _MS, 30_000 * _MS
HEALTHY_AFTER_NS = 10_000 * _MS
STOP_GRACE_S = 5.0
NOTIFY_NAME = "safhost-lab-daemon"
"""Abstract socket name: it belongs to the lab's network namespace, nobody outside reaches it."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """In a child before exec: be killed when the parent ends, however it ends (prctl(2))."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def daemon_command(interface: str, cluster: str, config: Path) -> list[str]:
    """How the daemon of a lab is started."""
    return [sys.executable, "-m", "safhost.runtime.daemon", "-i", interface, "--cluster", cluster,
            "--config", str(config)]


class DaemonSupervisor:
    """Runs ``command`` with ``environment``; its output goes to ``log_path``.

    ``on_change`` is called when the daemon became ready, died, or was started again.
    """

    def __init__(self, loop: Loop, command: Sequence[str], environment: Mapping[str, str], *,
                 socket_path: Path, log_path: Path, on_change: Callable[[], None]) -> None:
        self._loop = loop
        self._command = list(command)
        self._environment = dict(environment) | {"NOTIFY_SOCKET": "@" + NOTIFY_NAME}
        self._socket_path = socket_path
        self.log_path = log_path
        self._on_change = on_change
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._pause_ns = FIRST_PAUSE_NS
        self._started_ns = 0
        self._alarm = Alarm(self._on_alarm)
        self.identity: ProcessIdentity | None = None
        self.ready = False
        self.held = False
        self.restarts = 0
        self.last_exit = ""
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._notify.setblocking(False)
        self._notify.bind("\0" + NOTIFY_NAME)
        loop.add(self._notify.fileno(), select.EPOLLIN, self._on_notice)

    def start(self) -> None:
        """Start the daemon; `ready` turns true later."""
        now = self._loop.clock()
        self._started_ns = now
        self.ready = False
        self._notices()  # those of an earlier daemon
        self._socket_path.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            # No other thread runs Python here, so that the child cannot inherit a lock that is held.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
                cwd="/", preexec_fn=die_with_parent)  # noqa: PLW1509
        self.identity = ProcessIdentity.of(self._process.pid)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add(self._pidfd, select.EPOLLIN, self._on_exit)
        self._on_change()

    def _on_alarm(self, _now_ns: int) -> None:
        self.restarts += 1
        self.start()

    def _on_notice(self, _mask: int, _now_ns: int) -> None:
        if b"READY=1" in self._notices() and self._process is not None:
            self.ready = True
            _LOG.info("daemon %d is ready", self._process.pid)
            self._on_change()

    def _notices(self) -> bytes:
        """All messages that wait."""
        found = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                found += self._notify.recv(4096) + b"\n"
        return found

    def _on_exit(self, _mask: int, now_ns: int) -> None:
        process = self._process
        if process is None:
            return
        self._forget(process)
        if self.held:
            self._on_change()
            return
        if now_ns - self._started_ns >= HEALTHY_AFTER_NS:
            self._pause_ns = FIRST_PAUSE_NS
        _LOG.warning("the daemon ended (%s), next start in %.2f s; its log: %s", self.last_exit,
                     self._pause_ns / 1e9, self.log_path)
        self._loop.set_alarm(self._alarm, now_ns + self._pause_ns)
        self._pause_ns = min(2 * self._pause_ns, LONGEST_PAUSE_NS)
        self._on_change()

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if code < 0:
            with contextlib.suppress(ValueError):
                self.last_exit = signal.Signals(-code).name
        else:
            self.last_exit = f"exit code {code}"
        self._loop.remove(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._process = None
        self.identity = None
        self.ready = False

    def last_words(self) -> str:
        """The last line of the daemon's log, for a message."""
        with contextlib.suppress(OSError):
            lines = self.log_path.read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def hold(self) -> None:
        """End the daemon and start none until `resume`: somebody else wants the cards."""
        if self.held:
            return  # it is ending, and a second signal would cut that short
        self.held = True
        self._loop.set_alarm(self._alarm, None)
        if self._process is not None:
            self._process.terminate()

    def resume(self) -> None:
        """Have a daemon again after `hold`."""
        if self.held:
            self.held = False
            self._pause_ns = FIRST_PAUSE_NS
            if self._process is None:
                self.start()

    def stop(self) -> None:
        """End the daemon, for good: SIGTERM, and SIGKILL if it takes too long."""
        self._loop.set_alarm(self._alarm, None)
        self._loop.remove(self._notify.fileno())
        self._notify.close()
        process = self._process
        if process is None:
            return
        process.terminate()
        if not wait_ended(self._pidfd, STOP_GRACE_S):
            _LOG.warning("daemon %d does not end, killing it", process.pid)
            process.kill()
        self._forget(process)

    def status(self, now_ns: int) -> dict[str, Any]:
        """For `lab status`."""
        state = "ready" if self.ready else "starting" if self._process else "held" if self.held else "restarting"
        return {"state": state, "pid": self._process.pid if self._process else None,
                "restarts": self.restarts, "last_exit": self.last_exit, "log": str(self.log_path),
                "socket": str(self._socket_path),
                "uptime_s": round((now_ns - self._started_ns) / 1e9, 3) if self._process else 0.0}


