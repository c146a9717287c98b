"""From the entries of a spec to hosts one by one and the workers that each has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.spec.ranges import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dask_fleet.spec.model import HostSpec, Runtime, Spec, Transport, WorkerGroup
    from dask_fleet.spec.model_door import DoorSpec

__all__ = [
    "LOCAL_DOOR_PORT",
    "SCHEDULER_NAME",
    "ExpandedHost",
    "Placement",
    "door_listens",
    "expand_entry",
    "expand_hosts",
    "group_hosts",
    "is_loopback",
    "place",
    "placements",
    "scheduler_host",
    "transport_of",
    "worker_name",
]

SCHEDULER_NAME = "dask-scheduler"

LOCAL_DOOR_PORT = 8788
"""Where a door listens that is not root's: below 1024 only root may."""


@dataclass(frozen=True, slots=True)
class ExpandedHost:
    """One host, with what follows from its entry.

    Attributes
    ----------
    entry : str
        Key in the spec that it comes from: its name, or a range.
    """

    name: str
    entry: str
    address: str
    external: str
    listen: str
    transport: Transport
    runtime: Runtime
    spec: HostSpec


@dataclass(frozen=True, slots=True)
class Placement:
    """Workers of one group on one host.

    Attributes
    ----------
    first : int
        Number of the first of them, as in its name.
    offset : int
        Steps from the group's base ports to those of the first of them.
    """

    group: str
    host: str
    spec: WorkerGroup
    first: int
    offset: int

    def ports(self, base: int) -> range:
        """Return the ports that follow from one base port, one for each worker."""
        step = self.spec.ports.step
        start = base + self.offset * step
        return range(start, start + self.spec.per_host * step, step)


def is_loopback(address: str) -> bool:
    """Return whether an address leads back to the machine that dials it."""
    return address in ("localhost", "::1") or (
        address.startswith("127.") and address.count(".") == 3
    )


def transport_of(host: HostSpec) -> Transport:
    """Return what carries commands to a host: as declared, or as its address suggests."""
    if host.transport is not None:
        return host.transport
    return "local" if host.ssh is None and is_loopback(host.address.split("[")[0]) else "ssh"


def expand_entry(entry: str, host: HostSpec, runtime: Runtime | None) -> Iterator[ExpandedHost]:
    """Yield the hosts of one entry, as many as its shortest range has."""
    transport = transport_of(host)
    kept = host.runtime or runtime or ("supervisor" if transport == "local" else "systemd")
    names = expand(entry)
    addresses = expand(host.address)
    externals = expand(host.external) if host.external else addresses
    if len(externals) == 1:
        externals *= len(names)
    for name, address, external in zip(names, addresses, externals, strict=False):
        yield ExpandedHost(
            name, entry, address, external, host.listen or address, transport, kept, host
        )


def expand_hosts(spec: Spec) -> dict[str, ExpandedHost]:
    """Return every host by name, in the order of the file."""
    hosts: dict[str, ExpandedHost] = {}
    for entry, host in spec.hosts.items():
        for one in expand_entry(entry, host, spec.runtime):
            hosts.setdefault(one.name, one)
    return hosts


def scheduler_host(spec: Spec, hosts: Mapping[str, ExpandedHost]) -> str | None:
    """Return the name of the scheduler's host; ``None`` when the spec leaves it open."""
    if spec.scheduler.host is not None:
        return spec.scheduler.host
    if len(hosts) == 1:
        return next(iter(hosts))
    return SCHEDULER_NAME if SCHEDULER_NAME in hosts else None


def door_listens(door: DoorSpec, host: ExpandedHost) -> tuple[str, int]:
    """Return address and port that a door binds on its host; no address is all of them."""
    default = LOCAL_DOOR_PORT if host.runtime == "supervisor" else 443 if door.tls else 80
    address, _, port = (door.listen or str(default)).rpartition(":")
    if not address and is_loopback(host.listen):
        address = host.listen
    return address.strip("[]"), int(port)


def group_hosts(
    group: WorkerGroup,
    hosts: Mapping[str, ExpandedHost],
    scheduler: str | None,
    door: str | None = None,
) -> list[str]:
    """Return the names of a group's hosts, each once, in order; unknown ones are left out.

    A group that names none is on every host but those of the scheduler and of the door, if there
    are others.
    """
    if not group.hosts:
        others = [name for name in hosts if name not in (scheduler, door)]
        return others or list(hosts)
    named = dict.fromkeys(name for pattern in group.hosts for name in expand(pattern))
    return [name for name in named if name in hosts]


def placements(
    spec: Spec, hosts: Mapping[str, ExpandedHost], scheduler: str | None
) -> list[Placement]:
    """Return which group has how many workers where, in the order of the file."""
    door = spec.door.host if spec.door else None
    return [
        placement
        for name, group in spec.workers.items()
        for placement in place(name, group, group_hosts(group, hosts, scheduler, door))
    ]


def place(name: str, group: WorkerGroup, hosts: Iterable[str]) -> Iterator[Placement]:
    """Yield the workers of one group on its hosts."""
    through = group.ports.per == "group"
    for index, host in enumerate(hosts):
        before = index * group.per_host
        yield Placement(name, host, group, group.first + before, before if through else 0)


def worker_name(prefix: str, number: int) -> str:
    """Return the name of a worker, such as ``dask-worker-0001``."""
    return f"{prefix}-{number:04d}"
