"""Inference over gRPC: raw, typed, compressed, in streams, of clients that go away."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio
from front_kit import Front
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.parametrize("front", [True, False], indirect=True, ids=["direct", "threads"])
X = np.arange(30, dtype=np.float32).reshape(2, 15)


def tensor(array: Any = X, datatype: str = "FP32") -> InferInput:
    out = InferInput("INPUT", list(array.shape), datatype)
    out.set_data_from_numpy(array)
    return out


def typed(**contents: Any) -> Any:
    message = service_pb2.ModelInferRequest(model_name="identity")
    each = message.inputs.add(name="INPUT", datatype="FP32", shape=[1, 2])
    for name, values in contents.items():
        getattr(each.contents, name).extend(values)
    return message


def wait_gone(front: Front) -> None:
    gone = front.engine.held[0].is_gone
    for _ in range(1000):
        if gone():
            break
        with front.engine.held_changed:
            front.engine.held_changed.wait(0.01)
    assert gone()


def slow_message() -> Any:
    message = service_pb2.ModelInferRequest(model_name="slow", raw_input_contents=[X.tobytes()])
    message.inputs.add(name="INPUT", datatype="FP32", shape=X.shape)
    return message


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer_gives_back_what_came(grpc_client: InferenceServerClient, compression: str | None) -> None:
    result = grpc_client.infer("identity", [tensor()], request_id="7", compression_algorithm=compression)
    assert np.array_equal(result.as_numpy("OUTPUT"), X)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("7", "identity", "1")


def test_infer_takes_byte_strings(grpc_client: InferenceServerClient) -> None:
    words = np.array([[b"a", b"", b"c\0"]], dtype=np.object_)
    result = grpc_client.infer("text", [tensor(words, "BYTES")])
    assert result.as_numpy("OUTPUT").tolist() == words.tolist()


def test_infer_carries_the_schedule_policy(front: Front, grpc_client: InferenceServerClient) -> None:
    grpc_client.infer("identity", [tensor()], priority=2, timeout=5000, sequence_id=9, sequence_start=True,
                      parameters={"mine": "x"})
    request = front.engine.seen[-1]
    assert (request.priority, request.timeout_us, request.sequence_id) == (2, 5000, 9)
    assert request.sequence_start
    assert not request.sequence_end
    assert request.parameters == {"mine": "x"}


def test_infer_classifies(grpc_client: InferenceServerClient) -> None:
    array = np.array([[0.5, 2.0, 1.0], [3.0, 0.25, 0.0]], np.float32)
    result = grpc_client.infer("identity", [tensor(array)], outputs=[InferRequestedOutput("OUTPUT", class_count=2)])
    assert result.as_numpy("OUTPUT").tolist() == [[b"2.000000:1:one", b"1.000000:2:two"],
                                                  [b"3.000000:0:zero", b"0.250000:1:one"]]


def test_infer_takes_typed_contents(front: Front) -> None:
    with grpc.insecure_channel(front.grpc_place) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(typed(fp32_contents=[1.5, 2.5]))
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [1.5, 2.5]
        with pytest.raises(grpc.RpcError) as error:
            stub.ModelInfer(typed(int_contents=[1, 2]))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "unexpected explicit tensor data" in error.value.details()


@pytest.mark.parametrize(("code", "message", "change"), [
    ("NOT_FOUND", "unknown model", {"model_name": "ghost"}),
    ("INVALID_ARGUMENT", "byte size mismatch", {"raw_input_contents": [b"123"]}),
    ("INVALID_ARGUMENT", "unable to find data", {"raw_input_contents": []}),
    ("INVALID_ARGUMENT", "failed to get model version", {"model_version": "x"}),
])
def test_infer_refuses(front: Front, code: str, message: str, change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"model_name": "identity", "raw_input_contents": [X.tobytes()], **change}
    request = service_pb2.ModelInferRequest(**fields)
    request.inputs.add(name="INPUT", datatype="FP32", shape=X.shape)
    with grpc.insecure_channel(front.grpc_place) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError, match=message) as error:
            stub.ModelInfer(request)
    assert error.value.code() == grpc.StatusCode[code]


def test_bytes_that_are_no_message_are_refused(front: Front) -> None:
    with grpc.insecure_channel(front.grpc_place) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as error:
            call(b"\xff\xff\xff")
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_many_slow_requests_do_not_keep_others_waiting(front: Front, grpc_client: InferenceServerClient) -> None:
    done: queue.Queue[Any] = queue.Queue()
    for _ in range(100):
        grpc_client.async_infer("slow", [tensor()], lambda result, error: done.put((result, error)))
    front.engine.wait_held(100)
    assert np.array_equal(grpc_client.infer("identity", [tensor()], client_timeout=20).as_numpy("OUTPUT"), X)
    front.engine.let_go()
    for _ in range(100):
        result, error = done.get(timeout=20)
        assert error is None
        assert np.array_equal(result.as_numpy("OUTPUT"), X)


def test_stream_answers_in_order_and_stays_open_after_errors(grpc_client: InferenceServerClient) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    grpc_client.start_stream(lambda result, error: answers.put((result, error)))
    models = ["identity", "ghost", "identity", "identity"]
    for number, model in enumerate(models):
        grpc_client.async_stream_infer(model, [tensor()], request_id=str(number))
    got = [answers.get(timeout=20) for _ in models]
    grpc_client.stop_stream()
    assert [result.get_response().id for result, error in got if error is None] == ["0", "2", "3"]
    assert "unknown model" in str(got[1][1])
    assert got[0][0].get_response().parameters["triton_final_response"].bool_param


def test_many_streams_leave_room_for_calls(front: Front) -> None:
    clients = [InferenceServerClient(front.grpc_place) for _ in range(40)]
    answers: queue.Queue[Any] = queue.Queue()
    try:
        for client in clients:
            client.start_stream(lambda result, error: answers.put((result, error)))
            client.async_stream_infer("slow", [tensor()])
        front.engine.wait_held(len(clients))
        with InferenceServerClient(front.grpc_place) as other:
            assert np.array_equal(other.infer("identity", [tensor()], client_timeout=20).as_numpy("OUTPUT"), X)
        front.engine.let_go()
        assert all(answers.get(timeout=20)[1] is None for _ in clients)
    finally:
        for client in clients:
            client.stop_stream()
            client.close()


def test_client_that_vanishes_in_mid_stream_is_known_to_be_gone(front: Front) -> None:
    client = InferenceServerClient(front.grpc_place)
    client.start_stream(lambda result, error: None)
    for _ in range(5):
        client.async_stream_infer("slow", [tensor()])
    front.engine.wait_held(5)
    assert not front.engine.held[0].is_gone()
    client.stop_stream(cancel_requests=True)
    client.close()
    wait_gone(front)
    front.engine.let_go()
    with InferenceServerClient(front.grpc_place) as other:
        assert np.array_equal(other.infer("identity", [tensor()]).as_numpy("OUTPUT"), X)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_call_that_nobody_waits_for_is_known_to_be_gone(front: Front, how: str) -> None:
    with grpc.insecure_channel(front.grpc_place) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelInfer.future(slow_message(), timeout=1.0 if how == "deadline" else None)
        front.engine.wait_held(1)
        if how == "cancel":
            assert not front.engine.held[0].is_gone()
            call.cancel()
        else:
            assert call.exception(20).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        wait_gone(front)
        front.engine.let_go()
    with InferenceServerClient(front.grpc_place) as other:
        assert np.array_equal(other.infer("identity", [tensor()]).as_numpy("OUTPUT"), X)


def test_call_without_a_message_is_refused(front: Front) -> None:
    with grpc.insecure_channel(front.grpc_place) as channel:
        call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as error:
            call(iter(()), timeout=20)
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_answers_to_calls_that_a_stop_cut_off_go_nowhere(front: Front) -> None:
    with grpc.insecure_channel(front.grpc_place) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelInfer.future(slow_message())
        stream = stub.ModelStreamInfer(iter([slow_message()]))
        front.engine.wait_held(2)
        ended = front.grpc.stop(0.1)
        assert call.exception(20) is not None
        with pytest.raises(grpc.RpcError):
            next(stream)
    front.engine.let_go()
    assert ended.wait(10)
    front.grpc.close()
    assert "grpc-direct" not in {thread.name for thread in threading.enumerate()}


def test_asyncio_client_is_served(front: Front) -> None:
    async def many() -> list[Any]:
        async with tritonclient.grpc.aio.InferenceServerClient(front.grpc_place) as client:
            return await asyncio.gather(*(client.infer("identity", [tensor()]) for _ in range(20)))
    assert all(np.array_equal(result.as_numpy("OUTPUT"), X) for result in asyncio.run(many()))


def test_unserializable_error_has_its_status(grpc_client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as error:
        grpc_client.infer("identity", [tensor(X.astype(np.float64), "FP64")], outputs=[
            InferRequestedOutput("OUTPUT", class_count=-1)])
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
