"""Rigs for tests of the runtime: made by the test, checked and closed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runtime_rig import Rig, assert_closed, make_image, open_fds

from safhost.plan.image import Image


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """``make_rig(cards=2, …)``; nothing of any request may be left at the end, and no descriptor."""
    before = open_fds()
    made: list[Rig] = []

    def make(cards: int = 2, **options: object) -> Rig:
        folder = tmp_path / f"state{len(made)}"
        folder.mkdir()
        rig = Rig(folder, cards, **options)  # type: ignore[arg-type]
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.check_empty()
        rig.close()
    assert_closed(before)


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()


@pytest.fixture(scope="session")
def vadd(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return make_image(tmp_path_factory.mktemp("vadd"))


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One rig for the many small cases of a module."""
    rig = Rig(tmp_path_factory.mktemp("shared"), 2)
    yield rig
    rig.check_empty()
    rig.close()
