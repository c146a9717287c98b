"""In which steps a plan is done when workers that run are replaced: host by host.

First every host gets what takes long and harms nobody, its environment or image; a step that fails
ends everything, and nothing was touched yet. Then come the hosts on which no worker has to stop,
for they may bring workers that take something over. Then the others, in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dask_fleet.actions import Action, BuildEnvironment, Plan, PrepareHost, Replaced

__all__ = ["Step", "outlook", "steps"]


@dataclass(frozen=True, slots=True)
class Step:
    """What is done at once.

    Attributes
    ----------
    plan : Plan
        The actions.
    replaced : tuple of Replaced
        Workers that are drained before.
    vital : bool
        Whether the failure of one host ends everything; else the others go on.
    """

    plan: Plan
    replaced: tuple[Replaced, ...] = ()
    vital: bool = True

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts on which something is done."""
        return frozenset(self.plan.hosts)


def steps(plan: Plan, batch: int | None) -> tuple[Step, ...]:
    """Return the steps of a plan, in their order.

    Parameters
    ----------
    plan : Plan
        What is to be done.
    batch : int or None
        How many hosts with workers that run are done at once; ``None`` is all at once.
    """
    if plan.taken_over and (batch is None or not plan.replaced):
        # Who works now is stopped when every host has what comes after.
        rest = _part(plan, lambda one: not _prepares(one))
        several = Step(_part(plan, _prepares)), Step(rest, vital=False)
        return tuple(step for step in several if step.plan.phases)
    if batch is None or not plan.replaced:
        return (Step(plan, vital=False),)
    rolled = {one.host for one in plan.replaced}
    found = [
        Step(_part(plan, _prepares)),
        Step(_part(plan, lambda one: not _prepares(one) and one.host not in rolled), vital=False),
    ]
    for first in range(0, len(plan.replaced), batch):
        several = plan.replaced[first : first + batch]
        found.append(Step(_part(plan, _on(several)), several))
    return tuple(step for step in found if step.plan.phases)


def outlook(plan: Plan, batch: int | None, hosts: int) -> str:
    """Return what becomes of the work on workers that a plan stops, in words; empty if none is.

    Parameters
    ----------
    plan : Plan
        What is to be done.
    batch : int or None
        How many hosts at once have their workers replaced; all of them if it is None.
    hosts : int
        How many hosts are to have workers.
    """
    if plan.interrupts:
        lost = (
            "The scheduler is stopped, and with it the work of all its clients, which it keeps in"
            " memory."
        )
        others = len(plan.hosts) > 1
        return f"{lost} --keep-scheduler leaves its host as it is." if others else lost
    if not plan.replaced:
        return ""
    if batch is None:
        return "All workers stop at once: what they hold is lost or computed again."
    if min(batch, len(plan.replaced)) >= hosts:
        return (
            "No other host has workers that could take what these hold: they end what they compute,"
            " and if a client still needs what they hold, they go on and the update stops."
        )
    pace = "host by host" if batch == 1 else f"{batch} hosts at once"
    return (
        f"Workers are replaced {pace}: they end what they compute, hand over what they hold, and"
        " are registered again before the next."
    )


def _prepares(action: Action) -> bool:
    return isinstance(action, (BuildEnvironment, PrepareHost))


def _on(several: Iterable[Replaced]) -> Callable[[Action], bool]:
    hosts = {one.host for one in several}
    return lambda one: not _prepares(one) and one.host in hosts


def _part(plan: Plan, chosen: Callable[[Action], bool]) -> Plan:
    phases = (tuple(action for action in phase if chosen(action)) for phase in plan.phases)
    return Plan(phases=tuple(phase for phase in phases if phase))
