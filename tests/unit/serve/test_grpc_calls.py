"""Every gRPC call but inference, through Triton's own client."""

from __future__ import annotations

import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from front_kit import Front
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException


def test_health_is_the_engines(front: Front, grpc_client: InferenceServerClient) -> None:
    assert grpc_client.is_server_live()
    assert grpc_client.is_server_ready()
    assert grpc_client.is_model_ready("identity")
    assert grpc_client.is_model_ready("identity", "1")
    assert not grpc_client.is_model_ready("ghost")
    front.engine.is_ready = False
    assert not grpc_client.is_server_ready()
    assert grpc_client.is_server_live()


def test_draining_server_is_live_and_not_ready(front: Front, grpc_client: InferenceServerClient) -> None:
    front.service.draining = True
    assert grpc_client.is_server_live()
    assert not grpc_client.is_server_ready()


def test_metadata_config_and_statistics(grpc_client: InferenceServerClient) -> None:
    server = grpc_client.get_server_metadata()
    assert server.name == "safhost"
    assert "binary_tensor_data" in server.extensions
    model = grpc_client.get_model_metadata("identity")
    assert [(i.name, i.datatype, list(i.shape)) for i in model.inputs] == [("INPUT", "FP32", [-1, -1])]
    assert grpc_client.get_model_config("identity").config.max_batch_size == 16384
    assert [row.name for row in grpc_client.get_inference_statistics().model_stats] == ["identity", "slow", "text"]


def test_unknown_model_is_not_found(grpc_client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="unknown model") as error:
        grpc_client.get_model_metadata("ghost")
    assert error.value.status() == "StatusCode.NOT_FOUND"


def test_version_that_is_none_is_refused(grpc_client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="failed to get model version") as error:
        grpc_client.get_model_metadata("identity", "one")
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_repository_is_listed_loaded_and_unloaded(front: Front, grpc_client: InferenceServerClient) -> None:
    grpc_client.unload_model("text")
    states = {m.name: m.state for m in grpc_client.get_model_repository_index().models}
    assert states == {"identity": "READY", "slow": "READY", "text": "UNAVAILABLE"}
    grpc_client.load_model("text", config="{}", files={"file:1/model.saf": b"\0\xff"})
    assert front.engine.parameters == {"config": "{}", "file:1/model.saf": b"\0\xff"}
    assert grpc_client.is_model_ready("text")
    with pytest.raises(InferenceServerException, match="failed to load"):
        grpc_client.load_model("ghost")


def test_log_settings_are_changed_one_by_one(grpc_client: InferenceServerClient) -> None:
    changed = grpc_client.update_log_settings({"log_verbose_level": 1, "log_info": False}, as_json=True)["settings"]
    assert changed["log_verbose_level"] == {"uint32_param": 1}
    assert changed["log_info"] == {"bool_param": False}
    with pytest.raises(InferenceServerException, match="can not be updated through network") as error:
        grpc_client.update_log_settings({"log_file": "/x"})
    assert error.value.status() == "StatusCode.UNIMPLEMENTED"


def test_trace_settings_of_a_model_hide_the_global_ones(grpc_client: InferenceServerClient) -> None:
    grpc_client.update_trace_settings(settings={"trace_rate": "5"})
    grpc_client.update_trace_settings("identity", {"trace_rate": "7"})
    assert grpc_client.get_trace_settings("identity").settings["trace_rate"].value == ["7"]
    assert grpc_client.get_trace_settings("text").settings["trace_rate"].value == ["5"]
    grpc_client.update_trace_settings("identity", {"trace_rate": None})
    assert grpc_client.get_trace_settings("identity").settings["trace_rate"].value == ["5"]
    with pytest.raises(InferenceServerException, match="Unable to parse 'trace_rate'"):
        grpc_client.update_trace_settings(settings={"trace_rate": "often"})


def test_cuda_memory_is_refused_as_without_gpus(grpc_client: InferenceServerClient) -> None:
    assert not grpc_client.get_cuda_shared_memory_status().regions
    with pytest.raises(InferenceServerException, match="GPUs not supported") as error:
        grpc_client.register_cuda_shared_memory("r", b"", 0, 1)
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_health_service_knows_server_and_models(front: Front) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    with grpc.insecure_channel(front.grpc_place) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == serving
        assert stub.Check(health_pb2.HealthCheckRequest(service="identity")).status == serving
        watched = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status in (serving, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        front.engine.is_ready = False
        assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert any(each.status == health_pb2.HealthCheckResponse.NOT_SERVING for each in watched)
        with pytest.raises(grpc.RpcError) as error:
            stub.Check(health_pb2.HealthCheckRequest(service="ghost"))
        assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(front: Front) -> None:
    with grpc.insecure_channel(front.grpc_place) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name for service in next(answers).list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names


def test_slow_loads_do_not_keep_health_waiting(front: Front) -> None:
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def load(_name: str, _parameters: object = None) -> None:
        begun.release()
        assert go_on.wait(30)
    front.engine.load = load  # type: ignore[method-assign]
    with ThreadPoolExecutor(20) as pool, InferenceServerClient(front.grpc_place) as client:
        for _ in range(10):
            pool.submit(client.load_model, "text")
            begun.acquire()
        for _ in range(6):
            pool.submit(urllib.request.urlopen, f"http://{front.http_place}/v2/repository/models/text/load", b"")
            begun.acquire()
        try:
            assert client.is_server_ready(client_timeout=20)
            with urllib.request.urlopen(f"http://{front.http_place}/v2/health/ready", timeout=20) as answer:
                assert answer.status == 200
        finally:
            go_on.set()
