"""`bench serve` with cards: a lab, our server over it, load, and figures of the right shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from safhost.bench.serve import cost, load, lone, on_cards, perf, pull, with_lab
from safhost.bench.serve.repository import Shape

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_cards_answer_through_the_server(tmp_path: Path) -> None:
    model = on_cards.timed_model(tmp_path / "timed")
    with on_cards.serving(2, model, 10.0, tmp_path / "served") as server:
        figures = load.measure(server, load.grpc(model.shape, 1, 24, 2, 4), (), model.shape)
    assert figures.failed == 0
    assert figures.per_s > 0


def test_facile_with_two_compute_units_answers(tmp_path: Path) -> None:
    model = on_cards.facile_model(tmp_path / "facile", 2)
    with on_cards.serving(1, model, 10.0, tmp_path / "served", "buffers: {ring: 2, units: 2}\n") as server:
        figures = load.measure(server, load.grpc(model.shape, 1000, 12, 2, 4), (), model.shape)
    assert figures.failed == 0


def test_lone_unit_has_parts_that_add_up() -> None:
    found = lone.run(1, 20)
    unit = {name: cell["median"] for name, cell in found["unit"].items()}
    assert unit["kernel_ms"] > 0
    assert all(value >= 0 for value in unit.values()), unit
    assert found["served"]["facile"]["p50_ms"]["median"] > found["served"]["identity"]["p50_ms"]["median"]


@pytest.mark.slow
def test_cost_counts_server_daemon_and_cards_apart() -> None:
    found = cost.run(1, 1000, in_flight={1: (16,), 16_000: (4,)})
    for row in found["rows"]:
        assert row["models"]["facile"]["daemon_us"]["median"] > row["models"]["identity"]["daemon_us"]["median"]
        assert row["models"]["facile"]["cards_us"]["median"] > 0


@pytest.mark.slow
def test_pulled_card_fails_no_request_and_the_last_one_refuses() -> None:
    found = pull.run(1)
    assert found["failed"] == 0
    assert found["last"]["refused_s"] < 10
    assert found["last"]["unready_s"] < 10


@pytest.fixture(scope="module")
def facile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[with_lab.LabServer]:
    folder = tmp_path_factory.mktemp("facile")
    model, _ = cost.models(folder)
    with with_lab.lab(2) as lab, \
            with_lab.serving(lab, [model], folder / "served", options=["--allow-client-shared-memory"]) as served:
        yield served


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 1000])
@pytest.mark.parametrize("mode", list(perf.MODES))
def test_perf_analyzer_runs_unchanged_on_cards(facile: with_lab.LabServer, mode: str, batch: int) -> None:
    """Installs perf_analyzer and what it links."""
    from tools import serve_peers

    serve_peers.debian(["perf"])
    prefix = serve_peers.make("perf", serve_peers.CACHE)
    shape = Shape("facile", 18)
    before = load.successes(facile.server, shape)
    assert perf.run(prefix, facile.server, "facile", mode, batch=batch, in_flight=8, window_ms=500).per_s > 0
    assert load.successes(facile.server, shape) > before
