"""The supervisor: worker processes on the same ports, changes in all of them, a new worker for one that died.

It serves nothing itself and imports nothing heavy. See `safhost.serve.worker` for what the link carries.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from safhost.errors import LinkError, SafError, error_from_dict
from safhost.serve.control import Arguments, Journal, undoing
from safhost.serve.options import OFF, Options
from safhost.serve.types import Code

log = logging.getLogger("safhost.serve")

# Large messages would be mapped and unmapped each time, every page of them touched anew (measured: 4 ×).
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
# The core would read sockets in threads of its own and wake ours for each event: one switch of threads more a request
# than when our queues' threads read them (measured: 10 to 15 % of the CPU, and a shorter wait on a busy machine).
POLLING = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
LAST_POLLING = (1, 85)
"""The newest grpc that this was tried with; later ones may know no such choice any more."""

LINE_BYTES = 1 << 30
"""The longest message of a link: a load may bring files with it."""

SLOWEST_RESTART_S = 5.0
SAME_SIGNAL_S = 0.5  # who ends us and our process group (timeout(1) does) sends one signal twice
KILL_AFTER_S = 5.0  # beyond the drain


class _Worker:
    """One worker process, from its start to its end."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.process = process
        self.reader = reader
        self.writer = writer
        self.ready: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()
        self.doing: dict[int, asyncio.Future[list[Any] | None]] = {}

    def send(self, message: dict[str, Any]) -> None:
        if not self.writer.is_closing():
            self.writer.write(json.dumps(message).encode() + b"\n")


