"""Labs from the outside: start, stop, ask, and run commands in their namespaces.

Used by ``safhost lab``, the demo, benchmarks and tests. All waiting has a deadline, and a start that fails or
is interrupted leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from safhost import paths
from safhost.errors import ConfigError, DaemonError, DeadlineExceeded, LinkError, SafError, error_from_dict
from safhost.lab import control
from safhost.lab.state import (
    HOST_INTERFACE,
    LabRecord,
    LabSpec,
    ProcessIdentity,
    known_labs,
    remove_leftovers,
    remove_lock,
    try_lock,
    wait_ended,
)

UP_TIMEOUT_S = 60.0
DOWN_TIMEOUT_S = 20.0
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h


def up(spec: LabSpec, *, timeout_s: float = UP_TIMEOUT_S,
       on_progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Start a lab; returns its status once cards are powered and the daemon answers.

    ``on_progress`` is called with a line for each step. Raises DaemonError when the name is taken,
    DeadlineExceeded after ``timeout_s``, and what kept the lab from starting (LinkError, ConfigError, …).
    """
    with _locked(spec.name) as lock:
        remove_leftovers(spec.name)
        _refuse_foreign_daemon(spec)
        if spec.rtl_cards:  # here, as it may take longer than any start
            from safhost.lab.rtl_build import build_card_library

            build_card_library(on_progress=on_progress or (lambda _line: None))
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                _launch(spec, writer, lock)
            finally:
                os.close(writer)
            return _await_ready(reader, spec, timeout_s, on_progress)
        finally:
            os.close(reader)


@contextlib.contextmanager
def _locked(name: str) -> Iterator[int]:
    lock = try_lock(name)
    if lock is None:
        record = LabRecord.read(name)
        who = f"process {record.process.pid}" if record else "just being started or stopped"
        raise DaemonError(f"lab {name} is already up ({who})",
                          f"`safhost lab down --name {name}` ends it, --name starts another beside it")
    try:
        yield lock
    finally:
        os.close(lock)


