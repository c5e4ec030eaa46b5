"""The bearer token in gRPC's metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc

from safhost.serve.auth import OPEN_METHODS, Security

NO_TOKEN = "the call has no valid token"


def is_permitted(security: Security, metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether a call with ``metadata`` has the token."""
    return any(security.permits(value if isinstance(value, bytes) else value.encode("utf-8", "replace"))
               for name, value in metadata if name == "authorization")


class TokenInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Answers calls that lack the token with UNAUTHENTICATED."""

    def __init__(self, security: Security) -> None:
        self._security = security
        # as a stream, which is refused before a message of it has come; calls cannot tell the difference
        self._refusal = grpc.stream_stream_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], details: grpc.HandlerCallDetails) -> Any:
        if details.method.startswith(OPEN_METHODS) or is_permitted(self._security, details.invocation_metadata):
            return continuation(details)
        return self._refusal


def _refuse(_messages: Any, context: grpc.ServicerContext) -> Any:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, NO_TOKEN)
    yield  # abort raises: a generator that gives nothing


__all__ = ["NO_TOKEN", "TokenInterceptor", "is_permitted"]
