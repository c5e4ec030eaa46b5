"""KServe v2 over HTTP, through Triton's own clients and as bare requests."""

from __future__ import annotations

import asyncio
import gzip
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.http.aio
from front_kit import Front
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

both = pytest.mark.parametrize("front", [True, False], indirect=True, ids=["direct", "tasks"])
X = np.arange(30, dtype=np.float32).reshape(2, 15)


def tensor(array: Any = X, datatype: str = "FP32", *, binary: bool = True) -> InferInput:
    out = InferInput("INPUT", list(array.shape), datatype)
    out.set_data_from_numpy(array, binary_data=binary)
    return out


def ask(front: Front, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Status, document (or bytes) and headers of a bare request."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://{front.http_place}{path}", body, names)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            status, data, got = answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            status, data, got = error.code, error.read(), dict(error.headers)
    try:
        return status, json.loads(data) if data else None, got
    except ValueError:
        return status, data, got


def document(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}], **changes}


def test_health_metadata_config_statistics(front: Front, http_client: InferenceServerClient) -> None:
    assert http_client.is_server_live()
    assert http_client.is_server_ready()
    assert http_client.is_model_ready("identity", "1")
    assert not http_client.is_model_ready("ghost")
    assert http_client.get_server_metadata()["name"] == "safhost"
    assert http_client.get_model_metadata("identity")["inputs"] == [
        {"name": "INPUT", "datatype": "FP32", "shape": [-1, -1]}]
    assert http_client.get_model_config("identity")["max_batch_size"] == 16384
    rows = http_client.get_inference_statistics()["model_stats"]
    assert [row["name"] for row in rows] == ["identity", "slow", "text"]
    assert rows[0]["inference_stats"]["queue"] == {"count": 0, "ns": 0}
    front.engine.is_ready = False
    assert not http_client.is_server_ready()


@both
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_infer_gives_back_what_came(http_client: InferenceServerClient, coding: str | None, binary_in: bool,
                                    binary_out: bool | None) -> None:
    outputs = None if binary_out is None else [InferRequestedOutput("OUTPUT", binary_data=binary_out)]
    result = http_client.infer("identity", [tensor(binary=binary_in)], request_id="7", outputs=outputs,
                               request_compression_algorithm=coding, response_compression_algorithm=coding)
    assert np.array_equal(result.as_numpy("OUTPUT"), X)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("7", "identity", "1")


@both
@pytest.mark.parametrize("binary", [True, False])
def test_infer_takes_byte_strings(http_client: InferenceServerClient, binary: bool) -> None:
    words = np.array([["a", "", "cé"]], dtype=np.object_)
    result = http_client.infer("text", [tensor(words, "BYTES", binary=binary)],
                               outputs=[InferRequestedOutput("OUTPUT", binary_data=binary)])
    got = [each if isinstance(each, str) else each.decode() for each in result.as_numpy("OUTPUT")[0]]
    assert got == ["a", "", "cé"]


def test_infer_classifies(http_client: InferenceServerClient) -> None:
    result = http_client.infer("identity", [tensor(np.array([[0.5, 2.0, 1.0]], np.float32))],
                               outputs=[InferRequestedOutput("OUTPUT", class_count=2)])
    assert result.as_numpy("OUTPUT").tolist() == [[b"2.000000:1:one", b"1.000000:2:two"]]


def test_infer_carries_the_schedule_policy(front: Front, http_client: InferenceServerClient) -> None:
    http_client.infer("identity", [tensor()], priority=2, timeout=5000, sequence_id="s", sequence_end=True,
                      parameters={"mine": 1.5})
    request = front.engine.seen[-1]
    assert (request.priority, request.timeout_us, request.sequence_id) == (2, 5000, "s")
    assert request.sequence_end
    assert request.parameters == {"mine": 1.5}


@both
def test_slow_answers_come_from_another_thread(front: Front) -> None:
    body = json.dumps(document()).encode()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(ask, front, "/v2/models/slow/infer", body) for _ in range(4)]
        front.engine.wait_held(4)
        assert ask(front, "/v2/health/live")[0] == 200
        front.engine.let_go()
        assert [call.result(20)[0] for call in calls] == [200] * 4


