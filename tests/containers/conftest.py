"""Booted hosts with a real Docker engine, which have images."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from lab import Lab, default_hosts

from tests.vms.conftest import CACHE, environments, lab_folder, new_operator
from tests.vms.operator import COMPUTE, FLEET, Operator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["environments"]

IMAGE = "example.org/xcube:1"
BASE = "example.org/debian:12"
"""Debian with its Python, and without any environment."""

CONTAINED = (
    FLEET
    + f"""\
runtime: compose
environment: {{image: "{IMAGE}"}}
# A host of the lab may have no more open than the machine that it is on.
containers: {{nofile: 16384}}
"""
)

# What a Dockerfile would have put into it; there is no registry whose base image could be had.
_IMPORT = """\
environment=$(ls -d /var/lib/dask-fleet/environments/*)
pack() {
  tar -C / --exclude=usr/share/doc --exclude=usr/share/locale --exclude='usr/bin/*docker*' \\
    --exclude='usr/bin/containerd*' --exclude=usr/sbin/dockerd -c bin sbin lib lib64 usr \\
    etc/passwd etc/group etc/ssl etc/ld.so.cache "$@"
}
pack "${environment#/}" |
  docker import --change "ENV PATH=$environment/bin:/usr/bin:/bin" - "$1"
pack | docker import --change "ENV PATH=/usr/bin:/bin" - "$2"
"""


@pytest.fixture(scope="session")
def images(environments: Path) -> Path:
    """What an engine has stored that has the images."""
    how = hashlib.sha256(_IMPORT.encode()).hexdigest()[:8]
    stored = CACHE / "containers" / f"images-{environments.name}-{how}"
    if not stored.exists():
        with Lab(lab_folder(), default_hosts(1, engine=True), layers=(environments,)) as lab:
            host = lab.scheduler
            host.run(["sh", "-euc", _IMPORT, "import", IMAGE, BASE], timeout=300)
            host.run(["systemctl", "stop", "docker.service", "docker.socket", "containerd"])
            half = stored.with_name(f"{stored.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            half.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", str(host.stored), str(half)], check=True, timeout=300)
            half.rename(stored)
    return stored


@pytest.fixture(scope="session")
def lab(images: Path) -> Iterator[Lab]:
    """Five booted hosts, each with an engine that has the image."""
    with Lab(lab_folder(), default_hosts(5, engine=True), images=images) as lab:
        yield lab


@pytest.fixture(scope="session")
def operator(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Somebody whose fleet.yaml is the set-up of the lab, in containers."""
    one = new_operator(lab, tmp_path_factory.mktemp("operator"))
    contained = Contained(lab, one.folder, one.variables)
    contained.write(CONTAINED)
    return contained


class Contained(Operator):
    """The operator of a fleet of containers."""

    def compute(self) -> str:
        """As on hosts, from within the scheduler's container."""
        address = "ADDRESS=tcp://10.77.0.11:8786"
        inside = ["docker", "exec", "dask-fleet.sst.dask-scheduler"]
        argv = [*inside, "env", address, "python", "-c", COMPUTE]
        return self.lab.scheduler.run(argv, timeout=60).stdout.strip()
