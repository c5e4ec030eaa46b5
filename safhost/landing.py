"""Results handed to a function where they lie, and inputs written where they travel from.

A job that serves requests must not copy: :class:`Fill` writes a unit's input straight into shared memory, and `land`
gets views of its outputs there. Each unit is told exactly once, as landed or as failed, in whatever way the job ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.errors import ConfigError, JobError, SafError, SchedulingError
from safhost.unitplan import Fill, UnitResult

Land = Callable[[int, tuple[NDArray[Any], ...], UnitResult], None]
LandFailed = Callable[[int, SafError, UnitResult], None]


class Landing:
    """What a job does with units instead of keeping their results. Raises ConfigError for what cannot be called."""

    def __init__(self, land: Land, failed: LandFailed | None) -> None:
        if not callable(land) or (failed is not None and not callable(failed)):
            raise ConfigError("land and land_failed are functions", "land(index, views, info), land_failed(index, "
                              "error, info)")
        self._land = land
        self._failed = failed

    def land(self, result: UnitResult, outputs: list[NDArray[Any]]) -> None:
        """``outputs`` are views that are good until this returns."""
        self._land(result.index, tuple(outputs), result)

    def failed(self, job: Any, index: int, tag: Any, error: SafError, card: str = "") -> None:
        """The unit has no result, for good."""
        if self._failed is not None:
            self._failed(index, error, UnitResult(job, index, None, error, card, tag=tag))

    def lost(self, job: Any, index: int, tag: Any, error: JobError | None) -> None:
        """The job ended before the unit did."""
        cause = error.__cause__ if error is not None else None
        self.failed(job, index, tag, cause if isinstance(cause, SafError) else error if error is not None
                    else SchedulingError("the job ended before the unit did"))


def fill_inputs(views: list[NDArray[Any]], arrays: list[Any]) -> None:
    """Lay a unit's inputs into their places; raises what a :class:`Fill` raises."""
    for view, array in zip(views, arrays, strict=True):
        if type(array) is Fill:
            array.fill(view)
        else:
            np.copyto(view, array)


__all__ = ["Land", "LandFailed", "Landing", "fill_inputs"]
