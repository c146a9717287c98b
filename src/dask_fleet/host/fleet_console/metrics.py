"""What the fleet knows beyond Dask's own metrics, on the scheduler's page ``/metrics``.

Dask counts the workers that there are; whether all are there that should be, only the fleet knows.
Labels are not those that service discovery gives (``discovery``), which Prometheus would rename:
``worker_host`` is the host of a worker, ``host`` that of the process which is scraped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

    from fleet_console.console import Console

__all__ = ["FleetMetrics", "export"]

Row = Mapping[str, Any]

_OF_HOSTS: tuple[tuple[str, str, str], ...] = (
    ("cpus", "CPUs of the host", "cpus"),
    ("load", "Load average of the last minute", "load"),
    ("memory_bytes", "Memory of the host", "memory"),
    ("memory_used_bytes", "Memory of the host that is not available", "memory_used"),
    ("disk_bytes", "Size of the disk on which workers spill", "disk"),
    ("disk_free_bytes", "What is free on the disk on which workers spill", "disk_free"),
)


def export(console: Console) -> None:
    """Have a console's metrics on the page ``/metrics`` of this process.

    Without ``prometheus_client`` that page only says so, and nothing is done here.
    """
    try:
        from prometheus_client import REGISTRY
    except ModuleNotFoundError:
        return
    REGISTRY.register(FleetMetrics(console))


class FleetMetrics:
    """A collector of ``prometheus_client``.

    Parameters
    ----------
    console
        Has the state of the fleet, made at most once a second for all who ask.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing: names are checked without a look at the fleet."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every metric with its values now."""
        state = self.console.status().value
        workers = [row for row in state["processes"] if row["role"] == "worker"]
        declared = [row for row in workers if row["declared"]]
        there = [row for row in declared if row["state"] != "missing"]
        yield _info(state)
        yield self._workers(
            "registered", "Whether the scheduler lists the worker", declared, _listed
        )
        yield self._workers(
            "memory_bytes",
            "Memory of the worker's process, by its last heartbeat",
            there,
            lambda row: row["memory"],
        )
        yield self._workers(
            "memory_limit_bytes",
            "Memory that the worker may use, if there is a limit",
            [row for row in there if row["memory_limit"]],
            lambda row: row["memory_limit"],
        )
        yield self._workers(
            "version_skews",
            "Packages of which the worker has another version than declared, or than the scheduler",
            there,
            lambda row: len(row["skew"]),
        )
        yield self._workers(
            "silence_seconds", "Time since the worker's last heartbeat", there, self._silence
        )
        yield _gauge(
            "strangers",
            "Workers that are registered and that nobody declared",
            value=len(workers) - len(declared),
        )
        yield _gauge(
            "outdated",
            "Processes that run in another environment than declared",
            value=sum(row["outdated"] for row in state["processes"]),
        )
        yield from _hosts(state["hosts"])
        yield _certificates(self.console.declared().certificates)
        findings = _gauge("findings", "What the console finds wrong, by severity", ["severity"])
        for severity in ("error", "warning", "note"):
            count = sum(one["severity"] == severity for one in state["warnings"])
            findings.add_metric([severity], count)
        yield findings

    def _workers(
        self, name: str, text: str, rows: Sequence[Row], value: Callable[[Row], float]
    ) -> GaugeMetricFamily:
        gauge = _gauge(f"worker_{name}", text, ["worker", "worker_host"])
        for row in rows:
            gauge.add_metric([row["name"], row["host"]], value(row))
        return gauge

    def _silence(self, row: Row) -> float:
        worker = self.console.scheduler.workers.get(row["address"])
        return max(0.0, time.time() - worker.last_seen) if worker is not None else 0.0


def _listed(row: Row) -> float:
    return float(row["state"] != "missing")


def _gauge(
    name: str, text: str, labels: Sequence[str] = (), value: float | None = None
) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"dask_fleet_{name}", text, value=value, labels=labels or None)


def _info(state: Row) -> GaugeMetricFamily:
    release = (state["release"] or {}).get("release", "")
    scheduler = next(row for row in state["processes"] if row["role"] == "scheduler")
    values = {
        "environment": state["environment"]["name"],
        "digest": state["environment"]["digest"],
        "release": release,
        "dask": scheduler["versions"].get("dask", ""),
    }
    info = _gauge("info", "What is deployed; always 1", list(values))
    info.add_metric(list(values.values()), 1)
    return info


def _hosts(hosts: Sequence[Row]) -> Iterator[GaugeMetricFamily]:
    # Nothing is known of a host whose workers are all away.
    known = [host for host in hosts if host["cpus"]]
    for name, text, key in _OF_HOSTS:
        gauge = _gauge(f"host_{name}", text, ["worker_host"])
        for host in known:
            gauge.add_metric([host["name"]], host[key])
        yield gauge
    net = _gauge(
        "host_network_bytes_per_second",
        "What comes in and goes out on the host's network interfaces",
        ["worker_host", "direction"],
    )
    for host in known:
        net.add_metric([host["name"], "in"], host["net_read"])
        net.add_metric([host["name"], "out"], host["net_write"])
    yield net
    clock = _gauge(
        "host_clock_seconds",
        "How far the host's clock is ahead of the scheduler's",
        ["worker_host"],
    )
    for host in hosts:
        if host["clock"] is not None:
            clock.add_metric([host["name"]], host["clock"])
    yield clock


def _certificates(ends: Mapping[str, str]) -> GaugeMetricFamily:
    gauge = _gauge(
        "certificate_expiry_timestamp_seconds",
        "When the certificate of a host, or of the door, ends",
        ["certificate"],
    )
    for whose, end in ends.items():
        gauge.add_metric([whose], datetime.fromisoformat(end).timestamp())
    return gauge
