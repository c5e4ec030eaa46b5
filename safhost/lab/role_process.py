"""One worker process as the role pool sees it: start, send, receive, kill, reap. Knows nothing of
scheduling."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

from safhost.lab.role_messages import Message, receive_message, send_message

MAX_PROGRAMS = 32
"""Programs kept compiled in one worker; the one unused for longest is forgotten first."""

THREAD_VARIABLES = ("CL_CONFIG_CPU_TBB_NUM_WORKERS", "POCL_MAX_PTHREAD_COUNT")
"""What Intel's runtime (measured) and pocl (its manual) read their number of threads from."""

MEMORY_VARIABLES = {"CL_CONFIG_CPU_FORCE_MAX_MEM_ALLOC_SIZE": "8192MB",
                    "CL_CONFIG_CPU_FORCE_GLOBAL_MEM_SIZE": "32768MB"}
"""Intel's runtime otherwise refuses a buffer beyond half of this machine's memory (measured). A card has
8 GiB on whatever machine, its memory is sparse, and kernels get buffers over all of it."""

EXIT_WAIT_S = 10.0
"""For a process that closed its socket or was killed; unmapping the memory of many cards takes a moment."""


class RoleProcess:
    """A worker process and the pool's end of its socket.

    ``programs`` and ``cards`` mirror what the worker has loaded and mapped. ``ready`` turns true with its
    first message. Messages for a worker that computes wait here, so that a hung one can never block the
    pool.
    """

    def __init__(self, scratch: Path, runtime: str, threads: int | None, now_ns: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        root = str(Path(__file__).resolve().parents[2])
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH", ""))))
        environment = MEMORY_VARIABLES | environment
        if threads is not None:
            environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
        try:
            # what kernels print goes where this process reports errors, never into its output
            self._process = subprocess.Popen(
                [sys.executable, "-m", "safhost.lab.role_worker", str(theirs.fileno()), "--scratch",
                 str(scratch),
                 "--runtime", runtime],
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=2, env=environment)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._sock = ours
        self._waiting: list[Message] = []
        self.ready = False
        self.busy_ticket: int | None = None
        self.busy_since_ns = now_ns
        self.programs: OrderedDict[str, None] = OrderedDict()
        self.cards: set[int] = set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def idle(self) -> bool:
        return self.ready and self.busy_ticket is None

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> Message | None:
        """The next message; None when the process is gone. Raises :class:`BlockingIOError` when there is
        none."""
        return receive_message(self._sock)

    def tell(self, message: Message) -> None:
        """Send a message that has no answer, as soon as the worker does not compute."""
        self._waiting.append(message)
        if self.idle:
            self._flush()

    def ask(self, message: Message) -> None:
        """Send a message that is answered by ``done``; ``busy_ticket`` was set by the caller."""
        self._waiting.append(message)
        self._flush()

    def note_program(self, key: str) -> None:
        """``key`` is being used: make it the newest, forget the oldest beyond the limit."""
        self.programs[key] = None
        self.programs.move_to_end(key)
        while len(self.programs) > MAX_PROGRAMS:
            oldest, _ = self.programs.popitem(last=False)
            self.tell(Message("forget", {"key": oldest}))

    def kill(self) -> None:
        """End the process now. :meth:`reaped` tells when it is gone."""
        self._process.kill()
        self._sock.close()

    def reaped(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> str:
        """Wait (bounded) for the end and say how it came: a signal's name or an exit code."""
        try:
            code = self._process.wait(EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(EXIT_WAIT_S)
        if code >= 0:
            return f"exit code {code}"
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"

    def _flush(self) -> None:
        try:
            for message in self._waiting:
                send_message(self._sock, message)
        except ConnectionError:
            pass  # its end of file is read next and tells the pool
        self._waiting.clear()
