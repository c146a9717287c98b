"""The doctor: looks at every host, listens where nothing listens yet, connects, and reports.

Nothing is installed and nothing is left behind. The probe that listens ends when nobody reads
its output any more, so a doctor that is killed takes it along, and after a minute in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from dask_fleet.checks.door import door_findings
from dask_fleet.checks.findings import (
    Answer,
    Dialled,
    Examined,
    Finding,
    Listening,
    Report,
)
from dask_fleet.checks.hosts import declared_names, host_findings, scheduler_place
from dask_fleet.checks.network import (
    connection_findings,
    declared_ports,
    dialled_by,
    held_inodes,
    port_findings,
    worker_findings,
)
from dask_fleet.command import Command
from dask_fleet.errors import CommandFailedError, FleetError, UnreachableHostError
from dask_fleet.firewall import contract
from dask_fleet.observer import holders, look

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved, SchedulerObserved
    from dask_fleet.observer import HostAccess

__all__ = ["Patient", "examine"]

T = TypeVar("T")

_PROBE = Path(__file__).parent / "host_probe" / "probe.py"
_LISTEN_SECONDS = 60.0
_CONNECT_SECONDS = 2.0
_NAME_SECONDS = 8.0
_START_SECONDS = 20.0


class Patient(Protocol):
    """What the doctor examines; a `Fleet` is one."""

    @property
    def layout(self) -> Layout:
        """Every process, address and port."""
        ...

    @property
    def environment(self) -> Environment:
        """What processes are to run in."""
        ...

    @property
    def hosts(self) -> Mapping[str, HostAccess]:
        """How to reach each host that has processes."""
        ...

    async def cluster(self) -> SchedulerObserved | None:
        """Return what the scheduler says, or ``None`` if it does not answer."""
        ...


@dataclass(frozen=True, slots=True)
class _Ready:
    """A host that was looked at and on which the probe listens."""

    listening: Listening
    seen: HostObserved
    clock: tuple[float, float]


async def examine(fleet: Patient) -> Report:
    """Return what is wrong with the hosts of a fleet and with the ways between them.

    It works before the first ``up`` and on a fleet of which a part is up. A host that fails is a
    finding, and the others are examined all the same.

    Parameters
    ----------
    fleet : Patient
        The fleet; nothing of it is changed.
    """
    layout, rules = fleet.layout, contract(fleet.layout)
    findings: list[Finding] = []
    async with contextlib.AsyncExitStack() as stack:
        begun = await _each(
            {name: _begin(layout, access, stack) for name, access in fleet.hosts.items()}, findings
        )
        held = await _each(
            {
                name: holders(fleet.hosts[name], inodes)
                for name, ready in begun.items()
                if (inodes := held_inodes(ready.listening, ready.seen))
            },
            findings,
        )
        before = [
            Examined(name, ready.seen, ready.listening, held.get(name, {}), Answer(), ready.clock)
            for name, ready in begun.items()
        ]
        targets = dialled_by(layout, rules, before)
        answers = await _each(
            {one.host: _connect(fleet, one, targets[one.host]) for one in before}, findings
        )
        centre = layout.scheduler.host
        asked = await _each({centre: fleet.cluster()} if centre in answers else {}, findings)
    hosts = [answers[one.host] for one in before if one.host in answers]
    for one in hosts:
        findings.extend(port_findings(layout, one))
    findings.extend(worker_findings(layout, asked.get(centre)))
    findings.extend(connection_findings(layout, rules, hosts))
    findings.extend(host_findings(layout, fleet.environment, hosts))
    findings.extend(door_findings(layout, {one.host: one.seen for one in hosts}))
    rank = {"error": 0, "warning": 1, "note": 2}
    return Report(
        tuple(sorted(findings, key=lambda one: rank[one.severity])),
        {one.host: one.answer.distance for one in hosts},
    )


async def _each(
    work: Mapping[str, Coroutine[Any, Any, T]], findings: list[Finding]
) -> dict[str, T]:
    """Do something on every host at once; what fails on one becomes a finding."""

    async def one(doing: Coroutine[Any, Any, T]) -> T | FleetError:
        try:
            return await doing
        except FleetError as error:
            return error

    done: dict[str, T] = {}
    results = await asyncio.gather(*(one(doing) for doing in work.values()))
    for name, result in zip(work, results, strict=True):
        if isinstance(result, FleetError):
            findings.append(_failed(name, result))
        else:
            done[name] = result
    return done


def _failed(host: str, error: FleetError) -> Finding:
    first, *more = error.message.splitlines()
    fault = first.removeprefix(f"{host}: ")
    if more:
        fault = f"{fault}: {more[-1].removeprefix('  | ')}"
    remedy = error.remedy or (
        "see whether it runs and whether SSH reaches it"
        if isinstance(error, UnreachableHostError)
        else "the host must have python3 (3.8 or later) and a POSIX shell"
    )
    return Finding("hosts", "error", host, f"{fault}; nothing else was tried there", remedy)


async def _begin(layout: Layout, access: HostAccess, stack: contextlib.AsyncExitStack) -> _Ready:
    """Look at a host, then listen on its declared ports until the stack is closed."""
    host = access.transport.host
    asked = time.time()
    sight = await look([access])
    for failure in sight.failures.values():
        raise failure
    seen = sight.hosts[host]
    least, most = _ahead(float(seen.facts.get("clock", asked)), asked)
    asked = time.time()
    command = _probe(
        {"mode": "listen", "seconds": _LISTEN_SECONDS, "ports": declared_ports(layout, host)},
        "the doctor's probe: listen",
        _LISTEN_SECONDS + _START_SECONDS,
    )
    lines = access.transport.lines(command)
    # Every transport's `lines` is a generator; closing it is what ends the probe.
    stack.push_async_callback(cast("AsyncGenerator[str]", lines).aclose)
    answer = await _answer(host, lines)
    low, high = _ahead(float(answer["clock"]), asked)
    return _Ready(
        Listening(
            frozenset((str(a), int(p)) for a, p in answer["bound"]),
            frozenset((str(a), int(p)) for a, p in answer["held"]),
            tuple((str(a), int(p), str(w), str(t)) for a, p, w, t in answer["failed"]),
        ),
        seen,
        # The look reads the clock at its beginning, the probe at its end: together they leave
        # little more than the way there and back.
        (max(least, low), min(most, high)),
    )


def _ahead(clock: float, asked: float) -> tuple[float, float]:
    """Return how far a host's clock is ahead, at least and at most, if it answers just now."""
    return clock - time.time(), clock - asked


