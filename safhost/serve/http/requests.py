"""The body of an infer call as a `Request`: JSON, behind it the bytes of tensors that come in binary."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from time import monotonic_ns
from typing import Any

import numpy as np

from safhost.serve.http.json_tensors import tensor_of_json
from safhost.serve.service import Placement, Service, wanted_of
from safhost.serve.shm import Span
from safhost.serve.tensors import FIXED, elements, objects, tensor_of
from safhost.serve.types import Code, Reply, Request, ServeError, Tensor

RESERVED = ("parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.")

_FLAGS = {"sequence_start": "sequence_start", "sequence_end": "sequence_end", "binary_data_output": "default_binary"}


class Outputs:
    """How a client wants its outputs: ``binary`` by name, ``default_binary`` for those it did not name."""

    __slots__ = ("binary", "default_binary", "placement")

    def __init__(self) -> None:
        self.binary: dict[str, bool] = {}
        self.default_binary = False
        self.placement: Placement | None = None

    def close(self) -> None:
        if self.placement is not None:
            self.placement.close()


def header_length(text: bytes | None, body_bytes: int) -> int:
    """The length of the JSON in front of binary data; raises ServeError when it cannot be one."""
    if text is None:
        return body_bytes
    if text.isdigit():
        length = int(text)
    else:
        found = re.match(rb"\s*[+-]?\d+", text)
        length = int(found[0]) if found else 0  # as atoi(3) reads it
    if not 0 <= length <= body_bytes:
        raise _bad(f"inference header size should be in range (0, {body_bytes}), got: {length}")
    return length


def request_of(body: bytes, length: int, model: str, version: str, service: Service,
               on_reply: Callable[[Reply], None], is_gone: Callable[[], bool],
               headers: Iterable[tuple[bytes, bytes]]) -> tuple[Request, Outputs]:
    """The request that ``body`` is; its first ``length`` bytes are JSON. Raises ServeError."""
    arrived = monotonic_ns()
    head = body[:length]
    found = _ID_FIRST.match(head)
    key = head if found is None else head[found.end():]
    known = _known.get(key)
    if known is not None and known.data_bytes == len(body) - length and not service.traces.on:
        return (Request(model, version, known.tensors(body, length), on_reply, arrived, wanted=known.wanted,
                        is_gone=is_gone, id="" if found is None else found[1].decode()), known.outputs)
    outputs = Outputs()
    if length == 0:
        document, inputs = {}, [_raw_input(body, model, version, service)]
        outputs.default_binary = True
    else:
        document = parsed(head)
        inputs = []
    request = Request(model, version, inputs, on_reply, arrived, is_gone=is_gone)
    if "parameters" in document:
        _parameters(document["parameters"], request, outputs)
    if "id" in document:
        request.id = _text(document["id"], "id")
    try:
        if length:
            _inputs(document, memoryview(body)[length:], request, outputs, service)
        if "outputs" in document:
            request.wanted = _outputs(document["outputs"], outputs, service)
        if service.traces.on:
            request.trace = service.trace(model, ((name.decode("latin-1"), value.decode("latin-1"))
                                                  for name, value in headers))
    except BaseException:
        outputs.close()
        raise
    has_id = "id" in document
    if 0 < length < _SMALL_BYTES and has_id == (found is not None) and _is_plain(document, request, outputs):
        if len(_known) >= _KNOWN:
            _known.clear()
        _known[key] = _Known(request, outputs, len(body) - length)
    return request, outputs


_SMALL_BYTES, _KNOWN = 4096, 512
_known: dict[bytes, _Known] = {}
"""Heads of requests seen before that say nothing but shapes: most clients send the same few again and again. What
begins with an id, as clients write it, is known without it."""
_ID_FIRST = re.compile(rb'\{"id": ?"([ !#-\[\]-~]*)", ?')


class _Known:
    """What a head means, whatever data follow it."""

    __slots__ = ("_inputs", "data_bytes", "outputs", "wanted")

    def __init__(self, request: Request, outputs: Outputs, data_bytes: int) -> None:
        self._inputs = []
        at = 0
        for tensor in request.inputs:
            array = tensor.array
            self._inputs.append((tensor.name, tensor.datatype, array.dtype, array.shape, array.size, at))
            at += array.nbytes
        self.wanted = request.wanted
        self.outputs = outputs
        self.data_bytes = data_bytes

    def tensors(self, body: bytes, start: int) -> list[Tensor]:
        return [Tensor(name, datatype, np.frombuffer(body, dtype, size, start + at).reshape(shape))
                for name, datatype, dtype, shape, size, at in self._inputs]


def _is_plain(document: dict[str, Any], request: Request, outputs: Outputs) -> bool:
    """Whether a request is all binary and has nothing of its own, so that the next one with its head is like it."""
    return (document.keys() <= {"id", "inputs", "outputs", "parameters"} and outputs.placement is None
            and document.get("parameters", {}).keys() <= {"binary_data_output"}
            and len(request.inputs) > 0
            and all(type(tensor) is Tensor and tensor.datatype in FIXED and tensor.array.size
                    and "binary_data_size" in (each.get("parameters") or ())
                    for tensor, each in zip(request.inputs, document["inputs"], strict=True)))


def parsed(text: bytes) -> dict[str, Any]:
    """A JSON object; ServeError when it is none."""
    try:
        document = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as err:
        raise _unparsed(f"failed to parse the request JSON buffer: {err}") from None
    if not isinstance(document, dict):
        raise _unparsed("failed to parse the request JSON buffer: not an object")
    return document


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _inputs(document: dict[str, Any], data: memoryview, request: Request, outputs: Outputs,
            service: Service) -> None:
    at = 0
    for each in _list(document, "inputs"):
        parameters = each.get("parameters") or {} if isinstance(each, dict) else {}
        _check_one_source(each, parameters)
        name, datatype = _member(each, "name"), _member(each, "datatype")
        shape = _shape(each)
        if "binary_data_size" in parameters:
            size = _number(parameters["binary_data_size"], "binary_data_size")
            if at + size > len(data):
                raise _bad(f"unexpected size for input '{name}', expecting {at + size - len(data)} additional bytes "
                           f"for model '{request.model}'")
            tensor = tensor_of(name, datatype, shape, data[at:at + size], request.model)
            at += size
        elif "shared_memory_region" in parameters:
            span = _span(parameters, service)
            outputs.placement = outputs.placement or Placement()
            outputs.placement.inputs.append(span)
            tensor = tensor_of(name, datatype, shape, span.view().data, request.model)
        else:
            tensor = tensor_of_json(name, datatype, shape, each["data"], request.model)
        request.inputs.append(tensor)
    if at != len(data):
        raise _bad(f"unexpected additional input data for model '{request.model}'")


def _check_one_source(each: Any, parameters: Any) -> None:
    if not isinstance(each, dict) or not isinstance(parameters, dict):
        raise _unparsed("Unable to parse 'inputs': attempt to access JSON non-object as object")
    there = [name for name, is_set in (("data", "data" in each),
                                       ("binary_data_size", "binary_data_size" in parameters),
                                       ("shared_memory_region", "shared_memory_region" in parameters)) if is_set]
    if len(there) != 1:
        text = " set" + "".join(f" '{name}'" for name in there) if there else " no field is set"
        raise _bad("Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
                   f"'shared_memory_region' in 'parameters'. But{text}")


def _raw_input(body: bytes, model: str, version: str, service: Service) -> Tensor:
    """The whole body is the one input of a model: its shape is the model's, with the one free extent it may have."""
    found = service.engine.model_metadata(model, version)
    if len(found.inputs) != 1:
        raise _bad(f"Raw request must only have 1 input (found 1) to be deduced but got {len(found.inputs)} inputs in "
                   f"'{model}' model configuration")
    spec = found.inputs[0]
    shape = list(spec.shape)
    if service.engine.model_config(model, version).max_batch_size and shape and shape[0] == -1:
        shape[0] = 1
    free = [index for index, extent in enumerate(shape) if extent == -1]
    if spec.datatype == "BYTES":
        if elements(shape) != 1:
            raise _bad("For BYTE datatype raw input, the model must have input shape [1]")
        return Tensor(spec.name, "BYTES", objects([body]).reshape(shape))
    if len(free) > 1:
        raise _bad(f"The shape of the raw input '{spec.name}' can not be deduced because there are more than one "
                   "variable-sized dimension")
    if free:
        shape[free[0]] = len(body) // (FIXED[spec.datatype].itemsize * abs(math.prod(shape)) or 1)
    return tensor_of(spec.name, spec.datatype, shape, body, model)


