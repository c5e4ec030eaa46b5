"""Warm-up: the samples of ``model_warmup`` in config.pbtxt, which a model version runs before it is ready.

As Triton has it (triton-inference-server/core, backend_model_instance.cc): a sample is ``batch_size`` requests of one
row each, run as one batch ``count`` times, once at least; one of batch size 0 is left out. A sample that cannot be
made, or whose run fails, fails the load. What differs: random floats are finite, from -1 to 1, because a mapping may
refuse NaN; every card that holds the image gets its batch; and statistics count requests of clients alone.
"""

from __future__ import annotations

import threading
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.errors import SafError
from safhost.serve.backends.base import Backend, Batch
from safhost.serve.config import CONFIG_NAME, DATATYPE_NAMES, Places
from safhost.serve.contract import Contract
from safhost.serve.repository import Found
from safhost.serve.tensors import FIXED, Misfit, tensor_of
from safhost.serve.types import Code, Reply, Request, ServeError, Tensor

FOLDER = "warmup"  # of a model: where the files of input_data_file lie
_NOBODY = "[request id: <id_unknown>] "  # a sample has no id
RETRY_S = 0.5  # after cards were lost while they warmed up
_BF16_EXPONENT = 0x7f80  # of one below it no number is NaN or infinite


class _Wrong(ServeError):
    """What is wrong with the sample of the input ``name``."""

    def __init__(self, message: str, name: str, code: Code = Code.INVALID_ARGUMENT) -> None:
        super().__init__(code, message)
        self.name = name


class Sample(NamedTuple):
    """``requests`` of one batch, which runs so many ``times``."""

    name: str
    times: int
    requests: list[Request]


def samples_of(found: Found, contract: Contract) -> list[Sample]:
    """What a model shall run before it is ready. Raises SafError in Triton's words, with file and line."""
    made = []
    for number, setting in enumerate(found.config.model_warmup):
        if not setting.batch_size:
            continue
        try:
            _check(setting, contract)
            inputs = [_tensor(found, contract, name, setting.inputs[name]) for name in sorted(setting.inputs)
                      if name in contract.inputs]
            request = Request(found.name, "", inputs, _ignore, 0)
            contract.size(request)
        except ServeError as error:
            raise SafError(_placed(found, number, setting, error)) from None
        made.append(Sample(setting.name, max(1, setting.count), [request] * setting.batch_size))
    return made


def run(samples: list[Sample], backend: Backend, contract: Contract, instance: str) -> None:
    """Run all of them, one after the other; the first that fails ends it. Raises ServeError UNAVAILABLE when cards were
    lost meanwhile, else INVALID_ARGUMENT."""
    for sample in samples:
        size = len(sample.requests)
        if size > max(1, contract.max_batch):
            why = f"batch size {size} for '{instance}', max allowed is {contract.max_batch}; "
            raise ServeError(Code.INVALID_ARGUMENT, _failed(sample, why))
        for _ in range(sample.times):
            _run_once(sample, backend)


def _run_once(sample: Sample, backend: Backend) -> None:
    """A batch for each card, all at once."""
    over = threading.Semaphore(0)
    batches = [Batch(sample.requests, [1] * len(sample.requests), lambda _batch: over.release())
               for _ in range(max(1, len(backend.working())))]
    for batch in batches:
        backend.start(batch)
    for _ in batches:
        over.acquire()
    for batch in batches:
        errors = [batch.error] if batch.error is not None else [o for o in batch.outputs if isinstance(o, ServeError)]
        if errors:
            code = Code.UNAVAILABLE if errors[0].code == Code.UNAVAILABLE else Code.INVALID_ARGUMENT
            reasons = dict.fromkeys(error.message for error in errors)
            raise ServeError(code, _failed(sample, "".join(f"{why}; " for why in reasons)))


def _failed(sample: Sample, why: str) -> str:
    return f"Invalid argument: failed to run warmup sample '{sample.name}': {why}"


def _ignore(_reply: Reply) -> None:
    """Nobody waits for it."""


