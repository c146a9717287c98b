"""The use cases that change a fleet: bring up, restart, take down; `planned` has the others.

What fronts call. A `Fleet` holds no state of its own: each call looks at the hosts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError, together
from dask_fleet.outcomes import Status, Upped
from dask_fleet.pace import Pace
from dask_fleet.planned import PlannedFleet

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.events import Sink
    from dask_fleet.observed import SchedulerObserved
    from dask_fleet.observer import Sight

__all__ = ["Fleet", "Status", "Upped"]

_FRESH_SECONDS = 2.0
"""A look that is older than this is made again before anything is done on its word."""


_FOR_A_LOOK = ("observer", "look")
_AFTER_A_LOOK = (
    *("desired", "published", "executor", "history", "inventory", "lease", "planner"),
    *("proxy.status", "refusals", "rollout", "strangers", "waiting"),
)
"""Modules that are needed when hosts have answered."""


def _import_the_rest() -> None:
    # What a look itself needs goes before: two who import at once keep each other waiting.
    for name in (*_FOR_A_LOOK, *_AFTER_A_LOOK):
        importlib.import_module(f"dask_fleet.{name}")


class Fleet(PlannedFleet):
    """A fleet as declared, which is brought up, restarted and taken down."""

    async def _first_look(self) -> Sight:
        """Look, and import meanwhile what is needed next: a command is as fast as its start."""
        await self._begin()
        sight, _ = await asyncio.gather(self.look(), asyncio.to_thread(_import_the_rest))
        return sight

    def _ask_early(self) -> asyncio.Task[SchedulerObserved | None] | None:
        """Begin to ask a scheduler elsewhere while its host is looked at."""
        if not self.scheduler_access.remote:
            return None
        return asyncio.create_task(self._cluster_or_none())

    async def up(
        self,
        *,
        confirm: Callable[[Plan], bool],
        sink: Sink,
        timeout: float,
        break_lease: bool = False,
        pace: Pace | None = None,
        take_over: bool = False,
    ) -> Upped:
        """Bring the fleet up as declared and wait until the scheduler lists every worker.

        Workers that run and have to be replaced are drained first, host by host. A host that
        cannot be reached, fails, or has a port that somebody else holds is left out; the others
        are brought up, and the failures are in what is returned.

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
        pace : Pace, optional
            How many hosts at once have their workers replaced, and how long a drain may take.
        take_over : bool
            Whether containers that are not the fleet's and are in its place are stopped, and kept.
            Otherwise their hosts are left out.

        Raises
        ------
        UnreachableHostError, PortHeldError
            The scheduler's host cannot be reached, or others hold its ports.
        RolloutError
            Workers could not be drained, or were not back in time; hosts after them are as before.
        LeaseHeldError, EnvironmentBuildError, CommandFailedError, DeadlineError
        """
        began = time.monotonic()
        asking = self._ask_early()
        sight = await self._first_look()
        looked = time.monotonic()
        self._need(sight)
        from dask_fleet.registration import faults
        from dask_fleet.waiting import until_registered

        plan, sight = await self._plan_around(sight, take_over=take_over)
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
                again, sight = await self._plan_around(sight, take_over=take_over)
                self._need(sight)
                if again != plan and not again.empty and not confirm(again):
                    return Upped(again, time.monotonic() - began, declined=True)
                plan, failed = again, dict(sight.failures)
            anew = " --new-authority" if self._issuer and self._issuer.anew else ""
            async with self._recorded(f"up{anew}", plan) as failed_in:
                failed_in.update(failed)
                if self._issuer:
                    self._issuer.keep(sight.hosts, self.hosts)
                from dask_fleet.rollout import roll_out

                await roll_out(
                    self,
                    plan,
                    sink,
                    pace=pace or Pace(),
                    timeout=timeout,
                    failed=failed_in,
                )
                if self.layout.scheduler.host in failed_in:
                    raise together(failed_in.values())
                expected = self._expected(failed_in)
                failed_in.update(await until_registered(self, sink, timeout, expected))
                failed = failed_in
        return Upped(plan, time.monotonic() - began, failures=failed)

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
        pace: Pace | None = None,
    ) -> Upped:
        """Restart the units that hold these processes; all of them if none is named.

        ``rolling`` restarts units of workers only, one host after another: its workers are drained,
        restarted, and registered again before the next. It ends with the first host that fails.

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
        from dask_fleet import restarting
        from dask_fleet.rollout import roll_out
        from dask_fleet.waiting import until_registered

        targets = await self._targets_of_ours(sight)
        plan = restarting.plan_of_restart(targets, sight.hosts, names, rolling=rolling)
        every = Pace(batch=None)
        if not confirm(plan):
            return Upped(plan, time.monotonic() - began, declined=True)
        async with self._lease("restart"), self._recorded("restart", plan) as failed:
            failed.update(sight.failures)
            await roll_out(
                self,
                plan,
                sink,
                pace=(pace or Pace()) if rolling else every,
                timeout=timeout,
                failed=failed,
            )
            expected = self._expected(failed) & frozenset(plan.hosts)
            failed.update(await until_registered(self, sink, timeout, expected))
        return Upped(plan, time.monotonic() - began, failures=failed)

    def _lease(
        self, purpose: str, *, force: bool = False
    ) -> contextlib.AbstractAsyncContextManager[str]:
        from dask_fleet import lease

        at = self.scheduler_access
        return lease.hold(at.transport, at.places.lease, f"dask fleet {purpose}", force=force)
