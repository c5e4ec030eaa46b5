"""What a server is started with; goes from the supervisor to its workers as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from safhost.errors import ConfigError
from safhost.serve.auth import Security

GRPC_PORT, HTTP_PORT, METRICS_PORT = 8001, 8000, 8002
"""The reference server's ports."""

OFF = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """See `safhost serve --help`. A port of 0 is any free one, OFF none."""

    repositories: tuple[str, ...]
    host: str = "127.0.0.1"
    http_port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT
    metrics_port: int = METRICS_PORT
    workers: int = 1
    control_mode: str = "none"
    models: tuple[str, ...] = ()
    poll_s: float = 15.0
    strict_readiness: bool = True
    allow_shared_memory: bool = False
    cluster: str = ""
    elastic: bool = False
    lame_duck_s: float = 0.0
    drain_s: float = 30.0
    tls_certificate: str = ""
    tls_key: str = ""
    tls_authority: str = ""
    token: str = ""
    trace_endpoint: str = ""
    trace_rate: int = 1000
    log_level: str = "info"
    log_file: str = ""
    log_json: bool = False

    def security(self) -> Security:
        return Security(self.tls_certificate, self.tls_key, self.tls_authority, self.token.encode())

    def check(self) -> None:
        """Raises ConfigError for what does not fit together."""
        if self.workers < 1:
            raise ConfigError(f"{self.workers} workers", "--workers is 1 or more")
        ports = [port for port in (self.http_port, self.grpc_port, self.metrics_port) if port > 0]
        if len(set(ports)) != len(ports):
            raise ConfigError("one port is given twice", "HTTP, gRPC and metrics need a port each")
        if self.http_port == OFF and self.grpc_port == OFF:
            raise ConfigError("neither HTTP nor gRPC is served", "leave one of the two on")
        self.security().check()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Options:
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                                  for name, value in document.items() if name in known}
        return cls(**values)


__all__ = ["GRPC_PORT", "HTTP_PORT", "METRICS_PORT", "OFF", "Options"]
