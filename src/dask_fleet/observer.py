"""Looks at hosts: one command on each, all at once.

What a look is made of is imported when the first host is looked at: connections are on their way by
then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.command import Command
    from dask_fleet.observed import HostObserved
    from dask_fleet.places import Places
    from dask_fleet.ports import Holder
    from dask_fleet.proxy.base import Proxy
    from dask_fleet.runtimes.base import Runtime
    from dask_fleet.transports.base import Transport

__all__ = ["HostAccess", "Sight", "holders", "look", "look_command"]


def _own_nginx() -> Proxy:
    from dask_fleet.proxy.own_nginx import OwnNginx

    return OwnNginx()


@dataclass(frozen=True, slots=True)
class HostAccess:
    """How a host is reached, what runs its processes, and where its files are.

    Attributes
    ----------
    proxy : Proxy
        The nginx that a door would be in.
    remote : bool
        Whether it is another machine: its environment is shipped to it, and its own word on CPUs,
        memory and interpreters counts.
    interfaces : bool
        Whether its network interfaces are asked for.
    environment : str
        Digest of the environment that is to be there; while it is, a host is not asked what
        another one could be made with.
    door : bool
        Whether the door is to be there.
    """

    transport: Transport
    runtime: Runtime
    places: Places
    proxy: Proxy = field(default_factory=_own_nginx)
    remote: bool = False
    interfaces: bool = False
    environment: str = ""
    door: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at all hosts has shown.

    Attributes
    ----------
    hosts : Mapping of str to HostObserved
        Those that answered.
    failures : Mapping of str to FleetError
        Those that did not, and why.
    """

    hosts: Mapping[str, HostObserved]
    failures: Mapping[str, FleetError] = field(default_factory=dict[str, FleetError])

    def without(self, failures: Mapping[str, FleetError]) -> Sight:
        """Return it with these hosts among the failures."""
        hosts = {name: seen for name, seen in self.hosts.items() if name not in failures}
        return Sight(hosts, {**self.failures, **failures})


async def look(hosts: Iterable[HostAccess], *, brief: bool = False) -> Sight:
    """Return what was seen on each host; one that fails does not hold up the others.

    Parameters
    ----------
    hosts : iterable of HostAccess
        Where to look.
    brief : bool
        Whether to leave out what an `up` does not change: the software that hosts bring along.
    """
    every = list(hosts)
    seen = await asyncio.gather(*(_look(host, brief=brief) for host in every))
    found: dict[str, HostObserved] = {}
    failures: dict[str, FleetError] = {}
    for access, one in zip(every, seen, strict=True):
        if isinstance(one, FleetError):
            failures[access.transport.host] = one
        else:
            found[access.transport.host] = one
    return Sight(found, failures)


def look_command(access: HostAccess, *, brief: bool = False) -> Command:
    """Return the one command that a look is on a host; for ``brief`` see `look`."""
    from dask_fleet.look import look_script

    return look_script(
        access.places,
        access.runtime,
        software=access.remote and not brief and not access.runtime.contained,
        environment=access.environment,
        interfaces=access.interfaces,
        door=access.proxy.look(access.places, wanted=access.door),
    )


async def _look(access: HostAccess, *, brief: bool) -> HostObserved | FleetError:
    from dask_fleet.look import read_look

    try:
        outcome = await access.transport.run(look_command(access, brief=brief))
    except FleetError as error:
        return error
    return read_look(access.transport.host, outcome.stdout, access.runtime)


async def holders(access: HostAccess, inodes: Iterable[int]) -> dict[int, Holder]:
    """Return which process holds each socket, by inode; without those that nobody may look at."""
    from dask_fleet.ports import holders_script, read_holders

    outcome = await access.transport.run(holders_script(inodes))
    return read_holders(outcome.stdout)
