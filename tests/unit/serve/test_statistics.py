from __future__ import annotations

import threading
from pathlib import Path

import pytest

from safhost.errors import SafError
from safhost.serve.statistics import BATCH_SIZES, ROWS, Counters


def test_any_worker_answers_for_all(tmp_path: Path) -> None:
    file = tmp_path / "counters"
    first, second = Counters.open(file, 0, 2), Counters.open(file, 1, 2)
    a, b = first.row("m", 1), second.row("m", 1)
    second.row("m", 2).failed("BACKEND", 5)
    a.executed(8, 2, 100, 10, 1, 2, 3)
    b.executed(8, 1, 50, 5, 1, 2, 3)
    b.executed(3, 1, 50, 5, 1, 2, 3)
    b.failed("REJECTED", 7)
    a.pending(3)
    b.pending(1)
    for counters in (first, second):
        sums = counters.totals("m", 1)
        assert (sums.inferences, sums.executions, sums.successes, sums.success_ns) == (19, 3, 4, 200)
        assert (sums.queue_ns, sums.input_ns, sums.infer_ns, sums.output_ns) == (20, 4, 8, 12)
        assert sums.batches == {3: (1, 1, 2, 3), 8: (2, 2, 4, 6)}
        assert (sums.failures, sums.fail_ns, sums.pending) == (1, 7, 4)
        assert sums.reasons == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 0, "OTHER": 0}


def test_a_worker_that_comes_again_goes_on_with_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "counters"
    row = Counters.open(file, 0, 1).row("m", 1)
    row.executed(1, 1, 1, 1, 1, 1, 1)
    row.pending(2)
    again = Counters.open(file, 0, 1)
    row = again.row("m", 1)
    row.executed(1, 1, 1, 1, 1, 1, 1)
    assert again.totals("m", 1).successes == 2
    assert again.totals("m", 1).pending == 0
    assert again.totals("m", 1).batches == {1: (2, 2, 2, 2)}
    row.free()
    assert again.row("m", 1) is not None
    assert again.totals("m", 1).successes == 0, "a model that is loaded again begins at zero"


def test_threads_lose_no_count() -> None:
    counters = Counters()
    row = counters.row("m", 1)
    threads = [threading.Thread(target=lambda: [row.executed(2, 1, 1, 1, 1, 1, 1) for _ in range(500)])
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.totals("m", 1).inferences == 4000


def test_batch_sizes_beyond_those_listed_are_counted_otherwise() -> None:
    counters = Counters()
    row = counters.row("m", 1)
    for size in range(1, BATCH_SIZES + 10):
        row.executed(size, 1, 1, 1, 1, 1, 1)
    sums = counters.totals("m", 1)
    assert (len(sums.batches), sums.executions) == (BATCH_SIZES, BATCH_SIZES + 9)


def test_too_many_models_are_refused() -> None:
    counters = Counters()
    for number in range(ROWS):
        counters.row("m", number + 1)
    with pytest.raises(SafError, match="more than"):
        counters.row("m", ROWS + 1)
