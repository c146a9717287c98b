"""One row for each process: what the scheduler knows of it beside what is declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import fleet_vitals

from fleet_console.declared import Inventory, Process

__all__ = [
    "SILENT_SECONDS",
    "difference",
    "frame",
    "missing_row",
    "packages",
    "port_of",
    "scheduler_row",
    "worker_row",
]

#: A worker of which nothing was heard for so long is shown as silent; a heartbeat is due every
#: half second in a small cluster, and every six seconds with a thousand workers.
SILENT_SECONDS = 20.0

#: Versions that a row shows; others are only compared.
_SHOWN = ("python", "dask", "distributed", "xcube-core")
_KIB, _MIB = 1 << 10, 1 << 20

MISSING: Mapping[str, Any] = {
    "pid": None,
    "nthreads": 0,
    "busy": 0,
    "cpu": 0,
    "memory": 0,
    "memory_limit": 0,
    "managed": 0,
    "unmanaged": 0,
    "spilled": 0,
    "executing": 0,
    "ready": 0,
    "in_memory": 0,
    "net_read": 0,
    "net_write": 0,
    "silent": 0,
}


def frame(inventory: Inventory, worker: Any, wanted: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of a worker's row that stays the same as long as it is registered.

    Parameters
    ----------
    inventory
        What is declared.
    worker
        Dask's ``WorkerState``.
    wanted
        Version that each package should have.
    """
    name = str(worker.name)
    declared = inventory.processes.get(name)
    told = worker.extra.get(fleet_vitals.KEY, {})
    has = packages(worker.versions) | told.get("versions", {})
    ports = {
        "worker": port_of(worker.address),
        "nanny": port_of(worker.nanny or ""),
        "dashboard": int(worker.services.get("dashboard", 0)),
    }
    environment = told.get("environment", "")
    if declared is None or declared.role != "worker" or declared.address != worker.host:
        # A stranger may bear a declared name: registered from elsewhere, it is not the one.
        known, fault = False, "it is registered and not declared"
        if declared is not None:
            fault = f"it is registered from {worker.host}, declared is {declared.address}"
    else:
        known = True
        fault = "; ".join(
            f"{use} port is {port}, declared is {declared.ports[use]}"
            for use, port in ports.items()
            if port != declared.ports[use]
        )
    host = declared.host if known and declared else inventory.host_of(worker.host)
    page = f"w/{name}/" if known else f"proxy/{ports['dashboard']}/{quote(worker.host)}/"
    place = quote(worker.address, safe="")
    return {
        "name": name,
        "role": "worker",
        "group": declared.group if known and declared else "",
        "unit": declared.unit if known and declared else "",
        "host": host,
        "declared": known,
        "fault": fault,
        "address": worker.address,
        "ports": ports,
        "as_declared": known and not fault,
        "since": round(float(told["started"]), 1) if "started" in told else None,
        "pid": worker.pid or None,
        "nthreads": worker.nthreads,
        "memory_limit": worker.memory_limit,
        "versions": {key: has[key] for key in _SHOWN if key in has},
        "skew": difference(has, wanted),
        "environment": environment,
        "outdated": _outdated(inventory, environment),
        "links": {
            "dashboard": f"{page}status",
            "metrics": f"{page}metrics",
            "info": f"info/worker/{place}.html",
            "log": f"info/logs/{place}.html",
        },
    }


def worker_row(fixed: Mapping[str, Any], worker: Any, now: float) -> dict[str, Any]:
    """Return the row of a worker: its frame, and what its last heartbeat has told.

    Numbers are rounded, so that a fleet at rest looks the same from poll to poll.
    """
    metrics = worker.metrics
    counts = metrics.get("task_counts")
    if counts is None:
        # Older releases of distributed; `memory` is another thing there.
        counts = {**metrics, "memory": metrics.get("in_memory", 0)}
    spilled = metrics.get("spilled_bytes") or {}
    net = metrics.get("host_net_io") or {}
    memory = int(metrics.get("memory", 0))
    managed = max(0, worker.nbytes - spilled.get("memory", 0))
    quiet = now - worker.last_seen
    executing = counts.get("executing", 0)
    silent = int(quiet) if quiet > SILENT_SECONDS else 0
    status = worker.status.name
    if not fixed["declared"]:
        state = "undeclared"
    elif silent:
        state = "silent"
    elif status != "running":
        state = status
    else:
        state = "running" if fixed["as_declared"] else "wrong"
    return {
        **fixed,
        "state": state,
        "busy": min(executing, worker.nthreads),
        "cpu": round(metrics.get("cpu", 0)),
        "memory": _rounded(memory, _MIB),
        "managed": _rounded(managed, _KIB),
        "unmanaged": _rounded(max(0, memory - managed), _MIB),
        "spilled": int(spilled.get("disk", 0)),
        "executing": executing,
        "ready": counts.get("ready", 0),
        "in_memory": counts.get("memory", 0),
        "net_read": _rounded(net.get("read_bps", 0), 16 * _KIB),
        "net_write": _rounded(net.get("write_bps", 0), 16 * _KIB),
        "silent": silent,
    }


