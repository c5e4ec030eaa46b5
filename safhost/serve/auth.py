"""Who may call: TLS, clients' certificates, a bearer token."""

from __future__ import annotations

import hmac
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safhost.errors import ConfigError

OPEN_METHODS = ("/grpc.health.v1.Health/", "/inference.GRPCInferenceService/ServerLive",
                "/inference.GRPCInferenceService/ServerReady")
OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
"""What needs no token: probes of an orchestrator have none."""


@dataclass(frozen=True, slots=True)
class Security:
    """``certificate`` and ``key``: PEM files of this server, both or none; ``authority``: PEM file of those whose
    clients may connect (mutual TLS); ``token``: what clients put behind "Bearer"."""

    certificate: str = ""
    key: str = ""
    authority: str = ""
    token: bytes = b""

    def check(self) -> None:
        """Raises ConfigError for options that do not fit together or files that cannot be read."""
        if bool(self.certificate) != bool(self.key):
            raise ConfigError("a certificate needs its key", "give both --tls-cert and --tls-key")
        if self.authority and not self.certificate:
            raise ConfigError("clients' certificates are asked for within TLS", "add --tls-cert and --tls-key")
        for path in filter(None, (self.certificate, self.key, self.authority)):
            _read(path)
        if self.certificate:
            self.ssl_context()

    def grpc_credentials(self) -> Any:
        """For grpc; None without TLS."""
        if not self.certificate:
            return None
        import grpc  # the supervisor, which makes no connections, does without it

        roots = _read(self.authority) if self.authority else None
        return grpc.ssl_server_credentials([(_read(self.key), _read(self.certificate))], roots,
                                           require_client_auth=bool(self.authority))

    def ssl_context(self) -> ssl.SSLContext | None:
        """For HTTP; None without TLS."""
        if not self.certificate:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.authority:
                context.load_verify_locations(self.authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except (ssl.SSLError, OSError) as err:
            raise ConfigError(f"the TLS files cannot be used: {err}", "check that they are PEM and belong together"
                              ) from None
        return context

    def permits(self, authorization: bytes) -> bool:
        """Whether the value of an Authorization header is the token; takes the same time for every wrong one."""
        return not self.token or hmac.compare_digest(authorization, b"Bearer " + self.token)


def read_token(path: str | os.PathLike[str]) -> bytes:
    """The token of a file, without white space around it; ConfigError when the file is empty or open to others."""
    text = _read(str(path)).strip()
    if not text:
        raise ConfigError(f"the token file {path} is empty", "put a long random word into it")
    if Path(path).stat().st_mode & 0o007:
        raise ConfigError(f"everybody may read or write the token file {path}", f"chmod o-rwx {path}")
    return text


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as err:
        raise ConfigError(f"cannot read {path}: {err.strerror}", "check the path and its permissions") from None


__all__ = ["OPEN_METHODS", "OPEN_PATHS", "Security", "read_token"]
