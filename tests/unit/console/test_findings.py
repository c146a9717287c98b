"""What the scheduler can see that is wrong, host by host."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from fleet_console.findings import findings
from fleet_console.hosts import host_rows, totals
from fleet_console.processes import frame, missing_row, worker_row

from tests.unit.console.simulated import GIB, NOW, inventory, worker

DECLARED = inventory()
TOLD = {
    "cpus": 8,
    "load": 1.26,
    "memory": 32 * GIB,
    "memory_available": 20 * GIB,
    "disk": 100 * GIB,
    "disk_free": 50 * GIB,
}


def rows(**changed: Any) -> list[dict[str, Any]]:
    """Return all four workers; ``dask_worker_0002=None`` is missing, a mapping is another one."""
    found: list[dict[str, Any]] = []
    for number in range(1, 5):
        name = f"dask-worker-000{number}"
        other = changed.get(name.replace("-", "_"), {})
        if other is None:
            found.append(missing_row(DECLARED.processes[name], NOW - 9))
        else:
            one = worker(number, **other)
            found.append(worker_row(frame(DECLARED, one, DECLARED.versions), one, NOW))
    return found


def hosts(
    seen: list[dict[str, Any]], clock: float = 0.0, certificate: str | None = None, **told: Any
) -> list[dict[str, Any]]:
    every = {"node-1": TOLD | told, "node-2": TOLD}
    made = host_rows(DECLARED, seen, every, {"node-1": clock})
    made[1]["certificate"] = certificate
    return made


def found(
    seen: list[dict[str, Any]] | None = None, last: dict[str, Any] | None = None, **of_host: Any
) -> list[tuple[str, str, str]]:
    seen = rows() if seen is None else seen
    every = findings(seen, hosts(seen, **of_host), last, ())
    assert all(one["remedy"] and one["fault"] for one in every)
    return [(one["severity"], one["check"], one["place"]) for one in every]


def test_a_fleet_as_declared_gives_no_warning():
    assert found() == []


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (rows(dask_worker_0002=None), ("error", "workers", "node-1")),
        (rows(dask_worker_0003={"last_seen": NOW - 99}), ("error", "workers", "node-2")),
        (rows(dask_worker_0001={"nanny": None}), ("error", "ports", "dask-worker-0001")),
        (
            rows(dask_worker_0001={"versions": {"packages": {"dask": "1"}}}),
            ("error", "versions", "dask-worker-0001"),
        ),
        (
            rows(dask_worker_0004={"extra": {"fleet": {"environment": "f" * 16}}}),
            ("warning", "versions", "dask-worker-0004"),
        ),
        (
            rows(dask_worker_0001={"memory_limit": GIB}),
            ("warning", "memory", "dask-worker-0001"),
        ),
        (
            rows(
                dask_worker_0001={
                    "metrics": {"memory": 0, "spilled_bytes": {"memory": 1, "disk": 5}}
                }
            ),
            ("note", "spill", "dask-worker-0001"),
        ),
    ],
)
def test_processes(seen: list[dict[str, Any]], expected: tuple[str, str, str]):
    assert found(seen) == [expected]


def test_what_is_alike_is_one_finding_of_its_host():
    (one,) = findings(
        seen := rows(dask_worker_0001=None, dask_worker_0002=None), hosts(seen), None, ()
    )
    assert one["fault"] == "dask-worker-0001, dask-worker-0002: declared and not registered"


def test_a_stranger_is_named_with_its_address():
    stranger = worker(1, name="mine", address="tcp://10.77.0.12:9999", server_id="x")
    seen = [*rows(), worker_row(frame(DECLARED, stranger, {}), stranger, NOW)]
    (one,) = findings(seen, hosts(seen), None, ())
    assert (one["severity"], one["place"]) == ("warning", "node-1")
    assert "mine at tcp://10.77.0.12:9999" in one["fault"]


@pytest.mark.parametrize(
    ("of_host", "expected"),
    [
        ({"disk_free": GIB}, ("warning", "disk")),
        ({"disk_free": GIB // 8}, ("error", "disk")),
        ({"memory_available": GIB}, ("warning", "memory")),
        ({"clock": -1.4}, ("warning", "clocks")),
        ({"clock": 61.0}, ("error", "clocks")),
    ],
)
def test_hosts(of_host: dict[str, Any], expected: tuple[str, str]):
    assert found(**of_host) == [(*expected, "node-1")]


@pytest.mark.parametrize(("days", "severity"), [(-1, "error"), (29, "warning"), (31, "")])
def test_certificates(days: int, severity: str):
    ends = datetime.now(timezone.utc) + timedelta(days=days)
    expected = [(severity, "certificates", "node-1")] if severity else []
    assert found(certificate=ends.isoformat()) == expected


def test_the_last_change_that_failed():
    last = {"result": "failed", "what": "up", "hosts": ["node-1"], "fault": "no space"}
    assert found(last=last) == [("warning", "history", "node-1")]
    assert found(last={**last, "result": "done"}) == []


def test_files_that_cannot_be_read():
    (one,) = findings(seen := rows(), hosts(seen), None, ["x cannot be read"])
    assert (one["check"], one["fault"]) == ("inventory", "x cannot be read")


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (rows(), "well"),
        (rows(dask_worker_0001=None), "partly"),
        (rows(dask_worker_0001=None, dask_worker_0002=None), "away"),
    ],
)
def test_the_state_of_a_host(seen: list[dict[str, Any]], state: str):
    head, first, second = hosts(seen)
    assert (head["workers"], head["state"]) == (0, "well")
    assert (first["state"], second["state"]) == (state, "well")
    assert first["registered"] == sum(row["state"] != "missing" for row in seen[:2])


def test_sums():
    seen = rows(dask_worker_0004=None)
    sums = totals(seen, hosts(seen))
    assert (sums["workers"], sums["registered"], sums["undeclared"]) == (4, 3, 0)
    assert (sums["nthreads"], sums["busy"], sums["memory"]) == (6, 3, 3 * GIB)
    # Each worker measures its whole host: two on one host do not count twice.
    assert sums["net_read"] == 2 * seen[0]["net_read"]
