"""One command on all hosts, in the fleet's environment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.command import UNBOUNDED, Command
from dask_fleet.errors import CommandFailedError, FleetError

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.observer import HostAccess

__all__ = ["Ended", "run_everywhere"]

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its status on each host, or why it has none there.

    A host stands in one of both, in the order of the spec.
    """

    statuses: Mapping[str, int]
    failures: Mapping[str, FleetError]


async def run_everywhere(
    fleet: Fleet, argv: tuple[str, ...], show: Callable[[str, str], None]
) -> Ended:
    """Run a command on every chosen host at once and return how it ended on each.

    Parameters
    ----------
    fleet : Fleet
        Whose hosts.
    argv : tuple of str
        Program and arguments.
    show : callable
        Takes host and line as they come.
    """
    names = [name for name in fleet.hosts if name in fleet.chosen]
    ended = await asyncio.gather(*(_run(fleet, name, argv, show) for name in names))
    every = dict(zip(names, ended, strict=True))
    return Ended(
        {name: one for name, one in every.items() if not isinstance(one, FleetError)},
        {name: one for name, one in every.items() if isinstance(one, FleetError)},
    )


async def _run(
    fleet: Fleet, name: str, argv: tuple[str, ...], show: Callable[[str, str], None]
) -> int | FleetError:
    access = fleet.hosts[name]
    path = () if access.runtime.contained else (f"PATH={_path(fleet, access)}",)
    variables = (
        *path,
        f"DASK_CONFIG={access.places.deployed}/dask.yaml",
        f"DASK_SCHEDULER_ADDRESS={fleet.layout.scheduler_address}",
    )
    units = [unit.name for unit in fleet.layout.units_on(name)]
    inside = access.runtime.inside(units)
    command = Command((*inside, "env", *variables, *argv), timeout=UNBOUNDED)
    try:
        async for line in access.transport.lines(command):
            show(name, line)
    except CommandFailedError as error:
        return error.status if error.status is not None else error
    except FleetError as error:
        return error
    return 0


def _path(fleet: Fleet, access: HostAccess) -> str:
    binaries = access.places.interpreter(fleet.environment.digest).rpartition("/")[0]
    return f"{binaries}:{_SYSTEM_PATH}"
