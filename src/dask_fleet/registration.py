"""Whether the cluster that the scheduler describes is the one that was declared."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_fleet.layout import Layout, Worker
    from dask_fleet.observed import (
        HostObserved,
        ProcessRecord,
        RegisteredWorker,
        SchedulerObserved,
    )

__all__ = ["faults", "is_process"]


def faults(
    layout: Layout,
    seen: SchedulerObserved | None,
    hosts: Container[str] | None = None,
    observed: Mapping[str, HostObserved] | None = None,
) -> dict[str, str]:
    """Return what is wrong with each process, by name; empty when all is as declared.

    Only the scheduler and the workers of these hosts count; all if ``hosts`` is None. With a look
    at hosts, what is listed there has to be what runs there.

    A worker counts only with the ports that were declared: Dask moves a dashboard to another
    port, with a warning and nothing more, when its own is taken.
    """
    scheduler = layout.scheduler
    workers = [one for one in layout.workers if hosts is None or one.host in hosts]
    if seen is None:
        return {scheduler.name: "does not answer"} | {
            worker.name: "not registered" for worker in workers
        }
    found: dict[str, str] = {}
    if seen.dashboard_port != scheduler.dashboard_port:
        found[scheduler.name] = (
            f"dashboard is on port {seen.dashboard_port}, declared is {scheduler.dashboard_port}"
        )
    for worker in workers:
        there = seen.workers.get(worker.name)
        host = (observed or {}).get(worker.host)
        if there is None or (host and not is_process(there, host.records.get(worker.name))):
            # After a power cut the scheduler lists a worker until another one bears its name.
            fault = "not registered"
        else:
            fault = _fault(worker, there)
        if fault:
            found[worker.name] = fault
    return found


def is_process(there: RegisteredWorker, record: ProcessRecord | None) -> bool:
    """Return whether a worker that the scheduler lists is the process of a record.

    It counts as such where nothing says otherwise.
    """
    if record is None or there.started is None:
        return True
    return record.alive and record.started == there.started


def _fault(worker: Worker, there: RegisteredWorker) -> str:
    pairs = (
        ("port", _port(there.address), worker.port),
        ("nanny port", _port(there.nanny), worker.nanny_port),
        ("dashboard port", there.dashboard_port, worker.dashboard_port),
    )
    wrong = [
        f"{what} is {is_}, declared is {should}" for what, is_, should in pairs if is_ != should
    ]
    if there.status not in ("running", "paused"):
        wrong.append(f"status is {there.status}")
    return "; ".join(wrong)


def _port(address: str) -> int:
    tail = address.rpartition(":")[2]
    return int(tail) if tail.isdecimal() else 0
