"""What tests of the whole shell share: the library that they run, and cards with a host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rtl_owner import Owner, connected

from safhost.lab.rtl_build import build_card_library


@pytest.fixture(scope="session")
def library() -> None:
    """The RTL, compiled: minutes for the first who asks."""
    build_card_library()


@pytest.fixture(params=["virtual", "rtl"])
def host(request: pytest.FixtureRequest, library: None) -> Iterator[Owner]:
    """A host of a virtual card, and of the RTL: both do the same."""
    host = connected(request.param)
    yield host
    host.card.close()


@pytest.fixture
def rtl(library: None) -> Iterator[Owner]:
    """A host of the RTL."""
    host = connected("rtl")
    yield host
    host.card.close()
