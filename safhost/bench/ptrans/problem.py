"""The matrices of PTRANS, and when a result is right.

C = B + Aᵀ, n x n in float32, made of blocks of side b. The elements of A and B are uniform in ±100, one counter-based
stream a block (Philox, keyed by seed, matrix and block), so that any block can be made again without the others:
validation needs no matrix, and matrices may be larger than memory. The error is max |Aᵀ - (C - B)|, right below 100 ε;
the count is n² additions over 3 n² elements (HPCC FPGA, PTRANS).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError
from safhost.units import format_bytes

Tile = NDArray[np.float32]

DTYPE = np.dtype(np.float32)
BLOCK = 512
"""HPCC FPGA's block, and the one the kernel stages on chip."""

HALF_WIDTH = 100.0
THRESHOLD_EPSILONS = 100.0
MATRICES = 3
KEEP_SHARE = 0.25
"""Matrices that take more of the free memory than this are made tile by tile instead of being kept."""

_A, _B = 0, 1


class TileIndex(NamedTuple):
    """A tile of C: rows ``row0`` to ``row1``, columns ``col0`` to ``col1``."""

    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def elements(self) -> int:
        return (self.row1 - self.row0) * (self.col1 - self.col0)


@dataclass(frozen=True, slots=True)
class Problem:
    """``n`` x ``n`` matrices in blocks of side ``block``; a work unit is a tile of ``tile`` x ``tile`` blocks.

    Raises ConfigError when n is not a multiple of the block, as HPCC FPGA demands.
    """

    n: int
    block: int = BLOCK
    tile: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        if self.n < 1 or self.block < 1 or self.n % self.block:
            near = max(1, round(self.n / max(1, self.block))) * max(1, self.block)
            raise ConfigError(f"a matrix of side {self.n} is not made of blocks of {self.block}", f"use --n {near}")
        if not 1 <= self.tile <= self.blocks:
            raise ConfigError(f"a tile of {self.tile} blocks does not fit a matrix of {self.blocks}",
                              f"use --tile 1 to {self.blocks}")

    @property
    def blocks(self) -> int:
        """Blocks a side (HPCC's m)."""
        return self.n // self.block

    @property
    def tiles_a_side(self) -> int:
        return -(-self.blocks // self.tile)

    @property
    def tiles(self) -> int:
        return self.tiles_a_side ** 2

    @property
    def flop(self) -> int:
        return self.n * self.n

    @property
    def bytes_moved(self) -> int:
        """A and B read, C written, once."""
        return MATRICES * self.n * self.n * DTYPE.itemsize

    def tile_at(self, row: int, col: int) -> TileIndex:
        """The tile in row ``row`` and column ``col`` of tiles; those at the edges may be smaller."""
        side = self.tile * self.block
        return TileIndex(row * side, min(self.n, (row + 1) * side), col * side, min(self.n, (col + 1) * side))

    def all_tiles(self) -> Iterator[TileIndex]:
        """Row by row."""
        for row in range(self.tiles_a_side):
            for col in range(self.tiles_a_side):
                yield self.tile_at(row, col)


def threshold(dtype: np.dtype[Any] = DTYPE) -> float:
    """The largest error that is right: 100 ε, 1.19e-5 for float32."""
    return THRESHOLD_EPSILONS * float(np.finfo(dtype).eps)


def tile_error(a: Tile, b: Tile, c: Tile) -> float:
    """max |Aᵀ - (C - B)| of a tile: ``a`` (cols, rows), ``b`` and ``c`` (rows, cols). NaN counts as infinite."""
    difference = c - b
    difference -= a.T
    np.abs(difference, out=difference)
    worst = float(difference.max())
    return float("inf") if math.isnan(worst) else worst


class Matrices:
    """A and B of a problem, block by block out of their seeds, or kept in arrays or files.

    ``a(rows of A, columns of A)`` and ``b(…)`` give a part whose bounds lie on blocks; a view where the matrices are
    kept. ``c`` takes the results, None when they are to be checked tile by tile and let go.
    """

    def __init__(self, problem: Problem, store: str = "auto", folder: str | Path | None = None) -> None:
        """``store``: memory, generated, or auto (memory where it suffices). ``folder``: keep A, B and C there as .npy
        files, mapped into memory; files of an earlier run with the same seed are used again. Raises ConfigError."""
        self.problem = problem
        n = problem.n
        if store not in ("auto", "memory", "generated"):
            raise ConfigError(f"matrices cannot be kept in {store!r}", "use memory, generated or auto")
        if folder is not None:
            self.store = "mapped"
            self._kept = self._map(Path(folder))
            self.c: NDArray[np.float32] | None = _open_file(Path(folder) / "C.npy", n, True)
            return
        if store == "auto":
            store = "memory" if problem.bytes_moved <= KEEP_SHARE * free_memory_bytes() else "generated"
        self.store = store
        self._kept = {}
        self.c = None
        if store == "memory":
            self._kept = {which: np.empty((n, n), DTYPE) for which in (_A, _B)}
            self._fill()
            self.c = np.zeros((n, n), DTYPE)

    def a(self, row0: int, row1: int, col0: int, col1: int) -> Tile:
        """Rows ``row0`` to ``row1``, columns ``col0`` to ``col1`` of A."""
        return self._part(_A, row0, row1, col0, col1)

    def b(self, row0: int, row1: int, col0: int, col1: int) -> Tile:
        """The same of B."""
        return self._part(_B, row0, row1, col0, col1)

    def inputs(self, tile: TileIndex) -> tuple[Tile, Tile]:
        """What the tile of C is made of: its part of A, (cols, rows), and of B, (rows, cols)."""
        row0, row1, col0, col1 = tile
        return self.a(col0, col1, row0, row1), self.b(row0, row1, col0, col1)

    def error(self, tile: TileIndex, c: Tile) -> float:
        """The error of a result of that tile, from A and B as they were made, not as they may have become."""
        row0, row1, col0, col1 = tile
        return tile_error(self._made(_A, col0, col1, row0, row1), self._made(_B, row0, row1, col0, col1), c)

    def max_error(self, part: range | None = None) -> float:
        """The error of all of `c`, or of the tiles with numbers in ``part``. Raises ConfigError when results were not
        kept."""
        if self.c is None:
            raise ConfigError("the results were not kept", "check each tile when it comes")
        across = self.problem.tiles_a_side
        tiles = [self.problem.tile_at(*divmod(number, across)) for number in part or range(across * across)]
        return max(self.error(t, np.asarray(self.c[t.row0:t.row1, t.col0:t.col1])) for t in tiles)

    def forget_results(self) -> None:
        """Fill `c` with NaN, so that what an earlier run left there counts for nothing."""
        if self.c is not None:
            self.c[:] = np.nan

    def _part(self, which: int, row0: int, row1: int, col0: int, col1: int) -> Tile:
        kept = self._kept.get(which)
        return self._made(which, row0, row1, col0, col1) if kept is None else kept[row0:row1, col0:col1]

    def _made(self, which: int, row0: int, row1: int, col0: int, col1: int) -> Tile:
        block = self.problem.block
        out = np.empty((row1 - row0, col1 - col0), DTYPE)
        for row in range(row0 // block, row1 // block):
            for col in range(col0 // block, col1 // block):
                at, to = row * block - row0, col * block - col0
                out[at:at + block, to:to + block] = self._block(which, row, col)
        return out

    def _block(self, which: int, row: int, col: int) -> Tile:
        key = np.array([self.problem.seed << 1 | which, row << 32 | col], np.uint64)
        block = self.problem.block
        made = np.random.Generator(np.random.Philox(key=key)).random((block, block), dtype=np.float32)
        made *= np.float32(2 * HALF_WIDTH)
        made -= np.float32(HALF_WIDTH)
        return made

    def _fill(self) -> None:
        block = self.problem.block
        for which, whole in self._kept.items():
            for row in range(self.problem.blocks):
                for col in range(self.problem.blocks):
                    whole[row * block:(row + 1) * block, col * block:(col + 1) * block] = self._block(which, row, col)

    def _map(self, folder: Path) -> dict[int, NDArray[np.float32]]:
        """A and B as files; they are made anew unless the mark of their making says that they are these."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mark = folder / "made-of.txt"
            text = f"n {self.problem.n}\nblock {self.problem.block}\nseed {self.problem.seed}\n"
            fresh = not mark.exists() or mark.read_text() != text
            if fresh:
                mark.unlink(missing_ok=True)
            kept = {which: _open_file(folder / name, self.problem.n, fresh)
                    for which, name in ((_A, "A.npy"), (_B, "B.npy"))}
            if fresh:
                self._kept = kept
                self._fill()
                for whole in kept.values():
                    if isinstance(whole, np.memmap):
                        whole.flush()
                mark.write_text(text)
        except OSError as err:
            raise ConfigError(f"no room for matrices in {folder}: {err.strerror}",
                              f"three of {format_bytes(self.problem.bytes_moved / MATRICES)} each are needed") from err
        return kept


def _open_file(path: Path, n: int, fresh: bool) -> NDArray[np.float32]:
    """A matrix in a .npy file. Raises ConfigError when it is not one of that size."""
    try:
        whole = np.lib.format.open_memmap(path, mode="w+" if fresh else "r", dtype=DTYPE if fresh else None,
                                          shape=(n, n) if fresh else None)
    except (OSError, ValueError) as err:
        raise ConfigError(f"{path} cannot be used as a matrix: {err}", "name another folder") from err
    if whole.shape != (n, n) or whole.dtype != DTYPE:
        raise ConfigError(f"{path} is {whole.dtype} {whole.shape}, not float32 {(n, n)}", "name another folder")
    return whole


def free_memory_bytes() -> int:
    """What the kernel says is available (proc(5), meminfo)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
