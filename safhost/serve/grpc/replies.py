"""A `Reply` as the bytes of a ModelInferResponse or a ModelStreamInferResponse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from safhost.serve.grpc.wire import around, in_stream, length, with_raw
from safhost.serve.service import Placement, Service
from safhost.serve.tensors import FIXED, bytes_of
from safhost.serve.types import Reply, ServeError, Tensor

Outputs = Sequence[tuple[Tensor, memoryview | bytes | None]]

_KNOWN = 512
_begins: dict[Any, bytes] = {}
_heads: dict[Any, bytes] = {}
"""Answers without their data, serialized: nearly all answers of a model have the same few shapes."""


def response_of(reply: Reply, placement: Placement | None, service: Service, request_id: str, *,
                stream: bool = False) -> bytes:
    """The message that answers a request; raises the reply's error, or ServeError when an output finds no place."""
    if reply.error is not None:
        raise reply.error
    if placement is None:
        usual = _usual(reply, request_id, stream)
        if usual is not None:
            return usual
        outputs: Outputs = [(tensor, bytes_of(tensor)) for tensor in reply.outputs]
    else:
        outputs = service.place(reply, placement).outputs
    head = _head(reply, [tensor for tensor, _ in outputs], request_id, stream)
    parts = with_raw(head, [b"" if data is None else data for _, data in outputs])
    message = b"".join(in_stream(parts) if stream else parts)
    if placement is not None:
        placement.check()
    return message


def _usual(reply: Reply, request_id: str, stream: bool) -> bytes | None:
    """The message of one output, all that comes before its data made once, but for the id."""
    outputs = reply.outputs
    if len(outputs) != 1 or reply.parameters:
        return None
    tensor = outputs[0]
    array = tensor.array
    dtype = FIXED.get(tensor.datatype)
    if array.dtype != dtype or not array.flags.c_contiguous:
        return None
    key = (reply.model, reply.version, stream, tensor.name, tensor.datatype, array.shape)
    begin = _begins.get(key)
    if begin is None:
        begin = b"".join(with_raw(_made_head(reply, outputs, stream), [bytes(array.nbytes)])[:-1])
        if len(_begins) >= _KNOWN:
            _begins.clear()
        _begins[key] = begin
    parts = [_id(request_id), begin, array.data if array.size else b""]
    return b"".join((around(len(parts[0]) + len(begin) + array.nbytes), *parts) if stream else parts)


def _head(reply: Reply, outputs: Sequence[Tensor], request_id: str, stream: bool) -> bytes:
    if reply.parameters:
        return _made_head(reply, outputs, stream) + _id(request_id)
    key = (reply.model, reply.version, stream, *[(t.name, t.datatype, t.array.shape) for t in outputs])
    head = _heads.get(key)
    if head is None:
        head = _made_head(reply, outputs, stream)
        if len(_heads) >= _KNOWN:
            _heads.clear()
        _heads[key] = head
    return head + _id(request_id) if request_id else head


def _id(request_id: str) -> bytes:
    raw = request_id.encode()
    return _ID + length(len(raw)) + raw if raw else b""


_ID = bytes([3 << 3 | 2])  # ModelInferResponse.id


def _made_head(reply: Reply, outputs: Sequence[Tensor], stream: bool) -> bytes:
    response = pb.ModelInferResponse(model_name=reply.model, model_version=reply.version)
    for tensor in outputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
    for name, value in (reply.parameters or {}).items():
        set_parameter(response.parameters[name], value)
    if stream:  # each request has one answer, so it is the final one
        response.parameters["triton_final_response"].bool_param = True
    return bytes(response.SerializeToString())


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


__all__ = ["response_of", "set_parameter", "stream_error"]