async def _connect(fleet: Patient, one: Examined, targets: Iterable[tuple[str, int]]) -> Examined:
    """Dial everything that a host must reach, and ask what the host is like."""
    layout, access = fleet.layout, fleet.hosts[one.host]
    command = _probe(
        {
            "mode": "connect",
            "targets": list(targets),
            "near": scheduler_place(layout),
            "timeout": _CONNECT_SECONDS,
            "name_timeout": _NAME_SECONDS,
            "names": declared_names(layout),
            "pids": {r.name: r.pid for r in one.seen.records.values() if r.alive},
            "systemd": layout.hosts[one.host].runtime == "systemd",
            "python": fleet.environment.python,
        },
        "the doctor's probe: connect",
        _LISTEN_SECONDS,
    )
    outcome = await access.transport.run(command)
    said = _read(one.host, str(command), outcome.stdout)
    answer = Answer(
        dialled=tuple(Dialled(str(a), int(p), str(o), float(s)) for a, p, o, s in said["targets"]),
        distance=None if said["distance"] is None else float(said["distance"]),
        names={name: tuple(map(str, found)) for name, found in said["names"].items()},
        own_name=str(said["own_name"]),
        own_resolves=bool(said["own_resolves"]),
        python=str(said["python"]),
        other_python=str(said["other_python"]),
        files=said["files"],
        own_files=said["own_files"],
        systemd=said["systemd"],
    )
    return dataclasses.replace(one, answer=answer)


def _probe(request: Mapping[str, object], title: str, timeout: float) -> Command:
    """Return the command that runs the probe; program and request go by standard input."""
    call = f"\nmain({json.dumps(request)!r})\n"
    return Command(
        ("python3", "-I", "-"), _PROBE.read_bytes() + call.encode(), timeout, title=title
    )


async def _answer(host: str, lines: AsyncIterator[str]) -> dict[str, Any]:
    """Return the first line of JSON; the others are what a login shell or Python may say."""
    said: list[str] = []

    async def first() -> dict[str, Any] | None:
        async for line in lines:
            if line.startswith("{"):
                return json.loads(line)
            said.append(line)
        return None

    try:
        answer = await asyncio.wait_for(first(), _START_SECONDS)
    except asyncio.TimeoutError:
        answer = None
    if answer is None:
        said.append(f"it was not ready within {_START_SECONDS:g} s")
        raise CommandFailedError(host, "the doctor's probe: listen", None, "\n".join(said))
    return answer


def _read(host: str, command: str, text: str) -> dict[str, Any]:
    for line in text.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    raise CommandFailedError(host, command, 0, f"it printed no answer\n{text}")
