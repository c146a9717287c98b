"""The files of a host whose processes are containers: ``docker-compose.yml`` and ``.env``.

They can be read and used by hand: ``docker compose up -d`` in their folder gives what `dask fleet
up` gives. The format is what both the compose plugin and docker-compose 1.27 and later read
(https://docs.docker.com/reference/compose-file/).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from dask_fleet.places import Places
from dask_fleet.runtimes.limits import memory_of, threads_of
from dask_fleet.target import UnitTarget, digest_of

__all__ = [
    "LABELS",
    "STOP_SECONDS",
    "Contained",
    "Mount",
    "compose_file",
    "container",
    "environment_file",
    "service",
    "volumes",
]

STOP_SECONDS = 30
"""How long a container may take to stop before it is killed: nannies give their workers 12 s."""

LABELS = "dask-fleet"
"""What our labels of a container begin with."""

_LOG_SIZE, _LOG_FILES = "10m", 5
"""Size of a log file of a container, and how many of them are kept."""


@dataclass(frozen=True, slots=True)
class Mount:
    """What a named volume is: kind of file system, what is mounted, and with which options."""

    name: str
    type: str
    device: str
    options: str = ""


@dataclass(frozen=True, slots=True)
class Contained:
    """What is the same for all containers of a host.

    Attributes
    ----------
    host : str
        Name of the host; processes see it as theirs.
    image : str
        The image's name, with tag or digest.
    user : str
        Numeric user and group that processes run as, ``UID:GID``. An engine without root has the
        login as its root: 0:0.
    nofile : int
        Files that a container may have open at once.
    interpreter : str
        Python in the image: a name on its PATH, or an absolute path.
    volumes : tuple of str
        More volumes, as compose has them: ``/data:/data`` or ``NAME:/data``.
    mounts : tuple of Mount
        Named volumes that are more than a folder that Docker keeps.
    limit_cpus : bool
        Whether containers of workers have no more CPUs than their workers have threads.
    rootless : bool
        Whether the engine is the login's own.
    """

    host: str
    image: str
    user: str
    nofile: int = 65536
    interpreter: str = "python"
    volumes: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    limit_cpus: bool = False
    rootless: bool = False


def container(fleet: str, unit: str) -> str:
    """Return the name of a unit's container."""
    return f"dask-fleet.{fleet}.{unit}"


def environment_file(fleet: str, contained: Contained) -> str:
    """Return the ``.env`` file, from which compose takes what stands as ``${...}``.

    A variable of the shell goes before one of the file, so that their names are unlike any other.
    """
    lines = (
        f"# Written by dask-fleet for the fleet {fleet}; `dask fleet up` replaces what is edited.",
        f"COMPOSE_PROJECT_NAME=dask-fleet-{fleet}",
        f"FLEET_IMAGE={contained.image}",
        f"FLEET_PYTHON={contained.interpreter}",
        f"FLEET_USER={contained.user}",
    )
    return "\n".join(lines) + "\n"


def compose_file(
    places: Places, fleet: str, units: Sequence[UnitTarget], contained: Contained
) -> str:
    """Return the text of ``docker-compose.yml``.

    Parameters
    ----------
    places : Places
        Directories on the host; containers have them under the same names.
    fleet : str
        Name of the fleet.
    units : sequence of UnitTarget
        What is to run; each is a service.
    contained : Contained
        Image, user and volumes.
    """
    head = f"""\
# Written by dask-fleet for the fleet {fleet}; `dask fleet up` replaces what is edited here.
# By hand, in this folder: `docker compose up -d`, or `docker-compose up -d` of old.
version: "3.8"

services:
"""
    services = "\n".join(service(places, fleet, unit, contained) for unit in units)
    declared = volumes(fleet, contained)
    return head + services + (f"\n{declared}" if declared else "")


def volumes(fleet: str, contained: Contained) -> str:
    """Return the part of ``docker-compose.yml`` that is about named volumes; empty without any.

    Docker keeps a volume as it was first made. So the name of one with options has their digest:
    with others it is another volume.
    """
    names = [name for one in contained.volumes if (name := one.partition(":")[0])[:1] not in "/.~"]
    mounts = {one.name: one for one in contained.mounts}
    declared: dict[str, object] = {}
    for name in names:
        mount = mounts.get(name)
        if mount is None:
            declared[name] = {}
            continue
        options = {"type": mount.type, "device": _escaped(mount.device)}
        if mount.options:
            options["o"] = _escaped(mount.options)
        digest = digest_of(json.dumps(options, sort_keys=True).encode())[:8]
        declared[name] = {
            "name": f"dask-fleet-{fleet}_{name}_{digest}",
            "driver": "local",
            "driver_opts": options,
        }
    return "".join(f"{line}\n" for line in _yaml({"volumes": declared})) if declared else ""


