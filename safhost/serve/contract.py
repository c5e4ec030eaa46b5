"""Whether a request keeps to its model's configuration, and in Triton's words what is wrong when it does not.

The usual request is found right with a look-up and two comparisons an input; only a wrong one is looked at in Triton's
order (triton-inference-server/core, infer_request.cc) for the error that Triton would give.
"""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from safhost.serve.config import ANY, DATATYPE_NAMES
from safhost.serve.types import DATATYPES, Code, Request, ServeError, Tensor, TensorSpec

_BATCH_NOTE = ("NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended "
               "to each input shape. If you want to specify the full shape including the batch dim in your input dims "
               "config, try setting max_batch_size to zero. See the model configuration docs for more info on "
               "max_batch_size.")


class Port:
    """An input or output. ``dims`` leave out the batch; ``inner`` are those that the backend sees (``reshape``)."""

    __slots__ = ("datatype", "dims", "fixed", "inner", "name")

    def __init__(self, tensor: Any) -> None:
        self.name: str = tensor.name
        self.datatype = DATATYPE_NAMES[tensor.data_type]
        self.dims: tuple[int, ...] = tuple(tensor.dims)
        self.inner: tuple[int, ...] | None = tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None
        self.fixed = ANY not in self.dims

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape without its batch fits."""
        return len(shape) == len(self.dims) and all(d in (ANY, s) for d, s in zip(self.dims, shape, strict=True))

    def spec(self, batched: bool) -> TensorSpec:
        return TensorSpec(self.name, self.datatype, (ANY, *self.dims) if batched else self.dims)

    @property
    def element_count(self) -> int:
        """Of one row; 0 when it varies."""
        count = 1
        for d in self.dims:
            count *= max(d, 0)
        return count

    def inside(self, shape: tuple[int, ...], batched: bool) -> tuple[int, ...]:
        """The shape that the backend sees for a client's."""
        if self.inner is None:
            return shape
        head, rest = (shape[:1], shape[1:]) if batched else ((), shape)
        varying = iter([s for d, s in zip(self.dims, rest, strict=True) if d == ANY])
        return head + tuple(next(varying) if d == ANY else d for d in self.inner)


