"""Requests like one before: found by their beginning, and the same as what a look at every field gives."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from front_kit import make_service
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from safhost.serve.grpc import forms
from safhost.serve.grpc.requests import message_of, request_from, request_of
from safhost.serve.types import Request


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_known", {})


def message(rows: int = 2, model: str = "identity", outputs: tuple[str, ...] = ("OUTPUT",), **fields: Any) -> Any:
    out = pb.ModelInferRequest(model_name=model, **fields)
    out.inputs.add(name="INPUT", datatype="FP32", shape=[rows, 3])
    for name in outputs:
        out.outputs.add(name=name)
    return out


def numbers(rows: int, seed: int) -> bytes:
    return np.random.default_rng(seed).random((rows, 3), np.float32).tobytes()


def told(request: Request) -> Any:
    return (request.model, request.version, request.id, request.parameters, request.priority, request.sequence_id,
            [w.name for w in request.wanted],
            [(t.name, t.datatype, t.array.shape, t.array.dtype, t.array.tobytes()) for t in request.inputs])


def both(data: bytes) -> tuple[Request, Any]:
    """The request as it is found, and what a look at every field tells of it."""
    service = make_service(FakeEngine())

    def nobody() -> Any:
        return ()
    request, _ = request_from(data, service, lambda reply: None, bool, nobody)
    whole, _ = request_of(*message_of(data), service, lambda reply: None, bool, nobody)
    return request, told(whole)


def test_the_same_message_with_other_numbers_is_known() -> None:
    for seed in range(3):
        request, expected = both(message(raw_input_contents=[numbers(2, seed)]).SerializeToString())
        assert told(request) == expected
        assert (request.form is not None) == (seed > 0)


@pytest.mark.parametrize("change", [{"model": "text"}, {"model_version": "1"}, {"outputs": ()},
                                    {"outputs": ("OUTPUX",)}, {"rows": 4}])
def test_a_message_that_begins_otherwise_is_another(change: dict[str, Any]) -> None:
    both(message(raw_input_contents=[numbers(2, 0)]).SerializeToString())
    rows = change.get("rows", 2)
    request, expected = both(message(raw_input_contents=[numbers(rows, 1)], **change).SerializeToString())
    assert request.form is None
    assert told(request) == expected


def test_what_is_not_plain_is_never_known() -> None:
    with_parameter = message(raw_input_contents=[numbers(2, 0)])
    with_parameter.parameters["priority"].uint64_param = 1
    typed = message(rows=1)
    typed.inputs[0].contents.fp32_contents.extend([1, 2, 3])
    for each in (with_parameter, typed, message(id="7" * 128, raw_input_contents=[numbers(2, 0)])):
        for _ in range(3):
            request, expected = both(each.SerializeToString())
            assert request.form is None
            assert told(request) == expected


def test_fields_in_any_order_give_what_protobuf_makes_of_them() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(300):
        tail = numbers(1, rng.randrange(1 << 30))
        parts = [pb.ModelInferRequest(model_name=rng.choice(("identity", "text"))).SerializeToString(),
                 message(rows=1, model="", outputs=()).SerializeToString(),
                 pb.ModelInferRequest(raw_input_contents=[tail]).SerializeToString()]
        if rng.random() < 0.3:
            parts.append(pb.ModelInferRequest(model_version=rng.choice("12")).SerializeToString())
        for _ in range(rng.choice((0, 0, 1, 2))):
            parts.append(pb.ModelInferRequest(id=rng.choice(("a", "b", "cd"))).SerializeToString())
        rng.shuffle(parts)
        request, expected = both(b"".join(parts))
        assert told(request) == expected


@pytest.mark.parametrize("ids", [("", "7", ""), ("1", "2", "12345"), ("a", "", "ü"), ("7", "x" * 127, "y" * 128)])
def test_ids_differ(ids: tuple[str, ...]) -> None:
    for seed, request_id in enumerate(ids):
        sent = message(id=request_id, model_version="1", raw_input_contents=[numbers(2, seed)])
        request, expected = both(sent.SerializeToString())
        assert told(request) == expected
        assert (request.form is not None) == (seed > 0 and len(request_id) < 128)


def test_an_id_that_is_no_text_is_protobufs_to_refuse() -> None:
    both(message(id="ab", raw_input_contents=[numbers(2, 0)]).SerializeToString())
    with pytest.raises(DecodeError):
        both(message(id="ab", raw_input_contents=[numbers(2, 0)]).SerializeToString().replace(b"ab", b"\xff\xfe"))


def test_of_two_ids_the_last_is_told() -> None:
    plain, last = message(raw_input_contents=[numbers(2, 0)]), pb.ModelInferRequest(id="last").SerializeToString()
    for request_id in ("first", "other"):
        first = pb.ModelInferRequest(model_name="identity", id=request_id).SerializeToString()
        request, expected = both(first + last + plain.SerializeToString())
        assert told(request) == expected
        assert request.id == "last"


def test_forms_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "LENGTHS", 4)
    for rows in range(1, 10):
        for number in range(10, 30):
            sent = message(rows=rows, model=f"model{number}", raw_input_contents=[numbers(rows, 0)])
            both(sent.SerializeToString())
        assert len(forms._known) <= 4
        assert max(map(len, forms._known.values())) <= forms.OF_A_LENGTH
