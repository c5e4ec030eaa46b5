"""Models on virtual cards: batches there and back, cards that go and come."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runtime_rig import LiveRig
from serve_kit import CONFIG, KERNEL, MAPPING, Asked, add_card_model, answer_to, make_kernel, rows_of

from safhost.plan.image import Image
from safhost.runtime.server import Server
from safhost.serve.engine import Engine
from safhost.serve.types import Code, Tensor

Make = Callable[..., Engine]
WAIT_S = 30.0


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end
        threading.Event().wait(0.002)


def tensor(rows: Any) -> Tensor:
    return Tensor("IN", "FP32", rows)


def hold(live: LiveRig, on: bool = True) -> None:
    def change() -> bool:
        for port in live.ports:
            jobs, port.held = port.held, [] if on else None
            for job in (jobs or []) if not on else []:
                port.finish(job)
        return True
    live.do(change)


def held(live: LiveRig) -> int:
    return int(live.do(lambda: sum(len(p.held or []) for p in live.ports)))


@pytest.fixture
def served(tmp_path: Path, live: LiveRig, twice: Image, engines: Make) -> Asked:
    add_card_model(tmp_path / "models", "twice", twice)
    engine = engines(tmp_path / "models")
    until(lambda: engine.model_ready("twice"))
    return Asked(engine)


def test_requests_of_many_sizes_come_back_right(served: Asked) -> None:
    for size in (1, 3, 64, 1):
        rows = rows_of(size, size)
        reply = served.one("twice", tensor=tensor(rows))
        assert reply.error is None, reply.error
        assert reply.outputs[0].datatype == "FP32"
        assert np.array_equal(reply.outputs[0].array, answer_to(rows))
    stats = served.engine.statistics("twice")[0]
    assert (stats.inference_count, stats.execution_count) == (69, 4)
    some = stats.inference_stats
    assert min(some.queue.ns, some.compute_input.ns, some.compute_infer.ns, some.compute_output.ns) > 0
    gauges = {(n, labels.get("direction")): v for n, labels, v in served.engine.gauges() if n.startswith("saf_card")}
    assert gauges["saf_card_bytes_total", "in"] > 0
    assert ("saf_card_state", None) in gauges


def test_requests_in_one_batch_are_told_apart(tmp_path: Path, live: LiveRig, twice: Image, engines: Make) -> None:
    add_card_model(tmp_path / "models", "twice", twice,
                   CONFIG + "dynamic_batching { max_queue_delay_microseconds: 3000000 preferred_batch_size: [ 6 ] }")
    engine = engines(tmp_path / "models")
    until(lambda: engine.model_ready("twice"))
    sent = {str(n): rows_of(n, n) for n in (1, 2, 3)}
    sent["2"][1, 2] = np.nan
    asked = Asked(engine)
    for name, rows in sent.items():
        asked.ask("twice", tensor=tensor(rows), id=name)
    for reply in asked.wait(3):
        if reply.id == "2" or reply.error is not None:
            assert reply.error is not None
            assert reply.error.code == Code.INVALID_ARGUMENT
            assert "input 'IN' for model 'twice' cannot be converted at row 1: it holds NaN" in reply.error.message
        else:
            assert np.array_equal(reply.outputs[0].array, answer_to(sent[reply.id]))
    stats = engine.statistics("twice")[0]
    assert stats.execution_count == 1
    assert (stats.inference_stats.success.count, stats.inference_stats.fail.count) == (2, 1)


def test_a_lost_card_is_not_noticed_by_clients(served: Asked, live: LiveRig) -> None:
    served.one("twice")
    until(lambda: len(served.engine._routes["twice", "1"].backend.working()) == 2)
    hold(live)
    for _ in range(4):
        served.ask("twice")
    until(lambda: held(live) == 4)
    live.do(lambda: live.ports[0].unplug() or True)
    hold(live, False)
    assert all(r.error is None for r in served.wait(5))
    assert served.engine.model_ready("twice")


def test_instance_group_of_one_is_one_card_and_another_when_that_is_lost(
        tmp_path: Path, live: LiveRig, twice: Image, engines: Make, caplog: pytest.LogCaptureFixture) -> None:
    add_card_model(tmp_path / "models", "twice", twice, CONFIG + "instance_group { count: 1 }")
    engine = engines(tmp_path / "models")
    until(lambda: engine.model_ready("twice"))
    backend = engine._routes["twice", "1"].backend
    served, (first,) = Asked(engine), backend.working()
    for _ in range(20):
        served.one("twice")
    assert backend.working() == [first]
    live.do(lambda: live.ports[first == "c2"].unplug() or True)
    until(lambda: backend.working() not in ([], [first]) and engine.model_ready("twice"))
    assert served.one("twice").error is None
    assert len(backend.working()) == 1
    until(lambda: any(f"card {first} is " in r.getMessage() for r in caplog.records))


def test_without_cards_everything_is_refused_at_once_and_comes_back_with_them(served: Asked, live: LiveRig) -> None:
    hold(live)
    for _ in range(9):
        served.ask("twice")
    until(lambda: held(live) > 0)
    live.do(lambda: [p.unplug() for p in live.ports] and True)
    for reply in served.wait(9):
        assert reply.error is not None
        assert reply.error.code == Code.UNAVAILABLE
    assert not served.engine.model_ready("twice")
    assert not served.engine.ready()
    late = served.one("twice").error
    assert late is not None
    assert late.code == Code.UNAVAILABLE
    assert [(e.state, bool(e.reason)) for e in served.engine.index()] == [("UNAVAILABLE", True)]
    hold(live, False)
    live.do(lambda: [p.plug() for p in live.ports] and True)
    until(lambda: served.engine.model_ready("twice"))
    assert served.one("twice").error is None


def test_unload_drains_and_a_changed_model_takes_over_without_a_failure(tmp_path: Path, live: LiveRig, twice: Image,
                                                                        engines: Make) -> None:
    models = tmp_path / "models"
    add_card_model(models, "twice", twice)
    engine = engines(models, control_mode="explicit", models=["twice"])
    until(lambda: engine.model_ready("twice"))
    asked, stop = Asked(engine), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            asked.one("twice")
    thread = threading.Thread(target=ask)
    thread.start()
    add_card_model(models, "twice", twice, weights={"W": np.full(8, 256, np.int16)})
    engine.load("twice")
    stop.set()
    thread.join(WAIT_S)
    assert all(r.error is None for r in asked.replies)
    rows = rows_of(2)
    reply = asked.one("twice", tensor=tensor(rows))
    assert np.array_equal(reply.outputs[0].array, 2 * rows + 1)
    hold(live)
    asked.ask("twice")
    until(lambda: held(live) == 1)
    unloading = threading.Thread(target=engine.unload, args=("twice",))
    unloading.start()
    until(lambda: [e.state for e in engine.index()] == ["UNLOADING"])
    hold(live, False)
    unloading.join(WAIT_S)
    assert asked.replies[-1].error is None
    until(lambda: not [j for j in engine._loader._cards.cluster().jobs()])


def test_what_is_missing_or_wrong_is_named(tmp_path: Path, live: LiveRig, twice: Image, engines: Make) -> None:
    models = tmp_path / "models"
    add_card_model(models, "image", twice).joinpath("1/model.saf").unlink()
    add_card_model(models, "mapping", twice).joinpath("1/mapping.yaml").unlink()
    add_card_model(models, "weights", twice).joinpath("1/weights.npz").unlink()
    add_card_model(models, "typo", twice, mapping=MAPPING.replace("scalars:", "scalar:"))
    add_card_model(models, "cards", twice, CONFIG + 'parameters { key: "card" value { string_value: "c1" } }')
    reasons = {e.name: e.reason for e in engines(models).index()}
    assert "image/1/model.saf is missing" in reasons["image"]
    assert "mapping/1/mapping.yaml is missing" in reasons["mapping"]
    assert "weights/1/weights.npz has no 'W'" in reasons["weights"]
    assert "typo/1/mapping.yaml:7: unknown key 'scalar'" in reasons["typo"]
    assert "parameter 'card' is not known to backend saf" in reasons["cards"]


def test_a_daemon_that_goes_and_comes_is_found_again(served: Asked, live: LiveRig) -> None:
    live.die()
    until(lambda: not served.engine.model_ready("twice"))
    refused = served.one("twice").error
    assert refused is not None
    assert refused.code == Code.UNAVAILABLE

    def again() -> bool:
        live.server = Server(live.engine, live.service, live.path)
        return True
    live.do(again)
    until(lambda: served.engine.model_ready("twice"))
    assert served.one("twice").error is None


def test_a_request_larger_than_a_cards_memory_is_refused_and_the_model_goes_on(tmp_path: Path, live: LiveRig,
                                                                              twice: Image, engines: Make) -> None:
    add_card_model(tmp_path / "models", "twice", twice, CONFIG.replace("64", "8000000"))
    engine = engines(tmp_path / "models")
    until(lambda: engine.model_ready("twice"))
    asked = Asked(engine)
    error = asked.one("twice", tensor=tensor(np.broadcast_to(np.float32(1), (5_000_000, 4)))).error
    assert error is not None
    assert error.code == Code.INVALID_ARGUMENT
    assert "do not fit the card's" in error.message
    assert asked.one("twice").error is None


def test_batches_that_are_little_work_come_one_a_card(served: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    backend: Any = served.engine._routes["twice", "1"].backend
    assert len(backend.working()) == 2
    assert backend.slots()[0] == 4  # nothing is known of them
    served.one("twice")
    assert backend.slots()[0] == 2
    monkeypatch.setattr("safhost.serve.backends.saf.LITTLE_BYTES", 16)  # a row's
    served.one("twice", 2)
    assert backend.slots()[0] == 4


def test_a_job_that_somebody_ends_is_begun_again(served: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safhost.serve.backends.saf.RETRY_S", 0.02)
    backend: Any = served.engine._routes["twice", "1"].backend
    job = backend._job
    job.cancel()
    until(lambda: backend._job is not job and served.engine.model_ready("twice"))
    job = backend._job
    assert all(served.one("twice").error is None for _ in range(30))
    assert backend._job is job


def test_when_one_version_cannot_be_loaded_none_is_and_nothing_stays(tmp_path: Path, live: LiveRig, twice: Image,
                                                                    engines: Make) -> None:
    folder = add_card_model(tmp_path / "models", "twice", twice, CONFIG + "version_policy { all { } }", versions=(1, 2))
    (folder / "2/model.saf").unlink()
    engine = engines(tmp_path / "models")
    assert {(e.version, e.state) for e in engine.index()} == {("1", "UNAVAILABLE"), ("2", "UNAVAILABLE")}
    assert all("twice/2/model.saf is missing" in e.reason for e in engine.index())
    until(lambda: not engine._loader._cards.cluster().jobs())
    assert engine.counters._mine == set()


def test_elastic_cards_go_where_requests_wait_and_each_model_keeps_one(tmp_path: Path, live: LiveRig, twice: Image,
                                                                       engines: Make) -> None:
    live.do(lambda: live.add_card(3) and True)
    folder, models = tmp_path / "other", tmp_path / "models"
    folder.mkdir()
    other = make_kernel(folder, KERNEL.replace('version: "1"', 'version: "2"'))
    for name, image in (("a", twice), ("b", other)):
        add_card_model(models, name, image, CONFIG + "dynamic_batching { }")
    engine = engines(models, elastic=True)
    until(lambda: engine.model_ready("a") and engine.model_ready("b"))

    def cards(name: str) -> int:
        return len(engine._routes[name, "1"].backend.working())
    until(lambda: cards("a") + cards("b") == 3)
    busy = "b" if cards("a") == 2 else "a"
    asked, stop = Asked(engine), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for _ in range(200):
                asked.ask(busy)
            asked.one(busy)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: cards(busy) == 2)
    finally:
        stop.set()
        for thread in threads:
            thread.join(WAIT_S)
    assert cards("a") + cards("b") == 3
    assert all(r.error is None for r in asked.replies)


def test_images_of_models_that_were_replaced_are_not_kept_open(tmp_path: Path, live: LiveRig, twice: Image,
                                                               engines: Make) -> None:
    folder = add_card_model(tmp_path / "models", "model", twice)
    engine = engines(tmp_path / "models", cluster="test", control_mode="explicit", models=["model"])

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count(str(folder))
    gc.disable()  # nobody is to come by chance
    try:
        engine.load("model")
        before = mapped()
        for number in range(3):
            np.savez(folder / "1" / "weights.npz", W=np.full(8, number, np.int16))
            engine.load("model")
        assert mapped() == before == 1
    finally:
        gc.enable()