class Contract:
    """What a model takes and gives."""

    def __init__(self, config: pb.ModelConfig) -> None:
        self.model = config.name
        self.max_batch = int(config.max_batch_size)
        self.inputs = {t.name: Port(t) for t in config.input}
        self.outputs = {t.name: Port(t) for t in config.output}
        self.is_fixed = all(p.fixed for p in self.inputs.values())

    def size(self, request: Request) -> int:
        """How many inferences a request is (1 for a model without batches). Raises ServeError INVALID_ARGUMENT, or the
        ``error`` of an input that is no plain Tensor but one that a front end knows to be wrong."""
        form = request.form
        if form is not None:
            contract, size = form.fits
            if contract is self:
                return int(size)
        inputs, known, batch, misfit = request.inputs, self.inputs, -1, None
        for wanted in request.wanted:
            if wanted.name not in self.outputs:
                raise self._wrong(request, f"unexpected inference output '{wanted.name}' for model '{self.model}'",
                                  False)
        if len(inputs) != len(known):
            raise self._explained(request)
        max_batch = self.max_batch
        for tensor in inputs:
            port = known.get(tensor.name)
            if port is None or tensor.datatype != port.datatype:
                raise self._explained(request)
            shape = tensor.array.shape
            if max_batch:
                rows = shape[0] if shape else 0
                if batch not in (-1, rows) or not 0 < rows <= max_batch:
                    raise self._explained(request)
                batch = rows
                shape = shape[1:]
            if shape != port.dims and (port.fixed or not port.takes(shape)):
                raise self._explained(request)
            if type(tensor) is not Tensor:
                misfit = tensor
        if len(inputs) > 1 and len({t.name for t in inputs}) != len(inputs):
            raise self._explained(request)
        if misfit is not None:  # what the front end found wrong; Triton looks at it after all else
            raise misfit.error  # type: ignore[attr-defined]
        size = batch if max_batch else 1
        if form is not None:
            form.fits = (self, size)
        return size

    def shapes(self, request: Request) -> Any:
        """Equal for requests that may share a batch."""
        if self.is_fixed:
            return None
        return tuple(sorted((t.name, t.array.shape[1:]) for t in request.inputs))

    def _empty(self) -> str:
        """A request without rows: Triton takes its batch for none, and so expects one row."""
        port = next(iter(self.inputs.values()))
        count = max(1, port.element_count)
        if port.datatype == "BYTES":
            return f"expected {count} string elements for inference input '{port.name}' for model '{self.model}', " \
                "got 0"
        size = 2 if port.datatype == "BF16" else DATATYPES[port.datatype].itemsize
        return f"input byte size mismatch for input '{port.name}' for model '{self.model}'. Expected {count * size}, " \
            "got 0"

    def misshapen(self, request: Request, port: Port, shape: tuple[int, ...]) -> ServeError:
        """The error of an input of another shape."""
        full = (ANY, *port.dims) if self.max_batch else port.dims
        return self._wrong(request, f"unexpected shape for input '{port.name}' for model '{self.model}'. Expected "
                           f"{shown(full)}, got {shown(shape)}.{' ' + _BATCH_NOTE if self.max_batch else ''}")

    def _wrong(self, request: Request, message: str, tagged: bool = True) -> ServeError:
        tag = f"[request id: {request.id or '<id_unknown>'}] " if tagged else ""
        return ServeError(Code.INVALID_ARGUMENT, tag + message)

    def _explained(self, request: Request) -> ServeError:
        """The error of a wrong request, looked for in Triton's order."""
        given = {t.name: t for t in sorted(request.inputs, key=lambda t: t.name)}
        missing = [f"'{n}'" for n in self.inputs if n not in given]
        if len(request.inputs) != len(given):
            twice = next(t.name for i, t in enumerate(request.inputs) if t.name in
                         {o.name for o in request.inputs[:i]})
            return self._wrong(request, f"input '{twice}' already exists in request")
        if len(given) != len(self.inputs):
            names = ",".join(f"'{n}'" for n in given)
            return self._wrong(request, f"expected {len(self.inputs)} inputs but got {len(given)} inputs for model "
                               f"'{self.model}'. Got input(s) [{names}], but missing required input(s) "
                               f"{'[' if missing else ''}{','.join(missing)}]. Please provide all required input(s).")
        for name in given:
            if name not in self.inputs:
                return self._wrong(request, f"unexpected inference input '{name}' for model '{self.model}'", False)
        batch = 0
        for name, tensor in given.items():
            if not self.max_batch:
                break
            if not tensor.shape:
                return self._wrong(request, f"input '{name}' has no shape but model requires batch dimension for "
                                   f"'{self.model}'")
            if batch and tensor.shape[0] != batch:
                return self._wrong(request, f"input '{name}' batch size does not match other inputs for '{self.model}'")
            batch = tensor.shape[0]
        if batch > self.max_batch:
            return self._wrong(request, f"inference request batch-size must be <= {self.max_batch} for '{self.model}'")
        for name, tensor in given.items():
            port = self.inputs[name]
            if tensor.datatype != port.datatype:
                return self._wrong(request, f"inference input '{name}' data-type is '{tensor.datatype}', but model "
                                   f"'{self.model}' expects '{port.datatype}'")
            if not port.takes(tensor.shape[1:] if self.max_batch else tensor.shape):
                return self.misshapen(request, port, tensor.shape)
        return self._wrong(request, self._empty())


def shown(shape: tuple[int, ...]) -> str:
    """A shape as Triton prints it."""
    return f"[{','.join(str(s) for s in shape)}]"


__all__ = ["Contract", "Port", "shown"]
