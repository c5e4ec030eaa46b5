"""A ModelInferRequest as a `Request`: tensors raw, typed or in shared memory; parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import monotonic_ns
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from safhost.serve.grpc.forms import learn, request_like
from safhost.serve.grpc.placed import learn_placed, placed_like
from safhost.serve.grpc.wire import WORTH_BYTES, split
from safhost.serve.service import Placement, Service, wanted_of
from safhost.serve.shm import Span
from safhost.serve.tensors import FIXED, objects, tensor_of, version_of
from safhost.serve.types import Code, Reply, Request, ServeError, Tensor, Wanted

RESERVED = ("triton_enable_empty_final_response",)

# the field of InferTensorContents that a datatype's elements come in
_CONTENTS = {"BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
             "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents",
             "UINT32": "uint_contents", "UINT64": "uint64_contents", "FP32": "fp32_contents",
             "FP64": "fp64_contents", "BYTES": "bytes_contents"}
# the type that a field stands for when it comes with an input of another
_NATURAL = {"bool_contents": "BOOL", "int_contents": "INT32", "int64_contents": "INT64", "uint_contents": "UINT32",
            "uint64_contents": "UINT64", "fp32_contents": "FP32", "fp64_contents": "FP64", "bytes_contents": "BYTES"}


Raw = Sequence[bytes | memoryview]
"""The bytes of raw inputs."""


def request_from(data: bytes, service: Service, on_reply: Callable[[Reply], None], is_gone: Callable[[], bool],
                 metadata: Callable[[], Iterable[tuple[str, str]]]) -> tuple[Request, Placement | None]:
    """The request that ``data`` brings, and where its outputs go unless plainly back. Raises ServeError, and protobuf's
    DecodeError."""
    like = request_like(data, on_reply, is_gone)
    if like is not None:
        if service.traces.on:
            like.trace = service.trace(like.model, metadata())
        return like, None
    placed = None if service.traces.on else placed_like(data, service.regions, on_reply, is_gone)
    if placed is not None:
        return placed
    message, raw = message_of(data)
    request, placement = request_of(message, raw, service, on_reply, is_gone, metadata)
    if not message.parameters:
        if placement is None:
            learn(data, request)
        else:
            learn_placed(data, request, placement)
    return request, placement


def id_of(data: bytes) -> str:
    """The id of the request that ``data`` brings; "" when it is no message."""
    try:
        return str(message_of(data)[0].id)
    except DecodeError:
        return ""


def message_of(data: bytes) -> tuple[pb.ModelInferRequest, Raw]:
    """The message that ``data`` is, and its raw inputs. Raises protobuf's DecodeError."""
    if len(data) < WORTH_BYTES:
        message = pb.ModelInferRequest.FromString(data)
        return message, message.raw_input_contents
    rest, raw = split(data)
    message = pb.ModelInferRequest.FromString(rest)
    return message, raw or message.raw_input_contents


def request_of(message: pb.ModelInferRequest, raw: Raw, service: Service, on_reply: Callable[[Reply], None],
               is_gone: Callable[[], bool], metadata: Callable[[], Iterable[tuple[str, str]]],
               ) -> tuple[Request, Placement | None]:
    """The request that ``message`` is, and where its outputs go unless plainly back. Raises ServeError."""
    arrived = monotonic_ns()
    model = message.model_name
    version = version_of(message.model_version)
    wanted: tuple[Wanted, ...] = ()
    placement: Placement | None = None
    if message.outputs:
        outputs = list(message.outputs)
        if any(output.parameters for output in outputs):
            placement = _placement(message, service.regions)
            wanted = wanted_of([output.name for output in outputs], placement)
        else:
            wanted = tuple([Wanted(output.name) for output in outputs])
    try:
        inputs, spans = _inputs(message, raw, service, model)
        if spans:
            placement = placement or Placement()
            placement.inputs = spans
        request = Request(model, version, inputs, on_reply, arrived, id=message.id, is_gone=is_gone, wanted=wanted)
        if message.parameters:
            _parameters(message, request)
    except BaseException:
        if placement is not None:
            placement.close()
        raise
    if service.traces.on:
        request.trace = service.trace(model, metadata())
    return request, placement


def _inputs(message: pb.ModelInferRequest, raw: Raw, service: Service, model: str) -> tuple[list[Tensor], list[Span]]:
    at = 0
    inputs: list[Tensor] = []
    spans: list[Span] = []
    try:
        for each in message.inputs:
            at = _input(each, raw, at, service, model, inputs, spans)
    except BaseException:
        for span in spans:
            span.close()
        raise
    return inputs, spans


def _input(each: Any, raw: Raw, at: int, service: Service, model: str, inputs: list[Tensor], spans: list[Span]) -> int:
    """One more input; how many of ``raw`` are used up."""
    name, datatype, shape = each.name, each.datatype, tuple(each.shape)
    if each.parameters:
        span = _span(each, service.regions)
        if span is not None:
            spans.append(span)
            if each.HasField("contents"):
                raise ServeError(Code.INVALID_ARGUMENT, "unexpected 'content' provided when using shared memory for "
                                 f"input tensor '{name}' for model '{model}'")
            inputs.append(tensor_of(name, datatype, shape, span.view().data, model))
            return at
    if each.HasField("contents"):
        if raw:
            raise ServeError(Code.INVALID_ARGUMENT, "contents field must not be specified when using "
                             f"raw_input_contents for '{name}' for model '{model}'")
        inputs.append(_typed(each, shape, model))
        return at
    if at < len(raw):
        inputs.append(tensor_of(name, datatype, shape, raw[at], model))
        return at + 1
    raise ServeError(Code.INVALID_ARGUMENT, f"unable to find data for input tensor '{name}' for model '{model}' in "
                     "request.")