def _refuse_foreign_daemon(spec: LabSpec) -> None:
    """A lab's name is a cluster's: never take over the name of one with real cards."""
    from safhost.config import load_config

    cluster = load_config().clusters.get(spec.name)
    if cluster is not None and set(cluster.interfaces) - {HOST_INTERFACE}:
        raise ConfigError(f"cluster {spec.name} is configured for {', '.join(cluster.interfaces)}",
                          "give the lab another name with --name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(os.fsencode(paths.daemon_socket(spec.name)))
        except OSError:
            return
    raise ConfigError(f"cluster {spec.name} has a daemon that is not a lab's",
                      "give the lab another name with --name")


def _launch(spec: LabSpec, ready_fd: int, lock_fd: int) -> None:
    """Start the lab process, which detaches itself."""
    command = [sys.executable, "-m", "safhost.lab.process", "--ready-fd", str(ready_fd), "--lock-fd",
               str(lock_fd)]
    log_path = paths.lab_log(spec.name)
    environment = os.environ | paths.environment()
    with open(os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as log:
        result = subprocess.run(command, input=json.dumps(spec.to_dict()).encode(), stdout=log, stderr=log,
                                pass_fds=(ready_fd, lock_fd), env=environment, cwd="/", check=False,
                                timeout=UP_TIMEOUT_S)
    if result.returncode:
        raise DaemonError(f"the lab process ended with exit code {result.returncode}", f"see {log_path}")


def _await_ready(reader: int, spec: LabSpec, timeout_s: float,
                 on_progress: Callable[[str], None] | None) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    identity: ProcessIdentity | None = None
    try:
        for message in _messages(reader, deadline):
            if "pid" in message:
                identity = ProcessIdentity(message["pid"], message["start_ticks"])
            elif "error" in message:
                raise error_from_dict(message["error"])
            elif "ready" in message:
                status: dict[str, Any] = message["ready"]
                return status
            elif on_progress is not None:
                on_progress(message["step"])
        raise DaemonError("the lab process ended while it started", f"see {paths.lab_log(spec.name)}")
    except BaseException as err:
        # The half-built lab goes too, also when the interrupt key was pressed.
        if identity is not None:
            _end(identity, spec.name)
        if isinstance(err, TimeoutError):
            raise DeadlineExceeded(f"the lab is not up after {timeout_s:g} s",
                                   f"see {paths.lab_log(spec.name)}; fewer cards start faster") from None
        raise


def _messages(reader: int, deadline: float) -> Iterator[dict[str, Any]]:
    """JSON lines until the other end closes; TimeoutError at the deadline."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    pending = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise TimeoutError
        data = os.read(reader, 1 << 16)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _end(identity: ProcessIdentity, name: str) -> None:
    """SIGTERM, then SIGKILL, to the lab process; then to whatever it started."""
    children = identity.children()
    identity.end(grace_s=DOWN_TIMEOUT_S / 2)
    for child in children:
        child.end(grace_s=1.0)
    remove_leftovers(name)


def down(name: str) -> bool:
    """Stop a lab, its daemon and its workers, and remove its traces; also those of one that crashed.

    Returns whether there was anything to do. Never signals a process that is not the recorded one.
    """
    lock = try_lock(name)
    if lock is not None:
        try:
            return remove_leftovers(name)
        finally:
            remove_lock(name)
            os.close(lock)
    record = LabRecord.read(name)
    if record is None:
        raise DaemonError(f"lab {name} is just being started or stopped", "try again in a moment")
    children = record.process.children()
    pidfd = record.process.open()
    if pidfd is not None:
        try:
            with contextlib.suppress(SafError):
                control.request(paths.lab_socket(name), "stop", timeout_s=2.0)
                wait_ended(pidfd, DOWN_TIMEOUT_S / 2)
        finally:
            os.close(pidfd)
    record.process.end(grace_s=DOWN_TIMEOUT_S / 4)
    for child in children:
        child.end(grace_s=1.0)
    lock = try_lock(name)
    if lock is not None:
        remove_leftovers(name)
        remove_lock(name)
        os.close(lock)
    return True


def status(name: str, *, cards: bool = False) -> dict[str, Any]:
    """What a lab is and does; ``state`` is up, crashed or down. ``cards``: each card too."""
    record = LabRecord.read(name)
    if record is None:
        return {"name": name, "state": "down"}
    if not record.process.is_alive():
        return {"name": name, "state": "crashed", "pid": record.process.pid, "log": str(paths.lab_log(name))}
    answer: dict[str, Any] = control.request(paths.lab_socket(name), "status", cards=cards)
    return answer


def statuses() -> list[dict[str, Any]]:
    """`status` of all labs that this user has."""
    return [status(name) for name in known_labs()]


def request(name: str, what: str, **arguments: Any) -> Any:
    """Ask a running lab: ``plug``, ``unplug``, ``fault``, ``faults``, ``impair``, ``status``, ``stop``.

    Raises DaemonError when it is not up, and what it answers.
    """
    record = LabRecord.read(name)
    if record is None or not record.process.is_alive():
        others = [n for n in known_labs() if n != name]
        raise DaemonError(f"lab {name} is not up",
                          f"start it with `safhost lab up --name {name}`"
                          + (f", or name one that is: {', '.join(others)}" if others else ""))
    return control.request(paths.lab_socket(name), what, **arguments)


def enter(name: str) -> None:
    """Move this process into the namespaces of a running lab; files and sockets stay the same.

    For a process about to exec, or to open links: threads started earlier stay outside, and an unprivileged
    lab cannot be entered by a process that has threads. Raises DaemonError when it is not up, LinkError.
    """
    record = LabRecord.read(name)
    pidfd = record.process.open() if record else None
    if record is None or pidfd is None:
        raise DaemonError(f"lab {name} is not up", f"start it with `safhost lab up --name {name}`")
    os.environ.update(paths.environment())
    try:
        flags = _CLONE_NEWNET
        own, other = (os.stat(f"/proc/{who}/ns/user") for who in ("self", record.process.pid))
        if (own.st_dev, own.st_ino) != (other.st_dev, other.st_ino):
            flags |= _CLONE_NEWUSER
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(pidfd, flags) != 0:
            code = ctypes.get_errno()
            raise LinkError(f"cannot enter lab {name}: {os.strerror(code)}",
                            "use the account that started it, from a process without threads")
    except OSError as err:
        raise LinkError(f"cannot enter lab {name}: {err.strerror}",
                        "use the account that started it") from err
    finally:
        os.close(pidfd)


def exec_command(name: str, argv: Sequence[str]) -> list[str]:
    """``argv`` prefixed so that it runs inside the lab, as the same process id."""
    return [sys.executable, "-m", "safhost.lab.manager", name, *argv]


def run_inside(name: str, argv: Sequence[str]) -> None:
    """Replace this process by ``argv`` inside the lab. Raises SafError when that cannot be."""
    enter(name)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(argv[0], list(argv))
    except OSError as err:
        raise ConfigError(f"cannot run {argv[0]}: {err.strerror}", "check its name and PATH") from err


if __name__ == "__main__":
    try:
        run_inside(sys.argv[1], sys.argv[2:])
    except SafError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
