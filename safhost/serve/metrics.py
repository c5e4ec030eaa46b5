"""Metrics for Prometheus, with the reference server's names and labels; those of cards are saf_card_*.

Any worker answers for all: counters lie in memory that workers share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from safhost.serve.statistics import Counts

# name: (what it counts, its value in the counters)
COUNTERS: dict[str, tuple[str, Callable[[Counts], float]]] = {
    "nv_inference_request_success": ("Number of successful inference requests, all batch sizes",
                                     lambda c: c.successes),
    "nv_inference_count": ("Number of inferences performed (does not include cached requests)",
                           lambda c: c.inferences),
    "nv_inference_exec_count": ("Number of model executions performed (does not include cached requests)",
                                lambda c: c.executions),
    "nv_inference_request_duration_us": (
        "Cumulative inference request duration in microseconds (includes cached requests)",
        lambda c: c.success_ns // 1000),
    "nv_inference_queue_duration_us": (
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        lambda c: c.queue_ns // 1000),
    "nv_inference_compute_input_duration_us": (
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        lambda c: c.input_ns // 1000),
    "nv_inference_compute_infer_duration_us": (
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        lambda c: c.infer_ns // 1000),
    "nv_inference_compute_output_duration_us": (
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        lambda c: c.output_ns // 1000),
}
FAILURES = "nv_inference_request_failure"
PENDING = "nv_inference_pending_request_count"
READY = "saf_model_ready"
CARDS: dict[str, tuple[str, str]] = {
    "saf_card_state": ("gauge", "1 for the state that a card of a model is in"),
    "saf_card_units_total": ("counter", "Batches that a card has computed for a model"),
    "saf_card_bytes_total": ("counter", "Bytes moved to (in) and from (out) a card for a model"),
}
"""Metrics of cards, as the engine's ``gauges()`` gives them: (name, labels, value)."""


class Metrics:
    """Collects from an engine (see `safhost.serve.engine`) when it is asked. ``is_ready`` answers probes that come here
    because they have no certificate."""

    def __init__(self, engine: Any, is_ready: Callable[[], bool] = lambda: True) -> None:
        self._engine = engine
        self._is_ready = is_ready
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        rows: list[tuple[str, str, Counts]] = self._engine.counts()
        for name, (text, value) in COUNTERS.items():
            yield _counter(name, text, ((_labels(model, version), value(counts)) for model, version, counts in rows))
        yield _counter(FAILURES, "Number of failed inference requests, all batch sizes",
                       (({**_labels(model, version), "reason": reason}, number) for model, version, counts in rows
                        for reason, number in counts.reasons.items()))
        yield _gauge(PENDING, "Instantaneous number of pending requests awaiting execution per-model.",
                     ((_labels(model, version), counts.pending) for model, version, counts in rows))
        yield _gauge(READY, "1 for a model version that can answer, 0 for one that cannot (no card holds its image)",
                     ((_labels(entry.name, entry.version), entry.state == "READY")
                      for entry in self._engine.index() if entry.version))
        gauges = getattr(self._engine, "gauges", None)
        cards = list(gauges()) if gauges is not None else []
        for name, (kind, text) in CARDS.items():
            samples = ((labels, value) for each, labels, value in cards if each == name)
            yield _counter(name, text, samples) if kind == "counter" else _gauge(name, text, samples)

    def text(self) -> bytes:
        """All metrics in the text format."""
        out = generate_latest(self._registry)
        # the library heads every counter with a name that ends in _total; the reference server's names do not
        for name in (*COUNTERS, FAILURES):
            for word in ("HELP", "TYPE"):
                out = out.replace(f"# {word} {name}_total ".encode(), f"# {word} {name} ".encode())
        return out

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """An ASGI application: /metrics, /v2/health/live, /v2/health/ready."""
        if scope["type"] != "http":
            return
        path, data = scope["path"], b""
        if path not in ("/metrics", "/v2/health/live", "/v2/health/ready"):
            status = 404
        elif scope["method"] not in ("GET", "HEAD"):
            status = 405
        elif path == "/metrics":
            status, data = 200, self.text()
        else:
            status = 200 if path == "/v2/health/live" or self._is_ready() else 400
        await send({"type": "http.response.start", "status": status, "headers": [
            (b"content-type", CONTENT_TYPE_LATEST.encode()), (b"content-length", b"%d" % len(data))]})
        await send({"type": "http.response.body", "body": data if scope["method"] != "HEAD" else b""})


def names() -> set[str]:
    """Every name of a metric."""
    return {*COUNTERS, FAILURES, PENDING, READY, *CARDS}


def _labels(model: str, version: str) -> dict[str, str]:
    return {"model": model, "version": version}


def _counter(name: str, text: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    metric = Metric(name.removesuffix("_total"), text, "counter")
    for labels, value in samples:
        metric.add_sample(name, labels, value)
    return metric


def _gauge(name: str, text: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    metric = GaugeMetricFamily(name, text)
    for labels, value in samples:
        metric.add_sample(name, labels, value)
    return metric


__all__ = ["CARDS", "COUNTERS", "FAILURES", "PENDING", "READY", "Metrics", "names"]
