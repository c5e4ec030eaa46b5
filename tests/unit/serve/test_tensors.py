"""Bytes to tensors and back; large messages taken apart and put together as protobuf does it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import serialize_byte_tensor

from safhost.serve.classification import classify
from safhost.serve.grpc.requests import message_of
from safhost.serve.grpc.wire import WORTH_BYTES, in_stream, split, with_raw
from safhost.serve.tensors import FIXED, Misfit, bytes_of, objects, tensor_of, version_of
from safhost.serve.types import Code, ServeError, Tensor


@pytest.mark.parametrize("datatype", sorted(FIXED))
def test_tensor_of_every_type_is_without_a_copy_and_comes_back(datatype: str) -> None:
    data = bytes(range(48)) if datatype != "BOOL" else bytes([0, 1] * 24)
    count = len(data) // FIXED[datatype].itemsize
    tensor = tensor_of("x", datatype, (count // 2, 2), data, "m")
    assert type(tensor) is Tensor
    assert tensor.shape == (count // 2, 2)
    assert not tensor.array.flags.writeable
    assert bytes(bytes_of(tensor)) == data
    assert bytes(bytes_of(Tensor("x", datatype, tensor.array.T))) == np.ascontiguousarray(tensor.array.T).tobytes()


def test_byte_strings_come_back() -> None:
    words = [b"", b"a", b"\0\0", b"xyz" * 100]
    data = serialize_byte_tensor(objects(words).reshape(2, 2)).item()
    tensor = tensor_of("x", "BYTES", (2, 2), data, "m")
    assert tensor.array.reshape(-1).tolist() == words
    assert bytes_of(tensor) == data


@pytest.mark.parametrize(("datatype", "shape", "data", "message"), [
    ("FP32", (1, 4), bytes(15), "Expected 16, got 15"), ("FP32", (1, 4), b"", "Expected 16, got 0"),
    ("BYTES", (2,), b"\1\0\0\0a", "expected 2 string elements"), ("BYTES", (1,), b"\1\0", "incomplete string length"),
    ("BYTES", (1,), b"\5\0\0\0ab", "incomplete string data"),
    ("BYTES", (1,), b"\0\0\0\0" * 3, "unexpected number of string elements"), ("FP99", (1,), b"a", "unknown data-type"),
])
def test_bytes_that_do_not_fit_are_told_later(datatype: str, shape: tuple[int, ...], data: bytes, message: str) -> None:
    tensor = tensor_of("x", datatype, shape, data, "m")
    assert isinstance(tensor, Misfit)
    assert message in tensor.error.message
    assert tensor.array.shape == shape


def test_shape_that_no_array_can_have_is_refused_at_once_and_takes_no_memory() -> None:
    for shape in ((-1, 4), (2**62, 2**62)):
        with pytest.raises(ServeError):
            tensor_of("x", "FP32", shape, bytes(16), "m")
    assert isinstance(tensor_of("x", "FP32", (2**40,), bytes(16), "m"), Misfit)


@pytest.mark.parametrize(("text", "version"), [("", ""), ("1", "1"), ("12", "12"), ("0007", "0007")])
def test_version_of_numbers(text: str, version: str) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize("text", ["one", "-1", "1" * 30, "٣x"])
def test_version_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ServeError) as error:
        version_of(text)
    assert error.value.code == Code.INVALID_ARGUMENT


def message(rng: random.Random) -> pb.ModelInferRequest:
    out = pb.ModelInferRequest(model_name="m" * rng.randrange(300), id=str(rng.random()))
    out.parameters["priority"].int64_param = -rng.randrange(2**40)
    out.parameters["x"].double_param = rng.random()
    for _ in range(rng.randrange(4)):
        out.inputs.add(name="IN", datatype="FP32", shape=[rng.randrange(2**40)])
        out.raw_input_contents.append(rng.randbytes(rng.choice((0, 1, 127, 128, 20_000))))
    return out


@pytest.mark.parametrize("seed", range(20))
def test_split_message_is_the_message(seed: int) -> None:
    made = message(random.Random(seed))
    data = made.SerializeToString()
    rest, raw = split(data)
    again = pb.ModelInferRequest.FromString(rest)
    assert [bytes(part) for part in raw] == list(made.raw_input_contents)
    again.raw_input_contents.extend(bytes(part) for part in raw)
    assert again == made


@pytest.mark.parametrize("seed", range(20))
def test_broken_large_message_is_protobufs_error_or_a_message(seed: int) -> None:
    rng = random.Random(seed)
    made = message(rng)
    made.raw_input_contents.append(bytes(WORTH_BYTES))
    data = bytearray(made.SerializeToString())
    for _ in range(200):
        broken = bytearray(data[:rng.randrange(WORTH_BYTES, len(data))]) if rng.random() < 0.5 else bytearray(data)
        broken[rng.randrange(min(200, len(broken)))] = rng.randrange(256)
        try:
            head, raw = message_of(bytes(broken))
        except DecodeError:
            continue
        assert head.IsInitialized()
        assert sum(len(part) for part in raw) <= len(broken)


def test_answer_in_parts_is_the_message() -> None:
    head = pb.ModelInferResponse(model_name="m", model_version="1").SerializeToString()
    raw = [b"a" * 5, b"", memoryview(b"b" * 70_000)]
    answer = pb.ModelInferResponse.FromString(b"".join(with_raw(head, raw)))
    assert answer.model_name == "m"
    assert list(answer.raw_output_contents) == [bytes(part) for part in raw]
    streamed = pb.ModelStreamInferResponse.FromString(b"".join(in_stream(with_raw(head, raw))))
    assert streamed.infer_response == answer


@pytest.mark.parametrize(("datatype", "values", "expected"), [
    ("INT8", [-128, 5, 127], [b"127:2", b"5:1"]), ("UINT8", [0, 255, 7], [b"255:1", b"7:2"]),
    ("FP64", [0.5, -1.0, 0.5], [b"0.500000:0", b"0.500000:2"]),
    ("UINT64", [0, 2**64 - 1], [b"18446744073709551615:1", b"0:0"]),
])
def test_classify_takes_the_largest(datatype: str, values: list[float], expected: list[bytes]) -> None:
    output = Tensor("x", datatype, np.array(values, FIXED[datatype]))
    assert classify(output, 2, batched=False, labels=None).array.tolist() == expected


def test_classify_refuses_what_has_no_order() -> None:
    with pytest.raises(ServeError, match="unsupported type 'BYTES'"):
        classify(Tensor("x", "BYTES", objects([b"a"])), 1, batched=False, labels=None)
