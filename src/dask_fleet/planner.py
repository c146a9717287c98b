"""Spec and observation to plan: pure, so that the same input gives the same plan.

A plan on what it has just done is empty; a plan on what was left half done finishes it. Nothing
is remembered between runs: a process says which digest it was started from, so a run that was
killed between writing a file and restarting what reads it is seen and gone on with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_fleet.actions import (
    Action,
    BuildEnvironment,
    Change,
    Plan,
    PrepareHost,
    RemoveDoor,
    RemoveFleet,
    RestartUnits,
    StartRuntime,
    StopProcesses,
    StopRuntime,
    UpdateUnits,
    Verb,
    WriteFiles,
)
from dask_fleet.comparing import differences
from dask_fleet.desired import CONSOLE, TLS
from dask_fleet.proxy.planning import DOOR, door_changes
from dask_fleet.published import INVENTORY
from dask_fleet.spec.expand import SCHEDULER_NAME
from dask_fleet.tls.certificates import CA_FILE, CERTIFICATE_FILE, KEY_FILE

if TYPE_CHECKING:
    from dask_fleet.observed import HostObserved
    from dask_fleet.places import Places
    from dask_fleet.runtimes.base import Runtime
    from dask_fleet.target import HostTarget, ManagedFile, UnitTarget

__all__ = [
    "plan_down",
    "plan_restart",
    "plan_up",
]


@dataclass(slots=True)
class _Draft:
    """What becomes of one host: lines for people, and actions by phase."""

    host: str
    first: bool = False
    changes: list[Change] = field(default_factory=list[Change])
    prepare: list[Action] = field(default_factory=list[Action])
    stop: list[Action] = field(default_factory=list[Action])
    run: list[Action] = field(default_factory=list[Action])

    def say(self, verb: Verb, subject: str, reason: str, detail: str = "") -> None:
        self.changes.append(Change(self.host, verb, subject, reason, detail))


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
    return _join(
        _host_up(target, observed[target.host], runtimes[target.host]) for target in targets
    )


def _join(drafts: Iterable[_Draft]) -> Plan:
    every = list(drafts)
    phases = (
        tuple(action for draft in every for action in draft.prepare),
        tuple(action for draft in every for action in draft.stop),
        tuple(action for draft in every if draft.first for action in draft.run),
        tuple(action for draft in every if not draft.first for action in draft.run),
    )
    return Plan(
        changes=tuple(change for draft in every for change in draft.changes),
        phases=tuple(phase for phase in phases if phase),
    )


def _host_up(target: HostTarget, seen: HostObserved, runtime: Runtime) -> _Draft:
    draft = _Draft(target.host, any(unit.role == "scheduler" for unit in target.units))
    if target.units and not seen.runtime.prepared:
        draft.say("create", "user and directories", f"units under {runtime.name} need them")
        draft.prepare.append(PrepareHost(target.host))
    if target.units and target.environment.digest not in seen.environments:
        draft.say("create", f"environment {target.environment.name}", "it is not there")
        draft.prepare.append(BuildEnvironment(target.host, target.environment, seen.software))
    changed = tuple(file for file in target.files if seen.files.get(file.path) != file.digest)
    declared = {file.path for file in target.files}
    removed = tuple(sorted(path for path in seen.files if path not in declared))
    own = runtime.own_files(target.places)
    rewritten = sorted(file.path for file in changed if file.path in own)
    if seen.runtime.alive and not rewritten:
        _update(draft, target, seen, changed, removed)
    else:
        _begin(draft, target, seen, runtime, rewritten)
    if changed or removed:
        # The runtime ends before its own files are written: were the order the other way round,
        # an up that is killed in between would leave it running on what no file says any more.
        ends = any(isinstance(action, StopRuntime) for action in draft.stop)
        phase = draft.stop if rewritten and ends else draft.prepare
        phase.append(WriteFiles(target.host, changed, removed))
    if (changed or removed) and not draft.changes:
        names = {_short(target.places, path) for path in _paths(changed, removed)}
        console = {n for n in names if n == INVENTORY or n.startswith(f"launcher/{CONSOLE}")}
        if names <= console:
            draft.say("change", "console", "it shows what is declared now; nothing restarts")
        elif names - console <= {f"{TLS}/{CERTIFICATE_FILE}", f"{TLS}/{KEY_FILE}"}:
            draft.say("change", "certificate", "processes take the new one over as they run")
        else:
            shown = ", ".join(sorted(names))
            draft.say("change", "files", f"edited or left behind: {shown}")
    _plan_door(draft, target, seen)
    return draft


def _plan_door(draft: _Draft, target: HostTarget, seen: HostObserved) -> None:
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


def _paths(changed: Iterable[ManagedFile], removed: Iterable[str]) -> list[str]:
    return [*(file.path for file in changed), *removed]


def _short(places: Places, path: str) -> str:
    return path.removeprefix(f"{places.deployed}/")


def _begin(
    draft: _Draft, target: HostTarget, seen: HostObserved, runtime: Runtime, rewritten: list[str]
) -> None:
    """Say what is to be done where the runtime does not run or has to be started anew."""
    runs = bool(seen.runtime.pid) or seen.runtime.alive
    if runs and rewritten:
        names = ", ".join(_short(target.places, path) for path in rewritten)
        draft.say("restart", runtime.name, f"{names} changed")
    elif runs:
        draft.say("restart", runtime.name, f"pid {seen.runtime.pid} does not answer on its socket")
    orphans = _orphans(seen)
    if runs:
        draft.stop.append(StopRuntime(target.host, runtime.shown))
    elif orphans:
        draft.stop.append(StopProcesses(target.host, orphans))
    left = dict(orphans)
    for unit in target.units:
        if unit.path not in seen.files:
            draft.say("create", unit.name, "it is not there", _contents(unit))
        elif runs:
            draft.say("restart", unit.name, f"with {runtime.name}")
        elif unit.name in left:
            draft.say(
                "restart", unit.name, f"pid {left[unit.name]} runs without its {runtime.name}"
            )
        else:
            draft.say("start", unit.name, f"{runtime.name} is not running")
    _say_gone(draft, target, {*seen.runtime.units, *left})
    if target.units:
        names = tuple(unit.name for unit in target.units)
        draft.run.append(StartRuntime(target.host, runtime.name, names))


def _update(
    draft: _Draft,
    target: HostTarget,
    seen: HostObserved,
    changed: tuple[ManagedFile, ...],
    removed: tuple[str, ...],
) -> None:
    """Say what is to be done where the runtime runs: take over what differs.

    A unit that does not run is updated too, not merely started: an ``up`` that was killed may
    have written its files, and the runtime would start it as it was before.
    """
    update: list[str] = []
    for unit in target.units:
        there = seen.runtime.units.get(unit.name)
        record = seen.records.get(unit.name)
        if there is None:
            draft.say("create", unit.name, "it is not there", _contents(unit))
            update.append(unit.name)
        elif reason := _outdated(unit, target, seen, _paths(changed, removed)):
            draft.say("change", unit.name, reason)
            update.append(unit.name)
        elif there.state == "stopped":
            draft.say("start", unit.name, f"it was stopped ({there.detail})")
            update.append(unit.name)
        elif there.state == "crashing":
            draft.say("restart", unit.name, f"it ends at once ({there.detail})")
            update.append(unit.name)
        elif there.fault:
            draft.say("change", unit.name, there.fault)
            update.append(unit.name)
        elif record is not None and record.alive and record.digest != unit.digest:
            draft.say(
                "change",
                unit.name,
                f"pid {record.pid} was started from an earlier version ({record.digest})",
            )
            update.append(unit.name)
    update.extend(_say_gone(draft, target, seen.runtime.units))
    if update:
        draft.run.append(UpdateUnits(target.host, tuple(update)))


def _say_gone(draft: _Draft, target: HostTarget, there: Iterable[str]) -> list[str]:
    """Say which of the units that are there have to go, and return their names."""
    gone = sorted(set(there) - {unit.name for unit in target.units})
    for name in gone:
        draft.say("remove", name, "it is no longer declared")
    return gone


def _contents(unit: UnitTarget) -> str:
    if unit.role != "workers":
        return ""
    count = len(unit.processes)
    if count == 1:
        return unit.processes[0]
    return f"{count} workers, {unit.processes[0]} to {unit.processes[-1]}"


def _outdated(
    unit: UnitTarget, target: HostTarget, seen: HostObserved, paths: Iterable[str]
) -> str:
    """Return why the deployed definition of a unit differs, or nothing if it does not.

    ``paths`` are those of files that differ or are too many.
    """
    paths = set(paths)
    definition = {path for path in paths if _defines(path, unit.name)}
    if unit.path not in paths and not definition:
        return ""
    was = seen.unit_files.get(unit.path, {})
    if not was or was.get("digest") == unit.digest:
        return "its files were edited by hand"
    reasons = [
        text
        for text in differences(was, unit.declared)
        if not text.startswith(("digest ", "run_directory "))
    ]
    shared = {_short(target.places, path) for path in paths} - {
        _short(target.places, path) for path in (unit.path, *definition)
    }
    if "dask.yaml" in shared:
        reasons.append("the Dask configuration changed")
    if any(path.startswith("launcher/") for path in shared):
        reasons.append("the launcher of dask-fleet changed")
    if f"{TLS}/{CA_FILE}" in shared and f"{TLS}/{CERTIFICATE_FILE}" in shared:
        reasons.append("the certificate authority changed")
    shown = reasons[:4]
    if len(reasons) > len(shown):
        shown.append(f"and {len(reasons) - len(shown)} more")
    if not shown and definition:
        return "its definition changed, by another `user` or another version of dask-fleet"
    return "; ".join(shown) or "its files were edited by hand"


def _defines(path: str, unit: str) -> bool:
    """Return whether a runtime reads this file for this unit."""
    directory, _, name = path.rpartition("/")
    service = f".{unit}.service"
    return name == f"{unit}.conf" or name.endswith(service) or directory.endswith(f"{service}.d")


def _orphans(seen: HostObserved) -> tuple[tuple[str, int], ...]:
    """Return units that live on although no runtime keeps them: name and pid."""
    return tuple(
        (record.name, record.pid)
        for record in seen.records.values()
        if record.alive and record.name == record.unit
    )


def plan_down(
    observed: Mapping[str, HostObserved],
    runtimes: Mapping[str, Runtime],
    places: Mapping[str, Places],
) -> Plan:
    """Return what leaves nothing of the fleet on any host, environments excepted.

    The scheduler goes last: a worker whose scheduler closes at the same time waits for it until
    its nanny kills it.
    """
    drafts: list[_Draft] = []
    for host, seen in observed.items():
        draft, runtime = _Draft(host), runtimes[host]
        last = SCHEDULER_NAME in seen.runtime.units
        stop, remove = (draft.stop, draft.run) if last else (draft.prepare, draft.stop)
        runs = seen.runtime.pid or (seen.runtime.alive and not runtime.resident)
        if runs or seen.runtime.units or seen.runtime.files:
            for name in sorted(seen.runtime.units):
                draft.say("stop", name, "the fleet goes down")
            if not runtime.resident:
                draft.say("stop", runtime.name, "the fleet goes down")
            stop.append(StopRuntime(host, runtime.shown))
        elif orphans := _orphans(seen):
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
                paths[f"{place.door}/seen"] = None  # who may come in stays, as the history does
            remove.append(RemoveFleet(host, tuple(paths)))
        drafts.append(draft)
    return _join(drafts)


def plan_restart(
    targets: Iterable[HostTarget], observed: Mapping[str, HostObserved], names: frozenset[str]
) -> Plan:
    """Return the restart of the units that hold these processes (all units if empty)."""
    drafts: list[_Draft] = []
    for target in targets:
        draft = _Draft(target.host)
        units: list[str] = []
        for unit in target.units:
            asked = sorted(names & {unit.name, *unit.processes})
            if (asked or not names) and unit.name in observed[target.host].runtime.units:
                others = [name for name in unit.processes if name not in (unit.name, *asked)]
                with_it = f", and with it {', '.join(others)}" if asked and others else ""
                draft.say("restart", unit.name, f"asked for {', '.join(asked) or 'all'}{with_it}")
                units.append(unit.name)
        if units:
            draft.run.append(RestartUnits(target.host, tuple(units)))
        drafts.append(draft)
    return _join(drafts)
