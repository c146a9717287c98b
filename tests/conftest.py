"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.namespace import outside

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(autouse=True)
def _online(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test that is marked `online` out of the network of its worker."""
    if request.node.get_closest_marker("online") is None:
        yield
        return
    with outside():
        yield
