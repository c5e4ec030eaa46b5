"""Requests in shared memory like one before: the same message says the same again, as long as its regions are there.

Clients that put tensors into shared memory send one message over and over; what changes lies in the region. Spans of
each request are asked for anew: a region that was taken away meanwhile is missed as if the message had been read. Ids
may differ (see `safhost.serve.grpc.forms`).
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from safhost.serve.grpc.wire import id_in
from safhost.serve.service import Placement
from safhost.serve.shm import Regions
from safhost.serve.tensors import FIXED
from safhost.serve.types import Reply, Request, Tensor

KNOWN = 512
"""Messages that are kept; when there are more, all are forgotten."""

LONGEST_BYTES = 4096


class PlacedForm:
    """What a message says, all of whose inputs lie in shared memory. ``fits`` as that of `forms.Form`."""

    __slots__ = ("_inputs", "_model", "_outputs", "_version", "_wanted", "fits")

    def __init__(self, request: Request, placement: Placement) -> None:
        self.fits: tuple[Any, int] = (None, 0)
        self._model, self._version, self._wanted = request.model, request.version, request.wanted
        self._inputs = [(t.name, t.datatype, t.array.dtype, t.array.shape, span.region.name, span.offset, span.size)
                        for t, span in zip(request.inputs, placement.inputs, strict=True)]
        self._outputs = [(name, span.region.name, span.offset, span.size) for name, span in placement.spans.items()]

    def request(self, regions: Regions, request_id: str, on_reply: Callable[[Reply], None],
                is_gone: Callable[[], bool]) -> tuple[Request, Placement]:
        """The request of the same message. Raises ServeError when a region is not there any more, or is another."""
        arrived = monotonic_ns()
        placement = Placement()
        inputs: list[Tensor] = []
        try:
            for name, region, offset, size in self._outputs:
                placement.spans[name] = regions.span(region, offset, size)
            for name, datatype, dtype, shape, region, offset, size in self._inputs:
                span = regions.span(region, offset, size)
                placement.inputs.append(span)
                inputs.append(Tensor(name, datatype, span.view().view(dtype).reshape(shape)))
        except BaseException:
            placement.close()
            raise
        return Request(self._model, self._version, inputs, on_reply, arrived, id=request_id, is_gone=is_gone,
                       wanted=self._wanted, form=self), placement


_known: dict[bytes, PlacedForm] = {}
"""By the message without its id."""


def placed_like(data: bytes, regions: Regions, on_reply: Callable[[Reply], None],
                is_gone: Callable[[], bool]) -> tuple[Request, Placement] | None:
    """What ``data`` brings when its form is known. Raises ServeError as `PlacedForm.request`."""
    if len(data) > LONGEST_BYTES:
        return None
    form = _known.get(data)
    if form is not None:
        return form.request(regions, "", on_reply, is_gone)
    found = id_in(data)
    if found is None:
        return None
    start, end, request_id = found
    form = _known.get(data[:start] + data[end:])
    return None if form is None else form.request(regions, request_id, on_reply, is_gone)


def learn_placed(data: bytes, request: Request, placement: Placement) -> None:
    """Keep what ``data``, whose request has no parameters, says: when its id is where writers put it, and all its
    inputs are in shared memory and of elements of one size."""
    if placement.classes or len(data) > LONGEST_BYTES or len(placement.inputs) != len(request.inputs):
        return
    if not all(type(t) is Tensor and t.datatype in FIXED for t in request.inputs):
        return
    start, end, _ = (id_in(data) if request.id else None) or (0, 0, "")
    plain = data[:start] + data[end:]
    if request.id and (not end or pb.ModelInferRequest.FromString(plain).id):  # it is elsewhere, or there is another
        return
    if len(_known) >= KNOWN:
        _known.clear()
    _known[plain] = PlacedForm(request, placement)


__all__ = ["PlacedForm", "learn_placed", "placed_like"]
