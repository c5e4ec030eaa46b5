"""What `bench serve` computes: models fitted, figures modelled, tables and plots; no server but a small one."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost.bench.serve import (
    bodies,
    draw,
    h2load,
    latency_model,
    modelled,
    perf,
    pull,
    repository,
    suite,
    trees,
    triton,
)
from safhost.bench.serve.peers import Peers
from safhost.errors import ConfigError, SafError

H2LOAD_SAYS = """finished in 1.60s, 1250.00 req/s, 1.2MB/s
requests: 2000 total, 2000 started, 2000 done, 1998 succeeded, 2 failed, 0 errored, 0 timeout
"""


def test_fit_finds_the_model_that_made_the_points() -> None:
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    for _ in range(50):
        cpu, acc, latency = rng.uniform(5, 100), rng.uniform(0.5, 10), rng.uniform(0.1, 20)
        cards = rng.choice((1, 2, 8))
        true = latency_model.Fit(cpu, acc, latency, cards, 0.0)
        most = int(true.saturation_clients * 4) + 4
        clients = sorted({1, 2, *(max(1, most * k // 8) for k in range(1, 9))})
        found = latency_model.fit(clients, [true.event_ms(n) for n in clients], cpu, cards)
        assert found.error < 1e-6, seed
        assert found.acc_ms == pytest.approx(acc, rel=1e-6), seed
        assert found.ideal_ms == pytest.approx(true.ideal_ms, rel=1e-6), seed
        assert found.saturation_clients == pytest.approx(true.saturation_clients, rel=1e-6), seed


def test_fit_of_noisy_points_stays_near() -> None:
    true = latency_model.Fit(60.0, 3.0, 5.0, 1, 0.0)
    clients = [1, 2, 4, 8, 16, 32, 64, 128]
    noise = 1 + np.random.default_rng(3).uniform(-0.03, 0.03, len(clients))
    found = latency_model.fit(clients, [true.event_ms(n) * k for n, k in zip(clients, noise, strict=True)], 60.0)
    assert found.acc_ms == pytest.approx(3.0, rel=0.05)
    assert found.saturation_clients == pytest.approx(true.saturation_clients, rel=0.1)


def test_fit_of_one_point_is_an_error() -> None:
    with pytest.raises(ConfigError):
        latency_model.fit([1], [5.0], 1.0)


def test_h2load_output_gives_rate_errors_and_late_latencies(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{at}\t200\t{took}\n" for at, took in ((0, 9000), (2_000_000, 100), (2_000_001, 300))))
    found = h2load._parse(H2LOAD_SAYS, log, 1.0)
    assert (found.requests, found.failed, found.per_s, found.p50_us) == (1998, 2, 1250.0, 200.0)


def test_h2load_steady_rate_leaves_start_and_tail_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    slow = [f"{n * 100_000}\t200\t10\n" for n in range(5)]  # ten a second at first, then a thousand, then ten again
    fast = [f"{500_000 + n * 1000}\t200\t10\n" for n in range(90)]
    tail = [f"{600_000 + n * 100_000}\t200\t10\n" for n in range(5)]
    log.write_text("".join((*slow, *fast, *tail)))
    assert h2load._parse(H2LOAD_SAYS, log, 0.0).steady_per_s == pytest.approx(1000)


def test_h2load_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SafError, match="could not connect"):
        h2load._parse("could not connect", tmp_path / "log", 0.0)


def test_bodies_hold_the_tensors() -> None:
    from tritonclient.grpc import service_pb2

    shape = repository.SMALL
    given = bodies.rows(shape, 4)
    body = bodies.grpc_body(shape, 4)
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    request = service_pb2.ModelInferRequest.FromString(body[5:])
    assert request.raw_input_contents[0] == given.tobytes()
    raw, headers = bodies.http_body(shape, 4)
    length = int(headers[0].rpartition(" ")[2])
    assert raw[length:] == given.tobytes()
    assert json.loads(raw[:length])["inputs"][0]["shape"] == [4, 15]
    shared = service_pb2.ModelInferRequest.FromString(bodies.shared_memory_body(shape, 4, "r", 240)[5:])
    assert not shared.raw_input_contents
    assert shared.outputs[0].parameters["shared_memory_offset"].int64_param == 240


def test_modelled_rate_is_that_of_the_narrowest_part() -> None:
    link = modelled.rate(modelled.FACILE, 16_000)
    assert link.limit == "link in"
    assert 18e6 < link.per_s < 20e6  # 64 bytes a row of 10 GbE
    alone = modelled.rate(modelled.FACILE, 16_000, ring=1)
    assert alone.limit == "ring"
    assert alone.per_s < link.per_s
    small = modelled.rate(modelled.XGBOOST, 16)
    assert small.limit == "kernel"


def test_modelled_sweep_rises_and_says_watts() -> None:
    points = modelled.xgboost_sweep()
    assert all(a["ring_per_s"] <= b["ring_per_s"] for a, b in itertools.pairwise(points))
    assert points[-1]["per_s_per_w_at_least"] == pytest.approx(points[-1]["ring_per_s"] / 75, rel=1e-3)


def test_table_of_papers_says_what_was_not_run() -> None:
    rows = modelled.table_one({"grpc_1": modelled.Measured(5000.0, "here")})
    assert [(row["lab"], row["lab_how"]) for row in rows if "gRPC" in row["what"]] == [(5000.0, "here")]
    assert sum(row["lab"] is None for row in rows) == len(rows) - 1


def test_resnet_is_modelled_from_its_kernels_cycles() -> None:
    one, eight = modelled.rate(modelled.RESNET50, 1), modelled.cards_per_s(modelled.RESNET50, 1, 8)
    assert one.limit == "kernel"
    assert one.per_s == pytest.approx(300e6 / modelled.RESNET_CYCLES)
    assert eight.per_s == pytest.approx(8 * one.per_s)
    assert modelled.cards_per_s(modelled.RESNET50, 1, 100).limit == "the host's link"
    rows = {row["what"]: row["modelled"] for row in modelled.table_one({})}
    assert sum(value is None for value in rows.values()) == 1  # a server is no card


def test_trees_of_the_bench_are_ones_that_the_kernel_takes(tmp_path: Path) -> None:
    model = trees.tree_model()
    model.write(tmp_path)
    nodes, leaves = model.weights["N"], model.weights["L"]
    assert (nodes.shape, leaves.shape) == ((700,), (801,))
    assert (nodes >> 16).max() < trees.FEATURES
    assert ((nodes >> 8 & 255) <= (nodes & 255)).all()
    assert bodies.rows(model.shape, 3).shape == (3, trees.ROW_BYTES)
    assert "TYPE_UINT8" in (tmp_path / "xgboost" / "config.pbtxt").read_text()


def test_part_paper_is_modelled_alone_and_drawn(tmp_path: Path) -> None:
    result = suite.run(Peers(), ["paper"])
    assert result["rows"] is None
    assert result["goals"] == []
    names = {path.name for path in draw.all_parts(result, tmp_path)}
    assert names == {"serve-xgboost.svg", "serve-xgboost.png"}


def test_every_plot_has_its_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    def only_fill(panels: Any, stem: Path, *_words: Any, **_sizes: Any) -> list[Path]:
        for panel in panels:
            axes = Figure().add_subplot()
            panel(axes)
            assert axes.has_data(), stem
        return [stem]

    monkeypatch.setattr(draw, "draw", only_fill)
    points = [{"clients": n, "event_ms": max(80.0, 4.0 * n), "p99_ms": 90.0, "events_per_s": 10.0 * n}
              for n in (1, 8, 64)]
    fit = latency_model.fit([1, 8, 64], [80.0, 80.0, 256.0], 60.0).to_dict()
    swept = [{"x": n, "per_s": 10.0 * n, "p50_us": 100.0, "p99_us": 200.0, "rows_per_s": 10.0 * n} for n in (1, 2, 4)]
    ratio: dict[str, Any] = {"title": "gRPC", "ratios": {"triton": {"per_s": 1.3, "cpu": 1.2}}}
    found: dict[str, Any] = {
        "rows": [ratio], "sweep": {"clients": {"safhost": swept}, "batch": {"safhost": swept}},
        "workflow": {"points": points, "fit": fit, "local_ms": 120.0, "modules_ms": [60.0, 60.0], "remote": 1,
                     "batch": 16_000},
        "cards": {"points": [{"cards": n, "per_s": 11.0 * n} for n in (1, 2)], "model": "m", "timing": "t", "batch": 1},
        "scan": {"model": "facile", "batch": 16_000, "timing": "t", "measured": [{"ring": 1, "units": 1, "per_s": 1e5}],
                 "modelled": modelled.scan()},
        "facile": {"cards": 2, "rows": [{"batch": batch, "in_flight": 16, "models": {name: {
            "server_us": {"median": 100.0}, "daemon_us": {"median": 50.0}} for name in ("facile", "identity")}}
            for batch in (1, 16_000)]},
        "pull": {"cards": 3, "rate_per_s": 320.0, "curves": [[[-1.0, 20.0], [0.5, 90.0], [2.0, 20.0]]]},
        "trees": {"points": [{"batch": 16, "per_s": 1e4, "p50_us": 1.0}]},
        "xgboost": modelled.xgboost_sweep()}
    written = draw.all_parts(found, tmp_path)
    assert len(written) == 8


def test_latency_of_those_that_wait_counts_as_they_wait() -> None:
    begin = np.arange(0, 10_000_000, 10_000)  # a hundred a second, 5 ms each
    took = np.full(len(begin), 5_000)
    stuck = np.flatnonzero((begin >= 4_000_000) & (begin < 4_200_000))[::2]  # a card that is pulled at 4 s
    took[stuck] = 1_500_000
    moments, p99 = pull.sliding(begin, begin + took, 2_000_000, 9_000_000)
    limit_us = float(p99[moments < 4_000_000].max())
    assert limit_us == 5_000
    recovered_s = pull.recovery_s(moments, p99, 4_000_000, limit_us)
    assert 2.15 <= recovered_s <= 2.25  # the last one ends after 1.68 s and is in the window for half a second
    at = int(np.searchsorted(moments, 5_000_000))
    assert p99[at] == pytest.approx(1_000_000, rel=0.03)  # what is not answered yet has waited a second


def test_latency_that_never_recovers_is_said_to_last() -> None:
    moments = np.arange(0, 5_000_000, pull.STEP_US)
    p99 = np.where(moments < 1_000_000, 10.0, 20.0)
    assert pull.recovery_s(moments, p99, 1_000_000, 10.0) == pytest.approx(4, abs=0.05)
    assert pull.recovery_s(moments, np.full(len(moments), 10.0), 1_000_000, 10.0) == 0.0


def test_trouble_that_begins_late_is_seen() -> None:
    moments = np.arange(0, 9_000_000, pull.STEP_US)
    p99 = np.where((moments > 2_800_000) & (moments < 3_400_000), 20.0, 10.0)
    assert pull.recovery_s(moments, p99, 1_000_000, 10.0) == pytest.approx(2.4, abs=0.05)


@pytest.mark.parametrize("find", [triton.find, perf.find])
def test_peer_that_is_not_there_is_an_error_with_a_way_out(find: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find(tmp_path)
    assert caught.value.hint


def test_repositories_of_all_peers_hold_the_same_models(tmp_path: Path) -> None:
    for backend in ("identity", "python"):
        folder = repository.write_triton(tmp_path / backend, backend)
        assert {p.name for p in folder.iterdir()} == {s.name for s in repository.SHAPES}
    mlserver = repository.write_mlserver(tmp_path / "mlserver", 1, 2, 3)
    assert json.loads((mlserver / "small/model-settings.json").read_text())["name"] == "small"
    assert repository.write_kserve(tmp_path / "kserve").is_file()