def service(places: Places, fleet: str, unit: UnitTarget, contained: Contained) -> str:
    """Return the part of ``docker-compose.yml`` that is about one unit."""
    _, *arguments = unit.command
    launcher = f"{places.deployed}/launcher"
    # The console shows the history and what the doctor found: files that are replaced by others of
    # the same name, so that they cannot be mounted themselves.
    scheduler = unit.role == "scheduler"
    read = (places.fleets,) if scheduler else (places.deployed,)
    # With or without a door: to have one is to change nothing that runs.
    written = (places.run, places.work, *((places.seen,) if scheduler else ()))
    health = ("CMD", "${FLEET_PYTHON}", "-I", "-S", f"{launcher}/fleet_health.py", unit.path)
    settings: Mapping[str, object] = {
        "image": "${FLEET_IMAGE}",
        "container_name": container(fleet, unit.name),
        "hostname": contained.host,
        "entrypoint": ["${FLEET_PYTHON}"],
        "command": [_escaped(word) for word in arguments],
        "user": "${FLEET_USER}",
        # The login, in the container's eyes root, may do there what the login may do, and no more.
        **({"cap_drop": ["ALL"]} if contained.rootless else {}),
        "working_dir": _escaped(places.work),
        "init": True,
        "restart": "always",
        "stop_grace_period": f"{STOP_SECONDS}s",
        "ports": [_published(address, port) for address, port in unit.ports],
        "volumes": [
            *(f"{_escaped(place)}:{_escaped(place)}:ro" for place in read),
            *(f"{_escaped(place)}:{_escaped(place)}" for place in written),
            *map(_escaped, contained.volumes),
        ],
        "environment": {
            "DASK_FLEET_DIGEST": unit.digest,
            **{name: _escaped(value) for name, value in unit.variables},
        },
        **_limits(unit),
        **_cpus(unit, contained),
        "ulimits": {"nofile": {"soft": contained.nofile, "hard": contained.nofile}},
        "logging": {
            "driver": "json-file",
            "options": {"max-size": _LOG_SIZE, "max-file": str(_LOG_FILES)},
        },
        "healthcheck": {
            "test": list(health),
            "interval": "15s",
            "timeout": "10s",
            "retries": 3,
            "start_period": "60s",
        },
        "labels": {
            f"{LABELS}.fleet": fleet,
            f"{LABELS}.unit": unit.name,
            f"{LABELS}.digest": unit.digest,
        },
    }
    return f"  {unit.name}:\n" + "".join(f"    {line}\n" for line in _yaml(settings))


def _published(address: str, port: int) -> str:
    if address in ("0.0.0.0", "::"):  # noqa: S104  # what is declared, not what we bind
        return f"{port}:{port}"
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}:{port}"


def _limits(unit: UnitTarget) -> dict[str, object]:
    memory = memory_of(unit)
    # As much swap as memory is none: Dask spills by itself, and knows what.
    return {"mem_limit": memory, "memswap_limit": memory} if memory else {}


def _cpus(unit: UnitTarget, contained: Contained) -> dict[str, object]:
    """Return the share of CPUs, which Dask reads from the container's group of processes."""
    threads = threads_of(unit)
    return {"cpus": str(threads)} if contained.limit_cpus and threads else {}


def _escaped(text: str) -> str:
    """Return text in which compose sees no variable."""
    return text.replace("$", "$$")


def _yaml(settings: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of a mapping; every scalar is quoted as JSON has it, which YAML reads too."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield f"{key}:"
            yield from (f"  {line}" for line in _yaml(cast("Mapping[str, object]", value)))
        elif isinstance(value, list) and key not in ("entrypoint", "command", "test"):
            if value:
                yield f"{key}:"
                yield from (f"  - {json.dumps(one)}" for one in cast("list[object]", value))
        else:
            yield f"{key}: {json.dumps(value)}"
