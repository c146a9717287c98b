"""From layout to what should be on each host: unit files, Dask configuration, launcher."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from dask_fleet.layout import Scheduler, Worker
from dask_fleet.proxy.own_nginx import own_command
from dask_fleet.published import INVENTORY
from dask_fleet.target import HostTarget, ManagedFile, UnitTarget, digest_of
from dask_fleet.tls.certificates import CA_FILE, KEY_FILE, dask_configuration

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.layout import Layout, Unit
    from dask_fleet.places import Places
    from dask_fleet.runtimes.base import Runtime

__all__ = [
    "CONSOLE",
    "DEFAULTED",
    "SCHEDULER_DEFAULTS",
    "WORKER_DEFAULTS",
    "host_target",
]

WORKER_DEFAULTS: Mapping[str, str] = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "6640",
}
"""What the launcher (``host/fleet_process.py``) sets for workers, unless Dask's configuration or
the fleet says otherwise. Set from the start, it saves the launcher from starting twice."""

SCHEDULER_DEFAULTS: Mapping[str, str] = {"OPENBLAS_NUM_THREADS": "1"}
"""A scheduler computes nothing, but it imports numpy for its dashboard, and the threads that
OpenBLAS then starts spin for a tenth of a second on CPUs that the imports need."""

CONSOLE = "fleet_console/"
"""Where those files of the launcher are that the scheduler alone needs. A change of them restarts
no worker, and one of pages, styles and scripts, which are read anew, not even the scheduler."""

DEFAULTED = "DASK_FLEET_DEFAULTED"
"""The launcher's variable that names which of them are mere defaults."""


def host_target(
    layout: Layout,
    host: str,
    environment: Environment,
    places: Places,
    runtime: Runtime,
    launcher: Mapping[str, bytes],
    credentials: Mapping[str, bytes] | None = None,
    inventory: bytes | None = None,
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
    credentials : Mapping of str to bytes, optional
        Certificates and the key of that host, by file name, if the fleet speaks TLS.
    inventory : bytes, optional
        What the console is told (`dask_fleet.published`), on the scheduler's host.
    """
    if not layout.units_on(host):
        return HostTarget(host, places, environment, (), ())
    mode = 0o640 if runtime.reader else 0o600
    certificates = tuple(
        ManagedFile(f"{places.tls}/{name}", content, mode, secret=name == KEY_FILE)
        for name, content in sorted((credentials or {}).items())
    )
    settings = layout.dask_configuration
    if certificates:
        settings = _merged(settings, dask_configuration(places.tls))
    configuration = ManagedFile(f"{places.deployed}/dask.yaml", _yaml(settings), mode)
    programs = tuple(
        ManagedFile(f"{places.deployed}/launcher/{name}", content, mode)
        for name, content in sorted(launcher.items())
        if host == layout.scheduler.host or not name.startswith(CONSOLE)
    )
    told: tuple[ManagedFile, ...] = ()
    if inventory is not None:
        told = (ManagedFile(f"{places.deployed}/{INVENTORY}", inventory, mode),)
    # Processes take over another certificate and key while they run, but not another authority.
    trusted = (file for file in certificates if file.path.endswith(f"/{CA_FILE}"))
    console = tuple(file for file in programs if f"/launcher/{CONSOLE}" in file.path)
    shared = digest_of(
        environment.digest.encode(),
        configuration.content,
        *_parts(file for file in (*programs, *trusted) if file not in console),
    )
    own = {
        "door": (),
        "scheduler": _parts(file for file in console if file.path.endswith(".py")),
        "workers": (),
    }
    units = tuple(
        _defined(
            _unit_target(
                layout,
                unit,
                environment,
                places,
                configuration.path,
                digest_of(shared.encode(), *own[unit.role]),
                runtime,
            ),
            layout.name,
            places,
            runtime,
        )
        for unit in layout.units_on(host)
    )
    files = (
        configuration,
        *told,
        *programs,
        *certificates,
        *(unit.file(mode) for unit in units),
        *runtime.files(places, layout.name, units),
    )
    return HostTarget(host, places, environment, files, units)


def _parts(files: Iterable[ManagedFile]) -> tuple[bytes, ...]:
    return tuple(part for file in files for part in (file.path.encode(), file.content))


def _unit_target(
    layout: Layout,
    unit: Unit,
    environment: Environment,
    places: Places,
    configuration: str,
    shared: str,
    runtime: Runtime,
) -> UnitTarget:
    if unit.role == "door":
        return _door_unit(layout, unit, places)
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
            "listen": runtime.bound(scheduler.listen),
            "contact": scheduler.contact,
            "port": scheduler.port,
            "dashboard_port": scheduler.dashboard_port,
        }
    else:
        declared |= {
            "scheduler": layout.scheduler_address,
            "workers": [
                _worker(process, places) | {"listen": runtime.bound(process.listen)}
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
        variables=(
            ("DASK_CONFIG", configuration),
            ("PYTHONUNBUFFERED", "1"),
            *_defaults(layout, unit),
        ),
        path=path,
        declared=declared | {"digest": digest},
        ports=tuple(ports),
        processes=tuple(process.name for process in unit.processes),
    )


def _door_unit(layout: Layout, unit: Unit, places: Places) -> UnitTarget:
    """Return the unit of an nginx of our own; what it serves is read anew, not started from."""
    command = own_command(places)
    declared = {"name": unit.name, "role": unit.role, "command": list(command)}
    digest = digest_of(json.dumps(declared, sort_keys=True).encode())
    return UnitTarget(
        name=unit.name,
        role=unit.role,
        digest=digest,
        command=command,
        variables=(),
        path=f"{places.deployed}/units/{unit.name}.json",
        declared=declared | {"digest": digest},
        ports=((layout.door.listen, layout.door.port),) if layout.door else (),
        processes=(),
    )


def _defined(unit: UnitTarget, fleet: str, places: Places, runtime: Runtime) -> UnitTarget:
    """Return a unit whose digest covers what its runtime is told of it, such as the user."""
    digest = digest_of(unit.digest.encode(), runtime.definition(places, fleet, unit))
    return replace(unit, digest=digest, declared={**unit.declared, "digest": digest})


def _yaml(configuration: Mapping[str, object]) -> bytes:
    if not configuration:
        return b"{}\n"
    import yaml

    return yaml.safe_dump(dict(configuration), sort_keys=True).encode()


def _merged(low: Mapping[str, object], high: Mapping[str, object]) -> dict[str, object]:
    """Return both nested settings as one; where both say something, the second is right."""
    merged = dict(low)
    for key, value in high.items():
        under = merged.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            inner = cast("Mapping[str, object]", under), cast("Mapping[str, object]", value)
            merged[key] = _merged(*inner)
        else:
            merged[key] = value
    return merged


def _defaults(layout: Layout, unit: Unit) -> Iterator[tuple[str, str]]:
    """Yield the defaults of a unit's variables, and for workers the mark that says they are."""
    defaults = {
        name: value
        for name, value in (
            WORKER_DEFAULTS if unit.role == "workers" else SCHEDULER_DEFAULTS
        ).items()
        if name not in layout.environment_variables
    }
    yield from defaults.items()
    if unit.role == "workers" and DEFAULTED not in layout.environment_variables:
        yield DEFAULTED, ",".join(defaults)


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
