"""The inventory: one word for the state of each process, whatever was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_fleet.inventory import Row, inventory, totals
from dask_fleet.observed import (
    HostObserved,
    ProcessRecord,
    RuntimeObserved,
    SchedulerObserved,
    UnitObserved,
    UnitState,
)
from tests.unit.simulator import HOST, SimulatedHost
from tests.unit.test_registration import LAYOUT, SECOND, WORKER, cluster

SCHEDULER, WORKERS = "dask-scheduler", "dask-workers-default"


def record(name: str, unit: str, *, alive: bool = True) -> ProcessRecord:
    versions = {"dask": "2026.8.0"}
    return ProcessRecord(name, unit, "any", 77, 900.0, 3, "d", versions, alive, 5000)


def seen(
    *, runtime: bool = True, state: UnitState = "running", alive: bool = True, there: bool = True
) -> HostObserved:
    names = (SCHEDULER, WORKERS) if there and runtime else ()
    units = {name: UnitObserved(name, state, 77) for name in names}
    records = {
        SCHEDULER: record(SCHEDULER, SCHEDULER, alive=alive),
        WORKER.name: record(WORKER.name, WORKERS, alive=alive),
        SECOND.name: record(SECOND.name, WORKERS, alive=alive),
    }
    return replace(
        SimulatedHost().observe(), runtime=RuntimeObserved(runtime, 9, units), records=records
    )


def rows(host: HostObserved, scheduler: SchedulerObserved | None) -> dict[str, Row]:
    return {row.name: row for row in inventory(LAYOUT, {HOST: host}, scheduler)}


WELL = cluster(WORKER, SECOND)


@pytest.mark.parametrize(
    ("host", "scheduler", "worker_state", "scheduler_state"),
    [
        (seen(), WELL, "running", "running"),
        (seen(), None, "starting", "starting"),
        (seen(), cluster(SECOND), "starting", "running"),
        (seen(), cluster(replace(WORKER, status="paused"), SECOND), "paused", "running"),
        (seen(), cluster(replace(WORKER, dashboard_port=1), SECOND), "wrong", "running"),
        (seen(), cluster(WORKER, SECOND, dashboard=1), "running", "wrong"),
        (seen(alive=False), None, "starting", "starting"),
        (seen(alive=False, state="starting"), None, "starting", "starting"),
        (seen(alive=False, state="stopped"), None, "stopped", "stopped"),
        (seen(alive=False, state="stopping"), None, "stopped", "stopped"),
        (seen(alive=False, state="crashing"), None, "crashing", "crashing"),
        (seen(alive=False, there=False), None, "down", "down"),
        (seen(alive=False, runtime=False), None, "down", "down"),
        (seen(runtime=False), WELL, "unsupervised", "unsupervised"),
        (SimulatedHost().observe(), None, "down", "down"),
    ],
)
def test_states(
    host: HostObserved, scheduler: SchedulerObserved | None, worker_state: str, scheduler_state: str
):
    found = rows(host, scheduler)
    assert list(found) == [SCHEDULER, WORKER.name, SECOND.name]
    assert found[WORKER.name].state == worker_state
    assert found[SCHEDULER].state == scheduler_state


def test_who_is_listed_in_the_place_of_a_process_does_not_count():
    before = replace(WORKER, started=800.0, memory=9000)
    row = rows(seen(), cluster(before, SECOND))[WORKER.name]
    assert (row.state, row.registered, row.fault) == ("starting", False, "not registered")
    assert row.memory == 5000, "its own, not that of the other"
    itself = replace(WORKER, started=900.0)
    assert rows(seen(), cluster(itself, SECOND))[WORKER.name].state == "running"
    gone = rows(seen(alive=False), cluster(itself, SECOND))[WORKER.name]
    assert (gone.state, gone.registered) == ("starting", False)


def test_what_a_row_says():
    busy = replace(WORKER, memory=9000, memory_limit=1 << 30, executing=1, ready=4, cpu=99.5)
    row = rows(seen(), cluster(busy, SECOND))[WORKER.name]
    assert (row.role, row.unit, row.host, row.address) == ("worker", WORKERS, HOST, "127.0.0.1")
    assert row.ports == {"worker": 9010, "nanny": 9011, "dashboard": 9012}
    assert (row.pid, row.started, row.uptime, row.restarts) == (77, 900.0, 100.0, 3)
    assert (row.memory, row.memory_limit, row.cpu) == (9000, 1 << 30, 99.5)
    assert (row.executing, row.ready, row.registered, row.fault) == (1, 4, True, "")
    assert row.versions == {"dask": "2026.8.0"}


def test_memory_is_what_the_kernel_says_until_the_scheduler_knows_better():
    found = rows(seen(), cluster(SECOND))
    assert found[WORKER.name].memory == 5000
    assert found[SCHEDULER].memory == 5000
    assert found[WORKER.name].fault == "not registered"


def test_a_process_that_is_gone_has_no_pid_and_no_age():
    row = rows(seen(alive=False), None)[SCHEDULER]
    assert (row.pid, row.started, row.uptime, row.memory, row.versions) == (None, None, None, 0, {})
    assert row.restarts == 3


def test_an_age_is_never_negative():
    host = replace(seen(), facts={"clock": "1"})
    assert rows(host, WELL)[SCHEDULER].uptime == 0.0


def test_totals():
    assert totals(tuple(rows(seen(), cluster(WORKER)).values())) == {"running": 2, "starting": 1}
    assert totals(()) == {}
