"""Samples of model_warmup: run before a model is ready, right or the load fails and says where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_kit import CONFIG, IDENTITY, Asked, add_card_model, add_model, answer_to, rows_of

from safhost.serve import warmup
from safhost.serve.types import Code, ServeError, Tensor

FLOAT = "data_type: TYPE_FP32 dims: [ 4 ]"


def sample(how: str = "zero_data: true", fields: str = "batch_size: 2 count: 3", shape: str = FLOAT,
           name: str = "IN") -> str:
    return (f'model_warmup {{ name: "warm" {fields}\n  inputs {{ key: "{name}"\n'
            f'    value {{ {shape} {how} }} }} }}\n')


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Inputs of each request of each batch that ran to warm something up."""
    seen: list[list[Tensor]] = []
    once = warmup._run_once
    monkeypatch.setattr(warmup, "_run_once",
                        lambda s, backend: (seen.extend(r.inputs for r in s.requests), once(s, backend)))
    return seen


def test_samples_run_before_a_model_is_ready_and_are_not_counted(tmp_path: Path, engines: Any, ran: list[Any]) -> None:
    add_model(tmp_path, "warm", IDENTITY + sample() + sample("random_data: true", "batch_size: 1"))
    engine = engines(tmp_path)
    assert engine.model_ready("warm")
    assert [np.count_nonzero(inputs[0].array) for inputs in ran] == [0] * 6 + [4]
    (stats,) = engine.statistics("warm")
    assert (stats.inference_count, stats.execution_count) == (0, 0)
    assert Asked(engine).one("warm").error is None


def test_sample_takes_its_values_from_a_file(tmp_path: Path, engines: Any, ran: list[Any]) -> None:
    folder = add_model(tmp_path, "warm", IDENTITY + sample('input_data_file: "values"', "batch_size: 1"))
    (folder / "warmup").mkdir()
    (folder / "warmup" / "values").write_bytes(np.arange(5, dtype="<f4").tobytes())
    assert engines(tmp_path).model_ready("warm")
    assert ran[0][0].array.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("kind", ["BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64", "BF16", "STRING"])
def test_random_values_are_of_every_type_and_finite(tmp_path: Path, engines: Any, ran: list[Any], kind: str) -> None:
    shape = f"data_type: TYPE_{kind} dims: [ 64 ]"
    add_model(tmp_path, "warm", f'backend: "identity"\nmax_batch_size: 2\ninput {{ name: "IN" {shape} }}\n'
              f'output {{ name: "OUT" {shape} }}\n' + sample("random_data: true", "batch_size: 1", shape))
    assert engines(tmp_path).model_ready("warm")
    values = ran[0][0].array
    assert values.shape == (1, 64)
    if values.dtype.kind == "f":
        assert np.isfinite(values).all()
    assert kind == "STRING" or np.unique(values).size > 1


@pytest.mark.parametrize(("text", "line", "said"), [
    (sample(""), 7, "expects input 'IN' to have input_data_type set"),
    (sample("zero_data: true", shape="data_type: TYPE_FP32 dims: [ -1 ]"), 7, "all variable-size dimensions are"),
    (sample("zero_data: true", shape="data_type: TYPE_FP32 dims: [ 5 ]"), 7, "Expected [-1,4], got [1,5]"),
    (sample("zero_data: true", shape="data_type: TYPE_INT8 dims: [ 4 ]"), 7, "data-type is 'INT8'"),
    (sample('input_data_file: "ghost"'), 7, "No such file"),
    (sample('input_data_file: "../config.pbtxt"'), 7, "leaves the model's folder"),
    (sample(name="OTHER"), 6, "expected 1 inputs but got 0"),
])
def test_wrong_samples_fail_the_load_with_file_and_line(tmp_path: Path, engines: Any, text: str, line: int,
                                                        said: str) -> None:
    add_model(tmp_path, "warm", IDENTITY + text)
    engine = engines(tmp_path)
    (entry,) = engine.index()
    assert entry.state == "UNAVAILABLE"
    assert said in entry.reason
    assert f"(warm/config.pbtxt:{line})" in entry.reason
    assert not engine.ready()


def test_batch_larger_than_the_model_takes_fails_the_load(tmp_path: Path, engines: Any) -> None:
    add_model(tmp_path, "warm", IDENTITY + sample(fields="batch_size: 9"))
    engine = engines(tmp_path, control_mode="explicit")
    with pytest.raises(ServeError, match="failed to run warmup sample 'warm': batch size 9 for 'warm_0'") as error:
        engine.load("warm")
    assert error.value.code == Code.INVALID_ARGUMENT


def test_batch_of_none_is_left_out(tmp_path: Path, engines: Any, ran: list[Any]) -> None:
    add_model(tmp_path, "warm", IDENTITY + sample(fields=""))
    assert engines(tmp_path).model_ready("warm")
    assert not ran


def test_what_is_served_goes_on_when_the_new_one_cannot_warm_up(tmp_path: Path, engines: Any) -> None:
    add_model(tmp_path, "warm", IDENTITY + sample())
    engine = engines(tmp_path, control_mode="explicit", models=["warm"])
    add_model(tmp_path, "warm", IDENTITY + sample(fields="batch_size: 9"))
    with pytest.raises(ServeError, match="failed to run warmup"):
        engine.load("warm")
    assert engine.model_ready("warm")
    assert Asked(engine).one("warm").error is None


def test_cards_are_warm_before_the_model_is_ready(tmp_path: Path, live: Any, twice: Any, engines: Any,
                                                  ran: list[Any]) -> None:
    add_card_model(tmp_path / "models", "model", twice, CONFIG + sample("random_data: true", "batch_size: 5 count: 2"))
    engine = engines(tmp_path / "models", cluster="test", control_mode="explicit")
    engine.load("model")
    assert engine.model_ready("model")
    assert len(ran) == 10
    (_, _, counts), = engine.counts("model")
    assert counts.inferences == 0
    assert sum(units for units, _, _ in counts.cards.values()) >= 2  # they were real units
    rows = rows_of(3)
    reply = Asked(engine).one("model", tensor=Tensor("IN", "FP32", rows))
    assert reply.outputs[0].array.tolist() == answer_to(rows).tolist()


def test_sample_that_a_card_model_refuses_fails_the_load(tmp_path: Path, live: Any, twice: Any, engines: Any) -> None:
    folder = add_card_model(tmp_path / "models", "model", twice,
                            CONFIG + sample('input_data_file: "nan"', "batch_size: 1"))
    (folder / "warmup").mkdir()
    (folder / "warmup" / "nan").write_bytes(np.full(4, np.nan, "<f4").tobytes())
    engine = engines(tmp_path / "models", cluster="test", control_mode="explicit")
    with pytest.raises(ServeError, match=r"failed to run warmup sample 'warm': .*cannot be converted at row 0"):
        engine.load("model")
    (entry,) = engine.index()
    assert (entry.state, engine.model_ready("model")) == ("UNAVAILABLE", False)
    assert "failed to run warmup" in entry.reason
