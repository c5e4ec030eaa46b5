"""Messages in shared memory like one before: what they say, and what is missed when their regions change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from front_kit import make_service
from tritonclient.grpc import service_pb2 as pb

from safhost.serve.grpc import placed
from safhost.serve.grpc.requests import request_from
from safhost.serve.service import Service
from safhost.serve.types import ServeError

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed, "_known", {})


@pytest.fixture
def memory() -> Iterator[Path]:
    with NamedTemporaryFile(dir="/dev/shm", prefix="saf_test_") as file:
        file.write(X.tobytes() + bytes(X.nbytes))
        file.flush()
        yield Path(file.name)


@pytest.fixture
def service(memory: Path) -> Iterator[Service]:
    made = make_service(FakeEngine())
    made.regions.register("r", f"/{memory.name}", 0, 2 * X.nbytes)
    yield made
    made.close()


def message(**fields: Any) -> pb.ModelInferRequest:
    out = pb.ModelInferRequest(model_name="identity", **fields)
    for tensor, offset in ((out.inputs.add(name="INPUT", datatype="FP32", shape=X.shape), 0),
                           (out.outputs.add(name="OUTPUT"), X.nbytes)):
        tensor.parameters["shared_memory_region"].string_param = "r"
        tensor.parameters["shared_memory_offset"].int64_param = offset
        tensor.parameters["shared_memory_byte_size"].int64_param = X.nbytes
    return out


def asked(service: Service, sent: pb.ModelInferRequest) -> tuple[bool, Any]:
    """Whether the message was known, and all that it says."""
    data = sent.SerializeToString()
    request, where = request_from(data, service, lambda reply: None, bool, tuple)
    assert where is not None
    with_spans = [(n, s.region.name, s.offset, s.size) for n, s in where.spans.items()]
    told = (request.model, request.version, request.id, [w.name for w in request.wanted], with_spans,
            [(t.name, t.datatype, t.array.dtype, t.array.tolist()) for t in request.inputs])
    where.close()
    return isinstance(request.form, placed.PlacedForm), told


def test_the_same_message_says_the_same_of_other_numbers(service: Service, memory: Path) -> None:
    known, first = asked(service, message())
    assert not known
    assert asked(service, message()) == (True, first)
    with memory.open("r+b") as file:
        file.write((X + 1).tobytes())
    known, other = asked(service, message())
    assert known
    assert other[-1][0][-1] == (X + 1).tolist()
    assert other[:-1] == first[:-1]


def test_ids_differ(service: Service) -> None:
    known, first = asked(service, message(id="1"))
    assert not known
    for request_id in ("2", "", "x" * 127):
        known, other = asked(service, message(id=request_id))
        assert known
        assert other[2] == request_id
        assert other[:2] + other[3:] == first[:2] + first[3:]


def test_of_two_ids_the_last_is_told(service: Service) -> None:
    rest = message().SerializeToString()[len(pb.ModelInferRequest(model_name="identity").SerializeToString()):]
    for first in ("a", "b"):
        sent = pb.ModelInferRequest(model_name="identity", id=first).SerializeToString() + b"\x1a\x04last" + rest
        request, where = request_from(sent, service, lambda reply: None, bool, tuple)
        assert where is not None
        where.close()
        assert (request.form, request.id) == (None, "last")


def test_messages_with_something_of_their_own_are_read(service: Service) -> None:
    parameters = message()
    parameters.parameters["priority"].int64_param = 1
    classified = message()
    del classified.outputs[:]
    classified.outputs.add(name="OUTPUT").parameters["classification"].int64_param = 2
    for sent in (message(id="7" * 128), parameters, classified):
        assert [asked(service, sent)[0] for _ in range(2)] == [False, False]


def test_regions_that_changed_are_missed(service: Service, memory: Path) -> None:
    asked(service, message())
    service.regions.unregister("r")
    with pytest.raises(ServeError, match="Unable to find shared memory region: 'r'"):
        asked(service, message())
    service.regions.register("r", f"/{memory.name}", 0, 2 * X.nbytes - 4)
    with pytest.raises(ServeError, match="Invalid offset \\+ byte size for shared memory region: 'r'"):
        asked(service, message())
    service.regions.unregister("r")
    service.regions.register("r", f"/{memory.name}", 0, 2 * X.nbytes)
    with memory.open("r+b") as file:
        file.truncate(X.nbytes - 4)
    with pytest.raises(ServeError, match="has become too small"):
        asked(service, message())


def test_no_more_are_kept_than_known(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed, "KNOWN", 2)
    for version in ("1", "2", "3"):
        asked(service, message(model_version=version))
    assert len(placed._known) == 1
