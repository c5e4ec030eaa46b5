"""The raw yardstick: its copy, its pace search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safhost.bench.blast import PACE_STEP, PACE_STRIDE, AlwaysLossy, _copy, find_pace, touched_rows
from safhost.wire.codec import DataEncoder

BLOCK = 128


def _frames(indices: list[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    encoder = DataEncoder(dst=b"\xff" * 6, src=b"\2" * 6, ethertype=0x80AA, session=1, object=1,
                          length_bytes=BLOCK * 64, block_bytes=BLOCK)
    headers = encoder.encode(np.array(indices))[0]
    frames = np.zeros((len(indices), 40 + BLOCK + 24), np.uint8)
    frames[:, :40] = headers
    frames[:, 40:40 + BLOCK] = np.array(indices, np.uint8)[:, None]
    return frames


@pytest.mark.parametrize("indices", [[3, 4, 5], [9, 2, 30]])
def test_copy_puts_each_block_in_its_place(indices: list[int]) -> None:
    rows = touched_rows(64, BLOCK)
    _copy(_frames(indices), rows, BLOCK)
    flat = rows.view(np.uint8).reshape(64, BLOCK)
    for i in range(64):
        assert (flat[i] == (i if i in indices else 0)).all()


def test_find_pace_goes_down_until_nothing_is_lost() -> None:
    tried: list[float] = []

    def run(pace: float) -> dict[str, Any]:
        tried.append(pace)
        achieved = min(pace, 1e9) if pace else 1e9
        lost = int(achieved > 8e8)
        return {"lost": lost, "lost_share": lost * 0.01, "bytes": 1e9, "send_seconds": 1e9 / achieved}

    pace, result = find_pace(run)
    assert not result["lost"]
    assert tried[0] == 0.0
    assert tried[1] == pytest.approx(1e9 * PACE_STEP)
    assert 8e8 * PACE_STEP < pace <= 8e8


def test_find_pace_that_always_loses_is_an_error() -> None:
    paces: list[float] = []

    def run(pace: float) -> dict[str, Any]:
        paces.append(pace)
        return {"lost": 1, "lost_share": 0.5, "bytes": 1e6, "send_seconds": 1.0}

    with pytest.raises(AlwaysLossy, match="lost at every pace"):
        find_pace(run)
    assert paces[1:3] == [PACE_STRIDE * 1e6, pytest.approx(PACE_STRIDE ** 2 * 1e6)]
