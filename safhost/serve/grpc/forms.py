"""Requests like one before: clients send the same message again and again, with other numbers in it.

A `Form` is all of a message but the bytes of its only tensor. A message that has the length of a known form and begins
as it does, is that form: no field of it is looked at again. Only plain messages make forms (see `learn`), so that
whatever follows the beginning can be nothing but the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Any

import numpy as np

from safhost.serve.grpc.wire import split
from safhost.serve.tensors import FIXED
from safhost.serve.types import Reply, Request, Tensor, Wanted

KNOWN = 256
"""Forms that are kept; when there are more, all are forgotten."""

BEGIN_BYTES = 4096
"""The longest beginning of a form."""


class Form:
    """What messages that begin with ``begin`` have in common. ``fits``: the contract that found it right, and the size
    it found."""

    __slots__ = ("_at", "_count", "_datatype", "_dtype", "_model", "_name", "_shape", "_version", "_wanted", "begin",
                 "fits")

    def __init__(self, begin: bytes, request: Request) -> None:
        tensor = request.inputs[0]
        self.begin = begin
        self.fits: tuple[Any, int] = (None, 0)
        self._at = len(begin)
        self._count = tensor.array.size
        self._datatype = tensor.datatype
        self._dtype = FIXED[tensor.datatype]
        self._model = request.model
        self._name = tensor.name
        self._shape = tensor.array.shape
        self._version = request.version
        self._wanted: tuple[Wanted, ...] = request.wanted

    def request(self, data: bytes, on_reply: Callable[[Reply], None], is_gone: Callable[[], bool]) -> Request:
        """The request of another message of this form."""
        array = np.frombuffer(data, self._dtype, self._count, self._at).reshape(self._shape)
        return Request(self._model, self._version, [Tensor(self._name, self._datatype, array)], on_reply,
                       monotonic_ns(), is_gone=is_gone, wanted=self._wanted, form=self)


_known: dict[int, tuple[Form, ...]] = {}
"""By length of the message. Entries are replaced, never changed: any thread may look."""


def form_of(data: bytes) -> Form | None:
    """The form of ``data`` when it is known."""
    for form in _known.get(len(data), ()):
        if data.startswith(form.begin):
            return form
    return None


def learn(data: bytes, request: Request) -> None:
    """Keep the form of ``data``, whose request is found right and has no parameters, when it is a plain one: no id, one
    tensor of elements of one size, and its raw bytes the last that the message has."""
    inputs = request.inputs
    if request.id or len(inputs) != 1 or type(inputs[0]) is not Tensor or inputs[0].datatype not in FIXED:
        return
    size = inputs[0].array.nbytes
    at = len(data) - size
    _, raw = split(data)
    if len(raw) != 1 or len(raw[0]) != size or not size or at > BEGIN_BYTES or not _is_last(data, raw[0]):
        return
    if sum(map(len, _known.values())) >= KNOWN:
        _known.clear()
    _known[len(data)] = (*_known.get(len(data), ()), Form(data[:at], request))


def _is_last(data: bytes, raw: memoryview) -> bool:
    """Whether ``raw``, a view of ``data``, ends where that does."""
    last = np.frombuffer(data, np.uint8)[-1:]
    return bool(np.shares_memory(np.frombuffer(raw, np.uint8)[-1:], last))


__all__ = ["Form", "form_of", "learn"]
