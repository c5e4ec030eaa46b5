"""Front ends over the fake engine, on ports of their own, with clients that are closed at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import tritonclient.grpc
import tritonclient.http
from fake_engine import FakeEngine

from safhost.serve.auth import Security
from safhost.serve.control import Operations
from safhost.serve.grpc.server import GrpcServer
from safhost.serve.http.server import HttpServer
from safhost.serve.service import Service
from safhost.serve.settings import LogSettings, TraceSettings
from safhost.serve.shm import Regions


@dataclass
class Front:
    """A running front end over ``engine``; ``places`` are its addresses."""

    engine: FakeEngine
    service: Service
    grpc: GrpcServer
    http: HttpServer

    @property
    def grpc_place(self) -> str:
        return f"127.0.0.1:{self.grpc.port}"

    @property
    def http_place(self) -> str:
        return f"127.0.0.1:{self.http.port}"


def make_service(engine: FakeEngine, **options: Any) -> Service:
    regions = options.pop("regions", None) or Regions(allowed=True)
    log = LogSettings(logging.getLogger("safhost.served"))
    traces = options.pop("traces", None) or TraceSettings()
    return Service(engine, Operations(engine, regions, log, traces), regions=regions, log=log, traces=traces, **options)


@pytest.fixture
def fronts() -> Iterator[Callable[..., Front]]:
    made: list[Front] = []

    def make(security: Security | None = None, direct: bool | None = None, **options: Any) -> Front:
        engine = FakeEngine()
        service = make_service(engine, **options)
        front = Front(engine, service, GrpcServer(service, "127.0.0.1", 0, security, direct=direct),
                      HttpServer(service, "127.0.0.1", 0, security, direct=direct))
        front.grpc.start()
        front.http.start()
        made.append(front)
        return front
    yield make
    for front in made:
        front.engine.stop(0)
        ended = front.grpc.stop(1.0)
        front.http.stop(1.0)
        front.http.close()
        assert ended.wait(10)
        front.grpc.close()
        front.service.close()


@pytest.fixture
def front(fronts: Callable[..., Front], request: pytest.FixtureRequest) -> Front:
    """``direct`` by indirect parameters: with and without threads for inference."""
    return fronts(direct=getattr(request, "param", None))


@pytest.fixture
def grpc_client(front: Front) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(front.grpc_place) as client:
        yield client


@pytest.fixture
def http_client(front: Front) -> Iterator[tritonclient.http.InferenceServerClient]:
    with tritonclient.http.InferenceServerClient(front.http_place, concurrency=4) as client:
        yield client
