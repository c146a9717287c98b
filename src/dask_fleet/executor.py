"""The one place that acts.

All hosts of a phase at once; on one host the actions in order. A host that fails is left out of
the phases that follow, the others go on, and every failure is reported at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dask_fleet.actions import (
    Action,
    BuildEnvironment,
    Plan,
    PrepareHost,
    RemoveDoor,
    RemoveFleet,
    RestartUnits,
    StartRuntime,
    StopProcesses,
    StopRuntime,
    TakeOver,
    UpdateDoor,
    UpdateUnits,
    WriteFiles,
)
from dask_fleet.builder import build
from dask_fleet.command import LIVES, Command, script
from dask_fleet.errors import EnvironmentBuildError, FleetError
from dask_fleet.events import ActionDone, ActionFailed, ActionStarted, Sink
from dask_fleet.installing import install
from dask_fleet.journal import Journal
from dask_fleet.runtimes.compose_foreign import make_way

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.images.pulling import Pulls
    from dask_fleet.images.supply import Supply
    from dask_fleet.observed import HostSoftware
    from dask_fleet.observer import HostAccess

__all__ = ["apply"]

_STOP_GROUPS = f"""\
{LIVES}
for pid in "$@"; do kill -TERM "$pid" 2>/dev/null || :; done
for pid in "$@"; do
  tries=0
  while lives "$pid" && [ "$tries" -lt 400 ]; do
    tries=$((tries + 1))
    sleep 0.05
  done
  kill -KILL -- "-$pid" 2>/dev/null || :
done
"""


async def apply(plan: Plan, hosts: Mapping[str, HostAccess], sink: Sink) -> dict[str, FleetError]:
    """Do what a plan says, and return the failure of each host that had one.

    Parameters
    ----------
    plan : Plan
        The actions.
    hosts : Mapping
        How to reach each host.
    sink : callable
        Takes the events.

    Raises
    ------
    EnvironmentBuildError
        The image that hosts lack cannot be built; nothing was done.
    """
    supply, failed = await _supply(plan, hosts, sink)
    for phase in plan.phases:
        by_host: dict[str, list[Action]] = {}
        for action in phase:
            if action.host not in failed:
                by_host.setdefault(action.host, []).append(action)
        ended = await asyncio.gather(
            *(_act(hosts[host], actions, supply, sink) for host, actions in by_host.items())
        )
        failed.update({host: e for host, e in zip(by_host, ended, strict=True) if e is not None})
    return failed


async def _supply(
    plan: Plan, hosts: Mapping[str, HostAccess], sink: Sink
) -> tuple[Supply | Pulls | None, dict[str, FleetError]]:
    """Make the image ready that hosts lack, before anything is touched."""
    lacking = [
        action
        for phase in plan.phases
        for action in phase
        if isinstance(action, BuildEnvironment) and action.environment.image
    ]
    if not lacking:
        return None, {}
    environment = lacking[0].environment
    if environment.recipe is None:
        from dask_fleet.images.pulling import Pulls

        supply: Supply | Pulls = Pulls(environment.image, hosts)
    else:
        from dask_fleet.images.supply import Supply

        supply = Supply(environment, hosts, sink)
    return supply, await supply.ready(action.host for action in lacking)


async def _act(
    access: HostAccess, actions: list[Action], supply: Supply | Pulls | None, sink: Sink
) -> FleetError | None:
    journal = Journal(access.transport, access.places.journal)
    host = access.transport.host
    for action in actions:
        text = str(action)
        began = time.monotonic()
        sink(ActionStarted(host, text))
        try:
            await _do(access, action, journal, supply, sink)
        except FleetError as error:
            sink(ActionFailed(host, text, error.message.splitlines()[0]))
            return error
        sink(ActionDone(host, text, time.monotonic() - began))
    return None


async def _do(
    access: HostAccess, action: Action, journal: Journal, supply: Supply | Pulls | None, sink: Sink
) -> None:
    runtime, places = access.runtime, access.places
    # What frees a host must work on one whose disk is full, and needs no record of itself.
    recorded = not isinstance(action, (RemoveFleet, RemoveDoor, StopRuntime, StopProcesses))

    async def run(command: Command) -> None:
        await access.transport.run(journal.around(command, str(action)) if recorded else command)

    match action:
        case BuildEnvironment(environment=environment, software=software):
            await journal.write("begin", str(action))
            if supply is not None:
                await supply.deliver(action.host)
            elif software is None:
                await build(access.transport, places, environment, sink)
            else:
                await _ship(access, environment, software, sink)
            await journal.write("done", str(action))
        case WriteFiles(files=files, removed=removed):
            await run(install(files, removed, runtime.reader))
        case StopProcesses(processes=processes):
            pids = (str(pid) for _, pid in processes)
            await run(script(_STOP_GROUPS, *pids, timeout=60))
        case PrepareHost():
            await run(runtime.prepare(places))
        case StartRuntime():
            await run(runtime.begin(places))
        case StopRuntime():
            await run(runtime.end(places))
        case TakeOver(predecessors=found):
            await run(make_way(one.container for one in found))
        case UpdateUnits(units=units):
            await run(runtime.update(places, units))
        case RestartUnits(units=units):
            await run(runtime.restart(places, units))
        case UpdateDoor(door=door):
            await run(access.proxy.update(places, door))
        case RemoveDoor():
            await run(access.proxy.remove(places))
        case RemoveFleet(paths=paths):
            await run(script('rm -rf -- "$@"', *paths))


async def _ship(
    access: HostAccess, environment: Environment, software: HostSoftware, sink: Sink
) -> None:
    """Gather the wheels that fit a host and make the environment there."""
    from dask_fleet.wheels.gathering import gather_wheels
    from dask_fleet.wheels.interpreters import choose
    from dask_fleet.wheels.platforms import HostPlatform
    from dask_fleet.wheels.shipping import ship

    python = choose(software.interpreters, environment.python)
    version = {one.path: one.version for one in software.interpreters}.get(python or "", "")
    if python is None or software.glibc is None:
        raise EnvironmentBuildError(
            f"{access.transport.host}: it changed while it was looked at", "run it again"
        )
    platform = HostPlatform(software.machine, software.glibc, version)
    wheelhouse = await gather_wheels(environment, platform, sink)
    await ship(access.transport, access.places, environment, wheelhouse, python, sink)