def test_asyncio_client_is_served(front: Front) -> None:
    async def many() -> list[Any]:
        async with tritonclient.http.aio.InferenceServerClient(front.http_place) as client:
            return await asyncio.gather(*(client.infer("identity", [tensor()]) for _ in range(20)))
    assert all(np.array_equal(result.as_numpy("OUTPUT"), X) for result in asyncio.run(many()))


@both
def test_raw_body_is_the_one_input(front: Front) -> None:
    status, data, headers = ask(front, "/v2/models/identity/infer", X[:1].tobytes(),
                                Inference_Header_Content_Length="0")
    assert status == 200
    length = int(headers["inference-header-content-length"])
    assert np.array_equal(np.frombuffer(data[length:], np.float32), X[0])


def test_repository_is_listed_loaded_and_unloaded(front: Front, http_client: InferenceServerClient) -> None:
    http_client.unload_model("text")
    assert {m["name"]: m["state"] for m in http_client.get_model_repository_index()} == {
        "identity": "READY", "slow": "READY", "text": "UNAVAILABLE"}
    http_client.load_model("text", config="{}", files={"file:1/model.saf": b"\0\xff"})
    assert front.engine.parameters == {"config": "{}", "file:1/model.saf": b"\0\xff"}
    with pytest.raises(InferenceServerException, match="failed to load"):
        http_client.load_model("ghost")


def test_settings_are_read_and_changed(http_client: InferenceServerClient) -> None:
    assert http_client.update_log_settings({"log_verbose_level": 2})["log_verbose_level"] == 2
    assert http_client.update_trace_settings("identity", {"trace_rate": "7"})["trace_rate"] == "7"
    assert http_client.get_trace_settings()["trace_rate"] == "1000"


@both
@pytest.mark.parametrize(("status", "message", "change"), [
    (400, "Shape does not match|Unable to parse", {"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 3],
                                                              "data": [1, 2]}]}),
    (400, "only one of the following", {"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 3]}]}),
    (400, "unexpected inference input", {"inputs": [{"name": "OTHER", "datatype": "FP32", "shape": [1, 2],
                                                     "data": [1, 2]}]}),
    (400, "reserved", {"parameters": {"triton_x": 1}}),
])
def test_infer_refuses(front: Front, status: int, message: str, change: dict[str, Any]) -> None:
    got, answer, _ = ask(front, "/v2/models/identity/infer", json.dumps(document(**change)).encode())
    assert got in (status, 500)
    assert any(part in answer["error"] for part in message.split("|"))


@both
def test_body_that_is_no_json_is_an_error_and_the_server_goes_on(front: Front) -> None:
    for body in (b"{", b"[]", b"\xff", b'{"inputs": 1}', b"[" * 100_000):
        status, answer, _ = ask(front, "/v2/models/identity/infer", body)
        assert status in (400, 500)
        assert answer["error"]
    status, _, _ = ask(front, "/v2/models/identity/infer", json.dumps(document()).encode())
    assert status == 200


@both
def test_compressed_body_that_is_broken_is_an_error(front: Front) -> None:
    body = gzip.compress(json.dumps(document()).encode())
    assert ask(front, "/v2/models/identity/infer", body, Content_Encoding="gzip")[0] == 200
    assert ask(front, "/v2/models/identity/infer", body[:-9], Content_Encoding="gzip")[0] in (400, 500)
    status, answer, headers = ask(front, "/v2/models/identity/infer", body, Content_Encoding="br")
    assert (status, answer["error"]) == (501, "Unsupported compression type")
    assert headers["accept-encoding"] == "gzip, deflate"


def test_paths_and_methods_that_are_none(front: Front) -> None:
    assert ask(front, "/v2/nonsense")[0] == 404
    assert ask(front, "/v2/models/identity/infer")[0] == 405
    assert ask(front, "/v2/models/ghost")[0] == 404
