"""One row for each host, and sums over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleet_console.declared import Inventory

__all__ = ["TOTALS", "host_rows", "totals"]

#: What is summed up over the workers.
TOTALS = (
    *("nthreads", "busy", "cpu", "memory", "memory_limit"),
    *("managed", "unmanaged", "spilled", "executing", "ready", "in_memory"),
)
_MIB = 1 << 20


def host_rows(
    inventory: Inventory,
    rows: Iterable[Mapping[str, Any]],
    told: Mapping[str, Mapping[str, Any]],
    clocks: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return the hosts, the declared ones first.

    Parameters
    ----------
    inventory
        What is declared.
    rows
        Every process.
    told
        What workers tell of their hosts (``fleet_vitals.of_host``), by host.
    clocks
        How many seconds the clock of a host is ahead of the scheduler's.
    """
    by_host: dict[str, list[Mapping[str, Any]]] = {name: [] for name in inventory.hosts}
    for row in rows:
        if row["host"]:
            by_host.setdefault(row["host"], []).append(row)
    return [
        _host(inventory, name, of_host, told.get(name), clocks.get(name))
        for name, of_host in by_host.items()
    ]


def _host(
    inventory: Inventory,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    told: Mapping[str, Any] | None,
    clock: float | None,
) -> dict[str, Any]:
    declared = inventory.hosts.get(name, {})
    workers = [row for row in rows if row["role"] == "worker"]
    there = [row for row in workers if row["state"] != "missing"]
    scheduler = any(row["role"] == "scheduler" for row in rows)
    if workers and not there and not scheduler:
        state = "away"
    else:
        state = "well" if all(row["state"] == "running" for row in rows) else "partly"
    facts = dict(told or {})
    return {
        "name": name,
        "address": declared.get("address", ""),
        "external": declared.get("external", ""),
        "runtime": declared.get("runtime", ""),
        "scheduler": scheduler,
        "state": state,
        "workers": len(workers),
        "registered": len(there),
        "cpu": sum(row["cpu"] for row in rows),
        "cpus": facts.get("cpus", 0),
        "load": round(facts.get("load", 0.0), 1),
        "memory": _rounded(facts.get("memory", 0)),
        "memory_used": _rounded(facts.get("memory", 0) - facts.get("memory_available", 0)),
        "disk": _rounded(facts.get("disk", 0)),
        "disk_free": _rounded(facts.get("disk_free", 0)),
        "spilled": sum(row["spilled"] for row in rows),
        "net_read": _mean(there, "net_read"),
        "net_write": _mean(there, "net_write"),
        "clock": None if clock is None else round(clock, 1),
        "certificate": inventory.certificates.get(name),
    }


def totals(rows: Iterable[Mapping[str, Any]], hosts: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return sums over the workers, how many there are, and the network of all hosts."""
    workers = [row for row in rows if row["role"] == "worker"]
    found = {key: sum(row[key] for row in workers) for key in TOTALS}
    declared = [row for row in workers if row["declared"]]
    every = list(hosts)
    return {
        **found,
        "workers": len(declared),
        "registered": sum(row["state"] != "missing" for row in declared),
        "undeclared": len(workers) - len(declared),
        "net_read": sum(host["net_read"] for host in every),
        "net_write": sum(host["net_write"] for host in every),
    }


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> int:
    """Return the mean: each worker of a host measures all of the host, at its own moments."""
    return round(sum(row[key] for row in rows) / len(rows)) if rows else 0


def _rounded(value: float) -> int:
    return round(value / _MIB / 16) * 16 * _MIB
