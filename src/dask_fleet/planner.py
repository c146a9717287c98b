"""Spec and observation to plan: pure, so that the same input gives the same plan.

A plan on what it has just done is empty; a plan on what was left half done finishes it. Nothing
is remembered between runs: a process says which digest it was started from, so a run that was
killed between writing a file and restarting what reads it is seen and gone on with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask_fleet.actions import (
    BuildEnvironment,
    Plan,
    PrepareHost,
    RemoveDoor,
    RemoveFleet,
    RestartUnits,
    StopProcesses,
    StopRuntime,
    WriteFiles,
)
from dask_fleet.desired import CONSOLE
from dask_fleet.drafting import Draft, join, paths_of, short
from dask_fleet.places import TLS
from dask_fleet.planning_units import begin, orphans_of, stop, take_over, update
from dask_fleet.predecessors import in_the_place_of, predecessors
from dask_fleet.proxy.planning import DOOR, door_changes
from dask_fleet.published import INVENTORY
from dask_fleet.spec.expand import SCHEDULER_NAME
from dask_fleet.tls.certificates import CERTIFICATE_FILE, KEY_FILE

if TYPE_CHECKING:
    from dask_fleet.observed import HostObserved
    from dask_fleet.places import Places
    from dask_fleet.runtimes.base import Runtime
    from dask_fleet.target import HostTarget

__all__ = ["plan_down", "plan_restart", "plan_up"]


def plan_up(
    targets: Iterable[HostTarget],
    observed: Mapping[str, HostObserved],
    runtimes: Mapping[str, Runtime],
) -> Plan:
    """Return what makes every host be as its target says.

    Parameters
    ----------
    targets : iterable of HostTarget
        What should be, in the order of the spec, the scheduler's host first.
    observed : Mapping
        What is, by host.
    runtimes : Mapping
        The runtime of each host.
    """
    return join(
        _host_up(target, observed[target.host], runtimes[target.host]) for target in targets
    )


def _host_up(target: HostTarget, seen: HostObserved, runtime: Runtime) -> Draft:
    draft = Draft(target.host, any(unit.role == "scheduler" for unit in target.units))
    if target.units and not seen.runtime.prepared:
        draft.say("create", "user and directories", f"units under {runtime.name} need them")
        draft.prepare.append(PrepareHost(target.host))
    if target.units and not seen.has(target.environment):
        kind = "image" if target.environment.image else "environment"
        draft.say("create", f"{kind} {target.environment.name}", "it is not there")
        draft.prepare.append(BuildEnvironment(target.host, target.environment, seen.software))
    changed = tuple(file for file in target.files if seen.files.get(file.path) != file.digest)
    declared = {file.path for file in target.files}
    removed = tuple(sorted(path for path in seen.files if path not in declared))
    own = runtime.own_files(target.places)
    rewritten = sorted(file.path for file in changed if file.path in own)
    found = predecessors(target, seen)
    if seen.runtime.alive and not rewritten:
        update(draft, target, seen, changed, removed, in_the_place_of(found))
    else:
        begin(draft, target, seen, runtime, rewritten)
    if changed or removed:
        # The runtime ends before its own files are written: were the order the other way round,
        # an up that is killed in between would leave it running on what no file says any more.
        ends = any(isinstance(action, StopRuntime) for action in draft.stop)
        phase = draft.stop if rewritten and ends else draft.prepare
        phase.append(WriteFiles(target.host, changed, removed))
    if (changed or removed) and not draft.changes:
        names = {short(target.places, path) for path in paths_of(changed, removed)}
        console = {n for n in names if n == INVENTORY or n.startswith(f"launcher/{CONSOLE}")}
        if names <= console:
            draft.say("change", "console", "it shows what is declared now; nothing restarts")
        elif names - console <= {f"{TLS}/{CERTIFICATE_FILE}", f"{TLS}/{KEY_FILE}"}:
            draft.say("change", "certificate", "processes take the new one over as they run")
        else:
            shown = ", ".join(sorted(names))
            draft.say("change", "files", f"edited or left behind: {shown}")
    take_over(draft, target, seen, found)
    _plan_door(draft, target, seen)
    return draft


def _plan_door(draft: Draft, target: HostTarget, seen: HostObserved) -> None:
    """Say what becomes of the door.

    The files of an nginx of our own are there before it starts. That of the host takes its site
    over last: what is wrong with the door must not keep the cluster from computing.
    """
    found = door_changes(target.host, target.door, seen)
    if found is not None:
        change, action = found
        draft.changes.append(change)
        before = target.door is not None and target.door.own
        (draft.prepare if before else draft.run).append(action)


def plan_down(
    observed: Mapping[str, HostObserved],
    runtimes: Mapping[str, Runtime],
    places: Mapping[str, Places],
) -> Plan:
    """Return what leaves nothing of the fleet on any host, environments excepted.

    The scheduler goes last: a worker whose scheduler closes at the same time waits for it until
    its nanny kills it.
    """
    drafts: list[Draft] = []
    for host, seen in observed.items():
        draft, runtime = Draft(host), runtimes[host]
        last = SCHEDULER_NAME in seen.runtime.units
        stop, remove = (draft.stop, draft.run) if last else (draft.prepare, draft.stop)
        runs = seen.runtime.pid or (seen.runtime.alive and not runtime.resident)
        if runs or seen.runtime.units or seen.runtime.files:
            for name in sorted(seen.runtime.units):
                draft.say("stop", name, "the fleet goes down")
            if not runtime.resident:
                draft.say("stop", runtime.name, "the fleet goes down")
            stop.append(StopRuntime(host, runtime.shown))
        elif orphans := orphans_of(seen):
            for name, pid in orphans:
                draft.say("stop", name, f"pid {pid} runs without its {runtime.name}")
            stop.append(StopProcesses(host, orphans))
        if seen.door.files and runtime.resident:
            draft.say("remove", DOOR, "the fleet goes down")
            draft.prepare.append(RemoveDoor(host))
        if seen.exists:
            place = places[host]
            draft.say("remove", "files", f"everything below {place.state}")
            paths = dict.fromkeys((place.work, place.logs, place.state, place.turn))
            if seen.door.files:
                paths[place.seen] = None  # who may come in stays, as the history does
            remove.append(RemoveFleet(host, tuple(paths)))
        drafts.append(draft)
    return join(drafts)


def plan_restart(
    targets: Iterable[HostTarget], observed: Mapping[str, HostObserved], names: frozenset[str]
) -> Plan:
    """Return the restart of the units that hold these processes (all units if empty)."""
    drafts: list[Draft] = []
    for target in targets:
        draft = Draft(target.host)
        units: list[str] = []
        for unit in target.units:
            asked = sorted(names & {unit.name, *unit.processes})
            if (asked or not names) and unit.name in observed[target.host].runtime.units:
                others = [name for name in unit.processes if name not in (unit.name, *asked)]
                with_it = f", and with it {', '.join(others)}" if asked and others else ""
                draft.say("restart", unit.name, f"asked for {', '.join(asked) or 'all'}{with_it}")
                units.append(unit.name)
        if units:
            stop(draft, observed[target.host], units)
            draft.run.append(RestartUnits(target.host, tuple(units)))
        drafts.append(draft)
    return join(drafts)
