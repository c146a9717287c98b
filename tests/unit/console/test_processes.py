"""The row of each process: its state in one word, and what is not as declared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fleet_console.declared import Inventory
from fleet_console.processes import frame, missing_row, packages, scheduler_row, worker_row

from tests.unit.console.simulated import GIB, NOW, VERSIONS, inventory, worker

DECLARED = inventory()


def row(one: Any, declared: Inventory = DECLARED, now: float = NOW) -> dict[str, Any]:
    wanted = {**packages({"packages": VERSIONS}), **declared.versions}
    return worker_row(frame(declared, one, wanted), one, now)


def test_a_worker_as_declared():
    one = row(worker(3))
    assert (one["name"], one["state"], one["fault"]) == ("dask-worker-0003", "running", "")
    assert (one["host"], one["group"], one["unit"]) == ("node-2", "default", "dask-workers-default")
    assert one["ports"] == {"worker": 9010, "nanny": 9011, "dashboard": 9012}
    assert one["as_declared"]
    assert (one["cpu"], one["busy"], one["executing"], one["ready"]) == (123, 1, 1, 5)
    assert (one["memory"], one["managed"], one["unmanaged"]) == (GIB, GIB // 2, GIB // 2)
    assert one["since"] == NOW - 60
    assert one["versions"] == {"python": "3.11.7", "dask": "2026.8.0", "distributed": "2026.8.0"}
    assert one["skew"] == []
    assert one["links"] == {
        "dashboard": "w/dask-worker-0003/status",
        "metrics": "w/dask-worker-0003/metrics",
        "info": "info/worker/tcp%3A%2F%2F10.77.0.13%3A9010.html",
        "log": "info/logs/tcp%3A%2F%2F10.77.0.13%3A9010.html",
    }


@pytest.mark.parametrize(
    ("other", "state", "fault"),
    [
        ({"status": SimpleNamespace(name="paused")}, "paused", ""),
        ({"last_seen": NOW - 21}, "silent", ""),
        ({"last_seen": NOW - 19}, "running", ""),
        (
            {"services": {"dashboard": 40000}},
            "wrong",
            "dashboard port is 40000, declared is 9012",
        ),
        ({"nanny": None}, "wrong", "nanny port is 0, declared is 9011"),
        (
            {"host": "10.9.9.9", "address": "tcp://10.9.9.9:9010"},
            "undeclared",
            "it is registered from 10.9.9.9, declared is 10.77.0.12",
        ),
        ({"name": "tcp://10.77.0.12:1"}, "undeclared", "it is registered and not declared"),
        ({"name": "dask-scheduler"}, "undeclared", "it is registered from"),
        ({"name": 7}, "undeclared", "it is registered and not declared"),
    ],
)
def test_states(other: dict[str, Any], state: str, fault: str):
    one = row(worker(1, **other))
    assert one["state"] == state
    assert one["fault"].startswith(fault)
    assert bool(one["fault"]) == bool(fault)


def test_a_stranger_has_the_links_that_dask_itself_has():
    one = row(worker(1, name="mine"))
    assert one["host"] == "node-1"
    assert one["links"]["dashboard"] == "proxy/9012/10.77.0.12/status"


def test_versions_that_differ():
    versions = VERSIONS | {"python": "3.10.2.final.0", "dask": "2025.1.0"}
    one = row(worker(1, versions={"packages": versions}))
    assert one["skew"] == [
        {"package": "python", "has": "3.10.2", "wanted": "3.11"},
        {"package": "dask", "has": "2025.1.0", "wanted": "2026.8.0"},
    ]


def test_another_environment_than_declared():
    told = {"fleet": {"started": 1.0, "environment": "f" * 16}}
    assert row(worker(1, extra=told))["outdated"]
    assert not row(worker(1))["outdated"]


def test_a_worker_that_was_not_started_by_us_tells_less():
    one = row(worker(1, extra={}, versions={}, metrics={"memory": 5 << 20, "in_memory": 3}))
    assert (one["since"], one["versions"], one["skew"], one["environment"]) == (None, {}, [], "")
    assert (one["memory"], one["in_memory"], one["executing"]) == (5 << 20, 3, 0)


def test_a_missing_worker_has_the_same_keys_and_its_declared_ports():
    declared = DECLARED.processes["dask-worker-0002"]
    one = missing_row(declared, NOW - 5)
    assert set(one) == set(row(worker(2)))
    assert (one["state"], one["since"]) == ("missing", NOW - 5)
    assert one["ports"] == {"worker": 9020, "nanny": 9021, "dashboard": 9022}
    assert (one["links"]["log"], one["links"]["info"]) == (None, None)


@pytest.mark.parametrize(
    ("ports", "state"),
    [
        ({"scheduler": 8786, "dashboard": 8787}, "running"),
        ({"scheduler": 8786, "dashboard": 40001}, "wrong"),
    ],
)
def test_the_scheduler(ports: dict[str, int], state: str):
    own = {
        "started": NOW,
        "environment": "0123456789abcdef",
        "pid": 7,
        "address": "tcp://10.77.0.11:8786",
        "versions": {"python": "3.11.7", "dask": "2026.8.0"},
    }
    one = scheduler_row(DECLARED, "dask-scheduler", ports, own, {"memory": 1e8, "cpu": 3.6})
    assert set(one) == set(row(worker(2)))
    assert (one["state"], one["host"], one["cpu"], one["outdated"]) == (state, "head", 4, False)
    unknown = scheduler_row(Inventory(), "s", ports, own, {"memory": 1e8, "cpu": 0})
    assert (unknown["state"], unknown["declared"], unknown["outdated"]) == ("running", False, False)
