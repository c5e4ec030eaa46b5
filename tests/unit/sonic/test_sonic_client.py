"""The client against real gRPC servers in this process that answer by a script."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from safhost import sonic
from safhost.errors import ConfigError

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
WAIT_S = 20


class Scripted(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Adds one to its input. ``script``: codes to fail with first; a threading.Event in it is waited for."""

    def __init__(self) -> None:
        self.script: deque[Any] = deque()
        self.calls = 0
        self.parameters: list[dict[str, Any]] = []
        self.address = ""

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.calls += 1
        self.parameters.append({k: v.int64_param or v.uint64_param for k, v in request.parameters.items()})
        step = self.script.popleft() if self.script else None
        if isinstance(step, threading.Event):
            step.wait(WAIT_S)
        elif step is not None:
            context.abort(step, "scripted")
        array = np.frombuffer(request.raw_input_contents[0], np.float32) + 1
        reply = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        reply.outputs.add(name="OUTPUT", datatype="FP32", shape=request.inputs[0].shape)
        reply.raw_output_contents.append(array.tobytes())
        return reply


@contextmanager
def serving() -> Iterator[Scripted]:
    servicer = Scripted()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield servicer
    finally:
        server.stop(None).wait()


@pytest.fixture
def one() -> Iterator[Scripted]:
    with serving() as servicer:
        yield servicer


@pytest.fixture
def two() -> Iterator[tuple[Scripted, Scripted]]:
    with serving() as a, serving() as b:
        yield a, b


def minus_one(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"OUTPUT": inputs["INPUT"] - 1}


def test_acquire_returns_before_the_answer_and_calls_back(one: Scripted) -> None:
    gate, called = threading.Event(), threading.Event()
    one.script.append(gate)
    with sonic.Client([one.address], "m") as client:
        pending = client.acquire({"INPUT": ROWS}, lambda p: called.set())
        assert not pending.done()
        with pytest.raises(sonic.SonicError, match="no answer within"):
            pending.produce(0.01)
        gate.set()
        outputs = pending.produce(WAIT_S)
        assert called.wait(WAIT_S)
    np.testing.assert_array_equal(outputs["OUTPUT"], ROWS + 1)
    assert (outputs.server, outputs.attempts) == (one.address, 1)


def test_retry_on_the_other_server(two: tuple[Scripted, Scripted]) -> None:
    two[0].script.append(grpc.StatusCode.UNAVAILABLE)
    with sonic.Client([s.address for s in two], "m", fallback=minus_one) as client:
        outputs = client.infer({"INPUT": ROWS})
        assert (outputs.server, outputs.attempts) == (two[1].address, 2)
        counts = client.counts()
    assert (counts.retries, counts.by_local) == (1, 0)
    assert counts.servers == {two[0].address: (0, 1), two[1].address: (1, 0)}


def test_fail_over_to_the_local_model_when_no_server_is_there() -> None:
    with sonic.Client(["127.0.0.1:1"], "m", tries=2, fallback=minus_one) as client:
        outputs = client.infer({"INPUT": ROWS})
    np.testing.assert_array_equal(outputs["OUTPUT"], ROWS - 1)
    assert (outputs.server, outputs.attempts) == (None, 2)


def test_no_fall_back_tells_of_every_attempt(one: Scripted) -> None:
    one.script.extend([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
    with sonic.Client([one.address], "m", tries=2) as client, pytest.raises(sonic.SonicError) as caught:
        client.infer({"INPUT": ROWS})
    assert "UNAVAILABLE: scripted" in str(caught.value)
    assert "RESOURCE_EXHAUSTED: scripted" in str(caught.value)


def test_wrong_request_is_refused_without_retry_or_local_model(one: Scripted) -> None:
    one.script.append(grpc.StatusCode.INVALID_ARGUMENT)
    with sonic.Client([one.address], "m", fallback=minus_one) as client, pytest.raises(sonic.SonicRefused):
        client.infer({"INPUT": ROWS})
    assert one.calls == 1


def test_deadline_goes_local_while_the_server_hangs(one: Scripted) -> None:
    gate = threading.Event()
    one.script.append(gate)
    with sonic.Client([one.address], "m", deadline_s=0.05, fallback=minus_one) as client:
        outputs = client.infer({"INPUT": ROWS})
        gate.set()
    assert outputs.server is None
    assert outputs.seconds >= 0.05


def test_attempt_time_moves_on_to_the_other_server(two: tuple[Scripted, Scripted]) -> None:
    gate = threading.Event()
    two[0].script.append(gate)
    with sonic.Client([s.address for s in two], "m", attempt_s=0.05) as client:
        outputs = client.infer({"INPUT": ROWS})
        gate.set()
    assert outputs.server == two[1].address


def test_await_many_at_once_and_cancel_one(one: Scripted) -> None:
    gate = threading.Event()

    async def main(client: sonic.Client) -> list[Any]:
        answers = await asyncio.gather(*(client.acquire({"INPUT": ROWS + n}) for n in range(20)))
        one.script.append(gate)
        task = asyncio.ensure_future(_awaiting(client.acquire({"INPUT": ROWS})))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return answers

    with sonic.Client([one.address], "m") as client:
        answers = asyncio.run(main(client))
        gate.set()
    for n, outputs in enumerate(answers):
        np.testing.assert_array_equal(outputs["OUTPUT"], ROWS + n + 1)


async def _awaiting(pending: sonic.Pending) -> sonic.Outputs:
    return await pending


def test_many_threads_share_a_client(two: tuple[Scripted, Scripted]) -> None:
    with sonic.Client([s.address for s in two], "m") as client, futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: client.infer({"INPUT": ROWS * n})["OUTPUT"], range(100)))
        counts = client.counts()
    for n, array in enumerate(found):
        np.testing.assert_array_equal(array, ROWS * n + 1)
    assert counts.by_servers == 100
    assert min(two[0].calls, two[1].calls) >= 20