def scheduler_row(
    inventory: Inventory,
    name: str,
    ports: Mapping[str, int],
    own: Mapping[str, Any],
    monitor: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the row of the scheduler itself.

    Parameters
    ----------
    inventory
        What is declared.
    name
        Name of its process.
    ports
        Where it listens.
    own
        Since when it runs, pid, address, environment and versions.
    monitor
        What Dask's system monitor has measured last.
    """
    declared = inventory.processes.get(name)
    fault = "; ".join(
        f"{use} port is {port}, declared is {declared.ports[use]}"
        for use, port in ports.items()
        if declared is not None and declared.ports[use] != port
    )
    memory = _rounded(monitor["memory"], _MIB)
    return {
        **MISSING,
        "name": name,
        "role": "scheduler",
        "group": "",
        "unit": declared.unit if declared else name,
        "host": declared.host if declared else "",
        "declared": declared is not None,
        "state": "wrong" if fault else "running",
        "fault": fault,
        "address": own["address"],
        "ports": dict(ports),
        "as_declared": declared is not None and not fault,
        "since": round(own["started"], 1),
        "pid": own["pid"],
        "cpu": round(monitor["cpu"]),
        "memory": memory,
        "unmanaged": memory,
        "versions": {key: own["versions"][key] for key in _SHOWN if key in own["versions"]},
        "skew": difference(own["versions"], inventory.versions),
        "environment": own["environment"],
        "outdated": _outdated(inventory, own["environment"]),
        "links": {
            "dashboard": "status",
            "metrics": "metrics",
            "info": "info/main/workers.html",
            "log": "info/main/logs.html",
        },
    }


def missing_row(declared: Process, since: float) -> dict[str, Any]:
    """Return the row of a worker that is declared and not registered, since when."""
    return {
        **MISSING,
        "name": declared.name,
        "role": "worker",
        "group": declared.group,
        "unit": declared.unit,
        "host": declared.host,
        "declared": True,
        "state": "missing",
        "fault": "it is declared and not registered",
        "address": f"{declared.address}:{declared.ports['worker']}",
        "ports": dict(declared.ports),
        "as_declared": False,
        "since": round(since, 1),
        "versions": {},
        "skew": [],
        "environment": "",
        "outdated": False,
        # Its page may be there again when somebody follows the link.
        "links": {
            "dashboard": f"w/{declared.name}/status",
            "metrics": f"w/{declared.name}/metrics",
            "info": None,
            "log": None,
        },
    }


def packages(versions: Mapping[str, Any]) -> dict[str, str]:
    """Return what ``distributed.versions`` tells of packages; Python's with three numbers."""
    found = {k: str(v) for k, v in versions.get("packages", {}).items() if v is not None}
    if "python" in found:
        found["python"] = ".".join(found["python"].split(".")[:3])
    return found


def difference(has: Mapping[str, str], wanted: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the packages that have another version than they should."""
    return [
        {"package": package, "has": has.get(package, "none"), "wanted": version}
        for package, version in wanted.items()
        if package in has and has[package] != version
        # `3.11` is declared of Python, and any 3.11.x is right.
        if package != "python" or not has[package].startswith(f"{version}.")
    ]


def _outdated(inventory: Inventory, environment: str) -> bool:
    declared = inventory.environment.get("digest", "")
    return bool(declared and environment and environment != declared)


def port_of(address: str) -> int:
    """Return the port of an address, 0 if it has none."""
    tail = address.rpartition(":")[2]
    return int(tail) if tail.isdecimal() else 0


def _rounded(value: float, step: int) -> int:
    return round(value / step) * step
