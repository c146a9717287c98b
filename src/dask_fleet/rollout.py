"""Do a plan step by step: workers that run are drained before they are replaced.

This is where a canary, a pause between batches and a rollback find their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet import executor
from dask_fleet.batches import steps
from dask_fleet.draining import drain, scheduler_python
from dask_fleet.errors import FleetError, RolloutError, together
from dask_fleet.spec.ranges import fold
from dask_fleet.waiting import until_registered

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.batches import Step
    from dask_fleet.events import Sink
    from dask_fleet.fleet import Fleet
    from dask_fleet.pace import Pace

__all__ = ["roll_out"]


async def roll_out(
    fleet: Fleet,
    plan: Plan,
    sink: Sink,
    *,
    pace: Pace,
    timeout: float,
    failed: dict[str, FleetError],
) -> None:
    """Do what a plan says, host by host where workers that run are replaced.

    All at once if the scheduler is replaced too, or does not run: there is nothing then that a
    drain could keep.

    Parameters
    ----------
    fleet : Fleet
        Whose plan.
    plan : Plan
        What is to be done.
    sink : callable
        Takes the events.
    pace : Pace
        How many hosts at once.
    timeout : float
        Seconds for the workers of each batch to be registered again.
    failed : dict
        Failures by host; gets those of hosts whose failure does not end it.

    Raises
    ------
    RolloutError
        It has ended before it came to every host; those are named.
    """
    python = None
    if pace.batch is not None and plan.replaced and not plan.interrupts:
        access = fleet.scheduler_access
        python = await scheduler_python(access, fleet.layout.scheduler.name)
    left = list(steps(plan, pace.batch if python else None))
    while left:
        step = left.pop(0)
        try:
            if python and step.replaced:
                await drain(
                    fleet.scheduler_access, fleet.layout, python, step.replaced, pace.drain, sink
                )
            await _do(fleet, step, sink, timeout, failed)
        except FleetError as error:
            raise RolloutError(error, _left(left)) from error


async def _do(
    fleet: Fleet, step: Step, sink: Sink, timeout: float, failed: dict[str, FleetError]
) -> None:
    fresh = await executor.apply(step.plan, fleet.hosts, sink)
    if step.vital and fresh:
        raise together(fresh.values())
    failed.update(fresh)
    if step.replaced:
        lost = await until_registered(fleet, sink, timeout, fleet.chosen & step.hosts)
        if lost:
            raise together(lost.values())


def _left(later: list[Step]) -> str:
    hosts = fold(dict.fromkeys(one.host for step in later for one in step.replaced))
    return f"not begun, and as before: {', '.join(hosts)}" if hosts else ""
