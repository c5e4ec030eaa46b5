"""PTRANS: matrices out of seeds, errors, tiles, distributions."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from safhost.bench.ptrans import problem as problem_module
from safhost.bench.ptrans.distribution import assign, grid, largest_share
from safhost.bench.ptrans.problem import Matrices, Problem, TileIndex, threshold, tile_error
from safhost.errors import ConfigError


def solved(matrices: Matrices) -> Matrices:
    """The matrices with the right result in C."""
    assert matrices.c is not None
    for tile in matrices.problem.all_tiles():
        a, b = matrices.inputs(tile)
        matrices.c[tile.row0:tile.row1, tile.col0:tile.col1] = b + a.T
    return matrices


def test_counting_is_that_of_hpcc() -> None:
    p = Problem(32768)
    assert (p.blocks, p.tiles, p.flop, p.bytes_moved) == (64, 4096, 32768**2, 3 * 4 << 30)
    assert threshold() == pytest.approx(1.19e-5, rel=0.01)


def test_elements_are_uniform_in_hundred_and_depend_on_seed_matrix_and_place() -> None:
    m = Matrices(Problem(1024, 512), "generated")
    whole = m.a(0, 1024, 0, 1024)
    assert whole.dtype == np.float32
    assert -100 <= whole.min() < -99.9
    assert 99.9 < whole.max() < 100
    assert abs(whole.mean()) < 0.5
    parts = [m.a(0, 512, 0, 512), m.a(0, 512, 512, 1024), m.a(512, 1024, 0, 512), m.b(0, 512, 0, 512),
             Matrices(Problem(512, 512, seed=2), "generated").a(0, 512, 0, 512)]
    assert len({part.tobytes() for part in parts}) == len(parts)
    assert (whole[:512, 512:] == parts[1]).all()


@pytest.mark.parametrize("store", ["memory", "generated"])
def test_tiles_are_the_same_however_they_are_kept(store: str) -> None:
    m = Matrices(Problem(96, 16, tile=4), store)
    ref = Matrices(Problem(96, 16), "memory")
    for tile in m.problem.all_tiles():
        a, b = m.inputs(tile)
        assert a.shape == (tile.col1 - tile.col0, tile.row1 - tile.row0)
        assert (a == ref.a(tile.col0, tile.col1, tile.row0, tile.row1)).all()
        assert (b == ref.b(tile.row0, tile.row1, tile.col0, tile.col1)).all()


def test_right_result_is_within_the_threshold_and_a_wrong_element_is_not() -> None:
    m = solved(Matrices(Problem(128, 32, tile=2), "memory"))
    assert 0 < m.max_error() < threshold()
    assert m.c is not None
    m.c[77, 3] += np.float32(1e-3)
    assert m.max_error() > threshold()


def test_error_is_judged_by_what_the_inputs_were_made_as() -> None:
    m = solved(Matrices(Problem(64, 32), "memory"))
    m.a(0, 64, 0, 64)[5, 5] += 1  # a broken input that also came into the result must not go unnoticed
    solved(m)
    assert m.max_error() > 0.5


def test_missing_results_are_errors() -> None:
    m = solved(Matrices(Problem(64, 32), "memory"))
    m.forget_results()
    assert math.isinf(m.max_error())
    assert math.isinf(tile_error(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32),
                                 np.full((2, 2), np.nan, np.float32)))


def test_generated_matrices_keep_nothing() -> None:
    m = Matrices(Problem(64, 32), "generated")
    assert m.c is None
    with pytest.raises(ConfigError, match="not kept"):
        m.max_error()
    tile = TileIndex(0, 32, 32, 64)
    a, b = m.inputs(tile)
    assert m.error(tile, b + a.T) < threshold()


def test_auto_keeps_what_fits_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem_module, "free_memory_bytes", lambda: 100_000)
    assert Matrices(Problem(32, 32)).store == "memory"
    assert Matrices(Problem(64, 32)).store == "generated"


def test_files_are_made_once_and_used_again(tmp_path: Path) -> None:
    m = solved(Matrices(Problem(64, 32), folder=tmp_path))
    assert m.max_error() < threshold()
    assert isinstance(m.c, np.memmap)
    made = (tmp_path / "A.npy").stat().st_mtime_ns
    again = Matrices(Problem(64, 32), folder=tmp_path)
    assert (tmp_path / "A.npy").stat().st_mtime_ns == made
    assert (again.b(0, 64, 0, 64) == m.b(0, 64, 0, 64)).all()
    other = Matrices(Problem(64, 32, seed=9), folder=tmp_path)
    assert (tmp_path / "A.npy").stat().st_mtime_ns != made
    assert solved(other).max_error() < threshold()


@pytest.mark.parametrize(("options", "match"), [
    ({"n": 1000}, "not made of blocks of 512"), ({"n": 0}, "not made"), ({"n": 512, "block": 0}, "not made"),
    ({"n": 1024, "tile": 3}, "a tile of 3 blocks"),
])
def test_impossible_problem_is_refused(options: dict[str, int], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Problem(**options)


def test_edge_tiles_are_smaller_and_all_tiles_cover_the_matrix() -> None:
    p = Problem(80, 16, tile=2)
    cover = np.zeros((80, 80), int)
    for t in p.all_tiles():
        cover[t.row0:t.row1, t.col0:t.col1] += 1
    assert (cover == 1).all()
    assert p.tile_at(2, 2) == TileIndex(64, 80, 64, 80)


# -- distributions

@pytest.mark.parametrize(("cards", "shape"), [(1, (1, 1)), (2, (1, 2)), (12, (3, 4)), (16, (4, 4)), (20, (4, 5)),
                                              (13, (1, 13))])
def test_grid_is_as_square_as_can_be(cards: int, shape: tuple[int, int]) -> None:
    assert grid(cards) == shape


@pytest.mark.parametrize("cards", [1, 2, 4, 8, 12, 16, 20])
@pytest.mark.parametrize("kind", ["pq", "diag"])
def test_tiles_are_dealt_evenly(kind: str, cards: int) -> None:
    m = 60  # a multiple of lcm(P, Q) of all these grids
    found = assign(kind, m, cards)
    assert len(found) == m * m
    counts = Counter(found.values())
    assert set(counts) == set(range(cards))
    assert max(counts.values()) - min(counts.values()) <= (0 if kind == "pq" else 1)
    assert largest_share(kind, m, cards) == max(counts.values())


def test_diag_pairs_mirror_blocks_and_keeps_the_diagonal_apart_for_odd_numbers() -> None:
    found = assign("diag", 10, 5)
    assert {found[i, i] for i in range(10)} == {4}
    for (row, col), card in found.items():
        if row != col:
            assert abs(card - found[col, row]) == 2


def test_pq_needs_a_multiple_of_the_grid() -> None:
    with pytest.raises(ConfigError, match="grid of 4 x 5") as caught:
        assign("pq", 64, 20)
    assert "multiple of 20, as 60" in caught.value.hint


def test_elastic_names_no_card_and_unknown_kinds_are_refused() -> None:
    assert assign("elastic", 10, 4) == {}
    assert largest_share("elastic", 10, 3) == 34
    with pytest.raises(ConfigError, match="no distribution 'x'"):
        assign("x", 4, 2)
