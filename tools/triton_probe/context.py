"""What a call of the probe has at hand: raw gRPC and HTTP, and how an answer becomes a few comparable words."""

from __future__ import annotations

import http.client
import json
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2, service_pb2_grpc

Outcome = dict[str, Any]
TIMEOUT_S = 20.0
CASES: dict[str, tuple[Callable[[Context], Outcome], bool]] = {}
"""Name of a call: what makes it, and whether its message must be Triton's word by word or only its code."""


def case(name: str, exact: bool = True) -> Callable[[Callable[[Context], Outcome]], Callable[[Context], Outcome]]:
    """Register a call. ``exact`` False: the message tells of the server's insides, only the code is compared."""
    def register(function: Callable[[Context], Outcome]) -> Callable[[Context], Outcome]:
        assert name not in CASES, name
        CASES[name] = (function, exact)
        return function
    return register


class Context:
    """A server under probe. One gRPC channel; a new HTTP connection for each call."""

    def __init__(self, grpc_address: str, http_address: str, backend: str) -> None:
        self.http_address = http_address
        self.backend = backend
        self.channel = grpc.insecure_channel(grpc_address)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def close(self) -> None:
        self.channel.close()

    # -- gRPC --

    def call(self, method: str, request: Any, look: Callable[[Any], Any] | None = None) -> Outcome:
        """A unary call by name; ``look`` picks what of a good answer is compared."""
        try:
            reply = getattr(self.stub, method)(request, timeout=TIMEOUT_S)
        except grpc.RpcError as err:
            return failed(err)
        return {"code": "OK"} | ({"detail": look(reply)} if look else {})

    def infer(self, request: service_pb2.ModelInferRequest) -> Outcome:
        return self.call("ModelInfer", request, describe)

    def stream(self, requests: Sequence[service_pb2.ModelInferRequest]) -> Outcome:
        """All of ``requests`` on one stream; the answers in the order they came, sorted by request id."""
        answers = []
        try:
            for reply in self.stub.ModelStreamInfer(iter(requests), timeout=TIMEOUT_S):
                answer: Outcome = {"id": reply.infer_response.id}
                if reply.error_message:
                    answer["error_message"] = normal(reply.error_message)
                else:
                    answer["detail"] = describe(reply.infer_response)
                answers.append(answer)
        except grpc.RpcError as err:
            return failed(err) | {"answers": answers}
        return {"code": "OK", "answers": sorted(answers, key=lambda a: json.dumps(a, sort_keys=True))}

    def together(self, requests: Iterable[service_pb2.ModelInferRequest]) -> list[Outcome]:
        """All under way at once; outcomes in the order of ``requests``."""
        futures = []
        for one in requests:  # each is there before the next: a call to another model lies between them
            futures.append(self.stub.ModelInfer.future(one, timeout=TIMEOUT_S))
            self.stub.ModelInfer(request("plain"), timeout=TIMEOUT_S)
        outcomes: list[Outcome] = []
        for future in futures:
            error = future.exception()
            outcomes.append(failed(error) if error else {"code": "OK"})
        return outcomes

    # -- HTTP --

    def http(self, method: str, path: str, body: bytes | dict[str, Any] | None = None,
             headers: dict[str, str] | None = None, look: Callable[[bytes, Any], Any] | None = None) -> Outcome:
        """A request; an error answers {"status", "error"}, a good one what ``look(body, headers)`` says of it."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection = http.client.HTTPConnection(self.http_address, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, data, headers or {})
            reply = connection.getresponse()
            raw = reply.read()
        finally:
            connection.close()
        outcome: Outcome = {"status": reply.status}
        if reply.status != 200:
            try:
                outcome["error"] = normal(json.loads(raw)["error"])
            except (ValueError, KeyError, TypeError):
                outcome["body"] = normal(raw.decode(errors="replace"))
        elif look:
            outcome["detail"] = look(raw, reply.headers)
        return outcome


def failed(err: Any) -> Outcome:
    return {"code": err.code().name, "message": normal(err.details() or "")}


def normal(text: str) -> str:
    """Paths, ports, pids and long numbers out of a message; the last line feed too."""
    text = re.sub(r"/[^\s'\",:]*/", "PATH/", text.strip())
    return re.sub(r"\b\d{5,}\b", "N", text)


def describe(reply: service_pb2.ModelInferResponse) -> Any:
    """Model, version, outputs with shape, type and bytes or contents: what a client builds on."""
    outputs = [[o.name, o.datatype, list(o.shape), sorted(o.parameters)] for o in reply.outputs]
    raw = [r.hex() for r in reply.raw_output_contents]
    contents = [MessageToDict(o.contents) for o in reply.outputs if o.HasField("contents")]
    return [reply.model_name, reply.model_version, reply.id, sorted(reply.parameters), outputs, raw, contents]


def json_body(raw: bytes, _headers: Any) -> Any:
    return json.loads(raw)


# -- requests --

FOUR = np.array([[1, 2, 3, 4]], "<f4")


def request(model: str = "plain", inputs: Sequence[tuple[str, str, Sequence[int], bytes | None]] | None = None,
            outputs: Sequence[str] = (), **fields: Any) -> service_pb2.ModelInferRequest:
    """An inference; ``inputs`` of (name, datatype, shape, bytes or None), IN FP32 [1, 4] when not given.

    ``fields``: version, id, and parameters by type (int, bool, str).
    """
    if inputs is None:
        inputs = [("IN", "FP32", (1, 4), FOUR.tobytes())]
    made = service_pb2.ModelInferRequest(model_name=model, model_version=fields.pop("version", ""),
                                         id=fields.pop("id", ""))
    for name, datatype, shape, raw in inputs:
        made.inputs.add(name=name, datatype=datatype, shape=shape)
        if raw is not None:
            made.raw_input_contents.append(raw)
    for name in outputs:
        made.outputs.add(name=name)
    set_parameters(made, fields)
    return made


def set_parameters(made: Any, fields: dict[str, Any]) -> None:
    for key, value in fields.items():
        parameter = made.parameters[key]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int):
            parameter.int64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        else:
            parameter.string_param = value


def strings(*values: bytes) -> bytes:
    """BYTES elements as they travel: each after its length in 4 bytes, little endian."""
    return b"".join(struct.pack("<I", len(v)) + v for v in values)
