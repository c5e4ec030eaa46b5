"""A server in one process: engine, front ends, metrics; from start to drained."""

from __future__ import annotations

import logging
import time

from safhost.serve.control import Control, Operations
from safhost.serve.engine import Engine
from safhost.serve.grpc.server import GrpcServer
from safhost.serve.http.server import AsgiServer, HttpServer, listening
from safhost.serve.metrics import Metrics
from safhost.serve.options import OFF, Options
from safhost.serve.service import Service
from safhost.serve.settings import LogSettings, TraceSettings
from safhost.serve.shm import Regions

log = logging.getLogger(__name__)


class Server:
    """Loads the models at once; `start` opens the ports. ``control`` None: this process is the only one. ``counters``:
    the file that holds all workers' counters."""

    def __init__(self, options: Options, control: Control | None = None, *, counters: str | None = None,
                 worker: int = 0, workers: int = 1) -> None:
        self.options = options
        regions = Regions(allowed=options.allow_shared_memory)
        log_settings = LogSettings(logging.getLogger("safhost"), options.log_file)
        traces = TraceSettings(endpoint=options.trace_endpoint, rate=options.trace_rate)
        self.engine = Engine(options.repositories, cluster=options.cluster or None, control_mode=options.control_mode,
                             models=options.models, counters=counters,
                             worker=worker, workers=workers, strict=options.strict_readiness,
                             poll_s=options.poll_s, elastic=options.elastic)
        self.operations = Operations(self.engine, regions, log_settings, traces)
        self.service = Service(self.engine, control or self.operations, regions=regions, log=log_settings,
                               traces=traces, strict=options.strict_readiness)
        self._grpc: GrpcServer | None = None
        self._http: list[AsgiServer] = []

    def start(self) -> None:
        """Open the ports. Raises LinkError when one cannot be had."""
        options, security = self.options, self.options.security()
        if options.http_port != OFF:
            self._http.append(HttpServer(self.service, options.host, options.http_port, security))
        if options.metrics_port != OFF:
            self._http.append(AsgiServer(Metrics(self.engine, self.service.ready),
                                         listening(options.host, options.metrics_port, "metrics"), name="metrics"))
        if options.grpc_port != OFF:
            self._grpc = GrpcServer(self.service, options.host, options.grpc_port, security)
            self._grpc.start()
        for server in self._http:
            server.start()

    def stop(self, drain_s: float) -> None:
        """Not ready from now on, which balancers see while everything is still answered for ``lame_duck_s``; then
        requests under way are answered, for ``drain_s`` at most; then everything ends."""
        self.service.draining = True
        time.sleep(self.options.lame_duck_s)
        until = time.monotonic() + drain_s
        ended = self._grpc.stop(drain_s) if self._grpc is not None else None
        for server in self._http:
            server.stop(drain_s)
        if ended is not None:
            ended.wait(drain_s + 1)
        for server in self._http:
            server.close()
        self.engine.stop(max(0.0, until - time.monotonic()))
        if self._grpc is not None:
            self._grpc.close()
        self.service.close()

    def ports(self) -> dict[str, int]:
        """The ports that are open."""
        names = [name for name, port in (("http", self.options.http_port), ("metrics", self.options.metrics_port))
                 if port != OFF]
        out = {name: server.port for name, server in zip(names, self._http, strict=True)}
        return out if self._grpc is None else {**out, "grpc": self._grpc.port}


__all__ = ["Server"]
