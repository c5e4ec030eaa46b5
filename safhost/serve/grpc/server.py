"""The gRPC server: calls, streams, health and reflection on one port."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tritonclient.grpc import service_pb2 as pb

from safhost.errors import LinkError
from safhost.serve.auth import Security
from safhost.serve.grpc.calls import Calls
from safhost.serve.grpc.direct import DirectCalls, is_possible
from safhost.serve.grpc.direct_stream import DirectStream
from safhost.serve.grpc.infer import Inference
from safhost.serve.grpc.token import TokenInterceptor
from safhost.serve.service import Service

SERVICE = "inference.GRPCInferenceService"
THREADS = 8
"""For calls that are being worked on: more of them only contend for the interpreter (measured)."""

THREADS_THAT_WAIT = 512
"""For calls that wait in their thread for the engine; they are started as they are needed."""

LOADS = 16
"""Loads and unloads at once; others wait. They keep no thread from health and metadata."""

STREAMS = 4096
"""Streams at once; each holds a thread, of their own pool, so that they never keep a call waiting."""

JOIN_S = 5.0
"""For calls that were cancelled when the drain was over and are being answered all the same."""

OPTIONS = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # The core would measure each connection with pings: for a client that asks now and then, one more packet each way a
    # request. A window and frames that are large from the start do without.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 8 << 20),
    ("grpc.http2.max_frame_size", 1 << 20),
    # a client whose machine or network is gone says nothing: ask, so that its streams end
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # the core waits a minute else, whatever keepalive says
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
)


class _Health(health.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1: "" and the service are as the server, any other name is that of a model."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 name of the service
        if request.service in ("", SERVICE):
            is_serving = self._service.ready()
        elif any(entry.name == request.service for entry in self._service.engine.index(False)):
            is_serving = not self._service.draining and self._service.engine.model_ready(request.service)
        else:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service '{request.service}'")
        return health_pb2.HealthCheckResponse(status=_status(is_serving))


def _status(is_serving: bool) -> Any:
    states = health_pb2.HealthCheckResponse
    return states.SERVING if is_serving else states.NOT_SERVING


class GrpcServer:
    """Serves `service` on ``host``:``port`` (0: any free one) from `start` to `stop`.

    ``direct``: inference without threads (see `safhost.serve.grpc.direct`), by default where it is possible.
    """

    def __init__(self, service: Service, host: str, port: int, security: Security | None = None, *,
                 direct: bool | None = None) -> None:
        direct = is_possible() if direct is None else direct
        security = security or Security()
        self._service = service
        self._health = _Health(service)
        inference = Inference(service)
        self._streams = ThreadPoolExecutor(STREAMS, thread_name_prefix="grpc-stream")

        def stream(messages: Any, context: grpc.ServicerContext) -> Any:
            return inference.stream(messages, context)
        stream.experimental_thread_pool = self._streams  # type: ignore[attr-defined]
        self._pool = ThreadPoolExecutor(THREADS if direct else THREADS_THAT_WAIT, thread_name_prefix="grpc")
        self._server = grpc.server(
            self._pool, options=OPTIONS, interceptors=[TokenInterceptor(security)] if security.token else [])
        self._slow = ThreadPoolExecutor(LOADS, thread_name_prefix="grpc-load")
        handlers = Calls(service).handlers(self._slow)
        self._direct: DirectCalls | None = None
        if direct:
            self._direct = DirectCalls(self._server, service, security, self._pool, f"/{SERVICE}/ModelInfer",
                                       f"/{SERVICE}/ModelStreamInfer", DirectStream)
        else:
            handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(inference.unary)
            handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(stream)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self._server.add_registered_method_handlers(SERVICE, handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name, health.SERVICE_NAME,
                 reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = security.grpc_credentials()
        try:
            self.port: int = (self._server.add_insecure_port(address) if credentials is None
                              else self._server.add_secure_port(address, credentials))
        except RuntimeError:
            raise LinkError(f"the gRPC port {port} of {host} cannot be opened",
                            "another server has it, or --grpc-port names another one") from None
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._watch_ready, name="grpc-health", daemon=True)

    def start(self) -> None:
        self._server.start()
        if self._direct is not None:
            self._direct.start()
        self._watch.start()

    def _watch_ready(self) -> None:
        """Tell those who watch the health of changes; those who ask are answered from the engine itself."""
        told = None
        while True:
            is_ready = self._service.ready()
            if is_ready != told:
                told = is_ready
                for name in ("", SERVICE):
                    self._health.set(name, _status(is_ready))
            if self._ended.wait(0.5):
                return

    def stop(self, drain_s: float) -> threading.Event:
        """Take no more calls; those under way may go on for ``drain_s``. The event is set when all have ended."""
        self._ended.set()
        self._health.enter_graceful_shutdown()
        if self._direct is not None:
            self._direct.stop()
        ended: threading.Event = self._server.stop(drain_s)
        return ended

    def close(self) -> None:
        """After `stop`: end the threads."""
        self._watch.join()
        if self._direct is not None:
            self._direct.join(JOIN_S)
        self._pool.shutdown(wait=False)
        self._streams.shutdown(wait=False)
        self._slow.shutdown(wait=False)


__all__ = ["GrpcServer"]
