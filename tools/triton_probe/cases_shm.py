"""Calls about shared memory, of the system and of CUDA, over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonclient.grpc import service_pb2 as pb

from tools.triton_probe.context import FOUR, Context, Outcome, case, request, set_parameters

FP = FOUR.tobytes()
KEY = "/saf_probe"


@contextmanager
def _memory(data: bytes = FP, size_bytes: int = 64) -> Iterator[str]:
    path = Path("/dev/shm" + KEY)
    path.write_bytes(data.ljust(size_bytes, b"\0"))
    try:
        yield KEY
    finally:
        path.unlink(missing_ok=True)


def _register(c: Context, name: str, key: str, size: int, offset: int = 0) -> Outcome:
    return c.call("SystemSharedMemoryRegister",
                  pb.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=size))


def _unregister(c: Context, name: str = "") -> Outcome:
    """A server may still hold the region for a moment after the answer; then it is asked again."""
    for _attempt in range(1000):
        outcome = c.call("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest(name=name))
        if not any(words in outcome.get("message", "") for words in ("currently in use", "Failed to unregister")):
            break
    return outcome


def _status(c: Context, name: str = "") -> Outcome:
    return c.call("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest(name=name),
                  lambda r: sorted([s.name, s.key, s.offset, s.byte_size] for s in r.regions.values()))


def _infer(c: Context, region: str, size: int = 16, offset: int = 0, out: str = "", out_size: int = 16,
           out_offset: int = 0, model: str = "plain", shape: tuple[int, ...] = (1, 4)) -> Outcome:
    made = request(model, [("IN", "FP32", shape, None)], ["OUT"])
    set_parameters(made.inputs[0], {"shared_memory_region": region, "shared_memory_byte_size": size,
                                    "shared_memory_offset": offset})
    if out:
        set_parameters(made.outputs[0], {"shared_memory_region": out, "shared_memory_byte_size": out_size,
                                         "shared_memory_offset": out_offset})
    return c.infer(made)


@case("shm.status_empty")
def _(c: Context) -> Outcome:
    _unregister(c)
    return _status(c)


@case("shm.whole_life")
def _(c: Context) -> Outcome:
    """Register, status, infer into it, unregister, status: and the bytes that are there afterwards."""
    with _memory() as key:
        steps = [_register(c, "r", key, 64), _status(c), _status(c, "r"), _infer(c, "r", out="r", out_offset=32)]
        steps += [{"bytes": Path("/dev/shm" + key).read_bytes().hex()}, _unregister(c, "r"), _status(c)]
    return {"each": steps}


@case("shm.input_only")
def _(c: Context) -> Outcome:
    with _memory() as key:
        steps = [_register(c, "r", key, 64), _infer(c, "r"), _unregister(c)]
    return {"each": steps}


@case("shm.output_too_small")
def _(c: Context) -> Outcome:
    with _memory() as key:
        steps = [_register(c, "r", key, 64), _infer(c, "r", out="r", out_offset=32, out_size=8), _unregister(c)]
    return {"each": steps}


@case("shm.output_larger_than_needed")
def _(c: Context) -> Outcome:
    with _memory() as key:
        steps = [_register(c, "r", key, 64), _infer(c, "r", out="r", out_offset=32, out_size=32), _unregister(c)]
    return {"each": steps}


@case("shm.classes_into_region")
def _(c: Context) -> Outcome:
    with _memory() as key:
        _register(c, "r", key, 64)
        made = request("ranked", outputs=["OUT"])
        set_parameters(made.outputs[0], {"shared_memory_region": "r", "shared_memory_byte_size": 64,
                                         "classification": 1})
        steps = [c.infer(made), {"bytes": Path("/dev/shm" + key).read_bytes().hex()}, _unregister(c)]
    return {"each": steps}


@case("shm.register_missing_key")
def _(c: Context) -> Outcome:
    return _register(c, "r", "/saf_ghost", 64)


@case("shm.register_larger_than_file")
def _(c: Context) -> Outcome:
    with _memory() as key:
        first = _register(c, "r", key, 1 << 20)
        _unregister(c)
    return first


@case("shm.register_offset_past_end")
def _(c: Context) -> Outcome:
    with _memory() as key:
        first = _register(c, "r", key, 16, 1 << 20)
        _unregister(c)
    return first


@case("shm.register_twice")
def _(c: Context) -> Outcome:
    with _memory() as key:
        steps = [_register(c, "r", key, 64), _register(c, "r", key, 64), _register(c, "r", key, 32), _unregister(c)]
    return {"each": steps}


@case("shm.register_empty_name")
def _(c: Context) -> Outcome:
    with _memory() as key:
        steps = [_register(c, "", key, 64), _status(c), _unregister(c)]
    return {"each": steps}


@case("shm.register_zero_bytes", exact=False)
def _(c: Context) -> Outcome:
    with _memory() as key:
        first = _register(c, "r", key, 0)
        _unregister(c)
    return first


@case("shm.unregister_unknown")
def _(c: Context) -> Outcome:
    return _unregister(c, "ghost")


@case("shm.status_unknown")
def _(c: Context) -> Outcome:
    return _status(c, "ghost")


@case("shm.infer_unknown_region")
def _(c: Context) -> Outcome:
    return _infer(c, "ghost")


@case("shm.infer_unknown_output_region")
def _(c: Context) -> Outcome:
    with _memory() as key:
        steps = [_register(c, "r", key, 64), _infer(c, "r", out="ghost"), _unregister(c)]
    return {"each": steps}


for _name, _size, _offset in (("past_end", 16, 60), ("size_past_end", 128, 0), ("size_wrong", 12, 0),
                              ("size_large", 32, 0), ("size_zero", 0, 0), ("negative_offset", 16, -1),
                              ("offset", 16, 8)):
    @case(f"shm.infer.{_name}")
    def _(c: Context, size: int = _size, offset: int = _offset) -> Outcome:
        with _memory() as key:
            _register(c, "r", key, 64)
            outcome = _infer(c, "r", size, offset)
            _unregister(c)
        return outcome


@case("shm.region_and_raw")
def _(c: Context) -> Outcome:
    with _memory() as key:
        _register(c, "r", key, 64)
        made = request()
        set_parameters(made.inputs[0], {"shared_memory_region": "r", "shared_memory_byte_size": 16})
        outcome = c.infer(made)
        _unregister(c)
    return outcome


@case("shm.region_without_size")
def _(c: Context) -> Outcome:
    with _memory() as key:
        _register(c, "r", key, 64)
        made = request("plain", [("IN", "FP32", (1, 4), None)])
        set_parameters(made.inputs[0], {"shared_memory_region": "r"})
        outcome = c.infer(made)
        _unregister(c)
    return outcome


# -- CUDA: there is no GPU on either side --

@case("cuda.register", exact=False)
def _(c: Context) -> Outcome:
    return c.call("CudaSharedMemoryRegister", pb.CudaSharedMemoryRegisterRequest(name="g", raw_handle=b"\0" * 64,
                                                                                 device_id=0, byte_size=64))


@case("cuda.status")
def _(c: Context) -> Outcome:
    return c.call("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(), lambda r: len(r.regions))


@case("cuda.status_unknown")
def _(c: Context) -> Outcome:
    return c.call("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(name="ghost"))


@case("cuda.unregister")
def _(c: Context) -> Outcome:
    return c.call("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest())


@case("cuda.unregister_unknown")
def _(c: Context) -> Outcome:
    return c.call("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest(name="ghost"))
