r"""Makes what hosts of the labs begin with: the environment's layer, and what engines have stored.

Tests make what is missing; ahead of them, all of it or a part::

    python -m lab --name seed --engine --podman run -- \
        .venv/bin/python -m tests.vms.layers docker podman xcube
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from lab import HostSpec, Lab
from lab.base import locked
from packaging.utils import canonicalize_name

from tests.vms.operator import Operator

if TYPE_CHECKING:
    from collections.abc import Sequence

CACHE = Path(__file__).parents[2] / ".cache" / "tests"
SHIPPING = Path(__file__).parents[2] / "src" / "dask_fleet" / "wheels"
KEPT = 2
"""How many environments stay in the cache: each has more than a gigabyte."""

ENVIRONMENTS = "var/lib/dask-fleet/environments"
ONE_HOST = """\
name: seed
hosts:
  dask-scheduler: {address: 10.77.0.11, memory: 4 GiB, ssh: {sudo: true}}
workers:
  default: {per_host: 2, nthreads: 1, memory_limit: 512 MiB}
"""

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

# What a Dockerfile would have put into them; there is no registry whose base image could be had.
_PACK = f"""\
environment=$(ls -d /{ENVIRONMENTS}/*)
inside="${{environment#/}}"
pack() {{
  tar -C / --exclude=usr/share/doc --exclude=usr/share/locale --exclude=usr/share/man \\
    --exclude='usr/bin/*docker*' --exclude='usr/bin/containerd*' --exclude=usr/sbin/dockerd \\
    --exclude=usr/bin/ctr --exclude=usr/bin/dnet --exclude=usr/lib/python3/dist-packages \\
    -c bin sbin lib lib64 usr etc/passwd etc/group etc/ssl etc/ld.so.cache "$@"
}}
"""
_SMALL = f"""\
pack "$inside/bin" "$inside/pyvenv.cfg" \\
  $(for name in "$@"; do echo "$inside/lib/python3.11/site-packages/$name"; done) |
  docker import --change "ENV PATH=$environment/bin:/usr/bin:/bin" - {IMAGE}
"""
_LARGE = f"""\
pack "$inside" |
  docker import --change "ENV PATH=$environment/bin:/usr/bin:/bin" - {XCUBE}
pack | docker import --change "ENV PATH=/usr/bin:/bin" - {BASE}
"""


@dataclass(frozen=True)
class _Store:
    """What an engine has stored when a lab begins.

    Parameters
    ----------
    engine
        ``docker`` or ``podman``.
    script
        What imports the images, on a host that has the environment.
    end
        What ends the engine.
    """

    engine: str
    script: str
    end: str


_END = "systemctl stop docker.service docker.socket containerd"
STORES = {
    "docker": _Store("docker", _PACK + _SMALL, _END),
    "podman": _Store("podman", _PACK + _SMALL, "true"),
    "xcube": _Store("docker", _PACK + _SMALL + _LARGE, _END),
}
"""By name: Docker's or Podman's with `IMAGE` alone, and Docker's with `XCUBE` and `BASE` too."""


def new_operator(lab: Lab, folder: Path) -> Operator:
    """Return somebody who has an empty folder, and the wheels that are gathered already."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = {"XDG_CACHE_HOME": str(CACHE / "cache"), "XDG_DATA_HOME": str(folder / "data")}
    return Operator(lab, folder, variables)


def layer_name() -> str:
    """Return the name of a layer that the present code has shipped; other code makes another."""
    from dask_fleet.assembly import declare

    code = b"".join(path.read_bytes() for path in sorted(SHIPPING.glob("*.py")))
    digest = hashlib.sha256(code).hexdigest()[:8]
    return f"layer-{declare(None, {}).environment.digest}-{digest}"


def layer(folder: Path) -> Path:
    """Return the layer with the xcube environment, as a real `up` has shipped it to a bare host.

    Parameters
    ----------
    folder
        That of the lab, in whose network this is; a host is booted there if there is no layer.
    """
    made = CACHE / "vms" / layer_name()
    with locked(CACHE / "vms" / "lock"):
        if not made.exists():
            with (
                tempfile.TemporaryDirectory() as home,
                Lab(folder, [HostSpec("dask-scheduler", 11)]) as lab,
            ):
                operator = new_operator(lab, Path(home))
                operator.write(ONE_HOST)
                said = operator.call("up", "--yes", timeout=600).stdout
                assert "sending" in said
                assert "2 workers registered" in said
                half = _half(made)
                (half / ENVIRONMENTS).parent.mkdir(parents=True)
                _link(lab.scheduler.upper / ENVIRONMENTS, half / ENVIRONMENTS)
                half.rename(made)
            _forget(made.parent, "layer")
    return made


def stored_images(folder: Path, name: str) -> Path:
    """Return what an engine has stored that has images; let one import them if none has.

    Parameters
    ----------
    folder
        That of the lab, in whose network this is.
    name
        One of `STORES`.
    """
    environments = layer(folder)
    needed = _parts(environments)
    store = STORES[name]
    how = hashlib.sha256(" ".join((store.script, *needed)).encode()).hexdigest()[:8]
    stored = CACHE / "containers" / f"{name}-{environments.name}-{how}"
    with locked(CACHE / "containers" / f"{name}.lock"):
        if not stored.exists():
            only = [HostSpec("dask-scheduler", 11, engine=store.engine)]
            with Lab(folder, only, layers=(environments,)) as lab:
                host = lab.scheduler
                host.run(["sh", "-euc", store.script, "import", *needed], timeout=600)
                host.run(store.end)
                host.power_cut()
                half = _half(stored)
                # With owners, also onto another disk.
                subprocess.run(["mv", str(host.stored), str(half)], check=True, timeout=600)
                half.rename(stored)
            _forget(stored.parent, name)
    return stored


def _parts(environments: Path) -> list[str]:
    """Return what packages that are `NEEDED` have in ``site-packages``."""
    (place,) = environments.glob(f"{ENVIRONMENTS}/*/lib/python3.11/site-packages")
    found = {canonicalize_name(one.name): one for one in distributions(path=[str(place)])}
    files = [file for name in NEEDED.split() for file in found[canonicalize_name(name)].files or ()]
    return sorted({file.parts[0] for file in files} - {".."})


def _link(source: Path, target: Path) -> None:
    """Give files of a host a second name: the host goes, and nothing writes to them."""
    subprocess.run(["cp", "-al", str(source), str(target)], check=True, timeout=600)


def _half(made: Path) -> Path:
    """Return where something is made that gets its name when it is whole."""
    half = made.with_name(f"{made.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.parent.mkdir(parents=True, exist_ok=True)
    return half


def _forget(folder: Path, kind: str) -> None:
    """Remove all but the newest of a kind."""
    by_age = sorted(folder.glob(f"{kind}-*"), key=lambda path: path.stat().st_ctime)
    for old in by_age[:-KEPT]:
        shutil.rmtree(old)


def main(names: Sequence[str]) -> None:
    """Make the layer, and what engines have stored, by the names of `STORES`."""
    folder = Path(os.environ["DASK_FLEET_LAB"])
    began = time.monotonic()
    print(f"{layer(folder).name}: {time.monotonic() - began:.0f} s", flush=True)
    for name in names:
        began = time.monotonic()
        print(f"{stored_images(folder, name).name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
