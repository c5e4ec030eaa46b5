"""A batch on its way: its tensors into the memory they travel from, results out of the memory they came to.

Many small requests are gathered first and encoded as one; large ones are encoded one by one, straight to their place.
A request with a value that the mapping does not let pass is refused alone: its rows run as zeros.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.serve.backends.base import Batch
from safhost.serve.contract import Contract
from safhost.serve.mapping import Lane, Mapping, Place
from safhost.serve.quantise import Unfit
from safhost.serve.transforms import apply_transform
from safhost.serve.types import DATATYPES, Code, ServeError, Tensor
from safhost.unitplan import Fill, Unit

GATHER_ROWS = 256  # requests of fewer rows, on average, are gathered: a call costs more than copying them

_UINT16 = np.dtype(np.uint16)


class Flight:
    """A batch that became a unit. ``over`` once it was answered; ``card_bytes`` of its inputs and of its outputs."""

    __slots__ = ("_contract", "_mapping", "batch", "errors", "in_bytes", "over")

    def __init__(self, batch: Batch, mapping: Mapping, contract: Contract) -> None:
        self.batch = batch
        self.over = False
        self.errors: dict[int, ServeError] = {}
        self.in_bytes = 0
        self._mapping = mapping
        self._contract = contract

    def unit(self) -> Unit:
        """What the job gets. Raises ConfigError when the kernel cannot take a batch of this size."""
        self.batch.start_ns = time.monotonic_ns()
        sizes = self._mapping.sizes(self.batch.size)
        fills = [Fill(sizes.shapes[p.spec.name], p.spec.dtype, self._filler(p)) for p in self._mapping.inputs]
        unit = Unit(*fills, tag=self)
        unit.scalars = dict(sizes.scalars)
        return unit

    # -- in --------------------------------------------------------------------------------------------------

    def _filler(self, place: Place) -> Callable[[NDArray[Any]], None]:
        def fill(view: NDArray[Any]) -> None:
            rows = view.reshape(-1, place.row)
            if not place.full:
                rows.fill(0)
            elif len(rows) > self.batch.size:
                rows[self.batch.size:] = 0
            for lane in place.lanes:
                self._encode(lane, rows[:self.batch.size, lane.offset:lane.offset + lane.width])
            self.in_bytes += view.nbytes
            self.batch.input_end_ns = time.monotonic_ns()
        return fill

    def _encode(self, lane: Lane, into: NDArray[Any]) -> None:
        elements, sizes = lane.elements, self.batch.sizes
        arrays = self._arrays(lane.port.name)
        if len(arrays) > 1 and self.batch.size < GATHER_ROWS * len(arrays):
            self._encode_gathered(lane, np.concatenate(arrays).reshape(-1, elements), into)
            return
        at = 0
        for number, (array, size) in enumerate(zip(arrays, sizes, strict=True)):
            part = into[at:at + size]
            at += size
            try:
                lane.codec.encode(array.reshape(size, elements), part)
            except Unfit as unfit:
                self._refuse(number, lane, unfit.row, unfit.why)
                part[...] = 0

    def _arrays(self, name: str) -> list[NDArray[Any]]:
        """Each request's array of an input."""
        requests = self.batch.requests
        if len(self._contract.inputs) == 1:
            return [r.inputs[0].array for r in requests]
        return [next(t.array for t in r.inputs if t.name == name) for r in requests]

    def _encode_gathered(self, lane: Lane, gathered: NDArray[Any], into: NDArray[Any]) -> None:
        starts = np.cumsum([0, *self.batch.sizes])
        for _ in self.batch.sizes:  # each time one request less
            try:
                lane.codec.encode(gathered, into)
                return
            except Unfit as unfit:
                number = int(np.searchsorted(starts, unfit.row, "right")) - 1
                self._refuse(number, lane, unfit.row - int(starts[number]), unfit.why)
                gathered[starts[number]:starts[number + 1]] = 0
        lane.codec.encode(gathered, into)

    def _refuse(self, number: int, lane: Lane, row: int, why: str) -> None:
        request = self.batch.requests[number]
        self.errors.setdefault(number, ServeError(
            Code.INVALID_ARGUMENT, f"[request id: {request.id or '<id_unknown>'}] input '{lane.port.name}' for model "
            f"'{request.model}' cannot be converted at row {row}: {why}"))

    # -- out -------------------------------------------------------------------------------------------------

    def land(self, views: tuple[NDArray[Any], ...]) -> int:
        """Answer with what the card wrote; bytes of it. The views are not used after this."""
        batch = self.batch
        batch.output_start_ns = time.monotonic_ns()
        outputs = self._decoded(views)
        is_batched = bool(self._contract.max_batch)
        answers: list[list[Tensor] | ServeError] = []
        at = 0
        for request, size in zip(batch.requests, batch.sizes, strict=True):
            part = slice(at, at + size) if is_batched else 0
            at += size
            if request.wanted and len(outputs) > 1:
                wanted = {w.name for w in request.wanted}
                answers.append([Tensor(n, d, a[part]) for n, d, a in outputs if n in wanted])
            else:
                answers.append([Tensor(n, d, a[part]) for n, d, a in outputs])
        for number, error in self.errors.items():
            answers[number] = error
        self.over = True
        batch.succeed(answers)
        return sum(v.nbytes for v in views)

    def _decoded(self, views: tuple[NDArray[Any], ...]) -> list[tuple[str, str, NDArray[Any]]]:
        """(name, datatype, array) of each output that somebody wants, in the configuration's order."""
        requests, size = self.batch.requests, self.batch.size
        wanted = None if any(not r.wanted for r in requests) else {w.name for r in requests for w in r.wanted}
        found = {}
        order = [a.name for a in self._mapping.kernel.args if a.is_output]
        for place in self._mapping.outputs:
            rows = views[order.index(place.spec.name)].reshape(-1, place.row)[:size]
            for lane in place.lanes:
                port = lane.port
                if wanted is not None and port.name not in wanted:
                    continue
                dtype = _UINT16 if port.datatype == "BF16" else DATATYPES[port.datatype]
                array = lane.codec.decode(rows[:, lane.offset:lane.offset + lane.width], lane.elements, dtype)
                if lane.transform:
                    array = apply_transform(lane.transform, array)
                found[port.name] = (port.name, port.datatype, array.reshape(size, *port.dims))
        return [found[name] for name in self._contract.outputs if name in found]

    def fail(self, error: ServeError) -> None:
        """No result will come."""
        if not self.over:
            self.over = True
            self.batch.fail(error)


__all__ = ["Flight"]
