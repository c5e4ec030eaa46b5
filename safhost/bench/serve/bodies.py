"""Requests as bytes, for generators that send the same ones again and again; and whether answers are right."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from safhost.bench.serve.repository import Shape

GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")
GRPC_INFER = "/inference.GRPCInferenceService/ModelInfer"


def rows(shape: Shape, batch: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Numbers that differ, the same in every run."""
    chance = np.random.default_rng(shape.width * 100_003 + batch)
    if shape.datatype == "UINT8":
        return chance.integers(0, 256, (batch, shape.width), np.uint8)
    return chance.random((batch, shape.width), np.float32)


def grpc_message(shape: Shape, batch: int) -> Any:
    """The ModelInferRequest."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=shape.name)
    request.inputs.add(name="INPUT", datatype=shape.datatype, shape=(batch, shape.width))
    request.outputs.add(name="OUTPUT")
    request.raw_input_contents.append(rows(shape, batch).tobytes())
    return request


def grpc_body(shape: Shape, batch: int) -> bytes:
    """The request as gRPC puts it into HTTP/2 (grpc/grpc, doc/PROTOCOL-HTTP2.md): not compressed, length, message."""
    message: bytes = grpc_message(shape, batch).SerializeToString()
    return b"\0" + struct.pack(">I", len(message)) + message


def shared_memory_body(shape: Shape, batch: int, region: str, size_bytes: int) -> bytes:
    """The request whose input lies at the beginning of ``region`` and whose output goes behind it."""
    request = grpc_message(shape, batch)
    del request.raw_input_contents[:]
    for tensor, offset in ((request.inputs[0], 0), (request.outputs[0], size_bytes)):
        tensor.parameters["shared_memory_region"].string_param = region
        tensor.parameters["shared_memory_byte_size"].int64_param = size_bytes
        tensor.parameters["shared_memory_offset"].int64_param = offset
    message: bytes = request.SerializeToString()
    return b"\0" + struct.pack(">I", len(message)) + message


def http_body(shape: Shape, batch: int) -> tuple[bytes, list[str]]:
    """Body and headers of a request with binary tensors both ways."""
    raw = rows(shape, batch).tobytes()
    head = json.dumps({
        "id": "1",  # KServe's server refuses its own answers without
        "inputs": [{"name": "INPUT", "datatype": shape.datatype, "shape": [batch, shape.width],
                    "parameters": {"binary_data_size": len(raw)}}],
        "outputs": [{"name": "OUTPUT", "parameters": {"binary_data": True}}]}).encode()
    return head + raw, [f"Inference-Header-Content-Length: {len(head)}", "Content-Type: application/octet-stream"]


def json_body(shape: Shape, batch: int) -> tuple[bytes, list[str]]:
    """The same in JSON alone, for servers that know no binary tensors."""
    given = rows(shape, batch)
    return json.dumps({"id": "1", "inputs": [{"name": "INPUT", "datatype": shape.datatype, "shape": list(given.shape),
                                              "data": given.ravel().tolist()}]}).encode(), [
        "Content-Type: application/json"]


def http_path(shape: Shape) -> str:
    return f"/v2/models/{shape.name}/infer"
