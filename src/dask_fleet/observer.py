"""Looks at hosts: one command on each, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.look import look_script, read_look
from dask_fleet.ports import holders_script, read_holders

if TYPE_CHECKING:
    from dask_fleet.observed import HostObserved
    from dask_fleet.places import Places
    from dask_fleet.ports import Holder
    from dask_fleet.runtimes.base import Runtime
    from dask_fleet.transports.base import Transport

__all__ = ["HostAccess", "holders", "look"]


@dataclass(frozen=True, slots=True)
class HostAccess:
    """How a host is reached, what runs its processes, and where its files are."""

    transport: Transport
    runtime: Runtime
    places: Places


async def look(hosts: Iterable[HostAccess]) -> dict[str, HostObserved]:
    """Return what was seen on each host, by name.

    Raises
    ------
    FleetError
        A host cannot be looked at.
    """
    every = await asyncio.gather(*(_look(host) for host in hosts))
    return {seen.host: seen for seen in every}


async def _look(access: HostAccess) -> HostObserved:
    outcome = await access.transport.run(look_script(access.places, access.runtime))
    return read_look(access.transport.host, outcome.stdout, access.runtime)


async def holders(access: HostAccess, inodes: Iterable[int]) -> dict[int, Holder]:
    """Return which process holds each socket, by inode; without those that nobody may look at."""
    outcome = await access.transport.run(holders_script(inodes))
    return read_holders(outcome.stdout)
