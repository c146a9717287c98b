"""The use cases: look, plan, bring up, restart, take down, and list what is there.

What fronts call. A `Fleet` holds no state of its own: each call looks at the hosts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_fleet.actions import Plan
from dask_fleet.errors import FleetError, UnreachableHostError, together
from dask_fleet.events import Sink
from dask_fleet.inventory import inventory
from dask_fleet.observer import HostAccess, Sight, look
from dask_fleet.outcomes import Status, Upped
from dask_fleet.ports import ports_in_the_way
from dask_fleet.proxy.status import door_rows
from dask_fleet.registration import faults
from dask_fleet.scheduler_rpc import ask
from dask_fleet.strangers import held_ports, strangers
from dask_fleet.waiting import until_registered

if TYPE_CHECKING:
    from dask_fleet.blueprint import Blueprint
    from dask_fleet.environment import Environment
    from dask_fleet.observed import SchedulerObserved
    from dask_fleet.target import HostTarget
    from dask_fleet.tls.issuing import Issuer
    from dask_fleet.transports.base import Closing

__all__ = ["Fleet", "Status", "Upped"]

_FRESH_SECONDS = 2.0
"""A look that is older than this is made again before anything is done on its word."""


def _import_the_rest() -> None:
    for name in ("executor", "history", "lease", "planner", "refusals"):
        importlib.import_module(f"dask_fleet.{name}")


class Fleet:
    """A fleet as declared, and the hosts that it is to be on.

    Parameters
    ----------
    blueprint : Blueprint
        What is declared.
    hosts : Mapping
        How to reach each host, the scheduler's first.
    issuer : Issuer, optional
        Has the certificates of hosts ready, if the fleet speaks TLS.
    connections : Closing, optional
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
        connections: Closing | None = None,
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
        return await look(chosen, brief=brief)

    async def _first_look(self) -> Sight:
        """Look, and import meanwhile what is needed next: a command is as fast as its start."""
        sight, _ = await asyncio.gather(self.look(), asyncio.to_thread(_import_the_rest))
        return sight

    async def cluster(self) -> SchedulerObserved | None:
        """Return what the scheduler says, or ``None`` if it does not answer.

        Raises
        ------
        UnreachableHostError
            Its host does not answer either.
        """
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
        return await self._plan_around(await self.look())

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

    async def _plan_around(self, sight: Sight) -> tuple[Plan, Sight]:
        """Return a plan without the hosts whose ports others hold; these become failures."""
        targets = await self._targets_of_ours(sight)
        from dask_fleet import planner
        from dask_fleet.refusals import refusals

        runtimes = {name: access.runtime for name, access in self.hosts.items()}
        refused = refusals(targets, sight.hosts, runtimes)
        if refused := (*refused, *self.blueprint.without_interface(sight.hosts)):
            raise together(refused)
        plan = planner.plan_up(targets, sight.hosts, runtimes)
        in_the_way = ports_in_the_way(plan, targets, sight.hosts)
        layout = self.blueprint.layout(sight.hosts)
        if held := await held_ports(self.hosts, layout, in_the_way, sight.hosts):
            free = [target for target in targets if target.host not in held]
            plan, sight = planner.plan_up(free, sight.hosts, runtimes), sight.without(held)
        if self._issuer and not plan.empty:
            plan = replace(plan, changes=(*self._issuer.changes(), *plan.changes))
        return plan, sight

    def _ask_early(self) -> asyncio.Task[SchedulerObserved | None] | None:
        """Begin to ask a scheduler elsewhere while its host is looked at."""
        if not self.scheduler_access.remote:
            return None
        return asyncio.create_task(self._cluster_or_none())

    def _need(self, sight: Sight) -> None:
        """Raise the failure of the scheduler's host, without which nothing can be changed."""
        if self.layout.scheduler.host in sight.failures or not sight.hosts:
            raise together(sight.failures.values())

    async def up(
        self,
        *,
        confirm: Callable[[Plan], bool],
        sink: Sink,
        timeout: float,
        break_lease: bool = False,
    ) -> Upped:
        """Bring the fleet up as declared and wait until the scheduler lists every worker.

        A host that cannot be reached, fails, or has a port that somebody else holds is left out;
        the others are brought up, and the failures are in what is returned.

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
        UnreachableHostError, PortHeldError
            The scheduler's host cannot be reached, or others hold its ports.
        LeaseHeldError, EnvironmentBuildError, CommandFailedError, DeadlineError
        """
        began = time.monotonic()
        asking = self._ask_early()
        sight = await self._first_look()
        looked = time.monotonic()
        self._need(sight)
        plan, sight = await self._plan_around(sight)
        self._need(sight)
        failed = dict(sight.failures)
        if plan.empty:
            cluster = await asking if asking else await self.cluster()
            if faults(self.layout, cluster, self._expected(failed), sight.hosts):
                failed |= await until_registered(self, sink, timeout, self._expected(failed))
            return Upped(plan, time.monotonic() - began, failures=failed)
        if not confirm(plan):
            return Upped(plan, time.monotonic() - began, declined=True, failures=failed)
        async with self._lease("up", force=break_lease) as turn:
            keeper = sight.hosts.get(self.layout.scheduler.host)
            before = keeper.facts.get("turn", "") if keeper else None
            if turn != before or time.monotonic() - looked > _FRESH_SECONDS:
                sight = await self.look()
                self._need(sight)
                again, sight = await self._plan_around(sight)
                self._need(sight)
                if again != plan and not again.empty and not confirm(again):
                    return Upped(again, time.monotonic() - began, declined=True)
                plan, failed = again, dict(sight.failures)
            anew = " --new-authority" if self._issuer and self._issuer.anew else ""
            async with self._recorded(f"up{anew}", plan) as failed_in:
                failed_in.update(failed)
                if self._issuer:
                    self._issuer.keep(sight.hosts, self.hosts)
                from dask_fleet import executor

                failed_in.update(await executor.apply(plan, self.hosts, sink))
                if self.layout.scheduler.host in failed_in:
                    raise together(failed_in.values())
                expected = self._expected(failed_in)
                failed_in.update(await until_registered(self, sink, timeout, expected))
                failed = failed_in
        return Upped(plan, time.monotonic() - began, failures=failed)

    def _expected(self, failed: Iterable[str]) -> frozenset[str]:
        """Return the hosts whose processes have to be as declared."""
        return self.chosen - frozenset(failed)

    def _recorded(
        self, purpose: str, plan: Plan
    ) -> contextlib.AbstractAsyncContextManager[dict[str, FleetError]]:
        """Write into the history what is begun and how it ended."""
        from dask_fleet import history

        digests = (self.blueprint.digest, self.environment.digest, self.blueprint.release)
        entry = history.Entry.begin(purpose, *digests, plan, self._limit)
        return history.recorded(self.scheduler_access, entry)

    async def down(
        self, *, confirm: Callable[[Plan], bool], sink: Sink, break_lease: bool = False
    ) -> Upped:
        """Stop everything and remove every file of the fleet; environments and history stay.

        Raises
        ------
        UnreachableHostError
            The scheduler's host cannot be reached.
        LeaseHeldError, CommandFailedError
        """
        began = time.monotonic()
        sight = await self.look()
        self._need(sight)
        plan = self._down(sight)
        failed = dict(sight.failures)
        if plan.empty or not confirm(plan):
            return Upped(plan, time.monotonic() - began, declined=not plan.empty, failures=failed)
        async with self._lease("down", force=break_lease):
            sight = await self.look()
            again = self._down(sight)
            async with self._recorded("down", again) as failed:
                failed.update(sight.failures)
                from dask_fleet import executor

                failed.update(await executor.apply(again, self.hosts, sink))
        return Upped(plan, time.monotonic() - began, failures=failed)

    def _down(self, sight: Sight) -> Plan:
        from dask_fleet import planner

        return planner.plan_down(
            sight.hosts,
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
        rolling: bool = False,
    ) -> Upped:
        """Restart the units that hold these processes; all of them if none is named.

        ``rolling`` restarts units of workers only, one host after another, each when the workers
        of the one before are registered again. It ends with the first host that fails.

        Raises
        ------
        FleetError
            A name is unknown, or nothing runs; a scheduler cannot restart rolling; hosts have
            certificates of an authority that this machine does not have.
        LeaseHeldError, CommandFailedError, DeadlineError
        """
        began = time.monotonic()
        self.check_names(names)
        sight = await self.look()
        self._need(sight)
        from dask_fleet import executor, restarting

        targets = await self._targets_of_ours(sight)
        plan, steps = restarting.restart_steps(targets, sight.hosts, names, rolling=rolling)
        if not confirm(plan):
            return Upped(plan, time.monotonic() - began, declined=True)
        async with self._lease("restart"), self._recorded("restart", plan) as failed:
            failed.update(sight.failures)
            for step, hosts in steps:
                fresh = await executor.apply(step, self.hosts, sink)
                expected = self._expected({**failed, **fresh}) & hosts
                fresh |= await until_registered(self, sink, timeout, expected)
                failed.update(fresh)
                if fresh:
                    break
        return Upped(plan, time.monotonic() - began, failures=failed)

    def check_names(self, names: Iterable[str]) -> None:
        """Raise an error that lists what there is if a name is neither process nor unit."""
        from dask_fleet.restarting import check_names

        check_names(self.layout, names)

    def _lease(
        self, purpose: str, *, force: bool = False
    ) -> contextlib.AbstractAsyncContextManager[str]:
        from dask_fleet import lease

        at = self.scheduler_access
        return lease.hold(at.transport, at.places.lease, f"dask fleet {purpose}", force=force)

    async def status(self) -> Status:
        """Return the inventory: what the hosts and the scheduler say, asked at once."""
        sight, cluster = await asyncio.gather(self.look(), self._cluster_or_none())
        layout = self.blueprint.layout(sight.hosts)
        seen, failures = sight.hosts, sight.failures
        return Status(
            (*inventory(layout, seen, cluster, failures), *door_rows(layout, seen, failures)),
            cluster is not None,
            seen,
            failures,
            await strangers(self.hosts, layout, seen, cluster),
        )

    async def _cluster_or_none(self) -> SchedulerObserved | None:
        try:
            return await self.cluster()
        except UnreachableHostError:
            return None  # the look at that host says so, in its row
