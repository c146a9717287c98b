"""What restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError
from dask_fleet.planner import plan_restart

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved
    from dask_fleet.target import HostTarget

__all__ = ["check_names", "plan_of_restart"]


def plan_of_restart(
    targets: Iterable[HostTarget],
    observed: Mapping[str, HostObserved],
    names: frozenset[str],
    *,
    rolling: bool,
) -> Plan:
    """Return the plan of a restart.

    Parameters
    ----------
    targets : iterable of HostTarget
        What should be, in the order of the spec.
    observed : Mapping
        What is, by host.
    names : frozenset of str
        Processes or units; all if it is empty.
    rolling : bool
        Whether units of workers restart one host after another, and the scheduler not at all.

    Raises
    ------
    FleetError
        Nothing runs, or the scheduler is to restart rolling.
    """
    every = tuple(targets)
    asked = names
    if rolling:
        units = [unit for target in every for unit in target.units]
        single = sorted(
            names
            & {name for u in units if u.role == "scheduler" for name in (u.name, *u.processes)}
        )
        if single:
            raise FleetError(
                f"{', '.join(single)}: there is one scheduler, and none that stands in for it",
                "leave it out, or leave --rolling away",
            )
        asked = names or frozenset(unit.name for unit in units if unit.role == "workers")
    plan = plan_restart(every, observed, asked)
    if plan.empty:
        raise FleetError("nothing to restart: the fleet is not up", "dask fleet up")
    return plan


def check_names(layout: Layout, names: Iterable[str]) -> None:
    """Raise an error that lists what there is if a name is neither process nor unit."""
    known = {unit.name for unit in layout.units} | {
        process.name for unit in layout.units for process in unit.processes
    }
    unknown = sorted(set(names) - known)
    if unknown:
        import difflib

        near = difflib.get_close_matches(unknown[0], known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise FleetError(
            f"fleet {layout.name} has no process {', '.join(unknown)}",
            f"{hint}`dask fleet status` lists every process",
        )
