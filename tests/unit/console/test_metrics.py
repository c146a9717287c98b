"""What the fleet adds to the page that Prometheus scrapes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fleet_console.declared import Inventory
from fleet_console.findings import findings
from fleet_console.hosts import host_rows
from fleet_console.metrics import FleetMetrics
from fleet_console.processes import frame, missing_row, worker_row
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.console.simulated import GIB, NOW, inventory, worker

HOST = {"cpus": 4, "load": 1.5, "memory": 8 * GIB, "memory_available": 6 * GIB}
DISK = {"disk": 100 * GIB, "disk_free": 40 * GIB}


def scraped(workers: list[Any], declared: Inventory | None = None) -> dict[str, dict[str, float]]:
    """Return the samples by name, then by the values of their labels."""
    one = declared or inventory()
    rows = [worker_row(frame(one, w, {"dask": "2026.8.0"}), w, NOW) for w in workers]
    there = {row["name"] for row in rows if row["declared"]}
    rows += [missing_row(process, NOW) for process in one.workers if process.name not in there]
    scheduler = {
        "name": "dask-scheduler",
        "role": "scheduler",
        "versions": {"dask": "2026.8.0"},
        "outdated": True,
    }
    known = {"node-1": {**HOST, **DISK}}
    hosts = host_rows(one, rows, known, {"node-1": -0.5})
    state = {
        "environment": {"name": "xcube", "digest": "0123456789abcdef"},
        "release": {"release": "fedcba9876543210"},
        "processes": [scheduler, *rows],
        "hosts": hosts,
        "warnings": findings(rows, hosts, None, []),
    }
    console: Any = SimpleNamespace(
        status=lambda: SimpleNamespace(value=state),
        declared=lambda: one,
        scheduler=SimpleNamespace(workers={w.address: w for w in workers}),
    )
    registry = CollectorRegistry()
    registry.register(FleetMetrics(console))
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        assert family.name.startswith("dask_fleet_")
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[" ".join(sample.labels.values())] = sample.value
    return found


def test_every_declared_worker_is_there_or_missing() -> None:
    found = scraped([worker(1), worker(3)])
    assert found["dask_fleet_worker_registered"] == {
        "dask-worker-0001 node-1": 1,
        "dask-worker-0002 node-1": 0,
        "dask-worker-0003 node-2": 1,
        "dask-worker-0004 node-2": 0,
    }
    assert found["dask_fleet_worker_memory_bytes"] == {
        "dask-worker-0001 node-1": GIB,
        "dask-worker-0003 node-2": GIB,
    }
    assert found["dask_fleet_worker_memory_limit_bytes"]["dask-worker-0001 node-1"] == 4 * GIB
    assert found["dask_fleet_strangers"] == {"": 0}
    assert found["dask_fleet_findings"]["error"] == 2


def test_a_worker_without_a_limit_is_never_above_it() -> None:
    found = scraped([worker(1, memory_limit=0)])
    assert "dask_fleet_worker_memory_limit_bytes" not in found
    assert len(found["dask_fleet_worker_memory_bytes"]) == 1


def test_silence_is_counted_from_the_last_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_console.metrics.time.time", lambda: NOW + 12.5)
    assert scraped([worker(1), worker(2, last_seen=NOW + 13)])[
        "dask_fleet_worker_silence_seconds"
    ] == {"dask-worker-0001 node-1": 12.5, "dask-worker-0002 node-1": 0}


def test_skews_strangers_and_what_is_outdated() -> None:
    other = {"packages": {"dask": "2025.1.0"}}
    found = scraped([worker(1, versions=other), worker(2), worker(3, host="10.9.9.9")])
    assert found["dask_fleet_worker_version_skews"] == {
        "dask-worker-0001 node-1": 1,
        "dask-worker-0002 node-1": 0,
    }
    assert found["dask_fleet_strangers"] == {"": 1}
    assert found["dask_fleet_outdated"] == {"": 1}


def test_hosts_of_which_something_is_known() -> None:
    found = scraped([worker(1), worker(2)])
    assert found["dask_fleet_host_cpus"] == {"node-1": 4}
    assert found["dask_fleet_host_memory_used_bytes"] == {"node-1": 2 * GIB}
    assert found["dask_fleet_host_disk_free_bytes"] == {"node-1": 40 * GIB}
    assert set(found["dask_fleet_host_network_bytes_per_second"]) == {"in node-1", "out node-1"}
    assert found["dask_fleet_host_clock_seconds"] == {"node-1": -0.5}


def test_what_is_deployed() -> None:
    (labels,) = scraped([])["dask_fleet_info"]
    assert labels.split() == ["2026.8.0", "0123456789abcdef", "xcube", "fedcba9876543210"]


def test_certificates_of_hosts_and_of_the_door() -> None:
    declared = inventory()
    declared.certificates.update(  # type: ignore[attr-defined]
        {"node-1": "2026-12-01T00:00:00+00:00", "door@head": "2027-01-01T00:00:00+00:00"}
    )
    ends = scraped([], declared)["dask_fleet_certificate_expiry_timestamp_seconds"]
    assert ends == {"node-1": 1796083200, "door@head": 1798761600}
