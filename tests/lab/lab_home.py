"""A state folder of a test's own, for fixtures that serve a whole file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safhost.lab import manager
from safhost.lab.state import LabSpec


@contextmanager
def home_at(folder: Path) -> Iterator[Path]:
    """safhost keeps its state in ``folder`` and has no configuration or cluster of another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFHOST_STATE", str(folder))
        for variable in ("SAFHOST_RUNTIME", "SAFHOST_CONFIG", "SAFHOST_CLUSTER"):
            patch.delenv(variable, raising=False)
        yield folder


@contextmanager
def lab_at(folder: Path, spec: LabSpec) -> Iterator[None]:
    """A lab that is up, in a home of its own."""
    with home_at(folder):
        manager.up(spec, timeout_s=40)
        yield
        manager.down(spec.name)
