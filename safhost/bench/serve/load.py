"""Kinds of load on a server, each counted by the generator and, where it keeps count, by the server itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from safhost.bench.serve import bodies, h2load
from safhost.bench.serve.h2load import Load
from safhost.bench.serve.peers import KSERVE, MLSERVER
from safhost.bench.serve.repository import Shape
from safhost.bench.serve.servers import Server
from safhost.errors import SafError

IN_FLIGHT = (4, 4)
"""Connections and requests in flight on each: 16."""

STREAM_REQUESTS = 250
"""Requests that go down one stream."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run: inferences a second (requests), latencies in microseconds, server CPU a request in microseconds."""

    per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    failed: int


SLOW = {MLSERVER: 8, KSERVE: 8}
"""Servers that get so many times fewer requests, or a round would be theirs."""

Runner = Callable[[Server, Sequence[int]], Load]


def measure(server: Server, runner: Runner, cpus: Sequence[int], counted: Shape | None, each: int = 1) -> Figures:
    """Run a load. ``counted``: the model whose good inferences the server counts; SafError when its count differs
    from the generator's. A generator that does not count (no requests) is taken at the server's count. ``each``:
    inferences in a request of the generator (a stream has many)."""
    before = successes(server, counted) if counted else 0
    cpu_s = server.cpu_s()
    load = runner(server, cpus)
    cpu_s = server.cpu_s() - cpu_s
    found = successes(server, counted) - before if counted else 0
    done = load.requests * each or found
    if counted and load.failed == 0 and found != done:
        raise SafError(f"{server.name} counts {found} good inferences where {done} were sent", "look into its log: "
                       f"{server.log}")
    return Figures(load.per_s * each, load.p50_us, load.p99_us, cpu_s / max(done, 1) * 1e6, load.failed)


def successes(server: Server, shape: Shape) -> int:
    """Inferences of a model that the server says were good (ModelStatistics)."""
    from tritonclient.grpc import InferenceServerClient

    with InferenceServerClient(server.grpc) as client:
        statistics = client.get_inference_statistics(shape.name)
    return sum(int(one.inference_stats.success.count) for one in statistics.model_stats)


def grpc(shape: Shape, batch: int, requests: int, connections: int = IN_FLIGHT[0], streams: int = IN_FLIGHT[1],
         per_client_per_s: float = 0.0) -> Runner:
    """Unary calls."""
    body = bodies.grpc_body(shape, batch)
    return lambda server, cpus: h2load.run(
        f"http://{server.grpc}{bodies.GRPC_INFER}", body, bodies.GRPC_HEADERS, requests=_share(server, requests),
        clients=connections, streams=streams, per_client_per_s=per_client_per_s, cpus=cpus)


def stream(shape: Shape, batch: int, streams: int, connections: int = 4) -> Runner:
    """Streams of STREAM_REQUESTS requests each, one at a time a connection."""
    body = bodies.grpc_body(shape, batch) * STREAM_REQUESTS
    url = "/inference.GRPCInferenceService/ModelStreamInfer"
    return lambda server, cpus: h2load.run(f"http://{server.grpc}{url}", body, bodies.GRPC_HEADERS, requests=streams,
                                           clients=min(connections, streams), cpus=cpus)


def http(shape: Shape, batch: int, requests: int, connections: int = 16) -> Runner:
    """HTTP/1.1 with binary tensors both ways; MLServer knows only JSON and gets that."""
    def run(server: Server, cpus: Sequence[int]) -> Load:
        body, headers = (bodies.json_body if server.name == MLSERVER else bodies.http_body)(shape, batch)
        return h2load.run(f"http://{server.http}{bodies.http_path(shape)}", body, headers,
                          requests=_share(server, requests), clients=connections, http1=True, cpus=cpus)
    return run


def _share(server: Server, requests: int) -> int:
    return max(requests // SLOW.get(server.name, 1), 32)


def shared_memory(shape: Shape, batch: int, requests: int) -> Runner:
    """Unary calls whose tensors lie in a region of system shared memory, in and out."""
    def run(server: Server, cpus: Sequence[int]) -> Load:
        with _region(server, bodies.rows(shape, batch).tobytes()) as (name, size):
            body = bodies.shared_memory_body(shape, batch, name, size)
            return h2load.run(f"http://{server.grpc}{bodies.GRPC_INFER}", body, bodies.GRPC_HEADERS, requests=requests,
                              clients=IN_FLIGHT[0], streams=IN_FLIGHT[1], cpus=cpus)
    return run


@contextmanager
def _region(server: Server, data: bytes) -> Iterator[tuple[str, int]]:
    """A registered region that holds ``data`` and room for as much; its results must be ``data`` in the end."""
    from tritonclient.grpc import InferenceServerClient

    with NamedTemporaryFile(dir="/dev/shm", prefix="saf_bench_") as file, InferenceServerClient(server.grpc) as client:
        file.write(data + bytes(len(data)))
        file.flush()
        name = Path(file.name).name
        client.register_system_shared_memory(name, f"/{name}", 2 * len(data))
        try:
            yield name, len(data)
        finally:
            client.unregister_system_shared_memory(name)
        if Path(file.name).read_bytes()[len(data):] != data:
            raise SafError(f"{server.name} wrote something else than the identity into shared memory",
                           "nothing was measured")


def verify(server: Server, shape: Shape, batch: int) -> None:
    """One call each over gRPC and HTTP whose results must equal the inputs. Raises SafError when they do not."""
    import numpy as np
    import tritonclient.grpc
    import tritonclient.http

    given = bodies.rows(shape, batch)
    for module, address in ((tritonclient.grpc, server.grpc), (tritonclient.http, server.http)):
        tensor = module.InferInput("INPUT", list(given.shape), "FP32")
        output = module.InferRequestedOutput("OUTPUT")
        if server.name == MLSERVER and module is tritonclient.http:
            tensor.set_data_from_numpy(given, binary_data=False)
            output = module.InferRequestedOutput("OUTPUT", binary_data=False)
        else:
            tensor.set_data_from_numpy(given)
        with module.InferenceServerClient(address) as client:
            found = client.infer(shape.name, [tensor], outputs=[output], request_id="1").as_numpy("OUTPUT")
        if not np.array_equal(np.reshape(found, given.shape), given):
            raise SafError(f"{server.name} is no identity over {module.__name__}", "nothing was measured")