def _outputs(described: Any, outputs: Outputs, service: Service) -> Any:
    if not isinstance(described, list):
        raise _unparsed("Unable to parse 'outputs': attempt to access JSON non-array as array")
    names: list[str] = []
    placement = outputs.placement = outputs.placement or Placement()
    for each in described:
        parameters = each.get("parameters") or {}
        if "shared_memory_region" in parameters:
            if "classification" in parameters:
                raise _bad("Output can't set both 'shared_memory_region' and 'classification'")
            if parameters.get("binary_data"):
                raise _bad("Output can't set both 'shared_memory_region' and 'binary_data'")
        name = _member(each, "name")
        names.append(name)
        outputs.binary[name] = bool(parameters.get("binary_data", False))
        if "classification" in parameters:
            classes = _number(parameters["classification"], "classification", "Unable to set")
            if classes:
                placement.classes[name] = classes
        elif "shared_memory_region" in parameters:
            placement.spans[name] = _span(parameters, service)
    wanted = wanted_of(names, placement)
    if not placement.classes and not placement.spans and not placement.inputs:
        outputs.placement = None
    return wanted


def _span(parameters: dict[str, Any], service: Service) -> Span:
    return service.regions.span(_text(parameters["shared_memory_region"], "shared_memory_region"),
                                _number(parameters.get("shared_memory_offset", 0), "shared_memory_offset"),
                                _number(parameters.get("shared_memory_byte_size", 0), "shared_memory_byte_size"))


