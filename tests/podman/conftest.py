"""Booted hosts with Podman in Docker's place, which have images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab import Lab, default_hosts

from tests.containers.conftest import environments, operator, stored_images
from tests.vms.conftest import lab_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["environments", "operator"]


@pytest.fixture(scope="session")
def lab(environments: Path) -> Iterator[Lab]:
    """Five booted hosts, each with Podman that has the image."""
    images = stored_images(environments, "podman")
    with Lab(lab_folder(), default_hosts(5, engine="podman"), images=images) as lab:
        yield lab
