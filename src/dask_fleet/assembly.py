"""From a file to a `Fleet`: spec, layout, environment, and a way to each host."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet import this_machine
from dask_fleet.desired import host_target
from dask_fleet.environment import resolve_environment
from dask_fleet.errors import FleetError
from dask_fleet.fleet import Fleet
from dask_fleet.layout import THIS_MACHINE, HostFacts, lay_out
from dask_fleet.observer import HostAccess
from dask_fleet.places import Places
from dask_fleet.runtimes.supervisor import SupervisorRuntime
from dask_fleet.spec import load
from dask_fleet.transports.local import LocalTransport

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.layout import Host, Layout

__all__ = ["Declared", "declare", "open_fleet"]


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file says, checked and laid out; nothing is reached or started for it."""

    layout: Layout
    environment: Environment


def declare(path: Path | None, environ: Mapping[str, str]) -> Declared:
    """Return what a file declares; the fleet on this machine if there is none.

    Parameters
    ----------
    path : Path or None
        A fleet.yaml.
    environ : Mapping
        The caller's environment, for ``${VAR}``.

    Raises
    ------
    SpecError
        With every problem of the file, or of the lock file that it names.
    """
    facts = HostFacts(cpus=this_machine.cpus(), memory=this_machine.memory())
    spec = load(path, environ, host_memory={THIS_MACHINE: this_machine.memory()})
    base = path.parent if path else Path()
    environment = resolve_environment(
        spec.environment, lambda name: (base / name).read_text(encoding="utf-8")
    )
    return Declared(lay_out(spec, {THIS_MACHINE: facts}), environment)


def open_fleet(path: Path | None, environ: Mapping[str, str]) -> Fleet:
    """Return the fleet that a file declares, with a way to each of its hosts.

    Parameters
    ----------
    path : Path or None
        A fleet.yaml; ``None`` is the fleet on this machine.
    environ : Mapping
        The caller's environment, for ``${VAR}``.

    Raises
    ------
    SpecError
        With every problem of the file.
    FleetError
        A host needs a transport or a runtime that this version does not have.
    """
    declared = declare(path, environ)
    layout, environment = declared.layout, declared.environment
    launcher = {
        file.name: file.read_bytes()
        for file in sorted((Path(__file__).parent / "host").glob("*.py"))
    }
    names = dict.fromkeys([layout.scheduler.host, *(unit.host for unit in layout.units)])
    hosts = {name: _access(layout, layout.hosts[name]) for name in names}
    targets = [
        host_target(layout, name, environment, access.places, access.runtime, launcher)
        for name, access in hosts.items()
    ]
    return Fleet(layout, environment, hosts, targets)


def _access(layout: Layout, host: Host) -> HostAccess:
    if host.transport != "local" or host.runtime != "supervisor":
        raise FleetError(
            f"host {host.name}: transport {host.transport} with runtime {host.runtime}"
            " is not there yet",
            "this version runs a fleet on this machine: give the host the address 127.0.0.1",
        )
    places = Places.below(
        this_machine.state_root(),
        this_machine.data_root(),
        layout.name,
        work=_home_expanded(host.work_directory),
        logs=_home_expanded(host.log_directory),
    )
    runtime = SupervisorRuntime(sys.executable, this_machine.variables())
    return HostAccess(LocalTransport(host.name), runtime, places)


def _home_expanded(directory: str | None) -> str | None:
    return str(Path(directory).expanduser()) if directory else None
