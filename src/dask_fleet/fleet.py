"""The use cases: look, plan, bring up, restart, take down, and list what is there.

What fronts call. A `Fleet` holds no state of its own: each call looks at the hosts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet import executor, lease, planner
from dask_fleet.actions import Plan
from dask_fleet.errors import FleetError, SeveralErrors
from dask_fleet.events import Sink
from dask_fleet.inventory import Row, inventory
from dask_fleet.observer import HostAccess, holders, look
from dask_fleet.ports import foreign, held_error, ports_in_the_way
from dask_fleet.registration import faults
from dask_fleet.scheduler_rpc import ask
from dask_fleet.waiting import until_registered

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved, SchedulerObserved
    from dask_fleet.target import HostTarget

__all__ = ["Fleet", "Status", "Upped"]


@dataclass(frozen=True, slots=True)
class Status:
    """The inventory at one moment; ``answers`` says whether the scheduler does."""

    rows: tuple[Row, ...]
    answers: bool


@dataclass(frozen=True, slots=True)
class Upped:
    """What an ``up`` did: the plan (empty when there was nothing to do) and how long it took."""

    plan: Plan
    seconds: float
    declined: bool = False


class Fleet:
    """A fleet as declared, and the hosts that it is to be on.

    Parameters
    ----------
    layout : Layout
        Every process, address and port.
    environment : Environment
        What processes run in.
    hosts : Mapping
        How to reach each host that has processes, the scheduler's first.
    targets : iterable of HostTarget
        What should be on each of them.
    """

    def __init__(
        self,
        layout: Layout,
        environment: Environment,
        hosts: Mapping[str, HostAccess],
        targets: Iterable[HostTarget],
    ) -> None:
        self.layout = layout
        self.environment = environment
        self.hosts = hosts
        self.targets = tuple(targets)

    @property
    def _scheduler(self) -> HostAccess:
        return self.hosts[self.layout.scheduler.host]

    @property
    def interpreter(self) -> str:
        """The fleet's own Python, on the scheduler's host."""
        return self._scheduler.places.interpreter(self.environment.digest)

    async def look(self) -> dict[str, HostObserved]:
        """Return what is on each host."""
        return await look(self.hosts.values())

    async def cluster(self) -> SchedulerObserved | None:
        """Return what the scheduler says, or ``None`` if it does not answer."""
        return await ask(self._scheduler.transport, self.layout.scheduler)

    async def plan(self) -> Plan:
        """Return what ``up`` would do.

        Raises
        ------
        PortHeldError
            A port that it needs is held by a process that is not the fleet's.
        """
        return await self.plan_from(await self.look())

    async def plan_from(self, observed: Mapping[str, HostObserved]) -> Plan:
        """Return what ``up`` would do about what was observed; see `plan`."""
        runtimes = {name: access.runtime for name, access in self.hosts.items()}
        plan = planner.plan_up(self.targets, observed, runtimes)
        await self._check_ports(plan, observed)
        return plan

    async def _check_ports(self, plan: Plan, observed: Mapping[str, HostObserved]) -> None:
        in_the_way = ports_in_the_way(plan, self.targets, observed)
        errors: list[FleetError] = []
        for host in dict.fromkeys(one.host for one in in_the_way):
            access = self.hosts[host]
            here = [one for one in in_the_way if one.host == host]
            held = await holders(access, [one.inode for one in here])
            if not all(one.inode in held for one in here):
                # Nobody may be seen to hold a socket because it was closed meanwhile.
                still = {one.inode for one in (await look([access]))[host].listeners}
                here = [one for one in here if one.inode in still]
            if others := foreign(here, held, observed[host]):
                errors.append(held_error(host, others, held))
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SeveralErrors(tuple(errors))

    async def up(
        self,
        *,
        confirm: Callable[[Plan], bool],
        sink: Sink,
        timeout: float,
        break_lease: bool = False,
    ) -> Upped:
        """Bring the fleet up as declared and wait until the scheduler lists every worker.

        Parameters
        ----------
        confirm : callable
            Is shown a plan that is not empty and says whether to go on.
        sink : callable
            Takes the events.
        timeout : float
            Seconds for all workers to be registered, counted from the last action.
        break_lease : bool
            Whether to take the lease from another operator.

        Raises
        ------
        LeaseHeldError, PortHeldError, EnvironmentBuildError, CommandFailedError, DeadlineError
        """
        began = time.monotonic()
        plan = await self.plan_from(await self.look())
        if plan.empty:
            if faults(self.layout, await self.cluster()):
                await until_registered(self, sink, timeout)
            return Upped(plan, time.monotonic() - began)
        if not confirm(plan):
            return Upped(plan, time.monotonic() - began, declined=True)
        async with self._lease("up", force=break_lease):
            again = await self.plan_from(await self.look())
            if again != plan and not again.empty and not confirm(again):
                return Upped(again, time.monotonic() - began, declined=True)
            await executor.apply(again, self.hosts, sink)
            await until_registered(self, sink, timeout)
        return Upped(plan, time.monotonic() - began)

    async def down(
        self, *, confirm: Callable[[Plan], bool], sink: Sink, break_lease: bool = False
    ) -> Upped:
        """Stop everything and remove every file of the fleet; environments stay.

        Raises
        ------
        LeaseHeldError, CommandFailedError
        """
        began = time.monotonic()
        plan = self._down(await self.look())
        if plan.empty:
            return Upped(plan, time.monotonic() - began)
        if not confirm(plan):
            return Upped(plan, time.monotonic() - began, declined=True)
        async with self._lease("down", force=break_lease):
            await executor.apply(self._down(await self.look()), self.hosts, sink)
        return Upped(plan, time.monotonic() - began)

    def _down(self, observed: Mapping[str, HostObserved]) -> Plan:
        return planner.plan_down(
            observed,
            {name: access.runtime for name, access in self.hosts.items()},
            {name: access.places for name, access in self.hosts.items()},
        )

    async def restart(
        self,
        names: frozenset[str],
        *,
        confirm: Callable[[Plan], bool],
        sink: Sink,
        timeout: float,
    ) -> Upped:
        """Restart the units that hold these processes; all of them if none is named.

        Raises
        ------
        FleetError
            A name is unknown, or nothing runs.
        LeaseHeldError, CommandFailedError, DeadlineError
        """
        began = time.monotonic()
        self.check_names(names)
        plan = planner.plan_restart(self.targets, await self.look(), names)
        if plan.empty:
            raise FleetError("nothing to restart: the fleet is not up", "dask fleet up")
        if not confirm(plan):
            return Upped(plan, time.monotonic() - began, declined=True)
        async with self._lease("restart"):
            await executor.apply(plan, self.hosts, sink)
            await until_registered(self, sink, timeout)
        return Upped(plan, time.monotonic() - began)

    def check_names(self, names: Iterable[str]) -> None:
        """Raise an error that lists what there is if a name is neither process nor unit."""
        known = {name for unit in self.layout.units for name in (unit.name,)} | {
            process.name for unit in self.layout.units for process in unit.processes
        }
        unknown = sorted(set(names) - known)
        if unknown:
            import difflib

            near = difflib.get_close_matches(unknown[0], known, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise FleetError(
                f"fleet {self.layout.name} has no process {', '.join(unknown)}",
                f"{hint}`dask fleet status` lists every process",
            )

    def _lease(
        self, purpose: str, *, force: bool = False
    ) -> contextlib.AbstractAsyncContextManager[None]:
        access = self._scheduler
        return lease.hold(
            access.transport, access.places.lease, f"dask fleet {purpose}", force=force
        )

    async def status(self) -> Status:
        """Return the inventory: what the hosts and the scheduler say, asked at once."""
        observed, cluster = await asyncio.gather(self.look(), self.cluster())
        return Status(inventory(self.layout, observed, cluster), cluster is not None)
