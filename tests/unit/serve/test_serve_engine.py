from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from serve_kit import IDENTITY, Asked, add_model

from safhost.errors import ConfigError
from safhost.serve.engine import Engine
from safhost.serve.types import Code, Reply, Request, ServeError, Tensor, Wanted

Make = Callable[..., Engine]


def test_infer_identity_hands_the_array_on_as_it_is(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    asked = Asked(engines(tmp_path))
    array = np.ones((3, 4), np.float32)
    reply = asked.one("copy", tensor=Tensor("IN", "FP32", array), id="q7")
    assert reply.error is None
    assert (reply.model, reply.version, reply.id) == ("copy", "1", "q7")
    assert reply.outputs[0].array is array
    assert reply.outputs[0].name == "OUT"


def test_infer_of_a_model_without_batches_takes_its_dims(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "plain", IDENTITY.replace("max_batch_size: 8", ""))
    asked = Asked(engines(tmp_path))
    assert asked.one("plain", tensor=Tensor("IN", "FP32", np.ones(4, np.float32))).error is None
    wrong = asked.one("plain", 1).error
    assert wrong is not None
    assert wrong.code == Code.INVALID_ARGUMENT
    assert "Expected [4], got [1,4]" in wrong.message


@pytest.mark.parametrize(("tensor", "said"), [
    (Tensor("IN", "FP64", np.ones((1, 4))), "data-type is 'FP64', but model 'copy' expects 'FP32'"),
    (Tensor("X", "FP32", np.ones((1, 4), np.float32)), "unexpected inference input 'X' for model 'copy'"),
    (Tensor("IN", "FP32", np.ones((1, 5), np.float32)), "Expected [-1,4], got [1,5]"),
    (Tensor("IN", "FP32", np.ones((9, 4), np.float32)), "batch-size must be <= 8 for 'copy'"),
    (Tensor("IN", "FP32", np.ones((0, 4), np.float32)), "byte size mismatch for input 'IN' for model 'copy'"),
    (Tensor("IN", "FP32", np.float32(1).reshape(())), "has no shape but model requires batch dimension"),
])
def test_infer_of_a_wrong_tensor_is_invalid_argument(tmp_path: Path, engines: Make, tensor: Tensor, said: str) -> None:
    add_model(tmp_path, "copy")
    error = Asked(engines(tmp_path)).one("copy", tensor=tensor).error
    assert error is not None
    assert error.code == Code.INVALID_ARGUMENT
    assert said in error.message


def test_infer_of_what_is_not_there_gives_tritons_codes(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy", versions=(1, 2))
    asked = Asked(engines(tmp_path))
    for version, model, code in (("", "nobody", Code.NOT_FOUND), ("7", "copy", Code.NOT_FOUND),
                                 ("1", "copy", Code.NOT_FOUND), ("new", "copy", Code.INVALID_ARGUMENT)):
        error = asked.one(model, version=version).error
        assert error is not None
        assert error.code == code, error
    assert asked.one("copy", version="2").version == "2"
    error = asked.one("copy", wanted=(Wanted("ELSE"),)).error
    assert error is not None
    assert error.message == "unexpected inference output 'ELSE' for model 'copy'"


def test_two_inputs_of_which_one_output_is_wanted(tmp_path: Path, engines: Make) -> None:
    two = IDENTITY + IDENTITY.split("\n", 3)[3].replace('"IN"', '"IN2"').replace('"OUT"', '"OUT2"')
    add_model(tmp_path, "two", two)
    engine = engines(tmp_path)
    asked = Asked(engine)
    error = asked.one("two").error
    assert error is not None
    assert "expected 2 inputs but got 1 inputs for model 'two'. Got input(s) ['IN'], but missing required input(s) " \
        "['IN2']. Please provide all required input(s)." in error.message

    def both(rows: int, other: int) -> Reply:
        tensors = [Tensor(n, "FP32", np.full((r, 4), r, np.float32)) for n, r in (("IN", rows), ("IN2", other))]
        engine.infer(Request("two", "", tensors, asked.replies.append, 0, wanted=(Wanted("OUT2"),)))
        return asked.replies[-1]
    reply = both(2, 2)
    assert [(t.name, t.shape) for t in reply.outputs] == [("OUT2", (2, 4))]
    error = both(2, 3).error
    assert error is not None
    assert "input 'IN2' batch size does not match other inputs for 'two'" in error.message


def test_metadata_and_config(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy", IDENTITY + "version_policy { all {} }\n", versions=(1, 3))
    engine = engines(tmp_path)
    data = engine.model_metadata("copy")
    assert (data.name, data.versions, data.platform) == ("copy", ("1", "3"), "identity")
    assert [(t.name, t.datatype, t.shape) for t in data.inputs + data.outputs] == [
        ("IN", "FP32", (-1, 4)), ("OUT", "FP32", (-1, 4))]
    assert engine.model_metadata("copy", "1").versions == ("1",)
    config = engine.model_config("copy")
    assert (config.name, config.max_batch_size, config.instance_group[0].count) == ("copy", 8, 1)
    assert engine.model_ready("copy")
    assert not engine.model_ready("copy", "2")
    assert not engine.model_ready("nobody")


def test_statistics_count_as_triton_counts(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    engine = engines(tmp_path)
    asked = Asked(engine)
    for rows in (1, 3, 3):
        asked.one("copy", rows)
    stats = engine.statistics("copy")[0]
    assert (stats.name, stats.version, stats.inference_count, stats.execution_count) == ("copy", "1", 7, 3)
    some = stats.inference_stats
    assert some.success.count == some.queue.count == some.compute_infer.count == 3
    assert some.success.ns >= some.compute_infer.ns > 0
    assert [(b.batch_size, b.compute_infer.count) for b in stats.batch_stats] == [(1, 1), (3, 2)]
    for name, version in (("nobody", ""), ("copy", "4")):
        with pytest.raises(ServeError) as error:
            engine.statistics(name, version)
        assert error.value.code == Code.INVALID_ARGUMENT


def test_broken_models_leave_the_others_served_and_say_why(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    add_model(tmp_path, "typo", IDENTITY.replace("TYPE_FP32 dims: [ 4 ] }\noutput", "TYPE_FLOAT dims: [ 4 ] }\noutput"))
    (tmp_path / "empty").mkdir()
    add_model(tmp_path, "bare").joinpath("1").rmdir()
    engine = engines(tmp_path)
    assert Asked(engine).one("copy").error is None
    lines = {e.name: e for e in engine.index()}
    assert lines["copy"].state == "READY"
    assert "typo/config.pbtxt:4:" in lines["typo"].reason
    assert "empty/config.pbtxt is missing" in lines["empty"].reason
    assert "at least one version" in lines["bare"].reason
    assert {lines[n].state for n in ("typo", "empty", "bare")} == {"UNAVAILABLE"}
    assert [e.name for e in engine.index(ready_only=True)] == ["copy"]
    assert not engine.ready()
    assert engines(tmp_path, strict=False).ready()


def test_explicit_mode_loads_and_unloads(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    add_model(tmp_path, "other")
    engine = engines(tmp_path, control_mode="explicit", models=["other"])
    asked = Asked(engine)
    assert [(e.name, e.version, e.state) for e in engine.index()] == [("copy", "", ""), ("other", "1", "READY")]
    with pytest.raises(ServeError) as error:
        engine.load("nobody")
    assert (error.value.code, "failed to poll from model repository" in error.value.message) == (Code.INTERNAL, True)
    engine.load("copy")
    assert asked.one("copy").error is None
    engine.unload("copy")
    assert [(e.state, e.reason) for e in engine.index() if e.name == "copy"] == [("UNAVAILABLE", "unloaded")]
    for version, code in (("", Code.NOT_FOUND), ("1", Code.UNAVAILABLE)):
        refused = asked.one("copy", version=version).error
        assert refused is not None
        assert refused.code == code
    assert engine.ready()
    engine.unload("nobody")
    engine.load("copy")
    assert asked.one("copy").error is None
    assert engine.statistics("copy")[0].inference_count == 1, "counted from its last load on"


def test_load_with_config_and_files_of_the_request(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    engine = engines(tmp_path, control_mode="explicit", models=["copy"])
    config = '{"backend": "identity", "max_batch_size": 2, "input": [{"name": "IN", "data_type": "TYPE_FP32", ' \
        '"dims": [4]}], "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}]}'
    engine.load("copy", {"config": config})
    assert engine.model_config("copy").max_batch_size == 2
    engine.load("copy", {"config": config, "file:5/data": b"x"})
    assert engine.model_metadata("copy").versions == ("5",)
    folder = engine._entries["copy"].found.folder  # type: ignore[union-attr]
    assert (folder / "5/data").read_bytes() == b"x"
    engine.load("copy")
    assert engine.model_metadata("copy").versions == ("1",)
    assert not folder.exists()
    for wrong in ({"config": "{"}, {"config": 5}, {"file:1/x": b"", }, {"config": config, "file:../x": b""}):
        with pytest.raises(ServeError):
            engine.load("copy", wrong)
    assert Asked(engine).one("copy", 3).error is None


def test_polling_takes_new_changed_and_removed_models(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    engine = engines(tmp_path, control_mode="poll", poll_s=1000.0)
    add_model(tmp_path, "late")
    add_model(tmp_path, "copy", IDENTITY.replace("max_batch_size: 8", "max_batch_size: 5"), versions=(1, 2))
    engine.poll()
    assert engine.model_config("copy").max_batch_size == 5
    assert engine.model_metadata("copy").versions == ("2",)
    assert engine.model_ready("late")
    add_model(tmp_path, "copy", "max_batch_size: x")
    (tmp_path / "late/config.pbtxt").unlink()
    (tmp_path / "late/1").rmdir()
    (tmp_path / "late").rmdir()
    engine.poll()
    assert engine.model_ready("copy"), "what was served goes on when the new one is broken"
    assert [e.name for e in engine.index()] == ["copy"]
    with pytest.raises(ServeError) as error:
        engine.load("copy")
    assert error.value.code == Code.UNAVAILABLE


def test_stop_refuses_what_comes_after(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    engine = engines(tmp_path)
    engine.stop()
    error = Asked(engine).one("copy").error
    assert error is not None
    assert error.code == Code.UNAVAILABLE
    assert not engine.ready()


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for path, options in ((tmp_path / "none", {}), (tmp_path, {"control_mode": "auto"}), (tmp_path, {"models": ["a"]})):
        with pytest.raises(ConfigError):
            Engine(path, **options)


class Misfit(Tensor):
    """An input of which the front end knows that it is wrong."""

    error = ServeError(Code.INVALID_ARGUMENT, "bytes do not fit")


def test_what_the_front_end_found_wrong_comes_last(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    asked = Asked(engines(tmp_path))
    said = asked.one("copy", tensor=Misfit("IN", "FP32", np.ones((1, 4), np.float32))).error
    assert said is Misfit.error
    said = asked.one("copy", tensor=Misfit("IN", "FP32", np.ones((1, 5), np.float32))).error
    assert said is not None
    assert "unexpected shape" in said.message


def test_trace_gets_times_in_order_before_the_reply(tmp_path: Path, engines: Make) -> None:
    class Trace:
        def computed(self, *times: int) -> None:
            self.times = list(times)

    add_model(tmp_path, "copy")
    add_model(tmp_path, "slow", IDENTITY + 'parameters { key: "delay_us" value { string_value: "500" } }')
    asked = Asked(engines(tmp_path))
    for model in ("copy", "slow"):
        trace = Trace()
        assert asked.one(model, trace=trace).error is None
        assert len(trace.times) == 5
        assert trace.times == sorted(trace.times)


def test_gauges_name_failures_and_what_waits(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy")
    names = {(n, labels.get("reason")) for n, labels, _ in engines(tmp_path).gauges()}
    assert ("nv_inference_pending_request_count", None) in names
    assert ("nv_inference_request_failure", "CANCELED") in names


def test_a_broken_change_is_tried_once_by_polling_and_each_time_it_is_asked_for(tmp_path: Path, engines: Make,
                                                                              caplog: pytest.LogCaptureFixture) -> None:
    add_model(tmp_path, "copy")
    polled = engines(tmp_path, control_mode="poll", poll_s=1000.0)
    asked = engines(tmp_path, control_mode="explicit", models=["copy"])
    add_model(tmp_path, "copy", "max_batch_size: x")
    for _ in range(3):
        polled.poll()
    assert len(caplog.records) == 1
    for _ in range(2):
        with pytest.raises(ServeError):
            asked.load("copy")
    add_model(tmp_path, "copy")
    polled.poll()
    asked.load("copy")
    assert polled.model_ready("copy")


def test_load_and_unload_among_requests_answer_each_once(tmp_path: Path, engines: Make) -> None:
    add_model(tmp_path, "copy", IDENTITY + "dynamic_batching { max_queue_delay_microseconds: 200 }\n"
              'parameters { key: "delay_us" value { string_value: "300" } }')
    engine = engines(tmp_path, control_mode="explicit", models=["copy"])
    asked = Asked(engine)
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for _ in range(20):
                asked.ask("copy", 2)
            asked.one("copy")
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(8):
        engine.unload("copy")
        (tmp_path / "copy/1/data").write_text(str(number))
        engine.load("copy")
        engine.load("copy")
    stop.set()
    for thread in threads:
        thread.join(20.0)
        assert not thread.is_alive()
    engine.stop(20.0)
    codes = {r.error.code if r.error is not None else Code.OK for r in asked.replies}
    assert codes <= {Code.OK, Code.NOT_FOUND, Code.UNAVAILABLE}
    assert Code.OK in codes


@pytest.fixture
def grouped(tmp_path: Path, engines: Make, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, threading.Event]:
    """An engine whose model "m" batches, and what ends its executions."""
    go_on = threading.Event()
    monkeypatch.setattr("safhost.serve.backends.identity.time", SimpleNamespace(
        monotonic_ns=time.monotonic_ns, sleep=lambda _seconds: go_on.wait(20.0)))
    delay = 'parameters { key: "delay_us" value { string_value: "1" } }'
    add_model(tmp_path, "m", f"{IDENTITY} dynamic_batching {{}} {delay}")
    return engines(tmp_path), go_on


def test_replies_of_a_batch_go_home_together(grouped: tuple[Engine, threading.Event]) -> None:
    engine, go_on = grouped
    asked = Asked(engine)
    calls: list[int] = []

    def home(replies: Any) -> None:
        calls.append(len(replies))
        for on_reply, reply in replies:
            on_reply(reply)
    for number in range(7):
        asked.ask("m", id=str(number), home=home if number % 3 else None)
    go_on.set()
    replies = asked.wait(7)
    assert sorted(r.id for r in replies) == [str(n) for n in range(7)]
    assert all(r.error is None for r in replies)
    assert calls == [4]  # the first runs alone, the six that came meanwhile as one batch


def test_a_batch_counts_as_so_many_requests(grouped: tuple[Engine, threading.Event]) -> None:
    engine, go_on = grouped
    asked = Asked(engine)
    began = time.monotonic_ns()
    for rows in (1, 2, 3):
        asked.ask("m", rows)
    go_on.set()
    asked.wait(3)
    took = time.monotonic_ns() - began
    (_, _, counts), = engine.counts("m")
    assert (counts.inferences, counts.executions, counts.successes, list(counts.batches)) == (6, 2, 3, [1, 5])
    assert 0 < counts.queue_ns < counts.success_ns < 3 * took
    assert counts.success_ns == counts.queue_ns + counts.input_ns + counts.infer_ns + counts.output_ns
