"""Whether the cluster that the scheduler describes is the declared one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_fleet.observed import ProcessRecord, RegisteredWorker, SchedulerObserved
from dask_fleet.registration import faults
from tests.unit.simulator import HOST, SimulatedHost, layout_of

LAYOUT = layout_of()
WORKER = RegisteredWorker(
    name="dask-worker-0001",
    address="tcp://127.0.0.1:9010",
    nanny="tcp://127.0.0.1:9011",
    dashboard_port=9012,
    nthreads=1,
    status="running",
)
SECOND = replace(
    WORKER,
    name="dask-worker-0002",
    address="tcp://127.0.0.1:9020",
    nanny="tcp://127.0.0.1:9021",
    dashboard_port=9022,
)


def cluster(*workers: RegisteredWorker, dashboard: int = 8787) -> SchedulerObserved:
    every = {worker.name: worker for worker in workers}
    return SchedulerObserved("tcp://127.0.0.1:8786", dashboard, every)


def test_all_is_as_declared():
    assert faults(LAYOUT, cluster(WORKER, SECOND)) == {}


def test_workers_of_others_are_their_own_business():
    assert faults(LAYOUT, cluster(WORKER, SECOND, replace(WORKER, name="by-hand"))) == {}


def test_no_answer():
    assert faults(LAYOUT, None) == {
        "dask-scheduler": "does not answer",
        "dask-worker-0001": "not registered",
        "dask-worker-0002": "not registered",
    }


def test_what_is_listed_is_the_process_that_runs():
    """After a power cut the scheduler may list for minutes what was there before."""
    told = cluster(replace(WORKER, started=900.0), SECOND)
    unit = "dask-workers-default"

    def found(started: float, *, alive: bool = True) -> dict[str, str]:
        own = ProcessRecord(WORKER.name, unit, "worker", 7, started, 0, "d", {}, alive)
        host = replace(SimulatedHost().observe(), records={WORKER.name: own})
        return faults(LAYOUT, told, observed={HOST: host})

    assert found(900.0) == {}
    assert found(950.5) == {WORKER.name: "not registered"}
    assert found(900.0, alive=False) == {WORKER.name: "not registered"}


def test_a_dashboard_that_dask_moved():
    assert faults(LAYOUT, cluster(WORKER, SECOND, dashboard=40123)) == {
        "dask-scheduler": "dashboard is on port 40123, declared is 8787"
    }


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"address": "tcp://127.0.0.1:40000"}, "port is 40000, declared is 9010"),
        ({"nanny": ""}, "nanny port is 0, declared is 9011"),
        ({"nanny": "tcp://[::1]:9999"}, "nanny port is 9999, declared is 9011"),
        ({"address": "tls://127.0.0.1:9010", "nanny": "tls://[fd00::1]:9011"}, ""),
        ({"address": "tls://[fd00::1]:40000"}, "port is 40000, declared is 9010"),
        ({"dashboard_port": 0}, "dashboard port is 0, declared is 9012"),
        ({"status": "paused"}, ""),
        ({"status": "closing_gracefully"}, "status is closing_gracefully"),
        (
            {"dashboard_port": 1, "status": "init"},
            "dashboard port is 1, declared is 9012; status is init",
        ),
    ],
)
def test_a_worker_that_is_not_as_declared(change: dict[str, object], fault: str):
    found = faults(LAYOUT, cluster(replace(WORKER, **change), SECOND))  # type: ignore[arg-type]
    assert found == ({"dask-worker-0001": fault} if fault else {})


def test_a_worker_that_is_missing():
    assert faults(LAYOUT, cluster(SECOND)) == {"dask-worker-0001": "not registered"}
