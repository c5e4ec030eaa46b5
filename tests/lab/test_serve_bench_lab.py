"""`bench serve` with cards: a lab, our server over it, load, and figures of the right shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from safhost.bench.serve import load, on_cards

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
