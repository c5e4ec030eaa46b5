"""The recording of a real Triton holds what the probe asks, and comparing it finds what differs."""

from __future__ import annotations

from tools.triton_probe import run
from tools.triton_probe.context import CASES


def test_recording_has_every_call_and_no_other() -> None:
    document = run.recorded()
    assert set(document["calls"]) == set(CASES) | set(run.FIXED)
    assert len(document["calls"]) >= 60
    assert document["version"] == "2.51.0"


def test_recording_names_no_machine() -> None:
    text = run.RECORDING.read_text()
    assert "/tmp" not in text
    assert "/home" not in text


def test_difference_sees_codes_and_message_classes_but_not_names() -> None:
    name = "grpc.infer.model.unknown"
    wanted = {"code": "NOT_FOUND", "message": "Request for unknown model: 'ghost' is not found"}
    assert run.difference(name, wanted, wanted | {"message": "Request for unknown model: 'other' is not found"}) is None
    assert run.difference(name, wanted, wanted | {"code": "INTERNAL"}) is not None
    assert run.difference(name, wanted, wanted | {"message": "no such model"}) is not None
    prefixed = {"code": "NOT_FOUND", "message": "[request id: 7] " + wanted["message"]}
    assert run.difference(name, wanted, prefixed) is None


def test_difference_wants_an_answer_where_triton_dies() -> None:
    refused = {"code": "INVALID_ARGUMENT", "message": "x"}
    assert run.difference("deadly.classes_of_text", {"died": True}, refused) is None
    assert run.difference("deadly.classes_of_text", {"died": True}, {"no answer": "ConnectionRefusedError"}) is not None


def test_difference_looks_into_steps_of_a_call_whose_words_are_free() -> None:
    steps = {"each": [{"code": "OK", "detail": 1}, {"code": "INTERNAL", "message": "a"}]}
    other = {"each": [{"code": "OK", "detail": 2}, {"code": "INTERNAL", "message": "b"}]}
    assert run.difference("trace.set", steps, other) is None
    assert run.difference("trace.set", steps, {"each": [{"code": "OK"}, {"code": "UNKNOWN"}]}) is not None
