"""Drain workers before they are stopped: through the scheduler, which moves what they hold.

The scheduler's own host asks it (``host/drain.py``), in the fleet's environment and with its
certificates: the tool needs neither distributed nor the same version of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from dask_fleet.command import Command
from dask_fleet.errors import CommandFailedError, DrainError, FleetError, together
from dask_fleet.events import ActionDone, ActionFailed, ActionStarted, Note, Sink
from dask_fleet.observer import look
from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from dask_fleet.actions import Replaced
    from dask_fleet.layout import Layout
    from dask_fleet.observer import HostAccess

__all__ = ["drain", "hindrance", "progress", "scheduler_python"]

_ACTION = "drain workers"

_SPARE_SECONDS = 60.0
"""What a program that keeps a deadline itself has beyond it, to begin and to answer."""


async def scheduler_python(access: HostAccess, name: str) -> str | None:
    """Return the Python by which the scheduler runs; ``None`` if it does not run.

    The environment that is declared may be another one, which is not there yet. In a container it
    is the one there.

    Raises
    ------
    UnreachableHostError
    """
    sight = await look([access], brief=True)
    if sight.failures:
        raise together(sight.failures.values())
    record = sight.hosts[access.transport.host].records.get(name)
    return record.interpreter if record is not None and record.alive else None


async def drain(
    access: HostAccess,
    layout: Layout,
    python: str,
    replaced: Sequence[Replaced],
    seconds: float,
    sink: Sink,
) -> None:
    """Drain workers, so that nothing is lost when they stop.

    Parameters
    ----------
    access : HostAccess
        To the scheduler's host.
    layout : Layout
        The fleet as declared.
    python : str
        What `scheduler_python` returned.
    replaced : sequence of Replaced
        The workers.
    seconds : float
        How long they may take, all together.
    sink : callable
        Takes the events.

    Raises
    ------
    DrainError
        They were not drained in time, and go on as before.
    UnreachableHostError, CommandFailedError
    """
    began = time.monotonic()
    hosts = [one.host for one in replaced]
    for host in hosts:
        sink(ActionStarted(host, _ACTION))
    try:
        await _drain(access, _command(access, layout, python, replaced, seconds), hosts, sink)
    except FleetError as error:
        for host in hosts:
            sink(ActionFailed(host, _ACTION, error.message.splitlines()[0]))
        raise
    for host in hosts:
        sink(ActionDone(host, _ACTION, time.monotonic() - began))


async def _drain(access: HostAccess, command: Command, hosts: Sequence[str], sink: Sink) -> None:
    shown = ", ".join(fold(hosts))
    last: Mapping[str, Any] = {}
    said: list[str] = []
    async for line in access.transport.lines(command):
        value = _value(line)
        if value is None:
            said.append(line)
        else:
            last = value
            if text := progress(value):
                sink(Note(shown, text))
    if not last:
        raise CommandFailedError(access.transport.host, str(command), 0, "\n".join(said))
    if not last["done"]:
        raise DrainError(
            f"{shown}: {hindrance(last)}",
            "wait for it or stop it, give it more time with --drain, or lose it with --all-at-once;"
            " `dask fleet up` goes on from here",
        )


def _command(
    access: HostAccess,
    layout: Layout,
    python: str,
    replaced: Sequence[Replaced],
    seconds: float,
) -> Command:
    places = access.places
    argv = (
        *access.runtime.inside([layout.scheduler.name]),
        *("env", f"DASK_CONFIG={places.deployed}/dask.yaml", python),
        *("-u", f"{places.deployed}/launcher/drain.py"),
        *(layout.scheduler_address, f"{seconds:g}"),
        *(name for one in replaced for name in one.workers),
    )
    return Command(argv, timeout=seconds + _SPARE_SECONDS, title="drain workers")


def _value(line: str) -> Mapping[str, Any] | None:
    try:
        value: object = json.loads(line)
    except ValueError:
        return None
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else None


def progress(seen: Mapping[str, Any]) -> str:
    """Return what a drain waits for, in words; nothing if that is not worth a line."""
    running, held = seen.get("counts", (0, 0))
    parts = [
        f"{count} {what}{'' if count == 1 else 's'} {does}"
        for count, what, does in (
            (running, "task", "to end"),
            (held, "result", "to be moved"),
            (seen.get("actors", 0), "actor", "to go"),
            (len(seen.get("silent", ())), "worker", "to answer"),
        )
        if count
    ]
    return f"waits for {', '.join(parts)}" if parts and not seen["done"] else ""


def hindrance(seen: Mapping[str, Any]) -> str:
    """Return why workers were not drained, with the first keys of each."""
    if seen.get("superseded"):
        return "another operator drains its workers now"
    if seen.get("unknown"):
        return "its workers cannot be drained: the scheduler runs from an earlier dask-fleet"
    lines = [
        f"{worker} {does} {', '.join(keys)}"
        for kind, does in (("running", "computes"), ("held", "alone holds"))
        for worker, keys in seen.get(kind, {}).items()
    ]
    running, held = seen.get("counts", (0, 0))
    if held and not seen.get("recipients"):
        first = "no other worker is there to take what its workers hold"
    else:
        first = "its workers were not drained in time"
    lines += [f"{worker} does not answer" for worker in seen.get("silent", ())]
    if actors := seen.get("actors"):
        lines.append(f"{actors} actor{'' if actors == 1 else 's'}, which cannot be moved")
    named = sum(len(keys) for kind in ("running", "held") for keys in seen.get(kind, {}).values())
    if running + held > named:
        lines.append(f"and {running + held - named} more")
    tail = "; nothing is lost, they go on as before"
    return first + tail + "".join(f"\n  {line}" for line in lines)
