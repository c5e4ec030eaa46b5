"""A worker process: a `Server` at the end of a link to the supervisor.

Run as ``python -m safhost.serve.worker LINK COUNTERS``, two inherited file descriptors. The link carries lines of JSON:

    to the worker    {"start": options, "worker": n, "workers": n, "journal": [[operation, arguments], …]}
                     {"do": id, "operation": …, "arguments": …}       and it answers {"done": id, "error": …}
                     {"answer": id, "error": …}                       to a "call" of its own
                     {"stop": seconds}
    from it          {"ready": {"http": port, …}}, {"failed": error}, {"call": id, "operation": …, "arguments": …}

An end of the link is the supervisor's end: the worker drains and ends too.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import queue
import resource
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from safhost import log as logs
from safhost.errors import SafError
from safhost.serve.control import Arguments
from safhost.serve.options import Options
from safhost.serve.server import Server
from safhost.serve.types import Code, ServeError

log = logging.getLogger("safhost.serve")


class Link:
    """This process's end of the link; `Control` for its front ends."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = sock.makefile("rb")
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Any]] = {}

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            self._sock.sendall(data)

    def receive(self) -> dict[str, Any] | None:
        """The next message; None at the end."""
        try:
            line = self._lines.readline()
        except OSError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def call(self, operation: str, arguments: Arguments) -> None:
        """Have it done in every worker. Raises ServeError."""
        number = next(self._numbers)
        answer = self._waiting[number] = queue.SimpleQueue()
        try:
            self.send({"call": number, "operation": operation, "arguments": dict(arguments)})
            error = answer.get()
        except OSError:
            raise ServeError(Code.UNAVAILABLE, "the server is ending") from None
        finally:
            del self._waiting[number]
        if error is not None:
            raise error_of(error)

    def answered(self, message: dict[str, Any]) -> None:
        answer = self._waiting.get(message["answer"])
        if answer is not None:
            answer.put(message["error"])

    def ended(self) -> None:
        """Nobody will answer any more."""
        for answer in list(self._waiting.values()):
            answer.put(told(ServeError(Code.UNAVAILABLE, "the server is ending")))


def told(error: Exception) -> list[Any]:
    """An error as it crosses the link."""
    if isinstance(error, ServeError):
        return [int(error.code), error.message]
    return [int(Code.INTERNAL), f"{type(error).__name__}: {error}"]


def error_of(told_error: list[Any]) -> ServeError:
    return ServeError(Code(told_error[0]), told_error[1])


def main(link_descriptor: int, counters_descriptor: int) -> int:
    # Ctrl-C on a terminal reaches all processes: the supervisor says what is to be done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # a connection is a descriptor, and the usual soft limit is 1024
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    link = Link(socket.socket(fileno=link_descriptor))
    first = link.receive()
    if first is None:
        return 0
    options = Options.from_json(first["start"])
    logs.configure(options.log_level, options.log_file or None, json_lines=options.log_json)
    try:
        server = Server(options, link, counters=f"/proc/self/fd/{counters_descriptor}", worker=first["worker"],
                        workers=first["workers"])
        for operation, arguments in first["journal"]:
            _repeat(server, operation, arguments)
        # what is here stays: collecting garbage would look at all of it, while requests wait
        gc.collect()
        gc.freeze()
        server.start()
    except SafError as error:
        link.send({"failed": error.to_dict()})
        return error.exit_code
    link.send({"ready": server.ports()})
    server.stop(_follow(link, server))
    return 0


def _repeat(server: Server, operation: str, arguments: Arguments) -> None:
    try:
        server.operations.call(operation, arguments)
    except ServeError as error:  # a region that is gone by now, say: the others may have it no more than we
        log.warning("%s of %s could not be repeated: %s", operation, arguments.get("name", "?"), error)


def _follow(link: Link, server: Server) -> float:
    """Do what the supervisor says, until it says stop; returns the seconds for the drain."""
    with ThreadPoolExecutor(16, "control") as pool:
        while (message := link.receive()) is not None:
            if "do" in message:
                pool.submit(_do, link, server, message)
            elif "answer" in message:
                link.answered(message)
            elif "stop" in message:
                threading.Thread(target=_read_on, args=(link,), daemon=True).start()
                return float(message["stop"])
        link.ended()
    return 0.0


def _read_on(link: Link) -> None:
    """While the server drains: answers still come."""
    while (message := link.receive()) is not None:
        if "answer" in message:
            link.answered(message)
    link.ended()


def _do(link: Link, server: Server, message: dict[str, Any]) -> None:
    error: list[Any] | None = None
    try:
        server.operations.call(message["operation"], message["arguments"])
    except Exception as err:
        if not isinstance(err, ServeError):
            log.exception("%s failed in an unforeseen way", message["operation"])
        error = told(err)
    link.send({"done": message["do"], "error": error})


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
