"""A fleet as declared, what is there of it, and what would be done about it; nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_fleet.errors import UnreachableHostError, together

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.blueprint import Blueprint
    from dask_fleet.environment import Environment
    from dask_fleet.observed import SchedulerObserved
    from dask_fleet.observer import HostAccess, Sight
    from dask_fleet.outcomes import Status
    from dask_fleet.target import HostTarget
    from dask_fleet.tls.issuing import Issuer
    from dask_fleet.transports.base import Connections

__all__ = ["PlannedFleet"]


class PlannedFleet:
    """A fleet as declared, and the hosts that it is to be on.

    Parameters
    ----------
    blueprint : Blueprint
        What is declared.
    hosts : Mapping
        How to reach each host, the scheduler's first.
    issuer : Issuer, optional
        Has the certificates of hosts ready, if the fleet speaks TLS.
    connections : Connections, optional
        What is given back by `close`.
    chosen : frozenset of str
        The hosts that are looked at and acted on; all if it is empty.
    limit : tuple of str
        The words that have chosen them, for the history.
    given : callable
        Returns TLS files that the operator has brought; who looks only needs none.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        hosts: Mapping[str, HostAccess],
        *,
        issuer: Issuer | None = None,
        connections: Connections | None = None,
        chosen: frozenset[str] = frozenset(),
        limit: tuple[str, ...] = (),
        given: Callable[[], Mapping[str, Mapping[str, bytes]]] = dict,
    ) -> None:
        self.blueprint = blueprint
        self.layout = blueprint.layout()
        self.hosts = hosts
        self.chosen = chosen or frozenset(hosts)
        self._limit = limit
        self._issuer, self._given = issuer, given
        self._connections = connections

    @property
    def environment(self) -> Environment:
        """What processes run in."""
        return self.blueprint.environment

    @property
    def scheduler_access(self) -> HostAccess:
        """How the scheduler's host is reached, which keeps the lease and the history."""
        return self.hosts[self.layout.scheduler.host]

    @property
    def interpreter(self) -> str:
        """The fleet's own Python, on the scheduler's host."""
        return self.scheduler_access.places.interpreter(self.environment.digest)

    async def close(self) -> None:
        """Give back every connection; the next call opens them anew."""
        if self._connections is not None:
            await self._connections.close()

    async def look(self, *, brief: bool = False) -> Sight:
        """Return what is on each host; for ``brief`` see `dask_fleet.observer.look`."""
        chosen = [access for name, access in self.hosts.items() if name in self.chosen]
        await self._begin()
        from dask_fleet.observer import look

        return await look(chosen, brief=brief)

    async def _begin(self) -> None:
        """Send for the hosts that will be looked at: what comes next takes them a while."""
        if self._connections is not None:
            remote = [name for name in self.hosts if self.hosts[name].remote]
            await self._connections.begin([name for name in remote if name in self.chosen])

    async def cluster(self) -> SchedulerObserved | None:
        """Return what the scheduler says, or ``None`` if it does not answer.

        Raises
        ------
        UnreachableHostError
            Its host does not answer either.
        """
        from dask_fleet.scheduler_rpc import ask

        return await ask(self.scheduler_access.transport, self.layout.scheduler)

    def targets(self, sight: Sight) -> tuple[HostTarget, ...]:
        """Return what should be on each host that was seen."""
        layout = self.blueprint.layout(sight.hosts)
        seen = {name: access for name, access in self.hosts.items() if name in sight.hosts}
        return self.blueprint.targets(
            layout,
            {name: access.places for name, access in seen.items()},
            {name: access.runtime for name, access in seen.items()},
            {**(self._issuer.files(layout) if self._issuer else {}), **self._given()},
        )

    async def _targets_of_ours(self, sight: Sight) -> tuple[HostTarget, ...]:
        """As `targets`; refuse another certificate authority than the one that the fleet has."""
        if self._issuer:
            await self._issuer.check(sight.hosts, self.hosts, self.layout.scheduler.host)
        return self.targets(sight)

    async def plan(self) -> tuple[Plan, Sight]:
        """Return what ``up`` would do, and what was seen.

        A host on which a needed port is held by somebody else is left out of the plan, and among
        the failures.

        Raises
        ------
        FleetError
            A host is not fit for what it is to run, or has certificates of an authority that this
            machine does not have.
        """
        return await self._plan_around(await self.look(), take_over=True)

    async def plan_from(self, sight: Sight) -> Plan:
        """Return what ``up`` would do about what was seen.

        Raises
        ------
        PortHeldError
            A port that it needs is held by a process that is not the fleet's.
        FleetError
            A host is not fit for what it is to run.
        """
        plan, around = await self._plan_around(sight)
        if held := around.failures.keys() - sight.failures.keys():
            raise together(around.failures[host] for host in sorted(held))
        return plan

    async def _plan_around(self, sight: Sight, *, take_over: bool = False) -> tuple[Plan, Sight]:
        """Return a plan without the hosts whose ports others hold; these become failures.

        Containers that are not the fleet's do not count as others with ``take_over``: they are
        stopped.
        """
        targets = await self._targets_of_ours(sight)
        from dask_fleet import planner
        from dask_fleet.ports import ports_in_the_way
        from dask_fleet.predecessors import predecessors, without_asking
        from dask_fleet.refusals import refusals
        from dask_fleet.strangers import held_ports

        runtimes = {name: access.runtime for name, access in self.hosts.items()}
        refused = refusals(targets, sight.hosts, runtimes)
        if refused := (*refused, *self.blueprint.without_interface(sight.hosts)):
            raise together(refused)
        plan = planner.plan_up(targets, sight.hosts, runtimes)
        in_the_way = ports_in_the_way(plan, targets, sight.hosts)
        layout = self.blueprint.layout(sight.hosts)
        found = {one.host: predecessors(one, sight.hosts[one.host]) for one in targets}
        held = await held_ports(self.hosts, layout, in_the_way, sight.hosts, found)
        if not take_over:
            held |= {host: without_asking(host, some) for host, some in found.items() if some}
        if held:
            free = [target for target in targets if target.host not in held]
            plan, sight = planner.plan_up(free, sight.hosts, runtimes), sight.without(held)
        if self._issuer and not plan.empty:
            plan = replace(plan, changes=(*self._issuer.changes(), *plan.changes))
        return plan, sight

    def _need(self, sight: Sight) -> None:
        """Raise the failure of the scheduler's host, without which nothing can be changed."""
        if self.layout.scheduler.host in sight.failures or not sight.hosts:
            raise together(sight.failures.values())

    def _expected(self, failed: Iterable[str]) -> frozenset[str]:
        """Return the hosts whose processes have to be as declared."""
        return self.chosen - frozenset(failed)

    def check_names(self, names: Iterable[str]) -> None:
        """Raise an error that lists what there is if a name is neither process nor unit."""
        from dask_fleet.restarting import check_names

        check_names(self.layout, names)

    async def status(self) -> Status:
        """Return the inventory: what the hosts and the scheduler say, asked at once."""
        sight, cluster = await asyncio.gather(self.look(), self._cluster_or_none())
        if cluster is None and self._scheduler_runs(sight):
            # It has answered before, and may be held up by its disk or by what else its host does.
            cluster = await self._cluster_or_none()
        from dask_fleet.inventory import inventory
        from dask_fleet.outcomes import Status
        from dask_fleet.proxy.status import door_rows
        from dask_fleet.strangers import strangers

        layout = self.blueprint.layout(sight.hosts)
        seen, failures = sight.hosts, sight.failures
        return Status(
            (*inventory(layout, seen, cluster, failures), *door_rows(layout, seen, failures)),
            cluster is not None,
            seen,
            failures,
            await strangers(self.hosts, layout, seen, cluster),
        )

    def _scheduler_runs(self, sight: Sight) -> bool:
        """Return whether the scheduler's process was seen; its record says that it has begun."""
        scheduler = self.layout.scheduler
        host = sight.hosts.get(scheduler.host)
        record = host.records.get(scheduler.name) if host else None
        return record is not None and record.alive

    async def _cluster_or_none(self) -> SchedulerObserved | None:
        try:
            return await self.cluster()
        except UnreachableHostError:
            return None  # the look at that host says so, in its row
