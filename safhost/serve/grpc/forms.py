"""Requests like one before: clients send the same message again and again, with another id and other numbers in it.

A `Form` is all of a message but its id and the bytes of its only tensor. A message that has the length of a known form
and begins as it does, but for an id, is that form: no field of it is looked at again. Only plain messages make forms
(see `learn`), so that whatever follows the beginning can be nothing but the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from safhost.serve.grpc.wire import id_in, split
from safhost.serve.tensors import FIXED
from safhost.serve.types import Reply, Request, Tensor, Wanted

LENGTHS = 256
"""Lengths of messages whose forms are kept; when there are more, all are forgotten."""

OF_A_LENGTH = 8
"""Forms of messages of one length that are kept: the newest."""

BEGIN_BYTES = 4096
"""The longest beginning of a form."""


class Form:
    """What messages that begin with ``begin``, but for an id, have in common. ``fits``: the contract that found it
    right, and the size it found."""

    __slots__ = ("_count", "_datatype", "_dtype", "_model", "_name", "_shape", "_version", "_wanted", "begin", "fits")

    def __init__(self, begin: bytes, request: Request) -> None:
        tensor = request.inputs[0]
        self.begin = begin
        self.fits: tuple[Any, int] = (None, 0)
        self._count = tensor.array.size
        self._datatype = tensor.datatype
        self._dtype = FIXED[tensor.datatype]
        self._model = request.model
        self._name = tensor.name
        self._shape = tensor.array.shape
        self._version = request.version
        self._wanted: tuple[Wanted, ...] = request.wanted

    def request(self, data: bytes, at: int, request_id: str, on_reply: Callable[[Reply], None],
                is_gone: Callable[[], bool]) -> Request:
        """The request of another message of this form, whose tensor begins ``at``."""
        array = np.frombuffer(data, self._dtype, self._count, at).reshape(self._shape)
        return Request(self._model, self._version, [Tensor(self._name, self._datatype, array)], on_reply,
                       monotonic_ns(), id=request_id, is_gone=is_gone, wanted=self._wanted, form=self)


_known: dict[int, tuple[Form, ...]] = {}
"""By length of the message without its id. Entries are replaced, never changed: any thread may look."""


def request_like(data: bytes, on_reply: Callable[[Reply], None], is_gone: Callable[[], bool]) -> Request | None:
    """The request that ``data`` brings when its form is known."""
    for form in _known.get(len(data), ()):
        if data.startswith(form.begin):
            return form.request(data, len(form.begin), "", on_reply, is_gone)
    found = id_in(data)
    if found is None:
        return None
    start, end, request_id = found
    for form in _known.get(len(data) - end + start, ()):
        if data.startswith(form.begin[start:], end) and data.startswith(form.begin[:start]):
            return form.request(data, len(form.begin) + end - start, request_id, on_reply, is_gone)
    return None


def learn(data: bytes, request: Request) -> None:
    """Keep the form of ``data``, whose request is found right and has no parameters, when it is a plain one: its id
    where writers put it, one tensor of elements of one size, and its raw bytes the last that the message has."""
    inputs = request.inputs
    if len(inputs) != 1 or type(inputs[0]) is not Tensor or inputs[0].datatype not in FIXED:
        return
    size = inputs[0].array.nbytes
    at = len(data) - size
    start, end, _ = (id_in(data) if request.id else None) or (0, 0, "")
    if not size or at > BEGIN_BYTES or (request.id and not end):
        return
    rest, raw = split(data)
    if len(raw) != 1 or len(raw[0]) != size or not _is_last(data, raw[0]):
        return
    if end and pb.ModelInferRequest.FromString(rest[:start] + rest[end:]).id:  # it has another
        return
    if len(_known) >= LENGTHS:
        _known.clear()
    form = Form(data[:start] + data[end:at], request)
    key = len(data) - end + start
    _known[key] = (form, *_known.get(key, ())[:OF_A_LENGTH - 1])


def _is_last(data: bytes, raw: memoryview) -> bool:
    """Whether ``raw``, a view of ``data``, ends where that does."""
    last = np.frombuffer(data, np.uint8)[-1:]
    return bool(np.shares_memory(np.frombuffer(raw, np.uint8)[-1:], last))


__all__ = ["Form", "learn", "request_like"]
