"""What the scheduler itself says, over the JSON that its dashboard's port serves.

``/json/identity.json`` is part of distributed's default routes
(``distributed.http.scheduler.json``). It needs neither distributed in the tool's environment nor
the versions of both to match, and it is one of the cheapest pages that the scheduler has.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from dask_fleet.layout import Scheduler
    from dask_fleet.observed import RegisteredWorker, SchedulerObserved
    from dask_fleet.transports.base import Transport

__all__ = ["ask", "read_identity"]

_SECONDS = 5.0


async def ask(transport: Transport, scheduler: Scheduler) -> SchedulerObserved | None:
    """Return the cluster as its scheduler describes it, or ``None`` if it does not answer.

    Parameters
    ----------
    transport : Transport
        To the scheduler's host.
    scheduler : Scheduler
        As declared.
    """
    address, port = await transport.reach(scheduler.contact, scheduler.dashboard_port)
    body = await asyncio.to_thread(_get, address, port, "/json/identity.json")
    if body is None:
        return None
    try:
        identity: Any = json.loads(body)
    except ValueError:
        return None  # somebody else answers on that port; the plan names who holds it
    if not isinstance(identity, dict) or "workers" not in identity:
        return None
    return read_identity(cast("dict[str, Any]", identity))


def _get(address: str, port: int, path: str) -> bytes | None:
    import http.client  # while the host answers: it takes as long as a tenth of a look

    connection = http.client.HTTPConnection(address, port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read() if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None  # not there, or not yet: the caller polls with a deadline of its own
    finally:
        connection.close()


def read_identity(identity: Mapping[str, Any]) -> SchedulerObserved:
    """Return ``Scheduler.identity()`` of distributed as values."""
    from dask_fleet.observed import SchedulerObserved

    workers = [_worker(address, worker) for address, worker in identity["workers"].items()]
    return SchedulerObserved(
        address=identity["address"],
        dashboard_port=int(identity.get("services", {}).get("dashboard", 0)),
        workers={worker.name: worker for worker in workers},
    )


def _worker(address: str, worker: Mapping[str, Any]) -> RegisteredWorker:
    from dask_fleet.observed import RegisteredWorker

    metrics: dict[str, Any] = worker.get("metrics") or {}
    counts: dict[str, Any] = metrics.get("task_counts") or {}
    spilled: dict[str, Any] = metrics.get("spilled_bytes") or {}
    services: dict[str, Any] = worker.get("services") or {}
    # What `fleet_vitals` has it tell.
    told: dict[str, Any] = worker.get("fleet") or {}
    return RegisteredWorker(
        name=str(worker["name"]),
        address=address,
        nanny=worker.get("nanny") or "",
        dashboard_port=int(services.get("dashboard", 0)),
        nthreads=int(worker["nthreads"]),
        status=str(worker["status"]),
        memory=int(metrics.get("memory") or 0),
        memory_limit=int(worker.get("memory_limit") or 0),
        spilled=int(spilled.get("disk") or 0),
        cpu=float(metrics.get("cpu") or 0.0),
        executing=int(counts.get("executing", 0)),
        ready=int(counts.get("ready", 0)),
        in_memory=int(metrics.get("in_memory") or 0) or int(counts.get("memory", 0)),
        started=float(told["started"]) if "started" in told else None,
    )