def _typed(each: Any, shape: tuple[int, ...], model: str) -> Tensor:
    contents = each.contents
    wanted = _CONTENTS.get(each.datatype, "")
    for field, natural in _NATURAL.items():
        if field != wanted and len(getattr(contents, field)):
            raise ServeError(Code.INVALID_ARGUMENT, f"unexpected explicit tensor data for input tensor '{each.name}' "
                             f"for model '{model}' of type '{natural}', expected datatype '{each.datatype}'")
    values = getattr(contents, wanted) if wanted else ()
    if each.datatype == "BYTES":
        data: Any = b"".join(len(item).to_bytes(4, "little") + item for item in values)
        if len(values) and all(extent >= 0 for extent in shape) and int(np.prod(shape)) == len(values):
            return Tensor(each.name, "BYTES", objects(values).reshape(shape))
        return tensor_of(each.name, "BYTES", shape, data, model)
    dtype = FIXED.get(each.datatype, np.dtype(np.uint8))
    # wider integers keep their lowest bytes, as the reference server takes them
    wide = np.array(values, dtype={"i": np.int64, "u": np.uint64}.get(dtype.kind, dtype))
    return tensor_of(each.name, each.datatype, shape, wide.astype(dtype).view(np.uint8).data, model)


def _placement(message: pb.ModelInferRequest, regions: Any) -> Placement:
    placement = Placement()
    try:
        for output in message.outputs:
            if not output.parameters:
                continue
            span = _span(output, regions)
            if span is not None:
                placement.spans[output.name] = span
            if "classification" in output.parameters:
                choice = output.parameters["classification"]
                if choice.WhichOneof("parameter_choice") != "int64_param":
                    raise ServeError(Code.INVALID_ARGUMENT, "invalid value type for 'classification' parameter, "
                                     "expected int64_param")
                if choice.int64_param <= 0:
                    raise ServeError(Code.INVALID_ARGUMENT,
                                     "invalid value for 'classification' parameter, expected >= 0")
                if span is not None:
                    raise ServeError(Code.INVALID_ARGUMENT,
                                     "output can't set both 'shared_memory_region' and 'classification'")
                placement.classes[output.name] = choice.int64_param
    except BaseException:
        placement.close()
        raise
    return placement


def _span(tensor: Any, regions: Any) -> Span | None:
    parameters = tensor.parameters
    values: dict[str, Any] = {}
    for name, kind in (("region", "string_param"), ("offset", "int64_param"), ("byte_size", "int64_param")):
        key = f"shared_memory_{name}"
        if key not in parameters:
            continue
        if name != "region" and "region" not in values:
            raise ServeError(Code.INVALID_ARGUMENT, f"'{key}' can not be specified without 'shared_memory_region' "
                             f"parameter for tensor '{tensor.name}'")
        if parameters[key].WhichOneof("parameter_choice") != kind:
            raise ServeError(Code.INVALID_ARGUMENT, f"invalid value type for '{key}' parameter for tensor "
                             f"'{tensor.name}', expected {kind}.")
        values[name] = getattr(parameters[key], kind)
    if "region" not in values:
        return None
    if "byte_size" not in values:
        raise ServeError(Code.INVALID_ARGUMENT, "'shared_memory_byte_size' must be specified along with "
                         f"'shared_memory_region' parameter for tensor '{tensor.name}'")
    span: Span = regions.span(values["region"], values.get("offset", 0), values["byte_size"])
    return span


def _parameters(message: pb.ModelInferRequest, request: Request) -> None:
    custom: dict[str, Any] = {}
    for name, value in message.parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if name == "sequence_id":
            _expect(name, kind, "int64_param", "string_param")
            # the number on the wire is signed, the sequence's is not
            request.sequence_id = value.string_param if kind == "string_param" else value.int64_param % 2**64
        elif name in ("sequence_start", "sequence_end"):
            _expect(name, kind, "bool_param")
            setattr(request, name, value.bool_param)
        elif name == "priority":
            _expect(name, kind, "int64_param", "uint64_param")
            if kind == "int64_param" and value.int64_param < 0:
                raise ServeError(Code.INVALID_ARGUMENT, "invalid value for 'priority', expected value >= 0.")
            request.priority = value.int64_param if kind == "int64_param" else value.uint64_param
        elif name == "timeout":
            _expect(name, kind, "int64_param")
            request.timeout_us = value.int64_param % 2**64
        elif name in RESERVED:
            _expect(name, kind, "bool_param")
        elif name.startswith("triton_"):
            raise ServeError(Code.INVALID_ARGUMENT, "parameter keys starting with 'triton_' are reserved for Triton "
                             "usage. Only the following keys starting with 'triton_' are allowed: "
                             + " ".join(RESERVED))
        elif kind in ("int64_param", "bool_param", "string_param", "double_param"):
            custom[name] = getattr(value, kind)
        else:
            raise ServeError(Code.INVALID_ARGUMENT, f"invalid value type for '{name}' parameter, expected int64_param, "
                             "bool_param, or string_param.")
    if custom:
        request.parameters = custom


def _expect(name: str, kind: str | None, *kinds: str) -> None:
    if kind not in kinds:
        raise ServeError(Code.INVALID_ARGUMENT, f"invalid value type for '{name}' parameter, expected "
                         f"{' or '.join(kinds)}.")


__all__ = ["Raw", "id_of", "message_of", "request_from", "request_of"]
