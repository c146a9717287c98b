"""The logs of all units as one stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from dask_fleet.command import Command
from dask_fleet.errors import FleetError, together

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.observed import LogLine
    from dask_fleet.observer import HostAccess

__all__ = ["merged"]

_BAR = " | "
_STAMP = len("2026-11-23T12:00:00.123")
_WAITING_LINES = 10_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
"""Seconds before a host that failed is tried again: each time twice as long, up to the longest."""


async def merged(
    fleet: Fleet, names: frozenset[str], *, lines: int, follow: bool
) -> AsyncIterator[str]:
    """Yield log lines of all units, merged; of these processes only if any are named.

    Every line bears the name of its process and ``|``. What is no process's own bears that of its
    unit, as ``UNIT@HOST`` if several hosts have one of that name.

    Parameters
    ----------
    fleet : Fleet
        Whose logs.
    names : frozenset of str
        Processes or units; empty means all.
    lines : int
        How many of the last lines of each unit.
    follow : bool
        Whether to go on with new lines, in the order of their arrival. A host that fails is then a
        line of its own, and is followed again from where it was as soon as it answers. Without it
        they come in the order of their time stamps; a line without one stays behind the line
        before it.

    Raises
    ------
    FleetError
        A name is unknown.
    UnreachableHostError, CommandFailedError
        The logs of a host cannot be read; those of all others have been yielded. When lines are
        followed: no host could be reached at all.
    """
    fleet.check_names(names)
    by_host: dict[str, list[str]] = {}
    for unit in fleet.layout.units:
        if not names or names & {unit.name, *(process.name for process in unit.processes)}:
            by_host.setdefault(unit.host, []).append(unit.name)
    counts = Counter(unit.name for unit in fleet.layout.units)
    common = frozenset(name for name, count in counts.items() if count > 1)
    sources = [
        _Source(fleet.hosts[host], tuple(units), common, names, lines)
        for host, units in by_host.items()
    ]
    async with contextlib.aclosing(_followed(sources) if follow else _printed(sources)) as every:
        async for line in every:
            yield line


@dataclass(slots=True)
class _Source:
    """The log of one host.

    Attributes
    ----------
    common : frozenset of str
        Units of which other hosts have one too.
    after : str
        Position of the last line.
    known : set of str
        Positions of the first lines, of which a runtime may print some twice.
    begun : bool
        Whether it has been read before: what was there then does not come again.
    """

    access: HostAccess
    units: tuple[str, ...]
    common: frozenset[str]
    names: frozenset[str]
    count: int
    after: str = ""
    known: set[str] = field(default_factory=set[str])
    begun: bool = False

    @property
    def host(self) -> str:
        return self.access.transport.host

    async def lines(self, *, follow: bool) -> AsyncGenerator[str]:
        """Yield its lines, each with a label, from where it was left."""
        runtime = self.access.runtime
        count, self.begun = 0 if self.begun else self.count, True
        command = runtime.log(
            self.access.places, self.units, lines=count, follow=follow, after=self.after
        )
        # Every transport's `lines` is a generator; closing it ends the command.
        raws = cast("AsyncGenerator[str]", self.access.transport.lines(command))
        async with contextlib.aclosing(raws):
            async for raw in raws:
                line = runtime.read_log(raw)
                self.after = line.position or self.after
                if self._is_new(line):
                    for text in self._labelled(line):
                        yield text

    def _labelled(self, line: LogLine) -> Iterator[str]:
        owner = line.unit or self.host
        for text in line.text.split("\n"):
            label, bar, said = text.partition(_BAR)
            if not bar:  # whatever a unit said before it had labels is the unit's own
                label, said = owner, text
            if not self.names or owner in self.names or label in self.names:
                place = f"@{self.host}" if label in self.common else ""
                yield f"{label}{place}{_BAR}{said}"

    def _is_new(self, line: LogLine) -> bool:
        if line.position in self.known or not (line.unit or line.text):
            return False
        if line.position and len(self.known) < self.count * len(self.units):
            self.known.add(line.position)
        return True


async def _printed(sources: list[_Source]) -> AsyncGenerator[str]:
    """Yield the last lines of all hosts, then raise the failures of those that had one."""
    ended = await asyncio.gather(*map(_read, sources))
    stamps: dict[str, str] = {}
    kept: list[tuple[str, str]] = []
    for line in (line for found, _ in ended for line in found):
        label, _, text = line.partition(_BAR)
        if text[:4].isdecimal():
            stamps[label] = text[:_STAMP]
        kept.append((stamps.get(label, ""), line))
    for _, line in sorted(kept, key=lambda item: item[0]):
        yield line
    if failures := [error for _, error in ended if error is not None]:
        raise together(failures)


async def _read(source: _Source) -> tuple[list[str], FleetError | None]:
    """Return what a host's log says, and why that is not all of it."""
    found: list[str] = []
    try:
        async for line in source.lines(follow=False):
            found.append(line)  # noqa: PERF401 - what comes before a failure counts
    except FleetError as error:
        return found, error
    return found, None


async def _followed(sources: list[_Source]) -> AsyncGenerator[str]:
    """Yield new lines of all hosts until the caller stops."""
    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=_WAITING_LINES)
    never: dict[str, FleetError] = {}
    pumps = asyncio.gather(*(_pump(source, queue, never) for source in sources))
    getting = asyncio.ensure_future(queue.get())
    try:
        while len(never) < len(sources):
            await asyncio.wait({getting, pumps}, return_when=asyncio.FIRST_COMPLETED)
            if pumps.done():
                pumps.result()  # no pump ends by itself: what went wrong in it is not lost
            yield getting.result()
            getting = asyncio.ensure_future(queue.get())
        raise together(never.values())
    finally:
        for work in (getting, pumps):
            work.cancel()
        await asyncio.gather(getting, pumps, return_exceptions=True)


async def _pump(source: _Source, queue: asyncio.Queue[str], never: dict[str, FleetError]) -> None:
    """Follow one host, again and again; ``never`` has those that could not be reached so far."""
    told, reached, pause = False, False, _FIRST_PAUSE
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            # A log may be silent for hours; this says at once whether there is anybody.
            await source.access.transport.run(Command(("true",), title="begin to follow"))
            if told:
                await queue.put(f"{source.host}{_BAR}followed again")
            reached, told = True, False
            never.pop(source.host, None)
            async with contextlib.aclosing(source.lines(follow=True)) as lines:
                async for line in lines:
                    await queue.put(line)
            fault = "its log has ended"
        except FleetError as error:
            fault = error.message.splitlines()[0].removeprefix(f"{source.host}: ")
            if not reached:
                never[source.host] = error
        if not told:
            told = True
            await queue.put(f"{source.host}{_BAR}not followed: {fault}; it is tried again")
        if loop.time() - began > _LONGEST_PAUSE:
            pause = _FIRST_PAUSE
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