def _parameters(parameters: Any, request: Request, outputs: Outputs) -> None:
    if not isinstance(parameters, dict):
        raise _unparsed("failed to get request params.: attempt to get members for non-object")
    custom: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "sequence_id":
            is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            request.sequence_id = value if is_number else _text(value, name)
        elif name in _FLAGS:
            if not isinstance(value, bool):
                raise _unparsed(f"Unable to parse '{name}': attempt to access JSON non-boolean as boolean")
            setattr(outputs if name == "binary_data_output" else request, _FLAGS[name], value)
        elif name == "priority":
            request.priority = _number(value, name)
        elif name == "timeout":
            request.timeout_us = _number(value, name)
        elif name.startswith("triton_"):
            raise _bad(RESERVED)
        elif isinstance(value, bool | int | float | str):
            custom[name] = value
        else:
            raise _bad(f"parameter '{name}' has invalid type. It should be either 'int', 'bool', or 'string'.")
    if custom:
        request.parameters = custom


def _shape(each: dict[str, Any]) -> tuple[int, ...]:
    shape = each.get("shape")
    if not isinstance(shape, list):
        raise _unparsed("Unable to parse 'shape': attempt to access " + (
            "non-existing object member 'shape'" if shape is None else "JSON non-array as array"))
    for extent in shape:
        _number(extent, "shape")
    return tuple(shape)


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        raise _unparsed(f"Unable to parse '{name}': attempt to access " + (
            f"non-existing object member '{name}'" if value is None else "JSON non-array as array"))
    return value


def _member(each: dict[str, Any], name: str) -> str:
    if name not in each:
        raise _unparsed(f"Unable to parse '{name}': attempt to access non-existing object member '{name}'")
    return _text(each[name], name)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _unparsed(f"Unable to parse '{name}': attempt to access JSON non-string as string")
    return value


def _number(value: Any, name: str, verb: str = "Unable to parse") -> int:
    if type(value) is not int or value < 0:
        raise _unparsed(f"{verb} '{name}': attempt to access JSON non-unsigned-integer as unsigned-integer")
    return value


def _unparsed(text: str) -> ServeError:
    """JSON of another kind than it must be: the reference server calls that internal."""
    return ServeError(Code.INTERNAL, text)


def _bad(text: str) -> ServeError:
    return ServeError(Code.INVALID_ARGUMENT, text)


__all__ = ["Outputs", "header_length", "parsed", "request_of"]
