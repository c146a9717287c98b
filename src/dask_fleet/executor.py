"""The one place that acts.

All hosts of a phase at once; on one host the actions in order. A host that fails is left out of
the phases that follow, the others go on, and every failure is reported at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dask_fleet.actions import (
    Action,
    BuildEnvironment,
    Plan,
    RemoveFleet,
    RestartUnits,
    StartRuntime,
    StopProcesses,
    StopRuntime,
    UpdateUnits,
    WriteFiles,
)
from dask_fleet.builder import build
from dask_fleet.command import LIVES, Command, script
from dask_fleet.errors import FleetError, SeveralErrors
from dask_fleet.events import ActionDone, ActionFailed, ActionStarted, Sink
from dask_fleet.journal import Journal

if TYPE_CHECKING:
    from dask_fleet.observer import HostAccess
    from dask_fleet.target import ManagedFile

__all__ = ["apply"]

# Each record on standard input is a line "MODE SIZE PATH" and then SIZE bytes; the last line is
# "end", and nothing gets its name before that was read, for the sender may have been killed. A
# name appears with a rename, so no reader ever sees half a file. What is to be readable by others
# becomes so only when it is whole. Programs are started sparingly: a fleet starts as fast as this.
_INSTALL = """\
set -eu
umask 077
removed=$# whole=no place=
while read -r mode size path; do
  if [ "$mode" = end ]; then whole=yes; break; fi
  if [ "${path%/*}" != "$place" ]; then place=${path%/*}; mkdir -p "$place"; fi
  set -- "$@" "$path"
  # One that a killed sender has left behind could be readable by others.
  if [ -e "$path.dask-fleet-new" ]; then rm -f "$path.dask-fleet-new"; fi
  head -c "$size" >"$path.dask-fleet-new"
  if [ "$mode" != 600 ]; then chmod "$mode" "$path.dask-fleet-new"; fi
done
count=0
for path in "$@"; do
  count=$((count + 1))
  if [ "$count" -gt "$removed" ]; then
    if [ $whole = yes ]; then mv "$path.dask-fleet-new" "$path"
    else rm -f "$path.dask-fleet-new"
    fi
  elif [ $whole = yes ]; then rm -f "$path"
  fi
done
if [ $whole = no ]; then echo "the input broke off" >&2; exit 1; fi
"""

_STOP_GROUPS = f"""\
{LIVES}
for pid in "$@"; do kill -TERM "$pid" 2>/dev/null || :; done
for pid in "$@"; do
  tries=0
  while lives "$pid" && [ "$tries" -lt 400 ]; do
    tries=$((tries + 1))
    sleep 0.05
  done
  kill -KILL -- "-$pid" 2>/dev/null || :
done
"""


async def apply(plan: Plan, hosts: Mapping[str, HostAccess], sink: Sink) -> None:
    """Do what a plan says.

    Parameters
    ----------
    plan : Plan
        The actions.
    hosts : Mapping
        How to reach each host.
    sink : callable
        Takes the events.

    Raises
    ------
    FleetError
        The failure of a host; `SeveralErrors` if there were several.
    """
    failed: dict[str, FleetError] = {}
    for phase in plan.phases:
        by_host: dict[str, list[Action]] = {}
        for action in phase:
            if action.host not in failed:
                by_host.setdefault(action.host, []).append(action)
        ended = await asyncio.gather(
            *(_act(hosts[host], actions, sink) for host, actions in by_host.items())
        )
        failed.update({host: e for host, e in zip(by_host, ended, strict=True) if e is not None})
    if len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        raise SeveralErrors(tuple(failed.values()))


async def _act(access: HostAccess, actions: list[Action], sink: Sink) -> FleetError | None:
    journal = Journal(access.transport, access.places.journal)
    for action in actions:
        text = str(action)
        host = access.transport.host
        # What frees a host must work on one whose disk is full, and needs no record of itself.
        recorded = not isinstance(action, (RemoveFleet, StopRuntime, StopProcesses))
        began = time.monotonic()
        sink(ActionStarted(host, text))
        try:
            if recorded:
                await journal.write("begin", action=text)
            await _do(access, action, sink)
            if recorded:
                await journal.write("done", action=text)
        except FleetError as error:
            sink(ActionFailed(host, text, error.message.splitlines()[0]))
            return error
        sink(ActionDone(host, text, time.monotonic() - began))
    return None


async def _do(access: HostAccess, action: Action, sink: Sink) -> None:
    runtime, places = access.runtime, access.places
    match action:
        case BuildEnvironment(environment=environment):
            await build(access.transport, places, environment, sink)
        case WriteFiles(files=files, removed=removed):
            await access.transport.run(_install(files, removed))
        case StopProcesses(processes=processes):
            pids = (str(pid) for _, pid in processes)
            await access.transport.run(script(_STOP_GROUPS, *pids, timeout=60))
        case StartRuntime():
            await access.transport.run(runtime.begin(places))
        case StopRuntime():
            await access.transport.run(runtime.end(places))
        case UpdateUnits(units=units):
            await access.transport.run(runtime.update(places, units))
        case RestartUnits(units=units):
            await access.transport.run(runtime.restart(places, units))
        case RemoveFleet(directories=directories):
            await access.transport.run(script('rm -rf -- "$@"', *directories))


def _install(files: tuple[ManagedFile, ...], removed: tuple[str, ...]) -> Command:
    content = b"".join(
        f"{file.mode:o} {len(file.content)} {file.path}\n".encode() + file.content for file in files
    )
    return Command(("sh", "-c", _INSTALL, "install", *removed), content + b"end\n")
