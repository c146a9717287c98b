"""Booted hosts with a real Docker engine, which have images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab import Lab, default_hosts

from tests.vms.conftest import lab_folder
from tests.vms.layers import IMAGE, new_operator, stored_images
from tests.vms.operator import COMPUTE, FLEET, Operator

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTAINED = (
    FLEET
    + f"""\
runtime: compose
environment: {{image: "{IMAGE}"}}
# A host of the lab may have no more open than the machine that it is on.
containers: {{nofile: 16384}}
"""
)

THREE = CONTAINED.replace("[0001-0004]", "[0001-0002]").replace("[12-15]", "[12-13]")
"""The same on three hosts."""


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Five booted hosts, each with an engine that has the image."""
    images = stored_images(lab_folder(), "docker")
    with Lab(lab_folder(), default_hosts(5, engine="docker"), images=images) as lab:
        yield lab


@pytest.fixture(scope="session")
def operator(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Contained:
    """Somebody who keeps a fleet of containers; whoever needs one declares it."""
    one = new_operator(lab, tmp_path_factory.mktemp("operator"))
    return Contained(lab, one.folder, one.variables)


class Contained(Operator):
    """The operator of a fleet of containers."""

    def compute(self) -> str:
        """As on hosts, from within the scheduler's container."""
        address = "ADDRESS=tcp://10.77.0.11:8786"
        inside = ["docker", "exec", "dask-fleet.sst.dask-scheduler"]
        argv = [*inside, "env", address, "python", "-c", COMPUTE]
        return self.lab.scheduler.run(argv, timeout=120).stdout.strip()
