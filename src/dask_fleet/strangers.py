"""Who is there that nobody declared: asks hosts who holds ports of the fleet.

Strangers are named, never ended: what they are there for is not ours to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError
from dask_fleet.inventory import Stranger, undeclared_workers
from dask_fleet.observer import holders, look
from dask_fleet.ports import container_of, foreign, held_error, sentence, unexplained

if TYPE_CHECKING:
    from dask_fleet.layout import Layout
    from dask_fleet.observed import ForeignContainer, HostObserved, SchedulerObserved
    from dask_fleet.observer import HostAccess
    from dask_fleet.ports import Holder, PortInTheWay
    from dask_fleet.predecessors import Predecessor

__all__ = ["held_ports", "strangers"]


async def held_ports(
    hosts: Mapping[str, HostAccess],
    layout: Layout,
    in_the_way: Iterable[PortInTheWay],
    observed: Mapping[str, HostObserved],
    leaving: Mapping[str, Iterable[Predecessor]],
) -> dict[str, FleetError]:
    """Return an error for each host on which others hold ports that the fleet needs.

    Those are the ports in the way of a plan, and of processes that do not live though their unit
    may run at this moment: for want of a port it ends and is started, again and again.

    Parameters
    ----------
    hosts : Mapping
        How to reach each host.
    layout : Layout
        What is declared.
    in_the_way : iterable of PortInTheWay
        Ports in the way of a plan.
    observed : Mapping
        What was seen on each host.
    leaving : Mapping
        Containers on each host that make way, or are refused by themselves.
    """

    async def error(host: str, ports: list[PortInTheWay]) -> FleetError | None:
        try:
            others, held = await _held_by_others(hosts[host], observed[host], ports)
        except FleetError as failure:
            return failure
        going = [one.container for one in leaving.get(host, ())]
        others = tuple(
            one for one in others if container_of(held.get(one.inode), going, one.port) is None
        )
        return held_error(host, others, held, observed[host].runtime.foreign) if others else None

    by_host = _by_host(dict.fromkeys((*in_the_way, *unexplained(layout, observed))))
    errors = await asyncio.gather(*(error(host, ports) for host, ports in by_host.items()))
    return {host: one for host, one in zip(by_host, errors, strict=True) if one is not None}


async def strangers(
    hosts: Mapping[str, HostAccess],
    layout: Layout,
    observed: Mapping[str, HostObserved],
    cluster: SchedulerObserved | None,
) -> tuple[Stranger, ...]:
    """Return the processes on declared ports and the workers that nobody declared.

    Parameters
    ----------
    hosts : Mapping
        How to reach each host.
    layout : Layout
        What is declared.
    observed : Mapping
        What was seen on each host. Only where a port is held whose own process does not live is a
        host asked once more.
    cluster : SchedulerObserved or None
        What the scheduler says; ``None`` if it does not answer.
    """

    async def there(host: str, ports: list[PortInTheWay]) -> list[Stranger]:
        try:
            others, held = await _held_by_others(hosts[host], observed[host], ports)
        except FleetError as failure:
            fault = f"who holds its ports is not known: {failure.message.splitlines()[0]}"
            return [Stranger("process", host, "", fault)]
        containers = observed[host].runtime.foreign
        by_container: dict[ForeignContainer, dict[int, PortInTheWay]] = {}
        found: list[Stranger] = []
        for port in others:
            container = container_of(held.get(port.inode), containers, port.port)
            if container is None:
                found.append(_process(port, held.get(port.inode)))
            else:  # Docker may hold a port twice, once for IPv6
                by_container.setdefault(container, {})[port.port] = port
        several = (_container(one, [*ports.values()]) for one, ports in by_container.items())
        return [*found, *several]

    by_host = _by_host(unexplained(layout, observed))
    found = await asyncio.gather(*(there(*one) for one in by_host.items()))
    workers = undeclared_workers(layout, cluster)
    return (*(one for several in found for one in several), *workers)


def _container(container: ForeignContainer, ports: list[PortInTheWay]) -> Stranger:
    numbers = ", ".join(str(one.port) for one in ports)
    units = " and ".join(dict.fromkeys(one.unit for one in ports))
    return Stranger(
        kind="process",
        host=ports[0].host,
        name=container.name,
        fault=f"{container} has port {numbers}, which {units} needs",
        port=ports[0].port,
        pid=container.pid or None,
    )


def _process(port: PortInTheWay, holder: Holder | None) -> Stranger:
    return Stranger(
        kind="process",
        host=port.host,
        name=holder.command if holder else "",
        fault=sentence(port, holder),
        port=port.port,
        pid=holder.pid if holder else None,
    )


def _by_host(ports: Iterable[PortInTheWay]) -> dict[str, list[PortInTheWay]]:
    by_host: dict[str, list[PortInTheWay]] = {}
    for port in ports:
        by_host.setdefault(port.host, []).append(port)
    return by_host


async def _held_by_others(
    access: HostAccess, seen: HostObserved, ports: list[PortInTheWay]
) -> tuple[tuple[PortInTheWay, ...], dict[int, Holder]]:
    """Return the ports that no process of the fleet holds, and who holds them."""
    held = await holders(access, [one.inode for one in ports])
    if not all(one.inode in held for one in ports):
        # Nobody may be seen to hold a socket because it was closed meanwhile.
        again = await look([access], brief=True)
        for failure in again.failures.values():
            raise failure
        still = {one.inode for one in again.hosts[seen.host].listeners}
        ports = [one for one in ports if one.inode in still]
    return foreign(ports, held, seen), held
