"""The logs of all units as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.layout import Unit

__all__ = ["merged"]

_BAR = " | "
_STAMP = len("2026-11-23T12:00:00.123")
_WAITING_LINES = 10_000


async def merged(
    fleet: Fleet, names: frozenset[str], *, lines: int, follow: bool
) -> AsyncIterator[str]:
    """Yield log lines of all units, merged; of these processes only if any are named.

    Every line bears the name of its process and ``|``.

    Parameters
    ----------
    fleet : Fleet
        Whose logs.
    names : frozenset of str
        Processes or units; empty means all.
    lines : int
        How many of the last lines of each unit.
    follow : bool
        Whether to go on with new lines, in the order of their arrival. Without it they come in
        the order of their time stamps; a line without one stays behind the line before it.

    Raises
    ------
    FleetError
        A name is unknown.
    CommandFailedError
        A log cannot be read.
    """
    fleet.check_names(names)
    units = [
        unit
        for unit in fleet.layout.units
        if not names or names & {unit.name, *(process.name for process in unit.processes)}
    ]
    queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=_WAITING_LINES)
    pumps = [asyncio.create_task(_pump(fleet, unit, names, lines, follow, queue)) for unit in units]
    kept: list[tuple[str, str]] = []
    stamps: dict[str, str] = {}
    try:
        running = len(pumps)
        while running:
            line = await queue.get()
            if line is None:
                running -= 1
            elif follow:
                yield line
            else:
                label, _, text = line.partition(_BAR)
                if text[:4].isdecimal():
                    stamps[label] = text[:_STAMP]
                kept.append((stamps.get(label, ""), line))
        await asyncio.gather(*pumps)  # what went wrong in one of them is not lost
        for _, line in sorted(kept, key=lambda item: item[0]):
            yield line
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    fleet: Fleet,
    unit: Unit,
    names: frozenset[str],
    lines: int,
    follow: bool,
    queue: asyncio.Queue[str | None],
) -> None:
    access = fleet.hosts[unit.host]
    command = access.runtime.log(access.places, unit.name, lines=lines, follow=follow)
    try:
        async for line in access.transport.lines(command):
            label, bar, _ = line.partition(_BAR)
            # Whatever a unit said before it had labels is the unit's own.
            whole = line if bar else f"{unit.name}{_BAR}{line}"
            if not names or unit.name in names or label in names:
                await queue.put(whole)
    except FleetError:
        await queue.put(None)
        raise
    await queue.put(None)
