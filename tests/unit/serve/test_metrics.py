"""Metrics in Prometheus' text format, traces as spans."""

from __future__ import annotations

import asyncio
import logging
import queue
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from front_kit import Front, make_service
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serve_kit import Asked, add_model

from safhost.serve.metrics import Metrics, names
from safhost.serve.settings import LogSettings, TraceSettings
from safhost.serve.tracing import Trace, Tracer
from safhost.serve.types import ServeError


def samples(text: bytes) -> dict[tuple[str, str, str], float]:
    """By name, model and reason, with the names as they are written (the library's parser changes some)."""
    out = {}
    for line in text.decode().splitlines():
        if not line.startswith("#"):
            found = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
            assert found, line
            labels = dict(re.findall(r'(\w+)="([^"]*)"', found[2]))
            out[found[1], labels.get("model", ""), labels.get("reason", "")] = float(found[3])
    return out


def test_metrics_count_what_the_engine_did(tmp_path: Path, engines: Callable[..., Any]) -> None:
    add_model(tmp_path, "m")
    engine = engines(tmp_path)
    asked = Asked(engine)
    asked.one("m", 3)
    asked.one("m", 5)
    asked.one("m", 9)  # more than max_batch_size
    text = Metrics(engine).text()
    found = samples(text)
    assert found["nv_inference_request_success", "m", ""] == 2
    assert found["nv_inference_count", "m", ""] == 8
    assert found["nv_inference_exec_count", "m", ""] == 2
    assert found["nv_inference_pending_request_count", "m", ""] == 0
    assert found["saf_model_ready", "m", ""] == 1
    assert b"# TYPE nv_inference_request_success counter" in text
    assert {name for name, _, _ in found} <= names()


def test_metrics_application_has_metrics_and_probes(tmp_path: Path, engines: Callable[..., Any]) -> None:
    ready: list[bool] = []
    metrics = Metrics(engines(tmp_path), lambda: bool(ready))

    def ask(method: str, path: str) -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
        asyncio.run(metrics({"type": "http", "path": path, "method": method}, None, send))
        return sent[0]["status"], sent[1]["body"]
    assert ask("GET", "/metrics")[0] == 200
    assert ask("HEAD", "/metrics") == (200, b"")
    assert ask("POST", "/metrics")[0] == 405
    assert ask("GET", "/")[0] == 404
    assert ask("GET", "/v2/health/live")[0] == 200
    assert ask("GET", "/v2/health/ready")[0] == 400
    ready.append(True)
    assert ask("GET", "/v2/health/ready")[0] == 200


def test_traced_request_has_three_spans_under_its_clients_own() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("", exporter=exporter)
    client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    trace = Trace({"traceparent": client})
    begin = trace.request_start_ns
    trace.computed(begin + 10, begin + 20, begin + 30, begin + 40, begin + 50)
    tracer.finish(trace, "m", "1", "7")
    tracer.close()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"InferRequest", "m", "compute"}
    assert {format(span.context.trace_id, "032x") for span in spans.values()} == {client.split("-")[1]}
    assert spans["compute"].parent.span_id == spans["m"].context.span_id
    assert spans["m"].parent.span_id == spans["InferRequest"].context.span_id
    assert spans["m"].attributes["triton.request_id"] == "7"
    assert spans["compute"].end_time - spans["compute"].start_time == 30
    assert [event.name for event in spans["compute"].events] == [
        "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END"]


@pytest.mark.parametrize(("rate", "count", "traced"), [(1, -1, 6), (2, -1, 3), (1, 2, 2), (3, 1, 1)])
def test_trace_settings_choose_requests(rate: int, count: int, traced: int) -> None:
    settings = TraceSettings(endpoint="http://collector", rate=rate)
    settings.apply("", settings.check({"trace_count": [str(count)]}))
    assert sum(settings.wants("m") for _ in range(6)) == traced
    settings.apply("m", settings.check({"trace_level": ["OFF"]}))
    assert not settings.wants("m")


def test_tracing_is_off_by_default() -> None:
    settings = TraceSettings()
    assert not settings.on
    settings.apply("", settings.check({"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]}))
    assert settings.on
    settings.apply("", settings.check({"trace_level": None}))
    assert not settings.on


def test_requests_over_grpc_are_traced(fronts: Callable[..., Front]) -> None:
    finished: queue.Queue[tuple[Any, ...]] = queue.Queue()

    class Keep:
        def finish(self, *args: Any) -> None:
            finished.put(args)

        def close(self) -> None:
            """Nothing to send."""
    front = fronts(traces=TraceSettings(endpoint="http://collector", rate=1), tracer=Keep())
    tensor = tritonclient.grpc.InferInput("INPUT", [1, 2], "FP32").set_data_from_numpy(np.zeros((1, 2), np.float32))
    with tritonclient.grpc.InferenceServerClient(front.grpc_place) as client:
        client.infer("identity", [tensor], request_id="7", headers={"traceparent": "00-ab"})
    trace, *rest = finished.get(timeout=20)
    assert rest == ["identity", "1", "7", ""]
    assert trace.headers == {"traceparent": "00-ab"}


def test_log_settings_switch_levels_of_a_logger() -> None:
    logger = logging.getLogger("safhost.test.levels")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
    logger.addHandler(Keep())
    settings = LogSettings(logger)
    settings.apply(settings.check({"log_info": True, "log_warning": False, "log_error": True}))
    logger.info("info")
    logger.warning("warning")
    logger.error("error")
    logger.debug("debug")
    assert lines == ["info", "error"]
    settings.apply(settings.check({"log_verbose_level": 1}))
    logger.debug("debug")
    assert lines[-1] == "debug"
    with pytest.raises(ServeError, match="expect boolean"):
        settings.check({"log_info": 1})


def test_service_without_a_tracer_makes_none() -> None:
    from fake_engine import FakeEngine

    service = make_service(FakeEngine())
    assert service.trace("identity", []) is None
    service.close()
