"""safhost.sonic from threads and asyncio while its servers are killed, frozen and started again: every request gets an
answer, from another server or from the local model, and nobody hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from safhost import sonic
from safhost.bench.serve import servers

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(300)]
CONFIG = """
backend: "identity"
max_batch_size: 64
input { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] }
parameters { key: "delay_us" value { string_value: "3000" } }
instance_group { kind: KIND_CPU count: 4 }
"""


class Farm:
    """Two servers that can be killed, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        model = folder / "models" / "m"
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").write_text(CONFIG)
        ports = servers.free_ports(4)
        self._ports = [ports[:2], ports[2:]]
        self._stacks = [ExitStack(), ExitStack()]
        self._running: list[servers.Server | None] = [None, None]

    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{grpc_port}" for grpc_port, _ in self._ports]

    def start(self, number: int) -> None:
        grpc_port, http_port = self._ports[number]
        command = [sys.executable, "-m", "safhost.cli", "serve", str(self._folder / "models"), "--metrics-port=off",
                   f"--grpc-port={grpc_port}", f"--http-port={http_port}"]
        self._running[number] = self._stacks[number].enter_context(servers.running(
            "safhost", command, grpc_port, http_port, self._folder / f"{number}.log"))

    def signal(self, number: int, what: signal.Signals) -> None:
        running = self._running[number]
        assert running is not None
        for pid in running.pids():
            os.kill(pid, what)
        if what == signal.SIGKILL:
            self._stacks[number].close()

    def close(self) -> None:
        for stack in self._stacks:
            stack.close()


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    made = Farm(tmp_path)
    made.start(0)
    made.start(1)
    yield made
    made.close()


def local(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"OUT": inputs["IN"]}


class Workers:
    """Threads, and tasks of an event loop, that ask one request after the other and compare the answers."""

    def __init__(self, client: sonic.Client) -> None:
        self.client = client
        self.answered: Counter[str | None] = Counter()
        self.longest_s = 0.0
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(6)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._tasks())))

    def __enter__(self) -> Workers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            if thread.is_alive():
                self.wrong.append(f"{thread.name} hangs")

    def _ask(self, number: int) -> None:
        chance = np.random.default_rng(number)
        while not self._stop.is_set():
            rows = chance.random((3, 4), np.float32)
            try:
                self._note(rows, self.client.acquire({"IN": rows}).produce())
            except sonic.SonicError as error:
                self.wrong.append(str(error))

    async def _tasks(self) -> None:
        await asyncio.gather(*(self._task(n) for n in range(100, 106)))

    async def _task(self, number: int) -> None:
        chance = np.random.default_rng(number)
        while not self._stop.is_set():
            rows = chance.random((3, 4), np.float32)
            try:
                self._note(rows, await self.client.acquire({"IN": rows}))
            except sonic.SonicError as error:
                self.wrong.append(str(error))

    def _note(self, rows: np.ndarray, outputs: sonic.Outputs) -> None:
        with self._lock:
            self.answered[outputs.server] += 1
            self.longest_s = max(self.longest_s, outputs.seconds)
            if not np.array_equal(outputs["OUT"], rows):
                self.wrong.append("other values")

    def until(self, condition: Callable[[Counter[str | None]], bool]) -> None:
        """Until the answers from now on are so."""
        with self._lock:
            before = Counter(self.answered)
        deadline = time.monotonic() + 60
        while not condition(self.answered - before):
            assert time.monotonic() < deadline, (self.answered - before, self.wrong[-3:])
            time.sleep(0.05)


def test_servers_are_killed_one_after_the_other_and_come_back(farm: Farm) -> None:
    first, second = farm.addresses()
    with sonic.Client([first, second], "m", fallback=local, local_threads=2) as client, Workers(client) as workers:
        workers.until(lambda new: new[first] > 100 and new[second] > 100)
        farm.signal(0, signal.SIGKILL)
        workers.until(lambda new: new[second] > 300)
        farm.signal(1, signal.SIGKILL)
        workers.until(lambda new: new[None] > 50)
        farm.start(0)
        workers.until(lambda new: new[first] > 100)
        farm.start(1)
        workers.until(lambda new: new[second] > 100)
    print(workers.answered, workers.longest_s, client.counts())
    assert not workers.wrong
    assert client.counts().errors == 0


def test_without_a_local_model_only_time_without_any_server_fails(farm: Farm) -> None:
    with sonic.Client(farm.addresses(), "m", tries=4) as client, Workers(client) as workers:
        workers.until(lambda new: new.total() > 200)
        farm.signal(0, signal.SIGKILL)
        workers.until(lambda new: new.total() > 200)
        farm.start(0)
        workers.until(lambda new: new[farm.addresses()[0]] > 100)
    assert not workers.wrong


def test_frozen_server_is_left_for_another(farm: Farm) -> None:
    """It neither answers nor hangs up, and the client named no times."""
    first, second = farm.addresses()
    with sonic.Client([first, second], "m", fallback=local) as client, Workers(client) as workers:
        workers.until(lambda new: new[first] > 100 and new[second] > 100)
        farm.signal(0, signal.SIGSTOP)
        try:
            workers.until(lambda new: new[second] > 2000 or workers.longest_s > 5)
            deadline = time.monotonic() + 60
            while workers.longest_s < 5 and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            farm.signal(0, signal.SIGCONT)
    print(workers.answered, workers.longest_s)
    assert not workers.wrong
    assert 5 < workers.longest_s < 40
