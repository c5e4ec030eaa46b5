"""Traces of single requests, as the reference server makes them: InferRequest, in it the model's span with its events,
in that the compute span. They go to an OpenTelemetry collector (OTLP over HTTP) in the background.

Nothing here is imported and no request is looked at while tracing is off.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

SERVICE_NAME = "safhost-serve"


class Trace:
    """Times of a request on the monotonic clock, in ns; 0: not reached. Front end and engine fill it in."""

    __slots__ = ("compute_end_ns", "compute_input_end_ns", "compute_output_start_ns", "compute_start_ns", "headers",
                 "queue_start_ns", "request_start_ns")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.request_start_ns = time.monotonic_ns()
        self.queue_start_ns = 0
        self.compute_start_ns = 0
        self.compute_input_end_ns = 0
        self.compute_output_start_ns = 0
        self.compute_end_ns = 0

    def computed(self, queue_start_ns: int, compute_start_ns: int, input_end_ns: int, output_start_ns: int,
                 compute_end_ns: int) -> None:
        """The engine's part."""
        self.queue_start_ns = queue_start_ns
        self.compute_start_ns = compute_start_ns
        self.compute_input_end_ns = input_end_ns
        self.compute_output_start_ns = output_start_ns
        self.compute_end_ns = compute_end_ns


class Tracer:
    """Makes spans of `Trace` objects. ``exporter`` is for tests; by default OTLP to ``endpoint``."""

    def __init__(self, endpoint: str, *, exporter: Any = None) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            exporter = OTLPSpanExporter(endpoint=endpoint)
        # every request that comes here was chosen already: by trace_rate
        self._provider = TracerProvider(resource=Resource.create({"service.name": SERVICE_NAME}),
                                        shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("safhost.serve")
        self._propagator = TraceContextTextMapPropagator()

    def finish(self, trace: Trace, model: str, version: str, request_id: str, error: str = "") -> None:
        """The request of ``trace`` is answered now."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        end = time.monotonic_ns()
        to_epoch = time.time_ns() - end
        parent = self._propagator.extract(dict(trace.headers))
        root = self._tracer.start_span("InferRequest", parent, SpanKind.SERVER,
                                       start_time=trace.request_start_ns + to_epoch)
        attributes: dict[str, Any] = {"triton.model_name": model, "triton.model_version": version}
        if request_id:
            attributes["triton.request_id"] = request_id
        inner = self._tracer.start_span(model, set_span_in_context(root), SpanKind.SERVER, attributes,
                                        start_time=(trace.queue_start_ns or trace.request_start_ns) + to_epoch)
        inner.add_event("REQUEST_START", timestamp=trace.request_start_ns + to_epoch)
        if trace.queue_start_ns:
            inner.add_event("QUEUE_START", timestamp=trace.queue_start_ns + to_epoch)
        if trace.compute_start_ns:
            self._compute(trace, inner, to_epoch, end)
        if error:
            for span in (root, inner):
                span.set_status(Status(StatusCode.ERROR, error))
        inner.add_event("REQUEST_END", timestamp=end + to_epoch)
        inner.end(end + to_epoch)
        root.end(end + to_epoch)

    def _compute(self, trace: Trace, inner: Any, to_epoch: int, end: int) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        span = self._tracer.start_span("compute", set_span_in_context(inner), SpanKind.SERVER,
                                       start_time=trace.compute_start_ns + to_epoch)
        for name, at in (("COMPUTE_START", trace.compute_start_ns), ("COMPUTE_INPUT_END", trace.compute_input_end_ns),
                         ("COMPUTE_OUTPUT_START", trace.compute_output_start_ns),
                         ("COMPUTE_END", trace.compute_end_ns)):
            if at:
                span.add_event(name, timestamp=at + to_epoch)
        span.end((trace.compute_end_ns or end) + to_epoch)

    def close(self) -> None:
        """Send what is left, and end."""
        self._provider.shutdown()


__all__ = ["SERVICE_NAME", "Trace", "Tracer"]
