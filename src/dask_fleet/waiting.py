"""Success is observed: the cluster is up when its scheduler lists it as it was declared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dask_fleet.actions import Plan
from dask_fleet.errors import DeadlineError
from dask_fleet.events import Registered, Sink
from dask_fleet.registration import faults

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.observed import HostObserved

__all__ = ["until_registered"]

_POLL_SECONDS = 0.05
_GOOD_POLLS = 2
_PAUSE_SECONDS = 0.02
_LOOK_SECONDS = 1.0
_CRASHING_LOOKS = 3
"""A unit that is found between two starts this many times running will not come up by itself."""


async def until_registered(fleet: Fleet, sink: Sink, timeout: float) -> None:
    """Wait until the scheduler lists every worker as declared, several polls running.

    Then the hosts have the last word: the processes must be the ones just deployed, for a worker
    of the release before may still be listed for a moment.

    Parameters
    ----------
    fleet : Fleet
        What is waited for.
    sink : callable
        Takes a `Registered` whenever the number of workers changes.
    timeout : float
        Seconds.

    Raises
    ------
    DeadlineError
        Naming every process that is not as declared, with the last words of its unit.
    """
    scheduler, total = fleet.layout.scheduler.name, len(fleet.layout.workers)
    deadline = time.monotonic() + timeout
    next_look = time.monotonic() + _LOOK_SECONDS
    crashing, told = 0, -1
    wrong: dict[str, str] = {}
    plan = Plan()
    sight: asyncio.Task[dict[str, HostObserved]] | None = None
    while time.monotonic() < deadline and crashing < _CRASHING_LOOKS:
        wrong = faults(fleet.layout, await fleet.cluster())
        missing = tuple(name for name in wrong if name != scheduler)
        if len(missing) != told:
            told = len(missing)
            sink(Registered(total - told, total, missing))
        if len(missing) < total and sight is None:
            # As soon as the first worker is there, its unit is: the look takes as long as the
            # others need, and is made again if it came too early to see them all.
            sight = asyncio.create_task(fleet.look())
        if not wrong:
            wrong = await _polls(fleet, _GOOD_POLLS)
            plan = await fleet.plan_from(await (sight or fleet.look()))
            if plan.empty and not wrong:
                return
            sight = None
        elif time.monotonic() >= next_look:
            next_look = time.monotonic() + _LOOK_SECONDS
            crashing = crashing + 1 if _crashing(await fleet.look()) else 0
        await asyncio.sleep(_POLL_SECONDS)
    if sight is not None:
        sight.cancel()
    when = "its processes end at once" if crashing else f"not within {timeout:g} s"
    raise DeadlineError(
        f"the cluster is not as declared: {when}\n"
        + "\n".join([*map(str, plan.changes), *await _last_words(fleet, wrong)]),
        "read `dask fleet logs`, correct what is wrong, and run `dask fleet up` again;"
        " it goes on from here",
    )


async def _polls(fleet: Fleet, count: int) -> dict[str, str]:
    """Return the first faults that so many further polls find."""
    wrong: dict[str, str] = {}
    while count and not wrong:
        await asyncio.sleep(_PAUSE_SECONDS)
        wrong = faults(fleet.layout, await fleet.cluster())
        count -= 1
    return wrong


def _crashing(observed: Mapping[str, HostObserved]) -> bool:
    return any(
        unit.state == "crashing"
        for seen in observed.values()
        for unit in seen.runtime.units.values()
    )


async def _last_words(fleet: Fleet, wrong: Mapping[str, str]) -> list[str]:
    """Return, for each unit with a fault, what is wrong in it and the end of its log."""
    lines: list[str] = []
    for unit in fleet.layout.units:
        bad = [process.name for process in unit.processes if process.name in wrong]
        if not bad:
            continue
        access = fleet.hosts[unit.host]
        command = access.runtime.log(access.places, unit.name, lines=40, follow=False)
        tail = await access.transport.run(command, check=False)
        shown = ", ".join(f"{name} {wrong[name]}" for name in bad[:6])
        lines.append(f"{unit.host}: {unit.name}: {shown}")
        lines.extend(f"  | {line}" for line in _without_repeats(tail.stdout.splitlines()))
    return lines


def _without_repeats(lines: list[str], most: int = 8) -> list[str]:
    """Return the last lines, each that stands several times in a row only once, with a count."""
    kept: list[tuple[str, int]] = []
    for line in lines:
        if kept and kept[-1][0] == line:
            kept[-1] = (line, kept[-1][1] + 1)
        else:
            kept.append((line, 1))
    return [line if count == 1 else f"{line} ({count} times)" for line, count in kept[-most:]]
