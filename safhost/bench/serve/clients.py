"""Load from tritonclient itself, in processes of their own: sync, async, aio, stream, shared memory, HTTP.

`python -m safhost.bench.serve.clients KIND ADDRESS MODEL WIDTH BATCH IN_FLIGHT SECONDS` prints one JSON object:
requests answered and right, errors, seconds, latencies in microseconds. It is Python: the client takes most of the
time, and what is measured is what a user of these clients gets.
"""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from safhost.bench.serve.h2load import Load
from safhost.bench.serve.servers import pinned
from safhost.errors import SafError

KINDS = ("grpc", "grpc-async", "grpc-aio", "grpc-stream", "grpc-shm", "http", "http-aio")


class Job:
    """What a process sends, and what it counts."""

    def __init__(self, address: str, model: str, width: int, batch: int, in_flight: int, seconds: float) -> None:
        self.address, self.model, self.in_flight, self.seconds = address, model, in_flight, seconds
        self.given = np.random.default_rng(batch).random((batch, width), np.float32)
        self.times_us: list[float] = []
        self.errors = 0
        self.until = 0.0

    def inputs(self, module: Any) -> list[Any]:
        tensor = module.InferInput("INPUT", list(self.given.shape), "FP32")
        tensor.set_data_from_numpy(self.given)
        return [tensor]

    def took(self, began: float, result: Any) -> None:
        """An answer to what was sent at ``began``: right, or an error."""
        if result is not None and np.array_equal(result.as_numpy("OUTPUT"), self.given):
            self.times_us.append((time.perf_counter() - began) * 1e6)
        else:
            self.errors += 1

    def more(self) -> bool:
        return time.perf_counter() < self.until


def _sync(job: Job, module: Any) -> None:
    """One request after the other in each of the threads."""
    def one() -> None:
        inputs = job.inputs(module)
        with module.InferenceServerClient(job.address) as client:
            while True:
                began = time.perf_counter()
                job.took(began, client.infer(job.model, inputs))
                if not job.more():
                    break
    _threads(one, job.in_flight)


def grpc_sync(job: Job) -> None:
    import tritonclient.grpc as module

    _sync(job, module)


def http_sync(job: Job) -> None:
    import tritonclient.http as module

    _sync(job, module)


def grpc_shm(job: Job) -> None:
    import tritonclient.grpc as module
    import tritonclient.utils.shared_memory as shm

    size = job.given.nbytes
    counter = iter(range(job.in_flight))

    def one() -> None:
        name = f"saf_client_{next(counter)}_{threading.get_ident()}"
        region = shm.create_shared_memory_region(name, f"/{name}", 2 * size)
        shm.set_shared_memory_region(region, [job.given])
        with module.InferenceServerClient(job.address) as client:
            client.register_system_shared_memory(name, f"/{name}", 2 * size)
            tensor = module.InferInput("INPUT", list(job.given.shape), "FP32")
            tensor.set_shared_memory(name, size)
            output = module.InferRequestedOutput("OUTPUT")
            output.set_shared_memory(name, size, offset=size)
            while True:
                began = time.perf_counter()
                client.infer(job.model, [tensor], outputs=[output])
                job.times_us.append((time.perf_counter() - began) * 1e6)
                if not job.more():
                    break
            found = shm.get_contents_as_numpy(region, np.float32, job.given.shape, size)
            job.errors += 0 if np.array_equal(found, job.given) else 1
            client.unregister_system_shared_memory(name)
        shm.destroy_shared_memory_region(region)
    _threads(one, job.in_flight)


def grpc_async(job: Job) -> None:
    import tritonclient.grpc as module

    answers: queue.SimpleQueue[tuple[float, Any]] = queue.SimpleQueue()
    inputs = job.inputs(module)
    with module.InferenceServerClient(job.address) as client:
        def send() -> None:
            began = time.perf_counter()
            client.async_infer(job.model, inputs, lambda result, error: answers.put((began, result)))
        _closed_loop(job, send, answers)


def grpc_stream(job: Job) -> None:
    import tritonclient.grpc as module

    answers: queue.SimpleQueue[tuple[float, Any]] = queue.SimpleQueue()
    began: queue.SimpleQueue[float] = queue.SimpleQueue()  # answers come in the order of requests
    inputs = job.inputs(module)
    with module.InferenceServerClient(job.address) as client:
        client.start_stream(lambda result, error: answers.put((began.get(), result)))

        def send() -> None:
            began.put(time.perf_counter())
            client.async_stream_infer(job.model, inputs)
        _closed_loop(job, send, answers)
        client.stop_stream()


def grpc_aio(job: Job) -> None:
    import tritonclient.grpc.aio as module
    from tritonclient.grpc import InferInput

    asyncio.run(_aio(job, module, InferInput))


def http_aio(job: Job) -> None:
    import tritonclient.http.aio as module
    from tritonclient.http import InferInput

    asyncio.run(_aio(job, module, InferInput))


async def _aio(job: Job, module: Any, make: Any) -> None:
    tensor = make("INPUT", list(job.given.shape), "FP32")
    tensor.set_data_from_numpy(job.given)
    async with module.InferenceServerClient(job.address) as client:
        async def one() -> None:
            while True:
                began = time.perf_counter()
                job.took(began, await client.infer(job.model, [tensor]))
                if not job.more():
                    break
        await asyncio.gather(*(one() for _ in range(job.in_flight)))


def _closed_loop(job: Job, send: Callable[[], None], answers: queue.SimpleQueue[tuple[float, Any]]) -> None:
    for _ in range(job.in_flight):
        send()
    left = job.in_flight
    while left:
        job.took(*answers.get(timeout=60))
        if job.more():
            send()
        else:
            left -= 1


def _threads(one: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


RUN: dict[str, Callable[[Job], None]] = dict(zip(
    KINDS, (grpc_sync, grpc_async, grpc_aio, grpc_stream, grpc_shm, http_sync, http_aio), strict=True))


def run(kind: str, address: str, model: str, width: int, *, batch: int = 1, in_flight: int = 16, seconds: float = 2.0,
        cpus: Sequence[int] = ()) -> Load:
    """One process of KIND against a server. Raises SafError when it fails."""
    command = [*pinned(cpus), sys.executable, "-m", "safhost.bench.serve.clients", kind, address, model, str(width),
               str(batch), str(in_flight), str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as err:
        raise SafError(f"the {kind} client failed: {str(err.stderr)[-800:]}", "is the server up?") from err
    found = json.loads(done.stdout)
    return Load(found["requests"], found["failed"], found["requests"] / found["seconds"], found["p50_us"],
                found["p99_us"])


def main(words: Sequence[str]) -> None:
    kind, address, model, width, batch, in_flight, seconds = words
    job = Job(address, model, int(width), int(batch), int(in_flight), float(seconds))
    began = time.perf_counter()
    job.until = began + job.seconds
    RUN[kind](job)
    took = time.perf_counter() - began
    p50, p99 = np.percentile(job.times_us, (50, 99)) if job.times_us else (0.0, 0.0)
    json.dump({"requests": len(job.times_us), "failed": job.errors, "seconds": took, "p50_us": float(p50),
               "p99_us": float(p99)}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
