"""From layout to what should be on each host: unit files, Dask configuration, launcher."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import yaml

from dask_fleet.layout import Scheduler, Worker
from dask_fleet.target import HostTarget, ManagedFile, UnitTarget, digest_of

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.layout import Layout, Unit
    from dask_fleet.places import Places
    from dask_fleet.runtimes.base import Runtime

__all__ = ["host_target"]


def host_target(
    layout: Layout,
    host: str,
    environment: Environment,
    places: Places,
    runtime: Runtime,
    launcher: Mapping[str, bytes],
) -> HostTarget:
    """Return everything that should be on a host.

    Parameters
    ----------
    layout : Layout
        The fleet as declared.
    host : str
        Name of the host.
    environment : Environment
        What its processes run in.
    places : Places
        Directories on that host.
    runtime : Runtime
        What runs its processes.
    launcher : Mapping of str to bytes
        The modules that start scheduler and workers there, by file name.
    """
    configuration = ManagedFile(
        f"{places.deployed}/dask.yaml",
        yaml.safe_dump(dict(layout.dask_configuration), sort_keys=True).encode(),
    )
    programs = tuple(
        ManagedFile(f"{places.deployed}/launcher/{name}", content)
        for name, content in sorted(launcher.items())
    )
    shared = digest_of(
        environment.digest.encode(),
        configuration.content,
        *(part for file in programs for part in (file.path.encode(), file.content)),
    )
    units = tuple(
        _unit_target(layout, unit, environment, places, configuration.path, shared)
        for unit in layout.units_on(host)
    )
    files = (
        configuration,
        *programs,
        *(unit.file() for unit in units),
        *runtime.files(places, layout.name, units),
    )
    return HostTarget(host, places, environment, files, units)


def _unit_target(
    layout: Layout,
    unit: Unit,
    environment: Environment,
    places: Places,
    configuration: str,
    shared: str,
) -> UnitTarget:
    declared: dict[str, object] = {
        "name": unit.name,
        "role": unit.role,
        "run_directory": places.run,
        "configuration": configuration,
        "environment": dict(layout.environment_variables),
        "release": environment.digest,
    }
    ports: list[tuple[str, int]] = []
    for process in unit.processes:
        ports.extend((process.listen, port) for port in process.ports.values())
    if unit.role == "scheduler":
        (scheduler,) = unit.processes
        if not isinstance(scheduler, Scheduler):
            raise TypeError(f"unit {unit.name} of role scheduler holds {scheduler!r}")
        declared |= {
            "listen": scheduler.listen,
            "contact": scheduler.contact,
            "port": scheduler.port,
            "dashboard_port": scheduler.dashboard_port,
        }
    else:
        declared |= {
            "scheduler": layout.scheduler_address,
            "workers": [
                _worker(process, places)
                for process in unit.processes
                if isinstance(process, Worker)
            ],
        }
    digest = digest_of(shared.encode(), json.dumps(declared, sort_keys=True).encode())
    path = f"{places.deployed}/units/{unit.name}.json"
    return UnitTarget(
        name=unit.name,
        role=unit.role,
        digest=digest,
        command=(
            places.interpreter(environment.digest),
            "-u",
            f"{places.deployed}/launcher/launch.py",
            path,
        ),
        variables=(("DASK_CONFIG", configuration), ("PYTHONUNBUFFERED", "1")),
        path=path,
        declared=declared | {"digest": digest},
        ports=tuple(ports),
        processes=tuple(process.name for process in unit.processes),
    )


def _worker(worker: Worker, places: Places) -> dict[str, object]:
    return {
        "name": worker.name,
        "listen": worker.listen,
        "contact": worker.contact,
        "port": worker.port,
        "nanny_port": worker.nanny_port,
        "dashboard_port": worker.dashboard_port,
        "nthreads": worker.nthreads,
        "memory_limit": worker.memory_limit,
        "resources": dict(worker.resources),
        "directory": places.work,
    }
