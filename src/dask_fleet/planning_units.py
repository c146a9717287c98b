"""What is to be done about the units of a host: seen and declared to lines and actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask_fleet.actions import StartRuntime, StopProcesses, StopRuntime, TakeOver, UpdateUnits
from dask_fleet.comparing import differences
from dask_fleet.drafting import Draft, paths_of, short
from dask_fleet.places import TLS
from dask_fleet.tls.certificates import CA_FILE, CERTIFICATE_FILE

if TYPE_CHECKING:
    from dask_fleet.observed import HostObserved
    from dask_fleet.predecessors import Predecessor
    from dask_fleet.runtimes.base import Runtime
    from dask_fleet.target import HostTarget, ManagedFile, UnitTarget

__all__ = ["begin", "orphans_of", "stop", "take_over", "update"]


def begin(
    draft: Draft, target: HostTarget, seen: HostObserved, runtime: Runtime, rewritten: list[str]
) -> None:
    """Say what is to be done where the runtime does not run or has to be started anew."""
    runs = bool(seen.runtime.pid) or seen.runtime.alive
    if runs and rewritten:
        names = ", ".join(short(target.places, path) for path in rewritten)
        draft.say("restart", runtime.name, f"{names} changed")
    elif runs:
        draft.say("restart", runtime.name, f"pid {seen.runtime.pid} does not answer on its socket")
    orphans = orphans_of(seen)
    if runs:
        stop(draft, seen, seen.runtime.units)
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


def update(
    draft: Draft,
    target: HostTarget,
    seen: HostObserved,
    changed: tuple[ManagedFile, ...],
    removed: tuple[str, ...],
    in_place: Mapping[str, str],
) -> None:
    """Say what is to be done where the runtime runs: take over what differs.

    ``in_place`` says of units which others stand in their place.

    A unit that does not run is updated too, not merely started: an ``up`` that was killed may
    have written its files, and the runtime would start it as it was before.
    """
    names: list[str] = []
    for unit in target.units:
        there = seen.runtime.units.get(unit.name)
        record = seen.records.get(unit.name)
        if there is None and unit.name in in_place:
            draft.say("replace", unit.name, in_place[unit.name], _contents(unit))
            names.append(unit.name)
        elif there is None:
            draft.say("create", unit.name, "it is not there", _contents(unit))
            names.append(unit.name)
        elif reason := _outdated(unit, target, seen, paths_of(changed, removed)):
            draft.say("change", unit.name, reason)
            names.append(unit.name)
        elif there.state == "stopped":
            draft.say("start", unit.name, f"it was stopped ({there.detail})")
            names.append(unit.name)
        elif there.state == "crashing":
            draft.say("restart", unit.name, f"it ends at once ({there.detail})")
            names.append(unit.name)
        elif there.fault:
            draft.say("change", unit.name, there.fault)
            names.append(unit.name)
        elif record is not None and record.alive and record.digest != unit.digest:
            draft.say(
                "change",
                unit.name,
                f"pid {record.pid} was started from an earlier version ({record.digest})",
            )
            names.append(unit.name)
    names.extend(_say_gone(draft, target, seen.runtime.units))
    stop(draft, seen, names)
    if names:
        draft.run.append(UpdateUnits(target.host, tuple(names)))


def take_over(
    draft: Draft, target: HostTarget, seen: HostObserved, found: tuple[Predecessor, ...]
) -> None:
    """Say which containers make way; those in the place of a new unit are named with it."""
    if not found:
        return
    for one in found:
        if not set(one.units) - seen.runtime.units.keys():
            draft.say("stop", str(one.container), f"it {one.reason}")
    # All of them before any of the fleet's: an old worker must not find the new scheduler.
    draft.stop.append(TakeOver(target.host, found))


def stop(draft: Draft, seen: HostObserved, units: Iterable[str]) -> None:
    """Note which workers run in units that are stopped, and whether a scheduler does."""
    stopped = frozenset(units)
    for record in seen.records.values():
        if not record.alive or record.unit not in stopped:
            continue
        there = seen.runtime.units.get(record.unit)
        if there is not None and there.state == "stopped":
            continue  # a container that is paused has processes, and none of them can hand over
        if record.role == "scheduler":
            draft.interrupts = True
        elif record.name != record.unit:
            draft.stopped.append(record.name)


def _say_gone(draft: Draft, target: HostTarget, there: Iterable[str]) -> list[str]:
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
    shared = {short(target.places, path) for path in paths} - {
        short(target.places, path) for path in (unit.path, *definition)
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


def orphans_of(seen: HostObserved) -> tuple[tuple[str, int], ...]:
    """Return units that live on although no runtime keeps them: name and pid."""
    return tuple(
        (record.name, record.pid)
        for record in seen.records.values()
        if record.alive and record.name == record.unit
    )
