"""From spec to processes: every name, address, port and limit, decided once.

The layout is a value. It says what the fleet is when it is up; it knows nothing of what is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from dask_fleet.door import DOOR_NAME, place_door
from dask_fleet.spec.configuration import nest
from dask_fleet.spec.expand import (
    SCHEDULER_NAME,
    ExpandedHost,
    Placement,
    expand_hosts,
    placements,
    scheduler_host,
    worker_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_fleet.door import Door
    from dask_fleet.spec.model import Spec

__all__ = [
    "THIS_MACHINE",
    "Host",
    "HostFacts",
    "Layout",
    "Scheduler",
    "Unit",
    "Worker",
    "lay_out",
]

THIS_MACHINE = "*"
"""Key of the facts that hold for every local host."""


_LEAST_RESERVED = 512 * 2**20


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known of a host beside the spec: CPUs, memory in bytes, addresses by interface."""

    cpus: int | None = None
    memory: int | None = None
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the fleet.

    Attributes
    ----------
    name : str
        Its name in the spec.
    address : str
        Contact address, dialled by the fleet's other processes.
    listen : str
        Address that its processes bind.
    external : str
        Address that clients dial.
    transport : {"local", "ssh"}
        What carries commands to it.
    runtime : {"supervisor", "systemd", "compose"}
        What runs its processes.
    work_directory, log_directory : str or None
        Where workers spill and where logs are kept; ``None`` is the runtime's own place.
    rootless : str or None
        Folder of the fleet if its engine of containers is the login's own, without root.
    """

    name: str
    address: str
    listen: str
    external: str
    transport: Literal["local", "ssh"]
    runtime: Literal["supervisor", "systemd", "compose"]
    work_directory: str | None = None
    log_directory: str | None = None
    rootless: str | None = None


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The scheduler process."""

    name: str
    host: str
    listen: str
    contact: str
    external: str
    port: int
    dashboard_port: int

    @property
    def ports(self) -> Mapping[str, int]:
        """Its ports by use."""
        return {"scheduler": self.port, "dashboard": self.dashboard_port}


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process and its nanny.

    ``memory_limit`` is in bytes; ``None`` lets Dask decide (its share of the host's memory).
    """

    name: str
    group: str
    host: str
    listen: str
    contact: str
    port: int
    nanny_port: int
    dashboard_port: int
    nthreads: int
    memory_limit: int | None
    resources: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def ports(self) -> Mapping[str, int]:
        """Its ports by use."""
        return {
            "worker": self.port,
            "nanny": self.nanny_port,
            "dashboard": self.dashboard_port,
        }


@dataclass(frozen=True, slots=True)
class Unit:
    """What a runtime keeps alive as one process tree.

    It is the scheduler, or all workers of one worker group on one host (one process with all
    their nannies starts faster than one process for each: `benchmarks/results`, part start), or
    an nginx of the fleet's own, which is none of Dask's processes.
    """

    name: str
    host: str
    role: Literal["scheduler", "workers", "door"]
    processes: tuple[Scheduler | Worker, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The fleet as declared, in processes.

    Attributes
    ----------
    scheduler_address : str
        What workers dial, such as ``tcp://192.168.1.166:8786``.
    client_address : str
        What clients dial: the same with the external address.
    dashboard_url : str
        The scheduler's dashboard as clients see it.
    dask_configuration : Mapping
        Dask configuration beyond the defaults, nested, shipped to every host.
    environment_variables : Mapping
        Variables set for every process.
    tls : bool
        Whether processes speak TLS and nothing else.
    door : Door or None
        The reverse proxy in front of all dashboards, if one is declared.
    """

    name: str
    hosts: Mapping[str, Host]
    scheduler: Scheduler
    workers: tuple[Worker, ...]
    units: tuple[Unit, ...]
    scheduler_address: str
    client_address: str
    dashboard_url: str
    dask_configuration: Mapping[str, object]
    environment_variables: Mapping[str, str]
    tls: bool = False
    door: Door | None = None

    @property
    def shown_dashboard(self) -> str:
        """The scheduler's dashboard as people are to open it: through the door, if there is one."""
        return self.door.dashboard(self.scheduler.name) if self.door else self.dashboard_url

    def units_on(self, host: str) -> tuple[Unit, ...]:
        """Return the units of one host, the scheduler first."""
        return tuple(unit for unit in self.units if unit.host == host)


def lay_out(spec: Spec, facts: Mapping[str, HostFacts] | None = None) -> Layout:
    """Return the processes that a checked spec asks for.

    The order is that of the spec: scheduler first, then groups, their hosts, their workers.

    Parameters
    ----------
    spec : Spec
        As `dask_fleet.spec.load` returns it.
    facts : Mapping, optional
        What is known of hosts by name; `THIS_MACHINE` holds for every local host. What the spec
        declares goes before it.

    Notes
    -----
    ``nthreads: auto`` is the host's CPUs divided by all its workers, at least one.
    ``memory_limit: auto`` is an equal share of what the explicit limits leave of the host's
    memory, of which a host behind SSH keeps a sixteenth, and at least 512 MiB, for itself.
    Dask's own rule (memory times threads over CPUs) gives out more than there is as soon as a
    host has more workers than CPUs; what workers are on a host is known here.
    """
    known = facts or {}
    hosts = {
        name: _on_interface(host, known.get(name)) if host.spec.interface else host
        for name, host in expand_hosts(spec).items()
    }
    scheduler = _scheduler(spec, hosts)
    placed = placements(spec, hosts, scheduler.host)
    by_host: dict[str, list[Placement]] = {}
    for placement in placed:
        by_host.setdefault(placement.host, []).append(placement)
    shares = {
        name: _shares(hosts[name], on_host, known.get(name) or _local(hosts[name], known))
        for name, on_host in by_host.items()
    }
    units = [Unit(SCHEDULER_NAME, scheduler.host, "scheduler", (scheduler,))]
    everyone: list[Worker] = []
    for placement in placed:
        workers = _workers(placement, hosts[placement.host], shares[placement.host])
        everyone.extend(workers)
        units.append(Unit(f"dask-workers-{placement.group}", placement.host, "workers", workers))
    door = place_door(spec, hosts, scheduler, everyone)
    if door is not None and door.own:
        units.append(Unit(DOOR_NAME, door.host, "door", ()))
    scheme = "tls" if spec.tls else "tcp"
    work, logs = spec.directories.work, spec.directories.logs
    # One that only builds images has an engine of whatever kind.
    rootless = {one.host: spec.containers.rootless for one in units if one.role != "door"}
    return Layout(
        name=spec.name,
        hosts={
            host.name: Host(
                host.name,
                host.address,
                host.listen,
                host.external,
                host.transport,
                host.runtime,
                work,
                logs,
                rootless.get(host.name) if host.runtime == "compose" else None,
            )
            for host in hosts.values()
        },
        scheduler=scheduler,
        workers=tuple(everyone),
        units=tuple(units),
        scheduler_address=_url(scheme, scheduler.contact, scheduler.port),
        client_address=_url(scheme, scheduler.external, scheduler.port),
        dashboard_url=_url("http", scheduler.external, scheduler.dashboard_port) + "/status",
        dask_configuration=nest(spec.config)[0],
        environment_variables=dict(spec.variables),
        tls=spec.tls,
        door=door,
    )


def _scheduler(spec: Spec, hosts: Mapping[str, ExpandedHost]) -> Scheduler:
    name = scheduler_host(spec, hosts)
    if name is None or name not in hosts:
        raise ValueError("a spec is checked before it is laid out: the scheduler has no host")
    host = hosts[name]
    return Scheduler(
        name=SCHEDULER_NAME,
        host=name,
        listen=host.listen,
        contact=host.address,
        external=host.external,
        port=spec.scheduler.port,
        dashboard_port=spec.scheduler.dashboard,
    )


def _local(host: ExpandedHost, facts: Mapping[str, HostFacts]) -> HostFacts:
    here = facts.get(THIS_MACHINE) if host.transport == "local" else None
    return here or HostFacts()


def _on_interface(host: ExpandedHost, facts: HostFacts | None) -> ExpandedHost:
    """Return a host that listens on the address of its interface, as far as that is known."""
    address = interface_address(host, facts.addresses if facts else {})
    return replace(host, listen=address) if address else host


def interface_address(host: ExpandedHost, addresses: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the address of a host's declared interface, if it has one that fits.

    That is the contact address if it is among them, else the first of the same family that is not
    link-local.
    """
    there = addresses.get(host.spec.interface or "", ())
    if host.address in there:
        return host.address
    ipv6 = ":" in host.address
    fitting = [one for one in there if (":" in one) == ipv6 and not one.startswith("fe80:")]
    return fitting[0] if fitting else None


def _shares(
    host: ExpandedHost, placed: list[Placement], facts: HostFacts
) -> tuple[int, int | None]:
    """Return threads and memory of a worker on this host for which the spec says ``auto``."""
    total = sum(placement.spec.per_host for placement in placed)
    cpus = host.spec.cpus or facts.cpus or 1
    memory = host.spec.memory or facts.memory
    if memory is not None and host.transport != "local":
        memory -= max(_LEAST_RESERVED, memory // 16)
    threads = max(1, cpus // total)
    if memory is None:
        return threads, None
    sharing = 0
    for placement in placed:
        limit = placement.spec.memory_limit
        if limit == "auto":
            sharing += placement.spec.per_host
        else:
            memory -= limit * placement.spec.per_host
    return threads, memory // sharing if sharing and memory >= sharing else None


def _workers(
    placement: Placement, host: ExpandedHost, share: tuple[int, int | None]
) -> tuple[Worker, ...]:
    group = placement.spec
    threads, memory = share
    nthreads = threads if group.nthreads == "auto" else group.nthreads
    limit = memory if group.memory_limit == "auto" else group.memory_limit
    ports = zip(
        placement.ports(group.ports.worker),
        placement.ports(group.ports.nanny),
        placement.ports(group.ports.dashboard),
        strict=True,
    )
    return tuple(
        Worker(
            name=worker_name(group.prefix, number),
            group=placement.group,
            host=host.name,
            listen=host.listen,
            contact=host.address,
            port=worker,
            nanny_port=nanny,
            dashboard_port=dashboard,
            nthreads=nthreads,
            memory_limit=limit,
            resources=dict(group.resources),
        )
        for number, (worker, nanny, dashboard) in enumerate(ports, start=placement.first)
    )


def _url(scheme: str, address: str, port: int) -> str:
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"