class Supervisor:
    """Runs ``options.workers`` workers. ``on_ready(ports)`` is called once, when all of them serve."""

    def __init__(self, options: Options, on_ready: Callable[[dict[str, int]], None] | None = None) -> None:
        self._options = options
        self._on_ready = on_ready
        self._workers: dict[int, _Worker] = {}
        self._journal = Journal()
        self._numbers = itertools.count(1)
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Until SIGTERM or SIGINT, and until all workers have drained then. Raises SafError when a worker cannot
        start for the first time."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._stopping = asyncio.Event()
        self._asked_s = 0.0
        self._hurry = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        options = self._options
        held = {}
        try:
            for name in ("http_port", "grpc_port", "metrics_port"):
                if getattr(options, name) != OFF:
                    held[name] = reserve(options.host, getattr(options, name), name.removesuffix("_port"))
            ports = {name: sock.getsockname()[1] for name, sock in held.items()}
            self._start_options = {**options.to_json(), **ports}
            self._counters = os.memfd_create("safhost-counters")
            await self._serve()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            for sock in held.values():
                sock.close()

    def _signalled(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if not self._stopping.is_set():
            self._asked_s = now_s
        elif now_s - self._asked_s > SAME_SIGNAL_S:
            self._hurry.set()  # a second signal: no more patience
        self._stopping.set()

    async def _serve(self) -> None:
        keepers = [asyncio.create_task(self._keep(number)) for number in range(self._options.workers)]
        try:
            await self._until_ready(keepers)
            await self._stopping.wait()
        finally:
            self._stopping.set()
            for worker in self._workers.values():
                worker.send({"stop": self._options.drain_s})
            await asyncio.gather(*keepers, return_exceptions=True)
            os.close(self._counters)

    async def _until_ready(self, keepers: list[asyncio.Task[None]]) -> None:
        """All workers serve, or the error of the first that cannot."""
        stop = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                ready = [worker.ready for worker in self._workers.values()]
                if len(ready) == self._options.workers and all(each.done() for each in ready):
                    if self._on_ready is not None:
                        self._on_ready(ready[0].result())
                    return
                pending: list[Any] = [each for each in ready if not each.done()]
                await asyncio.wait([*pending, *keepers, stop], return_when=asyncio.FIRST_COMPLETED,
                                   timeout=None if pending else 0.05)
                for keeper in keepers:
                    if keeper.done():
                        keeper.result()  # raises what it failed with
        finally:
            stop.cancel()

    async def _keep(self, number: int) -> None:
        """One worker after another in place ``number``. Raises the error of the first when it cannot start."""
        pause_s = 0.1
        is_first = True
        while not self._stopping.is_set():
            worker = await self._spawn(number)
            failure = await self._attend(worker)
            if failure is not None and is_first:
                raise failure
            if self._stopping.is_set():
                return
            if worker.ready.done():
                is_first, pause_s = False, 0.1
            elif is_first:
                raise SafError(f"worker {number} ended before it served (exit code {worker.process.returncode})",
                               "its messages above say why")
            log.error("worker %d ended with exit code %s; another one takes its place", number,
                      worker.process.returncode)
            await _wait(self._stopping, pause_s)
            pause_s = min(2 * pause_s, SLOWEST_RESTART_S)

    async def _spawn(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        environment = {**MALLOC, **polling(), **os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "safhost.serve.worker", str(theirs.fileno()), str(self._counters),
            pass_fds=(theirs.fileno(), self._counters), env=environment)
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        worker = _Worker(number, process, reader, writer)
        # from here on it gets every operation; those before are in the journal
        self._workers[number] = worker
        worker.send({"start": self._start_options, "worker": number, "workers": self._options.workers,
                     "journal": list(self._journal)})
        return worker

    async def _attend(self, worker: _Worker) -> SafError | None:
        """Listen to a worker until it ends; the error with which it failed to start."""
        failure: SafError | None = None
        watch = asyncio.create_task(self._kill_late(worker))
        try:
            while line := await worker.reader.readline():
                message = json.loads(line)
                if "ready" in message:
                    worker.ready.set_result(message["ready"])
                elif "failed" in message:
                    failure = error_from_dict(message["failed"])
                elif "done" in message:
                    doing = worker.doing.pop(message["done"], None)
                    if doing is not None:
                        doing.set_result(message["error"])
                elif "call" in message:
                    task = asyncio.create_task(self._operate(worker, message))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except (OSError, ValueError) as err:
            log.error("the link to worker %d broke: %s", worker.number, err)
            worker.process.kill()
        finally:
            await worker.process.wait()
            watch.cancel()
            worker.writer.close()
            if self._workers.get(worker.number) is worker:
                del self._workers[worker.number]
            for doing in worker.doing.values():  # its successor has it from the journal
                doing.set_result(None)
            worker.doing.clear()
        return failure

    async def _kill_late(self, worker: _Worker) -> None:
        await self._stopping.wait()
        await _wait(self._hurry, self._options.lame_duck_s + self._options.drain_s + KILL_AFTER_S)
        worker.process.kill()

    async def _operate(self, asker: _Worker, message: dict[str, Any]) -> None:
        """Have an operation done by all workers, and tell the one that asked."""
        operation, arguments = message["operation"], message["arguments"]
        key = f"model {arguments['name']}" if operation in ("load", "unload") else "others"
        async with self._locks.setdefault(key, asyncio.Lock()):
            take_back = self._journal.add(operation, arguments)
            errors = await self._in_all(operation, arguments)
            error = next((each for each in errors if each is not None), None)
            if error is not None:
                take_back()
                undo = undoing(operation, arguments)
                # a name that was there already belongs to whoever had it before
                if undo is not None and any(each is None for each in errors) and error[0] != Code.ALREADY_EXISTS:
                    await self._in_all(*undo)
        asker.send({"answer": message["call"], "error": error})

    async def _in_all(self, operation: str, arguments: Arguments) -> list[list[Any] | None]:
        number = next(self._numbers)
        waiting = []
        for worker in self._workers.values():
            future: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()
            worker.doing[number] = future
            worker.send({"do": number, "operation": operation, "arguments": dict(arguments)})
            waiting.append(future)
        return await asyncio.gather(*waiting)


def polling() -> dict[str, str]:
    """POLLING where grpc has that choice."""
    try:
        major, minor = map(int, version("grpcio").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return {}
    return POLLING if (major, minor) <= LAST_POLLING else {}


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def reserve(host: str, port: int, what: str) -> socket.socket:
    """A socket that keeps ``port`` for our workers without listening. LinkError when somebody else has the port: with
    SO_REUSEPORT alone we would share it with another server of the same user, unnoticed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if port:
            with socket.socket(family, socket.SOCK_STREAM) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((host, port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError as err:
        sock.close()
        raise LinkError(f"the {what} port {port} of {host} cannot be opened: {err.strerror}",
                        f"another server has it, or --{what}-port names another one") from None
    return sock


__all__ = ["MALLOC", "Supervisor", "reserve"]
