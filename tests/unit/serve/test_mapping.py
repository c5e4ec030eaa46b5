from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_kit import CONFIG, KERNEL, MAPPING, add_card_model, make_kernel

from safhost.errors import SafError
from safhost.plan.image import Image
from safhost.serve.backends.base import Batch
from safhost.serve.backends.flight import Flight
from safhost.serve.backends.options import options_of
from safhost.serve.contract import Contract
from safhost.serve.mapping import Mapping, load_mapping
from safhost.serve.repository import Repository
from safhost.serve.types import Request, ServeError, Tensor, Wanted
from safhost.unitplan import Fill


def loaded(tmp_path: Path, image: Image, mapping: str = MAPPING, config: str = CONFIG,
           weights: dict[str, Any] | None = None) -> tuple[Mapping, Contract]:
    add_card_model(tmp_path, "m", image, config, mapping, weights)
    found = Repository([tmp_path]).read("m")
    contract = Contract(found.config)
    return load_mapping(found.folder / "1", "m/1", "model.saf", contract), contract


def flown(mapping: Mapping, contract: Contract, *requests: Request) -> tuple[Flight, list[Any]]:
    """A batch of these, and the arrays that its unit would send; memory holds rubbish before."""
    sizes = [len(r.inputs[0].array) if contract.max_batch else 1 for r in requests]
    flight = Flight(Batch(list(requests), sizes, lambda batch: None), mapping, contract)
    arrays = []
    for source in flight.unit().arrays:
        assert isinstance(source, Fill)
        array = np.full(source.shape, 77, source.dtype)
        source.fill(array)
        arrays.append(array)
    return flight, arrays


def asking(*tensors: Tensor, **options: Any) -> Request:
    return Request("m", "", list(tensors), lambda reply: None, 0, **options)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("kernel: twice", "kernel: thrice", "m/1/mapping.yaml:2: the image has no kernel 'thrice'"),
    ("tensor: IN", "tensor: INPUT", "mapping.yaml:4: input 'INPUT' is not in config.pbtxt"),
    ("argument: X", "argument: Z", "mapping.yaml:4: kernel twice has no input buffer Z"),
    ("argument: X", "argument: Y", "mapping.yaml:4: kernel twice has no input buffer Y"),
    ("ap_fixed<16,8>\", round", "ap_fixed<17,8>\", round", "ap_fixed<17,8> does not fit an argument of int16"),
    ("ap_fixed<16,8>\", round", "float16\", round", "mapping.yaml:4: round has no meaning"),
    ("round: truncate", "round: up", "mapping.yaml:4: round is 'up'"),
    ("round: truncate", "nan: highest", "nan: highest goes with bins only"),
    ("round: truncate", "row: 3", "IN takes lanes 0 to 4 of rows of 3"),
    ("round: truncate", "offset: 5", "IN takes lanes 5 to 9 of rows of 8"),
    ("round: truncate", "transform: sigmoid", "unknown key 'transform'"),
    ("round: truncate", "row: 6", "argument X has 8 numbers for a batch of 1, rows of 6"),
    ("{n: batch}", "{n: rows}", "mapping.yaml:7: n is 'rows'"),
    ("{n: batch}", "{m: batch}", "mapping.yaml:7: kernel twice has no scalar m"),
    ("{n: batch}", "{n: 7}", "argument X has 56 numbers for a batch of 64"),
    ("[W]", "[W, Y]", "kernel twice has no input buffer Y"),
    ("[W]", "[]", "nothing is given for argument W of the kernel"),
    ("resident", "multiple: 65\nresident", "multiple is 65"),
    ("resident", "buffers: {ring: 1000}\nresident", "ring is 1000"),
    ("resident", "buffers: {units: 2}\nresident", "units is 2, the image has 1 of kernel twice"),
])
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, twice: Image, old: str, new: str, said: str) -> None:
    assert old in MAPPING
    with pytest.raises(SafError) as error:
        loaded(tmp_path, twice, MAPPING.replace(old, new, 1))
    assert said in error.value.message


@pytest.mark.parametrize(("weights", "said"), [
    ({}, "has no 'W'"), ({"W": np.zeros(8, np.int32)}, "W of weights.npz is int32[8], the argument int16[8]"),
    ({"W": np.zeros((2, 4), np.int16)}, "is int16[2, 4]")])
