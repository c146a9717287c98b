"""The inventory: every declared process, its state in one word, and who else is there."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dask_fleet.layout import Worker
from dask_fleet.registration import faults, is_process

if TYPE_CHECKING:
    from dask_fleet.errors import FleetError
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved, ProcessRecord, RegisteredWorker, SchedulerObserved

__all__ = ["Row", "RowState", "Stranger", "inventory", "totals", "undeclared_workers"]

RowState = Literal[
    "running",
    "starting",
    "wrong",
    "crashing",
    "stopped",
    "down",
    "unsupervised",
    "paused",
    "unreachable",
]


@dataclass(frozen=True, slots=True)
class Row:
    """One process of the inventory.

    Attributes
    ----------
    state : str
        ``running``: alive and, for a worker, listed by the scheduler as declared;
        ``starting``: alive, not listed yet; ``wrong``: listed, but not as declared;
        ``paused``: listed, out of memory; ``crashing``: ends again and again; ``stopped``: by
        hand; ``down``: not there; ``unsupervised``: alive, but nothing would restart it;
        ``unreachable``: its host does not answer.
    unit_state : str
        What the runtime says of its unit; empty when it does not know it.
    started : float or None
        Seconds since the epoch; ``None`` when it is not alive.
    uptime : float or None
        Seconds, by the clock of its host.
    memory, memory_limit : int
        Bytes; 0 when unknown or without limit.
    executing, ready : int
        Tasks that run on it and that wait on it.
    fault : str
        What is not as declared.
    """

    name: str
    role: str
    unit: str
    host: str
    address: str
    ports: Mapping[str, int]
    state: RowState
    unit_state: str
    pid: int | None
    started: float | None
    uptime: float | None
    restarts: int
    registered: bool
    nthreads: int
    versions: Mapping[str, str]
    memory: int
    memory_limit: int
    cpu: float
    executing: int
    ready: int
    fault: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """What is there and was not declared.

    Attributes
    ----------
    kind : str
        ``process``: holds a port that a process of the fleet is to have; ``worker``: is registered
        at the scheduler.
    host : str
        Where it is; empty for a worker at an address that no host has.
    name : str
        Command line of a process, empty if it may not be looked at; name of a worker.
    fault : str
        All of it in words.
    port : int or None
        The port that it holds or, a worker, listens on.
    pid : int or None
        Of a process.
    """

    kind: Literal["process", "worker"]
    host: str
    name: str
    fault: str
    port: int | None = None
    pid: int | None = None


def inventory(
    layout: Layout,
    observed: Mapping[str, HostObserved],
    cluster: SchedulerObserved | None,
    failures: Mapping[str, FleetError] | None = None,
) -> tuple[Row, ...]:
    """Return a row for every declared process, in the order of the spec.

    Parameters
    ----------
    layout : Layout
        What is declared.
    observed : Mapping
        What was seen on each host.
    cluster : SchedulerObserved or None
        What the scheduler says; ``None`` if it does not answer.
    failures : Mapping, optional
        Why hosts could not be looked at; their processes have rows all the same.
    """
    wrong = faults(layout, cluster, observed=observed)
    listed: Mapping[str, RegisteredWorker] = cluster.workers if cluster else {}
    rows: list[Row] = []
    for unit in layout.units:
        if unit.host not in observed and unit.host not in (failures or {}):
            continue  # a host that nobody asked for
        seen = observed.get(unit.host)
        now = float(seen.facts.get("clock", 0)) if seen else 0.0
        there = seen.runtime.units.get(unit.name) if seen else None
        for process in unit.processes:
            record = seen.records.get(process.name) if seen else None
            alive = record if record is not None and record.alive else None
            worker = listed.get(process.name)
            if worker is not None and not is_process(worker, record):
                worker = None  # another one, which was there before
            fault = wrong.get(process.name, "")
            registered = worker is not None if isinstance(process, Worker) else cluster is not None
            if seen is None:
                state: RowState = "unreachable"
                fault = (failures or {})[unit.host].message.splitlines()[0]
            else:
                state = _state(
                    seen.runtime.alive, there.state if there else None, alive, registered, fault
                )
            if state == "running" and worker is not None and worker.status == "paused":
                state = "paused"
            host = layout.hosts[unit.host]
            rows.append(
                Row(
                    name=process.name,
                    role="worker" if isinstance(process, Worker) else "scheduler",
                    unit=unit.name,
                    host=unit.host,
                    address=host.address,
                    ports=process.ports,
                    state=state,
                    unit_state=there.state if there else "",
                    pid=alive.pid if alive else None,
                    started=alive.started if alive else None,
                    uptime=max(now - alive.started, 0.0) if alive else None,
                    restarts=record.restarts if record else 0,
                    registered=registered,
                    nthreads=process.nthreads if isinstance(process, Worker) else 0,
                    versions=alive.versions if alive else {},
                    memory=worker.memory if worker else (alive.memory if alive else 0),
                    memory_limit=worker.memory_limit if worker else 0,
                    cpu=worker.cpu if worker else 0.0,
                    executing=worker.executing if worker else 0,
                    ready=worker.ready if worker else 0,
                    fault=fault,
                )
            )
    return tuple(rows)


def _state(
    runtime: bool,
    unit: str | None,
    alive: ProcessRecord | None,
    registered: bool,
    fault: str,
) -> RowState:
    if alive is not None and not runtime:
        return "unsupervised"
    if unit == "crashing":
        return "crashing"
    if alive is None:
        if unit in ("running", "starting"):
            return "starting"
        return "stopped" if unit in ("stopped", "stopping") else "down"
    if not registered:
        return "starting"
    return "wrong" if fault else "running"


def totals(rows: tuple[Row, ...]) -> dict[str, int]:
    """Return how many processes are in each state, the states in order of appearance."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    return counts


def undeclared_workers(layout: Layout, cluster: SchedulerObserved | None) -> tuple[Stranger, ...]:
    """Return the workers that the scheduler lists and that are not declared, by their names.

    One that bears a declared name but is registered from another host is none of the fleet's.
    """
    declared = {worker.name: worker for worker in layout.workers}
    hosts = {host.address: host.name for host in layout.hosts.values()}
    found: list[Stranger] = []
    for name, there in sorted(cluster.workers.items()) if cluster else ():
        address, _, port = there.address.rpartition("://")[2].rpartition(":")
        address = address.strip("[]")
        own = declared.get(name)
        if own is None:
            fault = f"worker {name} at {there.address} is registered, and not declared"
        elif _differ(address, own.contact):
            fault = f"worker {name} is registered from {there.address}, declared is {own.contact}"
        else:
            continue
        number = int(port) if port.isdecimal() else None
        found.append(Stranger("worker", hosts.get(address, ""), name, fault, number))
    return tuple(found)


def _differ(one: str, other: str) -> bool:
    """Return whether two addresses are certainly not the same; a name may be any."""
    try:
        return ipaddress.ip_address(one) != ipaddress.ip_address(other)
    except ValueError:
        return False
