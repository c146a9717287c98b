"""Booted hosts with a real Docker engine, which have images."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from importlib.metadata import distributions
from typing import TYPE_CHECKING

import pytest
from lab import Lab, default_hosts
from packaging.utils import canonicalize_name

from tests.vms.conftest import CACHE, LAYERS_KEPT, environments, lab_folder, new_operator
from tests.vms.operator import COMPUTE, FLEET, Operator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["environments"]

IMAGE = "example.org/dask:1"
"""What scheduler, workers and their dashboards need: a small part of xcube's environment."""
XCUBE = "example.org/xcube:1"
BASE = "example.org/debian:12"
"""Debian with its Python, and without any environment."""

NEEDED = """
bokeh click cloudpickle contourpy dask distributed fsspec importlib-metadata jinja2 lazy-importer
locket markupsafe msgpack narwhals numpy packaging pandas partd pillow prometheus-client psutil
python-dateutil pytz pyyaml setproctitle six sortedcontainers tblib toolz tornado tzdata urllib3
xyzservices zict zipp
"""
"""The packages of xcube's environment that are in `IMAGE`."""

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
_IMPORT = f"""\
environment=$(ls -d /var/lib/dask-fleet/environments/*)
pack() {{
  tar -C / --exclude=usr/share/doc --exclude=usr/share/locale --exclude=usr/share/man \\
    --exclude='usr/bin/*docker*' --exclude='usr/bin/containerd*' --exclude=usr/sbin/dockerd \\
    --exclude=usr/bin/ctr --exclude=usr/bin/dnet --exclude=usr/lib/python3/dist-packages \\
    -c bin sbin lib lib64 usr etc/passwd etc/group etc/ssl etc/ld.so.cache "$@"
}}
inside="${{environment#/}}"
pack "$inside" |
  docker import --change "ENV PATH=$environment/bin:/usr/bin:/bin" - {XCUBE}
pack "$inside/bin" "$inside/pyvenv.cfg" \\
  $(for name in "$@"; do echo "$inside/lib/python3.11/site-packages/$name"; done) |
  docker import --change "ENV PATH=$environment/bin:/usr/bin:/bin" - {IMAGE}
pack | docker import --change "ENV PATH=/usr/bin:/bin" - {BASE}
"""


def parts(environments: Path) -> list[str]:
    """Return what packages that are `NEEDED` have in ``site-packages``."""
    (place,) = environments.glob("var/lib/dask-fleet/environments/*/lib/python3.11/site-packages")
    found = {canonicalize_name(one.name): one for one in distributions(path=[str(place)])}
    files = [file for name in NEEDED.split() for file in found[canonicalize_name(name)].files or ()]
    return sorted({file.parts[0] for file in files} - {".."})


_STORES = {
    "docker": ("images", "systemctl stop docker.service docker.socket containerd"),
    "podman": ("podman-images", "true"),
}
"""How the folder of what an engine has stored begins, and what ends the engine."""


def stored_images(environments: Path, engine: str = "docker") -> Path:
    """Return what an engine has stored that has the images; let one import them if none has."""
    needed = parts(environments)
    how = hashlib.sha256(" ".join((_IMPORT, *needed)).encode()).hexdigest()[:8]
    kind, end = _STORES[engine]
    stored = CACHE / "containers" / f"{kind}-{environments.name}-{how}"
    if not stored.exists():
        with Lab(lab_folder(), default_hosts(1, engine=engine), layers=(environments,)) as lab:
            host = lab.scheduler
            host.run(["sh", "-euc", _IMPORT, "import", *needed], timeout=300)
            host.run(end)
            half = stored.with_name(f"{stored.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            half.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", str(host.stored), str(half)], check=True, timeout=300)
            half.rename(stored)
        by_age = sorted(stored.parent.glob(f"{kind}-*"), key=lambda path: path.stat().st_ctime)
        for old in by_age[:-LAYERS_KEPT]:
            shutil.rmtree(old)
    return stored


@pytest.fixture(scope="session")
def images(environments: Path) -> Path:
    """What an engine has stored that has the images."""
    return stored_images(environments)


@pytest.fixture(scope="session")
def lab(images: Path) -> Iterator[Lab]:
    """Five booted hosts, each with an engine that has the image."""
    with Lab(lab_folder(), default_hosts(5, engine="docker"), images=images) as lab:
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