def test_close_cancels_what_is_under_way(one: Scripted) -> None:
    gate = threading.Event()
    one.script.append(gate)
    client = sonic.Client([one.address], "m", fallback=minus_one)
    pending = client.acquire({"INPUT": ROWS})
    client.close()
    with pytest.raises(sonic.SonicError, match="cancelled"):
        pending.produce(WAIT_S)
    with pytest.raises(ConfigError):
        client.acquire({"INPUT": ROWS})
    gate.set()


def test_failing_local_model_says_so() -> None:
    def broken(_inputs: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no weights")

    with sonic.Client([], "m", fallback=broken) as client, pytest.raises(sonic.SonicError, match="no weights"):
        client.infer({"INPUT": ROWS})


def test_parameters_reach_the_server(one: Scripted) -> None:
    with sonic.Client([one.address], "m") as client:
        client.infer({"INPUT": ROWS}, parameters={"priority": 2, "timeout": 500})
    assert one.parameters == [{"priority": 2, "timeout": 500}]


def test_array_of_no_tensor_type_is_refused(one: Scripted) -> None:
    with sonic.Client([one.address], "m") as client, pytest.raises(sonic.SonicRefused, match="cannot be made"):
        client.infer({"INPUT": np.zeros(2, "datetime64[s]")})


class Scale(sonic.Producer[int, float]):
    def acquire(self, event: int) -> dict[str, Any]:
        return {"INPUT": ROWS * event}

    def produce(self, event: int, outputs: sonic.Outputs) -> float:
        return event + float(outputs["OUTPUT"].sum())


def test_fault_of_ours_reaches_who_waits(one: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    one.script.append(grpc.StatusCode.UNAVAILABLE)
    with sonic.Client([one.address], "m") as client:
        monkeypatch.setattr(client._policy, "failed", lambda *_: 1 // 0)
        with pytest.raises(sonic.SonicError, match="ZeroDivisionError"):
            client.acquire({"INPUT": ROWS}).produce(WAIT_S)


def test_run_keeps_order_and_its_bound(one: Scripted) -> None:
    with sonic.Client([one.address], "m") as client:
        found = list(sonic.run(Scale(), client, range(30), in_flight=4))
    assert found == [event + float((ROWS * event + 1).sum()) for event in range(30)]


def test_run_stopped_early_cancels_the_rest(one: Scripted) -> None:
    with sonic.Client([one.address], "m") as client:
        loop = sonic.run(Scale(), client, range(30), in_flight=4)
        next(loop)
        loop.close()
        counts = client.counts()
    assert counts.acquired == 4


def test_local_models_equal_their_libraries(tmp_path: Any) -> None:
    import onnx
    import xgboost
    from onnx import TensorProto, helper

    graph = helper.make_graph([helper.make_node("Neg", ["INPUT"], ["OUTPUT"])], "g",
                              [helper.make_tensor_value_info("INPUT", TensorProto.FLOAT, [None, 3])],
                              [helper.make_tensor_value_info("OUTPUT", TensorProto.FLOAT, [None, 3])])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(tmp_path / "neg.onnx"))
    np.testing.assert_array_equal(sonic.onnx_model(tmp_path / "neg.onnx")({"INPUT": ROWS})["OUTPUT"], -ROWS)

    random = np.random.default_rng(1)
    data, labels = random.random((200, 3), np.float32), random.integers(0, 2, 200)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 2, "nthread": 1},
                            xgboost.DMatrix(data, labels), 5)
    booster.save_model(str(tmp_path / "trees.json"))
    wanted = booster.predict(xgboost.DMatrix(data))
    found = sonic.xgboost_model(tmp_path / "trees.json")({"INPUT": data})["OUTPUT"]
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-6)
    with sonic.Client([], "m", fallback=sonic.xgboost_model(tmp_path / "trees.json")) as client:
        np.testing.assert_array_equal(client.infer({"INPUT": data})["OUTPUT"], found)


@pytest.mark.parametrize("make", [
    lambda: sonic.Client([], "m"), lambda: sonic.Client(["a:1"], "m", tries=0),
    lambda: sonic.Client(["a:1"], "m", deadline_s=0.0), lambda: sonic.onnx_model("/nonexistent/model.onnx"),
    lambda: sonic.xgboost_model("/nonexistent/model.json")])
def test_wrong_settings_are_errors(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError):
        make()