def test_weights_must_fit(tmp_path: Path, twice: Image, weights: dict[str, Any], said: str) -> None:
    with pytest.raises(SafError) as error:
        loaded(tmp_path, twice, weights=weights)
    assert said in error.value.message


def test_a_tensor_of_any_size_cannot_be_mapped(tmp_path: Path, twice: Image) -> None:
    with pytest.raises(SafError, match="a card needs fixed ones"):
        loaded(tmp_path, twice, config=CONFIG.replace("dims: [ 4 ]", "dims: [ -1 ]", 1))


def test_rows_lie_one_after_the_other_with_zeros_around_them(tmp_path: Path, twice: Image) -> None:
    mapping, contract = loaded(tmp_path, twice, MAPPING + "multiple: 4\n")
    one, two = (np.arange(n * 4, dtype=np.float32).reshape(n, 4) + n for n in (1, 2))
    _, (array,) = flown(mapping, contract, asking(Tensor("IN", "FP32", one)), asking(Tensor("IN", "FP32", two)))
    assert array.shape == (4, 8)
    assert np.array_equal(array[:3, :4], np.concatenate([one, two]) * 256)
    assert not array[3:].any()
    assert not array[:, 4:].any()
    assert mapping.sizes(5).scalars == {"n": 8}


def test_large_requests_are_not_gathered_and_equal_small_ones(tmp_path: Path, twice: Image) -> None:
    mapping, contract = loaded(tmp_path, twice, config=CONFIG.replace("max_batch_size: 64", "max_batch_size: 4096"))
    rows = (np.random.default_rng(3).standard_normal((2000, 4)) * 100).astype(np.float32)
    _, (whole,) = flown(mapping, contract, asking(Tensor("IN", "FP32", rows)))
    _, (parts,) = flown(mapping, contract, *[asking(Tensor("IN", "FP32", rows[i:i + 10])) for i in range(0, 2000, 10)])
    _, (halves,) = flown(mapping, contract, *[asking(Tensor("IN", "FP32", rows[i:i + 1000])) for i in (0, 1000)])
    assert np.array_equal(whole, parts)
    assert np.array_equal(whole, halves)


@pytest.mark.parametrize("size", [2, 1500])
def test_a_value_that_cannot_be_converted_refuses_its_request_alone(tmp_path: Path, twice: Image, size: int) -> None:
    mapping, contract = loaded(tmp_path, twice, config=CONFIG.replace("max_batch_size: 64", "max_batch_size: 9999"))
    rows = [np.ones((size, 4), np.float32) for _ in range(4)]
    rows[1][1, 3] = np.nan
    rows[3][0, 0] = np.nan
    flight, (array,) = flown(mapping, contract, *[asking(Tensor("IN", "FP32", r)) for r in rows])
    assert {n: e.message.split("at row ")[1] for n, e in flight.errors.items()} == {1: "1: it holds NaN",
                                                                                  3: "0: it holds NaN"}
    good = array.reshape(4, size, 8)[:, :, :4]
    assert [part.any() for part in good] == [True, False, True, False]
    outputs: list[Any] = []
    flight.batch._on_end = lambda batch: outputs.extend(batch.outputs)  # type: ignore[method-assign]
    flight.land((array,))
    assert [isinstance(o, ServeError) for o in outputs] == [False, True, False, True]


SPLIT = """
kernel: twice
inputs:
  - {tensor: A, argument: X, type: {scale: 0.5, zero_point: 1, dtype: int16}, offset: 4}
  - {tensor: B, argument: X, type: int16}
outputs:
  - {tensor: P, argument: Y, type: "ap_fixed<16,16>", transform: softmax, offset: 4}
  - {tensor: Q, argument: Y}
scalars: {n: 1}
resident: [W]
"""
SPLIT_CONFIG = """
backend: "saf"
input { name: "A" data_type: TYPE_FP32 dims: [ 2, 2 ] }
input { name: "B" data_type: TYPE_INT32 dims: [ 4 ] }
output { name: "P" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "Q" data_type: TYPE_INT32 dims: [ 1, 4 ] }
"""


