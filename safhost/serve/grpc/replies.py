"""A `Reply` as the bytes of a ModelInferResponse or a ModelStreamInferResponse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from safhost.serve.service import Placement, Service
from safhost.serve.tensors import bytes_of
from safhost.serve.types import Reply, ServeError, Tensor

Outputs = Sequence[tuple[Tensor, memoryview | bytes | None]]


def response_of(reply: Reply, placement: Placement | None, service: Service, request_id: str) -> pb.ModelInferResponse:
    """The message that answers a request; raises the reply's error, or ServeError when an output finds no place."""
    if reply.error is not None:
        raise reply.error
    if placement is None:
        outputs: Outputs = [(tensor, bytes_of(tensor)) for tensor in reply.outputs]
    else:
        outputs = service.place(reply, placement).outputs
    response = pb.ModelInferResponse(model_name=reply.model, model_version=reply.version, id=request_id)
    for tensor, data in outputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        response.raw_output_contents.append(bytes(data) if data is not None else b"")
    if reply.parameters:
        for name, value in reply.parameters.items():
            set_parameter(response.parameters[name], value)
    return response


def set_parameter(parameter: Any, value: Any) -> None:
    """Set the one field of an InferParameter that fits ``value``."""
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = str(value)


def stream_error(error: ServeError, request_id: str) -> bytes:
    """An answer in a stream that stays open; the id tells which request failed."""
    message = pb.ModelStreamInferResponse(error_message=error.message)
    message.infer_response.id = request_id
    return bytes(message.SerializeToString())


def stream_response(response: pb.ModelInferResponse) -> bytes:
    """``response`` in a stream; each request has one answer, so it is the final one."""
    response.parameters["triton_final_response"].bool_param = True
    return bytes(pb.ModelStreamInferResponse(infer_response=response).SerializeToString())


__all__ = ["response_of", "set_parameter", "stream_error", "stream_response"]
