"""Booted hosts with Podman in Docker's place, which have images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab import Lab, default_hosts

from tests.containers.conftest import operator
from tests.vms.conftest import lab_folder
from tests.vms.layers import stored_images

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["operator"]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Five booted hosts, each with Podman that has the image."""
    images = stored_images(lab_folder(), "podman")
    with Lab(lab_folder(), default_hosts(5, engine="podman"), images=images) as lab:
        yield lab
