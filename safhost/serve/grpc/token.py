"""The bearer token in gRPC's metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from safhost.serve.auth import OPEN_METHODS, Security


class TokenInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Answers calls that lack the token with UNAUTHENTICATED."""

    def __init__(self, security: Security) -> None:
        self._security = security
        # as a stream, which is refused before a message of it has come; calls cannot tell the difference
        self._refusal = grpc.stream_stream_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], details: grpc.HandlerCallDetails) -> Any:
        if details.method.startswith(OPEN_METHODS):
            return continuation(details)
        for name, value in details.invocation_metadata:
            if name == "authorization":
                given = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
                if self._security.permits(given):
                    return continuation(details)
        return self._refusal


def _refuse(_messages: Any, context: grpc.ServicerContext) -> Any:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "the call has no valid token")
    yield  # abort raises: a generator that gives nothing


__all__ = ["TokenInterceptor"]
