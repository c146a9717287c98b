"""Three booted hosts with Docker, which have xcube's image and a base without environment too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Lab, default_hosts

from tests.vms.conftest import lab_folder
from tests.vms.layers import stored_images


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three booted hosts, each with an engine that has the images."""
    images = stored_images(lab_folder(), "xcube")
    with Lab(lab_folder(), default_hosts(3, engine="docker"), images=images) as lab:
        yield lab