def test_tensors_side_by_side_in_one_argument_without_batches(tmp_path: Path, twice: Image) -> None:
    mapping, contract = loaded(tmp_path, twice, SPLIT, SPLIT_CONFIG)
    a, b = np.array([[0.5, 1], [1.5, 2]], np.float32), np.array([5, 6, 7, -8], np.int32)
    request = asking(Tensor("A", "FP32", a), Tensor("B", "INT32", b))
    flight, (array,) = flown(mapping, contract, request)
    assert array.tolist() == [[5, 6, 7, -8, 2, 3, 4, 5]]
    found: list[Any] = []
    flight.batch._on_end = lambda batch: found.extend(batch.outputs[0])  # type: ignore[method-assign]
    flight.land((array,))
    assert [(t.name, t.datatype, t.shape) for t in found] == [("P", "FP32", (2,)), ("Q", "INT32", (1, 4))]
    assert found[1].array.tolist() == [[5, 6, 7, -8]]
    assert found[0].array.sum() == pytest.approx(1.0)
    request.wanted = (Wanted("Q"),)
    flight, (array,) = flown(mapping, contract, request)
    found.clear()
    flight.batch._on_end = lambda batch: found.extend(batch.outputs[0])  # type: ignore[method-assign]
    flight.land((array,))
    assert [t.name for t in found] == ["Q"]


def test_tensors_that_overlap_are_refused(tmp_path: Path, twice: Image) -> None:
    with pytest.raises(SafError, match="B lies over another tensor in X"):
        loaded(tmp_path, twice, SPLIT.replace("offset: 4}", "offset: 3}", 1), SPLIT_CONFIG)


def test_sizes_follow_axes_that_nothing_else_fixes(tmp_path: Path) -> None:
    folder = tmp_path / "kernel"
    folder.mkdir()
    flat = KERNEL.replace("[n, 8]", "[8 * rows]").replace("name: n, kind: scalar", "name: rows, kind: scalar").replace(
        "global: [n]", "global: [rows]").replace("X, kind: buffer, dtype: int16, shape: [8 * rows]",
                                                 "X, kind: buffer, dtype: int16, shape: [lanes]").replace(
        "name: rows, kind: scalar, dtype: uint32}", "name: rows, kind: scalar, dtype: uint32, value: lanes // 8}\n"
        "      - {name: lanes, kind: symbol}")
    mapping, _ = loaded(tmp_path / "models", make_kernel(folder, flat),
                        MAPPING.replace("scalars: {n: batch}\n", "").replace("round: truncate", "row: 8").replace(
                            'type: "ap_fixed<16,8>"}', 'type: "ap_fixed<16,8>", row: 8}'))
    assert mapping.sizes(5).shapes == {"X": (40,), "Y": (40,)}


def test_options_of_cards(tmp_path: Path, twice: Image) -> None:
    text = CONFIG + "instance_group { kind: KIND_MODEL count: 3 }\n" + "".join(
        f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}\n' for k, v in (("cards", "c[1-4]"),
                                                                                     ("weight", "2.5")))
    add_card_model(tmp_path, "m", twice, text)
    found = Repository([tmp_path]).read("m")
    fixed, elastic = options_of(found, False), options_of(found, True)
    assert (fixed.cards, fixed.weight, fixed.min_cards, elastic.min_cards) == ("c[1-4]", 2.5, 3, 1)
    assert (fixed.max_cards, elastic.max_cards) == (3, 3)
    add_card_model(tmp_path, "m", twice, CONFIG)
    assert options_of(Repository([tmp_path]).read("m"), False)[1:3] == (1, 0)  # as many as there are
    add_card_model(tmp_path, "m", twice, text.replace("2.5", "heavy"))
    with pytest.raises(SafError, match="parameter weight is 'heavy'"):
        options_of(Repository([tmp_path]).read("m"), False)


def test_rows_beyond_a_batch_are_zero_also_where_tensors_take_every_lane(tmp_path: Path, twice: Image) -> None:
    config = "max_batch_size: 4\n" + SPLIT_CONFIG
    mapping, contract = loaded(tmp_path, twice, SPLIT.replace("{n: 1}", "{n: batch}\nmultiple: 4"), config)
    a, b = np.ones((1, 2, 2), np.float32), np.ones((1, 4), np.int32)
    _, (array,) = flown(mapping, contract, asking(Tensor("A", "FP32", a), Tensor("B", "INT32", b)))
    assert array[0].tolist() == [1, 1, 1, 1, 3, 3, 3, 3]
    assert not array[1:].any()