def _check(setting: Any, contract: Contract) -> None:
    for name in sorted(setting.inputs):
        given = setting.inputs[name]
        if -1 in given.dims:
            raise _Wrong("warmup setting expects all variable-size dimensions are specified for input "
                         f"'{name}'", name)
    for name in sorted(setting.inputs):
        if not setting.inputs[name].WhichOneof("input_data_type"):
            raise _Wrong(f"{_NOBODY}warmup setting expects input '{name}' to have input_data_type set", name)
        port, shape = contract.inputs.get(name), tuple(setting.inputs[name].dims)
        if port is not None and any(d < 0 for d in shape):
            request = Request(contract.model, "", [], _ignore, 0)
            raise contract.misshapen(request, port, (1, *shape) if contract.max_batch else shape)


def _tensor(found: Found, contract: Contract, name: str, given: Any) -> Tensor:
    """An input of one request."""
    datatype = DATATYPE_NAMES.get(given.data_type, "<invalid>")
    shape = (1, *given.dims) if contract.max_batch else tuple(given.dims)
    kind = given.WhichOneof("input_data_type")
    if kind == "input_data_file":
        return _from_file(found, name, datatype, shape, given.input_data_file)
    if datatype == "BYTES":  # random ones too, as Triton: empty strings
        empty = np.empty(shape, np.object_)
        empty[...] = b""
        return Tensor(name, datatype, empty)
    return Tensor(name, datatype, _random(datatype, shape) if kind == "random_data" else
                  np.zeros(shape, FIXED.get(datatype, np.dtype(np.uint8))))


def _random(datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    chance = np.random.default_rng()
    dtype = FIXED.get(datatype, np.dtype(np.uint8))
    if datatype == "BF16":
        return chance.integers(0, _BF16_EXPONENT, shape, dtype)
    if dtype.kind == "f":
        return chance.uniform(-1, 1, shape).astype(dtype)
    if dtype.kind == "b":
        return chance.integers(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return chance.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def _from_file(found: Found, name: str, datatype: str, shape: tuple[int, ...], file: str) -> Tensor:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise _Wrong(f"input_data_file '{file}' leaves the model's folder {FOLDER}", name)
    target = found.folder / FOLDER / path
    try:
        data = target.read_bytes()
    except OSError as error:
        raise _Wrong(f"failed to open text file for read {target}: {error.strerror}", name, Code.INTERNAL) from None
    dtype = FIXED.get(datatype)
    if dtype is not None:
        wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if wanted > len(data):
            raise _Wrong(f"{_NOBODY}warmup setting expects {wanted} bytes, but the data provided from {file}only has "
                         f"{len(data)} bytes", name)
        data = data[:wanted]
    tensor = tensor_of(name, datatype, shape, data, found.name)
    if isinstance(tensor, Misfit):
        raise _Wrong(_NOBODY + tensor.error.message, name)
    return tensor


def _placed(found: Found, number: int, setting: Any, error: ServeError) -> str:
    """The error of a setting, with the line where the input stands that it names."""
    kind = "Internal" if error.code == Code.INTERNAL else "Invalid argument"
    said = f"{kind}: {error.message}"
    if found.overridden:
        return said
    if isinstance(error, _Wrong):
        names = [error.name]
    else:
        names = [n for n in sorted(setting.inputs) if f"'{n}'" in error.message]
    text = (found.folder / CONFIG_NAME).read_text(encoding="utf-8", errors="replace")
    place = Places(text, f"{found.name}/{CONFIG_NAME}").within("model_warmup", number, names[0] if names else "")
    return f"{said} ({place})"


class Warmer:
    """Warms a model version up as soon as its backend can run anything. ``why`` says why the model is not ready for
    all that the backend could, empty when it is; ``failed`` once a sample failed."""

    def __init__(self, samples: list[Sample], backend: Backend, contract: Contract, instance: str) -> None:
        self._samples, self._backend, self._contract, self._instance = samples, backend, contract, instance
        self._changed = threading.Condition()
        self._stopped = False
        self.failed = False
        self.why = "it is warming up" if samples else ""

    def backend_changed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """The model is unloaded."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, RETRY_S)

    def warm(self) -> bool:
        """Until the model is warm (True), a sample failed, or stop() was called. Blocks."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or not self._backend.unready())
                if self._stopped:
                    return False
            try:
                run(self._samples, self._backend, self._contract, self._instance)
            except ServeError as error:
                if error.code == Code.UNAVAILABLE:  # cards were lost; again when there are others
                    self._pause()
                    continue
                self.why, self.failed = error.message, True
                return False
            self.why = ""
            return True


__all__ = ["FOLDER", "Sample", "Warmer", "run", "samples_of"]
