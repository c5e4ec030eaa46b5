"""What front ends, engine and backends say to each other: tensors, requests, replies, error codes."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import SafError


class Code(IntEnum):
    """Status codes, numbered as gRPC numbers them (grpc/grpc, doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class ServeError(SafError):
    """What a client is told: a code and one line."""

    def __init__(self, code: Code, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_), "UINT8": np.dtype("<u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"), "INT8": np.dtype("<i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"), "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_)}
"""KServe v2's names of element types, as they lie in memory. BF16 has no numpy type: its tensors are uint16."""


class Tensor:
    """A named array. ``array`` has the tensor's shape; elements of BYTES are ``bytes`` objects. Not to be written to:
    it may lie in a client's memory or in the message that brought it."""

    __slots__ = ("array", "datatype", "name")

    def __init__(self, name: str, datatype: str, array: NDArray[Any]) -> None:
        self.name = name
        self.datatype = datatype
        self.array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def __repr__(self) -> str:
        return f"<Tensor {self.name} {self.datatype} {list(self.shape)}>"


class Wanted:
    """An output a client asks for. ``classes``: so many of the largest as "value:index:label", 0 for the tensor."""

    __slots__ = ("classes", "name")

    def __init__(self, name: str, classes: int = 0) -> None:
        self.name = name
        self.classes = classes


class Reply:
    """The answer to a request: ``outputs``, or an ``error`` and none of them."""

    __slots__ = ("error", "id", "model", "outputs", "parameters", "version")

    def __init__(self, model: str, version: str, outputs: list[Tensor], error: ServeError | None = None,
                 id: str = "", parameters: dict[str, Any] | None = None) -> None:
        self.model = model
        self.version = version
        self.outputs = outputs
        self.error = error
        self.id = id
        self.parameters = parameters


Home = Callable[[list[tuple[Callable[[Reply], None], Reply]]], None]


class Request:
    """One inference. ``on_reply`` is called exactly once, by any thread, and must not block.

    ``version`` "" means the newest that is served; ``wanted`` empty: all outputs. ``priority`` 0 is the model's
    default, 1 the highest; ``timeout_us`` in the queue, 0 for the model's default. ``arrived_ns`` is on the
    monotonic clock. ``is_gone`` tells whether the client went away: what has not begun then is dropped. ``home``: takes
    many replies at once, each with its ``on_reply``, where the front end has a thread of its own to call them in.
    ``form``: what this request has in common with others, when its front end knows.
    """

    __slots__ = ("arrived_ns", "form", "home", "id", "inputs", "is_gone", "model", "on_reply", "parameters", "priority",
                 "sequence_end", "sequence_id", "sequence_start", "timeout_us", "trace", "version", "wanted")

    def __init__(self, model: str, version: str, inputs: list[Tensor], on_reply: Callable[[Reply], None],
                 arrived_ns: int, *, id: str = "", wanted: tuple[Wanted, ...] = (),
                 parameters: dict[str, Any] | None = None, priority: int = 0, timeout_us: int = 0,
                 sequence_id: int | str = 0, sequence_start: bool = False, sequence_end: bool = False,
                 is_gone: Callable[[], bool] | None = None, trace: Any = None, home: Home | None = None,
                 form: Any = None) -> None:
        self.model = model
        self.version = version
        self.inputs = inputs
        self.on_reply = on_reply
        self.arrived_ns = arrived_ns
        self.id = id
        self.wanted = wanted
        self.parameters = parameters
        self.priority = priority
        self.timeout_us = timeout_us
        self.sequence_id = sequence_id
        self.sequence_start = sequence_start
        self.sequence_end = sequence_end
        self.is_gone = is_gone
        self.trace = trace
        self.home = home
        self.form = form

    def refuse(self, error: ServeError) -> None:
        """Answer with an error."""
        self.on_reply(Reply(self.model, self.version, [], error, self.id))


class TensorSpec:
    """A tensor of a model as its metadata tell; ``shape`` with -1 for any, the batch among it where there is one."""

    __slots__ = ("datatype", "name", "shape")

    def __init__(self, name: str, datatype: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape


class ModelMetadata:
    """What clients may know of a model before they call it."""

    __slots__ = ("inputs", "name", "outputs", "platform", "versions")

    def __init__(self, name: str, versions: tuple[str, ...], platform: str, inputs: tuple[TensorSpec, ...],
                 outputs: tuple[TensorSpec, ...]) -> None:
        self.name = name
        self.versions = versions
        self.platform = platform
        self.inputs = inputs
        self.outputs = outputs


class IndexEntry:
    """A line of the repository's index. ``state``: READY, LOADING, UNLOADING, UNAVAILABLE, or "" when never loaded."""

    __slots__ = ("name", "reason", "state", "version")

    def __init__(self, name: str, version: str = "", state: str = "", reason: str = "") -> None:
        self.name = name
        self.version = version
        self.state = state
        self.reason = reason


__all__ = ["DATATYPES", "Code", "IndexEntry", "ModelMetadata", "Reply", "Request", "ServeError", "Tensor", "TensorSpec",
           "Wanted"]
