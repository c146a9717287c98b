"""The history of a fleet: who changed it, when, to what, and how that ended.

It lies on the scheduler's host, beside the fleet's directory, so that it tells of a `down` too and
of the fleet that was there before. The journals, which say each step, go with the fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import secrets
import socket
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from dask_fleet.command import GROUP_OF, Command, script
from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.observer import HostAccess

__all__ = ["Change", "Entry", "History", "recorded"]

_KEPT = 1000
"""Lines of the history that are kept."""

_APPEND = f"""\
{GROUP_OF}set -eu
umask 077
[ -d "${{1%/*}}" ] || mkdir -p "${{1%/*}}"
# A line that a full disk has cut must not swallow this one.
if [ -n "$(tail -c 1 "$1" 2>/dev/null)" ]; then echo >>"$1"; fi
printf %s "$2" >>"$1"
if [ "$(wc -l <"$1")" -gt {2 * _KEPT} ]; then
  tail -n {_KEPT} "$1" >"$1.new"
  mv "$1.new" "$1"
fi
# The console shows it, and runs as the user of the units; before the first `up` there is none.
if [ -n "$3" ] && group=$(group_of "$3"); then
  chgrp "$group" "$1"
  chmod 640 "$1"
fi
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """The beginning of a change; its end repeats it.

    Attributes
    ----------
    identifier : str
        Says which end belongs to which beginning.
    time : str
        When it began, as ISO 8601 with its zone.
    who : str
        Operator and the machine that they worked on.
    what : str
        ``up``, ``restart`` or ``down``, with options that say what kind of one.
    spec, environment : str
        Digests of what was declared.
    release : str
        Digest of both.
    changes : int
        Lines of the plan.
    hosts : tuple of str
        Where something was to be done.
    limit : tuple of str
        What ``--limit`` was given; empty when every host was meant.
    """

    identifier: str
    time: str
    who: str
    what: str
    spec: str
    environment: str
    release: str
    changes: int
    hosts: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()

    @classmethod
    def begin(
        cls,
        what: str,
        spec: str,
        environment: str,
        release: str,
        plan: Plan,
        limit: tuple[str, ...] = (),
    ) -> Entry:
        """Return the entry of what begins now."""
        return cls(
            identifier=secrets.token_hex(8),
            time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            who=f"{getpass.getuser()}@{socket.gethostname()}",
            what=what,
            spec=spec,
            environment=environment,
            release=release,
            changes=len(plan.changes),
            hosts=plan.hosts,
            limit=limit,
        )

    def line(self, result: str, seconds: float = 0.0, fault: str = "") -> str:
        """Return the line that is written when it begins or ends."""
        more = {"result": result, "seconds": round(seconds, 1), "fault": fault}
        return json.dumps(asdict(self) | more) + "\n"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the past: its entry, its result, how long it took in seconds, what failed.

    ``result`` is ``done``, ``failed``, or ``broken off`` when its end was never written.
    """

    entry: Entry
    result: str
    seconds: float
    fault: str


class History:
    """Reads and writes the history on the scheduler's host."""

    def __init__(self, access: HostAccess) -> None:
        self._transport = access.transport
        self._path = access.places.history
        self._reader = access.runtime.reader

    async def write(self, line: str) -> None:
        """Append a line."""
        words = ("sh", "-c", _APPEND, "history", self._path, line, self._reader)
        await self._transport.run(Command(words, title="write the history"))

    async def read(self) -> tuple[Change, ...]:
        """Return every change that is remembered, the oldest first."""
        text = 'if [ -f "$1" ]; then cat "$1"; fi'
        outcome = await self._transport.run(script(text, self._path))
        return _changes(outcome.stdout)


@contextlib.asynccontextmanager
async def recorded(access: HostAccess, entry: Entry) -> AsyncGenerator[dict[str, FleetError]]:
    """Write that a change begins, and how it ended when the block does.

    Yields
    ------
    dict
        To be filled with the failures of hosts, by name.
    """
    record = History(access)
    failures: dict[str, FleetError] = {}
    began = time.monotonic()
    writing = asyncio.ensure_future(record.write(entry.line("begun")))
    try:
        yield failures
    except FleetError as error:
        await writing
        fault = error.message.splitlines()[0]
        await record.write(entry.line("failed", time.monotonic() - began, fault))
        raise
    await writing
    result = "failed" if failures else "done"
    fault = "; ".join(one.message.splitlines()[0] for one in failures.values())
    await record.write(entry.line(result, time.monotonic() - began, fault))


def _changes(text: str) -> tuple[Change, ...]:
    every = (_change(line) for line in text.splitlines())
    return tuple({str(one.entry.identifier): one for one in every if one is not None}.values())


def _change(line: str) -> Change | None:
    """Return what a line says, or ``None`` for one that a full disk has cut."""
    try:
        value: Any = json.loads(line)
        fields = cast("dict[str, Any]", dict(value))
        result, seconds, fault = (fields.pop(key) for key in ("result", "seconds", "fault"))
        ended = result if result != "begun" else "broken off"
        fields |= {key: tuple(fields.get(key, ())) for key in ("hosts", "limit")}
        return Change(Entry(**fields), str(ended), float(seconds), str(fault))
    except (ValueError, TypeError, KeyError):
        return None
