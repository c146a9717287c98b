"""Success is observed: the cluster is up when its scheduler lists it as it was declared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_fleet.actions import Plan
from dask_fleet.errors import DeadlineError, FleetError, UnreachableHostError
from dask_fleet.events import Registered, Sink
from dask_fleet.observer import Sight
from dask_fleet.registration import faults

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.observed import HostObserved

__all__ = ["until_registered"]

_POLL_SECONDS = 0.015
_AWAY_SECONDS = 0.1
_GOOD_POLLS = 2
_PAUSE_SECONDS = 0.01
_FIRST_LOOK_SECONDS, _LOOK_SECONDS = 2.5, 1.0
_CRASHING_LOOKS = 3
"""A unit that is found between two starts this many times running will not come up by itself."""


@dataclass(slots=True)
class _Silence:
    """Hosts that cease to answer: one look may fail where the next does not, two do not."""

    last: dict[str, FleetError] = field(default_factory=dict[str, FleetError])
    lost: dict[str, FleetError] = field(default_factory=dict[str, FleetError])

    def heed(self, seen: Sight, hosts: frozenset[str]) -> None:
        now = {name: error for name, error in seen.failures.items() if name in hosts}
        self.lost.update({name: error for name, error in now.items() if name in self.last})
        self.last = now


async def until_registered(
    fleet: Fleet, sink: Sink, timeout: float, hosts: frozenset[str]
) -> dict[str, FleetError]:
    """Wait until the scheduler lists every worker as declared, several polls running.

    Then the hosts have the last word: the processes must be the ones just deployed, and those that
    are listed must be those that run, for one that was there before may still be listed. A host
    that ceases to answer does not hold up the others.

    Parameters
    ----------
    fleet : Fleet
        What is waited for.
    sink : callable
        Takes a `Registered` whenever the number of workers changes.
    timeout : float
        Seconds.
    hosts : frozenset of str
        Those whose processes count.

    Returns
    -------
    dict
        The failures of hosts that have ceased to answer, by name.

    Raises
    ------
    UnreachableHostError
        The scheduler's host has ceased to answer.
    DeadlineError
        Naming every process that is not as declared, with the last words of its unit.
    """
    scheduler, keeper = fleet.layout.scheduler.name, fleet.layout.scheduler.host
    deadline = time.monotonic() + timeout
    next_look = time.monotonic() + _FIRST_LOOK_SECONDS
    crashing, told = 0, -1
    wrong: dict[str, str] = {}
    silence = _Silence()
    plan = Plan()
    sight: asyncio.Task[Sight] | None = None
    while time.monotonic() < deadline and crashing < _CRASHING_LOOKS:
        if keeper in silence.lost:
            raise silence.lost[keeper]
        hosts -= silence.lost.keys()
        total = sum(worker.host in hosts for worker in fleet.layout.workers)
        wrong = await _faults(fleet, hosts)
        missing = tuple(name for name in wrong if name != scheduler)
        # Its processes need the CPUs that polling takes, most of all before the scheduler answers.
        pause = _AWAY_SECONDS if scheduler in wrong else _POLL_SECONDS
        if len(missing) != told:
            told = len(missing)
            sink(Registered(total - told, total, missing))
        if scheduler not in wrong and sight is None and (len(missing) < total or not missing):
            # With the first worker there, the others are about to be: a look that begins now ends
            # when they are. One that came too early to see every record is made again.
            sight = asyncio.create_task(fleet.look(brief=True))
        if not wrong:
            wrong = await _polls(fleet, hosts, _GOOD_POLLS)
            seen = await (sight or fleet.look(brief=True))
            wrong = wrong or await _faults(fleet, hosts, seen)
            if wrong or not _recorded(fleet, seen, hosts):
                seen = await fleet.look(brief=True)
                wrong = await _faults(fleet, hosts, seen)
            silence.heed(seen, hosts)
            plan = await fleet.plan_from(_only(seen, hosts))
            if plan.empty and not wrong and not silence.last:
                return silence.lost
            sight, pause = None, _AWAY_SECONDS
        elif time.monotonic() >= next_look:
            next_look = time.monotonic() + _LOOK_SECONDS
            seen = await fleet.look(brief=True)
            silence.heed(seen, hosts)
            crashing = crashing + 1 if _crashing(seen.hosts) else 0
        await asyncio.sleep(_LOOK_SECONDS if silence.last else pause)
    if sight is not None:
        sight.cancel()
    silent = frozenset({**silence.lost, **silence.last})
    when = "its processes end at once" if crashing else f"not within {timeout:g} s"
    raise DeadlineError(
        f"the cluster is not as declared: {when}\n"
        + "\n".join(
            [*map(str, plan.changes), *await _last_words(fleet, hosts - silent, wrong, silent)]
        ),
        "read `dask fleet logs`, correct what is wrong, and run `dask fleet up` again;"
        " it goes on from here",
    )


def _recorded(fleet: Fleet, seen: Sight, hosts: frozenset[str]) -> bool:
    """Return whether every unit that runs was seen to have said what it was started from."""
    return all(
        (record := seen.hosts[unit.host].records.get(unit.name)) is not None and record.alive
        for unit in fleet.layout.units
        if unit.processes and unit.host in hosts and unit.host in seen.hosts
    )


def _only(seen: Sight, hosts: frozenset[str]) -> Sight:
    return Sight({name: one for name, one in seen.hosts.items() if name in hosts})


async def _faults(fleet: Fleet, hosts: frozenset[str], seen: Sight | None = None) -> dict[str, str]:
    try:
        return faults(fleet.layout, await fleet.cluster(), hosts, seen.hosts if seen else None)
    except UnreachableHostError as error:
        return faults(fleet.layout, None, hosts) | {
            fleet.layout.scheduler.name: error.message.splitlines()[0]
        }


async def _polls(fleet: Fleet, hosts: frozenset[str], count: int) -> dict[str, str]:
    """Return the first faults that so many further polls find."""
    wrong: dict[str, str] = {}
    while count and not wrong:
        await asyncio.sleep(_PAUSE_SECONDS)
        wrong = await _faults(fleet, hosts)
        count -= 1
    return wrong


def _crashing(observed: Mapping[str, HostObserved]) -> bool:
    return any(
        unit.state == "crashing"
        for seen in observed.values()
        for unit in seen.runtime.units.values()
    )


async def _last_words(
    fleet: Fleet, hosts: frozenset[str], wrong: Mapping[str, str], silent: frozenset[str]
) -> list[str]:
    """Return, for each unit with a fault, what is wrong in it and the end of its log.

    Hosts may have the names of processes; those that do not answer therefore come apart.
    """
    lines = [f"{host}: does not answer" for host in sorted(silent)]
    for unit in fleet.layout.units:
        bad = [process.name for process in unit.processes if process.name in wrong]
        if not bad or unit.host not in hosts:
            continue
        access = fleet.hosts[unit.host]
        command = access.runtime.log(access.places, (unit.name,), lines=40, follow=False)
        try:
            tail = await access.transport.run(command, check=False)
        except UnreachableHostError as error:
            lines.append(str(error))
            continue
        shown = ", ".join(f"{name} {wrong[name]}" for name in bad[:6])
        lines.append(f"{unit.host}: {unit.name}: {shown}")
        said = [access.runtime.read_log(line).text for line in tail.stdout.split("\n") if line]
        lines.extend(f"  | {line}" for line in _without_repeats(said))
    return lines


def _without_repeats(lines: list[str], most: int = 12) -> list[str]:
    """Return the last lines, each that stands several times in a row only once, with a count.

    A unit that systemd starts again and again makes ten lines a round, one of them its own.
    """
    kept: list[tuple[str, int]] = []
    for line in lines:
        if kept and kept[-1][0] == line:
            kept[-1] = (line, kept[-1][1] + 1)
        else:
            kept.append((line, 1))
    return [line if count == 1 else f"{line} ({count} times)" for line, count in kept[-most:]]
