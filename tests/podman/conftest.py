"""Booted hosts with Podman in Docker's place, which have images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab import Lab, default_hosts

from tests.containers.conftest import CONTAINED, Contained, environments, stored_images
from tests.vms.conftest import lab_folder, new_operator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["environments"]


@pytest.fixture(scope="session")
def lab(environments: Path) -> Iterator[Lab]:
    """Five booted hosts, each with Podman that has the image."""
    images = stored_images(environments, "podman")
    with Lab(lab_folder(), default_hosts(5, engine="podman"), images=images) as lab:
        yield lab


@pytest.fixture(scope="session")
def operator(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Contained:
    """Somebody whose fleet.yaml is the set-up of the lab, in containers."""
    one = new_operator(lab, tmp_path_factory.mktemp("operator"))
    contained = Contained(lab, one.folder, one.variables)
    contained.write(CONTAINED)
    return contained
